//! What is written down after each epoch.

use serde::{Deserialize, Serialize};

use crate::metric::accuracy::Accuracy;
use crate::metric::retrieval::Retrieval;
use crate::tensorboard::EventFile;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct EpochMetrics {
    /// From 1.
    pub(crate) epoch: u64,
    /// Optimizer steps so far.
    pub(crate) step: u64,
    /// The learning rate of its last step.
    pub(crate) rate: f64,
    /// Mean training loss, with margin, smoothing and augmentation.
    pub(crate) loss: f64,
    /// Share of augmented training images that were right before the step that learnt from them.
    pub(crate) accuracy: f64,
    /// Mean cross-entropy on dev.
    pub(crate) dev_loss: f64,
    /// Share of dev images that are right.
    pub(crate) dev_accuracy: f64,
    /// Share of dev images whose class is among the five most likely.
    #[serde(rename = "dev-accuracy-5")]
    pub(crate) dev_accuracy_5: f64,
    /// Share of dev images whose most similar other dev image is of the same class.
    pub(crate) dev_retrieval: f64,
    /// Mean average precision at R of that retrieval.
    pub(crate) dev_average_precision: f64,
}

/// Sums over the training images of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Sums {
    images: u64,
    right: u64,
    /// The bits of an `f64`: JSON must give back the very same number.
    loss: u64,
}

impl Sums {
    /// Adds a batch with its mean loss.
    pub(crate) fn add(&mut self, images: u64, loss: f64, right: u64) {
        self.images += images;
        self.right += right;
        self.loss = (f64::from_bits(self.loss) + loss * images as f64).to_bits();
    }

    /// Returns whether no batch was added yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// Returns the mean loss so far.
    pub(crate) fn loss(&self) -> f64 {
        f64::from_bits(self.loss) / self.images.max(1) as f64
    }

    /// Returns the share of right answers so far.
    pub(crate) fn accuracy(&self) -> f64 {
        self.right as f64 / self.images.max(1) as f64
    }
}

impl EpochMetrics {
    /// Puts an epoch together.
    pub(crate) fn new(
        (epoch, step, rate): (u64, u64, f64),
        sums: &Sums,
        accuracy: &Accuracy,
        retrieval: &Retrieval,
    ) -> Self {
        Self {
            epoch,
            step,
            rate,
            loss: sums.loss(),
            accuracy: sums.accuracy(),
            dev_loss: accuracy.loss,
            dev_accuracy: accuracy.first,
            dev_accuracy_5: accuracy.five,
            dev_retrieval: retrieval.first,
            dev_average_precision: retrieval.average_precision,
        }
    }

    /// Writes the figures as one event of the last step of the epoch.
    pub(crate) fn record(&self, events: &mut EventFile) {
        let scalars = [
            ("loss/train", self.loss),
            ("loss/dev", self.dev_loss),
            ("accuracy/train", self.accuracy),
            ("accuracy/dev", self.dev_accuracy),
            ("accuracy-5/dev", self.dev_accuracy_5),
            ("retrieval/dev", self.dev_retrieval),
            ("average-precision/dev", self.dev_average_precision),
        ];
        events.scalars(self.step, &scalars);
    }
}

#[cfg(test)]
mod tests {
    use super::Sums;

    #[test]
    fn sums_survive_json_bit_for_bit() {
        let mut sums = Sums::default();
        assert!(sums.is_empty() && sums.loss() == 0.0);
        for batch in 1..=100 {
            sums.add(3, 1.0 / f64::from(batch), u64::from(batch % 2 == 0));
        }
        let text = serde_json::to_string(&sums).unwrap();
        assert_eq!(serde_json::from_str::<Sums>(&text).unwrap(), sums);
        assert!((sums.loss() - 0.051_873_775_176_396).abs() < 1e-12);
        assert!((sums.accuracy() - 50.0 / 300.0).abs() < 1e-12);
    }
}
