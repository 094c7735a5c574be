//! The operators against PyTorch, finite differences, each other, and any number of threads.

mod differences;
mod golden;
mod kernels;
mod threads;

use candle_core::{Device, Tensor, Var};

use super::profile::Work;
use super::value::Array;
use super::{Gradients, Tape, Value};
use crate::ops::{BatchNorm, LayerNorm, Moves, Rectifier};
use crate::rng::Random;
use crate::weights::{Buffer, Parameter};

/// Numbers of a shape, drawn from a seed.
fn draw(purpose: &str, shape: &[usize]) -> Tensor {
    let mut random = Random::new(11, purpose, &[]);
    let numbers = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn parameter(name: &str, tensor: &Tensor) -> Parameter {
    let variable = Var::from_tensor(tensor).unwrap();
    Parameter { name: name.to_owned(), variable, decay: true }
}

fn batch_norm(weight: &Tensor, bias: &Tensor, mean: &Tensor, var: &Tensor) -> BatchNorm {
    let buffer = |name: &str, tensor: &Tensor| Buffer {
        name: name.to_owned(),
        variable: Var::from_tensor(tensor).unwrap(),
    };
    BatchNorm {
        weight: parameter("weight", weight),
        scales: true,
        bias: parameter("bias", bias),
        running_mean: buffer("mean", mean),
        running_var: buffer("var", var),
        momentum: 0.1,
        eps: 1e-5,
    }
}

/// Which implementation a value leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Path {
    Kernels,
    Composed,
}

/// Puts a tensor on the tape so that its gradient comes out under a name.
fn leaf(tape: &mut Tape, name: &str, tensor: &Tensor, path: Path) -> Value {
    let array = match path {
        Path::Kernels => Array::of(tensor.clone()),
        Path::Composed => Array::Device(tensor.clone()),
    };
    let parameter = parameter(name, tensor);
    tape.record(Work::new("leaf"), array, move |gradient, sink| {
        sink.give_parameter(&parameter, Value::new(gradient, None).tensor().clone())
    })
}

/// Panics unless all numbers agree within a tolerance relative to the largest.
fn close(what: &str, actual: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let (actual, expected) = (numbers(actual), numbers(expected));
    let largest = expected.iter().fold(1e-3_f32, |largest, x| largest.max(x.abs()));
    for (place, (a, e)) in actual.iter().zip(&expected).enumerate() {
        let near = (a - e).abs() <= tolerance * largest;
        assert!(near, "{what}: number {place} is {a}, not {e}");
    }
}

/// Every operator, as a function of named tensors, all of which get a gradient.
fn operators() -> Vec<Check> {
    [convolutions(), norms(), others()].into_iter().flatten().collect()
}

fn convolutions() -> Vec<Check> {
    let plain = Moves::new;
    let grouped = |stride, padding, groups| plain(stride, padding).grouped(groups);
    let cases = [
        ([2, 5, 7, 9], 6, [1, 1], plain(1, 0)),
        ([2, 5, 4, 11], 3, [1, 1], plain(2, 0)),
        ([2, 5, 6, 10], 17, [3, 3], plain(1, 1)),
        ([1, 9, 6, 2], 5, [3, 3], plain(2, 1)),
        ([1, 6, 5, 12], 5, [3, 3], plain(2, 1)),
        ([1, 9, 10, 3], 4, [7, 7], plain(2, 3)),
        ([1, 8, 7, 9], 2, [7, 7], plain(1, 3)),
        // by Winograd's tiles, of which some reach over the edge
        ([2, 5, 4, 17], 18, [3, 3], plain(1, 1)),
        ([1, 5, 6, 16], 17, [3, 3], plain(1, 0)),
        ([1, 3, 4, 17], 16, [3, 3], plain(1, 2)),
        // channel by channel
        ([2, 6, 5, 7], 7, [3, 3], grouped(1, 1, 7)),
        ([1, 7, 6, 5], 5, [3, 3], grouped(2, 1, 5)),
        ([1, 3, 4, 35], 35, [7, 7], grouped(1, 3, 35)),
        // in groups, with gaps, and not square
        ([1, 6, 5, 6], 9, [3, 3], grouped(1, 1, 3)),
        ([2, 4, 5, 3], 6, [3, 1], Moves { dilation: [2, 1], ..grouped(1, 2, 3) }),
        ([1, 7, 8, 4], 3, [2, 3], Moves { stride: [2, 3], padding: [1, 0], ..plain(1, 0) }),
    ];
    let check =
        |(shape, outputs, [rows, columns], moves): ([usize; 4], usize, [usize; 2], Moves)| {
            let weight = [outputs, shape[3] / moves.groups, rows, columns];
            let tensors = vec![
                ("x", draw("x", &shape)),
                ("w", draw("w", &weight)),
                ("b", draw("b", &[outputs])),
            ];
            let run: Operator = Box::new(move |tape, x| {
                let (weight, bias) = (parameter("w", x.tensor(1)), parameter("b", x.tensor(2)));
                super::convolution(tape, x.value(0), &weight, Some(&bias), moves).unwrap()
            });
            (format!("convolution {shape:?} by {weight:?}, {moves:?}"), tensors, run)
        };
    cases.into_iter().map(check).collect()
}

