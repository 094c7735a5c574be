//! The command, seen from outside.

mod reading;
