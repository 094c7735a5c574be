//! Operators by kernels of our own on a GPU, each a single pass over its arrays there, and one or two back.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::launch::{Argument, address, filled, folded, launch, name_of};
use super::{Argument::Count, Cut};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::profile::Work;
use crate::ops::rectifier::Rectifier;
use crate::ops::tape::Tape;
use crate::ops::value::{Array, Value};
use crate::weights::Parameter;

/// Returns the sum over all rows of [..., C], f32.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn column_sums(x: &Tensor, channels: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    let rows = x.elem_count() / channels;
    let (cut, partial) = lanes(&x, channels)?;
    let arguments =
        [Count(rows), Count(channels), Count(cut.lanes), address(&x)?, address(&partial)?];
    launch(x.device(), &name_of("columns", x.dtype())?, cut.lanes * channels, &arguments)?;
    folded(&partial, cut, channels)
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
    // where there is none, any address of the type will do
    let unread = filled(x.device(), DType::F32, 1)?;
    let arguments = [
        Count(x.elem_count()),
        Count(*x.dims().last().unwrap_or(&1)),
        address(&x)?,
        Argument::Flag(bias.is_some()),
        address(bias.as_ref().unwrap_or(&unread))?,
        Argument::Flag(residual.is_some()),
        address(residual.as_ref().unwrap_or(&x))?,
        Argument::Float(lowest),
        Argument::Float(highest),
        address(&y)?,
    ];
    launch(x.device(), &name_of("finish", x.dtype())?, x.elem_count(), &arguments)?;
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
    let (all, device, dtype) = (x.elem_count(), x.device().clone(), x.dtype());
    let y = filled(&device, dtype, x.shape())?;
    let arguments =
        [Count(all), Count(channels), address(&x)?, address(&slope.variable)?, address(&y)?];
    launch(&device, &name_of("prelu", dtype)?, all, &arguments)?;
    Ok(tape.record(Work::new("PReLU"), Array::Device(y), move |gradient, sink| {
        let gradient = like(gradient, Some(&x))?;
        let (cut, partial) = lanes(&x, channels)?;
        let back = filled(&device, dtype, x.shape())?;
        let arguments = [
            Count(all / channels),
            Count(channels),
            Count(cut.lanes),
            address(&gradient)?,
            address(&x)?,
            address(&slope.variable)?,
            address(&partial)?,
            address(&back)?,
        ];
        launch(&device, &name_of("prelu_back", dtype)?, cut.lanes * channels, &arguments)?;
        sink.give_parameter(&slope, folded(&partial, cut, channels)?)?;
        sink.give(node, Array::Device(back))
    }))
}

/// As [`crate::ops::gelu`], of an array on a GPU.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn gelu(tape: &mut Tape, node: Option<usize>, x: &Tensor) -> Result<Value> {
    let x = x.contiguous()?;
    let (all, device, dtype) = (x.elem_count(), x.device().clone(), x.dtype());
    let y = filled(&device, dtype, x.shape())?;
    let arguments = [Count(all), address(&x)?, address(&y)?];
    launch(&device, &name_of("gelu", dtype)?, all, &arguments)?;
    Ok(tape.record(Work::new("GELU"), Array::Device(y), move |gradient, sink| {
        let gradient = like(gradient, Some(&x))?;
        let back = filled(&device, dtype, x.shape())?;
        let arguments = [Count(all), address(&gradient)?, address(&x)?, address(&back)?];
        launch(&device, &name_of("gelu_back", dtype)?, all, &arguments)?;
        sink.give(node, Array::Device(back))
    }))
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
    let (rows, device, dtype) = (x.elem_count() / channels, x.device().clone(), x.dtype());
    let y = filled(&device, dtype, x.shape())?;
    let [mean, inverse] = [filled(&device, DType::F32, rows)?, filled(&device, DType::F32, rows)?];
    let arguments = [
        Count(rows),
        Count(channels),
        address(&x)?,
        address(&norm.weight.variable)?,
        address(&norm.bias.variable)?,
        Argument::Float(norm.eps as f32),
        address(&mean)?,
        address(&inverse)?,
        address(&y)?,
    ];
    launch(&device, &name_of("layer_norm", dtype)?, rows, &arguments)?;
    Ok(tape.record(Work::new("layer norm"), Array::Device(y), move |gradient, sink| {
        let gradient = like(gradient, Some(&x))?;
        let cut = Cut::new(rows, channels);
        let partial = filled(&device, DType::F32, (cut.lanes, 2 * channels))?;
        let arguments = [
            Count(rows),
            Count(channels),
            Count(cut.lanes),
            address(&gradient)?,
            address(&x)?,
            address(&mean)?,
            address(&inverse)?,
            address(&partial)?,
        ];
        launch(&device, &name_of("layer_sums", dtype)?, cut.lanes * channels, &arguments)?;
        let sums = folded(&partial, cut, 2 * channels)?;
        sink.give_parameter(&norm.bias, sums.narrow(0, 0, channels)?)?;
        sink.give_parameter(&norm.weight, sums.narrow(0, channels, channels)?)?;
        let back = filled(&device, dtype, x.shape())?;
        let arguments = [
            Count(rows),
            Count(channels),
            address(&gradient)?,
            address(&x)?,
            address(&norm.weight.variable)?,
            address(&mean)?,
            address(&inverse)?,
            address(&back)?,
        ];
        launch(&device, &name_of("layer_back", dtype)?, rows, &arguments)?;
        sink.give(node, Array::Device(back))
    }))
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
    let (all, device, dtype) = (branch.elem_count(), branch.device().clone(), branch.dtype());
    ensure!(straight.dtype() == dtype, "{:?} and {dtype:?} are added", straight.dtype());
    let image = all / keep.len();
    let images = keep.len();
    let keep = Tensor::from_vec(keep, images, &Device::Cpu)?.to_device(&device)?;
    let y = filled(&device, dtype, branch.shape())?;
    let arguments = [
        Count(all),
        Count(channels),
        Count(image),
        address(&straight)?,
        address(&branch)?,
        address(&scale.variable)?,
        address(&keep)?,
        address(&y)?,
    ];
    launch(&device, &name_of("scaled_sum", dtype)?, all, &arguments)?;
    let work = Work::new("layer scale and sum");
    Ok(tape.record(work, Array::Device(y), move |gradient, sink| {
        let gradient = like(gradient, Some(&branch))?;
        let (cut, partial) = lanes(&branch, channels)?;
        let back = filled(&device, dtype, branch.shape())?;
        let arguments = [
            Count(all / channels),
            Count(channels),
            Count(cut.lanes),
            Count(image),
            address(&gradient)?,
            address(&branch)?,
            address(&scale.variable)?,
            address(&keep)?,
            address(&partial)?,
            address(&back)?,
        ];
        launch(&device, &name_of("scaled_back", dtype)?, cut.lanes * channels, &arguments)?;
        sink.give_parameter(&scale, folded(&partial, cut, channels)?)?;
        sink.give(nodes.1, Array::Device(back))?;
        sink.give(nodes.0, Array::Device(gradient))
    }))
}

/// Returns how the rows of [..., C] are cut, and room for the sums of the lanes.
fn lanes(x: &Tensor, channels: usize) -> Result<(Cut, Tensor)> {
    let cut = Cut::new(x.elem_count() / channels, channels);
    Ok((cut, filled(x.device(), DType::F32, (cut.lanes, channels))?))
}

/// Returns a gradient as kernels read it: contiguous, and of the type and size of what it is by where that is told.
pub(super) fn like(gradient: Array, x: Option<&Tensor>) -> Result<Tensor> {
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
