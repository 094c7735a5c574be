//! Convolution through cuDNN: what it is asked for, and which of its algorithms is taken.
//!
//! What needs no GPU is here and tested everywhere; the rest is compiled with the feature `cuda` alone.

#[cfg(feature = "cuda")]
mod calls;
#[cfg(feature = "cuda")]
mod described;
#[cfg(feature = "cuda")]
mod layouts;

use anyhow::{Context as _, Result};

use super::geometry::Geometry;

#[cfg(feature = "cuda")]
pub(super) use self::layouts::{forward, input_gradient, weight_gradient};

/// The most bytes of scratch that an algorithm may ask for. All convolutions share one block of as many
/// as the hungriest of them takes.
const MOST_SCRATCH: usize = 1 << 30;

/// What is computed from which two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    /// The result, from images and weight.
    Forward,
    /// The gradient by the images, from the weight and the gradient by the result.
    ByInput,
    /// The gradient by the weight, from the images and the gradient by the result.
    ByWeight,
}

impl Direction {
    /// Returns what it is called in messages.
    #[cfg(feature = "cuda")]
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "convolution",
            Self::ByInput => "gradient of a convolution by its images",
            Self::ByWeight => "gradient of a convolution by its weight",
        }
    }
}

/// A convolution as cuDNN is told of it; lengths in its order, [N, C, H, W], whatever the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Request {
    images: [i32; 4],
    weight: [i32; 4],
    output: [i32; 4],
    padding: [i32; 2],
    stride: [i32; 2],
    dilation: [i32; 2],
    groups: i32,
}

impl Request {
    /// Describes a convolution.
    ///
    /// # Errors
    ///
    /// When a length, or the numbers of an array, are more than cuDNN counts.
    fn new(geometry: &Geometry) -> Result<Self> {
        let count = |lengths: [usize; 4]| -> Result<[i32; 4]> {
            let most = i32::MAX as usize;
            let product = lengths.iter().try_fold(1_usize, |all, &one| all.checked_mul(one));
            product.filter(|&numbers| numbers <= most).with_context(|| {
                format!("an array of {lengths:?} has more numbers than cuDNN counts: use a smaller batch")
            })?;
            Ok(lengths.map(|length| length as i32))
        };
        let pair = |pair: [usize; 2]| -> Result<[i32; 2]> {
            let [down, right] = pair.map(i32::try_from);
            Ok([down?, right?])
        };
        let Geometry { inputs, outputs, kernel: [down, across], groups, .. } = *geometry;
        let [images, height, width, _] = geometry.input();
        Ok(Self {
            images: count([images, inputs, height, width])?,
            weight: count([outputs, inputs / groups, down, across])?,
            output: count([images, outputs, geometry.rows, geometry.columns])?,
            padding: pair(geometry.padding)?,
            stride: pair(geometry.stride)?,
            dilation: pair(geometry.dilation)?,
            groups: i32::try_from(groups)?,
        })
    }

    /// Returns the shape in our order of what is computed: [N, H, W, C], or the weight's
    /// [out, rows, columns, in of a group].
    fn result(&self, direction: Direction) -> [usize; 4] {
        let [n, c, h, w] = match direction {
            Direction::Forward => self.output,
            Direction::ByInput => self.images,
            Direction::ByWeight => self.weight,
        };
        [n, h, w, c].map(|length| length as usize)
    }

    /// Returns the sizes for a message.
    fn told(&self) -> String {
        let Self { images, weight, stride, padding, dilation, groups, .. } = self;
        format!(
            "images {images:?} (N, C, H, W), weight {weight:?}, stride {stride:?}, padding {padding:?}, dilation \
             {dilation:?}, groups {groups}"
        )
    }
}

/// What cuDNN says of one of its algorithms, the one that it thinks fastest first.
#[derive(Clone, Copy, Debug)]
struct Offer {
    /// Whether it can compute this at all.
    works: bool,
    /// Whether it gives the same bytes each time.
    repeats: bool,
    /// Whether it rounds its inputs no further than their type does.
    exact: bool,
    /// Bytes of scratch.
    scratch: usize,
}

/// Returns the place of the algorithm to take: the first that repeats, is exact and is not too hungry.
///
/// cuDNN's order is worked out from the sizes alone. Measuring would find a faster one now and then, but
/// another one in another run, and with it other bytes.
fn choose(offers: &[Offer]) -> Option<usize> {
    let fits = |offer: &Offer| {
        offer.works && offer.repeats && offer.exact && offer.scratch <= MOST_SCRATCH
    };
    offers.iter().position(fits)
}

#[cfg(test)]
mod tests {
    use super::{Direction, MOST_SCRATCH, Offer, Request, choose};
    use crate::ops::convolution::{Geometry, Moves};

    #[test]
    fn lengths_are_in_the_order_of_cudnn() {
        let moves = Moves { stride: [2, 1], padding: [1, 0], ..Moves::new(1, 0) }.grouped(2);
        let geometry = Geometry::new([5, 9, 8, 6], 4, [3, 2], moves).unwrap();
        let request = Request::new(&geometry).unwrap();
        assert_eq!(request.images, [5, 6, 9, 8]);
        assert_eq!(request.weight, [4, 3, 3, 2]);
        assert_eq!(request.output, [5, 4, 5, 7]);
        assert_eq!(request.result(Direction::Forward), geometry.output());
        assert_eq!(request.result(Direction::ByInput), geometry.input());
        assert_eq!(request.result(Direction::ByWeight), [4, 3, 2, 3]);
        assert_eq!(
            request.told(),
            "images [5, 6, 9, 8] (N, C, H, W), weight [4, 3, 3, 2], stride [2, 1], padding [1, 0], \
             dilation [1, 1], groups 2"
        );
    }

    #[test]
    fn more_than_cudnn_counts_is_an_error() {
        let geometry = Geometry::new([4096, 112, 112, 64], 64, [3, 3], Moves::new(1, 1)).unwrap();
        let error = Request::new(&geometry).unwrap_err().to_string();
        assert!(
            error.ends_with("has more numbers than cuDNN counts: use a smaller batch"),
            "{error}"
        );
    }

    #[test]
    fn the_first_that_repeats_and_fits_is_taken() {
        let good = Offer { works: true, repeats: true, exact: true, scratch: 5 };
        let bad = [
            Offer { works: false, ..good },
            Offer { repeats: false, ..good },
            Offer { exact: false, ..good },
            Offer { scratch: MOST_SCRATCH + 1, ..good },
        ];
        assert_eq!(choose(&bad), None);
        assert_eq!(choose(&[&bad[..], &[good, good]].concat()), Some(4));
    }
}
