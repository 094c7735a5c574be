//! What flows between operators: an array, and its place on the tape.

use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{DType, Device, Storage, Tensor};

use super::floats::Floats;

/// An array that an operator reads: an activation, a constant or a parameter. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    array: Array,
    tensor: Arc<OnceLock<Tensor>>,
    /// Where on the tape its gradient gathers; nothing where no gradient is wanted.
    pub(super) node: Option<usize>,
}

/// Numbers with a shape, row-major.
#[derive(Clone, Debug)]
pub(super) enum Array {
    /// f32 on the CPU, for our own kernels.
    Host(Host),
    /// Anywhere, for compositions of tensor operations.
    Device(Tensor),
}

/// An f32 array on the CPU.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) shape: Vec<usize>,
    pub(super) floats: Arc<Floats>,
}

impl Value {
    /// Wraps a tensor that needs no gradient, such as a batch of images, NHWC.
    pub(crate) fn constant(tensor: Tensor) -> Self {
        Self::new(Array::of(tensor), None)
    }

    pub(super) fn new(array: Array, node: Option<usize>) -> Self {
        let tensor = Arc::new(OnceLock::new());
        Self { array, tensor, node }
    }

    pub(super) fn array(&self) -> &Array {
        &self.array
    }

    /// Returns its lengths, outermost first.
    pub(crate) fn dims(&self) -> &[usize] {
        self.array.dims()
    }

    /// Returns it as a tensor, outside any graph; a copy is made once where it lives in a buffer
    /// of ours.
    pub(crate) fn tensor(&self) -> &Tensor {
        match &self.array {
            Array::Device(tensor) => tensor,
            Array::Host(host) => self.tensor.get_or_init(|| host.tensor()),
        }
    }
}

impl Array {
    /// Takes a tensor in: f32 on the CPU is copied into a buffer of ours, any other is kept.
    pub(super) fn of(tensor: Tensor) -> Self {
        let hosted = matches!(tensor.device(), Device::Cpu) && tensor.dtype() == DType::F32;
        #[cfg(all(test, not(feature = "cuda")))]
        let hosted = hosted && !super::gpu::emulated();
        if hosted {
            let floats = read(&tensor, Floats::copy).expect("f32 on the CPU can be read");
            return Self::Host(Host::new(tensor.dims().to_vec(), floats));
        }
        Self::Device(tensor.detach())
    }

    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Self::Host(host) => &host.shape,
            Self::Device(tensor) => tensor.dims(),
        }
    }

    /// Returns the lengths of an array of `N` dimensions.
    pub(super) fn lengths<const N: usize>(&self, what: &str) -> Result<[usize; N]> {
        self.dims().try_into().ok().with_context(|| {
            format!("{what} needs {N} dimensions, and was given {:?}", self.dims())
        })
    }

    /// Returns the sum of both, in place where nothing else reads the first.
    pub(super) fn plus(self, other: &Self) -> Result<Self> {
        ensure!(self.dims() == other.dims(), "{:?} and {:?} differ", self.dims(), other.dims());
        match (self, other) {
            (Self::Host(mine), Self::Host(other)) => {
                let mut sum = mine.into_owned();
                super::add::accumulate(&mut sum.1, &other.floats);
                Ok(Self::Host(Host::new(sum.0, sum.1)))
            }
            (Self::Device(mine), Self::Device(other)) => Ok(Self::Device((mine + other)?)),
            _ => bail!("one gradient is on the CPU and one is not"),
        }
    }
}

impl Host {
    pub(super) fn new(shape: Vec<usize>, floats: Floats) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), floats.len());
        Self { shape, floats: Arc::new(floats) }
    }

    fn tensor(&self) -> Tensor {
        Tensor::from_slice(&self.floats, self.shape.as_slice(), &Device::Cpu)
            .expect("a buffer holds as many numbers as its shape says")
    }

    /// Returns the shape and the numbers to write on: its own, or a copy where others read them.
    pub(super) fn into_owned(self) -> (Vec<usize>, Floats) {
        let floats = Arc::try_unwrap(self.floats).unwrap_or_else(|shared| Floats::copy(&shared));
        (self.shape, floats)
    }
}

/// Shows the numbers of an f32 tensor on the CPU to a function, without a copy where they lie in
/// order.
pub(super) fn read<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a tensor of the CPU was expected") };
    let (start, end) = layout.contiguous_offsets().context("a contiguous tensor was expected")?;
    Ok(look(&storage.as_slice::<f32>()?[start..end]))
}
