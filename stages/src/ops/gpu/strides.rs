//! Every so many-th pixel of images on a GPU, and the way back.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::depthwise::sizes;
use super::launch::{Argument, Argument::Count, address, filled, launch};
use super::tiles::name_at_once;
use crate::ops::convolution::Geometry;

/// Returns the pixels [N, rows, columns, C] that a window of one pixel without padding sees.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn gathered(geometry: &Geometry, x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let [images, rows, columns, _] = geometry.output();
    let y = filled(x.device(), x.dtype(), (images, rows, columns, geometry.inputs))?;
    let (name, at_once) = name_at_once("gather", geometry.inputs, &[Some(&x), Some(&y)])?;
    let mut arguments = with_strides(geometry);
    arguments.extend([address(&x)?, address(&y)?]);
    launch(x.device(), &name, y.elem_count() / at_once, &arguments)?;
    Ok(y)
}

/// The gradient by images of which a convolution saw every so many-th pixel: that by these, and 0 by the others.
#[derive(Debug)]
pub(in crate::ops) struct Seen {
    geometry: Geometry,
    pixels: Tensor,
}

impl Seen {
    /// Takes the gradient by the pixels seen.
    pub(in crate::ops) fn new(geometry: &Geometry, pixels: Tensor) -> Self {
        Self { geometry: *geometry, pixels }
    }

    /// Returns the gradient [N, H, W, C] by all pixels, and adds `other` to it.
    ///
    /// # Errors
    ///
    /// When the driver refuses it, or the other is of another type or shape.
    pub(in crate::ops) fn spread(&self, other: Option<&Tensor>) -> Result<Tensor> {
        let Self { geometry, pixels } = self;
        if let Some(other) = other {
            ensure!(
                other.dtype() == pixels.dtype() && other.dims() == geometry.input(),
                "{:?} {:?} is added to a gradient {:?} {:?}",
                other.dtype(),
                other.dims(),
                pixels.dtype(),
                geometry.input()
            );
        }
        let back = filled(pixels.device(), pixels.dtype(), &geometry.input())?;
        let arrays = [Some(pixels), other, Some(&back)];
        let (name, at_once) = name_at_once("spread", geometry.inputs, &arrays)?;
        let mut arguments = with_strides(geometry);
        arguments.extend([
            address(pixels)?,
            Argument::Flag(other.is_some()),
            address(other.unwrap_or(pixels))?,
            address(&back)?,
        ]);
        launch(pixels.device(), &name, back.elem_count() / at_once, &arguments)?;
        Ok(back)
    }

    /// Returns the gradient by the pixels seen.
    pub(in crate::ops) fn pixels(&self) -> &Tensor {
        &self.pixels
    }

    /// Returns the shape of the images.
    pub(in crate::ops) fn shape(&self) -> [usize; 4] {
        self.geometry.input()
    }

    /// Returns where these lie among all: lines and columns of the images, those of the pixels seen, and the strides.
    pub(in crate::ops) fn places(&self) -> [usize; 6] {
        let Geometry { height, width, rows, columns, stride: [down, right], .. } = self.geometry;
        [height, width, rows, columns, down, right]
    }
}

fn with_strides(geometry: &Geometry) -> Vec<Argument> {
    sizes(geometry).into_iter().chain(geometry.stride.map(Count)).collect()
}
