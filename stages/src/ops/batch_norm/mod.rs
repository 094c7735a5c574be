//! Batch normalization (Ioffe and Szegedy 2015), in one with a residual and a rectifier.

#[cfg(any(feature = "cuda", test))]
mod addend;
mod composed;
#[cfg(any(feature = "cuda", test))]
mod fused;
mod host;
#[cfg(any(feature = "cuda", test))]
mod joined;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

#[cfg(any(feature = "cuda", test))]
pub(super) use self::joined::Joint;
use super::number::Number;
use super::profile::Work;
use super::rectifier::Rectifier;
use super::tape::Tape;
use super::value::{Array, Host, Recipe, Value, read};
use crate::weights::{Buffer, Parameter};

/// The weights and running statistics of one normalization, each of length C.
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    /// γ.
    pub(crate) weight: Parameter,
    /// Whether γ is trained.
    pub(crate) scales: bool,
    /// β.
    pub(crate) bias: Parameter,
    /// Mean over batches, for inference.
    pub(crate) running_mean: Buffer,
    /// Unbiased variance over batches, for inference.
    pub(crate) running_var: Buffer,
    /// How much of each batch goes into the running statistics; 0.1 in PyTorch.
    pub(crate) momentum: f64,
    /// Added to the variance; 1e-5 in PyTorch.
    pub(crate) eps: f64,
    /// Whether a norm takes what this one gives: a GPU then adds up what that norm asks for as it writes it.
    pub(crate) feeds_norm: bool,
    /// Whether what it gives is not kept for the way back but computed again, if it has no residual.
    pub(crate) spares: bool,
}

/// What a normalization does after its affine map.
#[derive(Clone, Copy, Debug)]
struct After<'a> {
    residual: Option<&'a Array>,
    rectifier: Rectifier,
    /// The slope below 0 of what comes then, where that is done in one.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "on a GPU alone"))]
    slope: Option<&'a Parameter>,
}

/// Mean and biased variance of each channel.
struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

/// Computes rectifier((x - mean) / √(var + eps) · weight + bias + residual?) over [N, H, W, C] or
/// [N, C]. Training takes the statistics of the batch and moves the running ones.
///
/// # Errors
///
/// When shapes differ, or training sees a single value of each channel.
pub(crate) fn batch_norm(
    tape: &mut Tape,
    x: &Value,
    norm: &BatchNorm,
    residual: Option<&Value>,
    rectifier: Rectifier,
) -> Result<Value> {
    check(tape, x, norm, residual)?;
    let after = After { residual: residual.map(Value::array), rectifier, slope: None };
    match x.array() {
        Array::Host(array) => on_host(tape, x.node, array, norm, after, residual),
        Array::Half(array) => on_host(tape, x.node, array, norm, after, residual),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(array) if super::gpu::takes(array) => {
            fused::batch_norm(tape, x, array, norm, after, residual)
        }
        Array::Device(array) => composed::batch_norm(tape, x, array, norm, after, residual),
    }
}

/// Computes [`super::prelu`] of a batch norm, on a GPU in one.
///
/// # Errors
///
/// As of both.
pub(crate) fn batch_norm_prelu(
    tape: &mut Tape,
    x: &Value,
    norm: &BatchNorm,
    slope: &Parameter,
) -> Result<Value> {
    #[cfg(any(feature = "cuda", test))]
    if let Array::Device(array) = x.array()
        && super::gpu::takes(array)
    {
        check(tape, x, norm, None)?;
        super::prelu::check(x, slope)?;
        let after = After { residual: None, rectifier: Rectifier::None, slope: Some(slope) };
        return fused::batch_norm(tape, x, array, norm, after, None);
    }
    let y = batch_norm(tape, x, norm, None, Rectifier::None)?;
    super::prelu(tape, &y, slope)
}

/// Refuses what does not fit a norm.
fn check(tape: &Tape, x: &Value, norm: &BatchNorm, residual: Option<&Value>) -> Result<()> {
    let channels = *x.dims().last().unwrap_or(&0);
    let name = &norm.weight.name;
    ensure!(
        channels == norm.channels(),
        "`{name}` is for {} channels, and was given {:?}",
        norm.channels(),
        x.dims()
    );
    if let Some(residual) = residual {
        ensure!(residual.dims() == x.dims(), "`{name}`: the residual is {:?}", residual.dims());
    }
    let count = x.dims().iter().product::<usize>() / channels.max(1);
    ensure!(
        count > 1 || !tape.is_training(),
        "`{name}`: training needs more than one value of each channel"
    );
    Ok(())
}

