//! Running averages that optimizers keep for each parameter, and the way to change weights in place.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::NonNegative;
use crate::ops::Gradients;
use crate::weights::Parameter;

/// How many numbers one thread changes at a time.
pub(crate) const CHUNK: usize = 1 << 14;

/// What weight decay applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decayed {
    /// The weights of convolutions and linear layers; neither norms nor biases.
    Weights,
    /// Every parameter, as a plain PyTorch optimizer does.
    All,
}

impl Decayed {
    /// Returns the decay of one parameter.
    pub(crate) fn decay(self, parameter: &Parameter, decay: NonNegative) -> f64 {
        if parameter.decay || self == Self::All { decay.get() } else { 0.0 }
    }
}

/// A running average with the shape of a parameter.
pub(crate) enum Moment {
    /// See [`Kept::Host`].
    Host(Vec<f32>),
    /// See [`Kept::Device`].
    Device(Tensor),
}

#[cfg(any(feature = "cuda", test))]
impl Moment {
    /// Returns one that is a tensor.
    pub(crate) fn on_device(&self) -> Result<&Tensor> {
        match self {
            Self::Device(tensor) => Ok(tensor),
            Self::Host(_) => anyhow::bail!("a moment is kept elsewhere than others"),
        }
    }
}

/// Where moments are kept, and so by what the weights are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In memory: weights on the CPU change in place, in one pass.
    Host,
    /// As tensors: weights change by candle's operators, on any device.
    Device,
}

impl Kept {
    /// Returns what suits a device.
    pub(crate) fn on(device: &Device) -> Self {
        if device.is_cpu() { Self::Host } else { Self::Device }
    }

    /// Returns a moment of zeros with the shape of a variable.
    pub(crate) fn zeros(self, variable: &Var) -> Result<Moment> {
        Ok(match self {
            Self::Host => Moment::Host(vec![0.0; variable.elem_count()]),
            Self::Device => Moment::Device(variable.zeros_like()?.detach()),
        })
    }
}

/// Adds a moment to a state, e.g. as `velocity.conv1.weight`.
pub(crate) fn put(
    state: &mut BTreeMap<String, Tensor>,
    what: &str,
    parameter: &Parameter,
    moment: &Moment,
) -> Result<()> {
    let tensor = match moment {
        Moment::Host(values) => {
            Tensor::from_slice(values, parameter.variable.shape(), &Device::Cpu)?
        }
        // a copy: kernels change moments in place
        Moment::Device(tensor) => tensor.copy()?,
    };
    state.insert(format!("{what}.{}", parameter.name), tensor);
    Ok(())
}

/// Moves a moment out of a state.
pub(crate) fn take(
    state: &mut BTreeMap<String, Tensor>,
    what: &str,
    parameter: &Parameter,
    moment: &mut Moment,
) -> Result<()> {
    let name = format!("{what}.{}", parameter.name);
    let tensor =
        state.remove(&name).with_context(|| format!("the optimizer's state has no `{name}`"))?;
    let (found, expected) = (tensor.dims(), parameter.variable.dims());
    ensure!(
        found == expected && tensor.dtype() == DType::F32,
        "`{name}` of the optimizer's state is {found:?} of {:?}, expected {expected:?} of F32",
        tensor.dtype(),
    );
    *moment = match moment {
        Moment::Host(_) => Moment::Host(tensor.flatten_all()?.to_vec1()?),
        // a copy: kernels change moments in place
        Moment::Device(_) => Moment::Device(tensor.to_device(parameter.variable.device())?.copy()?),
    };
    Ok(())
}

/// Refuses a state of other parameters.
pub(crate) fn nothing_left(state: &BTreeMap<String, Tensor>) -> Result<()> {
    match state.keys().next() {
        None => Ok(()),
        Some(name) => anyhow::bail!("the optimizer has no use for `{name}` of the state"),
    }
}

/// Returns the gradient of a parameter: of its shape, f32 and contiguous.
pub(crate) fn gradient_of(parameter: &Parameter, gradients: &Gradients) -> Result<Tensor> {
    let name = &parameter.name;
    let gradient =
        gradients.get(name).with_context(|| format!("parameter `{name}` has no gradient"))?;
    let (found, expected) = (gradient.dims(), parameter.variable.dims());
    ensure!(found == expected, "the gradient of `{name}` is {found:?}, expected {expected:?}");
    Ok(gradient.detach().to_dtype(DType::F32)?.contiguous()?)
}

/// The numbers of a variable, to write, and of its gradient.
pub(crate) type Lent<'a> = (&'a mut [f32], &'a [f32]);

/// Calls `change` once with the numbers of every variable on the CPU and of its gradient, in order.
pub(crate) fn all_in_place(
    pairs: &[(&Var, &Tensor)],
    change: &mut dyn FnMut(Vec<Lent<'_>>),
) -> Result<()> {
    lend(pairs, Vec::new(), change)
}

/// Lends one pair after another, each from within the loan of the one before it: candle lends the
/// memory of a variable to a function alone.
fn lend(
    pairs: &[(&Var, &Tensor)],
    lent: Vec<Lent<'_>>,
    change: &mut dyn FnMut(Vec<Lent<'_>>),
) -> Result<()> {
    let Some(((variable, gradient), rest)) = pairs.split_first() else {
        change(lent);
        return Ok(());
    };
    let mut result = Ok(());
    in_place(variable, gradient, |weights, gradient| {
        // of the shorter loan from here on
        let mut lent: Vec<Lent<'_>> = lent;
        lent.push((weights, gradient));
        result = lend(rest, lent, change);
    })?;
    result
}

/// Calls `change` with the numbers of a variable on the CPU and of its gradient.
fn in_place(
    variable: &Var,
    gradient: &Tensor,
    change: impl FnOnce(&mut [f32], &[f32]),
) -> Result<()> {
    Ok(variable.inplace_op2(gradient, &Change(RefCell::new(Some(change))))?)
}

/// The way candle lends the memory of a variable.
struct Change<F>(RefCell<Option<F>>);

impl<F: FnOnce(&mut [f32], &[f32])> InplaceOp2 for Change<F> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        weights_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(weights), CpuStorage::F32(gradient)) = (weights, gradient) else {
            candle_core::bail!("weights and gradients must be f32");
        };
        let contiguous = || candle_core::Error::RequiresContiguous { op: "optimizer step" }.bt();
        let (start, end) = weights_layout.contiguous_offsets().ok_or_else(contiguous)?;
        let weights = &mut weights[start..end];
        let (start, end) = gradient_layout.contiguous_offsets().ok_or_else(contiguous)?;
        let change = self.0.borrow_mut().take().expect("an operator runs once");
        change(weights, &gradient[start..end]);
        Ok(())
    }
}
