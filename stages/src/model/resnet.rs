//! ResNet-18, 34 and 50 (He et al. 2016), with torchvision's names and numbers of weights.

use std::borrow::Cow;
use std::num::NonZeroU32;

use anyhow::Result;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Model, ModelConfig};
use crate::layers::{Convolution, Embedding, Norm, Shape};
use crate::number::Fraction;
use crate::ops::{self, Rectifier, Tape, Value};
use crate::rng::Random;
use crate::weights::Weights;

/// Four stages of residual blocks, each half the size and twice the channels of the one before it, and
/// the mean over what is left of the image.
///
/// The weights are named as in torchvision (v1.5: the 3×3 convolution of a bottleneck has the stride);
/// `fc` belongs to the loss. An embedding adds `embedding.0.weight` (linear, no bias) and
/// `embedding.1.*` (batch norm), as `torch.nn.Sequential` would name them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Resnet {
    /// How many layers have weights: 18, 34 or 50.
    depth: Depth,
    /// Channels of the first stage, a multiple of 8; 64 in the paper, less for quick runs.
    width: Width,
    /// How the image enters.
    stem: Stem,
    /// Length of the embedding, by a linear layer and a batch norm; the last stage's channels if absent
    /// (512, or 2048 for depth 50, at width 64).
    embedding: Option<NonZeroU32>,
    /// Share of the pooled features that is dropped in training.
    dropout: Fraction,
}

impl Default for Resnet {
    fn default() -> Self {
        Self {
            depth: Depth::Eighteen,
            width: Width::default(),
            stem: Stem::Imagenet,
            embedding: None,
            dropout: Fraction::new(0.0),
        }
    }
}

/// How the image enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Stem {
    /// A 7×7 convolution and a 3×3 maximum, both of stride 2: for images of 100 pixels and more.
    Imagenet,
    /// A 3×3 convolution of stride 1: for small images, 16 times the work.
    Small,
}

/// The depths of the paper that are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
enum Depth {
    Eighteen,
    ThirtyFour,
    Fifty,
}

impl TryFrom<u32> for Depth {
    type Error = String;

    fn try_from(depth: u32) -> Result<Self, String> {
        match depth {
            18 => Ok(Self::Eighteen),
            34 => Ok(Self::ThirtyFour),
            50 => Ok(Self::Fifty),
            _ => Err(format!("no ResNet of depth {depth}: expected 18, 34 or 50")),
        }
    }
}

impl From<Depth> for u32 {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::Eighteen => 18,
            Depth::ThirtyFour => 34,
            Depth::Fifty => 50,
        }
    }
}

impl JsonSchema for Depth {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Depth".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [18, 34, 50] })
    }
}

/// Channels of the first stage: a multiple of 8 from 8 to 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(super) struct Width(u32);

impl Width {
    /// Returns the number of channels.
    pub(super) fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for Width {
    fn default() -> Self {
        Self(64)
    }
}

impl TryFrom<u32> for Width {
    type Error = String;

    fn try_from(width: u32) -> Result<Self, String> {
        if (8..=512).contains(&width) && width.is_multiple_of(8) {
            Ok(Self(width))
        } else {
            Err(format!("{width} is not a width: expected a multiple of 8 from 8 to 512"))
        }
    }
}

impl From<Width> for u32 {
    fn from(width: Width) -> Self {
        width.0
    }
}

impl JsonSchema for Width {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Width".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 8, "maximum": 512, "multipleOf": 8 })
    }
}

