//! Operators by kernels of our own on a GPU, each a single pass over its arrays there, and one or two back.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::launch::{Argument, Argument::Count, address, filled};
use super::tiles::{Tiles, each, folded};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::profile::Work;
use crate::ops::rectifier::Rectifier;
use crate::ops::tape::Tape;
use crate::ops::value::{Array, Recipe, Value};
use crate::weights::Parameter;

/// Returns the sum over all rows of [..., C], f32.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn column_sums(x: &Tensor, channels: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let tiles = Tiles::new(&x, channels, &[])?;
    let partial = tiles.partial(1)?;
    tiles.sum("columns", &[address(&x)?, address(&partial)?])?;
    folded(&partial, channels)
}

/// Returns rectifier(x + bias + residual).
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn finish(
    x: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    rectifier: Rectifier,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = filled(x.device(), x.dtype(), x.shape())?;
    let bias = bias.map(|bias| bias.detach().to_dtype(DType::F32)?.contiguous()).transpose()?;
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let [lowest, highest] = rectifier.limits().unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
    let none = Argument::Address(0, DType::F32);
    let channels = *x.dims().last().unwrap_or(&1);
    let arguments = [
        address(&x)?,
        Argument::Flag(bias.is_some()),
        bias.as_ref().map_or(Ok(none), address)?,
        Argument::Flag(residual.is_some()),
        address(residual.as_ref().unwrap_or(&x))?,
        Argument::Float(lowest),
        Argument::Float(highest),
        address(&y)?,
    ];
    Tiles::new(&x, channels, &[residual.as_ref(), Some(&y)])?.map("finish", &arguments)?;
    Ok(y)
}

/// As [`crate::ops::prelu`], of an array on a GPU.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn prelu(
    tape: &mut Tape,
    node: Option<usize>,
    x: &Tensor,
    slope: &Parameter,
) -> Result<Value> {
    let (x, slope, channels) = (x.contiguous()?, slope.clone(), slope.variable.elem_count());
    let bent = move |x: &Tensor, slope: &Parameter| -> Result<Array> {
        let y = filled(x.device(), x.dtype(), x.shape())?;
        let arguments = [address(x)?, address(&slope.variable)?, address(&y)?];
        Tiles::new(x, channels, &[Some(&y)])?.map("prelu", &arguments)?;
        Ok(Array::Device(y))
    };
    let y = bent(&x, &slope)?;
    let recipe = tape.is_recomputing().then(|| {
        let (x, slope) = (x.clone(), slope.clone());
        Recipe::new(move || bent(&x, &slope))
    });
    let value = tape.record(Work::new("PReLU"), y, move |gradient, sink| {
        let gradient = like(gradient, Some(&x))?;
        let back = filled(x.device(), x.dtype(), x.shape())?;
        let tiles = Tiles::new(&x, channels, &[Some(&gradient), Some(&back)])?;
        let partial = tiles.partial(1)?;
        let arguments = [
            address(&gradient)?,
            address(&x)?,
            address(&slope.variable)?,
            address(&partial)?,
            address(&back)?,
        ];
        tiles.sum("prelu_back", &arguments)?;
        sink.give_parameter(&slope, folded(&partial, channels)?)?;
        sink.give(node, Array::Device(back))
    });
    Ok(value.made_by(recipe))
}

/// As [`crate::ops::gelu`], of an array on a GPU.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn gelu(tape: &mut Tape, node: Option<usize>, x: &Tensor) -> Result<Value> {
    let x = x.contiguous()?;
    let mapped = |x: &Tensor| -> Result<Array> {
        let y = filled(x.device(), x.dtype(), x.shape())?;
        each("gelu", &[x, &y])?;
        Ok(Array::Device(y))
    };
    let y = mapped(&x)?;
    let recipe = tape.is_recomputing().then(|| {
        let x = x.clone();
        Recipe::new(move || mapped(&x))
    });
    let value = tape.record(Work::new("GELU"), y, move |gradient, sink| {
        let gradient = like(gradient, Some(&x))?;
        let back = filled(x.device(), x.dtype(), x.shape())?;
        each("gelu_back", &[&gradient, &x, &back])?;
        sink.give(node, Array::Device(back))
    });
    Ok(value.made_by(recipe))
}

