//! Two norms on a GPU of which one takes what the other gives: each adds up for the other what it writes.
//!
//! What it writes is then read once less on the way there, and once less back.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::addend::Addend;
use super::fused::Known;
use crate::ops::gpu::{Tiles, address, filled};

/// What a norm tells of its result to a norm that takes it.
#[derive(Debug)]
pub(in crate::ops) struct Joint {
    pub(super) statistics: Statistics,
    /// Of a norm whose result is neither limited nor bent, so that the gradient by it is the one it needs.
    pub(super) before: Option<Before>,
}

/// Sums over the rows of an array, in parts.
#[derive(Debug)]
pub(super) struct Statistics {
    /// The first value of each channel, near which the others lie.
    pub(super) first: Tensor,
    /// Sums of the differences from that, and of their squares: [parts, 2 · channels].
    pub(super) partial: Tensor,
}

impl Statistics {
    /// Adds them up.
    pub(super) fn of(x: &Tensor, channels: usize) -> Result<Self> {
        let tiles = Tiles::new(x, channels, &[])?;
        let new = Self::room(&tiles, x)?;
        tiles.sum("statistics", &[address(x)?, address(&new.first)?, address(&new.partial)?])?;
        Ok(new)
    }

    /// Returns room for those of an array beside `x`.
    pub(super) fn room(tiles: &Tiles<'_>, x: &Tensor) -> Result<Self> {
        let first = filled(x.device(), DType::F32, tiles.channels)?;
        Ok(Self { first, partial: tiles.partial(2)? })
    }

    /// Returns how many parts there are.
    pub(super) fn parts(&self) -> Result<usize> {
        Ok(self.partial.dim(0)?)
    }
}

/// The norm before another, as that one sees it on the way back.
#[derive(Clone, Debug)]
pub(super) struct Before {
    x: Tensor,
    known: Known,
}

impl Before {
    pub(super) fn new(x: &Tensor, known: &Known) -> Self {
        Self { x: x.clone(), known: known.clone() }
    }

    /// Carries a gradient back through a norm of `x` that neither limits nor bends, by the sums over it, and adds
    /// `other`. Returns the gradient by `x`, which the norm before gave, and the partial sums that this one needs.
    pub(super) fn carried_to(
        &self,
        gradient: &Tensor,
        x: &Tensor,
        known: &Known,
        sums: &Tensor,
        other: Option<&Addend>,
    ) -> Result<(Tensor, Tensor)> {
        let back = filled(x.device(), x.dtype(), x.shape())?;
        let arrays = [Some(gradient), other.and_then(Addend::whole), Some(&back), Some(&self.x)];
        let tiles = Tiles::new(x, known.mean.elem_count(), &arrays)?;
        let partial = tiles.partial(2)?;
        let mut arguments = vec![
            address(gradient)?,
            address(x)?,
            address(&known.mean)?,
            address(&known.inverse)?,
            address(&known.scale)?,
            address(sums)?,
        ];
        arguments.extend(Addend::told(other, x)?);
        arguments.extend([
            address(&back)?,
            address(&self.x)?,
            address(&self.known.mean)?,
            address(&self.known.inverse)?,
            address(&partial)?,
        ]);
        tiles.sum("back_back_sums", &arguments)?;
        Ok((back, partial))
    }
}
