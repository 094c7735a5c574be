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

/// What a loss says of a batch.
pub(crate) struct Judged {
    /// The mean loss, a scalar; gradients of the embeddings and of the head come from candle's `backward`.
    pub(crate) loss: Tensor,
    /// What the softmax saw of each class before any margin, `[N, K]`: the highest of a row is the guess.
    pub(crate) scores: Tensor,
}

/// A loss with its head.
pub(crate) trait Loss: Send + Sync {
    /// Judges embeddings `[N, D]` by the class of each row.
    fn forward(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Judged>;

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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::golden::{assert_close, tensors};
    use crate::rng::Random;

    #[derive(serde::Deserialize)]
    struct Table {
        loss: AnyLoss,
    }

    fn parse(text: &str) -> AnyLoss {
        toml::from_str::<Table>(&format!("loss.{text}")).unwrap().loss
    }

    /// Does it once with candle's operations, and once more by the kernels of GPUs, emulated.
    fn both(work: impl Fn()) {
        work();
        #[cfg(not(feature = "cuda"))]
        crate::ops::emulating(work);
    }

    fn check_golden(case: &str, config: &str) {
        both(|| check_golden_once(case, config));
    }

    /// Compares value, logits and all gradients with those of `losses.safetensors`.
    fn check_golden_once(case: &str, config: &str) {
        let expected = tensors("losses.safetensors", &format!("{case}/"));
        let embeddings = Var::from_tensor(&expected["embeddings"]).unwrap();
        let (_, width) = embeddings.dims2().unwrap();
        let (_, classes) = expected["logits"].dims2().unwrap();
        let weights = Weights::new(0, &Device::Cpu);
        let loss = parse(config).build(&weights, width, classes).unwrap();
        let head = weights.trainable();
        for parameter in &head {
            parameter.variable.set(&expected[&parameter.name]).unwrap();
        }
        let labels = expected["labels"].to_dtype(candle_core::DType::U32).unwrap();
        let value = loss.forward(&embeddings, &labels.to_vec1().unwrap()).unwrap().loss;
        assert_close(&format!("{case}: loss"), &value, &expected["loss"], 2e-6);
        let logits = loss.logits(&embeddings).unwrap();
        assert_close(&format!("{case}: logits"), &logits, &expected["logits"], 2e-6);
        let found = value.backward().unwrap();
        let named = head.iter().map(|parameter| (parameter.name.as_str(), &parameter.variable));
        for (name, variable) in named.chain([("embeddings", &embeddings)]) {
            let expected = &expected[&format!("{name}.gradient")];
            let gradient = found.get(variable).unwrap();
            assert_close(&format!("{case}: gradient of {name}"), gradient, expected, 1e-5);
        }
    }

    #[test]
    fn cross_entropy_agrees_with_torch() {
        check_golden("cross-entropy", "cross-entropy = {}");
        check_golden("cross-entropy-smoothed", "cross-entropy = { smoothing = 0.1 }");
    }

    #[test]
    fn arcface_agrees_with_metric_learning() {
        check_golden("arcface", "arcface = {}");
        check_golden("arcface-wide", "arcface = { margin = 0.8, scale = 16 }");
    }

    #[test]
    fn variants_of_arcface_agree_with_torch() {
        check_golden("arcface-easy", "arcface = { scale = 30, easy-margin = true }");
        check_golden("arcface-detached", "arcface = { scale = 30, gradient = \"detached\" }");
    }

    fn check_differences(config: &str) {
        both(|| check_differences_once(config));
    }

    /// Compares the gradients with differences of values on random inputs.
    fn check_differences_once(config: &str) {
        let (rows, width, classes) = (6, 4, 5);
        let mut random = Random::new(5, config, &[]);
        let values: Vec<f32> = (0..rows * width).map(|_| random.normal() as f32).collect();
        let labels: Vec<u32> = (0..rows).map(|_| random.below(classes as u64) as u32).collect();
        let embeddings = Var::from_vec(values, (rows, width), &Device::Cpu).unwrap();
        let weights = Weights::new(6, &Device::Cpu);
        let loss = parse(config).build(&weights, width, classes).unwrap();
        let value = || loss.forward(&embeddings, &labels).unwrap().loss;
        let gradients = value().backward().unwrap();
        let head = weights.trainable().into_iter().map(|parameter| parameter.variable);
        for variable in head.chain([embeddings.clone()]) {
            let start: Vec<f32> = variable.flatten_all().unwrap().to_vec1().unwrap();
            let at = |index: usize, change: f32| {
                let mut moved = start.clone();
                moved[index] += change;
                let moved = Tensor::from_vec(moved, variable.shape(), &Device::Cpu).unwrap();
                variable.set(&moved).unwrap();
                f64::from(value().to_scalar::<f32>().unwrap())
            };
            let step = 4e-3;
            let differences: Vec<f64> = (0..start.len())
                .map(|index| (at(index, step) - at(index, -step)) / (2.0 * f64::from(step)))
                .collect();
            at(0, 0.0);
            let expected = Tensor::new(differences, &Device::Cpu).unwrap();
            let found = gradients.get(&variable).unwrap().flatten_all().unwrap();
            assert_close(config, &found, &expected, 1e-3);
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        check_differences("cross-entropy = {}");
        check_differences("cross-entropy = { smoothing = 0.3 }");
        check_differences("arcface = { scale = 8 }");
        check_differences("arcface = { scale = 8, margin = 1.2 }");
        check_differences("arcface = { scale = 8, easy-margin = true }");
    }

    #[test]
    fn a_zero_embedding_and_a_perfect_one_stay_finite() {
        both(|| stays_finite("arcface = {}"));
        both(|| stays_finite("arcface = { margin = 0 }"));
        both(|| stays_finite("cross-entropy = {}"));
    }

    fn stays_finite(config: &str) {
        let weights = Weights::new(1, &Device::Cpu);
        let loss = parse(config).build(&weights, 3, 4).unwrap();
        let perfect = weights.trainable().pop().unwrap().variable.get(2).unwrap();
        let rows = Tensor::stack(&[perfect.zeros_like().unwrap(), perfect], 0).unwrap();
        let embeddings = Var::from_tensor(&rows.detach()).unwrap();
        let value = loss.forward(&embeddings, &[1, 2]).unwrap().loss;
        let gradients = value.backward().unwrap();
        let gradient = gradients.get(&embeddings).unwrap();
        let sum = (gradient.abs().unwrap().sum_all().unwrap() + value).unwrap();
        assert!(sum.to_scalar::<f32>().unwrap().is_finite(), "{config}");
    }

    #[test]
    fn labels_must_be_classes() {
        let weights = Weights::new(1, &Device::Cpu);
        let loss = parse("arcface = {}").build(&weights, 3, 4).unwrap();
        let embeddings = Tensor::ones((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let message = |labels: &[u32]| loss.forward(&embeddings, labels).err().unwrap().to_string();
        assert_eq!(message(&[0, 4]), "label 4 is not one of the 4 classes 0..4");
        assert_eq!(message(&[0]), "1 labels for 2 embeddings");
    }

    #[test]
    fn a_margin_beyond_a_right_angle_is_a_complaint() {
        let complaints = parse("arcface = { margin = 28.6 }").check();
        assert_eq!(complaints[0].parameter, "arcface.margin");
        assert!(parse("arcface = {}").check().is_empty());
    }
}
