//! Where gradients gather on the way back: those by values until their operators are reached, those by parameters to the
//! end.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

#[cfg(any(feature = "cuda", test))]
use super::gpu::Seen;
use super::tape::Gradients;
use super::value::Array;
use crate::weights::Parameter;

/// Where gradients gather.
pub(super) struct Sink {
    values: Vec<Option<Gathered>>,
    /// The sums that came with the gradient that is carried back now.
    sums: Option<Tensor>,
    parameters: Gradients,
}

/// What there is of the gradient by a value.
pub(super) enum Gathered {
    /// That much.
    Whole(Array),
    /// That much, with sums over it.
    Summed(Array, Tensor),
    /// That by some of its pixels.
    #[cfg(any(feature = "cuda", test))]
    Seen(Seen),
}

impl Gathered {
    /// Returns all of it.
    fn whole(self) -> Result<Array> {
        match self {
            Self::Whole(gradient) | Self::Summed(gradient, _) => Ok(gradient),
            #[cfg(any(feature = "cuda", test))]
            Self::Seen(seen) => Ok(Array::Device(seen.spread(None)?)),
        }
    }

    /// Returns the sum of both.
    fn plus(self, other: Array) -> Result<Array> {
        match self {
            Self::Whole(gradient) | Self::Summed(gradient, _) => gradient.plus(&other),
            #[cfg(any(feature = "cuda", test))]
            Self::Seen(seen) => {
                Ok(Array::Device(seen.spread(Some(&super::gpu::like(other, None)?))?))
            }
        }
    }
}

impl Sink {
    /// Makes room for the gradients by so many values.
    pub(super) fn new(values: usize) -> Self {
        let values = (0..values).map(|_| None).collect();
        Self { values, sums: None, parameters: Gradients::new() }
    }

    /// Adds to the gradient of a value; the first to come is moved in.
    pub(super) fn give(&mut self, node: Option<usize>, gradient: Array) -> Result<()> {
        let Some(node) = node else { return Ok(()) };
        let sum = match self.values[node].take() {
            None => gradient,
            Some(before) => before.plus(gradient)?,
        };
        self.values[node] = Some(Gathered::Whole(sum));
        Ok(())
    }

    /// Gives the gradient of a value, all that there is of it, with sums over it for the operator that gave the value.
    /// Should more come, that operator finds no sums.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "on a GPU alone"))]
    pub(super) fn give_with_sums(
        &mut self,
        node: Option<usize>,
        gradient: Array,
        sums: Tensor,
    ) -> Result<()> {
        let Some(node) = node else { return Ok(()) };
        let known = self.values[node].replace(Gathered::Summed(gradient, sums));
        ensure!(known.is_none(), "there is more of a gradient than was added up");
        Ok(())
    }

    /// Adds to the gradient of a value what a convolution gives that saw some of its pixels.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn give_seen(&mut self, node: Option<usize>, seen: Seen) -> Result<()> {
        let Some(node) = node else { return Ok(()) };
        let sum = match self.values[node].take() {
            None => Gathered::Seen(seen),
            Some(before) => Gathered::Whole(Gathered::Seen(seen).plus(before.whole()?)?),
        };
        self.values[node] = Some(sum);
        Ok(())
    }

    /// Takes the gradient of a value whose operator is reached, if any has gathered.
    pub(super) fn arrived(&mut self, node: usize) -> Result<Option<Array>> {
        let (gradient, sums) = match self.values[node].take() {
            None => (None, None),
            Some(Gathered::Summed(gradient, sums)) => (Some(gradient), Some(sums)),
            Some(other) => (Some(other.whole()?), None),
        };
        self.sums = sums;
        Ok(gradient)
    }

    /// Takes the sums that came with the gradient that is carried back now.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "on a GPU alone"))]
    pub(super) fn sums(&mut self) -> Option<Tensor> {
        self.sums.take()
    }

    /// Takes what has gathered of the gradient of a value, for an operator that adds it to its own and gives both.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "on a GPU alone"))]
    pub(super) fn gathered(&mut self, node: Option<usize>) -> Option<Gathered> {
        self.values[node?].take()
    }

    /// Adds to the gradient of a parameter, which is f32 whatever the activations are.
    pub(super) fn give_parameter(&mut self, parameter: &Parameter, gradient: Tensor) -> Result<()> {
        let gradient = gradient.to_dtype(DType::F32)?;
        let sum = match self.parameters.remove(&parameter.name) {
            None => gradient,
            Some(before) => (before + gradient)?,
        };
        self.parameters.insert(parameter.name.clone(), sum);
        Ok(())
    }

    /// Returns the gradients by parameters.
    pub(super) fn into_parameters(self) -> Gradients {
        self.parameters
    }
}
