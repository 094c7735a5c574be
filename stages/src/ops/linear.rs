//! The linear map x Wᵀ + b of a weight [out, in], as in PyTorch.

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::columns::column_sums;
use super::floats::Block;
use super::matrix::{Factor, Kernels, Lines, LinesMut, Packed, outer, product};
use super::number::widened;
use super::profile::Work;
use super::tape::{Sink, Tape};
use super::value::{Array, Host, Value, read};
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
        Array::Host(x) => Array::Host(forward(x, weight, bias)?),
        Array::Half(x) => Array::Half(forward(x, weight, bias)?),
        Array::Device(x) => {
            let map = as_type(weight, x.dtype())?.t()?;
            let mut shape = x.dims().to_vec();
            let mut y = x.contiguous()?.reshape(((), inputs))?.matmul(&map)?;
            if let Some(bias) = bias {
                y = y.broadcast_add(&bias.variable.to_dtype(x.dtype())?)?;
            }
            *shape.last_mut().context("a linear map needs rows")? = outputs;
            Array::Device(y.reshape(shape)?)
        }
    };
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
    let products = x.dims().iter().product::<usize>() * outputs;
    let work = Work::of_products("linear", None, products, 1 + usize::from(x.node.is_some()));
    Ok(tape.record(work, output, move |gradient, sink| {
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

/// Returns the weight in the type of the activations.
fn as_type(weight: &Parameter, dtype: DType) -> Result<Tensor> {
    #[cfg(any(feature = "cuda", test))]
    if dtype == DType::BF16 && super::gpu::takes(&weight.variable) {
        return weight.rounded.of(|| Ok(weight.variable.to_dtype(dtype)?));
    }
    Ok(weight.variable.to_dtype(dtype)?)
}

fn forward<N: Factor>(
    x: &Host<N>,
    weight: &Parameter,
    bias: Option<&Parameter>,
) -> Result<Host<N>> {
    let (outputs, _) = weight.variable.dims2()?;
    let bias = bias.map(|bias| read(&bias.variable, <[f32]>::to_vec)).transpose()?;
    let mut shape = x.shape.clone();
    *shape.last_mut().context("a linear map needs rows")? = outputs;
    let y = read(&weight.variable, |w| mapped(&x.numbers, w, outputs, bias.as_deref()))?;
    Ok(Host::new(shape, y))
}

/// Returns x Wᵀ + b.
fn mapped<N: Factor>(x: &[N], weight: &[f32], outputs: usize, bias: Option<&[f32]>) -> Block<N> {
    let (kernels, inputs) = (Kernels::best(), weight.len() / outputs);
    if !inputs.is_multiple_of(N::TOGETHER) {
        return N::nearest(mapped(&widened(x), weight, outputs, bias));
    }
    let map = Packed::transposed(kernels, weight, outputs).finished(kernels, bias, None);
    let mut y = Block::stale(x.len() / inputs * outputs);
    product(kernels, &Lines::new(x, inputs), &map, &LinesMut::new(&mut y, outputs));
    y
}

fn back_on_host<N: Factor>(
    gradient: &Host<N>,
    input: &Host<N>,
    weight: &Parameter,
    node: Option<usize>,
    sink: &mut Sink,
) -> Result<()> {
    let (outputs, inputs) = weight.variable.dims2()?;
    let lines = Lines::new(&gradient.numbers, outputs);
    let sums = outer(Kernels::best(), &lines, &Lines::new(&input.numbers, inputs));
    sink.give_parameter(weight, Tensor::from_slice(&sums, (outputs, inputs), &Device::Cpu)?)?;
    if node.is_some() {
        let back = |w: &[f32]| back(&gradient.numbers, w, [outputs, inputs]);
        let back = Host::new(input.shape.clone(), read(&weight.variable, back)?);
        sink.give(node, N::array(back))?;
    }
    Ok(())
}

/// Returns the product of a gradient and W.
fn back<N: Factor>(gradient: &[N], weight: &[f32], [outputs, inputs]: [usize; 2]) -> Block<N> {
    if !outputs.is_multiple_of(N::TOGETHER) {
        return N::nearest(back(&widened(gradient), weight, [outputs, inputs]));
    }
    let kernels = Kernels::best();
    let map = Packed::plain(kernels, weight, inputs);
    let mut back = Block::stale(gradient.len() / outputs * inputs);
    product(kernels, &Lines::new(gradient, outputs), &map, &LinesMut::new(&mut back, inputs));
    back
}
