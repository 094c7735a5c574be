//! ConvNeXt (Liu et al. 2022) in the sizes of the paper and of timm, with timm's names of weights.

use std::num::NonZeroU32;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Model, ModelConfig};
use crate::layers::{Convolution, Embedding, Shape};
use crate::number::{Fraction, Positive};
use crate::ops::{self, LayerNorm, Tape, Value};
use crate::rng::Random;
use crate::weights::{Initialization, Parameter, Weights};

/// Four stages of blocks that convolve 7×7 channel by channel and then mix the channels of each pixel,
/// and the mean over what is left of the image: 1 in 32 of its rows and columns.
///
/// The weights are named as in timm; `head.fc` belongs to the loss, as `fc`. An embedding adds
/// `embedding.0.weight` (linear, no bias) and `embedding.1.*` (batch norm). It trains best with AdamW.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Convnext {
    /// How large it is: 3.4, 4.8, 8.5, 15.0 or 27.8 million parameters.
    size: Size,
    /// Probability with which the last block's branch is left out for an image in training; it rises
    /// from 0 at the first block.
    stochastic_depth: Fraction,
    /// What each branch is multiplied by at first.
    layer_scale: Positive,
    /// Length of the embedding, by a linear layer and a batch norm; the last stage's channels if absent
    /// (320, 384, 512, 640 or 768).
    embedding: Option<NonZeroU32>,
    /// Share of the pooled features that is dropped in training.
    dropout: Fraction,
}

impl Default for Convnext {
    fn default() -> Self {
        Self {
            size: Size::Nano,
            stochastic_depth: Fraction::new(0.1),
            layer_scale: Positive::new(1e-6),
            embedding: None,
            dropout: Fraction::new(0.0),
        }
    }
}

/// How large a ConvNeXt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Size {
    /// 2, 2, 6 and 2 blocks of 40 to 320 channels.
    Atto,
    /// 2, 2, 6 and 2 blocks of 48 to 384 channels.
    Femto,
    /// 2, 2, 6 and 2 blocks of 64 to 512 channels.
    Pico,
    /// 2, 2, 8 and 2 blocks of 80 to 640 channels.
    Nano,
    /// 3, 3, 9 and 3 blocks of 96 to 768 channels.
    Tiny,
}

impl Size {
    /// Returns the blocks of each stage, and the channels of the first, which double at each.
    fn lengths(self) -> ([usize; 4], usize) {
        match self {
            Self::Atto => ([2, 2, 6, 2], 40),
            Self::Femto => ([2, 2, 6, 2], 48),
            Self::Pico => ([2, 2, 6, 2], 64),
            Self::Nano => ([2, 2, 8, 2], 80),
            Self::Tiny => ([3, 3, 9, 3], 96),
        }
    }
}

/// Every weight that is not a norm's is drawn from a normal distribution this wide.
const FIRST: Initialization = Initialization::Normal(0.02);

impl ModelConfig for Convnext {
    fn build(&self, weights: &Weights) -> Result<Box<dyn Model>> {
        let (depths, first) = self.size.lengths();
        let stem = weights.pp("stem");
        let shape = Shape::patches(first, 3, 4);
        let entry = Convolution::biased(&stem.pp(0), shape, FIRST)?;
        let entry_norm = norm(&stem.pp(1), first)?;
        let last = depths.iter().sum::<usize>() - 1;
        let mut stages = Vec::new();
        let (mut channels, mut number) = (first, 0);
        for (stage, count) in depths.into_iter().enumerate() {
            let weights = weights.pp("stages").pp(stage);
            let mut entry = None;
            if stage > 0 {
                let weights = weights.pp("downsample");
                let norm = norm(&weights.pp(0), channels)?;
                let shape = Shape::patches(2 * channels, channels, 2);
                entry = Some((norm, Convolution::biased(&weights.pp(1), shape, FIRST)?));
                channels *= 2;
            }
            let mut blocks = Vec::new();
            for index in 0..count {
                let drop = self.stochastic_depth.get() * number as f64 / last as f64;
                blocks.push(self.block(&weights.pp("blocks").pp(index), channels, drop)?);
                number += 1;
            }
            stages.push(Stage { entry, blocks });
        }
        let embedding = self.embedding.map(|length| {
            Embedding::new(&weights.pp("embedding"), channels, length.get() as usize)
        });
        Ok(Box::new(Network {
            entry,
            entry_norm,
            stages,
            norm: norm(&weights.pp("head.norm"), channels)?,
            dropout: self.dropout.get(),
            embedding: embedding.transpose()?,
            width: self.embedding.map_or(channels, |length| length.get() as usize),
        }))
    }
}

