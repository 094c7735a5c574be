//! The rectifier max(x, 0), whose gradient at 0 is 0 as in PyTorch; part of batch norm's pass.

use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;

use super::add::CHUNK;
use super::instructions::vectorized;
use super::value::{Array, Host, Value};

vectorized! {
    fn mask(gradient: &mut [f32], y: &[f32]) {
        for (gradient, y) in gradient.iter_mut().zip(y) {
            *gradient = if *y > 0.0 { *gradient } else { 0.0 };
        }
    }
}

/// Returns a tensor with 0 for what is below; what is not a number stays.
pub(super) fn rectified(x: &Tensor) -> Result<Tensor> {
    Ok(x.le(0f64)?.where_cond(&x.zeros_like()?, x)?)
}

/// Returns the gradient where the output is above 0, and 0 elsewhere.
pub(super) fn masked(gradient: Array, output: &Array) -> Result<Array> {
    Ok(match (gradient, output) {
        (Array::Host(gradient), Array::Host(y)) => {
            let (shape, mut gradient) = gradient.into_owned();
            gradient
                .par_chunks_mut(CHUNK)
                .zip(y.floats.par_chunks(CHUNK))
                .for_each(|(gradient, y)| mask(gradient, y));
            Array::Host(Host::new(shape, gradient))
        }
        (gradient, output) => {
            let (gradient, output) = (Value::new(gradient, None), Value::new(output.clone(), None));
            let gradient = gradient.tensor();
            let positive = output.tensor().gt(0f64)?;
            Array::Device(positive.where_cond(gradient, &gradient.zeros_like()?)?)
        }
    })
}
