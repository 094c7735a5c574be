//! Dropout (Srivastava et al. 2014), scaled in training so that inference does nothing.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::add::CHUNK;
use super::floats::Block;
use super::instructions::vectorized;
use super::number::{Number, converted};
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value};
use crate::rng::Random;

vectorized! {
    fn multiply<N: Number>(product: &mut [N], left: &[N], right: &[N]) {
        for ((product, left), right) in product.iter_mut().zip(left).zip(right) {
            *product = N::narrow(left.wide() * right.wide());
        }
    }
}

/// Sets each number to 0 with probability `p` and divides the others by `1 - p`.
///
/// # Errors
///
/// When `p` is not in [0, 1).
pub(crate) fn dropout(tape: &mut Tape, x: &Value, p: f64, random: &mut Random) -> Result<Value> {
    ensure!((0.0..1.0).contains(&p), "dropout needs a probability in [0, 1), not {p}");
    if !tape.is_training() || p == 0.0 {
        return Ok(x.clone());
    }
    let kept = (1.0 / (1.0 - p)) as f32;
    let scales: Vec<f32> =
        (0..x.dims().iter().product()).map(|_| if random.chance(p) { 0.0 } else { kept }).collect();
    let scales = match x.array() {
        Array::Host(x) => Array::Host(Host::new(x.shape.clone(), converted(&scales))),
        Array::Half(x) => Array::Half(Host::new(x.shape.clone(), converted(&scales))),
        Array::Device(x) => {
            let scales = Tensor::from_vec(scales, x.shape(), &candle_core::Device::Cpu)?;
            Array::Device(scales.to_device(x.device())?.to_dtype(x.dtype())?)
        }
    };
    let output = product(x.array(), &scales)?;
    let node = x.node;
    Ok(tape.record(Work::new("dropout"), output, move |gradient, sink| {
        sink.give(node, product(&gradient, &scales)?)
    }))
}

fn product(left: &Array, right: &Array) -> Result<Array> {
    match (left, right) {
        (Array::Host(left), Array::Host(right)) => Ok(Array::Host(on_host(left, right))),
        (Array::Half(left), Array::Half(right)) => Ok(Array::Half(on_host(left, right))),
        _ => {
            let (left, right) = (Value::new(left.clone(), None), Value::new(right.clone(), None));
            Ok(Array::Device((left.tensor() * right.tensor())?))
        }
    }
}

fn on_host<N: Number>(left: &Host<N>, right: &Host<N>) -> Host<N> {
    let mut product = Block::stale(left.numbers.len());
    product
        .par_chunks_mut(CHUNK)
        .zip(left.numbers.par_chunks(CHUNK).zip(right.numbers.par_chunks(CHUNK)))
        .for_each(|(product, (left, right))| multiply(product, left, right));
    Host::new(left.shape.clone(), product)
}
