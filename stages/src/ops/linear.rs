//! The linear map x Wᵀ + b of a weight [out, in], as in PyTorch.

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Tensor};

use super::columns::column_sums;
use super::convolution::{self, Geometry, Moves};
use super::matrix::Factor;
use super::profile::Work;
use super::rectifier::Rectifier;
use super::sink::Sink;
use super::tape::Tape;
use super::value::{Array, Host, Value};
use crate::weights::Parameter;

/// Maps [N, in] to [N, out], or each pixel of [N, H, W, in] likewise.
///
/// # Errors
///
/// When the shapes do not fit.
pub(crate) fn linear(
    tape: &mut Tape,
    x: &Value,
    weight: &Parameter,
    bias: Option<&Parameter>,
) -> Result<Value> {
    let length = *x.dims().last().context("a linear map needs rows")?;
    let (outputs, inputs) = weight.variable.dims2()?;
    ensure!(inputs == length, "`{}` maps {inputs} numbers, and was given {length}", weight.name);
    let output = match x.array() {
        Array::Host(x) => on_host(x, weight, bias)?,
        Array::Half(x) => on_host(x, weight, bias)?,
        Array::Device(x) => {
            let map = as_type(weight, x.dtype())?.t()?;
            let mut shape = x.dims().to_vec();
            let mut y = x.contiguous()?.reshape(((), inputs))?.matmul(&map)?;
            if let Some(bias) = bias {
                y = with_bias(&y, &bias.variable)?;
            }
            *shape.last_mut().context("a linear map needs rows")? = outputs;
            Array::Device(y.reshape(shape)?)
        }
    };
    let (kept, weight, bias) = (x.kept(), weight.clone(), bias.cloned());
    let products = x.dims().iter().product::<usize>() * outputs;
    let work = Work::of_products("linear", None, products, 1 + usize::from(x.node.is_some()));
    Ok(tape.record(work, output, move |gradient, sink| {
        let x = kept.value()?;
        if let Some(bias) = &bias {
            sink.give_parameter(bias, column_sums(&gradient)?)?;
        }
        match (&gradient, x.array()) {
            (Array::Host(gradient), Array::Host(input)) => {
                back_on_host(gradient, input, &weight, x.node, sink)?;
            }
            (Array::Half(gradient), Array::Half(input)) => {
                back_on_host(gradient, input, &weight, x.node, sink)?;
            }
            _ => {
                let gradient = Value::new(gradient, None);
                let gradient = gradient.tensor().contiguous()?.reshape(((), outputs))?;
                let rows = x.tensor().contiguous()?.reshape(((), inputs))?;
                sink.give_parameter(&weight, gradient.t()?.matmul(&rows)?)?;
                if x.node.is_some() {
                    let map = as_type(&weight, gradient.dtype())?;
                    let back = gradient.matmul(&map)?.reshape(x.dims())?;
                    sink.give(x.node, Array::Device(back))?;
                }
            }
        }
        Ok(())
    }))
}

/// Adds a bias to each row.
fn with_bias(y: &Tensor, bias: &Tensor) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if super::gpu::takes(y) {
        return super::gpu::finish(y, Some(bias), None, Rectifier::None);
    }
    Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?)?)
}

/// Returns the weight in the type of the activations.
fn as_type(weight: &Parameter, dtype: DType) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if dtype == DType::BF16 && super::gpu::takes(&weight.variable) {
        return weight.rounded.of(|| Ok(weight.variable.to_dtype(dtype)?));
    }
    Ok(weight.variable.to_dtype(dtype)?)
}

/// Returns the convolution that the map is of an image of one row, with a pixel for each row of `x`.
fn pointwise<N: Factor>(x: &Host<N>, outputs: usize) -> Result<Geometry> {
    let inputs = *x.shape.last().context("a linear map needs rows")?;
    let rows = x.numbers.len() / inputs.max(1);
    Geometry::new([1, 1, rows, inputs], outputs, [1; 2], Moves::new(1, 0))
}

/// Gives the gradients by the weight and by the rows that were mapped.
fn back_on_host<N: Factor>(
    gradient: &Host<N>,
    input: &Host<N>,
    weight: &Parameter,
    node: Option<usize>,
    sink: &mut Sink,
) -> Result<()> {
    let geometry = pointwise(input, weight.variable.dim(0)?)?;
    convolution::back_on_host(&geometry, gradient, input, weight, node, sink)
}

fn on_host<N: Factor>(x: &Host<N>, weight: &Parameter, bias: Option<&Parameter>) -> Result<Array> {
    let outputs = weight.variable.dim(0)?;
    let mut shape = x.shape.clone();
    *shape.last_mut().context("a linear map needs rows")? = outputs;
    let bias = bias.map(|bias| bias.variable.as_tensor());
    let (geometry, none) = (pointwise(x, outputs)?, Rectifier::None);
    convolution::on_host(&geometry, x, &weight.variable, bias, None, none, shape)
}
