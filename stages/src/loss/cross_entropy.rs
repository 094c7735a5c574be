//! Softmax cross-entropy with label smoothing, over a linear head.

use anyhow::Result;
use candle_core::{D, DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Judged, Loss, LossConfig, class_index};
use crate::number::Probability;
use crate::ops::{self, Rule};
use crate::weights::{Initialization, Parameter, Weights};

/// Mean over the batch of −Σ t log softmax(W x + b), with t = (1 − e) for the true class plus e / K for
/// each of the K classes, e the smoothing (Szegedy et al. 2016); as `torch.nn.CrossEntropyLoss`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CrossEntropy {
    /// Share of the target that is spread evenly over all classes, the true one included.
    smoothing: Probability,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self { smoothing: Probability::new(0.0) }
    }
}

impl LossConfig for CrossEntropy {
    fn build(&self, weights: &Weights, width: usize, classes: usize) -> Result<Box<dyn Loss>> {
        // as torchvision calls it, unless the network has a layer of that name
        let head = weights.pp(if weights.has("fc.weight") { "head" } else { "fc" });
        let first = Initialization::linear(width);
        Ok(Box::new(Linear {
            weight: head.parameter("weight", (classes, width), first, true)?,
            bias: head.parameter("bias", classes, first, false)?,
            smoothing: self.smoothing.get(),
        }))
    }
}

/// The loss with its head `fc`, named as in torchvision's networks.
struct Linear {
    weight: Parameter,
    bias: Parameter,
    smoothing: f64,
}

impl Loss for Linear {
    fn forward(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Judged> {
        let scores = self.logits(embeddings)?;
        Ok(Judged { loss: cross_entropy(&scores, labels, self.smoothing)?, scores })
    }

    fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        let embeddings = embeddings.to_dtype(DType::F32)?;
        let scores = embeddings.matmul(&self.weight.variable.t()?)?;
        Ok(scores.broadcast_add(&self.bias.variable)?)
    }
}

/// Returns the mean cross-entropy, a scalar, of logits `[N, K]` and the class of each row.
///
/// # Errors
///
/// When a label is not a class, or there is not one for each row.
pub(super) fn cross_entropy(logits: &Tensor, labels: &[u32], smoothing: f64) -> Result<Tensor> {
    let classes = class_index(logits, labels)?;
    let rule = Rule { scale: 1.0, smoothing, margin: None };
    if let Some(loss) = ops::cross_entropy(logits, labels, rule)? {
        return Ok(loss);
    }
    // The maximum is a constant shift: its gradient is zero in sum and would be wrong at ties.
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    let normalizer = shifted.exp()?.sum(D::Minus1)?.log()?;
    let own = (shifted.gather(&classes, 1)?.squeeze(1)? * (1.0 - smoothing))?;
    let target = match smoothing {
        0.0 => own,
        _ => {
            let share = smoothing / logits.dim(1)? as f64;
            (own + (shifted.sum(D::Minus1)? * share)?)?
        }
    };
    Ok((normalizer - target)?.mean_all()?)
}
