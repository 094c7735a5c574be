//! Networks that turn images into embeddings, one file each.

mod resnet;

use anyhow::Result;

use crate::choices::choices;
use crate::kind::Complaint;
use crate::ops::{self, Tape, Value};
use crate::rng::Random;
use crate::weights::{Buffer, Initialization, Parameter, Weights};

/// The parameters of a network.
pub(crate) trait ModelConfig {
    /// Makes the network, and its weights among `weights`.
    fn build(&self, weights: &Weights) -> Result<Box<dyn Model>>;

    /// Returns what is wrong with the parameters, named from the family on, e.g. `resnet.width`.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

/// A network without the head of its loss.
pub(crate) trait Model: Send + Sync {
    /// Turns images `[N, height, width, 3]`, normalized, into embeddings `[N, D]`.
    ///
    /// In training, norms use and update the statistics of the batch, and `random` decides what is
    /// dropped.
    fn forward(&self, tape: &mut Tape, images: &Value, random: &mut Random) -> Result<Value>;

    /// Returns D, the length of an embedding.
    fn width(&self) -> usize;
}

choices! {
    /// The network that turns an image into an embedding.
    pub(crate) enum AnyModel: ModelConfig {
        /// Residual network (He et al. 2016).
        Resnet(resnet::Resnet),
    }
}

/// A convolution without bias, initialized as in torchvision.
struct Convolution {
    weight: Parameter,
    stride: usize,
    padding: usize,
}

impl Convolution {
    /// Makes the convolution of `[out, in, kernel, kernel]` weights that keeps the size at stride 1.
    fn new(weights: &Weights, shape: [usize; 3], stride: usize) -> Result<Self> {
        let [outputs, inputs, kernel] = shape;
        let shape = [outputs, inputs, kernel, kernel];
        let first = Initialization::kaiming_normal(shape);
        let weight = weights.parameter("weight", &shape, first, true)?;
        Ok(Self { weight, stride, padding: kernel / 2 })
    }

    fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Value> {
        ops::convolution(tape, x, &self.weight, self.stride, self.padding)
    }
}

/// A batch norm that counts its batches as PyTorch's does.
struct Norm {
    norm: ops::BatchNorm,
    tracked: Buffer,
}

impl Norm {
    fn new(weights: &Weights, channels: usize) -> Result<Self> {
        let norm = ops::BatchNorm {
            weight: weights.parameter("weight", channels, Initialization::Constant(1.0), false)?,
            bias: weights.parameter("bias", channels, Initialization::Constant(0.0), false)?,
            running_mean: weights.buffer("running_mean", channels, 0.0)?,
            running_var: weights.buffer("running_var", channels, 1.0)?,
            momentum: 0.1,
            eps: 1e-5,
        };
        Ok(Self { norm, tracked: weights.counter("num_batches_tracked")? })
    }

    /// Normalizes, adds a residual where there is one, and rectifies where `relu` says so.
    fn forward(
        &self,
        tape: &mut Tape,
        x: &Value,
        residual: Option<&Value>,
        relu: bool,
    ) -> Result<Value> {
        if tape.is_training() {
            self.tracked.increment()?;
        }
        ops::batch_norm(tape, x, &self.norm, residual, relu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::AnyLoss;

    #[derive(serde::Deserialize)]
    struct Table {
        model: AnyModel,
        loss: Option<AnyLoss>,
    }

    fn parse(text: &str) -> Result<Table, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn counts_are_those_of_torchvision() {
        let check = |model: &str, loss: &str, expected: u64| {
            let table = parse(&format!("model.resnet = {model}\nloss.{loss}")).unwrap();
            let weights = Weights::counting();
            let built = table.model.build(&weights).unwrap();
            table.loss.unwrap().build(&weights, built.width(), 7001).unwrap();
            assert_eq!(weights.count(), expected, "{model}");
        };
        check("{}", "cross-entropy = {}", 14_768_025);
        check("{ depth = 34 }", "cross-entropy = {}", 24_876_185);
        check("{ depth = 50 }", "cross-entropy = {}", 37_853_081);
        let embedding = 512 * 256 + 2 * 256;
        let body = 14_768_025 - 7001 * 513;
        check("{ embedding = 256 }", "arcface = {}", body + embedding + 7001 * 256);
    }

    #[test]
    fn sizes_that_cannot_be_are_errors_at_their_place() {
        let check = |model: &str, at: &str, message: &str| {
            let text = format!("model.resnet = {model}");
            let error = parse(&text).err().expect("an error");
            let span = error.span().expect("a place");
            assert_eq!((&text[span], error.message()), (at, message));
        };
        check("{ depth = 101 }", "101", "no ResNet of depth 101: expected 18, 34 or 50");
        check("{ width = 12 }", "12", "12 is not a width: expected a multiple of 8 from 8 to 512");
    }
}
