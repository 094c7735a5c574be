//! Layer normalization on the CPU: each row is read twice while it is in the cache.

use rayon::prelude::*;

use crate::ops::columns::add_parts;
use crate::ops::floats::Block;
use crate::ops::instructions::vectorized;
use crate::ops::number::Number;

/// Numbers that one task takes, in whole rows; fixed, so that nothing depends on the threads.
const CHUNK: usize = 16 * 1024;
/// Sums that run beside each other along a row.
const LANES: usize = 16;

/// Mean and 1 / √(variance + eps) of each row.
pub(super) type Rows = Vec<[f32; 2]>;

/// The gradients by weight and bias.
pub(super) struct Sums {
    pub(super) by_weight: Vec<f32>,
    pub(super) by_bias: Vec<f32>,
}

fn chunk(channels: usize) -> usize {
    (CHUNK / channels).max(1) * channels
}

/// Returns a row as f32, in the room where it is not.
#[inline(always)]
fn wide<'a, N: Number>(row: &'a [N], room: &'a mut [f32]) -> &'a [f32] {
    if let Some(row) = N::singles(row) {
        return row;
    }
    for (wide, number) in room.iter_mut().zip(row) {
        *wide = number.wide();
    }
    room
}

/// Returns the sum over a row of what `of` makes of its numbers: `LANES` sums beside each other,
/// which are then added in pairs.
#[inline(always)]
fn sum(count: usize, of: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += of(start + lane);
        }
    }
    for (lane, index) in (whole..count).enumerate() {
        lanes[lane] += of(index);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

vectorized! {
    fn normalize<N: Number>(
        y: &mut [N], rows: &mut [[f32; 2]], x: &[N], weight: &[f32], bias: &[f32], eps: f32,
    ) {
        let channels = weight.len();
        let bias = &bias[..channels];
        let share = 1.0 / channels as f32;
        let mut room = vec![0.0; channels];
        for ((y, x), row) in
            y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(rows)
        {
            let x = wide(x, &mut room);
            let mean = sum(channels, |index| x[index]) * share;
            let squares = sum(channels, |index| (x[index] - mean) * (x[index] - mean));
            let inverse = 1.0 / (squares * share + eps).sqrt();
            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = N::narrow((x - mean) * inverse * weight + bias);
            }
            *row = [mean, inverse];
        }
    }
}

/// Normalizes every row; returns what the way back needs.
pub(super) fn forward<N: Number>(
    x: &[N],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) -> (Block<N>, Rows) {
    let channels = weight.len();
    let chunk = chunk(channels);
    let mut rows = vec![[0.0; 2]; x.len() / channels];
    let mut y = Block::stale(x.len());
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(rows.par_chunks_mut(chunk / channels))
        .for_each(|((y, x), rows)| normalize(y, rows, x, weight, bias, eps));
    (y, rows)
}

vectorized! {
    fn back<N: Number>(
        gradient: &mut [N],
        x: &[N],
        rows: &[[f32; 2]],
        weight: &[f32],
        sums: (&mut [f32], &mut [f32]),
    ) {
        let channels = weight.len();
        let (by_weight, by_bias) = (&mut sums.0[..channels], &mut sums.1[..channels]);
        let share = 1.0 / channels as f32;
        let (mut given_room, mut x_room) = (vec![0.0; channels], vec![0.0; channels]);
        for ((gradient, x), &[mean, inverse]) in
            gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(rows)
        {
            let (given, x) = (wide(gradient, &mut given_room), wide(x, &mut x_room));
            for ((((by_weight, by_bias), gradient), x), _) in
                by_weight.iter_mut().zip(by_bias.iter_mut()).zip(given).zip(x).zip(weight)
            {
                *by_bias += gradient;
                *by_weight += gradient * ((x - mean) * inverse);
            }
            let level = sum(channels, |index| given[index] * weight[index]) * share;
            let slope = sum(channels, |index| {
                given[index] * weight[index] * ((x[index] - mean) * inverse)
            }) * share;
            for ((gradient, x), weight) in gradient.iter_mut().zip(x).zip(weight) {
                let normal = (x - mean) * inverse;
                *gradient =
                    N::narrow(inverse * (gradient.wide() * weight - level - normal * slope));
            }
        }
    }
}

/// Turns the gradient by the output into that by x; chunks of sums are added in f64 in their order.
pub(super) fn backward<N: Number>(
    x: &[N],
    gradient: &mut [N],
    rows: &Rows,
    weight: &[f32],
) -> Sums {
    let channels = weight.len();
    let chunk = chunk(channels);
    let (by_weight, by_bias): (Vec<_>, Vec<_>) = gradient
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(rows.par_chunks(chunk / channels))
        .map(|((gradient, x), rows)| {
            let (mut by_weight, mut by_bias) = (vec![0.0; channels], vec![0.0; channels]);
            back(gradient, x, rows, weight, (&mut by_weight, &mut by_bias));
            (by_weight, by_bias)
        })
        .unzip();
    Sums { by_weight: add_parts(&by_weight, channels), by_bias: add_parts(&by_bias, channels) }
}
