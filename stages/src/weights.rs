//! Named weights whose first values depend only on a seed and their names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{DType, Device, Shape, Tensor, Var};
use rayon::prelude::*;

use crate::ops::Rounded;
use crate::rng::Random;

/// How many numbers are drawn from one random stream; fixed, so that threads do not change values.
const CHUNK: usize = 1 << 16;

/// A trained tensor.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// The full name, e.g. `layer1.0.conv1.weight`.
    pub(crate) name: String,
    /// The values, f32.
    pub(crate) variable: Var,
    /// Whether weight decay usually applies: true for the weights of convolutions and linear layers,
    /// false for norms and biases.
    pub(crate) decay: bool,
    /// The same in bf16, where a GPU computes with it.
    pub(crate) rounded: Rounded,
}

impl Parameter {
    /// Makes a parameter of its values.
    pub(crate) fn new(name: String, variable: Var, decay: bool) -> Self {
        Self { name, variable, decay, rounded: Rounded::default() }
    }
}

/// A tensor that is saved with the weights but not trained, e.g. a running mean.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// The full name, e.g. `bn1.running_mean`.
    pub(crate) name: String,
    /// The values: f32 on the device, or one i64 on the CPU for a counter.
    pub(crate) variable: Var,
}

impl Buffer {
    /// Adds one to a counter.
    pub(crate) fn increment(&self) -> Result<()> {
        let count = self.variable.to_scalar::<i64>()?;
        Ok(self.variable.set(&Tensor::new(count + 1, &Device::Cpu)?)?)
    }
}

/// The first values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Initialization {
    /// The same number everywhere.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
}

impl Initialization {
    /// For a convolution `[out, in, height, width]` before a ReLU, as torchvision's ResNet: normal with
    /// variance 2 / (out · height · width) (He et al. 2015, `kaiming_normal_` with `fan_out`).
    pub(crate) fn kaiming_normal(shape: [usize; 4]) -> Self {
        let fan_out = shape[0] * shape[2] * shape[3];
        Self::Normal((2.0 / fan_out as f64).sqrt())
    }

    /// For weight and bias of a linear layer, as `torch.nn.Linear`: uniform within 1 / √inputs.
    pub(crate) fn linear(inputs: usize) -> Self {
        Self::Uniform(1.0 / (inputs as f64).sqrt())
    }

    /// For a matrix `[out, in]` (Glorot and Bengio 2010): normal with variance 2 / (in + out).
    pub(crate) fn xavier_normal(shape: [usize; 2]) -> Self {
        Self::Normal((2.0 / (shape[0] + shape[1]) as f64).sqrt())
    }

    /// Draws the values of the weight of this name.
    fn values(self, seed: u64, name: &str, count: usize) -> Vec<f32> {
        let draw: fn(&mut Random) -> f64 = match self {
            Self::Constant(value) => return vec![value; count],
            Self::Normal(_) => Random::normal,
            Self::Uniform(_) => |random| random.between(-1.0, 1.0),
        };
        let (Self::Normal(width) | Self::Uniform(width)) = self else { unreachable!("returned") };
        let mut values = vec![0.0; count];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| {
            let mut random = Random::new(seed, name, &[index as u64]);
            chunk.iter_mut().for_each(|value| *value = (draw(&mut random) * width) as f32);
        });
        values
    }
}

/// Every weight of a network, by name; a cheap handle that makes the weights below one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    shared: Arc<Shared>,
    prefix: String,
}

#[derive(Debug)]
struct Shared {
    /// None: the weights are only counted.
    seed: Option<u64>,
    device: Device,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// How many trained numbers there are, by the first part of their names.
    counts: Mutex<BTreeMap<String, u64>>,
}

#[derive(Clone, Debug)]
enum Entry {
    Parameter(Parameter),
    Buffer(Buffer),
}

impl Entry {
    fn variable(&self) -> &Var {
        match self {
            Self::Parameter(parameter) => &parameter.variable,
            Self::Buffer(buffer) => &buffer.variable,
        }
    }
}

