//! The driver's part: how a kernel is started on a GPU, and where the memory of tensors lies.
#![expect(unsafe_code, reason = "a kernel is told where memory lies")]

use anyhow::{Context as _, Result, bail};
use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::CudaStorage;
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr as _, LaunchConfig, PushKernelArg as _, result,
};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Shape, Storage, Tensor};
use half::bf16;

use super::launch::{Argument, TYPES};
use super::{BLOCK, blocks};

/// The kernels, which the driver compiles for the GPU when the first is launched.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Returns whether our kernels compute with a tensor.
pub(crate) fn takes(tensor: &Tensor) -> bool {
    tensor.device().is_cuda()
}

/// Returns how many bytes of a GPU's memory are free; nothing of any other device.
///
/// # Errors
///
/// When the driver does not say.
pub(crate) fn free_bytes(device: &Device) -> Result<Option<u64>> {
    if !device.is_cuda() {
        return Ok(None);
    }
    let stream = device.as_cuda_device()?.cuda_stream();
    let (free, _) = stream.context().mem_get_info().context("the GPU's memory is not known")?;
    Ok(Some(free as u64))
}

/// Returns the most bytes of a GPU's memory that tensors and scratch have taken at once; nothing of any other device.
///
/// # Errors
///
/// When the driver does not say.
pub(crate) fn most_bytes(device: &Device) -> Result<Option<u64>> {
    if !device.is_cuda() {
        return Ok(None);
    }
    let device = device.as_cuda_device()?.cuda_stream().context().cu_device();
    let mut bytes = 0_u64;
    // SAFETY: the pool is the device's own, and the attribute is a number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(device)?;
        let most = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        result::mem_pool::get_attribute(pool, most, (&raw mut bytes).cast())?;
    }
    Ok(Some(bytes))
}

/// Starts a kernel with one thread for each of so many numbers.
pub(super) fn start(
    device: &Device,
    kernel: &str,
    threads: usize,
    arguments: &[Argument],
) -> Result<()> {
    let config = LaunchConfig {
        grid_dim: (blocks(threads)?, 1, 1),
        block_dim: (BLOCK as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let device = device.as_cuda_device()?;
    let function = device.get_or_load_custom_func(kernel, "pipe", KERNELS)?;
    // the launcher keeps references
    let mut kept: Vec<(u32, i32, f32, u64)> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        kept.push(match *argument {
            Argument::Count(count) => (u32::try_from(count)?, 0, 0.0, 0),
            Argument::Flag(flag) => (0, i32::from(flag), 0.0, 0),
            Argument::Kind(kind) => (0, i32::try_from(kind)?, 0.0, 0),
            Argument::Float(number) => (0, 0, number, 0),
            Argument::Address(address, _) => (0, 0, 0.0, address),
        });
    }
    let mut call = function.builder();
    for (argument, kept) in arguments.iter().zip(&kept) {
        match argument {
            Argument::Count(_) => call.arg(&kept.0),
            Argument::Flag(_) | Argument::Kind(_) => call.arg(&kept.1),
            Argument::Float(_) => call.arg(&kept.2),
            Argument::Address(..) => call.arg(&kept.3),
        };
    }
    // SAFETY: the arguments are those of the kernel (the emulation holds every launch to it), and the memory
    // behind the addresses is given back in the order of the stream, after the kernel has run.
    unsafe { call.launch(config) }?;
    Ok(())
}

/// Returns a tensor of unspecified numbers.
pub(super) fn room(device: &Device, dtype: DType, shape: Shape) -> Result<Tensor> {
    let device = device.as_cuda_device()?;
    let length = shape.elem_count();
    macro_rules! slice {
        ($type:ty) => {
            // SAFETY: the caller's kernel writes every number before any is read.
            CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<$type>(length) }?, device.clone())
        };
    }
    let storage = match dtype {
        DType::F32 => slice!(f32),
        DType::BF16 => slice!(bf16),
        DType::U8 => slice!(u8),
        other => bail!("kernels write {TYPES}, not {other:?}"),
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// Returns where the numbers of a contiguous tensor lie.
pub(super) fn place(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a tensor on a GPU was expected") };
    let (start, _) = layout.contiguous_offsets().context("a contiguous tensor was expected")?;
    let stream = storage.device().cuda_stream();
    let first = match storage.dtype() {
        DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
        DType::BF16 => storage.as_cuda_slice::<bf16>()?.device_ptr(&stream).0,
        DType::U8 => storage.as_cuda_slice::<u8>()?.device_ptr(&stream).0,
        DType::U32 => storage.as_cuda_slice::<u32>()?.device_ptr(&stream).0,
        DType::I64 => storage.as_cuda_slice::<i64>()?.device_ptr(&stream).0,
        other => bail!("kernels are given {TYPES}, not {other:?}"),
    };
    Ok(first + (start * storage.dtype().size_in_bytes()) as u64)
}
