//! The training loop and what it stands on.

pub(crate) mod answers;
mod checkpoint;
pub(crate) mod clip;
pub(crate) mod description;
mod divergence;
pub(crate) mod exhausted;
pub(crate) mod inference;
pub(crate) mod learning;
pub(crate) mod loader;
mod metrics;
pub(crate) mod network;
pub(crate) mod set;
pub(crate) mod size;
mod state;
pub(crate) mod supply;
pub(crate) mod trainer;
#[cfg(test)]
pub(crate) mod trials;
