//! Figures of merit: accuracy, retrieval, thresholds.

pub(crate) mod accuracy;
pub(crate) mod bootstrap;
pub(crate) mod gaussian_rule;
pub(crate) mod normal;
pub(crate) mod open_set;
pub(crate) mod retrieval;
mod score_order;
mod shortlist;
pub(crate) mod threshold_search;
