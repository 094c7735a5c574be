//! Batches of bytes on their way to a GPU: from pinned memory, on a stream of their own, while the GPU computes.
#![cfg_attr(feature = "cuda", expect(unsafe_code, reason = "fresh memory holds no numbers yet"))]

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use candle_core::Device;

/// Batches that lie on the GPU: while one is read the next is copied.
const PLACES: usize = 2;

#[cfg(feature = "cuda")]
mod streams {
    use std::sync::Arc;

    use anyhow::{Context as _, Result};
    use candle_core::Device;
    use candle_core::cuda_backend::cudarc::driver::{
        CudaEvent, CudaSlice, CudaStream, DevicePtr as _,
    };

    use super::super::pinned::Pinned;

    pub(super) type Memory = Pinned<u8>;

    /// The stream that copies, and the one that computes.
    pub(super) struct Streams {
        copying: Arc<CudaStream>,
        computing: Arc<CudaStream>,
    }

    /// A batch on the GPU, and when it was last read.
    pub(super) struct Place {
        bytes: CudaSlice<u8>,
        read: CudaEvent,
    }

    impl Streams {
        pub(super) fn open(device: &Device) -> Result<Self> {
            let computing = device.as_cuda_device()?.cuda_stream();
            let copying = computing.context().new_stream().context("no stream for copies")?;
            Ok(Self { copying, computing })
        }

        pub(super) fn memory(&self, bytes: usize) -> Result<Memory> {
            Pinned::new(&self.computing, bytes)
        }

        pub(super) fn place(&self, bytes: usize) -> Result<Place> {
            // SAFETY: a copy writes it before a kernel reads it.
            let bytes = unsafe { self.computing.alloc(bytes) }?;
            // it was given in the order of this stream, and the copies wait for that
            Ok(Place { bytes, read: self.computing.record_event(None)? })
        }

        /// Copies to a place once it was read, and lets what is computed from now on wait for that.
        pub(super) fn copy(&self, from: &mut Memory, to: &mut Place) -> Result<i64> {
            self.copying.wait(&to.read)?;
            from.copy_to(&mut to.bytes, &self.copying)?;
            self.computing.wait(&self.copying.record_event(None)?)?;
            Ok(to.bytes.device_ptr(&self.computing).0.cast_signed())
        }

        /// Remembers that all that reads a place was launched.
        pub(super) fn read(&self, place: &Place) -> Result<()> {
            Ok(place.read.record(&self.computing)?)
        }
    }

    pub(super) fn write(memory: &mut Memory) -> Result<&mut [u8]> {
        memory.numbers()
    }
}

#[cfg(not(feature = "cuda"))]
mod streams {
    use anyhow::Result;
    use candle_core::Device;

    pub(super) type Memory = Vec<u8>;
    pub(super) type Place = Vec<u8>;

    /// What stands in for streams where the kernels are emulated.
    pub(super) struct Streams;

    impl Streams {
        pub(super) fn open(_: &Device) -> Result<Self> {
            Ok(Self)
        }

        pub(super) fn memory(&self, bytes: usize) -> Result<Memory> {
            Ok(vec![0; bytes])
        }

        pub(super) fn place(&self, bytes: usize) -> Result<Place> {
            Ok(vec![0; bytes])
        }

        pub(super) fn copy(&self, from: &mut Memory, to: &mut Place) -> Result<i64> {
            to.copy_from_slice(from);
            Ok((to.as_ptr() as u64).cast_signed())
        }

        /// Spoils the place: whoever reads it again sees it.
        pub(super) fn read(&self, place: &mut Place) -> Result<()> {
            place.fill(0xaa);
            Ok(())
        }
    }

    pub(super) fn write(memory: &mut Memory) -> Result<&mut [u8]> {
        Ok(memory)
    }
}

/// Memory for a batch that is being made.
pub(crate) struct Staged(streams::Memory);

impl Staged {
    /// Returns the bytes to write.
    ///
    /// # Errors
    ///
    /// When the driver has failed.
    pub(crate) fn bytes(&mut self) -> Result<&mut [u8]> {
        streams::write(&mut self.0)
    }
}

/// Memory here and on the GPU for batches of one size, used again and again.
pub(crate) struct Uploads {
    places: Mutex<Places>,
    resting: Mutex<Vec<Staged>>,
    streams: streams::Streams,
}

struct Places {
    all: Vec<streams::Place>,
    next: usize,
}

impl Uploads {
    /// Takes memory for batches of so many bytes, of which as many as `staged` are made or wait at a time.
    ///
    /// # Errors
    ///
    /// When there is not enough.
    pub(crate) fn new(device: &Device, bytes: usize, staged: usize) -> Result<Self> {
        let streams = streams::Streams::open(device)?;
        let resting = (0..staged).map(|_| Ok(Staged(streams.memory(bytes)?)));
        let resting = Mutex::new(resting.collect::<Result<_>>()?);
        let all = (0..PLACES).map(|_| streams.place(bytes)).collect::<Result<_>>()?;
        Ok(Self { places: Mutex::new(Places { all, next: 0 }), resting, streams })
    }

    /// Returns memory to write a batch into.
    ///
    /// # Errors
    ///
    /// When more are out than were asked for.
    pub(crate) fn stage(&self) -> Result<Staged> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!resting.is_empty(), "more batches are being made than were planned");
        // that which was sent first, whose copy has most likely ended
        Ok(resting.remove(0))
    }

    /// Copies a batch to the GPU and calls `launch` with where it lies; all that reads it is launched there.
    ///
    /// # Errors
    ///
    /// When the driver fails, or the error of `launch`.
    pub(crate) fn send<R>(
        &self,
        mut staged: Staged,
        launch: impl FnOnce(i64) -> Result<R>,
    ) -> Result<R> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Places { all, next } = &mut *places;
        ensure!(!all.is_empty(), "there is no place for a batch");
        let place = &mut all[*next];
        *next = (*next + 1) % PLACES;
        let at = self.streams.copy(&mut staged.0, place)?;
        let launched = launch(at);
        self.streams.read(place)?;
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(staged);
        launched
    }
}

#[cfg(test)]
#[cfg(not(feature = "cuda"))]
mod tests {
    use candle_core::Device;

    use super::Uploads;

    #[test]
    fn batches_go_by_turns_and_their_memory_comes_back() {
        let uploads = Uploads::new(&Device::Cpu, 4, 2).unwrap();
        let mut seen = Vec::new();
        for round in 0..5 {
            let mut staged = uploads.stage().unwrap();
            staged.bytes().unwrap().fill(round);
            uploads
                .send(staged, |place| {
                    seen.push(place);
                    Ok(())
                })
                .unwrap();
        }
        assert!(seen[0] != seen[1] && seen[0] == seen[2] && seen[1] == seen[3], "{seen:?}");
        let out = [uploads.stage().unwrap(), uploads.stage().unwrap()];
        assert!(uploads.stage().is_err());
        drop(out);
    }
}
