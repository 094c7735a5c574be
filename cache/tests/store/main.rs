//! The store, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod carrying;
mod collecting;
mod crash;
mod damage;
mod full;
mod making;
mod model;
mod scanning;
mod together;
