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
    use candle_core::{DType, Device, Tensor, Var};

    use super::*;
    use crate::golden::{assert_close, tensors};
    use crate::loss::AnyLoss;
    use crate::optim::AnyOptimizer;

    #[derive(serde::Deserialize)]
    struct Table {
        model: AnyModel,
        loss: Option<AnyLoss>,
        optimizer: Option<AnyOptimizer>,
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

    /// The noise of `golden/resnet.py`: SplitMix64 of a counter, as numbers in [-1, 1).
    fn noise(stream: u64, shape: &[usize]) -> Tensor {
        let number = |index: usize| {
            let mut z = (index as u64 + (stream << 32)).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            (2.0 * ((z >> 11) as f64 / (1_u64 << 53) as f64) - 1.0) as f32
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(number).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Sets a weight as `golden/resnet.py` does.
    fn fill(name: &str, tensor: &Tensor, stream: u64) -> Tensor {
        let drawn = noise(stream, tensor.dims());
        let (factor, shift) = match *tensor.dims() {
            _ if name.ends_with("running_mean") || name.ends_with("bias") => (0.25, 0.0),
            [_] if name.ends_with("running_var") => (0.25, 1.0),
            [_] => (0.25, 0.5),
            [out, _, height, width] => (2.0 / ((out * height * width) as f64).sqrt(), 0.0),
            _ => (0.5, 0.0),
        };
        drawn.affine(factor, shift).unwrap()
    }

    /// Compares a forward pass, a training step and what follows with `resnet.safetensors`; gradients
    /// within `tolerance` of their length.
    fn check_golden(case: &str, model: &str, size: usize, tolerance: f64) {
        let table = format!(
            "model.{model}\nloss.cross-entropy = {{}}\noptimizer.sgd = {{ momentum = 0.9, \
             weight-decay = 0.01, decayed = \"all\" }}"
        );
        let Table { model, loss, optimizer } = parse(&table).unwrap();
        let weights = Weights::new(0, &Device::Cpu);
        let model = model.build(&weights).unwrap();
        let loss = loss.unwrap().build(&weights, model.width(), 2).unwrap();
        let mut optimizer = optimizer.unwrap().build(weights.trainable()).unwrap();
        let filled: std::collections::HashMap<String, Tensor> = {
            let tensors = weights.tensors().into_iter();
            let (floats, counts): (Vec<_>, Vec<_>) = tensors.partition(|(_, t)| t.rank() > 0);
            let floats = floats.into_iter().enumerate().map(|(stream, (name, tensor))| {
                let tensor = fill(&name, &tensor, stream as u64);
                (name, tensor)
            });
            floats.chain(counts).collect()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("filled.safetensors");
        candle_core::safetensors::save(&filled, &path).unwrap();
        weights.load(&path).unwrap();

        let images = noise(1000, &[4, 3, size, size + 5]).permute((0, 2, 3, 1)).unwrap();
        let images = Value::constant(images.contiguous().unwrap());
        let mut random = Random::new(0, "none", &[]);
        let expected = tensors("resnet.safetensors", &format!("{case}/"));
        let mut inference = |what: &str| {
            let found = model.forward(&mut Tape::inference(), &images, &mut random).unwrap();
            assert_close(&format!("{case}, {what}"), found.tensor(), &expected[what], 1e-4);
        };
        inference("before");
        let mut tape = Tape::training();
        let output = model.forward(&mut tape, &images, &mut Random::new(0, "none", &[])).unwrap();
        assert_close("in training", output.tensor(), &expected["training"], 1e-4);
        let features = Var::from_tensor(output.tensor()).unwrap();
        let value = loss.forward(&features, &[0, 1, 0, 1]).unwrap();
        assert_close("loss", &value, &expected["loss"], 1e-4);
        let heads = value.backward().unwrap();
        let back = heads.get(&features).unwrap().clone();
        let mut gradients = tape.backward(&output, back).unwrap();
        for parameter in weights.trainable() {
            if let Some(gradient) = heads.get(&parameter.variable) {
                gradients.insert(parameter.name, gradient.clone());
            }
        }
        for (stream, parameter) in weights.trainable().into_iter().enumerate() {
            let name = &parameter.name;
            let gradient = gradients[name].flatten_all().unwrap().to_dtype(DType::F64).unwrap();
            let count = gradient.elem_count();
            let lines = noise(2000 + stream as u64, &[4, count]).to_dtype(DType::F64).unwrap();
            let along = lines.matmul(&gradient.reshape((count, 1)).unwrap()).unwrap();
            let length = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
            let length = length.reshape(1).unwrap();
            let figures = Tensor::cat(&[&length, &along.flatten_all().unwrap()], 0).unwrap();
            let expected = expected[&format!("gradient/{name}")].to_dtype(DType::F64).unwrap();
            let unit = expected.get(0).unwrap().to_scalar::<f64>().unwrap();
            // A projection onto noise is about 0.6 times as long as the gradient itself.
            let [figures, expected] = [figures, expected].map(|tensor| (tensor / unit).unwrap());
            assert_close(&format!("{case}, gradient of {name}"), &figures, &expected, tolerance);
        }
        optimizer.step(&gradients, 0.01).unwrap();
        inference("after");
        let tracked = &weights.tensors()["layer4.0.bn2.num_batches_tracked"];
        assert_eq!(tracked.to_scalar::<i64>().unwrap(), 1);
    }

    #[test]
    fn a_training_step_is_that_of_torchvision() {
        check_golden("18", "resnet = { width = 8 }", 64, 1e-4);
        let small = "resnet = { depth = 50, width = 8, stem = \"small\", embedding = 12 }";
        // PyTorch's own f32 is off by 7e-5 here: a batch norm over four rows is badly conditioned.
        check_golden("50-small-embedding", small, 16, 4e-4);
    }
}
