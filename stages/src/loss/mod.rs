//! What training minimizes, one file each.

mod arcface;
mod cross_entropy;

use anyhow::{Result, bail, ensure};
use candle_core::Tensor;

use crate::choices::choices;
use crate::kind::Complaint;
use crate::weights::Weights;

/// The parameters of a loss.
pub(crate) trait LossConfig {
    /// Makes the loss for embeddings of `width` numbers, and its head among the weights.
    fn build(&self, weights: &Weights, width: usize, classes: usize) -> Result<Box<dyn Loss>>;

    /// Returns what is wrong with the parameters, named from the family on, e.g. `arcface.margin`.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

/// A loss with its head.
pub(crate) trait Loss: Send + Sync {
    /// Returns the mean loss, a scalar, from embeddings `[N, D]` and the class of each row.
    ///
    /// Gradients of the embeddings and of the head come from candle's `backward`.
    fn forward(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Tensor>;

    /// Returns the score of each class `[N, K]`, without any margin: what to predict from.
    fn logits(&self, embeddings: &Tensor) -> Result<Tensor>;
}

choices! {
    /// What training minimizes, and the head that goes with it.
    pub(crate) enum AnyLoss: LossConfig {
        /// Softmax cross-entropy over a linear head.
        CrossEntropy(cross_entropy::CrossEntropy),
        /// Additive angular margin: embeddings of one person point the same way.
        Arcface(arcface::Arcface),
    }
}

/// Returns the class of each row of `[N, K]` scores as an index `[N, 1]`.
fn class_index(scores: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let (rows, classes) = scores.dims2()?;
    ensure!(labels.len() == rows, "{} labels for {rows} embeddings", labels.len());
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        bail!("label {label} is not one of the {classes} classes 0..{classes}");
    }
    Ok(Tensor::from_slice(labels, (rows, 1), scores.device())?)
}
