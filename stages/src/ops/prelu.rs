//! The rectifier whose slope below 0 is learnt, one for each channel (He et al. 2015).

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::columns::add_parts;
use super::floats::Block;
use super::instructions::vectorized;
use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Recipe, Value, read};
use crate::weights::Parameter;

/// Numbers that one task takes, in whole rows; fixed, so that nothing depends on the threads.
const CHUNK: usize = 16 * 1024;

/// Maps x to itself above 0 and to slope · x elsewhere, over [..., C] with a slope for each channel.
///
/// # Errors
///
/// When there are not as many slopes as channels.
pub(crate) fn prelu(tape: &mut Tape, x: &Value, slope: &Parameter) -> Result<Value> {
    check(x, slope)?;
    let (node, slope) = (x.node, slope.clone());
    match x.array() {
        Array::Host(x) => on_host(tape, node, x, slope),
        Array::Half(x) => on_host(tape, node, x, slope),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(x) if super::gpu::takes(x) => super::gpu::prelu(tape, node, x, &slope),
        Array::Device(x) => {
            let slopes = slope.variable.to_dtype(x.dtype())?;
            let above = x.gt(0f64)?;
            let y = above.where_cond(x, &x.broadcast_mul(&slopes)?)?;
            let x = x.clone();
            Ok(tape.record(Work::new("PReLU"), Array::Device(y), move |gradient, sink| {
                let gradient = Value::new(gradient, None);
                let gradient = gradient.tensor();
                let by_slope = above.where_cond(&x.zeros_like()?, &(gradient * &x)?)?;
                let rows = ((), slope.variable.elem_count());
                let by_slope = by_slope.to_dtype(DType::F32)?.reshape(rows)?.sum(0)?;
                sink.give_parameter(&slope, by_slope)?;
                let bent = gradient.broadcast_mul(&slopes)?;
                sink.give(node, Array::Device(above.where_cond(gradient, &bent)?))
            }))
        }
    }
}

/// Refuses slopes that do not fit.
pub(super) fn check(x: &Value, slope: &Parameter) -> Result<()> {
    let channels = slope.variable.elem_count();
    ensure!(
        x.dims().last() == Some(&channels),
        "`{}` is for {channels} channels, and was given {:?}",
        slope.name,
        x.dims()
    );
    Ok(())
}

fn on_host<N: Number>(
    tape: &mut Tape,
    node: Option<usize>,
    x: &Host<N>,
    slope: Parameter,
) -> Result<Value> {
    let slopes = read(&slope.variable, <[f32]>::to_vec)?;
    let channels = slopes.len();
    let chunk = (CHUNK / channels).max(1) * channels;
    let bent = move |x: &Host<N>, slopes: &[f32]| {
        let mut y = Block::stale(x.numbers.len());
        let chunks = y.par_chunks_mut(chunk).zip(x.numbers.par_chunks(chunk));
        chunks.for_each(|(y, x)| bend(y, x, slopes));
        N::array(Host::new(x.shape.clone(), y))
    };
    let (output, x) = (bent(x, &slopes), x.clone());
    let recipe = tape.is_recomputing().then(|| {
        let (x, slopes) = (x.clone(), slopes.clone());
        Recipe::new(move || Ok(bent(&x, &slopes)))
    });
    let value = tape.record(Work::new("PReLU"), output, move |gradient, sink| {
        let (shape, mut gradient) = N::taken(gradient)?.into_owned();
        let parts: Vec<Vec<f32>> = gradient
            .par_chunks_mut(chunk)
            .zip(x.numbers.par_chunks(chunk))
            .map(|(gradient, x)| {
                let mut sums = vec![0.0; channels];
                back(gradient, x, &slopes, &mut sums);
                sums
            })
            .collect();
        let sums = add_parts(&parts, channels);
        sink.give_parameter(&slope, Tensor::from_vec(sums, channels, &Device::Cpu)?)?;
        sink.give(node, N::array(Host::new(shape, gradient)))
    });
    Ok(value.made_by(recipe))
}

vectorized! {
    fn bend<N: Number>(y: &mut [N], x: &[N], slopes: &[f32]) {
        let channels = slopes.len();
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for ((y, x), slope) in y.iter_mut().zip(x).zip(slopes) {
                let x = x.wide();
                *y = N::narrow(if x > 0.0 { x } else { x * slope });
            }
        }
    }
}

vectorized! {
    fn back<N: Number>(gradient: &mut [N], x: &[N], slopes: &[f32], sums: &mut [f32]) {
        let channels = slopes.len();
        let sums = &mut sums[..channels];
        for (gradient, x) in gradient.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for (((gradient, x), slope), sum) in
                gradient.iter_mut().zip(x).zip(slopes).zip(sums.iter_mut())
            {
                let (given, x) = (gradient.wide(), x.wide());
                let above = x > 0.0;
                *sum += if above { 0.0 } else { given * x };
                *gradient = N::narrow(if above { given } else { given * slope });
            }
        }
    }
}
