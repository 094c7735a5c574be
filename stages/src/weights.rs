//! Named weights whose first values depend only on a seed and their names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{DType, Device, Shape, Tensor, Var};
use rayon::prelude::*;

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
    /// None: only the shapes matter, and every value is a zero that the system has yet to provide.
    seed: Option<u64>,
    device: Device,
    entries: Mutex<BTreeMap<String, Entry>>,
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

    /// Starts an empty set that only counts: values are zeros that take no time and no memory.
    pub(crate) fn counting() -> Self {
        Self::with(None, &Device::Cpu)
    }

    fn with(seed: Option<u64>, device: &Device) -> Self {
        let shared = Shared { seed, device: device.clone(), entries: Mutex::default() };
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
        let variable = match self.shared.seed {
            None => Var::zeros(shape, DType::F32, self.device())?,
            Some(seed) => {
                let values = first.values(seed, &name, shape.elem_count());
                Var::from_vec(values, shape, self.device())?
            }
        };
        let parameter = Parameter { name, variable, decay };
        self.insert(&parameter.name, Entry::Parameter(parameter.clone()))?;
        Ok(parameter)
    }

    /// Makes a tensor that is saved but not trained, full of one value.
    ///
    /// # Errors
    ///
    /// As [`Self::parameter`].
    pub(crate) fn buffer(&self, name: &str, shape: impl Into<Shape>, value: f32) -> Result<Buffer> {
        let shape = shape.into();
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

    /// Returns how many numbers are trained.
    pub(crate) fn count(&self) -> u64 {
        self.trainable().iter().map(|each| each.variable.elem_count() as u64).sum()
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
        let mut found = candle_core::safetensors::load(path, &Device::Cpu)
            .with_context(|| format!("cannot read weights `{}`", path.display()))?;
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
            bail!("weights `{}` do not fit the model:\n  {shown}{more}", path.display());
        }
        for (variable, tensor) in values {
            variable.set(&tensor.to_dtype(variable.dtype())?.to_device(variable.device())?)?;
        }
        Ok(())
    }
}
