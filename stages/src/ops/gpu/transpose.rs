//! Matrices with their rows and columns exchanged on a GPU.

use anyhow::Result;
use candle_core::{Shape, Tensor};

use super::BLOCK;
use super::launch::{Argument::Count, address, filled, launch, name_of};

/// The side of a tile, as the kernel has it.
const SIDE: usize = 32;

/// Exchanges the rows and columns of every matrix of this size, and gives the array a shape.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn transposed(
    x: &Tensor,
    [rows, columns]: [usize; 2],
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = filled(x.device(), x.dtype(), shape)?;
    let tiles = rows.div_ceil(SIDE) * columns.div_ceil(SIDE);
    let blocks = x.elem_count() / (rows * columns) * tiles;
    let arguments = [Count(rows), Count(columns), address(&x)?, address(&y)?];
    launch(x.device(), &name_of("transpose", x.dtype())?, blocks * BLOCK, &arguments)?;
    Ok(y)
}
