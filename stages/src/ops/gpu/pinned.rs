//! Memory here that a GPU copies to and from while the program goes on.
#![expect(unsafe_code, reason = "fresh memory holds no numbers yet")]

use std::sync::Arc;

use anyhow::{Context as _, Result};
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags;
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaSlice, CudaStream, CudaView, DeviceRepr, PinnedHostSlice, ValidAsZeroBits,
};

/// Numbers in memory that the system leaves in its place.
///
/// The library would wait for copies by itself, but not where memory carries no events (settings.rs): each copy
/// leaves an event of its own here.
pub(super) struct Pinned<N> {
    memory: PinnedHostSlice<N>,
    copied: Option<CudaEvent>,
}

impl<N: DeviceRepr + ValidAsZeroBits> Pinned<N> {
    /// Takes memory for so many numbers, which are unspecified.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) fn new(stream: &CudaStream, length: usize) -> Result<Self> {
        // SAFETY: whoever reads it has written it, or had it written, before.
        let memory = unsafe { stream.context().alloc_pinned_with_flags(length, 0) }
            .with_context(|| format!("there is no pinned memory for {length} numbers"))?;
        Ok(Self { memory, copied: None })
    }

    /// Returns how many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Copies all numbers to a GPU, in the order of a stream.
    ///
    /// # Errors
    ///
    /// When the driver refuses it.
    pub(super) fn copy_to(
        &mut self,
        to: &mut CudaSlice<N>,
        stream: &Arc<CudaStream>,
    ) -> Result<()> {
        stream.memcpy_htod(&self.memory, to)?;
        self.note(stream)
    }

    /// Copies numbers from a GPU over the first, in the order of a stream, once nothing else is copied here.
    ///
    /// # Errors
    ///
    /// When the driver refuses it.
    pub(super) fn copy_from(
        &mut self,
        from: &CudaView<'_, N>,
        stream: &Arc<CudaStream>,
    ) -> Result<()> {
        // the library copies as many numbers as there is room for
        let first = &mut self.numbers()?[..from.len()];
        stream.memcpy_dtoh(from, first)?;
        self.note(stream)
    }

    /// Waits until nothing is copied and returns the numbers.
    ///
    /// # Errors
    ///
    /// When the driver has failed.
    pub(super) fn numbers(&mut self) -> Result<&mut [N]> {
        if let Some(copied) = self.copied.take() {
            copied.synchronize()?;
        }
        Ok(self.memory.as_mut_slice()?)
    }

    fn note(&mut self, stream: &CudaStream) -> Result<()> {
        // one that lets the processor do something else
        match stream.record_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC)) {
            Ok(event) => self.copied = Some(event),
            // nothing else would wait for the copy
            Err(error) => stream.synchronize().and(Err(error))?,
        }
        Ok(())
    }
}

impl<N> Drop for Pinned<N> {
    fn drop(&mut self) {
        if let Some(copied) = self.copied.take() {
            // a driver that has failed copies nothing any more
            let _ = copied.synchronize();
        }
    }
}
