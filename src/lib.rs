//! The engine of `pipe`; never prints.

pub mod guard;
mod pipeline;
mod plan;
mod problem;
mod process;
pub mod schema;
mod source_map;
mod suggest;
pub mod worker;

pub use pipeline::{Need, Pipeline, Step};
pub use plan::{Plan, StepId};
pub use problem::{Place, Problem, Problems};
