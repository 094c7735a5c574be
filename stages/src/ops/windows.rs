//! Windows that move over images, composed of tensor operations for any device.

use anyhow::{Context as _, Result};
use candle_core::Tensor;

use super::convolution::Geometry;

/// Returns the height and width of a padded image in which every window, cut into whole strides,
/// still lies inside.
fn outline(geometry: &Geometry) -> [usize; 2] {
    let reach = |axis: usize, moves: usize| {
        (geometry.kernel[axis] - 1) * geometry.dilation[axis] + moves * geometry.stride[axis]
    };
    [
        reach(0, geometry.rows).max(geometry.height + geometry.padding[0]),
        reach(1, geometry.columns).max(geometry.width + geometry.padding[1]),
    ]
}

/// Puts a constant around images [N, H, W, C].
pub(super) fn padded(geometry: &Geometry, x: &Tensor, around: f32) -> Result<Tensor> {
    let mut x = x.contiguous()?;
    for (axis, whole) in outline(geometry).into_iter().enumerate() {
        let before = geometry.padding[axis];
        let axis = axis + 1;
        let after = whole - before - x.dim(axis)?;
        let border = |length: usize| -> Result<Tensor> {
            let mut shape = x.dims().to_vec();
            shape[axis] = length;
            Ok(Tensor::full(around, shape, x.device())?.to_dtype(x.dtype())?)
        };
        x = Tensor::cat(&[&border(before)?, &x, &border(after)?], axis)?;
    }
    Ok(x)
}

/// Returns what one place of the window sees of padded images: [N, rows, columns, C].
pub(super) fn window(geometry: &Geometry, padded: &Tensor, tap: usize) -> Result<Tensor> {
    let ([down, right], [stride, across]) = (geometry.tap(tap), geometry.stride);
    let [images, rows, columns, _] = geometry.output();
    let cut = padded.narrow(1, down, rows * stride)?.narrow(2, right, columns * across)?;
    let channels = cut.dim(3)?;
    if geometry.stride == [1; 2] {
        return Ok(cut.contiguous()?);
    }
    let cut = cut.reshape(&[images, rows, stride, columns, across, channels][..])?;
    let cut = cut.narrow(2, 0, 1)?.narrow(4, 0, 1)?;
    Ok(cut.reshape((images, rows, columns, channels))?)
}

/// Adds to a sum over padded images what one place of the window sees: the reverse of [`window`].
pub(super) fn add_window(
    geometry: &Geometry,
    sum: Option<Tensor>,
    seen: &Tensor,
    tap: usize,
) -> Result<Tensor> {
    let ([down, right], [stride, across]) = (geometry.tap(tap), geometry.stride);
    let [images, rows, columns, _] = geometry.output();
    let channels = seen.dim(3)?;
    let mut spread = seen.clone();
    if geometry.stride != [1; 2] {
        spread = spread.reshape(&[images, rows, 1, columns, 1, channels][..])?;
        spread = spread.pad_with_zeros(2, 0, stride - 1)?.pad_with_zeros(4, 0, across - 1)?;
        spread = spread.reshape((images, rows * stride, columns * across, channels))?;
    }
    let [height, width] = outline(geometry);
    spread = spread.pad_with_zeros(1, down, height - down - rows * stride)?;
    spread = spread.pad_with_zeros(2, right, width - right - columns * across)?;
    Ok(match sum {
        None => spread,
        Some(sum) => (sum + spread)?,
    })
}

/// Cuts the padding off again.
pub(super) fn cropped(geometry: &Geometry, padded: Option<Tensor>) -> Result<Tensor> {
    let padded = padded.context("a window has at least one place")?;
    let image = padded.narrow(1, geometry.padding[0], geometry.height)?;
    Ok(image.narrow(2, geometry.padding[1], geometry.width)?.contiguous()?)
}
