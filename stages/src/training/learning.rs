//! One batch: what the network makes of it, and how every parameter should change.

use anyhow::Context as _;
use candle_core::{D, DType, Tensor, Var};

use super::network::Network;
use crate::ops::{Gradients, Tape, Value};
use crate::rng::Random;
use crate::weights::Parameter;

/// What one batch teaches.
pub(crate) struct Lesson {
    /// The loss, the mean over the batch.
    pub(crate) loss: f64,
    /// Images whose highest logit was that of their class.
    pub(crate) right: u64,
    /// What the loss gains by each parameter.
    pub(crate) gradients: Gradients,
}

/// Computes the loss of images `[N, H, W, 3]` of these classes, and all gradients.
///
/// # Errors
///
/// When shapes do not fit or the device fails.
pub(crate) fn learn(
    network: &Network,
    parameters: &[Parameter],
    tape: &mut Tape,
    pixels: &Tensor,
    labels: &[u32],
    random: &mut Random,
) -> anyhow::Result<Lesson> {
    let images = Value::constant(pixels.to_dtype(network.dtype)?);
    let embeddings = network.model.forward(tape, &images, random)?;
    let leaf = Var::from_tensor(&embeddings.tensor().to_dtype(DType::F32)?)?;
    let loss = network.head.forward(leaf.as_tensor(), labels)?;
    let from_head = loss.backward()?;
    let back = from_head.get(&leaf).context("the loss does not depend on the embeddings")?;
    let mut gradients = tape.backward(&embeddings, back.clone())?;
    for parameter in parameters {
        if let Some(gradient) = from_head.get(&parameter.variable) {
            gradients.insert(parameter.name.clone(), gradient.clone());
        }
    }
    let right = count_right(&network.head.logits(&leaf.as_detached_tensor())?, labels)?;
    Ok(Lesson { loss: f64::from(loss.to_scalar::<f32>()?), right, gradients })
}

/// Returns for how many rows of logits `[N, K]` the highest is that of the label.
fn count_right(logits: &Tensor, labels: &[u32]) -> candle_core::Result<u64> {
    let guesses = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    Ok(guesses.iter().zip(labels).filter(|(guess, label)| guess == label).count() as u64)
}
