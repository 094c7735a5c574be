//! Dropout (Srivastava et al. 2014), scaled in training so that inference does nothing.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::add::CHUNK;
use super::floats::Block;
use super::instructions::vectorized;
use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value};
use crate::rng::Random;

vectorized! {
    fn multiply<N: Number>(product: &mut [N], numbers: &[N], scales: &[f32]) {
        for ((product, number), scale) in product.iter_mut().zip(numbers).zip(scales) {
            *product = N::narrow(number.wide() * scale);
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
    // in f32 for activations of any kind: a factor that was rounded would move them all
    let output = product(x.array(), &scales)?;
    let node = x.node;
    Ok(tape.record(Work::new("dropout"), output, move |gradient, sink| {
        sink.give(node, product(&gradient, &scales)?)
    }))
}

fn product(array: &Array, scales: &[f32]) -> Result<Array> {
    match array {
        Array::Host(array) => Ok(Array::Host(on_host(array, scales))),
        Array::Half(array) => Ok(Array::Half(on_host(array, scales))),
        Array::Device(array) => {
            let scales = Tensor::from_slice(scales, array.shape(), array.device())?;
            let product = (array.to_dtype(DType::F32)? * scales)?;
            Ok(Array::Device(product.to_dtype(array.dtype())?))
        }
    }
}

fn on_host<N: Number>(array: &Host<N>, scales: &[f32]) -> Host<N> {
    let mut product = Block::stale(array.numbers.len());
    product
        .par_chunks_mut(CHUNK)
        .zip(array.numbers.par_chunks(CHUNK).zip(scales.par_chunks(CHUNK)))
        .for_each(|(product, (numbers, scales))| multiply(product, numbers, scales));
    Host::new(array.shape.clone(), product)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::dropout;
    use crate::ops::{Tape, Value, numbers};
    use crate::rng::Random;

    #[test]
    fn the_mean_stays_in_any_precision() {
        let count = 40_000;
        for dtype in [DType::F32, DType::BF16] {
            // with a factor that was rounded first, another bf16 would be the nearest
            let x = (Tensor::ones((100, count / 100), dtype, &Device::Cpu).unwrap() * 1.6).unwrap();
            let x = Value::constant(x);
            let kept = numbers(x.tensor()).unwrap()[0] / 0.9;
            let random = &mut Random::new(1, "dropout", &[]);
            let y = dropout(&mut Tape::training(), &x, 0.1, random).unwrap();
            let y = numbers(y.tensor()).unwrap();
            let left = y.iter().filter(|&&y| y != 0.0);
            assert!(left.clone().all(|y| (y - kept).abs() < 4e-3), "{dtype:?}: {kept}");
            assert!((left.count() as f64 / count as f64 - 0.9).abs() < 0.01);
            let same = dropout(&mut Tape::inference(), &x, 0.1, random).unwrap();
            assert_eq!(numbers(same.tensor()).unwrap(), numbers(x.tensor()).unwrap());
        }
    }
}
