//! A step as a Slurm job: submitted, followed through files of the shared store, never left behind.

mod array;
mod controller;
mod follow;
mod order;
mod record;
mod reports;
pub mod start;
mod submit;
mod verdict;

pub(crate) use controller::Controller;
pub(crate) use follow::Submission;
pub use order::Order;
pub(crate) use record::{Record, any, end_left, records_of, sweep};

use std::time::Duration;

/// How long a job that was left behind may take to end once it was killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
