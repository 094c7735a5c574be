//! Training operators with hand-written gradients, on a tape of our own.
//!
//! Activations are NHWC. On the CPU an operator runs our own kernels over pooled buffers; on any
//! other device it is a composition of plain tensor operations with the same formulas. Either way
//! its bytes depend on the device and the instruction set alone, never on the number of threads.

mod add;
mod average_pool;
mod batch_norm;
#[cfg(test)]
mod checks;
mod convolution;
mod dropout;
mod floats;
mod instructions;
mod linear;
mod matrix;
mod max_pool;
mod relu;
mod tape;
mod value;
mod windows;

pub(crate) use average_pool::average_pool;
pub(crate) use batch_norm::{BatchNorm, batch_norm};
pub(crate) use convolution::convolution;
pub(crate) use dropout::dropout;
pub(crate) use linear::linear;
pub(crate) use max_pool::max_pool;
pub(crate) use tape::{Gradients, Tape};
pub(crate) use value::Value;
