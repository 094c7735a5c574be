//! The engine of `pipe`; never prints.

mod attempt;
mod bounds;
mod check;
pub mod diff;
mod earlier;
pub mod editor_schema;
pub mod environment;
pub mod event;
pub mod executor;
mod freshness;
mod glob;
pub mod graph;
pub mod guard;
pub mod history;
pub mod lock;
mod pipeline;
mod plan;
pub mod preview;
mod problem;
mod process;
mod reason;
pub mod remote;
pub mod sandbox;
mod scheduler;
pub mod schema;
mod selection;
mod session;
pub mod sharing;
mod source_map;
pub mod suggest;
pub mod watch;
pub mod worker;

pub use pipeline::{Changes, Need, Pipeline, SharedAt, Step};
pub use plan::{Plan, StepId};
pub use problem::{Place, Problem, Problems};
pub use reason::Reason;
