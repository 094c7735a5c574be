//! The largest of each window, per channel; of equals the first, as in PyTorch.

use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::convolution::{Geometry, Moves};
use super::floats::Block;
use super::instructions::vectorized;
use super::number::{Number, convert};
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value};
use super::windows::{add_window, cropped, padded, window};

/// Takes the maximum over windows of [N, H, W, C], with nothing around the edges.
///
/// # Errors
///
/// When the window does not fit, or a window could lie in the padding alone.
pub(crate) fn max_pool(
    tape: &mut Tape,
    x: &Value,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<Value> {
    let lengths: [usize; 4] = x.array().lengths("a maximum over windows")?;
    ensure!(kernel <= 15, "a window of {kernel} is more than 15");
    ensure!(padding * 2 <= kernel, "a padding of {padding} is more than half of {kernel}");
    let geometry = Geometry::new(lengths, lengths[3], [kernel; 2], Moves::new(stride, padding))?;
    let node = x.node;
    match x.array() {
        Array::Host(x) => Ok(on_host(tape, node, geometry, &x.numbers)),
        Array::Half(x) => Ok(on_host(tape, node, geometry, &x.numbers)),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(x) if super::gpu::takes(x) => {
            let (y, places) = super::gpu::max_pool(&geometry, x)?;
            Ok(tape.record(Work::new("max pool"), Array::Device(y), move |gradient, sink| {
                let back = super::gpu::max_pool_gradient(&geometry, gradient, &places)?;
                sink.give(node, Array::Device(back))
            }))
        }
        Array::Device(x) => {
            let (y, places) = composed_forward(&geometry, x)?;
            Ok(tape.record(Work::new("max pool"), Array::Device(y), move |gradient, sink| {
                let gradient = Value::new(gradient, None);
                let back = composed_backward(&geometry, gradient.tensor(), &places)?;
                sink.give(node, Array::Device(back))
            }))
        }
    }
}

fn on_host<N: Number>(tape: &mut Tape, node: Option<usize>, geometry: Geometry, x: &[N]) -> Value {
    let (y, places) = forward(&geometry, x);
    let output = N::array(Host::new(geometry.output().to_vec(), y));
    let places: Arc<[u8]> = places.into();
    tape.record(Work::new("max pool"), output, move |gradient, sink| {
        let back = backward(&geometry, &N::taken(gradient)?.numbers, &places);
        sink.give(node, N::array(Host::new(geometry.input().to_vec(), back)))
    })
}

vectorized! {
    fn first<N: Number>(y: &mut [N], places: &mut [u8], x: &[N], place: u8) {
        y.copy_from_slice(x);
        places.fill(place);
    }
}

vectorized! {
    fn larger<N: Number>(y: &mut [N], places: &mut [u8], x: &[N], place: u8) {
        for ((y, old), x) in y.iter_mut().zip(places).zip(x) {
            // what is not a number wins, as in PyTorch
            let wins = (x.wide() > y.wide()) | x.wide().is_nan();
            *y = if wins { *x } else { *y };
            *old = if wins { place } else { *old };
        }
    }
}

vectorized! {
    fn collect<N: Number>(sums: &mut [f32], gradient: &[N], places: &[u8], place: u8) {
        for ((sum, gradient), &old) in sums.iter_mut().zip(gradient).zip(places) {
            *sum += if old == place { gradient.wide() } else { 0.0 };
        }
    }
}

/// Returns the maxima, and at which place of the window each was found.
fn forward<N: Number>(geometry: &Geometry, x: &[N]) -> (Block<N>, Vec<u8>) {
    let Geometry { height, width, rows, columns, .. } = *geometry;
    let [kernel, stride, padding] = [geometry.kernel[0], geometry.stride[0], geometry.padding[0]];
    let channels = geometry.inputs;
    let length = geometry.output().iter().product();
    let mut y = Block::stale(length);
    let mut places = vec![0; length];
    y.par_chunks_mut(columns * channels)
        .zip(places.par_chunks_mut(columns * channels))
        .enumerate()
        .for_each(|(line, (y, places))| {
            let (image, row) = (line / rows, line % rows);
            let image = &x[image * height * width * channels..][..height * width * channels];
            for (column, (y, places)) in
                y.chunks_exact_mut(channels).zip(places.chunks_exact_mut(channels)).enumerate()
            {
                let mut begun = false;
                for place in 0..kernel * kernel {
                    let down = (row * stride + place / kernel).wrapping_sub(padding);
                    let right = (column * stride + place % kernel).wrapping_sub(padding);
                    if down >= height || right >= width {
                        continue;
                    }
                    let x = &image[(down * width + right) * channels..][..channels];
                    if begun {
                        larger(y, places, x, place as u8);
                    } else {
                        first(y, places, x, place as u8);
                        begun = true;
                    }
                }
            }
        });
    (y, places)
}

/// Gives each gradient to the pixel where its maximum was found.
fn backward<N: Number>(geometry: &Geometry, gradient: &[N], places: &[u8]) -> Block<N> {
    let Geometry { height, width, rows, columns, .. } = *geometry;
    let [kernel, stride, padding] = [geometry.kernel[0], geometry.stride[0], geometry.padding[0]];
    let channels = geometry.inputs;
    let mut back = Block::stale(geometry.input().iter().product());
    // the moves of a window along one side that see a pixel, first and one past the last
    let moves = |pixel: usize, count: usize| {
        let from = (pixel + padding + 1).saturating_sub(kernel).div_ceil(stride);
        from..((pixel + padding) / stride + 1).min(count)
    };
    back.par_chunks_mut(width * channels).enumerate().for_each(|(line, back)| {
        let (image, row) = (line / height, line % height);
        let mut sums = vec![0.0; channels];
        for (column, back) in back.chunks_exact_mut(channels).enumerate() {
            sums.fill(0.0);
            for down in moves(row, rows) {
                for right in moves(column, columns) {
                    let place = (row + padding - down * stride) * kernel
                        + (column + padding - right * stride);
                    let from = ((image * rows + down) * columns + right) * channels;
                    let range = from..from + channels;
                    collect(&mut sums, &gradient[range.clone()], &places[range], place as u8);
                }
            }
            convert(back, &sums);
        }
    });
    back
}

fn composed_forward(geometry: &Geometry, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let x = padded(geometry, x, f32::NEG_INFINITY)?;
    let mut largest = window(geometry, &x, 0)?;
    let mut places = largest.zeros_like()?.to_dtype(DType::U8)?;
    for place in 1..geometry.taps() {
        let next = window(geometry, &x, place)?;
        let wins = next.gt(&largest)?;
        largest = wins.where_cond(&next, &largest)?;
        let here = Tensor::full(place as u8, places.shape(), places.device())?;
        places = wins.where_cond(&here, &places)?;
    }
    Ok((largest, places))
}

fn composed_backward(geometry: &Geometry, gradient: &Tensor, places: &Tensor) -> Result<Tensor> {
    let zeros = gradient.zeros_like()?;
    let mut sum = None;
    for place in 0..geometry.taps() {
        let one = places.eq(place as u8)?.where_cond(gradient, &zeros)?;
        sum = Some(add_window(geometry, sum, &one, place)?);
    }
    cropped(geometry, sum)
}
