//! Batch normalization composed of tensor operations, for any device; statistics in f32.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::{After, BatchNorm};
use crate::ops::profile::Work;
use crate::ops::rectifier::{masked, rectified};
use crate::ops::tape::Tape;
use crate::ops::value::{Array, Value};

/// Normalizes and, in training, records the way back.
pub(super) fn batch_norm(
    tape: &mut Tape,
    x: &Value,
    array: &Tensor,
    norm: &BatchNorm,
    after: After<'_>,
    residual: Option<&Value>,
) -> Result<Value> {
    let (shape, dtype) = (array.shape().clone(), array.dtype());
    let channels = norm.weight.variable.elem_count();
    let numbers = matrix(array, channels)?;
    let count = numbers.dim(0)?;
    let (mean, variance) = if tape.is_training() {
        let mean = numbers.mean(0)?;
        let variance = numbers.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        norm.observe(&mean, &variance, count)?;
        (mean, variance)
    } else {
        let running = |variable: &Tensor| variable.to_dtype(DType::F32);
        (running(&norm.running_mean.variable)?, running(&norm.running_var.variable)?)
    };
    let inverse = (variance + norm.eps)?.sqrt()?.recip()?;
    let scale = (norm.weight.variable.as_tensor() * &inverse)?;
    let mut y = numbers.broadcast_sub(&mean)?.broadcast_mul(&scale)?;
    y = y.broadcast_add(&norm.bias.variable)?;
    if let Some(residual) = residual {
        y = (y + matrix(residual.tensor(), channels)?)?;
    }
    y = rectified(&y, after.rectifier)?;
    let output = Array::Device(y.to_dtype(dtype)?.reshape(&shape)?);
    let rectifier = after.rectifier;
    let kept = rectifier.limits().map(|_| output.clone());
    let (node, residual_node) = (x.node, residual.map(|residual| residual.node));
    let (norm, x) = (norm.clone(), array.clone());
    Ok(tape.record(Work::new("batch norm"), output, move |gradient, sink| {
        let mut gradient = Value::new(gradient, None);
        if let Some(output) = kept {
            let output = Value::new(output, None);
            let masked = masked(gradient.tensor(), output.tensor(), rectifier)?;
            gradient = Value::new(Array::Device(masked), None);
        }
        if let Some(residual_node) = residual_node {
            sink.give(residual_node, Array::Device(gradient.tensor().clone()))?;
        }
        let gradient = matrix(gradient.tensor(), channels)?;
        let normal = matrix(&x, channels)?.broadcast_sub(&mean)?.broadcast_mul(&inverse)?;
        let by_bias = gradient.sum(0)?;
        let by_weight = (&gradient * &normal)?.sum(0)?;
        let share = 1.0 / count as f64;
        let back = gradient.broadcast_sub(&(&by_bias * share)?)?;
        let back = (back - normal.broadcast_mul(&(&by_weight * share)?)?)?;
        let back = back.broadcast_mul(&scale)?.to_dtype(dtype)?.reshape(&shape)?;
        sink.give_parameter(&norm.bias, by_bias)?;
        if norm.scales {
            sink.give_parameter(&norm.weight, by_weight)?;
        }
        sink.give(node, Array::Device(back))
    }))
}

/// Returns an array as an f32 matrix [values, C].
fn matrix(array: &Tensor, channels: usize) -> Result<Tensor> {
    Ok(array.contiguous()?.to_dtype(DType::F32)?.reshape(((), channels))?)
}
