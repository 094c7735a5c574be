//! Numbers on their way from a GPU, while it computes on.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use candle_core::{Storage, Tensor, WithDType};

use super::pinned::Pinned;

/// Numbers that can be copied from a GPU.
pub(crate) trait Downloaded: WithDType + CudaDType + DeviceRepr + ValidAsZeroBits {}

impl<N: WithDType + CudaDType + DeviceRepr + ValidAsZeroBits> Downloaded for N {}

/// Memory that no copy goes to, used again and again.
type Resting<N> = Arc<Mutex<Vec<Pinned<N>>>>;

/// Copies tensors of one type from a GPU.
pub(crate) struct Downloads<N>(Resting<N>);

/// A copy that was begun.
pub(crate) struct Download<N> {
    memory: Pinned<N>,
    length: usize,
    resting: Resting<N>,
}

impl<N: Downloaded> Downloads<N> {
    pub(crate) fn new() -> Self {
        Self(Resting::default())
    }

    /// Begins to copy a contiguous tensor, in the order of the stream that computes; nothing waits for it.
    ///
    /// # Errors
    ///
    /// When it is not of this type or not contiguous, or there is no pinned memory.
    pub(crate) fn begin(&self, tensor: &Tensor) -> Result<Download<N>> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { bail!("a tensor on a GPU was expected") };
        let (start, end) =
            layout.contiguous_offsets().context("a contiguous tensor was expected")?;
        let (numbers, length) = (storage.as_cuda_slice::<N>()?.slice(start..end), end - start);
        let stream = tensor.device().as_cuda_device()?.cuda_stream();
        let rested = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = match rested.filter(|memory| memory.len() >= length) {
            Some(memory) => memory,
            None => Pinned::new(&stream, length)?,
        };
        memory.copy_from(&numbers, &stream)?;
        Ok(Download { memory, length, resting: self.0.clone() })
    }
}

impl<N: Downloaded> Download<N> {
    /// Waits for the copy and returns the numbers.
    ///
    /// # Errors
    ///
    /// When the driver has failed.
    pub(crate) fn finish(mut self) -> Result<Vec<N>> {
        let numbers = self.memory.numbers()?[..self.length].to_vec();
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(self.memory);
        Ok(numbers)
    }
}
