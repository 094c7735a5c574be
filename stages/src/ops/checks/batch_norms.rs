//! The kernels of batch norm against plain loops in f64, at odd sizes and at those of a network.

use super::{Path, batch_norm, draw, leaf, numbers};
use crate::ops::{self, Rectifier, Tape};

/// What plain loops make of one normalization in training, in f64.
struct Plain {
    output: Vec<f64>,
    by_x: Vec<f64>,
    /// The largest of what each number of `by_x` is the sum of.
    terms: f64,
    by_residual: Vec<f64>,
    /// Sum over the rows, and that of the magnitudes of what is added up.
    by_weight: Vec<[f64; 2]>,
    by_bias: Vec<[f64; 2]>,
}

/// The numbers of a case, each `[rows, channels]` or `[channels]`.
struct Given {
    x: Vec<f32>,
    residual: Option<Vec<f32>>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    direction: Vec<f32>,
}

impl Given {
    /// Goes forward and back. Where the gradient passes the rectifier is read from an output in f32: in f64
    /// a number may lie on the other side of a limit, and gradients jump there.
    fn plain(&self, output: &[f32], limits: Option<[f32; 2]>) -> Plain {
        let channels = self.weight.len();
        let count = (self.x.len() / channels) as f64;
        let [lowest, highest] = limits.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        let passes = |place: usize| output[place] > lowest && output[place] < highest;
        let gradient =
            |place: usize| if passes(place) { f64::from(self.direction[place]) } else { 0.0 };
        let mut plain = Plain {
            output: vec![0.0; self.x.len()],
            by_x: vec![0.0; self.x.len()],
            terms: 0.0,
            by_residual: (0..self.x.len()).map(gradient).collect(),
            by_weight: Vec::new(),
            by_bias: Vec::new(),
        };
        for channel in 0..channels {
            let places = || (channel..self.x.len()).step_by(channels);
            let x = |place: usize| f64::from(self.x[place]);
            let mean = places().map(x).sum::<f64>() / count;
            let variance = places().map(|place| (x(place) - mean).powi(2)).sum::<f64>() / count;
            let inverse = 1.0 / (variance + 1e-5).sqrt();
            let weight = f64::from(self.weight[channel]);
            let normal = |place: usize| (x(place) - mean) * inverse;
            let sum = |terms: &dyn Fn(usize) -> f64| {
                [places().map(terms).sum(), places().map(|place| terms(place).abs()).sum()]
            };
            let by_bias = sum(&gradient);
            let by_weight = sum(&|place| gradient(place) * normal(place));
            for place in places() {
                let added = self.residual.as_ref().map_or(0.0, |added| f64::from(added[place]));
                let mapped = normal(place) * weight + f64::from(self.bias[channel]) + added;
                plain.output[place] = mapped.clamp(f64::from(lowest), f64::from(highest));
                let term = weight * inverse * gradient(place);
                plain.terms = plain.terms.max(term.abs());
                let level = by_bias[0] / count + normal(place) * by_weight[0] / count;
                plain.by_x[place] = term - weight * inverse * level;
            }
            plain.by_weight.push(by_weight);
            plain.by_bias.push(by_bias);
        }
        plain
    }
}

/// Panics unless all numbers agree to rounding, relative to the largest of them and of what they are sums of.
fn near(what: &str, found: &[f32], expected: &[f64], terms: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(terms.max(1e-3), |largest, x| largest.max(x.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let within = (f64::from(*found) - expected).abs() <= 4e-6 * largest;
        assert!(within, "{what}: number {place} is {found}, not {expected}");
    }
}

/// Panics unless all sums agree to rounding, relative to what was added up.
fn near_sums(what: &str, found: &[f32], expected: &[[f64; 2]]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (channel, (found, [expected, magnitude])) in found.iter().zip(expected).enumerate() {
        let within = (f64::from(*found) - expected).abs() <= 2e-6 * magnitude + 1e-6;
        assert!(within, "{what}: channel {channel} is {found}, not {expected}");
    }
}

fn check(rows: usize, channels: usize, residual: bool, rectifier: Rectifier) {
    let what = format!("{rows} rows of {channels}, {residual}, {rectifier:?}");
    let shape = [rows, channels];
    // far from 0 and not of unit variance, so that neither can be left out unnoticed
    let x = draw("x", &shape).affine(1.7, 0.9).unwrap();
    let (weight, bias) = (draw("weight", &[channels]), draw("bias", &[channels]));
    let weight = weight.affine(2.0, 0.5).unwrap();
    let zero = weight.zeros_like().unwrap();
    let norm = batch_norm(&weight, &bias, &zero, &zero);
    let added = residual.then(|| draw("residual", &shape));
    let direction = draw("direction", &shape);

    let mut tape = Tape::training();
    let value = leaf(&mut tape, "x", &x, Path::Kernels);
    let added_value = added.as_ref().map(|added| leaf(&mut tape, "added", added, Path::Kernels));
    let output =
        ops::batch_norm(&mut tape, &value, &norm, added_value.as_ref(), rectifier).unwrap();
    let found = numbers(output.tensor());
    let gradients = tape.backward(&output, direction.clone()).unwrap();

    let given = Given {
        x: numbers(&x),
        residual: added.as_ref().map(numbers),
        weight: numbers(&weight),
        bias: numbers(&bias),
        direction: numbers(&direction),
    };
    let plain = given.plain(&found, rectifier.limits());
    near(&what, &found, &plain.output, 0.0);
    near(&format!("{what}, by x"), &numbers(&gradients["x"]), &plain.by_x, plain.terms);
    if residual {
        let by_residual = numbers(&gradients["added"]);
        near(&format!("{what}, by residual"), &by_residual, &plain.by_residual, 0.0);
    }
    near_sums(&format!("{what}, by weight"), &numbers(&gradients["weight"]), &plain.by_weight);
    near_sums(&format!("{what}, by bias"), &numbers(&gradients["bias"]), &plain.by_bias);
}

#[test]
fn a_batch_norm_is_that_of_plain_loops() {
    let odd = [1, 3, 7, 16, 17, 64, 100, 300];
    // one short piece; several chunks of which the last is not full
    let mut sizes: Vec<_> = odd.into_iter().map(|channels| (37, channels)).collect();
    sizes.extend(odd.into_iter().map(|channels| (3 * 16 * 1024 / channels + 5, channels)));
    // two values; blocks of the network of pipelines/verify.toml, first and last
    sizes.extend([(2, 5), (32 * 48 * 48, 16), (32 * 6 * 6, 128)]);
    for (rows, channels) in sizes {
        for rectifier in [Rectifier::None, Rectifier::Relu, Rectifier::Relu6] {
            for residual in [false, true] {
                check(rows, channels, residual, rectifier);
            }
        }
    }
}
