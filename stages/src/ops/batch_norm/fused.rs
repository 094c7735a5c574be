//! Batch normalization by kernels of our own on a GPU: x is read twice on the way there, and twice back.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::{After, BatchNorm};
use crate::ops::gpu::{Argument, Cut, address, filled, folded, launch, name_of};
use crate::ops::profile::Work;
use crate::ops::rectifier::Rectifier;
use crate::ops::tape::Tape;
use crate::ops::value::{Array, Value};

use Argument::{Count, Flag, Float};

/// Normalizes and, in training, records the way back.
pub(super) fn batch_norm(
    tape: &mut Tape,
    x: &Value,
    array: &Tensor,
    norm: &BatchNorm,
    after: After<'_>,
    residual: Option<&Value>,
) -> Result<Value> {
    let x_array = array.contiguous()?;
    let sizes = Sizes::of(&x_array, norm.channels());
    let (mean, variance) = if tape.is_training() {
        let (mean, variance) = statistics(&x_array, sizes)?;
        norm.observe(&mean, &variance, sizes.rows)?;
        (mean, variance)
    } else {
        let running = |variable: &Tensor| variable.detach();
        (running(&norm.running_mean.variable), running(&norm.running_var.variable))
    };
    let inverse = (variance + norm.eps)?.sqrt()?.recip()?;
    let scale = (norm.weight.variable.as_tensor() * &inverse)?;
    let added = match after.residual {
        None => None,
        Some(Array::Device(added)) => Some(added.contiguous()?),
        Some(Array::Host(_) | Array::Half(_)) => anyhow::bail!("the residual is not on the GPU"),
    };
    let limits = Limits::of(after.rectifier);
    let bias = norm.bias.variable.detach();
    let y = normalize(&x_array, sizes, [&mean, &scale, &bias], added.as_ref(), limits)?;
    drop(added);
    let output = Array::Device(y.clone());
    let kept = limits.some.then_some(y);
    let (node, residual_node) = (x.node, residual.map(|residual| residual.node));
    let norm = norm.clone();
    Ok(tape.record(Work::new("batch norm"), output, move |gradient, sink| {
        let gradient = Value::new(gradient, None);
        let gradient = gradient.tensor().contiguous()?;
        ensure!(gradient.dtype() == x_array.dtype(), "a gradient of another type than x");
        let known = Known { x: &x_array, y: kept.as_ref(), mean: &mean, inverse: &inverse, limits };
        let sums = back_sums(&gradient, sizes, known)?;
        let passed = residual_node.is_some();
        let (back, masked) = back(&gradient, sizes, known, &scale, &sums, passed)?;
        sink.give_parameter(&norm.bias, sums.narrow(0, 0, sizes.channels)?)?;
        if norm.scales {
            sink.give_parameter(&norm.weight, sums.narrow(0, sizes.channels, sizes.channels)?)?;
        }
        if let Some((residual_node, masked)) = residual_node.zip(masked) {
            sink.give(residual_node, Array::Device(masked))?;
        }
        sink.give(node, Array::Device(back))
    }))
}

/// An array as [rows, channels].
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    channels: usize,
}

impl Sizes {
    fn of(array: &Tensor, channels: usize) -> Self {
        Self { rows: array.elem_count() / channels, channels }
    }

    fn all(self) -> usize {
        self.rows * self.channels
    }
}

/// A rectifier as the kernels are told of it.
#[derive(Clone, Copy)]
struct Limits {
    some: bool,
    lowest: f32,
    highest: f32,
}

impl Limits {
    fn of(rectifier: Rectifier) -> Self {
        let [lowest, highest] = rectifier.limits().unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        Self { some: rectifier.limits().is_some(), lowest, highest }
    }
}

/// What the way back knows of the way there.
#[derive(Clone, Copy)]
struct Known<'a> {
    x: &'a Tensor,
    /// Where there are limits.
    y: Option<&'a Tensor>,
    mean: &'a Tensor,
    inverse: &'a Tensor,
    limits: Limits,
}

