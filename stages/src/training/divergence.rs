//! Stops a training that cannot come to anything.

use anyhow::bail;
use serde::{Deserialize, Serialize};

/// Steps whose mean loss is what later losses are compared with.
const FIRST: u64 = 20;
/// How many times that mean the smoothed loss may reach.
const FACTOR: f64 = 8.0;
/// The weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.05;

/// Watches the loss of each step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Divergence {
    seen: u64,
    /// Bits of the mean of the first losses and of the smoothed loss: JSON must give back the
    /// very same numbers.
    first: u64,
    smoothed: u64,
}

/// Where a training is, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// From 1.
    pub(crate) epoch: u64,
    /// Within the epoch, from 1.
    pub(crate) batch: u64,
    /// Of this step.
    pub(crate) rate: f64,
}

impl Divergence {
    /// Takes note of the loss of a step.
    ///
    /// # Errors
    ///
    /// When it is no finite number, or the loss has grown far above where it began.
    pub(crate) fn watch(&mut self, loss: f64, at: Moment) -> anyhow::Result<()> {
        let Moment { epoch, batch, rate } = at;
        if !loss.is_finite() {
            bail!(
                "the loss is {loss} at epoch {epoch}, batch {batch}, learning rate {rate:e}: lower \
                 the optimizer's rate, lengthen the warm-up, or set `gradient-clip` (1.0 is usual)"
            );
        }
        let (first, smoothed) = (f64::from_bits(self.first), f64::from_bits(self.smoothed));
        self.seen += 1;
        if self.seen <= FIRST {
            let mean = first + (loss - first) / self.seen as f64;
            (self.first, self.smoothed) = (mean.to_bits(), mean.to_bits());
            return Ok(());
        }
        let smoothed = smoothed + SMOOTHING * (loss - smoothed);
        self.smoothed = smoothed.to_bits();
        if smoothed > FACTOR * first.max(1.0) {
            bail!(
                "training diverges at epoch {epoch}, batch {batch}, learning rate {rate:e}: the loss \
                 is {loss:.4}, smoothed {smoothed:.4}, and began at {first:.4}; lower the optimizer's \
                 rate, lengthen the warm-up, or set `gradient-clip` (1.0 is usual)"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Divergence, Moment};

    /// Returns the step at which a run of losses is stopped, and why.
    fn run(losses: impl Iterator<Item = f64>) -> Option<(usize, String)> {
        let mut divergence = Divergence::default();
        losses.enumerate().find_map(|(step, loss)| {
            let at = Moment { epoch: 3, batch: step as u64 + 1, rate: 0.1 };
            divergence.watch(loss, at).err().map(|error| (step, error.to_string()))
        })
    }

    #[test]
    fn no_number_stops_at_once() {
        for loss in [f64::NAN, f64::INFINITY] {
            let (step, message) = run([5.0, 4.0, loss].into_iter()).unwrap();
            assert_eq!(step, 2);
            let start = format!("the loss is {loss} at epoch 3, batch 3, learning rate 1e-1:");
            assert!(message.starts_with(&start), "{message}");
        }
    }

    #[test]
    fn a_loss_that_grows_stops_soon() {
        let (step, message) = run((0..1000).map(|step| 4.0 * 1.05_f64.powi(step))).unwrap();
        assert!((30..150).contains(&step), "{step}");
        assert!(message.contains("and began at 6.6"), "{message}");
    }

    #[test]
    fn hills_and_spikes_are_borne() {
        assert_eq!(run((0..10_000).map(|step| 9.0 - f64::from(step % 100) * 0.08)), None);
        assert_eq!(run((0..1000).map(|step| if step == 500 { 400.0 } else { 4.0 })), None);
        assert_eq!(run((0..1000).map(|step| 5.0 + f64::from(step) * 0.02)), None);
    }
}
