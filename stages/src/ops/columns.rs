//! Sums over all but the last dimension, by which the gradient of a bias is found.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::instructions::vectorized;
use super::number::Number;
use super::value::Array;

/// Numbers that one task takes, in whole rows; fixed, so that nothing depends on the threads.
const CHUNK: usize = 16 * 1024;

/// A loop over rows is as long as this, where there are enough: short rows are taken several at once.
const LONG: usize = 256;

/// Repeats the numbers that belong to the columns, so that loops over them are long.
pub(super) fn repeated(numbers: &[f32]) -> Vec<f32> {
    numbers.repeat((LONG / numbers.len().max(1)).max(1))
}

vectorized! {
    fn add_rows<N: Number>(sums: &mut [f32], x: &[N]) {
        for row in x.chunks_exact(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x.wide();
            }
        }
    }
}

/// Returns the sum of each column of rows that lie one after the other; chunks are added in f64 in
/// their order.
pub(super) fn sums<N: Number>(x: &[N], columns: usize) -> Vec<f32> {
    let chunk = (CHUNK / columns).max(1) * columns;
    let parts: Vec<Vec<f32>> = x
        .par_chunks(chunk)
        .map(|x| {
            let mut sums = vec![0.0; columns];
            add_rows(&mut sums, x);
            sums
        })
        .collect();
    add_parts(&parts, columns)
}

/// Adds up partial sums in f64 in their order.
pub(super) fn add_parts(parts: &[Vec<f32>], columns: usize) -> Vec<f32> {
    let mut sums = vec![0_f64; columns];
    for part in parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += f64::from(*part);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Returns the sum over all rows, as f32.
pub(super) fn column_sums(x: &Array) -> Result<Tensor> {
    let columns = *x.dims().last().unwrap_or(&1);
    match x {
        Array::Host(x) => Ok(Tensor::from_vec(sums(&x.numbers, columns), columns, &Device::Cpu)?),
        Array::Half(x) => Ok(Tensor::from_vec(sums(&x.numbers, columns), columns, &Device::Cpu)?),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(x) if super::gpu::takes(x) => super::gpu::column_sums(x, columns),
        Array::Device(x) => {
            Ok(x.contiguous()?.to_dtype(DType::F32)?.reshape(((), columns))?.sum(0)?)
        }
    }
}
