//! How blocks lie over [rows, channels], as the kernels have it (tiles.cuh), and how sums over rows are cut.

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::BLOCK;
use super::launch::{Argument, Argument::Count, address, filled, launch, name_of};

/// Numbers that a kernel reads at once where they lie at a multiple of so many times their size.
const AT_ONCE: usize = 8;
/// Rows that a thread fetches before it opens the first, as the kernels have it.
const ROWS: usize = 4;
/// Blocks of a kernel without sums that keep a large GPU busy: with more each would spend its time on where it is.
const MAPPING: usize = 2048;
/// The least rows that a thread adds up.
const LEAST: usize = 8;
/// Blocks that keep a large GPU busy with sums. It decides their bytes, so it is the same on every GPU.
const BUSY: usize = 512;
/// Columns that a block adds up which folds lines, as the kernels have it.
const COLUMNS: usize = 8;

/// An array of [rows, channels] as blocks lie over it.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Tiles<'a> {
    device: &'a Device,
    dtype: DType,
    pub(in crate::ops) rows: usize,
    pub(in crate::ops) channels: usize,
    /// Whether numbers are read by eights.
    wide: bool,
}

impl<'a> Tiles<'a> {
    /// Lays blocks over an array, and over others of its type and lengths that are read or written beside it.
    ///
    /// # Errors
    ///
    /// When one is not where kernels compute, not contiguous, or of another type or length.
    pub(in crate::ops) fn new(
        x: &'a Tensor,
        channels: usize,
        others: &[Option<&Tensor>],
    ) -> Result<Self> {
        for other in others.iter().flatten() {
            ensure!(
                other.dtype() == x.dtype() && other.elem_count() == x.elem_count(),
                "{:?} {:?} beside {:?} {:?}",
                other.dtype(),
                other.dims(),
                x.dtype(),
                x.dims()
            );
        }
        let arrays = [x].into_iter().chain(others.iter().copied().flatten());
        let wide = channels.is_multiple_of(AT_ONCE) && are_aligned(arrays)?;
        Ok(Self {
            device: x.device(),
            dtype: x.dtype(),
            rows: x.elem_count() / channels.max(1),
            channels,
            wide,
        })
    }

    /// Returns the blocks side by side, and the rows of each.
    fn lie(&self) -> (usize, usize) {
        let vectors = self.channels / if self.wide { AT_ONCE } else { 1 };
        let across = vectors.clamp(1, BLOCK);
        (vectors.div_ceil(across), BLOCK / across)
    }

    /// Returns how many parts sums over the rows are cut into.
    pub(in crate::ops) fn parts(&self) -> usize {
        let (tiles, lanes) = self.lie();
        self.rows.div_ceil(lanes * LEAST).clamp(1, (BUSY / tiles).max(1))
    }

    /// Launches a kernel whose threads know nothing of each other; `rest` follows rows, channels and parts.
    ///
    /// # Errors
    ///
    /// When the driver refuses it.
    pub(in crate::ops) fn map(&self, kernel: &str, rest: &[Argument]) -> Result<()> {
        let (tiles, lanes) = self.lie();
        let parts = self.rows.div_ceil(lanes * ROWS).clamp(1, (MAPPING / tiles).max(1));
        self.over(kernel, tiles, parts, rest)
    }

    /// Launches a kernel that adds up the rows of each part; `rest` follows rows, channels and parts.
    ///
    /// # Errors
    ///
    /// When the driver refuses it.
    pub(in crate::ops) fn sum(&self, kernel: &str, rest: &[Argument]) -> Result<()> {
        self.over(kernel, self.lie().0, self.parts(), rest)
    }

    fn over(&self, kernel: &str, tiles: usize, parts: usize, rest: &[Argument]) -> Result<()> {
        let sizes = [Count(self.rows), Count(self.channels), Count(parts)];
        let threads = tiles * parts * BLOCK;
        launch(self.device, &self.name(kernel)?, threads, &[&sizes, rest].concat())
    }

