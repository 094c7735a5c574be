//! Every operator on a device beside our kernels on the CPU: value, gradients, and the same bytes twice.

pub(in crate::ops) mod cases;
mod inference;
mod norms;
mod patches;
mod statistics;
mod strides;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

use self::cases::{Check, Inputs, Operator, draw, drawn, operators, parameter, wide};
use super::profile::Work;
use super::tape::{Gradients, Tape};
use super::value::{Array, Value};

/// How many random shapes there are of each kind that has any.
const DRAWN: u64 = 24;

/// How an operator did on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How far off it was, in the tensor where it was farthest: in f32 the largest difference over the
    /// largest number, in bf16 the length of the difference over the length.
    pub error: f64,
    /// That tensor: `value`, or the input by which a gradient is.
    pub worst: String,
    /// The highest error that counts as right.
    pub tolerance: f64,
    /// Whether a second run gave the same bytes.
    pub repeats: bool,
}

impl Verdict {
    /// Returns whether it was right, and right again.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.error <= self.tolerance && self.repeats
    }
}

/// What else is checked: a name, and what gives named numbers on a device, in a type or by the CPU's own kernels.
pub(crate) type Other = (String, Box<dyn Fn(&Device, Option<DType>) -> Result<Numbers>>);

/// Numbers with their names.
pub(crate) type Numbers = Vec<(String, Vec<f32>)>;

/// The operators with what they are checked with, and the device that is to be checked.
pub struct Parity {
    device: Device,
    dtype: DType,
    checks: Vec<Check>,
    others: Vec<Other>,
}

