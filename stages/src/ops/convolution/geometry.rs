//! The lengths of a windowed operation, checked.

use anyhow::{Result, ensure};

use crate::ops::profile::Work;

/// How a window moves over an image: down, then right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Pixels from one place of the window to the next.
    pub(crate) stride: [usize; 2],
    /// Zeros on each side of the image.
    pub(crate) padding: [usize; 2],
    /// Pixels from one tap of the window to the next.
    pub(crate) dilation: [usize; 2],
    /// Into how many groups the channels are split, each convolved on its own.
    pub(crate) groups: usize,
}

impl Moves {
    /// Returns moves that are the same down and right, of a window without gaps and one group.
    pub(crate) fn new(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 }
    }

    /// Splits the channels into groups.
    pub(crate) fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

/// A window that moves over images with zeros around them; pairs are down, then right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Geometry {
    pub(in crate::ops) images: usize,
    pub(in crate::ops) height: usize,
    pub(in crate::ops) width: usize,
    pub(in crate::ops) inputs: usize,
    pub(in crate::ops) outputs: usize,
    pub(in crate::ops) kernel: [usize; 2],
    pub(in crate::ops) stride: [usize; 2],
    pub(in crate::ops) padding: [usize; 2],
    pub(in crate::ops) dilation: [usize; 2],
    pub(in crate::ops) groups: usize,
    /// Rows and columns of the result.
    pub(in crate::ops) rows: usize,
    pub(in crate::ops) columns: usize,
}

impl Geometry {
    /// Works out the result of moving a window over images [N, H, W, C].
    ///
    /// # Errors
    ///
    /// When a length is 0, the window is larger than the padded image, or the channels do not fall
    /// into the groups.
    pub(in crate::ops) fn new(
        [images, height, width, inputs]: [usize; 4],
        outputs: usize,
        kernel: [usize; 2],
        moves: Moves,
    ) -> Result<Self> {
        let Moves { stride, padding, dilation, groups } = moves;
        let lengths = [images, height, width, inputs, outputs, groups];
        ensure!(
            [&lengths[..], &kernel, &stride, &dilation].concat().into_iter().all(|n| n > 0),
            "a window of {kernel:?} by stride {stride:?} and dilation {dilation:?} in {groups} \
             groups over [{images}, {height}, {width}, {inputs}]"
        );
        ensure!(
            inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "{inputs} channels and {outputs} results do not fall into {groups} groups"
        );
        let side = |axis: usize, length: usize| -> Result<usize> {
            let (reach, padded) =
                ((kernel[axis] - 1) * dilation[axis] + 1, length + 2 * padding[axis]);
            ensure!(
                reach <= padded,
                "a window of {reach} is larger than an image of {height}x{width} with {} around",
                padding[axis]
            );
            Ok((padded - reach) / stride[axis] + 1)
        };
        let (rows, columns) = (side(0, height)?, side(1, width)?);
        Ok(Self {
            images,
            height,
            width,
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            rows,
            columns,
        })
    }

    /// Returns the shape of the result, [N, rows, columns, outputs].
    pub(in crate::ops) fn output(&self) -> [usize; 4] {
        [self.images, self.rows, self.columns, self.outputs]
    }

    /// Returns the shape of the images, [N, H, W, C].
    pub(in crate::ops) fn input(&self) -> [usize; 4] {
        [self.images, self.height, self.width, self.inputs]
    }

    /// Returns the places of the window.
    pub(in crate::ops) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Returns how far down and right of the window's first place a tap lies.
    pub(in crate::ops) fn tap(&self, tap: usize) -> [usize; 2] {
        [tap / self.kernel[1] * self.dilation[0], tap % self.kernel[1] * self.dilation[1]]
    }

    /// Returns how many products a convolution adds up, on the way back for the gradient by the weight
    /// and, where it is wanted, by the images.
    pub(in crate::ops) fn work(&self, by_images: bool) -> Work {
        let name = if self.is_depthwise() { "depthwise" } else { "convolution" };
        let products = self.output().iter().product::<usize>() * self.taps() * self.inputs;
        let gradients = 1 + usize::from(by_images);
        Work::of_products(name, Some(self.kernel), products / self.groups, gradients)
    }

    /// Returns whether each channel is convolved on its own, into one.
    pub(in crate::ops) fn is_depthwise(&self) -> bool {
        self.groups == self.inputs && self.inputs == self.outputs && self.groups > 1
    }

    /// Returns whether each pixel of the result comes from the same pixel of the image alone.
    pub(in crate::ops) fn is_pointwise(&self) -> bool {
        self.kernel == [1; 2] && self.stride == [1; 2] && self.padding == [0; 2]
    }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, Moves};

    #[test]
    fn lengths_are_those_of_torch() {
        for (size, kernel, stride, padding, dilation, expected) in [
            (112, 7, 2, 3, 1, 56),
            (56, 3, 2, 1, 1, 28),
            (7, 3, 2, 1, 1, 4),
            (9, 1, 2, 0, 1, 5),
            (3, 3, 1, 0, 1, 1),
            (10, 3, 2, 2, 3, 4),
        ] {
            let moves = Moves { dilation: [dilation, 1], ..Moves::new(stride, padding) };
            let geometry = Geometry::new([2, size, size + 1, 3], 4, [kernel, 1], moves);
            assert_eq!(geometry.unwrap().rows, expected);
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let error = |moves| Geometry::new([1, 4, 9, 6], 4, [7, 7], moves).unwrap_err().to_string();
        let larger = "a window of 7 is larger than an image of 4x9 with 1 around";
        assert_eq!(error(Moves::new(2, 1)), larger);
        let groups = "6 channels and 4 results do not fall into 3 groups";
        assert_eq!(error(Moves::new(2, 3).grouped(3)), groups);
        assert!(error(Moves::new(0, 3)).starts_with("a window of [7, 7] by stride [0, 0]"));
    }
}