    /// Launches a kernel some of whose threads share a row; `rest` follows rows, channels and sharers.
    ///
    /// # Errors
    ///
    /// When the driver refuses it.
    pub(in crate::ops) fn share(&self, kernel: &str, rest: &[Argument]) -> Result<()> {
        let vectors = self.channels / if self.wide { AT_ONCE } else { 1 };
        // two vectors each, or more: what is joined afterwards costs as well
        let sharers = vectors.div_ceil(2).next_power_of_two().min(32);
        let blocks = self.rows.div_ceil(BLOCK / sharers);
        let sizes = [Count(self.rows), Count(self.channels), Count(sharers)];
        launch(self.device, &self.name(kernel)?, blocks * BLOCK, &[&sizes, rest].concat())
    }

    /// Returns room for so many sums of each channel in each part.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub(in crate::ops) fn partial(&self, sets: usize) -> Result<Tensor> {
        filled(self.device, DType::F32, (self.parts(), sets * self.channels))
    }

    fn name(&self, kernel: &str) -> Result<String> {
        Ok(name_of(kernel, self.dtype)? + if self.wide { "_by8" } else { "" })
    }
}

/// Returns whether all of these begin where eight numbers can be read at once.
///
/// # Errors
///
/// When one is not where kernels compute, or not contiguous.
pub(in crate::ops) fn are_aligned<'a>(
    arrays: impl IntoIterator<Item = &'a Tensor>,
) -> Result<bool> {
    for array in arrays {
        if let Argument::Address(place, _) = address(array)?
            && !place.is_multiple_of(16)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the name of a kernel for arrays of so many channels, and how many numbers a thread of it has.
///
/// # Errors
///
/// When an array is not where kernels compute, or not contiguous.
pub(in crate::ops) fn name_at_once(
    kernel: &str,
    channels: usize,
    arrays: &[Option<&Tensor>],
) -> Result<(String, usize)> {
    let dtype = arrays.iter().flatten().next().context("a kernel has arrays")?.dtype();
    let name = name_of(kernel, dtype)?;
    if channels.is_multiple_of(AT_ONCE) && are_aligned(arrays.iter().copied().flatten())? {
        return Ok((name + "_by8", AT_ONCE));
    }
    Ok((name, 1))
}

/// Launches a kernel with a thread for each number, or each eight; the arrays follow the count of all.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn each(kernel: &str, arrays: &[&Tensor]) -> Result<()> {
    let first = arrays.first().context("a kernel has arrays")?;
    let all = first.elem_count();
    let every: Vec<Option<&Tensor>> = arrays.iter().copied().map(Some).collect();
    let (name, at_once) = name_at_once(kernel, all, &every)?;
    let mut arguments = vec![Count(all)];
    for array in arrays {
        arguments.push(address(array)?);
    }
    launch(first.device(), &name, all / at_once, &arguments)
}

/// Adds up lines of sums [lines, width] in a fixed order, to [width].
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn folded(partial: &Tensor, width: usize) -> Result<Tensor> {
    let sums = filled(partial.device(), DType::F32, width)?;
    let lines = partial.elem_count() / width.max(1);
    let arguments = [Count(lines), Count(width), address(partial)?, address(&sums)?];
    launch(partial.device(), "fold", of_columns(width), &arguments)?;
    Ok(sums)
}

/// Returns the threads of a kernel whose blocks fold some columns each.
pub(in crate::ops) fn of_columns(width: usize) -> usize {
    width.div_ceil(COLUMNS) * BLOCK
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{BUSY, Tiles};

    #[test]
    fn blocks_have_every_row_and_channel() {
        let x = Tensor::zeros(1, DType::BF16, &Device::Cpu).unwrap();
        for (rows, channels, wide) in [
            (1, 1, false),
            (2, 512, true),
            (12_544, 256, true),
            (3_211_264, 64, true),
            (50_176, 80, true),
            (4096, 4096, true),
            (9, 7001, false),
        ] {
            let tiles = Tiles { device: x.device(), dtype: x.dtype(), rows, channels, wide };
            let ((across, lanes), parts) = (tiles.lie(), tiles.parts());
            let vectors = channels / if wide { 8 } else { 1 };
            assert!(across * 256 >= vectors && lanes * vectors.min(256) <= 256, "{tiles:?}");
            assert!(parts >= 1 && (parts == 1 || parts * across <= BUSY), "{tiles:?}");
            assert!(parts <= rows.div_ceil(lanes), "{tiles:?}");
        }
    }
}