/// Returns mean and biased variance of each channel.
fn statistics(x: &Tensor, Sizes { rows, channels }: Sizes) -> Result<(Tensor, Tensor)> {
    let (device, dtype) = (x.device(), x.dtype());
    let cut = Cut::new(rows, channels);
    let first = filled(device, DType::F32, channels)?;
    let name = name_of("first", dtype)?;
    launch(device, &name, channels, &[Count(channels), address(x)?, address(&first)?])?;
    let partial = filled(device, DType::F32, (cut.lanes, 2, channels))?;
    launch(
        device,
        &name_of("statistics", dtype)?,
        cut.lanes * channels,
        &[
            Count(rows),
            Count(channels),
            Count(cut.lanes),
            address(x)?,
            address(&first)?,
            address(&partial)?,
        ],
    )?;
    let sums = folded(&partial, cut, 2 * channels)?;
    let mean = filled(device, DType::F32, channels)?;
    let variance = filled(device, DType::F32, channels)?;
    launch(
        device,
        "moments",
        channels,
        &[
            Count(rows),
            Count(channels),
            address(&first)?,
            address(&sums)?,
            address(&mean)?,
            address(&variance)?,
        ],
    )?;
    Ok((mean, variance))
}

/// Returns limits((x - mean) · scale + bias + residual).
fn normalize(
    x: &Tensor,
    sizes: Sizes,
    [mean, scale, bias]: [&Tensor; 3],
    residual: Option<&Tensor>,
    limits: Limits,
) -> Result<Tensor> {
    let y = filled(x.device(), x.dtype(), x.shape())?;
    launch(
        x.device(),
        &name_of("normalize", x.dtype())?,
        sizes.all(),
        &[
            Count(sizes.rows),
            Count(sizes.channels),
            address(x)?,
            address(mean)?,
            address(scale)?,
            address(bias)?,
            Flag(residual.is_some()),
            address(residual.unwrap_or(x))?,
            Float(limits.lowest),
            Float(limits.highest),
            address(&y)?,
        ],
    )?;
    Ok(y)
}

/// Returns the gradients by bias and by weight, one after the other.
fn back_sums(gradient: &Tensor, sizes: Sizes, known: Known<'_>) -> Result<Tensor> {
    let Sizes { rows, channels } = sizes;
    let (device, cut) = (gradient.device(), Cut::new(rows, channels));
    let Known { x, y, mean, inverse, limits } = known;
    let partial = filled(device, DType::F32, (cut.lanes, 2, channels))?;
    launch(
        device,
        &name_of("back_sums", gradient.dtype())?,
        cut.lanes * channels,
        &[
            Count(rows),
            Count(channels),
            Count(cut.lanes),
            address(gradient)?,
            address(x)?,
            Flag(limits.some),
            address(y.unwrap_or(x))?,
            Float(limits.lowest),
            Float(limits.highest),
            address(mean)?,
            address(inverse)?,
            address(&partial)?,
        ],
    )?;
    folded(&partial, cut, 2 * channels)
}

/// Returns the gradient by x, and where it is wanted the masked gradient, which a residual gets.
fn back(
    gradient: &Tensor,
    sizes: Sizes,
    known: Known<'_>,
    scale: &Tensor,
    sums: &Tensor,
    passed: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let (device, dtype) = (gradient.device(), gradient.dtype());
    let Known { x, y, mean, inverse, limits } = known;
    let back = filled(device, dtype, x.shape())?;
    let masked = passed.then(|| filled(device, dtype, x.shape())).transpose()?;
    launch(
        device,
        &name_of("back", dtype)?,
        sizes.all(),
        &[
            Count(sizes.rows),
            Count(sizes.channels),
            address(gradient)?,
            address(x)?,
            Flag(limits.some),
            address(y.unwrap_or(x))?,
            Float(limits.lowest),
            Float(limits.highest),
            address(mean)?,
            address(inverse)?,
            address(scale)?,
            address(sums)?,
            Flag(passed),
            address(masked.as_ref().unwrap_or(&back))?,
            address(&back)?,
        ],
    )?;
    Ok((back, masked))
}
