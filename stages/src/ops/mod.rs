//! Training operators with hand-written gradients, on a tape of our own.
//!
//! Activations are NHWC, f32 or bf16. On the CPU an operator runs our own kernels over pooled buffers. On a GPU
//! convolutions go through cuDNN, and most others through kernels of ours; what is left, there and on any
//! other device, is a composition of plain tensor operations with the same formulas. Either way
//! its bytes depend on the device and the instruction set alone, never on the number of threads.

mod add;
mod average_pool;
mod batch_norm;
mod byte_sums;
#[cfg(test)]
mod checks;
mod columns;
mod convolution;
mod cross_entropy;
mod dropout;
mod flatten;
mod floats;
mod gelu;
#[cfg(any(feature = "cuda", test))]
mod gpu;
mod instructions;
mod layer_norm;
mod layer_scale;
mod linear;
mod matrix;
mod max_pool;
mod number;
mod parity;
mod planes;
mod prelu;
mod profile;
mod readings;
mod rectifier;
mod roof;
mod rounded;
mod row_products;
#[cfg(any(feature = "cuda", test))]
mod settings;
mod sink;
mod tape;
mod update;
mod value;
mod windows;

pub(crate) use average_pool::average_pool;
pub(crate) use batch_norm::{BatchNorm, batch_norm, batch_norm_prelu};
pub(crate) use byte_sums::byte_sums;
pub(crate) use convolution::{Moves, convolution, convolution_norm};
pub(crate) use cross_entropy::{Margin, Rule, cross_entropy};
pub(crate) use dropout::dropout;
pub(crate) use flatten::flatten;
pub(crate) use gelu::gelu;
#[cfg(all(test, not(feature = "cuda")))]
pub(crate) use gpu::emulating;
#[cfg(test)]
pub(crate) use gpu::layout;
#[cfg(feature = "cuda")]
pub(crate) use gpu::most_bytes;
#[cfg(any(feature = "cuda", test))]
pub(crate) use gpu::{Changed, Pictures, Staged, Table, Uploads, free_bytes, planes_at, takes};
pub(crate) use layer_norm::{LayerNorm, layer_norm};
pub(crate) use layer_scale::scaled_sum;
pub(crate) use linear::linear;
pub(crate) use max_pool::max_pool;
pub(crate) use parity::{Numbers, Other, numbers};
pub use parity::{Parity, Verdict};
pub(crate) use planes::split_pixels;
pub(crate) use prelu::prelu;
pub use profile::{Clock, Profile, Share};
pub(crate) use readings::{Reading, Readings};
pub(crate) use rectifier::Rectifier;
pub(crate) use roof::{SquareProduct, multiply_adds};
pub(crate) use rounded::Rounded;
pub(crate) use row_products::row_products;
#[cfg(feature = "cuda")]
pub(crate) use settings::prepare;
pub(crate) use tape::{Gradients, Tape};
pub(crate) use update::{AdamFactors, DescentFactors, adapt, descend};
pub(crate) use value::Value;