fn norms() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    let rectifiers = [Rectifier::None, Rectifier::Relu, Rectifier::Relu6];
    for (residual, rectifier) in [false, true].into_iter().flat_map(|r| rectifiers.map(|x| (r, x)))
    {
        let shape = [2, 4, 3, 5];
        let mut tensors = vec![
            ("x", draw("x", &shape)),
            ("weight", (draw("weight", &[5]) * 5.0).unwrap()),
            ("bias", draw("bias", &[5])),
        ];
        if residual {
            tensors.push(("residual", draw("residual", &shape)));
        }
        all.push((
            format!("batch norm {residual} {rectifier:?}"),
            tensors,
            Box::new(move |tape, x| {
                let zero = x.tensor(1).zeros_like().unwrap();
                let norm = batch_norm(x.tensor(1), x.tensor(2), &zero, &zero);
                let residual = residual.then(|| x.value(3));
                super::batch_norm(tape, x.value(0), &norm, residual, rectifier).unwrap()
            }),
        ));
    }
    for channels in [5, 37] {
        let tensors = vec![
            ("x", draw("x", &[2, 3, 2, channels])),
            ("weight", draw("weight", &[channels])),
            ("bias", draw("bias", &[channels])),
        ];
        all.push((
            format!("layer norm {channels}"),
            tensors,
            Box::new(move |tape, x| {
                let (weight, bias) =
                    (parameter("weight", x.tensor(1)), parameter("bias", x.tensor(2)));
                let norm = LayerNorm { weight, bias, eps: 1e-6 };
                super::layer_norm(tape, x.value(0), &norm).unwrap()
            }),
        ));
    }
    all
}

fn others() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    let wide = || vec![("x", draw("x", &[2, 7, 8, 5]))];
    for (kernel, stride, padding) in [(3, 2, 1), (2, 2, 0), (3, 1, 1)] {
        all.push((
            format!("max pool {kernel} {stride} {padding}"),
            wide(),
            Box::new(move |tape, x| {
                super::max_pool(tape, x.value(0), kernel, stride, padding).unwrap()
            }),
        ));
    }
    all.push((
        "average pool".to_owned(),
        wide(),
        Box::new(|tape, x| super::average_pool(tape, x.value(0)).unwrap()),
    ));
    all.push((
        "dropout".to_owned(),
        wide(),
        Box::new(|tape, x| {
            let random = &mut Random::new(5, "dropout", &[]);
            super::dropout(tape, x.value(0), 0.3, random).unwrap()
        }),
    ));
    all.push((
        "gelu".to_owned(),
        wide(),
        Box::new(|tape, x| super::gelu(tape, x.value(0)).unwrap()),
    ));
    all.push((
        "flatten".to_owned(),
        wide(),
        Box::new(|tape, x| super::flatten(tape, x.value(0)).unwrap()),
    ));
    all.push((
        "prelu".to_owned(),
        vec![("x", draw("x", &[2, 3, 4, 5])), ("slope", draw("slope", &[5]))],
        Box::new(|tape, x| {
            super::prelu(tape, x.value(0), &parameter("slope", x.tensor(1))).unwrap()
        }),
    ));
    for drop in [0.0, 0.4] {
        let shape = [5, 2, 3, 4];
        let tensors = vec![
            ("straight", draw("straight", &shape)),
            ("branch", draw("branch", &shape)),
            ("scale", draw("scale", &[4])),
        ];
        all.push((
            format!("scaled sum {drop}"),
            tensors,
            Box::new(move |tape, x| {
                let (scale, random) =
                    (parameter("scale", x.tensor(2)), &mut Random::new(6, "depth", &[]));
                super::scaled_sum(tape, x.value(0), x.value(1), &scale, drop, random).unwrap()
            }),
        ));
    }
    for shape in [vec![4, 9], vec![2, 3, 2, 9]] {
        all.push((
            format!("linear {shape:?}"),
            vec![("x", draw("x", &shape)), ("w", draw("w", &[6, 9])), ("b", draw("b", &[6]))],
            Box::new(|tape, x| {
                let (weight, bias) = (parameter("w", x.tensor(1)), parameter("b", x.tensor(2)));
                super::linear(tape, x.value(0), &weight, Some(&bias)).unwrap()
            }),
        ));
    }
    all
}

/// What is checked, the tensors it is checked with, and how it runs.
type Check = (String, Vec<(&'static str, Tensor)>, Operator);

type Operator = Box<dyn Fn(&mut Tape, &Inputs<'_>) -> Value>;

/// What an operator of [`operators`] is given: named tensors, on the tape where it reads values.
struct Inputs<'a> {
    tensors: &'a [(&'static str, Tensor)],
    values: Vec<Value>,
}

impl Inputs<'_> {
    fn value(&self, index: usize) -> &Value {
        &self.values[index]
    }
    fn tensor(&self, index: usize) -> &Tensor {
        &self.tensors[index].1
    }
}

/// Runs an operator on a training tape.
fn run(operator: &Operator, tensors: &[(&'static str, Tensor)], path: Path) -> (Tape, Value) {
    let mut tape = Tape::training();
    let values = tensors.iter().map(|(name, tensor)| leaf(&mut tape, name, tensor, path)).collect();
    let output = operator(&mut tape, &Inputs { tensors, values });
    (tape, output)
}

/// Runs an operator and returns its output and the gradients of Σ output · `direction`.
fn run_back(
    operator: &Operator,
    tensors: &[(&'static str, Tensor)],
    path: Path,
) -> (Tensor, Gradients) {
    let (mut tape, output) = run(operator, tensors, path);
    let direction = draw("direction", output.dims());
    let gradients = tape.backward(&output, direction).unwrap();
    (output.tensor().clone(), gradients)
}
