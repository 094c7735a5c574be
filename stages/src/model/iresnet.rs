//! The residual networks of ArcFace (Deng et al. 2019), with the names of weights of insightface.

use std::borrow::Cow;
use std::num::NonZeroU32;

use anyhow::{Result, ensure};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::resnet::Width;
use super::{Model, ModelConfig};
use crate::layers::{Convolution, Norm, Shape};
use crate::number::Fraction;
use crate::ops::{self, Rectifier, Tape, Value};
use crate::rng::Random;
use crate::weights::{Initialization, Parameter, Weights};

/// Four stages of residual blocks, each half the size of the one before it, that normalize before they
/// convolve and rectify with learnt slopes; then a linear layer and a batch norm make the embedding.
///
/// The weights are named as in insightface's `arcface_torch`; those of `features.weight` are 1 and not
/// trained there, nor here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Iresnet {
    /// How many layers have weights: 18, 34, 50 or 100.
    depth: Depth,
    /// Channels of the first stage, a multiple of 8; 64 in the paper, less for quick runs.
    width: Width,
    /// Length of the embedding.
    embedding: NonZeroU32,
    /// What the linear layer sees of the last stage.
    head: Head,
    /// Pixels of a side of the images, of which a `flat` head must know how many there are.
    size: NonZeroU32,
    /// Share of the last features that is dropped in training.
    dropout: Fraction,
}

impl Default for Iresnet {
    fn default() -> Self {
        Self {
            depth: Depth::Fifty,
            width: Width::default(),
            embedding: NonZeroU32::new(512).expect("512 is not 0"),
            head: Head::Flat,
            size: NonZeroU32::new(112).expect("112 is not 0"),
            dropout: Fraction::new(0.0),
        }
    }
}

/// What the linear layer sees of the last stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Head {
    /// Every pixel, as in the paper: 12.8 million of the parameters at size 112.
    Flat,
    /// The mean over all pixels: a small head, for images of any size.
    Mean,
}

/// The depths that insightface trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
enum Depth {
    Eighteen,
    ThirtyFour,
    Fifty,
    Hundred,
}

impl TryFrom<u32> for Depth {
    type Error = String;

    fn try_from(depth: u32) -> Result<Self, String> {
        match depth {
            18 => Ok(Self::Eighteen),
            34 => Ok(Self::ThirtyFour),
            50 => Ok(Self::Fifty),
            100 => Ok(Self::Hundred),
            _ => Err(format!("no IResNet of depth {depth}: expected 18, 34, 50 or 100")),
        }
    }
}

impl From<Depth> for u32 {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::Eighteen => 18,
            Depth::ThirtyFour => 34,
            Depth::Fifty => 50,
            Depth::Hundred => 100,
        }
    }
}

impl JsonSchema for Depth {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "IresnetDepth".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [18, 34, 50, 100] })
    }
}

/// Every convolution is drawn from a normal distribution this wide.
const FIRST: Initialization = Initialization::Normal(0.1);

impl ModelConfig for Iresnet {
    fn build(&self, weights: &Weights) -> Result<Box<dyn Model>> {
        let blocks = match self.depth {
            Depth::Eighteen => [2, 2, 2, 2],
            Depth::ThirtyFour => [3, 4, 6, 3],
            Depth::Fifty => [3, 4, 14, 3],
            Depth::Hundred => [3, 13, 30, 3],
        };
        let first = self.width.get();
        let entry = Convolution::with(&weights.pp("conv1"), Shape::same(first, 3, 3, 1), FIRST)?;
        let entry_norm = Norm::new(&weights.pp("bn1"), first)?;
        let (mut body, mut channels, mut side) = (Vec::new(), first, self.size.get() as usize);
        for (stage, count) in blocks.into_iter().enumerate() {
            let stage_weights = weights.pp(format_args!("layer{}", stage + 1));
            let outputs = first << stage;
            for index in 0..count {
                let stride = if index == 0 { 2 } else { 1 };
                let mut block = Block::new(&stage_weights.pp(index), channels, outputs, stride)?;
                if body.is_empty() {
                    // at the full size of the images: of IR-50 in bf16 a twentieth of what a step keeps
                    block.before = block.before.made_again();
                }
                body.push(block);
                channels = outputs;
            }
            side = side.div_ceil(2);
        }
        let flat = match self.head {
            Head::Flat => Some(self.size.get() as usize),
            Head::Mean => None,
        };
        let inputs = if flat.is_some() { side * side * channels } else { channels };
        let length = self.embedding.get() as usize;
        let (head, linear) = (weights.pp("fc"), Initialization::linear(inputs));
        Ok(Box::new(Network {
            entry,
            entry_norm: entry_norm.before_norm(),
            slope: slope(&weights.pp("prelu"), first)?,
            body,
            norm: Norm::new(&weights.pp("bn2"), channels)?,
            dropout: self.dropout.get(),
            flat,
            weight: head.parameter("weight", (length, inputs), linear, true)?,
            bias: head.parameter("bias", length, linear, false)?,
            features: Norm::unscaled(&weights.pp("features"), length)?,
            width: length,
        }))
    }
}

