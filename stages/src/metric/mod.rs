//! Figures of merit: accuracy, retrieval, thresholds.
