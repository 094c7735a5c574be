//! Rectifiers, part of batch norm's pass: max(x, 0), and the one that stops at 6 as well.

use anyhow::Result;
use candle_core::Tensor;

/// What follows a normalization. The gradient at a limit itself is 0, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rectifier {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Rectifier {
    /// Returns the lowest and the highest that comes out, where there is a limit.
    pub(super) fn limits(self) -> Option<[f32; 2]> {
        match self {
            Self::None => None,
            Self::Relu => Some([0.0, f32::INFINITY]),
            Self::Relu6 => Some([0.0, 6.0]),
        }
    }
}

/// Returns a tensor held within the limits; what is not a number stays.
pub(super) fn rectified(x: &Tensor, rectifier: Rectifier) -> Result<Tensor> {
    let Some([lowest, highest]) = rectifier.limits() else { return Ok(x.clone()) };
    let constant = |value: f32| -> Result<Tensor> { Ok((x.zeros_like()? + f64::from(value))?) };
    let y = x.le(f64::from(lowest))?.where_cond(&constant(lowest)?, x)?;
    if highest == f32::INFINITY {
        return Ok(y);
    }
    Ok(y.ge(f64::from(highest))?.where_cond(&constant(highest)?, &y)?)
}

/// Returns the gradient where the output lies between the limits, and 0 elsewhere.
pub(super) fn masked(gradient: &Tensor, output: &Tensor, rectifier: Rectifier) -> Result<Tensor> {
    let Some([lowest, highest]) = rectifier.limits() else { return Ok(gradient.clone()) };
    let zeros = gradient.zeros_like()?;
    let above = output.gt(f64::from(lowest))?.where_cond(gradient, &zeros)?;
    if highest == f32::INFINITY {
        return Ok(above);
    }
    Ok(output.lt(f64::from(highest))?.where_cond(&above, &zeros)?)
}