impl Weights {
    /// Starts an empty set on a device.
    pub(crate) fn new(seed: u64, device: &Device) -> Self {
        Self::with(Some(seed), device)
    }

    /// Starts an empty set that only counts: every tensor is a lone zero, whatever its shape, so that a
    /// network of any size takes neither time nor memory.
    pub(crate) fn counting() -> Self {
        Self::with(None, &Device::Cpu)
    }

    fn with(seed: Option<u64>, device: &Device) -> Self {
        let shared = Shared {
            seed,
            device: device.clone(),
            entries: Mutex::default(),
            counts: Mutex::default(),
        };
        Self { shared: Arc::new(shared), prefix: String::new() }
    }

    /// Returns the handle whose names start with `part` below this one.
    pub(crate) fn pp(&self, part: impl std::fmt::Display) -> Self {
        Self { shared: Arc::clone(&self.shared), prefix: format!("{}{part}.", self.prefix) }
    }

    /// Returns where the weights are.
    pub(crate) fn device(&self) -> &Device {
        &self.shared.device
    }

    /// Makes a trained tensor.
    ///
    /// # Errors
    ///
    /// When the name is taken or the device is out of memory.
    pub(crate) fn parameter(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        first: Initialization,
        decay: bool,
    ) -> Result<Parameter> {
        let (name, shape) = (format!("{}{name}", self.prefix), shape.into());
        let count =
            shape.dims().iter().fold(1, |count: u64, &side| count.saturating_mul(side as u64));
        let variable = match self.shared.seed {
            None => Var::zeros((), DType::F32, self.device())?,
            Some(seed) => {
                let values = first.values(seed, &name, shape.elem_count());
                Var::from_vec(values, shape, self.device())?
            }
        };
        let parameter = Parameter::new(name, variable, decay);
        self.insert(&parameter.name, Entry::Parameter(parameter.clone()))?;
        let part = parameter.name.split('.').next().unwrap_or_default().to_owned();
        let mut counts = self.counts();
        let counted = counts.entry(part).or_default();
        *counted = counted.saturating_add(count);
        drop(counts);
        Ok(parameter)
    }

    /// Makes a tensor that is saved but not trained, full of one value.
    ///
    /// # Errors
    ///
    /// As [`Self::parameter`].
    pub(crate) fn buffer(&self, name: &str, shape: impl Into<Shape>, value: f32) -> Result<Buffer> {
        let shape = self.shared.seed.map_or(Shape::from(()), |_| shape.into());
        let values = vec![value; shape.elem_count()];
        self.insert_buffer(name, Var::from_vec(values, shape, self.device())?)
    }

    /// Makes a count from 0, e.g. `num_batches_tracked`.
    ///
    /// # Errors
    ///
    /// As [`Self::parameter`].
    pub(crate) fn counter(&self, name: &str) -> Result<Buffer> {
        self.insert_buffer(name, Var::zeros((), DType::I64, &Device::Cpu)?)
    }

    fn insert_buffer(&self, name: &str, variable: Var) -> Result<Buffer> {
        let buffer = Buffer { name: format!("{}{name}", self.prefix), variable };
        self.insert(&buffer.name, Entry::Buffer(buffer.clone()))?;
        Ok(buffer)
    }

    fn insert(&self, name: &str, entry: Entry) -> Result<()> {
        ensure!(
            self.entries().insert(name.to_owned(), entry).is_none(),
            "two weights are `{name}`"
        );
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.shared.entries.lock().expect("nothing panics while it holds the lock")
    }

