//! Matrix products on the CPU: rows found through pointers, times a packed matrix.
//!
//! A convolution is such a product without ever being unfolded: each of its rows is a few runs of
//! channels, one for each place of the kernel, wherever they lie in the image (the indirection
//! buffer of Dukhan 2019, arXiv:1907.02129).

mod factor;
mod form;
mod kernels;
mod lines;
mod outer;
mod packed;
mod peak;
mod product;
mod simd;
mod stencil;
mod transforms;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use factor::Factor;
pub(super) use kernels::Kernels;
pub(super) use lines::{Lines, LinesMut};
pub(super) use outer::{Target, outer};
pub(super) use packed::Packed;
pub(super) use product::{Sources, Targets, product, product_of_lines, tiles};
pub(super) use stencil::{GatherTile, StencilSumTile, StencilTile};
pub(super) use transforms::{join_pixels, spread_pixels};
