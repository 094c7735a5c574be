//! Figures of merit: accuracy, retrieval, thresholds.

pub(crate) mod accuracy;
pub(crate) mod retrieval;
