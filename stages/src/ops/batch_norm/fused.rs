//! Batch normalization by kernels of our own on a GPU: x is read twice on the way there, and twice back, but for
//! what a norm before it or after it adds up as well (`joined`).

use std::rc::Rc;

use anyhow::{Result, bail};
use candle_core::{DType, Tensor};

use super::addend::Addend;
use super::joined::{Before, Joint, Statistics};
use super::{After, BatchNorm};
use crate::ops::gpu::{Argument, Tiles, address, filled, folded, launch, like, of_columns};
use crate::ops::profile::Work;
use crate::ops::rectifier::Rectifier;
use crate::ops::tape::Tape;
use crate::ops::value::{Array, Recipe, Value};
use crate::weights::Parameter;

use Argument::{Count, Flag, Float};

/// How a gradient is kept from what lies beyond the limits, as the kernels have it.
const NO_LIMITS: usize = 0;
const BY_RESULT: usize = 1;
const BY_X: usize = 2;

/// Normalizes and, in training, records the way back.
pub(super) fn batch_norm(
    tape: &mut Tape,
    x: &Value,
    array: &Tensor,
    norm: &BatchNorm,
    after: After<'_>,
    residual: Option<&Value>,
) -> Result<Value> {
    let (array, channels) = (array.contiguous()?, norm.channels());
    let known = if tape.is_training() {
        of_batch(&array, norm, x.joint())?
    } else {
        let (inverse, scale) = norm.running_scale()?;
        Known { mean: norm.running_mean.variable.detach(), inverse, scale }
    };
    let added = match after.residual {
        None => None,
        Some(Array::Device(added)) => Some(added.contiguous()?),
        Some(Array::Host(_) | Array::Half(_)) => bail!("the residual is not on the GPU"),
    };
    let bend = Bend::new(norm, after);
    let added = added.as_ref();
    let (y, statistics) = if tape.is_training() && norm.feeds_norm {
        let (y, statistics) = bend.normalized_with_statistics(&array, &known, added)?;
        (y, Some(statistics))
    } else {
        (bend.normalized(&array, &known, added)?, None)
    };
    // a residual is not the tape's to keep
    let recipe = (norm.is_made_again(tape) && added.is_none()).then(|| {
        let (array, known, bend) = (array.clone(), known.clone(), bend.clone());
        Recipe::new(move || Ok(Array::Device(bend.normalized(&array, &known, None)?)))
    });
    let joint = statistics.map(|statistics| {
        let before = bend.is_straight().then(|| Before::new(&array, &known));
        Rc::new(Joint { statistics, before })
    });
    let before = x.joint().and_then(|joint| joint.before.clone());
    let output = Array::Device(y.clone());
    // without a residual the result follows from x, and is not read again
    let kept = residual.filter(|_| bend.limited).map(|_| y);
    let (node, residual_node) = (x.node, residual.map(|residual| residual.node));
    let value = tape.record(Work::new("batch norm"), output, move |gradient, sink| {
        let gradient = like(gradient, Some(&array))?;
        let (sums, gradient) = match sink.sums() {
            Some(partial) => (folded(&partial, 2 * channels)?, gradient),
            None => bend.sums(gradient, &array, &known, kept.as_ref())?,
        };
        drop(kept);
        sink.give_parameter(&bend.norm.bias, sums.narrow(0, 0, channels)?)?;
        if bend.norm.scales {
            let by_weight = sums.narrow(0, channels, channels)?;
            sink.give_parameter(&bend.norm.weight, by_weight)?;
        }
        if let Some(slope) = &bend.slope {
            sink.give_parameter(slope, sums.narrow(0, 2 * channels, channels)?)?;
        }
        if let Some(residual_node) = residual_node {
            sink.give(residual_node, Array::Device(gradient.clone()))?;
        }
        if node.is_none() {
            return Ok(());
        }
        let other = sink.gathered(node).map(|other| Addend::new(other, &array)).transpose()?;
        if let Some(before) = before.filter(|_| bend.is_straight()) {
            let (back, sums) =
                before.carried_to(&gradient, &array, &known, &sums, other.as_ref())?;
            return sink.give_with_sums(node, Array::Device(back), sums);
        }
        let limits = if residual_node.is_some() { NO_LIMITS } else { bend.kind(false) };
        let back = bend.back(&gradient, &array, &known, limits, &sums, other.as_ref())?;
        sink.give(node, Array::Device(back))
    });
    Ok(value.made_by(recipe).joined_by(joint))
}

/// What normalizes each channel.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) mean: Tensor,
    /// 1 / deviation.
    pub(super) inverse: Tensor,
    /// That times the weight.
    pub(super) scale: Tensor,
}

/// Returns what follows from a batch, towards which the running statistics are moved.
fn of_batch(x: &Tensor, norm: &BatchNorm, joint: Option<&Joint>) -> Result<Known> {
    let channels = norm.channels();
    let statistics = match joint {
        Some(joint) => &joint.statistics,
        None => &Statistics::of(x, channels)?,
    };
    let known = filled(x.device(), DType::F32, (3, channels))?;
    let (mean, inverse, scale) = (known.get(0)?, known.get(1)?, known.get(2)?);
    let rows = x.elem_count() / channels;
    let arguments = [
        Count(rows),
        Count(channels),
        Count(statistics.parts()?),
        address(&statistics.partial)?,
        address(&statistics.first)?,
        address(&norm.weight.variable)?,
        Float(norm.eps as f32),
        Float(norm.momentum as f32),
        Float((rows as f64 / (rows as f64 - 1.0)) as f32),
        address(&norm.running_mean.variable)?,
        address(&norm.running_var.variable)?,
        address(&mean)?,
        address(&inverse)?,
        address(&scale)?,
    ];
    launch(x.device(), "moments", of_columns(channels), &arguments)?;
    Ok(Known { mean, inverse, scale })
}

