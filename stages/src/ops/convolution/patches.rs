//! Convolution of images with few channels on a GPU: the product of their patches, unfolded, and the weight.
//!
//! cuDNN's kernels for such images multiply number by number, and take several times as long as writing the patches
//! and multiplying them does. Its gradients by the weight have no such need.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::geometry::{Geometry, Moves};
use super::pointwise;
use crate::ops::gpu;

/// From so many channels on cuDNN has fast kernels.
const MANY: usize = 8;
/// The most bytes that patches may take.
const MOST_BYTES: usize = 1 << 31;

/// Convolves; nothing where patches are no way to do it.
pub(super) fn forward(geometry: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Option<Tensor>> {
    let Some(product) = product(geometry, x.dtype())? else { return Ok(None) };
    let patches = gpu::patches(geometry, x)?;
    let weight = gpu::turned(geometry, weight, x.dtype(), product.inputs)?;
    pointwise::forward_by(&product, &patches, &weight).map(Some)
}

/// Returns the convolution of the patches, pixel by pixel, that gives the result, if it is to be computed so: where there
/// are few channels in one group, and the patches neither too many numbers to be counted nor too many bytes.
fn product(geometry: &Geometry, dtype: DType) -> Result<Option<Geometry>> {
    if geometry.groups > 1 || geometry.inputs >= MANY {
        return Ok(None);
    }
    let [images, rows, columns, outputs] = geometry.output();
    let patches = [images, rows, columns, gpu::patch_length(geometry)];
    let numbers = patches.iter().try_fold(1_usize, |all, &one| all.checked_mul(one));
    let fits = |numbers: usize| {
        let bytes = numbers.checked_mul(dtype.size_in_bytes());
        numbers <= i32::MAX as usize && bytes.is_some_and(|bytes| bytes <= MOST_BYTES)
    };
    if !numbers.is_some_and(fits) {
        return Ok(None);
    }
    Geometry::new(patches, outputs, [1; 2], Moves::new(1, 0)).map(Some)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::product;
    use crate::ops::convolution::{Geometry, Moves};

    fn stem(images: usize, channels: usize, moves: Moves) -> Geometry {
        Geometry::new([images, 112, 112, channels], 64, [7, 7], moves).unwrap()
    }

    #[test]
    fn few_channels_are_unfolded() {
        let product = product(&stem(2, 3, Moves::new(2, 3)), DType::BF16).unwrap().unwrap();
        assert_eq!(product.input(), [2, 56, 56, 152]);
        assert_eq!(product.output(), [2, 56, 56, 64]);
        assert!(product.is_pointwise());
    }

    #[test]
    fn what_is_too_large_or_has_channels_enough_is_not() {
        let unfolds = |images, channels, moves, dtype| {
            product(&stem(images, channels, moves), dtype).unwrap().is_some()
        };
        assert!(!unfolds(2, 8, Moves::new(2, 3), DType::BF16));
        assert!(!unfolds(2, 4, Moves::new(2, 3).grouped(2), DType::BF16));
        // 112 * 112 patches of 152 numbers an image
        assert!(unfolds(563, 3, Moves::new(1, 3), DType::BF16));
        assert!(!unfolds(564, 3, Moves::new(1, 3), DType::BF16));
        assert!(unfolds(281, 3, Moves::new(1, 3), DType::F32));
        assert!(!unfolds(282, 3, Moves::new(1, 3), DType::F32));
    }
}
