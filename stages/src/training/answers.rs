//! What a network answered to batches: read one step later, so that the device need not wait for the CPU in between.

use anyhow::{Context as _, Result};

use super::learning::Lesson;
use crate::ops::{Reading, Readings};

/// Reads what lessons gave.
pub(crate) struct Answers {
    losses: Readings<f32>,
    guesses: Readings<u32>,
}

/// The answer to one batch, under way.
pub(crate) struct Answer {
    loss: Reading<f32>,
    guesses: Reading<u32>,
    labels: Vec<u32>,
}

/// What was answered to one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answered {
    /// The loss, the mean over the batch.
    pub(crate) loss: f64,
    /// Images of it.
    pub(crate) images: u64,
    /// Images whose highest score was that of their class.
    pub(crate) right: u64,
}

impl Answers {
    /// Begins nothing yet.
    pub(crate) fn new() -> Self {
        Self { losses: Readings::new(), guesses: Readings::new() }
    }

    /// Begins to read the answer to a batch of these classes.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) fn begin(&self, lesson: &Lesson, labels: &[u32]) -> Result<Answer> {
        let (loss, guesses) =
            (self.losses.begin(&lesson.loss)?, self.guesses.begin(&lesson.guesses)?);
        Ok(Answer { loss, guesses, labels: labels.to_vec() })
    }
}

impl Answer {
    /// Waits for it.
    ///
    /// # Errors
    ///
    /// When the device has failed.
    pub(crate) fn finish(self) -> Result<Answered> {
        let loss = *self.loss.finish()?.first().context("a loss is one number")?;
        let guesses = self.guesses.finish()?;
        let right =
            guesses.iter().zip(&self.labels).filter(|(guess, label)| guess == label).count();
        Ok(Answered {
            loss: f64::from(loss),
            images: self.labels.len() as u64,
            right: right as u64,
        })
    }
}
