//! Norms as they are checked: with residuals, limits and slopes, around one another and beside convolutions.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::cases::{Check, Inputs, Operator, batch_norm, draw, draw_wide, parameter};
use super::{Other, run};
use crate::ops::{self, LayerNorm, Moves, Rectifier, Tape, Value};
use crate::rng::Random;

pub(super) fn norms() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    let rectifiers = [Rectifier::None, Rectifier::Relu, Rectifier::Relu6];
    for (residual, rectifier) in [false, true].into_iter().flat_map(|r| rectifiers.map(|x| (r, x)))
    {
        all.push(norm([2, 4, 3, 5], residual, rectifier));
    }
    all.push(around([2, 4, 3, 5]));
    all.push(bent([2, 4, 3, 5]));
    all.extend([5, 37].map(|channels| layer([2, 3, 2, channels])));
    all
}

/// Returns a batch norm around which its input goes straight.
pub(super) fn around(shape: [usize; 4]) -> Check {
    let (_, tensors, _) = norm(shape, false, Rectifier::Relu);
    let run: Operator = Box::new(move |tape, x| {
        let zero = x.tensor(1).zeros_like()?;
        let norm = batch_norm(x.tensor(1), x.tensor(2), &zero, &zero)?;
        ops::batch_norm(tape, x.value(0), &norm, Some(x.value(0)), Rectifier::Relu)
    });
    (format!("batch norm {shape:?} with its input as residual"), tensors, run)
}

/// Returns a batch norm whose result is bent below 0.
pub(super) fn bent(shape: [usize; 4]) -> Check {
    let (_, mut tensors, _) = norm(shape, false, Rectifier::None);
    tensors.push(("slope", draw("slope", &[shape[3]])));
    let run: Operator = Box::new(move |tape, x| {
        let zero = x.tensor(1).zeros_like()?;
        let norm = batch_norm(x.tensor(1), x.tensor(2), &zero, &zero)?;
        ops::batch_norm_prelu(tape, x.value(0), &norm, &parameter("slope", x.tensor(3))?)
    });
    (format!("batch norm {shape:?} and PReLU"), tensors, run)
}

/// Returns a norm with a residual, or bent below 0, whose result another norm takes, and where `around` is also added to
/// that. Where `feeds`, the first is told so.
pub(super) fn joined(shape: [usize; 4], bent: bool, around: bool, feeds: bool) -> Check {
    let run: Operator = Box::new(move |tape, x| {
        let (y, z) = two_norms(tape, x, bent, feeds)?;
        if !around {
            return Ok(z);
        }
        let (scale, mut random) = (parameter("scale", x.tensor(5))?, Random::new(6, "depth", &[]));
        ops::scaled_sum(tape, &y, &z, &scale, 0.0, &mut random)
    });
    let what = if bent { "and PReLU" } else { "with a residual" };
    let before = if around { "before another and around it" } else { "before another" };
    (format!("batch norm {shape:?} {what}, {before}"), of_two_norms(shape, bent), run)
}

/// Returns how many numbers change their bytes where norms add up for each other what otherwise each does for itself.
pub(super) fn bytes() -> Vec<Other> {
    let one = |(shape, bent, around): ([usize; 4], bool, bool)| -> Other {
        let changed = move |device: &Device, dtype: Option<DType>| {
            let there = |feeds| {
                let (_, tensors, operator) = joined(shape, bent, around, feeds);
                run(&operator, &tensors, device, dtype)
            };
            let (together, apart) = (there(true)?, there(false)?);
            let pairs = together.iter().zip(&apart).flat_map(|(a, b)| a.1.iter().zip(&b.1));
            let changed = pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
            Ok(vec![("changed".to_owned(), vec![changed as f32])])
        };
        let how = [if bent { ", bent" } else { "" }, if around { ", around" } else { "" }].concat();
        (format!("bytes of norms of {shape:?}{how}, one before another"), Box::new(changed))
    };
    let all = [
        ([3, 20, 21, 16], false, false),
        ([3, 20, 21, 16], false, true),
        ([3, 20, 21, 5], false, true),
        ([3, 20, 21, 16], true, true),
        ([2, 72, 64, 130], false, true),
    ];
    all.map(one).into()
}

