//! Batch normalization on the CPU: one pass for the statistics, one for the map.

use rayon::prelude::*;

use super::Statistics;
use crate::ops::columns::repeated;
use crate::ops::floats::Block;
use crate::ops::instructions::vectorized;
use crate::ops::number::Number;
use crate::ops::rectifier::Rectifier;

/// Numbers that one task takes: they stay in the L1 or L2 cache between its passes.
const CHUNK: usize = 16 * 1024;

/// A normalization as a map x · scale + shift of each channel.
pub(super) struct Map {
    mean: Vec<f32>,
    /// 1 / √(variance + eps).
    inverse: Vec<f32>,
    /// Repeated for several pixels, as is `shift`.
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// The gradients by weight and bias.
pub(super) struct Sums {
    pub(super) by_weight: Vec<f32>,
    pub(super) by_bias: Vec<f32>,
}

impl Map {
    pub(super) fn new(statistics: &Statistics, weight: &[f32], bias: &[f32], eps: f64) -> Self {
        let mean = statistics.mean.clone();
        let inverse: Vec<f32> = statistics
            .variance
            .iter()
            .map(|&variance| (1.0 / (f64::from(variance) + eps).sqrt()) as f32)
            .collect();
        let scale: Vec<f32> = weight.iter().zip(&inverse).map(|(w, i)| w * i).collect();
        let shift: Vec<f32> = bias
            .iter()
            .zip(&mean)
            .zip(&scale)
            .map(|((b, m), s)| (f64::from(*b) - f64::from(*m) * f64::from(*s)) as f32)
            .collect();
        let [scale, shift] = [scale, shift].map(|numbers| repeated(&numbers));
        Self { mean, inverse, scale, shift }
    }

    pub(super) fn channels(&self) -> usize {
        self.inverse.len()
    }
}

/// Returns how many numbers a task takes: whole pixels, fixed by the channels alone.
fn chunk(channels: usize) -> usize {
    (CHUNK / channels).max(1) * channels
}

vectorized! {
    fn add_pixels<N: Number>(sums: &mut [f32], x: &[N]) {
        let channels = sums.len();
        for x in x.chunks_exact(channels) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x.wide();
            }
        }
    }
}

vectorized! {
    fn add_squares<N: Number>(sums: &mut [f32], x: &[N], mean: &[f32]) {
        let channels = sums.len();
        let mean = &mean[..channels];
        for x in x.chunks_exact(channels) {
            for ((sum, x), mean) in sums.iter_mut().zip(x).zip(mean) {
                *sum += (x.wide() - mean) * (x.wide() - mean);
            }
        }
    }
}

/// Returns mean and biased variance of each channel: two passes over each chunk while it is in
/// the cache, and chunks joined in f64 in their order (Chan, Golub and LeVeque 1979).
pub(super) fn statistics<N: Number>(x: &[N], channels: usize) -> Statistics {
    let parts: Vec<(usize, Vec<f32>, Vec<f32>)> = x
        .par_chunks(chunk(channels))
        .map(|x| {
            let count = x.len() / channels;
            let mut mean = vec![0.0; channels];
            add_pixels(&mut mean, x);
            mean.iter_mut().for_each(|sum| *sum /= count as f32);
            let mut squares = vec![0.0; channels];
            add_squares(&mut squares, x, &mean);
            (count, mean, squares)
        })
        .collect();
    let mut mean = vec![0_f64; channels];
    let mut squares = vec![0_f64; channels];
    let mut seen = 0.0;
    for (count, part_mean, part_squares) in parts {
        let count = count as f64;
        let total = seen + count;
        for channel in 0..channels {
            let delta = f64::from(part_mean[channel]) - mean[channel];
            mean[channel] += delta * count / total;
            squares[channel] +=
                f64::from(part_squares[channel]) + delta * delta * seen * count / total;
        }
        seen = total;
    }
    Statistics {
        mean: mean.into_iter().map(|mean| mean as f32).collect(),
        variance: squares.into_iter().map(|squares| (squares / seen) as f32).collect(),
    }
}

vectorized! {
    fn normalize<N: Number>(y: &mut [N], x: &[N], scale: &[f32], shift: &[f32], limits: [f32; 2]) {
        let [lowest, highest] = limits;
        let channels = scale.len();
        let shift = &shift[..channels];
        for (y, x) in y.chunks_mut(channels).zip(x.chunks(channels)) {
            for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                let mapped = x.wide() * scale + shift;
                let mapped = if mapped < lowest { lowest } else { mapped };
                *y = N::narrow(if mapped > highest { highest } else { mapped });
            }
        }
    }
}

