//! Launching our kernels on a GPU, over the memory of tensors.
#![expect(unsafe_code, reason = "a kernel is told where memory lies")]

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::CudaStorage;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr as _, LaunchConfig, PushKernelArg as _};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Shape, Storage, Tensor};
use half::bf16;

use super::{BLOCK, Cut, blocks};

/// The kernels, which the driver compiles for the GPU when the first is launched.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// What a kernel is given, in the order and types of its parameters.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum Argument {
    /// `count`.
    Count(usize),
    /// `int`, 0 or 1.
    Flag(bool),
    /// `float`.
    Float(f32),
    /// A pointer, from [`address`].
    Address(u64),
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
    let told = || format!("kernel {kernel} over {threads} numbers with {arguments:?}");
    let config = LaunchConfig {
        grid_dim: (blocks(threads).with_context(told)?, 1, 1),
        block_dim: (BLOCK as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let device = device.as_cuda_device()?;
    let function = device.get_or_load_custom_func(kernel, "pipe", KERNELS).with_context(told)?;
    // the launcher keeps references
    let mut kept: Vec<(u32, i32, f32, u64)> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        kept.push(match *argument {
            Argument::Count(count) => (u32::try_from(count).with_context(told)?, 0, 0.0, 0),
            Argument::Flag(flag) => (0, i32::from(flag), 0.0, 0),
            Argument::Float(number) => (0, 0, number, 0),
            Argument::Address(address) => (0, 0, 0.0, address),
        });
    }
    let mut call = function.builder();
    for (argument, kept) in arguments.iter().zip(&kept) {
        match argument {
            Argument::Count(_) => call.arg(&kept.0),
            Argument::Flag(_) => call.arg(&kept.1),
            Argument::Float(_) => call.arg(&kept.2),
            Argument::Address(_) => call.arg(&kept.3),
        };
    }
    // SAFETY: the arguments are those of the kernel (what calls this names both), and the memory behind the
    // addresses is given back in the order of the stream, after the kernel has run.
    unsafe { call.launch(config) }.with_context(told)?;
    Ok(())
}

/// Returns a tensor whose numbers a kernel is about to write, all of them.
///
/// # Errors
///
/// When there is no memory, or the type is neither f32 nor bf16.
pub(in crate::ops) fn filled(
    device: &Device,
    dtype: DType,
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let (shape, device) = (shape.into(), device.as_cuda_device()?);
    let length = shape.elem_count();
    // SAFETY: the caller's kernel writes every number before any is read.
    let storage = unsafe {
        match dtype {
            DType::F32 => {
                CudaStorage::wrap_cuda_slice(device.alloc::<f32>(length)?, device.clone())
            }
            DType::BF16 => {
                CudaStorage::wrap_cuda_slice(device.alloc::<bf16>(length)?, device.clone())
            }
            other => bail!("kernels of f32 and bf16 are given {other:?}"),
        }
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// Returns where the numbers of a tensor lie; the tensor must outlive the launch that is given it.
///
/// # Errors
///
/// When it is not on a GPU, not contiguous, of another type than f32 and bf16, or has more numbers than
/// kernels count.
pub(in crate::ops) fn address(tensor: &Tensor) -> Result<Argument> {
    let numbers = tensor.elem_count();
    ensure!(numbers <= i32::MAX as usize, "{numbers} numbers are more than a kernel counts");
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a tensor on a GPU was expected") };
    let (start, _) = layout.contiguous_offsets().context("a contiguous tensor was expected")?;
    let stream = storage.device().cuda_stream();
    let address = match storage.dtype() {
        DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0 + 4 * start as u64,
        DType::BF16 => storage.as_cuda_slice::<bf16>()?.device_ptr(&stream).0 + 2 * start as u64,
        other => bail!("kernels of f32 and bf16 are given {other:?}"),
    };
    Ok(Argument::Address(address))
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

/// Adds up the lanes of sums [lanes, width] in a fixed order, to [width].
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn folded(partial: &Tensor, cut: Cut, width: usize) -> Result<Tensor> {
    let device = partial.device();
    let Cut { lanes, take, folds } = cut;
    let between = filled(device, DType::F32, (folds, width))?;
    let sums = filled(device, DType::F32, width)?;
    for (lines, take, from, to, threads) in
        [(lanes, take, partial, &between, folds * width), (folds, folds, &between, &sums, width)]
    {
        let arguments = [
            Argument::Count(lines),
            Argument::Count(width),
            Argument::Count(take),
            address(from)?,
            address(to)?,
        ];
        launch(device, "fold", threads, &arguments)?;
    }
    Ok(sums)
}
