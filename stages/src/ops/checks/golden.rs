//! Values and gradients against PyTorch (stages/golden/operators.py).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{Device, Tensor};

use super::{Path, batch_norm, close, leaf, numbers, parameter};
use crate::ops::{self, LayerNorm, Moves, Rectifier, Tape};
use crate::rng::Random;

/// The tensors of one case, by name.
type Case = BTreeMap<String, Tensor>;

fn cases(family: &str) -> Vec<(String, Case)> {
    let bytes = include_bytes!("../../../golden/operators.safetensors");
    let all: HashMap<String, Tensor> =
        candle_core::safetensors::load_buffer(bytes, &Device::Cpu).unwrap();
    let names: BTreeSet<&str> =
        all.keys().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let one = |case: &str| {
        let prefix = format!("{case}.");
        let named = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone()))
        };
        (case.to_owned(), all.iter().filter_map(named).collect())
    };
    let cases: Vec<(String, Case)> =
        names.into_iter().filter(|name| name.starts_with(family)).map(one).collect();
    assert!(!cases.is_empty(), "no case of {family}");
    cases
}

fn window(case: &Case) -> Vec<usize> {
    numbers(&case["window"]).into_iter().map(|number| number as usize).collect()
}

/// Returns the implementation that a value leads to.
fn path_of(x: &ops::Value) -> Path {
    match x.array() {
        super::Array::Host(_) => Path::Kernels,
        super::Array::Half(_) => Path::Halves,
        super::Array::Device(_) => Path::Composed,
    }
}

/// Checks an operator of named inputs: its value, and its gradient by every `by_` of the case.
fn check(family: &str, operator: impl Fn(&mut Tape, &ops::Value, &Case) -> ops::Value) {
    for (name, case) in cases(family) {
        for path in [Path::Kernels, Path::Composed] {
            let mut tape = Tape::training();
            let x = leaf(&mut tape, "x", &case["x"], path);
            let y = operator(&mut tape, &x, &case);
            close(&name, y.tensor(), &case["y"], 1e-5);
            let gradients = tape.backward(&y, case["gradient"].clone()).unwrap();
            for (by, expected) in &case {
                if let Some(input) = by.strip_prefix("by_") {
                    close(&format!("{name} {by} {path:?}"), &gradients[input], expected, 1e-5);
                }
            }
        }
    }
}

#[test]
fn convolution() {
    check("convolution", |tape, x, case| {
        let window = window(case);
        let moves = Moves {
            stride: [window[0], window[1]],
            padding: [window[2], window[3]],
            dilation: [window[4], window[5]],
            groups: window[6],
        };
        let weight = parameter("weight", &case["weight"]);
        let bias = case.get("bias").map(|bias| parameter("bias", bias));
        ops::convolution(tape, x, &weight, bias.as_ref(), moves).unwrap()
    });
}

#[test]
fn batch_norm_in_training_and_inference() {
    check("batch-norm", |tape, x, case| {
        let norm =
            batch_norm(&case["weight"], &case["bias"], &case["running_mean"], &case["running_var"]);
        let rectifier = match numbers(&case["highest"])[0] {
            0.0 => Rectifier::None,
            6.0 => Rectifier::Relu6,
            _ => Rectifier::Relu,
        };
        let residual = case.get("residual").map(|added| leaf(tape, "residual", added, path_of(x)));
        let mut idle = Tape::inference();
        let at_rest = ops::batch_norm(&mut idle, x, &norm, residual.as_ref(), rectifier).unwrap();
        assert!(at_rest.node.is_none());
        close("inference", at_rest.tensor(), &case["idle"], 1e-5);
        let y = ops::batch_norm(tape, x, &norm, residual.as_ref(), rectifier).unwrap();
        close("running mean", &norm.running_mean.variable, &case["next_mean"], 1e-6);
        close("running variance", &norm.running_var.variable, &case["next_var"], 1e-6);
        y
    });
}

#[test]
fn layer_norm() {
    check("layer-norm", |tape, x, case| {
        let (weight, bias) =
            (parameter("weight", &case["weight"]), parameter("bias", &case["bias"]));
        ops::layer_norm(tape, x, &LayerNorm { weight, bias, eps: 1e-6 }).unwrap()
    });
}

#[test]
fn gelu() {
    check("gelu", |tape, x, _| ops::gelu(tape, x).unwrap());
}

#[test]
fn prelu() {
    check("prelu", |tape, x, case| {
        ops::prelu(tape, x, &parameter("slope", &case["slope"])).unwrap()
    });
}

#[test]
fn flatten() {
    check("flatten", |tape, x, _| ops::flatten(tape, x).unwrap());
}

#[test]
fn scaled_sum() {
    check("scaled-sum", |tape, x, case| {
        let branch = leaf(tape, "branch", &case["branch"], path_of(x));
        let (scale, random) =
            (parameter("scale", &case["scale"]), &mut Random::new(1, "none", &[]));
        ops::scaled_sum(tape, x, &branch, &scale, 0.0, random).unwrap()
    });
}

#[test]
fn max_pool() {
    check("max-pool", |tape, x, case| {
        let window = window(case);
        ops::max_pool(tape, x, window[0], window[1], window[2]).unwrap()
    });
}

#[test]
fn average_pool() {
    check("average-pool", |tape, x, _| ops::average_pool(tape, x).unwrap());
}

#[test]
fn linear() {
    check("linear", |tape, x, case| {
        let weight = parameter("weight", &case["weight"]);
        let bias = case.get("bias").map(|bias| parameter("bias", bias));
        ops::linear(tape, x, &weight, bias.as_ref()).unwrap()
    });
}
