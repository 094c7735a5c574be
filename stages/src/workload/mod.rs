//! Parts of a training apart from any pipeline, for who measures how fast they are.
//!
//! Images are noise: how long anything takes does not depend on them.

mod bare;

use anyhow::Context as _;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;

use crate::augment::{AnyAugmentation, apply_all};
use crate::context::DeviceChoice;
use crate::crc32c::crc32c;
use crate::data::Picture;
use crate::device;
use crate::device_checks;
use crate::loss::AnyLoss;
use crate::model::AnyModel;
use crate::ops::{Clock, Parity, Profile, Tape, Value};
use crate::optim::{AnyOptimizer, Optimizer};
use crate::rng::Random;
use crate::training::answers::{Answer, Answers};
use crate::training::description::Precision;
use crate::training::learning::learn;
use crate::training::loader::Loader;
use crate::training::network::Network;
use crate::weights::Parameter;

pub use bare::{Counting, Decoding, Matching, Roof, Thresholds};

/// What a network is made of, as in the table of a stage of kind `train`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    model: AnyModel,
    loss: AnyLoss,
    optimizer: AnyOptimizer,
    #[serde(default)]
    recompute: bool,
}

/// Where a workload computes, and in what numbers.
#[derive(Clone, Debug)]
pub struct Place {
    device: Device,
    dtype: DType,
}

impl Place {
    /// Opens a device; `precision` is `f32` or `bf16`, as in a pipeline file.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or there are no such numbers.
    pub fn open(choice: DeviceChoice, precision: &str) -> anyhow::Result<Self> {
        let device = device::open(choice)?;
        let dtype = Precision::deserialize(precision.into_deserializer())
            .map_err(|error: serde::de::value::Error| anyhow::anyhow!("{error}"))?
            .dtype();
        Ok(Self { device, dtype })
    }

    /// Prepares a check of every operator here beside the CPU's kernels; `seed` draws shapes.
    #[must_use]
    pub fn parity(&self, seed: u64) -> Parity {
        Parity::new(self.device.clone(), self.dtype, seed).and(device_checks::all())
    }

    /// Waits until the device has done all it was given.
    ///
    /// # Errors
    ///
    /// When the device has failed.
    pub fn wait(&self) -> anyhow::Result<()> {
        Ok(self.device.synchronize()?)
    }

    /// Returns the most bytes of a GPU's memory that this process has computed with at once; nothing of the CPU's.
    ///
    /// # Errors
    ///
    /// When the driver does not say.
    pub fn most_bytes(&self) -> anyhow::Result<Option<u64>> {
        #[cfg(feature = "cuda")]
        return crate::ops::most_bytes(&self.device);
        #[cfg(not(feature = "cuda"))]
        Ok(None)
    }
}

/// A network with a batch to learn from.
pub struct Training {
    network: Network,
    parameters: Vec<Parameter>,
    optimizer: Box<dyn Optimizer>,
    images: Tensor,
    labels: Vec<u32>,
    answers: Answers,
    recompute: bool,
}

impl Training {
    /// Makes a network of a TOML table with `model`, `loss`, `optimizer` and maybe `recompute`, for so many classes, and a
    /// batch of square images.
    ///
    /// # Errors
    ///
    /// When the table is wrong or there is no memory.
    pub fn new(
        settings: &str,
        classes: usize,
        batch: usize,
        side: usize,
        place: &Place,
    ) -> anyhow::Result<Self> {
        let Settings { model, loss, optimizer, recompute } =
            toml::from_str(settings).context("the settings of a network")?;
        let Place { device, dtype } = place;
        let network = Network::new(0, device, *dtype, &model, &loss, classes, None)?;
        let parameters = network.weights.trainable();
        let optimizer = optimizer.build(parameters.clone())?;
        let mut random = Random::new(0, "workload", &[]);
        let pixels: Vec<f32> =
            (0..batch * side * side * 3).map(|_| random.normal() as f32).collect();
        let images = Tensor::from_vec(pixels, (batch, side, side, 3), device)?;
        let labels = (0..batch).map(|image| (image % classes) as u32).collect();
        Ok(Self {
            network,
            parameters,
            optimizer,
            images,
            labels,
            answers: Answers::new(),
            recompute,
        })
    }

