//! What a GPU is set to before its first tensor, and what it must have.

#[cfg(feature = "cuda")]
use anyhow::{Context as _, Result};

/// The oldest cuDNN whose functions are as they are declared here.
const OLDEST_CUDNN: usize = 90_000;

/// Prepares a GPU that was just opened: freed memory stays with the process, and memory carries no events.
///
/// # Errors
///
/// When cuDNN is missing or too old, or the driver fails.
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "the driver is a library of C")]
pub(crate) fn prepare(device: &candle_core::Device) -> Result<()> {
    use candle_core::cuda_backend::cudarc::cudnn;
    use candle_core::cuda_backend::cudarc::driver::{result, sys::CUmemPool_attribute};

    check_cudnn(cudnn::result::get_version()).map_err(anyhow::Error::msg)?;
    let device = device.as_cuda_device()?;
    // SAFETY: a stage computes on one stream, so memory needs no events to know who uses it; what another stream
    // copies (gpu/uploads.rs), and what lies here (gpu/pinned.rs), has events of its own.
    unsafe { device.disable_event_tracking() };
    let mut most = u64::MAX;
    // SAFETY: the pool is the device's own, and the attribute is a number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(device.cuda_stream().context().cu_device())
            .context("the GPU has no pool of memory")?;
        let release = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, release, (&raw mut most).cast())
            .context("the GPU's pool of memory cannot be set")
    }
}

/// Fails unless the version that cuDNN gives is one that can be used; where it is missing, what stands in
/// for it gives no such number.
fn check_cudnn(version: usize) -> Result<(), String> {
    if version >= OLDEST_CUDNN {
        return Ok(());
    }
    let found = if version < 7000 {
        "libcudnn.so.9 is not found".to_owned()
    } else {
        format!("version {}.{} was found", version / 1000, version % 1000 / 100)
    };
    Err(format!(
        "training on a GPU needs cuDNN 9: {found}; name its folder in CUDA_LIBS, or use --device cpu"
    ))
}

#[cfg(test)]
mod tests {
    use super::check_cudnn;

    #[test]
    fn a_missing_or_old_cudnn_is_told() {
        assert!(check_cudnn(91_400).is_ok());
        let missing =
            "training on a GPU needs cuDNN 9: libcudnn.so.9 is not found; name its folder";
        assert!(check_cudnn(1001).unwrap_err().starts_with(missing));
        assert!(check_cudnn(8905).unwrap_err().contains("version 8.9 was found"));
    }
}
