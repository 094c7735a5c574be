//! The store, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod collecting;
mod damage;
mod making;
mod scanning;
