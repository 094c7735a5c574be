//! The operators against PyTorch, finite differences, each other, and any number of threads.

mod batch_norms;
mod differences;
mod folding;
mod golden;
mod halves;
mod kernels;
mod threads;

use candle_core::{DType, Tensor};

use super::parity::cases::{self, Inputs, Operator, draw, operators};
use super::profile::Work;
use super::value::Array;
use super::{BatchNorm, Gradients, Tape, Value};
use crate::weights::Parameter;

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn parameter(name: &str, tensor: &Tensor) -> Parameter {
    cases::parameter(name, tensor).unwrap()
}

fn batch_norm(weight: &Tensor, bias: &Tensor, mean: &Tensor, var: &Tensor) -> BatchNorm {
    cases::batch_norm(weight, bias, mean, var).unwrap()
}

/// Which implementation a value leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Path {
    Kernels,
    /// Kernels, on bf16.
    Halves,
    Composed,
}

/// Puts a tensor on the tape so that its gradient comes out under a name.
fn leaf(tape: &mut Tape, name: &str, tensor: &Tensor, path: Path) -> Value {
    let array = match path {
        Path::Kernels => Array::of(tensor.clone()),
        Path::Halves => Array::of(tensor.to_dtype(DType::BF16).unwrap()),
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

/// Runs an operator on a training tape.
fn run(operator: &Operator, tensors: &[(&'static str, Tensor)], path: Path) -> (Tape, Value) {
    let mut tape = Tape::training();
    let values = tensors.iter().map(|(name, tensor)| leaf(&mut tape, name, tensor, path)).collect();
    let output = operator(&mut tape, &Inputs { tensors, values }).unwrap();
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
