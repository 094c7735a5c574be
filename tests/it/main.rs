//! The command, seen from outside.
