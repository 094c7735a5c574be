//! Every weight of a network changed in one launch, and the gradients' common norm limited in a few.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor, WithDType};

use super::BLOCK;
use super::launch::{Argument, Argument::Count, Argument::Float, address, filled, launch};
use super::tiles::folded;
use crate::ops::update::{AdamFactors, DescentFactors};

/// Numbers of a piece, as the kernels have it.
const PIECE: usize = 4096;
/// Threads that share a piece, as the kernels have it.
const SHARERS: usize = BLOCK;

/// A tensor that changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed<'a> {
    /// Its numbers.
    pub(crate) weights: &'a Tensor,
    /// What the loss gains by them.
    pub(crate) gradient: &'a Tensor,
    /// The running averages that there are.
    pub(crate) moments: [Option<&'a Tensor>; 2],
    /// The same numbers in bf16 with the taps before the inputs, [outputs, taps, inputs], where they are kept.
    pub(crate) copy: Option<&'a Tensor>,
}

/// Returns (tensor, first number) of each piece of tensors of these lengths.
fn pieces(lengths: &[usize]) -> Vec<[u32; 2]> {
    let of_one = |(tensor, &length): (usize, &usize)| {
        (0..length).step_by(PIECE).map(move |first| [tensor as u32, first as u32])
    };
    lengths.iter().enumerate().flat_map(of_one).collect()
}

/// Numbers that kernels read, on the device; copied there only when they have changed.
struct Shown<N>(Option<(Vec<N>, Tensor)>);

impl<N> Default for Shown<N> {
    fn default() -> Self {
        Self(None)
    }
}

impl<N: WithDType> Shown<N> {
    fn on(&mut self, device: &Device, numbers: Vec<N>) -> Result<Tensor> {
        if let Some((before, tensor)) = &self.0
            && *before == numbers
            && tensor.device().same_device(device)
        {
            return Ok(tensor.clone());
        }
        let tensor =
            Tensor::from_slice(&numbers, numbers.len(), &Device::Cpu)?.to_device(device)?;
        Ok(self.0.insert((numbers, tensor)).1.clone())
    }
}

/// The tensors of a network as the kernels find them. From step to step most of it stays: lengths always do, and
/// gradients mostly lie where those before them did.
#[derive(Default)]
pub(crate) struct Table {
    pieces: Shown<u32>,
    lengths: Shown<u32>,
    rows: Shown<i64>,
    factors: Shown<f32>,
}

/// A table filled in for one launch.
struct Filled {
    device: Device,
    pieces: usize,
    arrays: [Tensor; 3],
}