vectorized! {
    fn normalize_and_add<N: Number>(
        y: &mut [N], x: &[N], residual: &[N], scale: &[f32], shift: &[f32], limits: [f32; 2],
    ) {
        let [lowest, highest] = limits;
        let channels = scale.len();
        let shift = &shift[..channels];
        for ((y, x), residual) in y
            .chunks_mut(channels)
            .zip(x.chunks(channels))
            .zip(residual.chunks(channels))
        {
            for ((((y, x), r), scale), shift) in
                y.iter_mut().zip(x).zip(residual).zip(scale).zip(shift)
            {
                let mapped = x.wide() * scale + shift + r.wide();
                let mapped = if mapped < lowest { lowest } else { mapped };
                *y = N::narrow(if mapped > highest { highest } else { mapped });
            }
        }
    }
}

/// Maps every number, adds the residual, and rectifies.
pub(super) fn forward<N: Number>(
    x: &[N],
    map: &Map,
    residual: Option<&[N]>,
    rectifier: Rectifier,
) -> Block<N> {
    let chunk = chunk(map.channels());
    // what is not a number is beyond neither limit, and goes on to the loss, where it is noticed
    let limits = rectifier.limits().unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
    let mut y = Block::stale(x.len());
    let chunks = y.par_chunks_mut(chunk).zip(x.par_chunks(chunk));
    match residual {
        None => chunks.for_each(|(y, x)| normalize(y, x, &map.scale, &map.shift, limits)),
        Some(residual) => chunks.zip(residual.par_chunks(chunk)).for_each(|((y, x), residual)| {
            normalize_and_add(y, x, residual, &map.scale, &map.shift, limits);
        }),
    }
    y
}

vectorized! {
    fn keep_within<N: Number>(gradient: &mut [N], output: &[N], limits: [f32; 2]) {
        let [lowest, highest] = limits;
        for (gradient, output) in gradient.iter_mut().zip(output) {
            let within = (output.wide() > lowest) & (output.wide() < highest);
            *gradient = if within { *gradient } else { N::default() };
        }
    }
}

vectorized! {
    fn add_gradients<N: Number>(
        sums: (&mut [f32], &mut [f32]), x: &[N], gradient: &[N], mean: &[f32],
    ) {
        let (plain, weighted) = sums;
        let channels = mean.len();
        let (plain, weighted) = (&mut plain[..channels], &mut weighted[..channels]);
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            for ((((plain, weighted), x), gradient), mean) in
                plain.iter_mut().zip(weighted.iter_mut()).zip(x).zip(gradient).zip(mean)
            {
                *plain += gradient.wide();
                *weighted += gradient.wide() * (x.wide() - mean);
            }
        }
    }
}

vectorized! {
    fn add_gradients_within<N: Number>(
        sums: (&mut [f32], &mut [f32]), x: &[N], gradient: &[N], map: &Map, limits: [f32; 2],
    ) {
        let (plain, weighted) = sums;
        let [lowest, highest] = limits;
        let channels = map.channels();
        let (plain, weighted) = (&mut plain[..channels], &mut weighted[..channels]);
        let (mean, scale, shift) = (&map.mean[..channels], &map.scale[..channels], &map.shift[..channels]);
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
            for ((((((plain, weighted), x), gradient), mean), scale), shift) in plain
                .iter_mut()
                .zip(weighted.iter_mut())
                .zip(x)
                .zip(gradient)
                .zip(mean)
                .zip(scale)
                .zip(shift)
            {
                let x = x.wide();
                let output = x * scale + shift;
                let within = (output > lowest) & (output < highest);
                let gradient = if within { gradient.wide() } else { 0.0 };
                *plain += gradient;
                *weighted += gradient * (x - mean);
            }
        }
    }
}

/// Returns the gradients by weight and bias; chunks are added in f64 in their order. Where the output is
/// given, the gradient is set to 0 where that is at a limit; else it is only taken to be 0 where the
/// output, which is worked out again, is.
pub(super) fn masked_sums<N: Number>(
    x: &[N],
    gradient: &mut [N],
    output: Option<&[N]>,
    map: &Map,
    limits: Option<[f32; 2]>,
) -> Sums {
    let channels = map.channels();
    let chunk = chunk(channels);
    let parts: Vec<(Vec<f32>, Vec<f32>)> = x
        .par_chunks(chunk)
        .zip(gradient.par_chunks_mut(chunk))
        .enumerate()
        .map(|(index, (x, gradient))| {
            let (mut plain, mut weighted) = (vec![0.0; channels], vec![0.0; channels]);
            let sums = (&mut plain[..], &mut weighted[..]);
            match (output, limits) {
                (Some(output), Some(limits)) => {
                    keep_within(gradient, &output[index * chunk..][..x.len()], limits);
                    add_gradients(sums, x, gradient, &map.mean);
                }
                (None, Some(limits)) => add_gradients_within(sums, x, gradient, map, limits),
                (_, None) => add_gradients(sums, x, gradient, &map.mean),
            }
            (plain, weighted)
        })
        .collect();
    let (mut plain, mut weighted) = (vec![0_f64; channels], vec![0_f64; channels]);
    for (part_plain, part_weighted) in parts {
        for channel in 0..channels {
            plain[channel] += f64::from(part_plain[channel]);
            weighted[channel] += f64::from(part_weighted[channel]);
        }
    }
    let by_weight = weighted.iter().zip(&map.inverse).map(|(w, i)| (w * f64::from(*i)) as f32);
    Sums { by_weight: by_weight.collect(), by_bias: plain.iter().map(|&p| p as f32).collect() }
}