/// As [`crate::ops::layer_norm`], of an array on a GPU.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn layer_norm(
    tape: &mut Tape,
    node: Option<usize>,
    x: &Tensor,
    norm: &LayerNorm,
) -> Result<Value> {
    let (x, norm, channels) = (x.contiguous()?, norm.clone(), norm.weight.variable.elem_count());
    let (y, mean, inverse) = normalized(&x, &norm)?;
    let recipe = tape.is_recomputing().then(|| {
        let (x, norm) = (x.clone(), norm.clone());
        Recipe::new(move || Ok(Array::Device(normalized(&x, &norm)?.0)))
    });
    let value = tape.record(Work::new("layer norm"), Array::Device(y), move |gradient, sink| {
        let gradient = like(gradient, Some(&x))?;
        let back = filled(x.device(), x.dtype(), x.shape())?;
        let tiles = Tiles::new(&x, channels, &[Some(&gradient), Some(&back)])?;
        let partial = tiles.partial(2)?;
        let statistics = [address(&mean)?, address(&inverse)?];
        let arguments =
            [address(&gradient)?, address(&x)?, statistics[0], statistics[1], address(&partial)?];
        tiles.sum("layer_sums", &arguments)?;
        let sums = folded(&partial, 2 * channels)?;
        sink.give_parameter(&norm.bias, sums.narrow(0, 0, channels)?)?;
        sink.give_parameter(&norm.weight, sums.narrow(0, channels, channels)?)?;
        let arguments = [
            address(&gradient)?,
            address(&x)?,
            address(&norm.weight.variable)?,
            statistics[0],
            statistics[1],
            address(&back)?,
        ];
        tiles.share("layer_back", &arguments)?;
        sink.give(node, Array::Device(back))
    });
    Ok(value.made_by(recipe))
}

/// Returns the result of a layer norm, and of each row its mean and 1 / deviation.
fn normalized(x: &Tensor, norm: &LayerNorm) -> Result<(Tensor, Tensor, Tensor)> {
    let y = filled(x.device(), x.dtype(), x.shape())?;
    let tiles = Tiles::new(x, norm.weight.variable.elem_count(), &[Some(&y)])?;
    let numbers = || filled(x.device(), DType::F32, tiles.rows);
    let (mean, inverse) = (numbers()?, numbers()?);
    let arguments = [
        address(x)?,
        address(&norm.weight.variable)?,
        address(&norm.bias.variable)?,
        Argument::Float(norm.eps as f32),
        address(&mean)?,
        address(&inverse)?,
        address(&y)?,
    ];
    tiles.share("layer_norm", &arguments)?;
    Ok((y, mean, inverse))
}

/// As [`crate::ops::scaled_sum`], of arrays on a GPU, with what each image keeps of its branch.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn scaled_sum(
    tape: &mut Tape,
    nodes: (Option<usize>, Option<usize>),
    (straight, branch): (&Tensor, &Tensor),
    scale: &Parameter,
    keep: Vec<f32>,
) -> Result<Value> {
    let (straight, branch, scale) = (straight.contiguous()?, branch.contiguous()?, scale.clone());
    let channels = scale.variable.elem_count();
    ensure!(
        straight.dtype() == branch.dtype(),
        "{:?} and {:?} are added",
        straight.dtype(),
        branch.dtype()
    );
    let pixels = branch.elem_count() / channels / keep.len();
    let images = keep.len();
    let keep = Tensor::from_vec(keep, images, &Device::Cpu)?.to_device(branch.device())?;
    let y = filled(branch.device(), branch.dtype(), branch.shape())?;
    let arguments = [
        Count(pixels),
        address(&straight)?,
        address(&branch)?,
        address(&scale.variable)?,
        address(&keep)?,
        address(&y)?,
    ];
    let tiles = Tiles::new(&branch, channels, &[Some(&straight), Some(&y)])?;
    tiles.map("scaled_sum", &arguments)?;
    let work = Work::new("layer scale and sum");
    Ok(tape.record(work, Array::Device(y), move |gradient, sink| {
        let gradient = like(gradient, Some(&branch))?;
        let back = filled(branch.device(), branch.dtype(), branch.shape())?;
        let tiles = Tiles::new(&branch, channels, &[Some(&gradient), Some(&back)])?;
        let partial = tiles.partial(1)?;
        let arguments = [
            Count(pixels),
            address(&gradient)?,
            address(&branch)?,
            address(&scale.variable)?,
            address(&keep)?,
            address(&partial)?,
            address(&back)?,
        ];
        tiles.sum("scaled_back", &arguments)?;
        sink.give_parameter(&scale, folded(&partial, channels)?)?;
        sink.give(nodes.1, Array::Device(back))?;
        sink.give(nodes.0, Array::Device(gradient))
    }))
}

/// Returns a gradient as kernels read it: contiguous, and of the type and size of what it is by where that is told.
pub(in crate::ops) fn like(gradient: Array, x: Option<&Tensor>) -> Result<Tensor> {
    let gradient = Value::new(gradient, None).tensor().contiguous()?;
    if let Some(x) = x {
        ensure!(
            gradient.dtype() == x.dtype() && gradient.elem_count() == x.elem_count(),
            "a gradient {:?} {:?} for {:?} {:?}",
            gradient.dtype(),
            gradient.dims(),
            x.dtype(),
            x.dims()
        );
    }
    Ok(gradient)
}