impl ModelConfig for Resnet {
    fn build(&self, weights: &Weights) -> Result<Box<dyn Model>> {
        let (blocks, bottleneck) = match self.depth {
            Depth::Eighteen => ([2, 2, 2, 2], false),
            Depth::ThirtyFour => ([3, 4, 6, 3], false),
            Depth::Fifty => ([3, 4, 6, 3], true),
        };
        let first = self.width.get();
        let [kernel, stride] = match self.stem {
            Stem::Imagenet => [7, 2],
            Stem::Small => [3, 1],
        };
        let entry = Convolution::new(&weights.pp("conv1"), Shape::same(first, 3, kernel, stride))?;
        let norm = Norm::new(&weights.pp("bn1"), first)?;
        let (mut body, mut channels) = (Vec::new(), first);
        for (stage, count) in blocks.into_iter().enumerate() {
            let stage_weights = weights.pp(format_args!("layer{}", stage + 1));
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let planes = first << stage;
                let outputs = if bottleneck { 4 * planes } else { planes };
                let shape = Lengths { inputs: channels, planes, outputs, stride };
                body.push(Block::new(&stage_weights.pp(index), bottleneck, &shape)?);
                channels = outputs;
            }
        }
        let embedding = self.embedding.map(|length| {
            Embedding::new(&weights.pp("embedding"), channels, length.get() as usize)
        });
        Ok(Box::new(Network {
            entry,
            norm,
            pooled: self.stem == Stem::Imagenet,
            body,
            dropout: self.dropout.get(),
            embedding: embedding.transpose()?,
            width: self.embedding.map_or(channels, |length| length.get() as usize),
        }))
    }
}

struct Network {
    entry: Convolution,
    norm: Norm,
    pooled: bool,
    body: Vec<Block>,
    dropout: f64,
    embedding: Option<Embedding>,
    width: usize,
}

impl Model for Network {
    fn forward(&self, tape: &mut Tape, images: &Value, random: &mut Random) -> Result<Value> {
        let mut x = self.norm.after(&self.entry, tape, images, None, Rectifier::Relu)?;
        if self.pooled {
            x = ops::max_pool(tape, &x, 3, 2, 1)?;
        }
        for block in &self.body {
            x = block.forward(tape, &x)?;
        }
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

/// The channels of a block, and the stride of its 3×3 convolution.
struct Lengths {
    inputs: usize,
    planes: usize,
    outputs: usize,
    stride: usize,
}

/// Convolutions around which the input goes straight, or by `downsample` where the shape changes.
struct Block {
    layers: Vec<(Convolution, Norm)>,
    downsample: Option<(Convolution, Norm)>,
}

impl Block {
    fn new(weights: &Weights, bottleneck: bool, shape: &Lengths) -> Result<Self> {
        let &Lengths { inputs, planes, outputs, stride } = shape;
        let layers = match bottleneck {
            false => {
                vec![Shape::same(planes, inputs, 3, stride), Shape::same(outputs, planes, 3, 1)]
            }
            true => vec![
                Shape::same(planes, inputs, 1, 1),
                Shape::same(planes, planes, 3, stride),
                Shape::same(outputs, planes, 1, 1),
            ],
        };
        let layers = layers.into_iter().enumerate().map(|(index, shape)| {
            let [convolution, norm] =
                ["conv", "bn"].map(|name| weights.pp(format_args!("{name}{}", index + 1)));
            Ok((Convolution::new(&convolution, shape)?, Norm::new(&norm, shape.outputs)?))
        });
        let layers = layers.collect::<Result<_>>()?;
        let changes = stride != 1 || inputs != outputs;
        let downsample = changes.then(|| -> Result<_> {
            let weights = weights.pp("downsample");
            let convolution =
                Convolution::new(&weights.pp(0), Shape::same(outputs, inputs, 1, stride))?;
            Ok((convolution, Norm::new(&weights.pp(1), outputs)?))
        });
        Ok(Self { layers, downsample: downsample.transpose()? })
    }

    fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        let straight = match &self.downsample {
            None => x.clone(),
            Some((convolution, norm)) => norm.after(convolution, tape, x, None, Rectifier::None)?,
        };
        let mut y = x.clone();
        for (index, (convolution, norm)) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let straight = last.then_some(&straight);
            y = norm.after(convolution, tape, &y, straight, Rectifier::Relu)?;
        }
        Ok(y)
    }
}
