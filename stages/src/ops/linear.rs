//! The linear map x Wᵀ + b of a weight [out, in], as in PyTorch.

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::columns::column_sums;
use super::floats::Floats;
use super::matrix::{Kernels, Lines, LinesMut, Packed, outer, product};
use super::profile::Work;
use super::tape::Tape;
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
                let kernels = Kernels::best();
                let lines = Lines::new(&gradient.floats, outputs);
                let sums = outer(kernels, &lines, &Lines::new(&input.floats, inputs));
                let sums = Tensor::from_slice(&sums, (outputs, inputs), &Device::Cpu)?;
                sink.give_parameter(&weight, sums)?;
                if x.node.is_some() {
                    let mut back = Floats::stale(input.floats.len());
                    let map = read(&weight.variable, |w| Packed::plain(kernels, w, inputs))?;
                    product(kernels, &lines, &map, &LinesMut::new(&mut back, inputs));
                    let back = Host::new(input.shape.clone(), back);
                    sink.give(x.node, Array::Host(back))?;
                }
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

fn forward(x: &Host, weight: &Parameter, bias: Option<&Parameter>) -> Result<Host> {
    let (outputs, inputs) = weight.variable.dims2()?;
    let kernels = Kernels::best();
    let map = read(&weight.variable, |w| Packed::transposed(kernels, w, outputs))?;
    let bias = bias.map(|bias| read(&bias.variable, <[f32]>::to_vec)).transpose()?;
    let map = map.finished(kernels, bias.as_deref(), None);
    let mut shape = x.shape.clone();
    *shape.last_mut().context("a linear map needs rows")? = outputs;
    let mut y = Floats::stale(shape.iter().product());
    let lines = Lines::new(&x.floats, inputs);
    product(kernels, &lines, &map, &LinesMut::new(&mut y, outputs));
    Ok(Host::new(shape, y))
}
