//! How many numbers a declared network trains, and where most of them are.

use std::fmt;

use crate::loss::AnyLoss;
use crate::model::AnyModel;
use crate::weights::Weights;

/// The size of a network that was never made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Trained numbers; without the head where the number of classes is not known.
    pub(crate) count: u64,
    largest: (String, u64),
    classes: Option<usize>,
}

impl Size {
    /// Counts a model with the head of a loss.
    ///
    /// # Errors
    ///
    /// When they cannot be built.
    pub(crate) fn of(
        model: &AnyModel,
        loss: &AnyLoss,
        classes: Option<usize>,
    ) -> anyhow::Result<Self> {
        let weights = Weights::counting();
        let model = model.build(&weights)?;
        if let Some(classes) = classes {
            loss.build(&weights, model.width(), classes)?;
        }
        let parts = weights.parts().into_iter();
        let largest = parts.max_by_key(|(_, count)| *count).unwrap_or_default();
        Ok(Self { count: weights.count(), largest, classes })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, most) = &self.largest;
        let head = match self.classes {
            Some(classes) => format!("with a head of {classes} classes"),
            None => "without a head".to_owned(),
        };
        write!(f, "{} parameters {head}, {most} of them in `{part}`,", self.count)
    }
}