    /// Returns whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries().contains_key(&format!("{}{name}", self.prefix))
    }

    /// Returns how many numbers are trained.
    pub(crate) fn count(&self) -> u64 {
        self.counts().values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// Returns how many numbers are trained in each part, by the first word of their names.
    pub(crate) fn parts(&self) -> BTreeMap<String, u64> {
        self.counts().clone()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.shared.counts.lock().expect("nothing panics while it holds the lock")
    }

    /// Returns every trained tensor, sorted by name.
    pub(crate) fn trainable(&self) -> Vec<Parameter> {
        let entries = self.entries();
        let parameters = entries.values().filter_map(|entry| match entry {
            Entry::Parameter(parameter) => Some(parameter.clone()),
            Entry::Buffer(_) => None,
        });
        parameters.collect()
    }

    /// Returns the tensors by name, sharing memory with the weights.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let entries = self.entries();
        entries.iter().map(|(name, entry)| (name.clone(), entry.variable().detach())).collect()
    }

    /// Writes all weights as safetensors with PyTorch's names: the same values give the same bytes.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        // One key only: the order of more would be random in the file.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        safetensors::serialize_to_file(self.tensors(), Some(metadata), path)
            .with_context(|| format!("cannot write weights `{}`", path.display()))
    }

    /// Reads all weights; the file must hold exactly these names and shapes.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or lists what is missing, left over or of another shape.
    pub(crate) fn load(&self, path: &Path) -> Result<()> {
        self.read(path, true)
    }

    /// As [`Self::load`], but ignores what the file holds besides, e.g. the head of a loss.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub(crate) fn load_from_larger(&self, path: &Path) -> Result<()> {
        self.read(path, false)
    }

    fn read(&self, path: &Path, exact: bool) -> Result<()> {
        let found = candle_core::safetensors::load(path, &Device::Cpu)
            .with_context(|| format!("cannot read weights `{}`", path.display()))?;
        self.assign(found.into_iter().collect(), exact, &format!("weights `{}`", path.display()))
    }

    /// Sets all weights to the values of [`Self::tensors`] of an earlier moment.
    ///
    /// # Errors
    ///
    /// Lists what is missing, left over or of another shape.
    pub(crate) fn restore(&self, values: BTreeMap<String, Tensor>) -> Result<()> {
        self.assign(values, true, "the restored weights")
    }

    fn assign(&self, mut found: BTreeMap<String, Tensor>, exact: bool, whose: &str) -> Result<()> {
        let entries = self.entries();
        let (mut values, mut wrong) = (Vec::with_capacity(entries.len()), Vec::new());
        for (name, entry) in entries.iter() {
            let variable = entry.variable();
            match found.remove(name) {
                None => wrong.push(format!("`{name}` is missing")),
                Some(tensor) if tensor.dims() != variable.dims() => wrong.push(format!(
                    "`{name}` is {:?}, expected {:?}",
                    tensor.dims(),
                    variable.dims()
                )),
                Some(tensor) if tensor.dtype().is_float() != variable.dtype().is_float() => {
                    wrong.push(format!(
                        "`{name}` holds {}, expected {}",
                        tensor.dtype().as_str(),
                        variable.dtype().as_str()
                    ));
                }
                Some(tensor) => values.push((variable, tensor)),
            }
        }
        if exact {
            let mut extra: Vec<_> = found.into_keys().collect();
            extra.sort();
            wrong.extend(extra.into_iter().map(|name| format!("`{name}` is not in the model")));
        }
        if !wrong.is_empty() {
            let (count, shown) = (wrong.len(), wrong[..wrong.len().min(12)].join("\n  "));
            let more =
                if count > 12 { format!("\n  and {} more", count - 12) } else { String::new() };
            bail!("{whose} do not fit the model:\n  {shown}{more}");
        }
        for entry in entries.values() {
            if let Entry::Parameter(parameter) = entry {
                parameter.rounded.forget();
            }
        }
        for (variable, tensor) in values {
            variable.set(&tensor.to_dtype(variable.dtype())?.to_device(variable.device())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64) -> Weights {
        let weights = Weights::new(seed, &Device::Cpu);
        let layer = weights.pp("layer1").pp(0);
        let shape = [8, 3, 3, 3];
        layer
            .parameter("conv1.weight", &shape, Initialization::kaiming_normal(shape), true)
            .unwrap();
        layer.parameter("bn1.bias", 8, Initialization::Constant(0.0), false).unwrap();
        layer.buffer("bn1.running_var", 8, 1.0).unwrap();
        layer.counter("bn1.num_batches_tracked").unwrap();
        weights
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let draw = |seed, name: &str, before: bool| {
            let weights = Weights::new(seed, &Device::Cpu);
            if before {
                weights.parameter("other", 5, Initialization::Normal(1.0), true).unwrap();
            }
            values(&weights.parameter(name, 5, Initialization::Normal(1.0), true).unwrap().variable)
        };
        assert_eq!(draw(1, "a", false), draw(1, "a", true));
        assert_ne!(draw(1, "a", false), draw(2, "a", false));
        assert_ne!(draw(1, "a", false), draw(1, "b", false));
    }

    #[test]
    fn distributions_have_their_width() {
        let check = |first: Initialization, deviation: f64| {
            let drawn = first.values(3, "w", 3 * CHUNK);
            let square = drawn.iter().map(|x| f64::from(x * x)).sum::<f64>() / drawn.len() as f64;
            assert!((square.sqrt() / deviation - 1.0).abs() < 0.01, "{first:?}: {}", square.sqrt());
        };
        check(Initialization::kaiming_normal([64, 32, 3, 3]), (2.0 / 576.0_f64).sqrt());
        check(Initialization::linear(100), 0.1 / 3.0_f64.sqrt());
        check(Initialization::xavier_normal([30, 20]), 0.2);
        check(Initialization::Constant(0.5), 0.5);
    }

    #[test]
    fn saved_and_loaded_weights_are_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let weights = some(1);
        let Entry::Buffer(counter) = weights.entries()["layer1.0.bn1.num_batches_tracked"].clone()
        else {
            panic!("a counter is a buffer")
        };
        counter.increment().unwrap();
        weights.save(&first).unwrap();
        let other = some(2);
        other.load(&first).unwrap();
        other.save(&second).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        let counted = other.tensors()["layer1.0.bn1.num_batches_tracked"].to_scalar::<i64>();
        assert_eq!(counted.unwrap(), 1);
    }

    #[test]
    fn a_file_that_does_not_fit_is_told_in_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        some(1).save(&path).unwrap();
        let weights = Weights::new(1, &Device::Cpu);
        let first = Initialization::Constant(0.0);
        weights.parameter("layer1.0.conv1.weight", (8, 3, 1, 1), first, true).unwrap();
        weights.parameter("fc.weight", (2, 8), first, true).unwrap();
        let shown = path.display();
        let expected = format!(
            "weights `{shown}` do not fit the model:\n  \
             `fc.weight` is missing\n  \
             `layer1.0.conv1.weight` is [8, 3, 3, 3], expected [8, 3, 1, 1]"
        );
        let extra = "\n  `layer1.0.bn1.bias` is not in the model\n  \
             `layer1.0.bn1.num_batches_tracked` is not in the model\n  \
             `layer1.0.bn1.running_var` is not in the model";
        assert_eq!(weights.load_from_larger(&path).unwrap_err().to_string(), expected);
        assert_eq!(weights.load(&path).unwrap_err().to_string(), expected + extra);
        assert_eq!(values(&weights.tensors()["fc.weight"]), vec![0.0; 16]);
        let error = weights.load(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read weights `"), "{error}");
    }

    #[test]
    fn a_name_is_taken_once() {
        let weights = some(1);
        let error = weights.buffer("layer1.0.bn1.bias", 1, 0.0).unwrap_err();
        assert_eq!(error.to_string(), "two weights are `layer1.0.bn1.bias`");
    }

    #[test]
    fn counting_needs_no_memory() {
        let weights = Weights::counting();
        let first = Initialization::Normal(1.0);
        weights.parameter("huge", (1 << 20, 1 << 15), first, true).unwrap();
        weights.buffer("mean", 1 << 40, 0.0).unwrap();
        assert_eq!(weights.count(), 1 << 35);
        assert_eq!(weights.parts(), [("huge".to_owned(), 1 << 35)].into());
        assert_eq!(some(1).count(), 8 * 27 + 8);
    }
}