/// Returns such norms where a convolution sees every other pixel of what the first gives.
pub(super) fn halved(shape: [usize; 4], bent: bool) -> Check {
    let mut tensors = of_two_norms(shape, bent);
    for name in ["w", "v"] {
        tensors.push((name, draw(name, &[4, shape[3], 1, 1])));
    }
    let run: Operator = Box::new(move |tape, x| {
        let (y, z) = two_norms(tape, x, bent, true)?;
        let (w, v) = (parameter("w", x.tensor(6))?, parameter("v", x.tensor(7))?);
        let moves = Moves::new(2, 0);
        let one = ops::convolution(tape, &z, &w, None, moves)?;
        let other = ops::convolution(tape, &y, &v, None, moves)?;
        let (scale, mut random) =
            (Tensor::ones(4, DType::F32, y.tensor().device())?, Random::new(6, "depth", &[]));
        ops::scaled_sum(tape, &one, &other, &parameter("scale", &scale)?, 0.0, &mut random)
    });
    let what = if bent { "batch norm and PReLU" } else { "batch norm" };
    (format!("convolution of every other pixel around a {what} {shape:?}"), tensors, run)
}

/// Returns what the first norm gives, and the second one of that.
fn two_norms(tape: &mut Tape, x: &Inputs<'_>, bent: bool, feeds: bool) -> Result<(Value, Value)> {
    let zero = x.tensor(1).zeros_like()?;
    let mut first = batch_norm(x.tensor(1), x.tensor(2), &zero, &zero)?;
    first.feeds_norm = feeds;
    let y = if bent {
        ops::batch_norm_prelu(tape, x.value(0), &first, &parameter("slope", x.tensor(3))?)?
    } else {
        ops::batch_norm(tape, x.value(0), &first, Some(x.value(3)), Rectifier::None)?
    };
    let mut second = batch_norm(x.tensor(4), x.tensor(5), &zero, &zero)?;
    second.weight = parameter("other weight", x.tensor(4))?;
    second.bias = parameter("other bias", x.tensor(5))?;
    let z = ops::batch_norm(tape, &y, &second, None, Rectifier::None)?;
    Ok((y, z))
}

/// Returns the tensors of these.
fn of_two_norms(shape: [usize; 4], bent: bool) -> Vec<(&'static str, Tensor)> {
    let (_, mut tensors, _) = norm(shape, true, Rectifier::None);
    let numbers = |purpose: &str| draw(purpose, &[shape[3]]);
    if bent {
        tensors[3] = ("slope", numbers("slope"));
    }
    tensors.extend(["other weight", "other bias"].map(|name| (name, numbers(name))));
    tensors
}

pub(super) fn norm(shape: [usize; 4], residual: bool, rectifier: Rectifier) -> Check {
    let channels = shape[3];
    let mut tensors = vec![
        ("x", draw("x", &shape)),
        ("weight", draw_wide("weight", channels, 5.0)),
        ("bias", draw("bias", &[channels])),
    ];
    if residual {
        tensors.push(("residual", draw("residual", &shape)));
    }
    let with = if residual { " with a residual" } else { "" };
    let run: Operator = Box::new(move |tape, x| {
        let zero = x.tensor(1).zeros_like()?;
        let norm = batch_norm(x.tensor(1), x.tensor(2), &zero, &zero)?;
        let residual = residual.then(|| x.value(3));
        ops::batch_norm(tape, x.value(0), &norm, residual, rectifier)
    });
    (format!("batch norm {shape:?}{with}, rectifier {rectifier:?}"), tensors, run)
}

pub(super) fn layer(shape: [usize; 4]) -> Check {
    let channels = shape[3];
    let tensors = vec![
        ("x", draw("x", &shape)),
        ("weight", draw("weight", &[channels])),
        ("bias", draw("bias", &[channels])),
    ];
    let run: Operator = Box::new(move |tape, x| {
        let (weight, bias) = (parameter("weight", x.tensor(1))?, parameter("bias", x.tensor(2))?);
        ops::layer_norm(tape, x.value(0), &LayerNorm { weight, bias, eps: 1e-6 })
    });
    (format!("layer norm {shape:?}"), tensors, run)
}
