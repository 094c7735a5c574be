//! One batch: what the network makes of it, and how every parameter should change.

use anyhow::Context as _;
use candle_core::{D, DType, Tensor, Var};

use super::network::Network;
use crate::loss::Judged;
use crate::ops::{Gradients, Tape, Value};
use crate::rng::Random;
use crate::weights::Parameter;

/// What one batch teaches.
pub(crate) struct Lesson {
    /// The loss, the mean over the batch, a scalar.
    pub(crate) loss: Tensor,
    /// The class with the highest score of each image, u32 `[N]`.
    pub(crate) guesses: Tensor,
    /// What the loss gains by each parameter.
    pub(crate) gradients: Gradients,
}

/// Computes the loss of images `[N, H, W, 3]` of these classes, and all gradients; reads nothing from the device.
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
    let Judged { loss, scores } = network.head.forward(leaf.as_tensor(), labels)?;
    let from_head = loss.backward()?;
    let back = from_head.get(&leaf).context("the loss does not depend on the embeddings")?;
    let mut gradients = tape.backward(&embeddings, back.clone())?;
    for parameter in parameters {
        if let Some(gradient) = from_head.get(&parameter.variable) {
            gradients.insert(parameter.name.clone(), gradient.clone());
        }
    }
    let guesses = scores.detach().argmax(D::Minus1)?;
    Ok(Lesson { loss: loss.detach(), guesses, gradients })
}

#[cfg(test)]
#[cfg(not(feature = "cuda"))]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{DType, Device, Tensor};

    use super::learn;
    use crate::loss::AnyLoss;
    use crate::model::AnyModel;
    use crate::ops::{Tape, emulating, numbers};
    use crate::rng::Random;
    use crate::training::network::Network;

    #[derive(serde::Deserialize)]
    struct Table {
        model: AnyModel,
        loss: AnyLoss,
    }

    /// Named numbers.
    type Numbers = BTreeMap<String, Vec<f32>>;

    /// Returns the loss, every gradient, and the running statistics after one batch, with its pixels moved by
    /// this much of them, at random.
    fn lesson(settings: &str, moved: f64) -> Numbers {
        lesson_in(DType::F32, settings, moved, false)
    }

    fn lesson_in(dtype: DType, settings: &str, moved: f64, recomputing: bool) -> Numbers {
        let (device, batch, side, classes) = (Device::Cpu, 12, 64, 5);
        let Table { model, loss } = toml::from_str(settings).unwrap();
        let network = Network::new(0, &device, dtype, &model, &loss, classes, None).unwrap();
        let mut random = Random::new(0, "images", &[]);
        let mut pixel = || random.normal() * (1.0 + moved * random.normal());
        let pixels: Vec<f32> = (0..batch * side * side * 3).map(|_| pixel() as f32).collect();
        let images = Tensor::from_vec(pixels, (batch, side, side, 3), &device).unwrap();
        let labels: Vec<u32> = (0..batch).map(|image| (image % classes) as u32).collect();
        let parameters = network.weights.trainable();
        let mut tape = Tape::training().recomputing(recomputing);
        let lesson =
            learn(&network, &parameters, &mut tape, &images, &labels, &mut random).unwrap();
        let flat = |tensor: &Tensor| numbers(tensor).unwrap();
        let kept = network.weights.tensors().into_iter().map(|(name, kept)| (name, flat(&kept)));
        let gradients = lesson.gradients.iter();
        let gradients = gradients.map(|(name, one)| (format!("gradient by {name}"), flat(one)));
        kept.chain(gradients).chain([("loss".to_owned(), flat(&lesson.loss))]).collect()
    }

    fn length(numbers: impl Iterator<Item = f32>) -> f64 {
        numbers.map(|number| f64::from(number).powi(2)).sum::<f64>().sqrt()
    }

    const NETWORKS: [&str; 4] = [
        "model.resnet = { width = 8, stem = \"small\" }\nloss.cross-entropy = {}",
        "model.iresnet = { depth = 18, size = 64, width = 16 }\nloss.arcface = {}",
        "model.mobilenet-v2 = {}\nloss.cross-entropy = { smoothing = 0.1 }",
        "model.convnext = {}\nloss.cross-entropy = {}",
    ];

    /// What is computed again has the same bytes.
    #[test]
    fn nothing_changes_where_outputs_are_computed_again() {
        for settings in NETWORKS {
            for dtype in [DType::F32, DType::BF16] {
                let lesson = |recomputing| lesson_in(dtype, settings, 0.0, recomputing);
                assert!(lesson(true) == lesson(false), "{settings} {dtype:?}");
            }
            let lesson = |recomputing| lesson_in(DType::F32, settings, 0.0, recomputing);
            let (again, kept) = (emulating(|| lesson(true)), emulating(|| lesson(false)));
            assert!(again == kept, "{settings}, emulated");
        }
    }

    /// Every gradient of whole networks is on an emulated GPU what it is on the CPU, but for what rounding
    /// makes of it: a network at its start can turn a millionth of its pixels into a tenth of a gradient.
    #[test]
    fn networks_learn_the_same_on_the_emulated_gpu() {
        for settings in NETWORKS {
            let expected = lesson(settings, 0.0);
            let moved = [1, 2].map(|times| lesson(settings, f64::from(times) * 1e-6));
            let found = emulating(|| lesson(settings, 0.0));
            assert!(found.keys().eq(expected.keys()), "{settings}");
            for (name, expected) in &expected {
                let apart = |others: &Numbers| {
                    length(expected.iter().zip(&others[name]).map(|(one, other)| one - other))
                };
                let rounding = moved.iter().map(&apart).fold(0.0, f64::max);
                let size = length(expected.iter().copied());
                let allowed = 3.0 * rounding + 1e-4 * size.max(1e-3);
                let apart = apart(&found);
                assert!(apart <= allowed, "{settings} {name}: {apart} of {size}, {rounding}");
            }
        }
    }
}
