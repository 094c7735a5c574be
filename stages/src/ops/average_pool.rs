//! The mean over all pixels: [N, H, W, C] → [N, C].

use anyhow::Result;
use candle_core::DType;
use rayon::prelude::*;

use super::floats::Block;
use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value};

/// Averages each channel of each image over its pixels.
///
/// # Errors
///
/// When `x` is not [N, H, W, C].
pub(crate) fn average_pool(tape: &mut Tape, x: &Value) -> Result<Value> {
    let lengths: [usize; 4] = x.array().lengths("the average over pixels")?;
    let output = match x.array() {
        Array::Host(x) => Array::Host(forward(x, lengths)),
        Array::Half(x) => Array::Half(forward(x, lengths)),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(x) if super::gpu::takes(x) => {
            Array::Device(super::gpu::average_pool(x, lengths)?)
        }
        // f32 inside: a sum of many bf16 numbers loses them
        Array::Device(x) => {
            let mean = x.to_dtype(DType::F32)?.mean((1, 2))?;
            Array::Device(mean.to_dtype(x.dtype())?)
        }
    };
    let node = x.node;
    Ok(tape.record(Work::new("average pool"), output, move |gradient, sink| {
        let [images, height, width, channels] = lengths;
        let spread = match gradient {
            Array::Host(gradient) => Array::Host(backward(&gradient, lengths)),
            Array::Half(gradient) => Array::Half(backward(&gradient, lengths)),
            #[cfg(any(feature = "cuda", test))]
            Array::Device(given) if super::gpu::takes(&given) => {
                let given = Array::Device(given);
                Array::Device(super::gpu::average_pool_gradient(given, lengths)?)
            }
            Array::Device(gradient) => {
                let share = (gradient / (height * width) as f64)?;
                let share = share.reshape((images, 1, 1, channels))?;
                Array::Device(share.broadcast_as(lengths.as_slice())?.contiguous()?)
            }
        };
        sink.give(node, spread)
    }))
}

fn forward<N: Number>(x: &Host<N>, [images, height, width, channels]: [usize; 4]) -> Host<N> {
    let mut y = Block::stale(images * channels);
    let pixels = height * width;
    y.par_chunks_mut(channels).zip(x.numbers.par_chunks(pixels * channels)).for_each(|(y, x)| {
        let mut sums = vec![0_f64; channels];
        for pixel in x.chunks_exact(channels) {
            for (sum, x) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(x.wide());
            }
        }
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = N::narrow((sum / pixels as f64) as f32);
        }
    });
    Host::new(vec![images, channels], y)
}

fn backward<N: Number>(gradient: &Host<N>, lengths: [usize; 4]) -> Host<N> {
    let [images, height, width, channels] = lengths;
    let pixels = height * width;
    let mut spread = Block::stale(images * pixels * channels);
    let scale = 1.0 / pixels as f32;
    spread.par_chunks_mut(pixels * channels).zip(gradient.numbers.par_chunks(channels)).for_each(
        |(spread, gradient)| {
            for pixel in spread.chunks_exact_mut(channels) {
                for (spread, gradient) in pixel.iter_mut().zip(gradient) {
                    *spread = N::narrow(gradient.wide() * scale);
                }
            }
        },
    );
    Host::new(lengths.to_vec(), spread)
}
