//! `model.json`: what one must know to use trained weights.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use candle_core::{DType, Device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::Network;
use crate::loss::AnyLoss;
use crate::model::AnyModel;

/// The contents of `model.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Description {
    /// As in the pipeline file.
    pub(crate) model: AnyModel,
    /// As in the pipeline file; its head is among the weights.
    pub(crate) loss: AnyLoss,
    /// The name of each class, by label.
    pub(crate) classes: Vec<String>,
    /// Rows of the images.
    pub(crate) height: usize,
    /// Pixels in a row.
    pub(crate) width: usize,
    /// Subtracted from each channel of images in 0..1.
    pub(crate) mean: [f64; 3],
    /// Then divided by.
    pub(crate) std: [f64; 3],
    /// In what numbers it was trained.
    pub(crate) precision: Precision,
}

/// In what numbers activations are computed; weights, norms and losses are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
}

/// Which of the two sets of weights that a training leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Which {
    /// Of the epoch that was best on dev.
    #[default]
    Best,
    /// Of the last epoch.
    Last,
}

impl Precision {
    /// Returns the type of the activations.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl Which {
    /// Returns the name of the file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Best => "best.safetensors",
            Self::Last => "last.safetensors",
        }
    }
}

impl Description {
    /// Reads `model.json` in a weights directory.
    ///
    /// # Errors
    ///
    /// When it is missing or is not what `train` writes.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("model.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what train writes", path.display()))
    }

    /// Writes `model.json` into a weights directory.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join("model.json");
        let text = serde_json::to_string_pretty(self).context("a description is plain data")?;
        fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// Builds the network and loads its weights.
    ///
    /// # Errors
    ///
    /// When the weights are not those of this model.
    pub(crate) fn load(
        &self,
        directory: &Path,
        which: Which,
        precision: Precision,
        device: &Device,
    ) -> anyhow::Result<Network> {
        let dtype = precision.dtype();
        let classes = self.classes.len();
        let network = Network::new(0, device, dtype, &self.model, &self.loss, classes, None)?;
        network.weights.load(&directory.join(which.file()))?;
        Ok(network)
    }

    /// Fails unless images have the size that the network was trained with.
    ///
    /// # Errors
    ///
    /// With both sizes.
    pub(crate) fn check_size(&self, height: usize, width: usize) -> anyhow::Result<()> {
        anyhow::ensure!(
            (height, width) == (self.height, self.width),
            "the images are {height}x{width} and the network was trained with {}x{}: preprocess \
             both alike",
            self.height,
            self.width
        );
        Ok(())
    }
}
