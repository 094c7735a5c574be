//! Numbers that a device has yet to compute, read once they are wanted: it goes on with what it was given after them.

use std::marker::PhantomData;

use anyhow::Result;
use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::gpu::{Download, Downloaded as Readable, Downloads};
#[cfg(not(feature = "cuda"))]
use candle_core::WithDType as Readable;

/// Reads tensors of one type, one after the other.
pub(crate) struct Readings<N> {
    #[cfg(feature = "cuda")]
    downloads: Downloads<N>,
    numbers: PhantomData<N>,
}

/// The numbers of a tensor, under way.
pub(crate) struct Reading<N>(Way<N>);

enum Way<N> {
    /// They are here.
    Host(Tensor, PhantomData<N>),
    #[cfg(feature = "cuda")]
    Device(Download<N>),
}

impl<N: Readable> Readings<N> {
    /// Begins nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "cuda")]
            downloads: Downloads::new(),
            numbers: PhantomData,
        }
    }

    /// Begins to read a tensor, in its order, as it is after all that was launched before.
    ///
    /// # Errors
    ///
    /// When it is of another type, or the device fails.
    pub(crate) fn begin(&self, tensor: &Tensor) -> Result<Reading<N>> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Reading(Way::Device(self.downloads.begin(&tensor.contiguous()?)?)));
        }
        // a copy: what is written into the tensor's memory later is not meant
        Ok(Reading(Way::Host(tensor.detach().copy()?, PhantomData)))
    }
}

impl<N: Readable> Reading<N> {
    /// Waits until the numbers are there, and returns them, one after the other.
    ///
    /// # Errors
    ///
    /// When the device has failed.
    pub(crate) fn finish(self) -> Result<Vec<N>> {
        match self.0 {
            Way::Host(tensor, _) => Ok(tensor.flatten_all()?.to_vec1()?),
            #[cfg(feature = "cuda")]
            Way::Device(download) => download.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::Readings;

    #[test]
    fn numbers_are_those_at_the_beginning() {
        let readings = Readings::<f32>::new();
        let numbers = Var::from_slice(&[1.0_f32, 2.0], (2, 1), &Device::Cpu).unwrap();
        let begun = readings.begin(&numbers).unwrap();
        numbers.set(&Tensor::zeros_like(&numbers).unwrap()).unwrap();
        let later = readings.begin(&numbers).unwrap();
        assert_eq!(begun.finish().unwrap(), [1.0, 2.0]);
        assert_eq!(later.finish().unwrap(), [0.0, 0.0]);
        assert!(Readings::<u32>::new().begin(&numbers).unwrap().finish().is_err());
    }
}