impl Parity {
    /// Prepares a check of the operators of a device, the CPU's being those composed of plain tensor
    /// operations; `seed` draws shapes.
    pub(crate) fn new(device: Device, dtype: DType, seed: u64) -> Self {
        Self {
            device,
            dtype,
            checks: [operators(), wide(), drawn(seed, DRAWN)].into_iter().flatten().collect(),
            others: [
                inference::cases(),
                norms::bytes(),
                patches::cases(),
                statistics::cases(),
                strides::cases(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    /// Checks these as well.
    pub(crate) fn and(mut self, others: Vec<Other>) -> Self {
        self.others.extend(others);
        self
    }

    /// Returns what is checked, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let operators = self.checks.iter().map(|(name, ..)| name.as_str());
        operators.chain(self.others.iter().map(|(name, _)| name.as_str())).collect()
    }

    /// Returns whether a check multiplies matrices.
    #[cfg(all(test, not(feature = "cuda")))]
    pub(in crate::ops) fn multiplies(&self, number: usize) -> bool {
        let name = self.names()[number];
        let dense = name.starts_with("convolution") && !name.starts_with("convolution by channel");
        dense || name.starts_with("linear")
    }

    /// Checks one of them.
    ///
    /// # Errors
    ///
    /// When an operator fails, or gives what has no place in the comparison.
    pub fn check(&self, number: usize) -> Result<Verdict> {
        let Some((_, tensors, operator)) = self.checks.get(number) else {
            let (_, run) =
                self.others.get(number - self.checks.len()).context("there is no such check")?;
            let there = || run(&self.device, Some(self.dtype));
            let expected = apart(|| run(&Device::Cpu, None))?;
            return self.judge(&expected, &there()?, &there()?);
        };
        // what the device rounds before it starts is no error of its operators
        let rounded = |(name, tensor): &(&'static str, Tensor)| -> Result<(&'static str, Tensor)> {
            Ok((*name, tensor.to_dtype(self.dtype)?.to_dtype(DType::F32)?))
        };
        let tensors: Vec<_> = tensors.iter().map(rounded).collect::<Result<_>>()?;
        let expected = apart(|| run(operator, &tensors, &Device::Cpu, None))?;
        let found = run(operator, &tensors, &self.device, Some(self.dtype))?;
        let again = run(operator, &tensors, &self.device, Some(self.dtype))?;
        ensure!(expected.len() > tensors.len(), "only {} gradients came back", expected.len() - 1);
        self.judge(&expected, &found, &again)
    }

    /// Compares what a device gave, twice, with what was expected.
    fn judge(&self, expected: &Numbers, found: &Numbers, again: &Numbers) -> Result<Verdict> {
        let tolerance = if self.dtype == DType::F32 { 1e-4 } else { 2e-2 };
        let mut verdict =
            Verdict { error: 0.0, worst: "value".to_owned(), tolerance, repeats: true };
        ensure!(
            found.len() == expected.len() && !expected.is_empty(),
            "there are {} arrays, and {} were expected",
            found.len(),
            expected.len()
        );
        for ((name, expected), ((_, found), (_, again))) in
            expected.iter().zip(found.iter().zip(again))
        {
            ensure!(
                expected.len() == found.len(),
                "{name}: {} numbers, and {} were expected",
                found.len(),
                expected.len()
            );
            let error = self.error(expected, found);
            // an error that is no number is the worst there is
            if error.is_nan() || error > verdict.error {
                (verdict.error, verdict.worst) =
                    (if error.is_nan() { f64::INFINITY } else { error }, name.clone());
            }
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
            verdict.repeats &= found.iter().zip(again).all(same);
        }
        Ok(verdict)
    }

    fn error(&self, expected: &[f32], found: &[f32]) -> f64 {
        let pairs = || expected.iter().zip(found).map(|(e, f)| (f64::from(*e), f64::from(*f)));
        if self.dtype == DType::F32 {
            let largest = pairs().fold(1e-3, |largest: f64, (e, _)| largest.max(e.abs()));
            // `f64::max` would forget what is not a number
            let worse = |worst: f64, (e, f): (f64, f64)| {
                let apart = (e - f).abs();
                if apart > worst || apart.is_nan() { apart } else { worst }
            };
            return pairs().fold(0.0, worse) / largest;
        }
        let length: f64 = pairs().map(|(e, _)| e * e).sum();
        let apart: f64 = pairs().map(|(e, f)| (e - f) * (e - f)).sum();
        (apart / length.max(1e-6)).sqrt()
    }
}

/// Runs an operator there and back; with a type, as on a device, and without, by our own kernels.
/// Returns the value and then the gradient by each tensor.
fn run(
    operator: &Operator,
    tensors: &[(&'static str, Tensor)],
    device: &Device,
    dtype: Option<DType>,
) -> Result<Numbers> {
    let mut tape = Tape::training();
    let there = |(name, tensor): &(&'static str, Tensor)| -> Result<(&'static str, Tensor)> {
        Ok((*name, tensor.to_device(device)?))
    };
    let tensors: Vec<_> = tensors.iter().map(there).collect::<Result<_>>()?;
    let leaf = |(name, tensor): &(&'static str, Tensor)| leaf(&mut tape, name, tensor, dtype);
    let values = tensors.iter().map(leaf).collect::<Result<_>>()?;
    let output = operator(&mut tape, &Inputs { tensors: &tensors, values })?;
    let direction = draw("direction", output.dims()).to_device(device)?;
    let gradients: Gradients = tape.backward(&output, direction)?;
    let named = gradients.iter().map(|(name, tensor)| (format!("gradient by {name}"), tensor));
    let all = [("value".to_owned(), output.tensor())].into_iter().chain(named);
    all.map(|(name, tensor)| Ok((name, numbers(tensor)?))).collect()
}

/// Computes what is expected, never by the kernels that are checked.
fn apart<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(all(test, not(feature = "cuda")))]
    return super::gpu::apart(work);
    #[cfg(not(all(test, not(feature = "cuda"))))]
    work()
}

/// Puts a tensor on the tape so that its gradient comes out under a name.
fn leaf(tape: &mut Tape, name: &str, tensor: &Tensor, dtype: Option<DType>) -> Result<Value> {
    let array = match dtype {
        None => Array::of(tensor.clone()),
        Some(dtype) => Array::Device(tensor.to_dtype(dtype)?),
    };
    let parameter = parameter(name, tensor)?;
    Ok(tape.record(Work::new("leaf"), array, move |gradient, sink| {
        sink.give_parameter(&parameter, Value::new(gradient, None).tensor().clone())
    }))
}

/// Puts names to numbers, in order.
fn named<const N: usize>(names: [&str; N], all: [Vec<f32>; N]) -> Numbers {
    names.map(str::to_owned).into_iter().zip(all).collect()
}

/// Returns the numbers of a tensor of any type.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::{Parity, Verdict};

    #[test]
    fn the_composed_operators_hold() {
        let parity = Parity::new(Device::Cpu, DType::F32, 1).and(crate::device_checks::all());
        let names = parity.names();
        assert!(names.len() > 100, "only {} checks", names.len());
        for (number, name) in names.iter().enumerate() {
            let verdict = parity.check(number).unwrap();
            assert!(verdict.holds(), "{name}: {verdict:?}");
        }
    }

    #[test]
    fn what_is_wrong_does_not_hold() {
        let f32s = Parity::new(Device::Cpu, DType::F32, 1);
        let bf16s = Parity::new(Device::Cpu, DType::BF16, 1);
        let right = [1.0, -2.0, 0.5, 0.0];
        for parity in [&f32s, &bf16s] {
            let error = |found: [f32; 4]| parity.error(&right, &found);
            assert_eq!(error(right), 0.0);
            assert!(error([1.0, -2.0, 0.5, 0.1]) > 2e-2);
            for broken in [f32::NAN, f32::INFINITY] {
                let error = error([1.0, broken, 0.5, 0.0]);
                assert!(error.is_nan() || error > 1e9, "{broken}: {error}");
            }
        }
        let verdict =
            Verdict { error: 0.0, worst: "value".to_owned(), tolerance: 1.0, repeats: false };
        assert!(!verdict.holds());
    }
}