impl Table {
    /// As [`crate::ops::descend`], of all tensors at once; `by` has the same rate and momentum for each.
    ///
    /// # Errors
    ///
    /// When shapes differ, or the driver refuses it.
    pub(crate) fn descend(&mut self, changed: &[Changed<'_>], by: &[DescentFactors]) -> Result<()> {
        let Some((table, same)) = self.fill(changed)?.zip(by.first()) else { return Ok(()) };
        let decays = by.iter().map(|by| by.decay).collect();
        let decays = self.factors.on(&table.device, decays)?;
        let DescentFactors { momentum, rate, nesterov, .. } = *same;
        let rest = [address(&decays)?, Float(momentum), Float(rate), Argument::Flag(nesterov)];
        table.launch("descend", &rest)
    }

    /// As [`crate::ops::adapt`], of all tensors at once; `by` differs in how weights shrink alone.
    ///
    /// # Errors
    ///
    /// When shapes differ, or the driver refuses it.
    pub(crate) fn adapt(&mut self, changed: &[Changed<'_>], by: &[AdamFactors]) -> Result<()> {
        let Some((table, same)) = self.fill(changed)?.zip(by.first()) else { return Ok(()) };
        let shrinks = by.iter().map(|by| by.shrink).collect();
        let shrinks = self.factors.on(&table.device, shrinks)?;
        let AdamFactors { keep, take, rate, scale, epsilon, .. } = *same;
        let factors = [keep[0], keep[1], take[0], take[1], rate, scale, epsilon];
        let mut rest = vec![address(&shrinks)?];
        rest.extend(factors.map(Float));
        table.launch("adapt", &rest)
    }

    /// Scales gradients in place so that their common Euclidean norm is at most `limit`. Nothing waits for the GPU.
    ///
    /// # Errors
    ///
    /// When a gradient is not contiguous f32, or the driver refuses it.
    pub(crate) fn shorten(&mut self, gradients: &[&Tensor], limit: f64) -> Result<()> {
        let one =
            |&gradient: &_| Changed { weights: gradient, gradient, moments: [None; 2], copy: None };
        let changed: Vec<Changed<'_>> = gradients.iter().map(one).collect();
        let Some(table) = self.fill(&changed)? else { return Ok(()) };
        let partial = filled(&table.device, DType::F32, (table.pieces, SHARERS))?;
        table.launch("squares", &[address(&partial)?])?;
        let sums = folded(&partial, SHARERS)?;
        let sum = folded(&sums, 1)?;
        table.launch("shorten", &[address(&sum)?, Float(limit as f32)])
    }

    fn fill(&mut self, changed: &[Changed<'_>]) -> Result<Option<Filled>> {
        let Some(first) = changed.first() else { return Ok(None) };
        let device = first.weights.device().clone();
        let lengths: Vec<usize> = changed.iter().map(|one| one.weights.elem_count()).collect();
        let place = |tensor: Option<&Tensor>, dtype: DType| -> Result<i64> {
            let Some(tensor) = tensor else { return Ok(0) };
            ensure!(tensor.dtype() == dtype, "{dtype:?} was expected, not {:?}", tensor.dtype());
            match address(tensor)? {
                Argument::Address(place, _) => Ok(place.cast_signed()),
                other => anyhow::bail!("{other:?} is no address"),
            }
        };
        let mut rows = Vec::with_capacity(7 * changed.len());
        for (Changed { weights, gradient, moments, copy }, &length) in changed.iter().zip(&lengths)
        {
            let all = [Some(*weights), Some(*gradient), moments[0], moments[1], *copy];
            ensure!(
                all.iter().flatten().all(|tensor| tensor.elem_count() == length),
                "weights {:?} and what belongs to them differ in length",
                weights.dims()
            );
            let [_, inputs, taps] = layout(weights);
            rows.extend([
                place(Some(weights), DType::F32)?,
                place(Some(gradient), DType::F32)?,
                place(moments[0], DType::F32)?,
                place(moments[1], DType::F32)?,
                place(*copy, DType::BF16)?,
                inputs as i64,
                taps as i64,
            ]);
        }
        let pieces = pieces(&lengths);
        let count = pieces.len();
        let lengths: Vec<u32> = lengths.iter().map(|&length| length as u32).collect();
        let arrays = [
            self.pieces.on(&device, pieces.into_iter().flatten().collect())?,
            self.lengths.on(&device, lengths)?,
            self.rows.on(&device, rows)?,
        ];
        Ok(Some(Filled { device, pieces: count, arrays }))
    }
}

impl Filled {
    fn launch(&self, kernel: &str, rest: &[Argument]) -> Result<()> {
        let mut arguments = vec![Count(self.pieces)];
        for array in &self.arrays {
            arguments.push(address(array)?);
        }
        arguments.extend(rest);
        launch(&self.device, kernel, self.pieces * SHARERS, &arguments)
    }
}

/// Returns a weight as [outputs, inputs, taps]: of a linear map one tap, of anything else one input as well.
pub(crate) fn layout(weight: &Tensor) -> [usize; 3] {
    match *weight.dims() {
        [outputs, inputs] => [outputs, inputs, 1],
        [outputs, inputs, down, across] => [outputs, inputs, down * across],
        _ => [weight.elem_count(), 1, 1],
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{PIECE, layout, pieces};

    #[test]
    fn pieces_cover_every_number_once() {
        let lengths = [1, PIECE, PIECE + 1, 0, 3 * PIECE - 1];
        let pieces = pieces(&lengths);
        let of = |tensor: u32| -> Vec<u32> {
            pieces.iter().filter(|one| one[0] == tensor).map(|one| one[1]).collect()
        };
        let piece = PIECE as u32;
        assert_eq!([of(0), of(1), of(3)], [vec![0], vec![0], vec![]]);
        assert_eq!((of(2), of(4)), (vec![0, piece], vec![0, piece, 2 * piece]));
    }

    #[test]
    fn weights_have_taps() {
        let layout =
            |shape: &[usize]| layout(&Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
        assert_eq!(layout(&[4, 3, 2, 5]), [4, 3, 10]);
        assert_eq!(layout(&[4, 3]), [4, 3, 1]);
        assert_eq!(layout(&[4]), [4, 1, 1]);
    }
}
