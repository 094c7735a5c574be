//! The engine of `pipe`; never prints.

pub mod guard;
mod process;
pub mod worker;
