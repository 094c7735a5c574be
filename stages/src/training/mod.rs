//! The training loop and what it stands on.

mod checkpoint;
mod divergence;
mod loader;