/// The gradient by x is `scale · gradient + slope · x + level` for each channel.
struct Back<'a> {
    scale: &'a [f32],
    slope: Vec<f32>,
    level: Vec<f32>,
}

impl<'a> Back<'a> {
    fn new(map: &'a Map, sums: &Sums, count: f64) -> Self {
        let mut slope = Vec::new();
        let mut level = Vec::new();
        for channel in 0..map.channels() {
            let [scale, inverse, mean] =
                [map.scale[channel], map.inverse[channel], map.mean[channel]].map(f64::from);
            let by_x = -scale * inverse * f64::from(sums.by_weight[channel]) / count;
            slope.push(by_x as f32);
            level.push((-scale * f64::from(sums.by_bias[channel]) / count - by_x * mean) as f32);
        }
        Self { scale: &map.scale, slope: repeated(&slope), level: repeated(&level) }
    }
}

vectorized! {
    fn back_to<N: Number>(back: &mut [N], x: &[N], gradient: &[N], by: &Back<'_>) {
        let channels = by.scale.len();
        let (slope, level) = (&by.slope[..channels], &by.level[..channels]);
        for ((back, x), gradient) in back
            .chunks_mut(channels)
            .zip(x.chunks(channels))
            .zip(gradient.chunks(channels))
        {
            for (((((back, x), gradient), scale), slope), level) in
                back.iter_mut().zip(x).zip(gradient).zip(by.scale).zip(slope).zip(level)
            {
                *back = N::narrow(gradient.wide() * scale + (x.wide() * slope + level));
            }
        }
    }
}

vectorized! {
    fn back_in_place<N: Number>(gradient: &mut [N], x: &[N], by: &Back<'_>) {
        let channels = by.scale.len();
        let (slope, level) = (&by.slope[..channels], &by.level[..channels]);
        for (gradient, x) in gradient.chunks_mut(channels).zip(x.chunks(channels)) {
            for ((((gradient, x), scale), slope), level) in
                gradient.iter_mut().zip(x).zip(by.scale).zip(slope).zip(level)
            {
                *gradient = N::narrow(gradient.wide() * scale + (x.wide() * slope + level));
            }
        }
    }
}

/// Returns the gradient by x.
pub(super) fn backward<N: Number>(x: &[N], gradient: &[N], map: &Map, sums: &Sums) -> Block<N> {
    let by = Back::new(map, sums, (x.len() / map.channels()) as f64);
    let chunk = chunk(map.channels());
    let mut back = Block::stale(x.len());
    back.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk).zip(gradient.par_chunks(chunk)))
        .for_each(|(back, (x, gradient))| back_to(back, x, gradient, &by));
    back
}

vectorized! {
    fn back_in_place_within<N: Number>(
        gradient: &mut [N], x: &[N], by: &Back<'_>, shift: &[f32], limits: [f32; 2],
    ) {
        let [lowest, highest] = limits;
        let channels = by.scale.len();
        let (slope, level) = (&by.slope[..channels], &by.level[..channels]);
        let shift = &shift[..channels];
        for (gradient, x) in gradient.chunks_mut(channels).zip(x.chunks(channels)) {
            for (((((gradient, x), scale), slope), level), shift) in
                gradient.iter_mut().zip(x).zip(by.scale).zip(slope).zip(level).zip(shift)
            {
                let x = x.wide();
                let output = x * scale + shift;
                let within = (output > lowest) & (output < highest);
                let given = if within { gradient.wide() } else { 0.0 };
                *gradient = N::narrow(given * scale + (x * slope + level));
            }
        }
    }
}

/// Turns the gradient by the output, which counts only where the output is within the limits, into that
/// by x.
pub(super) fn backward_in_place<N: Number>(
    x: &[N],
    gradient: &mut [N],
    map: &Map,
    sums: &Sums,
    limits: Option<[f32; 2]>,
) {
    let by = Back::new(map, sums, (x.len() / map.channels()) as f64);
    let chunk = chunk(map.channels());
    gradient.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(
        |(gradient, x)| match limits {
            None => back_in_place(gradient, x, &by),
            Some(limits) => back_in_place_within(gradient, x, &by, &map.shift, limits),
        },
    );
}
