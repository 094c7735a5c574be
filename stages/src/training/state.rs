//! Where a training is: all that a checkpoint holds besides the weights of the network.

use std::collections::BTreeMap;

use anyhow::Context as _;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::divergence::Divergence;
use super::metrics::Sums;
use crate::optim::Optimizer;
use crate::tensorboard::EventFile;
use crate::weights::Weights;

/// A version of the fields below and of the names of the tensors.
const FORMAT: u32 = 1;

/// Where a training is.
pub(crate) struct State {
    /// The part that goes into JSON.
    pub(crate) position: Position,
    /// The weights of the best epoch so far, by name; empty before the first.
    pub(crate) best: BTreeMap<String, Tensor>,
    /// The event file so far.
    pub(crate) events: EventFile,
}

/// Counters, sums and lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Position {
    format: u32,
    /// Finished epochs.
    pub(crate) epoch: u64,
    /// Finished batches of the next one.
    pub(crate) batch: u64,
    /// Optimizer steps so far.
    pub(crate) step: u64,
    /// Over the batches of the unfinished epoch.
    pub(crate) sums: Sums,
    /// Over all steps.
    pub(crate) divergence: Divergence,
    /// The epoch whose weights are kept as best.
    pub(crate) best: Option<Best>,
    /// The lines of `metrics.jsonl`, as text: read and written again, numbers might change.
    pub(crate) metrics: Vec<String>,
}

/// The epoch that was best so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Best {
    /// From 1.
    pub(crate) epoch: u64,
    /// The bits of its score.
    score: u64,
    /// The bits of its loss on dev, which decides between equal scores.
    loss: u64,
}

impl Best {
    /// Makes the entry of an epoch.
    pub(crate) fn new(epoch: u64, score: f64, loss: f64) -> Self {
        Self { epoch, score: score.to_bits(), loss: loss.to_bits() }
    }

    /// Returns whether this epoch is better than an earlier one.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        let parts = |one: &Self| (f64::from_bits(one.score), f64::from_bits(one.loss));
        let ((score, loss), (other_score, other_loss)) = (parts(self), parts(other));
        score > other_score || (score == other_score && loss < other_loss)
    }
}

impl State {
    /// Starts before the first step.
    pub(crate) fn new() -> Self {
        let position = Position { format: FORMAT, ..Position::default() };
        Self { position, best: BTreeMap::new(), events: EventFile::new() }
    }

    /// Puts everything into a checkpoint.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) fn freeze(
        &self,
        weights: &Weights,
        optimizer: &dyn Optimizer,
    ) -> anyhow::Result<Checkpoint> {
        let mut tensors = BTreeMap::new();
        let mut put = |prefix: &str, part: BTreeMap<String, Tensor>| {
            tensors
                .extend(part.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
        };
        put("weights.", weights.tensors());
        put("optimizer.", optimizer.state()?);
        put("best.", self.best.clone());
        let events = self.events.bytes();
        let events = Tensor::from_slice(events, events.len(), &Device::Cpu)?;
        put("events", [(String::new(), events)].into());
        let state = serde_json::to_string(&self.position).context("a position is plain data")?;
        Ok(Checkpoint { tensors, state })
    }

    /// Takes everything back from a checkpoint; returns nothing when it is of another version.
    ///
    /// # Errors
    ///
    /// When it is of another training.
    pub(crate) fn thaw(
        checkpoint: Checkpoint,
        weights: &Weights,
        optimizer: &mut dyn Optimizer,
    ) -> anyhow::Result<Option<Self>> {
        let Ok(position) = serde_json::from_str::<Position>(&checkpoint.state) else {
            return Ok(None);
        };
        if position.format != FORMAT {
            return Ok(None);
        }
        let mut tensors = checkpoint.tensors;
        let mut take = |prefix: &str| -> BTreeMap<String, Tensor> {
            let names: Vec<String> =
                tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
            let part = names.into_iter().filter_map(|name| tensors.remove_entry(&name));
            part.map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect()
        };
        weights.restore(take("weights."))?;
        optimizer.restore(take("optimizer."))?;
        let best = take("best.");
        let events = take("events").remove("").context("the checkpoint holds no events")?;
        let events = EventFile::resume(events.to_vec1()?);
        Ok(Some(Self { position, best, events }))
    }
}

#[cfg(test)]
mod tests {
    use super::Best;

    #[test]
    fn the_earlier_epoch_stays_best_unless_beaten() {
        let first = Best::new(1, 0.5, 1.0);
        assert!(Best::new(2, 0.6, 9.0).beats(&first));
        assert!(Best::new(2, 0.5, 0.9).beats(&first));
        assert!(!Best::new(2, 0.5, 1.0).beats(&first));
        assert!(!Best::new(2, 0.4, 0.1).beats(&first));
    }
}