    /// Moves every pixel by about this share of it, at random: what comes of it is what rounding can do.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn moved(self, share: f64) -> anyhow::Result<Self> {
        let mut random = Random::new(0, "moved", &[]);
        let factors: Vec<f32> =
            (0..self.images.elem_count()).map(|_| (1.0 + share * random.normal()) as f32).collect();
        let factors = Tensor::from_vec(factors, self.images.shape(), self.images.device())?;
        let images = (&self.images * factors)?;
        Ok(Self { images, ..self })
    }

    /// Takes one step and returns the loss before it.
    ///
    /// # Errors
    ///
    /// When the images are too small for the network.
    pub fn step(&mut self) -> anyhow::Result<f64> {
        Ok(self.step_on(&mut self.tape())?.finish()?.loss)
    }

    /// Takes so many steps as a training does, which reads an answer while the next step is computed, and returns
    /// the losses before them.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn steps(&mut self, count: usize) -> anyhow::Result<Vec<f64>> {
        let (mut losses, mut unread) = (Vec::with_capacity(count), None);
        for _ in 0..count {
            let answer = self.step_on(&mut self.tape())?;
            losses.extend(unread.replace(answer).map(Answer::finish));
        }
        losses.extend(unread.map(Answer::finish));
        losses.into_iter().map(|answered| Ok(answered?.loss)).collect()
    }

    /// Takes one step and measures its operators.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn measured_step(&mut self, clock: Clock) -> anyhow::Result<Profile> {
        let mut tape = self.tape().measured(clock, self.images.device());
        self.step_on(&mut tape)?.finish()?;
        Ok(tape.profile())
    }

    /// Returns the embeddings of the batch, one after the other.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn embeddings(&self) -> anyhow::Result<Vec<f32>> {
        Ok(self.network.embed(&mut Tape::inference(), &self.images)?.flatten_all()?.to_vec1()?)
    }

    /// Returns a checksum of all weights and running statistics: equal where every bit is.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn checksum(&self) -> anyhow::Result<u32> {
        let mut bytes = Vec::new();
        for (name, tensor) in self.network.weights.tensors() {
            bytes.extend(name.as_bytes());
            for number in tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()? {
                bytes.extend(number.to_le_bytes());
            }
        }
        Ok(crc32c(&bytes))
    }

    /// Computes the embeddings of the batch, as the stages that use trained weights do.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn infer(&self) -> anyhow::Result<()> {
        self.network.embed(&mut Tape::inference(), &self.images).map(drop)
    }

    /// Computes the embeddings of the batch and measures the operators.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub fn measured_inference(&self, clock: Clock) -> anyhow::Result<Profile> {
        let mut tape = Tape::inference().measured(clock, self.images.device());
        let mut unused = Random::new(0, "inference", &[]);
        let images = Value::constant(self.images.to_dtype(self.network.dtype)?);
        self.network.model.forward(&mut tape, &images, &mut unused)?;
        Ok(tape.profile())
    }

    fn tape(&self) -> Tape {
        Tape::training().recomputing(self.recompute)
    }

    fn step_on(&mut self, tape: &mut Tape) -> anyhow::Result<Answer> {
        let (network, images, labels) = (&self.network, &self.images, &self.labels);
        let mut random = Random::new(0, "dropout", &[]);
        let lesson = learn(network, &self.parameters, tape, images, labels, &mut random)?;
        self.optimizer.step(&lesson.gradients, 1e-3)?;
        self.answers.begin(&lesson, labels)
    }
}

/// Images in memory that are changed at random and made into batches, without a network.
pub struct Loading {
    loader: Loader,
    augment: Vec<AnyAugmentation>,
    planes: Vec<u8>,
    side: usize,
    count: usize,
}

