//! The Gaussian error linear unit x Φ(x) (Hendrycks and Gimpel 2016), exact as in PyTorch.

use anyhow::Result;
use rayon::prelude::*;

use super::add::CHUNK;
use super::floats::Block;
use super::instructions::vectorized;
use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Recipe, Value};

/// 1 / √(2π).
const DENSITY: f64 = 0.398_942_280_401_432_7;

/// Φ(-z) eᶻ²ᐟ² for z ≥ 0 is this polynomial in t = 1 / (1 + 0.4 z), without a constant term, the
/// first power first; within 4e-7 of the value in f32 (fitted by stages/golden/gelu.py).
const TAIL: [f32; 10] = [
    0.159_575_91,
    0.159_620_66,
    0.133_270_35,
    0.090_291_86,
    -0.022_345_021,
    0.108_017_51,
    -0.356_201_74,
    0.365_736_93,
    -0.168_360_43,
    0.030_393_97,
];

/// Maps every number to its product with the share of a normal distribution below it.
///
/// # Errors
///
/// When the device fails.
pub(crate) fn gelu(tape: &mut Tape, x: &Value) -> Result<Value> {
    let node = x.node;
    match x.array() {
        Array::Host(x) => Ok(on_host(tape, node, x)),
        Array::Half(x) => Ok(on_host(tape, node, x)),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(x) if super::gpu::takes(x) => super::gpu::gelu(tape, node, x),
        Array::Device(x) => {
            let y = x.gelu_erf()?;
            let x = x.clone();
            Ok(tape.record(Work::new("GELU"), Array::Device(y), move |gradient, sink| {
                let gradient = Value::new(gradient, None);
                let share = ((&x / std::f64::consts::SQRT_2)?.erf()? * 0.5)?;
                let density = ((x.sqr()? * -0.5)?.exp()? * DENSITY)?;
                let slope = ((share + 0.5)? + (&x * density)?)?;
                sink.give(node, Array::Device((gradient.tensor() * slope)?))
            }))
        }
    }
}

fn on_host<N: Number>(tape: &mut Tape, node: Option<usize>, x: &Host<N>) -> Value {
    let work = Work::new("GELU");
    if !tape.is_training() {
        return tape.record(work, mapped(x), |_, _| Ok(()));
    }
    if tape.is_recomputing() {
        let (again, x) = (x.clone(), x.clone());
        let value = tape.record(work, mapped(&x), move |gradient, sink| {
            let (_, slope) = mapped_with_slope(&x);
            sink.give(node, scaled::<N>(gradient, &slope)?)
        });
        return value.made_by(Some(Recipe::new(move || Ok(mapped(&again)))));
    }
    // the slope is kept instead of x, which nothing else may need any longer
    let (y, slope) = mapped_with_slope(x);
    tape.record(work, N::array(Host::new(x.shape.clone(), y)), move |gradient, sink| {
        sink.give(node, scaled::<N>(gradient, &slope)?)
    })
}

fn mapped<N: Number>(x: &Host<N>) -> Array {
    let mut y = Block::<N>::stale(x.numbers.len());
    y.par_chunks_mut(CHUNK).zip(x.numbers.par_chunks(CHUNK)).for_each(|(y, x)| map(y, x));
    N::array(Host::new(x.shape.clone(), y))
}

/// Returns the results, and the derivative at each number.
fn mapped_with_slope<N: Number>(Host { numbers: x, .. }: &Host<N>) -> (Block<N>, Block<N>) {
    let (mut y, mut slope) = (Block::stale(x.len()), Block::stale(x.len()));
    y.par_chunks_mut(CHUNK)
        .zip(slope.par_chunks_mut(CHUNK))
        .zip(x.par_chunks(CHUNK))
        .for_each(|((y, slope), x)| map_with_slope(y, slope, x));
    (y, slope)
}

/// Multiplies a gradient by the derivatives.
fn scaled<N: Number>(gradient: Array, slope: &[N]) -> Result<Array> {
    let (shape, mut gradient) = N::taken(gradient)?.into_owned();
    gradient
        .par_chunks_mut(CHUNK)
        .zip(slope.par_chunks(CHUNK))
        .for_each(|(gradient, slope)| scale(gradient, slope));
    Ok(N::array(Host::new(shape, gradient)))
}

