//! The command, seen from outside.

mod chance;
mod crash;
mod environment;
mod failing;
#[cfg(target_os = "linux")]
mod faults;
mod fresh;
mod history;
mod hostile;
mod locked;
mod looking;
mod outputs;
mod pipelines;
mod project;
mod reading;
mod repeating;
mod running;
#[cfg(target_os = "linux")]
mod sandbox;
mod sharing;
#[cfg(target_os = "linux")]
mod slurm;
mod starting;
mod stopping;
mod structure;
mod sweep;
mod watching;
mod workers;
