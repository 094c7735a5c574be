//! Launching our kernels over the memory of tensors: on a GPU, or in tests emulated on the CPU.

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{DType, Device, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::driver::{place, room, start};
#[cfg(not(feature = "cuda"))]
use super::emulation::{place, room, start};

/// The types of numbers that kernels know.
pub(super) const TYPES: &str = "f32, bf16, u8, u32 and i64";

/// What a kernel is given, in the order and types of its parameters.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum Argument {
    /// `count`.
    Count(usize),
    /// `int`, 0 or 1.
    Flag(bool),
    /// `int`, one of a few.
    Kind(usize),
    /// `float`.
    Float(f32),
    /// A pointer to numbers of a type, from [`address`].
    Address(
        u64,
        #[cfg_attr(feature = "cuda", expect(dead_code, reason = "a GPU is not told"))] DType,
    ),
}

/// Launches a kernel with one thread for each of so many numbers.
///
/// # Errors
///
/// When the driver refuses it, or a count is more than a kernel counts.
pub(in crate::ops) fn launch(
    device: &Device,
    kernel: &str,
    threads: usize,
    arguments: &[Argument],
) -> Result<()> {
    start(device, kernel, threads, arguments)
        .with_context(|| format!("kernel {kernel} over {threads} numbers with {arguments:?}"))
}

/// Returns a tensor whose numbers a kernel is about to write, all of them.
///
/// # Errors
///
/// When there is no memory, or kernels write no numbers of this type.
pub(in crate::ops) fn filled(
    device: &Device,
    dtype: DType,
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    room(device, dtype, shape.into())
}

/// Returns where the numbers of a tensor lie; the tensor must outlive the launch that is given it.
///
/// # Errors
///
/// When it is not where kernels compute, not contiguous, or has more numbers than kernels count.
pub(in crate::ops) fn address(tensor: &Tensor) -> Result<Argument> {
    let numbers = tensor.elem_count();
    ensure!(numbers <= i32::MAX as usize, "{numbers} numbers are more than a kernel counts");
    Ok(Argument::Address(place(tensor)?, tensor.dtype()))
}

/// Returns the name of a kernel for a type, e.g. `normalize_bf16`.
///
/// # Errors
///
/// When there is none for this type.
pub(in crate::ops) fn name_of(kernel: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{kernel}_f32")),
        DType::BF16 => Ok(format!("{kernel}_bf16")),
        other => bail!("kernel {kernel} is for f32 and bf16, not {other:?}"),
    }
}
