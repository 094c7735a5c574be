//! The linear map x Wᵀ + b of a weight [out, in], as in PyTorch.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::floats::Floats;
use super::instructions::vectorized;
use super::matrix::{Kernels, Lines, LinesMut, Packed, outer, product};
use super::tape::Tape;
use super::value::{Array, Host, Value, read};
use crate::weights::Parameter;

/// Maps [N, in] to [N, out].
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
    let [_, length] = x.array().lengths("a linear map")?;
    let (outputs, inputs) = weight.variable.dims2()?;
    ensure!(inputs == length, "`{}` maps {inputs} numbers, and was given {length}", weight.name);
    let output = match x.array() {
        Array::Host(x) => Array::Host(forward(x, weight, bias)?),
        Array::Device(x) => {
            let map = weight.variable.to_dtype(x.dtype())?.t()?;
            let mut y = x.matmul(&map)?;
            if let Some(bias) = bias {
                y = y.broadcast_add(&bias.variable.to_dtype(x.dtype())?)?;
            }
            Array::Device(y)
        }
    };
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
    Ok(tape.record(output, move |gradient, sink| {
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
                let gradient = gradient.tensor();
                let sums = gradient.t()?.matmul(&x.tensor().contiguous()?)?;
                sink.give_parameter(&weight, sums)?;
                if x.node.is_some() {
                    let map = weight.variable.to_dtype(gradient.dtype())?;
                    sink.give(x.node, Array::Device(gradient.matmul(&map)?))?;
                }
            }
        }
        Ok(())
    }))
}

fn forward(x: &Host, weight: &Parameter, bias: Option<&Parameter>) -> Result<Host> {
    let (outputs, inputs) = weight.variable.dims2()?;
    let kernels = Kernels::best();
    let map = read(&weight.variable, |w| Packed::transposed(kernels, w, outputs))?;
    let mut y = Floats::stale(x.shape[0] * outputs);
    let lines = Lines::new(&x.floats, inputs);
    product(kernels, &lines, &map, &LinesMut::new(&mut y, outputs));
    if let Some(bias) = bias {
        read(&bias.variable, |bias| add_rows(&mut y, bias))?;
    }
    Ok(Host::new(vec![x.shape[0], outputs], y))
}

vectorized! {
    fn add_rows(y: &mut [f32], bias: &[f32]) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, bias) in row.iter_mut().zip(bias) {
                *y += bias;
            }
        }
    }
}

/// Returns the sum over rows, in f64 inside, as f32.
fn column_sums(gradient: &Array) -> Result<Tensor> {
    match gradient {
        Array::Host(gradient) => {
            let mut sums = vec![0_f64; gradient.shape[1]];
            for row in gradient.floats.chunks_exact(sums.len()) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
            let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            let length = sums.len();
            Ok(Tensor::from_vec(sums, length, &Device::Cpu)?)
        }
        Array::Device(gradient) => Ok(gradient.to_dtype(DType::F32)?.sum(0)?),
    }
}
