//! The lengths of a windowed operation, checked.

use anyhow::{Result, ensure};

/// A square window that moves over images with zeros around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Geometry {
    pub(in crate::ops) images: usize,
    pub(in crate::ops) height: usize,
    pub(in crate::ops) width: usize,
    pub(in crate::ops) inputs: usize,
    pub(in crate::ops) outputs: usize,
    pub(in crate::ops) kernel: usize,
    pub(in crate::ops) stride: usize,
    pub(in crate::ops) padding: usize,
    /// Rows and columns of the result.
    pub(in crate::ops) rows: usize,
    pub(in crate::ops) columns: usize,
}

impl Geometry {
    /// Works out the result of moving a window over images [N, H, W, C].
    ///
    /// # Errors
    ///
    /// When a length is 0 or the window is larger than the padded image.
    pub(in crate::ops) fn new(
        [images, height, width, inputs]: [usize; 4],
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        ensure!(
            [images, height, width, inputs, outputs, kernel, stride].iter().all(|&n| n > 0),
            "a window of {kernel} by stride {stride} over [{images}, {height}, {width}, {inputs}]"
        );
        ensure!(
            kernel <= height + 2 * padding && kernel <= width + 2 * padding,
            "a window of {kernel} is larger than an image of {height}x{width} with {padding} around"
        );
        let moves = |length: usize| (length + 2 * padding - kernel) / stride + 1;
        let (rows, columns) = (moves(height), moves(width));
        Ok(Self { images, height, width, inputs, outputs, kernel, stride, padding, rows, columns })
    }

    /// Returns the shape of the result, [N, rows, columns, outputs].
    pub(in crate::ops) fn output(&self) -> [usize; 4] {
        [self.images, self.rows, self.columns, self.outputs]
    }

    /// Returns the shape of the images, [N, H, W, C].
    pub(in crate::ops) fn input(&self) -> [usize; 4] {
        [self.images, self.height, self.width, self.inputs]
    }

    /// Returns the places of the window: kernel squared.
    pub(in crate::ops) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }
}

#[cfg(test)]
mod tests {
    use super::Geometry;

    #[test]
    fn lengths_are_those_of_torch() {
        for (size, kernel, stride, padding, expected) in [
            (112, 7, 2, 3, 56),
            (56, 3, 2, 1, 28),
            (7, 3, 2, 1, 4),
            (9, 1, 2, 0, 5),
            (3, 3, 1, 0, 1),
        ] {
            let geometry = Geometry::new([2, size, size + 1, 3], 4, kernel, stride, padding);
            assert_eq!(geometry.unwrap().rows, expected);
        }
        let message = Geometry::new([1, 4, 9, 3], 4, 7, 2, 1).unwrap_err().to_string();
        assert_eq!(message, "a window of 7 is larger than an image of 4x9 with 1 around");
    }
}
