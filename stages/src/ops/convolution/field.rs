//! Pixels of images as sources and targets of products.

use std::marker::PhantomData;
use std::ops::Range;

use crate::ops::matrix::{Sources, Targets};
use crate::ops::number::Number;

/// Pixels of an image, found from the pixels of a grid that moves over it in steps.
pub(super) struct Field<'a, N> {
    image: &'a [N],
    height: usize,
    width: usize,
    channels: usize,
    /// Images, rows and columns of the grid.
    grid: [usize; 3],
    /// How far the grid's neighbours lie apart in the image, down and right.
    step: [usize; 2],
    /// Where each run starts, from the grid's pixel: rows down, columns right.
    taps: Vec<(isize, isize)>,
    /// The first channel of a run.
    first: usize,
    depth: usize,
    /// A run of zeros, for what lies outside the image.
    zeros: Vec<N>,
}

impl<'a, N: Number> Field<'a, N> {
    /// Views images [N, H, W, C], and maybe a number after them that a run may reach: every pixel, and of each
    /// the channels of a range.
    pub(super) fn new(
        image: &'a [N],
        [images, height, width, channels]: [usize; 4],
        range: Range<usize>,
    ) -> Self {
        let count = images * height * width * channels;
        assert!((count..=count + 1).contains(&image.len()), "{} of {count} numbers", image.len());
        assert!(range.end <= channels, "channel {} of {channels}", range.end);
        Self {
            image,
            height,
            width,
            channels,
            grid: [images, height, width],
            step: [1; 2],
            taps: vec![(0, 0)],
            first: range.start,
            depth: range.len(),
            zeros: vec![N::default(); range.len()],
        }
    }

    /// Finds the pixels from those of a grid (images, rows, columns), so many apart down and right, with
    /// a run for each tap.
    pub(super) fn seen_from(
        self,
        grid: [usize; 3],
        step: [usize; 2],
        taps: Vec<(isize, isize)>,
    ) -> Self {
        Self { grid, step, taps, ..self }
    }

    /// Makes a run this long from a pixel on: over several pixels of a row, where it never leaves it.
    pub(super) fn running(self, depth: usize) -> Self {
        Self { depth, zeros: vec![N::default(); depth], ..self }
    }
}

#[expect(unsafe_code, reason = "hands out pointers into a borrowed image")]
// SAFETY: a run is either `zeros`, of `depth` numbers, or a checked slice of the image.
unsafe impl<N: Number> Sources<N> for Field<'_, N> {
    fn taps(&self) -> usize {
        self.taps.len()
    }
    fn depth(&self) -> usize {
        self.depth
    }
    fn rows(&self) -> usize {
        self.grid.iter().product()
    }
    fn locate(&self, rows: Range<usize>, taps: Range<usize>, table: &mut [*const N]) {
        let [_, grid_height, grid_width] = self.grid;
        let first = rows.start;
        for ((down, right), table) in self.taps[taps].iter().zip(table.chunks_exact_mut(rows.len()))
        {
            let mut x = first % grid_width;
            let mut y = first / grid_width % grid_height;
            let mut image = first / grid_width / grid_height;
            for place in table {
                let row = (y * self.step[0]) as isize + down;
                let column = (x * self.step[1]) as isize + right;
                let inside = (0..self.height as isize).contains(&row)
                    && (0..self.width as isize).contains(&column);
                *place = if inside {
                    let pixel = (image * self.height + row as usize) * self.width + column as usize;
                    self.image[pixel * self.channels + self.first..][..self.depth].as_ptr()
                } else {
                    self.zeros.as_ptr()
                };
                x += 1;
                if x == grid_width {
                    (x, y) = (0, y + 1);
                    if y == grid_height {
                        (y, image) = (0, image + 1);
                    }
                }
            }
        }
    }
}

/// Every so many pixels of an image to write, from one of its first pixels on.
pub(super) struct Phase<'a, N> {
    start: *mut N,
    /// Rows and columns of the image, and channels.
    shape: [usize; 3],
    /// Images, rows and columns that are written.
    pub(super) grid: [usize; 3],
    step: [usize; 2],
    first: [usize; 2],
    /// The channels that are written.
    range: Range<usize>,
    numbers: PhantomData<&'a mut [N]>,
}

#[expect(unsafe_code, reason = "pixels of a borrowed image are written by different threads")]
// SAFETY: the pointer is only handed out, pixel by pixel.
unsafe impl<N: Send> Sync for Phase<'_, N> {}

impl<'a, N> Phase<'a, N> {
    /// Views every `step`-th pixel of images [N, H, W, C] from pixel `first` on, down and right, and
    /// of each the channels of a range.
    pub(super) fn new(
        image: &'a mut [N],
        shape: [usize; 4],
        step: [usize; 2],
        first: [usize; 2],
        range: Range<usize>,
    ) -> Self {
        let [images, height, width, channels] = shape;
        assert_eq!(image.len(), images * height * width * channels, "an image of another shape");
        assert!(range.end <= channels, "channel {} of {channels}", range.end);
        let count =
            |axis: usize, length: usize| length.saturating_sub(first[axis]).div_ceil(step[axis]);
        Self {
            start: image.as_mut_ptr(),
            shape: [height, width, channels],
            grid: [images, count(0, height), count(1, width)],
            step,
            first,
            range,
            numbers: PhantomData,
        }
    }
}

#[expect(unsafe_code, reason = "hands out pointers into a borrowed image")]
// SAFETY: `grid` counts only pixels inside the image, each once; the image is mutably borrowed as
// long as this lives.
unsafe impl<N: Send> Targets<N> for Phase<'_, N> {
    fn columns(&self) -> usize {
        self.range.len()
    }
    fn rows(&self) -> usize {
        self.grid.iter().product()
    }
    fn locate(&self, rows: Range<usize>, table: &mut [*mut N]) {
        assert!(rows.end <= self.rows(), "pixel {} of {}", rows.end, self.rows());
        let [height, width, channels] = self.shape;
        for (place, row) in table.iter_mut().zip(rows) {
            let x = row % self.grid[2] * self.step[1] + self.first[1];
            let y = row / self.grid[2] % self.grid[1] * self.step[0] + self.first[0];
            let image = row / self.grid[2] / self.grid[1];
            let pixel = (image * height + y) * width + x;
            *place = self.start.wrapping_add(pixel * channels + self.range.start);
        }
    }
}