impl Loading {
    /// Makes so many square images, and a loader with so many threads.
    ///
    /// # Errors
    ///
    /// When the list of augmentations, a TOML table with `augment`, is wrong.
    pub fn new(settings: &str, count: usize, side: usize, workers: usize) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Augment {
            augment: Vec<AnyAugmentation>,
        }
        let Augment { augment } = toml::from_str(settings).context("the augmentations")?;
        let mut random = Random::new(0, "workload", &[]);
        let planes = (0..count * 3 * side * side).map(|_| random.below(256) as u8).collect();
        let loader = Loader::new([side, side], [0.5; 3], [0.25; 3], workers)?;
        Ok(Self { loader, augment, planes, side, count })
    }

    /// Makes every image into a part of a batch once.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub fn run(&self, batch: usize) -> anyhow::Result<()> {
        let order: Vec<usize> = (0..self.count).collect();
        let size = 3 * self.side * self.side;
        let prepare = |image: usize| {
            let mut random = Random::new(0, "augment", &[image as u64]);
            let planes = &self.planes[image * size..][..size];
            let picture = Picture::from_planes(self.side, self.side, planes);
            Ok(apply_all(&self.augment, picture, &mut random))
        };
        self.loader.each(order.chunks(batch), &prepare, &Device::Cpu, |_, _| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Loading, Place, Training};

    #[test]
    fn a_place_is_named_as_in_a_pipeline() {
        let message = |precision: &str| {
            Place::open("cpu".parse().unwrap(), precision).unwrap_err().to_string()
        };
        assert!(message("f16").contains("unknown variant `f16`"), "{}", message("f16"));
        for precision in ["f32", "bf16"] {
            assert!(cpu(precision).wait().is_ok());
        }
    }

    fn cpu(precision: &str) -> Place {
        Place::open("cpu".parse().unwrap(), precision).unwrap()
    }

    #[test]
    fn a_step_teaches_and_tells_where_time_went() {
        let settings = "model.resnet = { width = 8, stem = \"small\" }\nloss.cross-entropy = {}\n\
                        optimizer.sgd = {}";
        let mut training = Training::new(settings, 3, 4, 16, &cpu("f32")).unwrap();
        let first = training.step().unwrap();
        let last = training.steps(20).unwrap()[19];
        assert!(last < first, "{last} after {first}");
        let mut rounded = Training::new(settings, 3, 4, 16, &cpu("bf16")).unwrap();
        let steps = rounded.steps(21).unwrap();
        let near = |one: f64, other: f64| (one - other).abs() < 0.05 * first;
        assert!(near(steps[0], first) && near(steps[20], last), "{first}, {last}; {steps:?}");
        let profile = training.measured_step(|| 1).unwrap();
        let products: u64 = profile.values().map(|share| share.products).sum();
        assert!(profile.contains_key("batch norm") && products > 0, "{profile:?}");
        let fresh = || Training::new(settings, 3, 4, 16, &cpu("f32")).unwrap();
        let moved = |share| fresh().moved(share).unwrap().step().unwrap();
        assert_eq!(moved(0.0), first);
        assert!((moved(1e-3) - first).abs() < 0.1 && moved(1e-3) != first);
        training.infer().unwrap();
        let weights = training.checksum().unwrap();
        assert_eq!(training.embeddings().unwrap().len(), 4 * 64);
        assert_eq!(training.checksum().unwrap(), weights);
        training.step().unwrap();
        assert_ne!(training.checksum().unwrap(), weights);
        // a convolution's products on the way back are twice those before, but for the first one's
        let forward = training.measured_inference(|| 1).unwrap()["convolution 3x3"].products;
        let entry = 4 * 16 * 16 * 8 * 27;
        assert_eq!(profile["convolution 3x3"].products, 3 * forward - entry);
        Loading::new("augment = [{ flip = {} }]", 5, 8, 2).unwrap().run(2).unwrap();
    }
}