fn slope(weights: &Weights, channels: usize) -> Result<Parameter> {
    weights.parameter("weight", channels, Initialization::Constant(0.25), false)
}

struct Network {
    entry: Convolution,
    entry_norm: Norm,
    slope: Parameter,
    body: Vec<Block>,
    norm: Norm,
    dropout: f64,
    /// The side of the images, where every pixel has weights of its own.
    flat: Option<usize>,
    weight: Parameter,
    bias: Parameter,
    features: Norm,
    width: usize,
}

impl Model for Network {
    fn forward(&self, tape: &mut Tape, images: &Value, random: &mut Random) -> Result<Value> {
        if let (Some(side), [_, height, width, _]) = (self.flat, images.dims()) {
            ensure!(
                [*height, *width] == [side; 2],
                "model.iresnet is for images of {side}x{side} (`size`) and was given \
                 {height}x{width}; head = \"mean\" takes any size"
            );
        }
        let mut x = self.entry_norm.bent_after(&self.entry, tape, images, &self.slope)?;
        for block in &self.body {
            x = block.forward(tape, &x)?;
        }
        x = self.norm.forward(tape, &x)?;
        x = ops::dropout(tape, &x, self.dropout, random)?;
        x = match self.flat {
            Some(_) => ops::flatten(tape, &x)?,
            None => ops::average_pool(tape, &x)?,
        };
        x = ops::linear(tape, &x, &self.weight, Some(&self.bias))?;
        self.features.forward(tape, &x)
    }

    fn width(&self) -> usize {
        self.width
    }
}

/// Two convolutions around which the input goes straight, or by `downsample` where the shape changes.
struct Block {
    before: Norm,
    convolutions: [Convolution; 2],
    norms: [Norm; 2],
    slope: Parameter,
    downsample: Option<(Convolution, Norm)>,
}

impl Block {
    fn new(weights: &Weights, inputs: usize, outputs: usize, stride: usize) -> Result<Self> {
        let shapes = [Shape::same(outputs, inputs, 3, 1), Shape::same(outputs, outputs, 3, stride)];
        let convolution = |name: &str, shape| Convolution::with(&weights.pp(name), shape, FIRST);
        let norm = |name: &str, channels| Norm::new(&weights.pp(name), channels);
        let downsample = (stride != 1 || inputs != outputs).then(|| -> Result<_> {
            let weights = weights.pp("downsample");
            let shape = Shape::same(outputs, inputs, 1, stride);
            let convolution = Convolution::with(&weights.pp(0), shape, FIRST)?;
            Ok((convolution, Norm::new(&weights.pp(1), outputs)?))
        });
        Ok(Self {
            before: norm("bn1", inputs)?,
            convolutions: [convolution("conv1", shapes[0])?, convolution("conv2", shapes[1])?],
            norms: [norm("bn2", outputs)?, norm("bn3", outputs)?.before_norm()],
            slope: slope(&weights.pp("prelu"), outputs)?,
            downsample: downsample.transpose()?,
        })
    }

    fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        let [first, second] = &self.convolutions;
        let mut y = self.before.forward(tape, x)?;
        y = self.norms[0].bent_after(first, tape, &y, &self.slope)?;
        // after `before`, which then is the last to add to the gradient by x
        let straight = match &self.downsample {
            None => x.clone(),
            Some((convolution, norm)) => norm.after(convolution, tape, x, None, Rectifier::None)?,
        };
        self.norms[1].after(second, tape, &y, Some(&straight), Rectifier::None)
    }
}