impl Convnext {
    fn block(&self, weights: &Weights, channels: usize, drop: f64) -> Result<Block> {
        let mlp = weights.pp("mlp");
        let mix = |name: &str, outputs: usize, inputs: usize| -> Result<Mix> {
            let weights = mlp.pp(name);
            // timm keeps these as 1×1 convolutions in its own sizes, and as matrices in the paper's
            if self.size != Size::Tiny {
                let shape = Shape::same(outputs, inputs, 1, 1);
                return Ok(Mix::Pixels(Convolution::biased(&weights, shape, FIRST)?));
            }
            let zero = Initialization::Constant(0.0);
            Ok(Mix::Rows {
                weight: weights.parameter("weight", (outputs, inputs), FIRST, true)?,
                bias: weights.parameter("bias", outputs, zero, false)?,
            })
        };
        let first = Initialization::Constant(self.layer_scale.get() as f32);
        let shape = Shape::depthwise(channels, 7, 1);
        Ok(Block {
            depthwise: Convolution::biased(&weights.pp("conv_dw"), shape, FIRST)?,
            norm: norm(&weights.pp("norm"), channels)?,
            widening: mix("fc1", 4 * channels, channels)?,
            narrowing: mix("fc2", channels, 4 * channels)?,
            scale: weights.parameter("gamma", channels, first, false)?,
            drop,
        })
    }
}

fn norm(weights: &Weights, channels: usize) -> Result<LayerNorm> {
    Ok(LayerNorm {
        weight: weights.parameter("weight", channels, Initialization::Constant(1.0), false)?,
        bias: weights.parameter("bias", channels, Initialization::Constant(0.0), false)?,
        eps: 1e-6,
    })
}

struct Network {
    entry: Convolution,
    entry_norm: LayerNorm,
    stages: Vec<Stage>,
    norm: LayerNorm,
    dropout: f64,
    embedding: Option<Embedding>,
    width: usize,
}

/// Blocks of one size, and the way there from the stage before.
struct Stage {
    entry: Option<(LayerNorm, Convolution)>,
    blocks: Vec<Block>,
}

struct Block {
    depthwise: Convolution,
    norm: LayerNorm,
    widening: Mix,
    narrowing: Mix,
    scale: Parameter,
    drop: f64,
}

/// A linear map of the channels of each pixel.
enum Mix {
    Pixels(Convolution),
    Rows { weight: Parameter, bias: Parameter },
}

impl Model for Network {
    fn forward(&self, tape: &mut Tape, images: &Value, random: &mut Random) -> Result<Value> {
        let mut x = self.entry.forward(tape, images)?;
        x = ops::layer_norm(tape, &x, &self.entry_norm)?;
        for stage in &self.stages {
            if let Some((norm, convolution)) = &stage.entry {
                x = ops::layer_norm(tape, &x, norm)?;
                x = convolution.forward(tape, &x)?;
            }
            for block in &stage.blocks {
                x = block.forward(tape, &x, random)?;
            }
        }
        x = ops::average_pool(tape, &x)?;
        x = ops::layer_norm(tape, &x, &self.norm)?;
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

impl Block {
    fn forward(&self, tape: &mut Tape, x: &Value, random: &mut Random) -> Result<Value> {
        let mut y = self.depthwise.forward(tape, x)?;
        y = ops::layer_norm(tape, &y, &self.norm)?;
        y = self.widening.forward(tape, &y)?;
        y = ops::gelu(tape, &y)?;
        y = self.narrowing.forward(tape, &y)?;
        ops::scaled_sum(tape, x, &y, &self.scale, self.drop, random)
    }
}

impl Mix {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        match self {
            Self::Pixels(convolution) => convolution.forward(tape, x),
            Self::Rows { weight, bias } => ops::linear(tape, x, weight, Some(bias)),
        }
    }
}
