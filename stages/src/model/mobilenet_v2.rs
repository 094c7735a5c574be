//! MobileNetV2 (Sandler et al. 2018), with torchvision's names and numbers of weights.

use std::num::NonZeroU32;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Model, ModelConfig};
use crate::layers::{Convolution, Embedding, Norm, Shape};
use crate::number::{Fraction, WidthMultiplier};
use crate::ops::{self, Rectifier, Tape, Value};
use crate::rng::Random;
use crate::weights::Weights;

/// Seventeen blocks that widen, convolve channel by channel and narrow again, and the mean over what is
/// left of the image: 1 in 32 of its rows and columns.
///
/// The weights are named as in torchvision; `classifier` belongs to the loss, as `fc`. An embedding
/// adds `embedding.0.weight` (linear, no bias) and `embedding.1.*` (batch norm).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct MobilenetV2 {
    /// What the channels of the paper are multiplied by, to the next multiple of 8.
    width: WidthMultiplier,
    /// Length of the embedding, by a linear layer and a batch norm; the last layer's channels if absent
    /// (1280 up to width 1).
    embedding: Option<NonZeroU32>,
    /// Share of the pooled features that is dropped in training.
    dropout: Fraction,
}

impl Default for MobilenetV2 {
    fn default() -> Self {
        Self { width: WidthMultiplier::new(1.0), embedding: None, dropout: Fraction::new(0.2) }
    }
}

/// Table 2 of the paper: how often a block widens, its channels, how many follow each other, and the
/// stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const FIRST: usize = 32;
const LAST: usize = 1280;

/// Returns the multiple of 8 nearest to a number of channels, but not less than 9 tenths of it.
fn rounded(channels: f64) -> usize {
    let nearest = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

impl ModelConfig for MobilenetV2 {
    fn build(&self, weights: &Weights) -> Result<Box<dyn Model>> {
        let width = self.width.get();
        let features = weights.pp("features");
        let mut channels = rounded(FIRST as f64 * width);
        let mut layers = vec![Layer::new(&features.pp(0), Shape::same(channels, 3, 3, 2))?];
        let mut blocks = Vec::new();
        for (widening, outputs, count, stride) in STAGES {
            let outputs = rounded(outputs as f64 * width);
            for index in 0..count {
                let stride = if index == 0 { stride } else { 1 };
                let weights = features.pp(blocks.len() + 1).pp("conv");
                blocks.push(Block::new(&weights, channels, outputs, widening, stride)?);
                channels = outputs;
            }
        }
        let last = rounded(LAST as f64 * width.max(1.0));
        let shape = Shape::same(last, channels, 1, 1);
        layers.push(Layer::new(&features.pp(blocks.len() + 1), shape)?);
        let embedding = self
            .embedding
            .map(|length| Embedding::new(&weights.pp("embedding"), last, length.get() as usize));
        Ok(Box::new(Network {
            layers,
            blocks,
            dropout: self.dropout.get(),
            embedding: embedding.transpose()?,
            width: self.embedding.map_or(last, |length| length.get() as usize),
        }))
    }
}

struct Network {
    /// The first and the last.
    layers: Vec<Layer>,
    blocks: Vec<Block>,
    dropout: f64,
    embedding: Option<Embedding>,
    width: usize,
}

impl Model for Network {
    fn forward(&self, tape: &mut Tape, images: &Value, random: &mut Random) -> Result<Value> {
        let mut x = self.layers[0].forward(tape, images)?;
        for block in &self.blocks {
            x = block.forward(tape, &x)?;
        }
        x = self.layers[1].forward(tape, &x)?;
        x = ops::average_pool(tape, &x)?;
        x = ops::dropout(tape, &x, self.dropout, random)?;
        match &self.embedding {
            None => Ok(x),
            Some(embedding) => embedding.forward(tape, &x),
        }
    }

    fn width(&self) -> usize {
        self.width
    }
}

/// A convolution, a batch norm and a rectifier that stops at 6.
struct Layer {
    convolution: Convolution,
    norm: Norm,
}

impl Layer {
    fn new(weights: &Weights, shape: Shape) -> Result<Self> {
        let convolution = Convolution::new(&weights.pp(0), shape)?;
        Ok(Self { convolution, norm: Norm::new(&weights.pp(1), shape.outputs)? })
    }

    fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        self.norm.after(&self.convolution, tape, x, None, Rectifier::Relu6)
    }
}

/// An inverted residual: wide inside, and straight from narrow end to narrow end where these are alike.
struct Block {
    layers: Vec<Layer>,
    narrowing: Convolution,
    norm: Norm,
    straight: bool,
}

impl Block {
    fn new(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
        widening: usize,
        stride: usize,
    ) -> Result<Self> {
        let inside = inputs * widening;
        let mut layers = Vec::new();
        if widening > 1 {
            layers.push(Layer::new(&weights.pp(0), Shape::same(inside, inputs, 1, 1))?);
        }
        let depthwise = Shape::depthwise(inside, 3, stride);
        layers.push(Layer::new(&weights.pp(layers.len()), depthwise)?);
        let [narrowing, norm] = [0, 1].map(|after| weights.pp(layers.len() + after));
        Ok(Self {
            layers,
            narrowing: Convolution::new(&narrowing, Shape::same(outputs, inside, 1, 1))?,
            norm: Norm::new(&norm, outputs)?,
            straight: stride == 1 && inputs == outputs,
        })
    }

    fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.forward(tape, &y)?;
        }
        let straight = self.straight.then_some(x);
        self.norm.after(&self.narrowing, tape, &y, straight, Rectifier::None)
    }
}
