//! A model with the head of its loss.

use std::path::Path;

use anyhow::ensure;
use candle_core::{DType, Device, Tensor};

use crate::loss::{AnyLoss, Loss};
use crate::model::{AnyModel, Model};
use crate::ops::{Tape, Value};
use crate::rng::Random;
use crate::weights::Weights;

/// Rows that go through the head together. Always as many: the order in which a matrix product adds
/// may depend on its shape, and no image's logits may depend on how many others there are.
const ROWS: usize = 64;

/// A model, the head of its loss, and all their weights.
pub(crate) struct Network {
    /// Of the model and the head.
    pub(crate) weights: Weights,
    /// Images to embeddings.
    pub(crate) model: Box<dyn Model>,
    /// Embeddings to logits and loss.
    pub(crate) head: Box<dyn Loss>,
    /// The type of the activations.
    pub(crate) dtype: DType,
    classes: usize,
}

impl Network {
    /// Builds a network with first weights from the seed; those of the model, without the head, from
    /// a file where one is given, whatever head it holds besides.
    ///
    /// # Errors
    ///
    /// When the parameters do not fit each other or the device, or the file is of another model.
    pub(crate) fn new(
        seed: u64,
        device: &Device,
        dtype: DType,
        model: &AnyModel,
        loss: &AnyLoss,
        classes: usize,
        body: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let weights = Weights::new(seed, device);
        let model = model.build(&weights)?;
        if let Some(body) = body {
            weights.load_from_larger(body)?;
        }
        let head = loss.build(&weights, model.width(), classes)?;
        Ok(Self { weights, model, head, dtype, classes })
    }

    /// Returns the embeddings, f32 `[N, D]`, of normalized images `[N, H, W, 3]`, each as if it were
    /// alone; on a tape of inference, the same for all batches of a pass.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) fn embed(&self, tape: &mut Tape, images: &Tensor) -> anyhow::Result<Tensor> {
        let images = Value::constant(images.to_dtype(self.dtype)?);
        let mut unused = Random::new(0, "inference", &[]);
        let embeddings = self.model.forward(tape, &images, &mut unused)?;
        Ok(embeddings.tensor().to_dtype(DType::F32)?)
    }

    /// Calls `each` with the logits of every image, in order: the mean over `passes`, each of which
    /// holds the embeddings `[images, D]` of the same images.
    ///
    /// # Errors
    ///
    /// When the device fails, or the first error of `each`.
    pub(crate) fn logits(
        &self,
        passes: &[&[f32]],
        mut each: impl FnMut(usize, &[f32]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let width = self.model.width();
        let images = passes[0].len() / width;
        for first in (0..images).step_by(ROWS) {
            let rows = ROWS.min(images - first);
            let mut mean = vec![0.0; rows * self.classes];
            for pass in passes {
                let mut block = pass[first * width..][..rows * width].to_vec();
                block.resize(ROWS * width, 0.0);
                let block = Tensor::from_vec(block, (ROWS, width), self.weights.device())?;
                let logits = self.head.logits(&block)?.to_dtype(DType::F32)?;
                let logits = logits.flatten_all()?.to_vec1::<f32>()?;
                let share = 1.0 / passes.len() as f32;
                mean.iter_mut().zip(logits).for_each(|(mean, logit)| *mean += share * logit);
            }
            for (image, logits) in (first..).zip(mean.chunks(self.classes)) {
                ensure!(
                    logits.iter().all(|logit| logit.is_finite()),
                    "the logits of image {image} are not finite: the weights are broken"
                );
                each(image, logits)?;
            }
        }
        Ok(())
    }
}
