//! ArcFace: a margin on the angle between an embedding and the centre of its class.

use anyhow::Result;
use candle_core::{D, DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cross_entropy::cross_entropy;
use super::{Judged, Loss, LossConfig, class_index};
use crate::kind::Complaint;
use crate::number::{NonNegative, Positive};
use crate::ops::{self, Margin, Rule};
use crate::weights::{Initialization, Parameter, Weights};

/// Keeps the gradient of a square root finite.
const TINY: f64 = 1e-12;

/// Cross-entropy over scale · cos(θ + margin) for the true class and scale · cos θ for the others, θ the
/// angle between an embedding and the centre of a class (Deng et al. 2019).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Arcface {
    /// Angle, in radians, below π / 2, by which an embedding must be nearer to its class than it is.
    margin: NonNegative,
    /// What cosines are multiplied by: the sharpness of the softmax.
    scale: Positive,
    /// How the gradient passes the margin.
    gradient: MarginGradient,
    /// Whether only embeddings within π / 2 of their class get the margin. Without it, those beyond
    /// π − margin get cos θ − margin · sin(margin), so that the loss still falls with θ.
    easy_margin: bool,
}

/// How the gradient passes the margin; the value of the loss is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MarginGradient {
    /// The derivative of the formula, as in the paper's code.
    Exact,
    /// As if the margin were a constant shift of the cosine, as in later insightface code.
    Detached,
}

impl Default for Arcface {
    fn default() -> Self {
        Self {
            margin: NonNegative::new(0.5),
            scale: Positive::new(64.0),
            gradient: MarginGradient::Exact,
            easy_margin: false,
        }
    }
}

impl LossConfig for Arcface {
    fn build(&self, weights: &Weights, width: usize, classes: usize) -> Result<Box<dyn Loss>> {
        let shape = [classes, width];
        let first = Initialization::xavier_normal(shape);
        let centres = weights.pp("head").parameter("weight", &shape, first, true)?;
        Ok(Box::new(AngularMargin { centres, config: self.clone() }))
    }

    fn check(&self) -> Vec<Complaint> {
        if self.margin.get() < std::f64::consts::FRAC_PI_2 {
            return Vec::new();
        }
        vec![Complaint {
            parameter: "arcface.margin".to_owned(),
            message: format!("a margin of {} radians is too large", self.margin.get()),
            help: Some("use a margin below π / 2 = 1.5708 radians, usually 0.3 to 0.5".to_owned()),
        }]
    }
}

/// The loss with the centres of its classes, `head.weight` `[K, D]`, of which only directions matter.
struct AngularMargin {
    centres: Parameter,
    config: Arcface,
}

impl AngularMargin {
    fn cosines(&self, embeddings: &Tensor) -> Result<Tensor> {
        let embeddings = directions(&embeddings.to_dtype(DType::F32)?)?;
        Ok(embeddings.matmul(&directions(&self.centres.variable)?.t()?)?)
    }

    /// Returns cos(θ + margin), or what stands for it, from cos θ.
    ///
    /// cos(θ + m) = cos θ cos m − sin θ sin m needs no inverse cosine, whose gradient is unstable.
    fn with_margin(&self, cosine: &Tensor) -> Result<Tensor> {
        let margin = self.config.margin.get();
        let sine = cosine.sqr()?.affine(-1.0, 1.0)?.maximum(TINY)?.sqrt()?;
        let shifted = ((cosine * margin.cos())? - (sine * margin.sin())?)?;
        let (within, beyond) = if self.config.easy_margin {
            (cosine.gt(0.0)?, cosine.clone())
        } else {
            (cosine.ge(-margin.cos())?, (cosine - margin * margin.sin())?)
        };
        let target = within.where_cond(&shifted, &beyond)?;
        match self.config.gradient {
            MarginGradient::Exact => Ok(target),
            MarginGradient::Detached => Ok((cosine + (target - cosine)?.detach())?),
        }
    }

    /// Returns the mean loss of cosines `[N, K]`.
    fn loss(&self, cosines: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let classes = class_index(cosines, labels)?;
        let scale = self.config.scale.get();
        let margin = Margin {
            angle: self.config.margin.get(),
            easy: self.config.easy_margin,
            detached: self.config.gradient == MarginGradient::Detached,
        };
        let rule = Rule { scale, smoothing: 0.0, margin: Some(margin) };
        if let Some(loss) = ops::cross_entropy(cosines, labels, rule)? {
            return Ok(loss);
        }
        let own = cosines.gather(&classes, 1)?;
        let change = (self.with_margin(&own)? - own)?;
        // A mask, because candle's own gradients of scatter and scatter-add are wrong.
        let none = cosines.detach().zeros_like()?;
        let mask = none.scatter_add(&classes, &change.detach().ones_like()?, 1)?;
        let scores = (cosines + mask.broadcast_mul(&change)?)?;
        cross_entropy(&(scores * scale)?, labels, 0.0)
    }
}

impl Loss for AngularMargin {
    fn forward(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Judged> {
        let cosines = self.cosines(embeddings)?;
        Ok(Judged { loss: self.loss(&cosines, labels)?, scores: cosines })
    }

    fn logits(&self, embeddings: &Tensor) -> Result<Tensor> {
        Ok((self.cosines(embeddings)? * self.config.scale.get())?)
    }
}

/// Returns the rows of a matrix at length 1; a zero row stays zero.
fn directions(rows: &Tensor) -> Result<Tensor> {
    let lengths = (rows.sqr()?.sum_keepdim(D::Minus1)? + TINY * TINY)?.sqrt()?;
    Ok(rows.broadcast_div(&lengths)?)
}
