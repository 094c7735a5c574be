//! The engine of `pipe`; never prints.
