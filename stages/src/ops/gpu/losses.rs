//! Softmax cross-entropy on a GPU: the mean loss and its gradient, in four launches whatever the loss.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::launch::{Argument, Argument::Count, address, filled, launch};
use super::tiles::folded;
use crate::ops::cross_entropy::Rule;

/// Lanes that a row of scores is cut into.
const LANES: usize = 128;

impl Rule {
    /// Returns the rule as kernels are told of it.
    fn arguments(self) -> [Argument; 8] {
        use Argument::{Flag, Float};
        let margin = self.margin.unwrap_or_default();
        [
            Float(self.scale as f32),
            Float(self.smoothing as f32),
            Flag(self.margin.is_some()),
            Flag(margin.easy),
            Flag(margin.detached),
            Float(margin.angle.cos() as f32),
            Float(margin.angle.sin() as f32),
            Float((margin.angle * margin.angle.sin()) as f32),
        ]
    }
}

/// Returns the mean loss, a scalar, of scores [N, K] and classes [N] of u32, and its gradient by the scores.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn cross_entropy(
    scores: &Tensor,
    labels: &Tensor,
    rule: Rule,
) -> Result<(Tensor, Tensor)> {
    ensure!(scores.dtype() == DType::F32, "scores are f32, not {:?}", scores.dtype());
    let (rows, classes) = scores.dims2()?;
    let (scores, device) = (scores.detach().contiguous()?, scores.device());
    let lanes = LANES.min(classes);
    let told = |sizes: &[usize], tensors: &[&Tensor]| -> Result<Vec<Argument>> {
        let sizes = sizes.iter().map(|&size| Ok(Count(size)));
        let rule = rule.arguments().into_iter().map(Ok);
        sizes.chain(rule).chain(tensors.iter().map(|tensor| address(tensor))).collect()
    };
    let partial = filled(device, DType::F32, (rows, lanes, 3))?;
    let arguments = told(&[rows, classes, lanes], &[&scores, labels, &partial])?;
    launch(device, "row_parts", rows * lanes, &arguments)?;
    let numbers = || filled(device, DType::F32, rows);
    let (highest, normalizer, losses) = (numbers()?, numbers()?, numbers()?);
    let tensors = [&scores, labels, &partial, &highest, &normalizer, &losses];
    launch(device, "row_losses", rows, &told(&[rows, classes, lanes], &tensors)?)?;
    let back = filled(device, DType::F32, (rows, classes))?;
    let tensors = [&scores, labels, &highest, &normalizer, &back];
    launch(device, "row_back", rows * classes, &told(&[rows, classes], &tensors)?)?;
    let sum = folded(&losses, 1)?;
    Ok(((sum.reshape(())? / rows as f64)?, back))
}