fn on_host<N: Number>(
    tape: &mut Tape,
    node: Option<usize>,
    array: &Host<N>,
    norm: &BatchNorm,
    after: After<'_>,
    residual: Option<&Value>,
) -> Result<Value> {
    let numbers = |variable: &Tensor| read(variable, <[f32]>::to_vec);
    let (weight, bias) = (numbers(&norm.weight.variable)?, numbers(&norm.bias.variable)?);
    let statistics = if tape.is_training() {
        let statistics = host::statistics(&array.numbers, weight.len());
        let device = Device::Cpu;
        let mean = Tensor::from_slice(&statistics.mean, weight.len(), &device)?;
        let variance = Tensor::from_slice(&statistics.variance, weight.len(), &device)?;
        norm.observe(&mean, &variance, array.numbers.len() / weight.len())?;
        statistics
    } else {
        let mean = numbers(&norm.running_mean.variable)?;
        Statistics { mean, variance: numbers(&norm.running_var.variable)? }
    };
    let map = host::Map::new(&statistics, &weight, &bias, norm.eps);
    let added = match after.residual {
        None => None,
        Some(added) => {
            Some(&N::host(added).context("the residual is of another kind")?.numbers[..])
        }
    };
    let y = host::forward(&array.numbers, &map, added, after.rectifier);
    let output = Host::new(array.shape.clone(), y);
    let (x, map) = (array.clone(), Arc::new(map));
    // a residual is not the tape's to keep
    let recipe = (norm.is_made_again(tape) && added.is_none()).then(|| {
        let (x, map, rectifier) = (x.clone(), map.clone(), after.rectifier);
        Recipe::new(move || {
            let y = host::forward(&x.numbers, &map, None, rectifier);
            Ok(N::array(Host::new(x.shape.clone(), y)))
        })
    });
    let limits = after.rectifier.limits();
    // without a residual the output follows from x, and is not read again
    let kept = limits.filter(|_| residual.is_some()).map(|_| output.clone());
    let residual_node = residual.map(|residual| residual.node);
    let norm = norm.clone();
    let value = tape.record(Work::new("batch norm"), N::array(output), move |gradient, sink| {
        let (shape, mut gradient) = N::taken(gradient)?.into_owned();
        let output = kept.as_ref().map(|output| &output.numbers[..]);
        let sums = host::masked_sums(&x.numbers, &mut gradient, output, &map, limits);
        drop(kept);
        let channels = map.channels();
        let device = Device::Cpu;
        if norm.scales {
            let by_weight = Tensor::from_slice(&sums.by_weight, channels, &device)?;
            sink.give_parameter(&norm.weight, by_weight)?;
        }
        let by_bias = Tensor::from_slice(&sums.by_bias, channels, &device)?;
        sink.give_parameter(&norm.bias, by_bias)?;
        let Some(residual_node) = residual_node else {
            host::backward_in_place(&x.numbers, &mut gradient, &map, &sums, limits);
            return sink.give(node, N::array(Host::new(shape, gradient)));
        };
        if node.is_some() {
            let back = host::backward(&x.numbers, &gradient, &map, &sums);
            sink.give(node, N::array(Host::new(shape.clone(), back)))?;
        }
        sink.give(residual_node, N::array(Host::new(shape, gradient)))
    });
    Ok(value.made_by(recipe))
}

impl BatchNorm {
    /// Returns whether what it gives is computed again on the way back.
    fn is_made_again(&self, tape: &Tape) -> bool {
        tape.is_recomputing() || (tape.is_training() && self.spares)
    }

    /// Returns how many channels it is for.
    pub(super) fn channels(&self) -> usize {
        self.weight.variable.elem_count()
    }

    /// Returns what inference multiplies each channel by and then adds to it, f32.
    pub(super) fn folded(&self) -> Result<(Tensor, Tensor)> {
        #[cfg(any(feature = "cuda", test))]
        if super::gpu::takes(&self.weight.variable) {
            // where it lies: a GPU would be waited for
            let (_, scale) = self.running_scale()?;
            let moved = (self.running_mean.variable.as_tensor() * &scale)?;
            let shift = (self.bias.variable.as_tensor() - moved)?;
            return Ok((scale.detach(), shift.detach()));
        }
        let numbers = |variable: &Tensor| -> Result<Vec<f64>> {
            Ok(variable.to_dtype(DType::F64)?.to_vec1()?)
        };
        let [weight, bias, mean, variance] = [
            numbers(&self.weight.variable)?,
            numbers(&self.bias.variable)?,
            numbers(&self.running_mean.variable)?,
            numbers(&self.running_var.variable)?,
        ];
        let (mut scale, mut shift) = (Vec::new(), Vec::new());
        for channel in 0..weight.len() {
            let factor = weight[channel] / (variance[channel] + self.eps).sqrt();
            scale.push(factor as f32);
            shift.push((bias[channel] - mean[channel] * factor) as f32);
        }
        let (length, device) = (scale.len(), self.weight.variable.device());
        Ok((Tensor::from_vec(scale, length, device)?, Tensor::from_vec(shift, length, device)?))
    }

    /// Returns 1 / deviation of each channel by the running statistics, and that times the weight.
    #[cfg(any(feature = "cuda", test))]
    fn running_scale(&self) -> Result<(Tensor, Tensor)> {
        let inverse = (self.running_var.variable.as_tensor() + self.eps)?.sqrt()?.recip()?;
        let scale = (self.weight.variable.as_tensor() * &inverse)?;
        Ok((inverse, scale))
    }

    /// Moves the running statistics towards those of a batch of `count` values per channel.
    fn observe(&self, mean: &Tensor, variance: &Tensor, count: usize) -> Result<()> {
        let unbiased = (variance * (count as f64 / (count as f64 - 1.0)))?;
        for (running, now) in [(&self.running_mean, mean), (&self.running_var, &unbiased)] {
            let before = (running.variable.as_tensor() * (1.0 - self.momentum))?;
            running.variable.set(&(before + (now * self.momentum)?)?)?;
        }
        Ok(())
    }
}
