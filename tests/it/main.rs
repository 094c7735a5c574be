//! The command, seen from outside.

mod crash;
mod failing;
mod fresh;
mod looking;
mod pipelines;
mod project;
mod reading;
mod stopping;
mod structure;
