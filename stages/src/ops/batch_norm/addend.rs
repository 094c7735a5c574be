//! What else there is of the gradient by the input of a norm on a GPU, which it adds to its own as it writes that.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use crate::ops::gpu::{Argument, Seen, address, are_aligned, like};
use crate::ops::sink::Gathered;

/// What is added, as kernels are told of it.
const NOTHING: usize = 0;
const WHOLE: usize = 1;
const SEEN: usize = 2;

/// What a norm adds to its gradient.
pub(super) enum Addend {
    /// As much.
    Whole(Tensor),
    /// What a convolution gives that saw some of the pixels.
    Seen(Seen),
}

impl Addend {
    /// Takes what has gathered of the gradient by `x`.
    pub(super) fn new(gathered: Gathered, x: &Tensor) -> Result<Self> {
        Ok(match gathered {
            Gathered::Whole(other) | Gathered::Summed(other, _) => {
                Self::Whole(like(other, Some(x))?)
            }
            Gathered::Seen(seen) => {
                let pixels = seen.pixels();
                ensure!(
                    pixels.dtype() == x.dtype() && seen.shape() == x.dims(),
                    "a gradient {:?} by pixels of {:?} for {:?} {:?}",
                    pixels.dtype(),
                    seen.shape(),
                    x.dtype(),
                    x.dims()
                );
                // how many numbers are read at once is decided by the others
                if are_aligned([pixels])? {
                    Self::Seen(seen)
                } else {
                    Self::Whole(seen.spread(None)?)
                }
            }
        })
    }

    /// Returns the array that must be as long as the gradient.
    pub(super) fn whole(&self) -> Option<&Tensor> {
        match self {
            Self::Whole(other) => Some(other),
            Self::Seen(_) => None,
        }
    }

    /// Returns what kernels are told; where nothing is added, any address of the type will do, such as that of `x`.
    pub(super) fn told(addend: Option<&Self>, x: &Tensor) -> Result<Vec<Argument>> {
        let (kind, array, places) = match addend {
            None => (NOTHING, x, [1; 6]),
            Some(Self::Whole(other)) => (WHOLE, other, [1; 6]),
            Some(Self::Seen(seen)) => (SEEN, seen.pixels(), seen.places()),
        };
        let told = [Argument::Kind(kind), address(array)?];
        Ok(told.into_iter().chain(places.map(Argument::Count)).collect())
    }
}