/// Returns Φ(x) and e⁻ˣ²ᐟ².
#[inline(always)]
fn share(x: f32) -> (f32, f32) {
    // eᵛ = 2ⁿ eʳ with |r| ≤ ln 2 / 2; a float near 1.5 · 2²³ holds its integer part in its low bits
    const INTEGER: f32 = 12_582_912.0;
    let v = (-0.5 * x * x).max(-87.0);
    let shifted = v * std::f32::consts::LOG2_E + INTEGER;
    let n = shifted - INTEGER;
    // ln 2 in two parts, the first of few enough digits that n times it is exact
    let r = (v - n * 0.693_145_75) - n * 1.428_606_8e-6;
    // written out: a loop in here keeps the loop around it from becoming vectors
    let mut series = r * (1.0 / 5040.0) + 1.0 / 720.0;
    series = series * r + 1.0 / 120.0;
    series = series * r + 1.0 / 24.0;
    series = series * r + 1.0 / 6.0;
    series = ((series * r + 0.5) * r + 1.0) * r + 1.0;
    let power = shifted.to_bits().wrapping_sub(INTEGER.to_bits()).wrapping_add(127) << 23;
    let falling = series * f32::from_bits(power);
    let t = 1.0 / (1.0 + 0.4 * x.abs());
    let mut tail = TAIL[9] * t + TAIL[8];
    tail = (tail * t + TAIL[7]) * t + TAIL[6];
    tail = (tail * t + TAIL[5]) * t + TAIL[4];
    tail = (tail * t + TAIL[3]) * t + TAIL[2];
    tail = (tail * t + TAIL[1]) * t + TAIL[0];
    let below = tail * t * falling;
    (if x > 0.0 { 1.0 - below } else { below }, falling)
}

vectorized! {
    fn map<N: Number>(y: &mut [N], x: &[N]) {
        for (y, x) in y.iter_mut().zip(x) {
            let x = x.wide();
            *y = N::narrow(x * share(x).0);
        }
    }
}

vectorized! {
    fn map_with_slope<N: Number>(y: &mut [N], slope: &mut [N], x: &[N]) {
        for ((y, slope), x) in y.iter_mut().zip(slope).zip(x) {
            let x = x.wide();
            let (share, falling) = share(x);
            *y = N::narrow(x * share);
            *slope = N::narrow(share + x * falling * DENSITY as f32);
        }
    }
}

vectorized! {
    fn scale<N: Number>(gradient: &mut [N], slope: &[N]) {
        for (gradient, slope) in gradient.iter_mut().zip(slope) {
            *gradient = N::narrow(gradient.wide() * slope.wide());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::map_with_slope;

    #[test]
    fn values_are_those_of_the_integral() {
        // x, x Φ(x) and its slope, by the error function of the C library in f64
        for (x, value, slope) in [
            (0.0_f32, 0.0_f64, 0.5_f64),
            (0.5, 0.345_731_230_637_007, 0.867_495_124_656_163),
            (-0.75, -0.169_970_514_282_651, 0.000_774_278_260_764_871),
            (-5.0, -1.433_257_859_395_97e-6, -7.146_946_001_792_3e-6),
            (30.0, 30.0, 1.0),
            (-30.0, 0.0, 0.0),
        ] {
            let (mut y, mut found) = ([0.0], [0.0]);
            map_with_slope(&mut y, &mut found, &[x]);
            let near = |a: f32, e: f64| (f64::from(a) - e).abs() <= 2e-6 * e.abs() + 2e-8;
            assert!(near(y[0], value), "{x}: {} and not {value}", y[0]);
            let near = |a: f32, e: f64| (f64::from(a) - e).abs() <= 1e-6 * e.abs() + 1e-7;
            assert!(near(found[0], slope), "{x}: slope {} and not {slope}", found[0]);
        }
        let (mut y, mut slope) = ([0.0], [0.0]);
        map_with_slope(&mut y, &mut slope, &[f32::NAN]);
        assert!(y[0].is_nan());
    }
}
