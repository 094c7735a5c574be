//! What flows between operators: an array, and its place on the tape.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{DType, Device, Storage, Tensor, WithDType};
use half::bf16;

#[cfg(any(feature = "cuda", test))]
use super::batch_norm::Joint;
use super::floats::Block;
use super::number::Number;
#[cfg(any(feature = "cuda", test))]
use super::rectifier::Rectifier;

/// An array that an operator reads: an activation, a constant or a parameter. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    array: Array,
    tensor: Arc<OnceLock<Tensor>>,
    /// Where on the tape its gradient gathers; nothing where no gradient is wanted.
    pub(super) node: Option<usize>,
    recipe: Option<Recipe>,
    #[cfg(any(feature = "cuda", test))]
    joint: Option<Rc<Joint>>,
}

/// Computes an array again from what the tape keeps anyway: the same bytes.
#[derive(Clone)]
pub(super) struct Recipe(Rc<dyn Fn() -> Result<Array>>);

/// What an operator keeps of a value for the way back.
pub(super) enum Kept {
    /// The value.
    Value(Value),
    /// How to compute it again, and its node.
    Recipe(Recipe, Option<usize>),
}

/// Numbers with a shape, row-major.
#[derive(Clone, Debug)]
pub(super) enum Array {
    /// f32 on the CPU, for our own kernels.
    Host(Host<f32>),
    /// bf16 on the CPU, likewise.
    Half(Host<bf16>),
    /// Anywhere, for compositions of tensor operations.
    Device(Tensor),
}

/// An array on the CPU.
#[derive(Clone, Debug)]
pub(super) struct Host<N: Number> {
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Arc<Block<N>>,
}

impl Value {
    /// Wraps a tensor that needs no gradient, such as a batch of images, NHWC.
    pub(crate) fn constant(tensor: Tensor) -> Self {
        Self::new(Array::of(tensor), None)
    }

    pub(super) fn new(array: Array, node: Option<usize>) -> Self {
        let tensor = Arc::new(OnceLock::new());
        Self {
            array,
            tensor,
            node,
            recipe: None,
            #[cfg(any(feature = "cuda", test))]
            joint: None,
        }
    }

    /// Lets those who read it keep the recipe in its place.
    pub(super) fn made_by(self, recipe: Option<Recipe>) -> Self {
        Self { recipe, ..self }
    }

    /// Tells a norm that takes it what the norm that gave it knows.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn joined_by(self, joint: Option<Rc<Joint>>) -> Self {
        Self { joint, ..self }
    }

    /// Returns what the norm that gave it told of it.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn joint(&self) -> Option<&Joint> {
        self.joint.as_deref()
    }

    /// Returns what to keep of it for the way back.
    pub(super) fn kept(&self) -> Kept {
        match &self.recipe {
            Some(recipe) => Kept::Recipe(recipe.clone(), self.node),
            None => Kept::Value(self.clone()),
        }
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
            Array::Half(host) => self.tensor.get_or_init(|| host.tensor()),
        }
    }
}

impl Recipe {
    pub(super) fn new(make: impl Fn() -> Result<Array> + 'static) -> Self {
        Self(Rc::new(make))
    }
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recipe")
    }
}

impl Kept {
    /// Returns the value, computed again where only its recipe was kept.
    pub(super) fn value(self) -> Result<Value> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Recipe(Recipe(make), node) => Ok(Value::new(make()?, node)),
        }
    }
}

impl Array {
    /// Takes a tensor in: f32 and bf16 on the CPU are copied into a buffer of ours, any other is kept.
    pub(super) fn of(tensor: Tensor) -> Self {
        let hosted = matches!(tensor.device(), Device::Cpu);
        #[cfg(all(test, not(feature = "cuda")))]
        let hosted = hosted && !super::gpu::emulated();
        match tensor.dtype() {
            DType::F32 if hosted => Self::Host(Host::of(&tensor)),
            DType::BF16 if hosted => Self::Half(Host::of(&tensor)),
            _ => Self::Device(tensor.detach()),
        }
    }

    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Self::Host(host) => &host.shape,
            Self::Half(host) => &host.shape,
            Self::Device(tensor) => tensor.dims(),
        }
    }

    /// Returns the lengths of an array of `N` dimensions.
    pub(super) fn lengths<const N: usize>(&self, what: &str) -> Result<[usize; N]> {
        self.dims().try_into().ok().with_context(|| {
            format!("{what} needs {N} dimensions, and was given {:?}", self.dims())
        })
    }

    /// Returns the sum of both, on the CPU in place where nothing else reads the first.
    pub(super) fn plus(self, other: &Self) -> Result<Self> {
        ensure!(self.dims() == other.dims(), "{:?} and {:?} differ", self.dims(), other.dims());
        match (self, other) {
            (Self::Host(mine), Self::Host(other)) => Ok(Self::Host(mine.plus(other))),
            (Self::Half(mine), Self::Half(other)) => Ok(Self::Half(mine.plus(other))),
            #[cfg(any(feature = "cuda", test))]
            (Self::Device(mine), Self::Device(other)) if super::gpu::takes(&mine) => {
                let sum = super::gpu::finish(&mine, None, Some(other), Rectifier::None)?;
                Ok(Self::Device(sum))
            }
            (Self::Device(mine), Self::Device(other)) => Ok(Self::Device((mine + other)?)),
            _ => bail!("two gradients of one value are of different kinds"),
        }
    }
}

impl<N: Number> Host<N> {
    pub(super) fn new(shape: Vec<usize>, numbers: Block<N>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), numbers.len());
        Self { shape, numbers: Arc::new(numbers) }
    }

    fn of(tensor: &Tensor) -> Self {
        let numbers = read(tensor, Block::copy).expect("numbers on the CPU can be read");
        Self::new(tensor.dims().to_vec(), numbers)
    }

    fn tensor(&self) -> Tensor {
        Tensor::from_slice(&self.numbers, self.shape.as_slice(), &Device::Cpu)
            .expect("a buffer holds as many numbers as its shape says")
    }

    fn plus(self, other: &Self) -> Self {
        let (shape, mut sum) = self.into_owned();
        super::add::accumulate(&mut sum, &other.numbers);
        Self::new(shape, sum)
    }

    /// Returns the shape and the numbers to write on: its own, or a copy where others read them.
    pub(super) fn into_owned(self) -> (Vec<usize>, Block<N>) {
        let numbers = Arc::try_unwrap(self.numbers).unwrap_or_else(|shared| Block::copy(&shared));
        (self.shape, numbers)
    }
}

/// Shows the numbers of a tensor on the CPU to a function, without a copy where they lie in order.
///
/// # Errors
///
/// When they are of another type.
pub(super) fn read<N: WithDType, R>(tensor: &Tensor, look: impl FnOnce(&[N]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a tensor of the CPU was expected") };
    let (start, end) = layout.contiguous_offsets().context("a contiguous tensor was expected")?;
    Ok(look(&storage.as_slice::<N>()?[start..end]))
}
