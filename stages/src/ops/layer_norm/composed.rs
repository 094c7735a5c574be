//! Layer normalization composed of tensor operations, for any device; statistics in f32.

use anyhow::Result;
use candle_core::{D, DType, Tensor};

use super::LayerNorm;
use crate::ops::profile::Work;
use crate::ops::tape::Tape;
use crate::ops::value::{Array, Value};

/// Normalizes and, in training, records the way back.
pub(super) fn layer_norm(
    tape: &mut Tape,
    x: &Value,
    array: &Tensor,
    norm: &LayerNorm,
) -> Result<Value> {
    let (shape, dtype) = (array.shape().clone(), array.dtype());
    let channels = norm.weight.variable.elem_count();
    let numbers = matrix(array, channels)?;
    let centred = numbers.broadcast_sub(&numbers.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let inverse = (variance + norm.eps)?.sqrt()?.recip()?;
    let normal = centred.broadcast_mul(&inverse)?;
    let y = normal.broadcast_mul(&norm.weight.variable)?.broadcast_add(&norm.bias.variable)?;
    let output = Array::Device(y.to_dtype(dtype)?.reshape(&shape)?);
    let (node, norm) = (x.node, norm.clone());
    Ok(tape.record(Work::new("layer norm"), output, move |gradient, sink| {
        let gradient = Value::new(gradient, None);
        let gradient = matrix(gradient.tensor(), channels)?;
        sink.give_parameter(&norm.bias, gradient.sum(0)?)?;
        sink.give_parameter(&norm.weight, (&gradient * &normal)?.sum(0)?)?;
        let scaled = gradient.broadcast_mul(&norm.weight.variable)?;
        let level = scaled.mean_keepdim(D::Minus1)?;
        let slope = (&scaled * &normal)?.mean_keepdim(D::Minus1)?;
        let back = scaled.broadcast_sub(&level)?;
        let back = (back - normal.broadcast_mul(&slope)?)?.broadcast_mul(&inverse)?;
        sink.give(node, Array::Device(back.to_dtype(dtype)?.reshape(&shape)?))
    }))
}

/// Returns an array as an f32 matrix [rows, C].
fn matrix(array: &Tensor, channels: usize) -> Result<Tensor> {
    Ok(array.contiguous()?.to_dtype(DType::F32)?.reshape(((), channels))?)
}