/// A norm with what bends its result: limits, or a slope below 0.
#[derive(Clone)]
struct Bend {
    norm: BatchNorm,
    slope: Option<Parameter>,
    limited: bool,
    lowest: f32,
    highest: f32,
}

impl Bend {
    fn new(norm: &BatchNorm, after: After<'_>) -> Self {
        let limits = after.rectifier.limits();
        let [lowest, highest] = limits.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        Self {
            norm: norm.clone(),
            slope: after.slope.cloned(),
            limited: after.rectifier != Rectifier::None,
            lowest,
            highest,
        }
    }

    /// Returns whether the result is neither limited nor bent.
    fn is_straight(&self) -> bool {
        !self.limited && self.slope.is_none()
    }

    /// Returns the result.
    fn normalized(&self, x: &Tensor, known: &Known, added: Option<&Tensor>) -> Result<Tensor> {
        let y = filled(x.device(), x.dtype(), x.shape())?;
        let arguments = self.of_result(x, known, added, &y)?;
        Tiles::new(x, self.norm.channels(), &[added, Some(&y)])?.map("normalize", &arguments)?;
        Ok(y)
    }

    /// Returns the result and its statistics.
    fn normalized_with_statistics(
        &self,
        x: &Tensor,
        known: &Known,
        added: Option<&Tensor>,
    ) -> Result<(Tensor, Statistics)> {
        let y = filled(x.device(), x.dtype(), x.shape())?;
        let tiles = Tiles::new(x, self.norm.channels(), &[added, Some(&y)])?;
        let statistics = Statistics::room(&tiles, x)?;
        let mut arguments = self.of_result(x, known, added, &y)?;
        arguments.extend([address(&statistics.first)?, address(&statistics.partial)?]);
        tiles.sum("normalize_statistics", &arguments)?;
        Ok((y, statistics))
    }

    /// Returns what a kernel is told that writes the result.
    fn of_result(
        &self,
        x: &Tensor,
        known: &Known,
        added: Option<&Tensor>,
        y: &Tensor,
    ) -> Result<Vec<Argument>> {
        let mut arguments = vec![address(x)?, address(&known.mean)?, address(&known.scale)?];
        arguments.extend([
            address(&self.norm.bias.variable)?,
            Flag(added.is_some()),
            address(added.unwrap_or(x))?,
        ]);
        arguments.extend(self.slope()?);
        arguments.extend(self.limits());
        arguments.push(address(y)?);
        Ok(arguments)
    }

    fn limits(&self) -> [Argument; 2] {
        [Float(self.lowest), Float(self.highest)]
    }

    /// Returns how limits are found again on the way back.
    fn kind(&self, kept: bool) -> usize {
        match (self.limited, kept) {
            (false, _) => NO_LIMITS,
            (true, true) => BY_RESULT,
            (true, false) => BY_X,
        }
    }

    /// Returns the slope as kernels are told of it; where there is none, any address of the type will do.
    fn slope(&self) -> Result<[Argument; 2]> {
        let slope = self.slope.as_ref().unwrap_or(&self.norm.bias);
        Ok([Flag(self.slope.is_some()), address(&slope.variable)?])
    }

    /// Returns the gradients by bias, weight and slope, one after the other, and what is left of the gradient within
    /// the limits, if these are those of a result that was kept.
    fn sums(
        &self,
        gradient: Tensor,
        x: &Tensor,
        known: &Known,
        kept: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let channels = self.norm.channels();
        let masked = kept.map(|_| filled(x.device(), x.dtype(), x.shape())).transpose()?;
        let tiles = Tiles::new(x, channels, &[Some(&gradient), kept, masked.as_ref()])?;
        let sets = 2 + usize::from(self.slope.is_some());
        let partial = tiles.partial(sets)?;
        let mut arguments = vec![address(&gradient)?, address(x)?];
        arguments.extend(self.told(known)?);
        arguments.extend([Argument::Kind(self.kind(kept.is_some())), address(kept.unwrap_or(x))?]);
        arguments.extend(self.limits());
        arguments.extend(self.slope()?);
        arguments.extend([
            Flag(masked.is_some()),
            address(masked.as_ref().unwrap_or(x))?,
            address(&partial)?,
        ]);
        tiles.sum("back_sums", &arguments)?;
        Ok((folded(&partial, sets * channels)?, masked.unwrap_or(gradient)))
    }

    /// Returns the gradient by x, to which `other` is added.
    fn back(
        &self,
        gradient: &Tensor,
        x: &Tensor,
        known: &Known,
        limits: usize,
        sums: &Tensor,
        other: Option<&Addend>,
    ) -> Result<Tensor> {
        let back = filled(x.device(), x.dtype(), x.shape())?;
        let arrays = [Some(gradient), other.and_then(Addend::whole), Some(&back)];
        let tiles = Tiles::new(x, self.norm.channels(), &arrays)?;
        let mut arguments = vec![address(gradient)?, address(x)?];
        arguments.extend(self.told(known)?);
        arguments.push(Argument::Kind(limits));
        arguments.extend(self.limits());
        arguments.extend(self.slope()?);
        arguments.push(address(sums)?);
        arguments.extend(Addend::told(other, x)?);
        arguments.push(address(&back)?);
        tiles.map("back", &arguments)?;
        Ok(back)
    }

    /// Returns what the way back knows of the way there.
    fn told(&self, known: &Known) -> Result<[Argument; 4]> {
        let Known { mean, inverse, scale } = known;
        Ok([address(mean)?, address(inverse)?, address(scale)?, address(&self.norm.bias.variable)?])
    }
}
