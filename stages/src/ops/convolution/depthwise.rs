//! Convolution of each channel on its own, on the CPU.
//!
//! A task takes one image and as many channels as a panel is wide. It copies them together, with the
//! zeros around the image, so that the inner loops read whole vectors and need to know no edge.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::host::{Finish, reach};
use crate::ops::floats::{Block, Floats};
use crate::ops::matrix::{Factor, GatherTile, Kernels, StencilSumTile, StencilTile, Target, tiles};

/// A convolution whose groups are single channels.
pub(super) struct Depthwise<'a> {
    geometry: &'a Geometry,
}

/// Pixels of a result that are the same sum over taps of a source.
struct Phase {
    /// The first pixel, the distance between neighbours, and how many there are, down and right.
    first: [usize; 2],
    every: [usize; 2],
    count: [usize; 2],
    /// How far the places of neighbours lie apart in the source.
    step: [usize; 2],
    /// From the top of the window to the bottom; only those that some pixel sees.
    taps: Vec<Tap>,
}

/// A place of the window: where it lies in the source from the pixel's place, and its weight.
struct Tap {
    offset: [isize; 2],
    place: usize,
}

/// How images are laid out for the inner loops.
struct Padded {
    /// Rows and columns that are there.
    inner: [usize; 2],
    /// Zeros above and to the left.
    before: [usize; 2],
    /// Rows and columns with all zeros.
    whole: [usize; 2],
}

impl<'a> Depthwise<'a> {
    /// Takes a convolution that is of this kind.
    pub(super) fn new(geometry: &'a Geometry) -> Option<Self> {
        geometry.is_depthwise().then_some(Self { geometry })
    }

    /// Returns the one phase of the convolution itself.
    fn straight(&self) -> Phase {
        let geometry = self.geometry;
        let taps = (0..geometry.taps()).map(|place| {
            let tap = geometry.tap(place);
            let offset = [0, 1].map(|axis| tap[axis] as isize - geometry.padding[axis] as isize);
            Tap { offset, place }
        });
        Phase {
            first: [0; 2],
            every: [1; 2],
            count: [geometry.rows, geometry.columns],
            step: geometry.stride,
            taps: taps.collect(),
        }
        .seeing([geometry.height, geometry.width])
    }

    /// Returns the phases of the gradient by the images: one for each remainder by the stride.
    fn back(&self) -> Vec<Phase> {
        let geometry = self.geometry;
        let [down, right] = geometry.stride;
        let phases = (0..down * right).map(|phase| {
            let first = [phase / right, phase % right];
            let mut taps = Vec::new();
            for (row, above) in reach(geometry, 0, first[0]).into_iter().rev() {
                for (column, left) in reach(geometry, 1, first[1]).into_iter().rev() {
                    let place = row * geometry.kernel[1] + column;
                    taps.push(Tap { offset: [above, left], place });
                }
            }
            let size = [geometry.height, geometry.width];
            let count = [0, 1]
                .map(|axis| size[axis].saturating_sub(first[axis]).div_ceil(geometry.stride[axis]));
            Phase { first, every: geometry.stride, count, step: [1; 2], taps }
                .seeing([geometry.rows, geometry.columns])
        });
        phases.collect()
    }

    /// Returns the convolution of `x` by `weight` [channels, 1, kernel].
    pub(super) fn forward<N: Factor>(
        &self,
        kernels: &Kernels,
        x: &[N],
        weight: &[f32],
        finish: Finish<'_>,
    ) -> Block<N> {
        self.apply(kernels, x, weight, &[self.straight()], self.sizes(), finish)
    }

    /// Returns the gradient by the images, given that by the result.
    pub(super) fn input_gradient<N: Factor>(
        &self,
        kernels: &Kernels,
        gradient: &[N],
        weight: &[f32],
    ) -> Block<N> {
        let [images, results] = self.sizes();
        let sizes = [results, images];
        self.apply(kernels, gradient, weight, &self.back(), sizes, Finish::default())
    }

    /// Returns rows and columns of the images, and of the result.
    fn sizes(&self) -> [[usize; 2]; 2] {
        let Geometry { height, width, rows, columns, .. } = *self.geometry;
        [[height, width], [rows, columns]]
    }

    /// Computes every phase of a result, given rows and columns of the source and of it.
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    fn apply<N: Factor>(
        &self,
        kernels: &Kernels,
        source: &[N],
        weight: &[f32],
        phases: &[Phase],
        [inner, [rows, columns]]: [[usize; 2]; 2],
        finish: Finish<'_>,
    ) -> Block<N> {
        let (images, channels) = (self.geometry.images, self.geometry.inputs);
        let pixels = inner[0] * inner[1];
        assert_eq!(source.len(), images * pixels * channels, "a source of another shape");
        let padded = Padded::around(inner, phases);
        let (width, blocks) = (kernels.width(), channels.div_ceil(kernels.width()));
        let offsets: Vec<Vec<usize>> =
            phases.iter().map(|phase| padded.offsets(phase, width)).collect();
        let weights: Vec<Floats> = phases
            .iter()
            .map(|phase| packed(phase, weight, channels, self.geometry.taps(), width))
            .collect();
        let mut start = finish.bias.map_or_else(Vec::new, <[f32]>::to_vec);
        start.resize(blocks * width, 0.0);
        let mut y = Block::stale(images * rows * columns * channels);
        let target = Target(y.as_mut_ptr());
        let room = || Floats::zeros(padded.whole[0] * padded.whole[1] * width);
        (0..images * blocks).into_par_iter().for_each_init(room, |room, task| {
            let (image, block) = (task / blocks, task % blocks);
            let count = width.min(channels - block * width);
            let source = &source[image * pixels * channels..][..pixels * channels];
            padded.fill(kernels, room, source, channels, block * width..block * width + count);
            for ((phase, offsets), weights) in phases.iter().zip(&offsets).zip(&weights) {
                let weights = &weights[block * phase.taps.len() * width..];
                for row in 0..phase.count[0] {
                    let seen = phase.seen(row, inner[0]);
                    let lines = &weights[seen.start * width..][..seen.len() * width];
                    let pixel_row = phase.first[0] + row * phase.every[0];
                    for tile in tiles(phase.count[1], kernels.most_rows()) {
                        let place = (row * phase.step[0] * padded.whole[1]
                            + tile.start * phase.step[1])
                            * width;
                        let pixel = (image * rows + pixel_row) * columns
                            + phase.first[1]
                            + tile.start * phase.every[1];
                        // SAFETY: `Padded::around` leaves room for every tap of every pixel, the
                        // weights are those of the taps, and the channels of the pixels of a phase
                        // belong to this task alone.
                        unsafe {
                            let tile_of = StencilTile {
                                source: room[place..].as_ptr(),
                                step: phase.step[1] * width,
                                taps: seen.len(),
                                offsets: offsets[seen.clone()].as_ptr(),
                                weights: lines.as_ptr(),
                                start: start[block * width..][..width].as_ptr(),
                                limits: finish.limits,
                                target: target.at(pixel * channels + block * width),
                                pitch: phase.every[1] * channels,
                                columns: count,
                            };
                            kernels.stencil(tile.len(), &tile_of);
                        }
                    }
                }
            }
        });
        y
    }

    /// Returns the gradient by the weight, [channels, 1, kernel].
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    pub(super) fn weight_gradient<N: Factor>(
        &self,
        kernels: &Kernels,
        x: &[N],
        gradient: &[N],
    ) -> Vec<f32> {
        let Geometry { images, height, width: across, rows, columns, .. } = *self.geometry;
        let channels = self.geometry.inputs;
        let phase = self.straight();
        let padded = Padded::around([height, across], std::slice::from_ref(&phase));
        let (width, blocks) = (kernels.width(), channels.div_ceil(kernels.width()));
        let offsets = padded.offsets(&phase, width);
        let taps = phase.taps.len();
        let beside = Padded::around([rows, columns], &[]);
        let room = || {
            // f32s are read where they lie
            let count = if N::singles(gradient).is_some() { 0 } else { rows * columns * width };
            let given = Floats::stale(count);
            (Floats::zeros(padded.whole[0] * padded.whole[1] * width), given)
        };
        let sums = |(room, given): &mut (Floats, Floats), task: usize| {
            let (image, block) = (task / blocks, task % blocks);
            let count = width.min(channels - block * width);
            let x = &x[image * height * across * channels..][..height * across * channels];
            padded.fill(kernels, room, x, channels, block * width..block * width + count);
            let gradient =
                &gradient[image * rows * columns * channels..][..rows * columns * channels];
            let range = block * width..block * width + count;
            let (gradient, pitch) = match N::singles(gradient) {
                Some(gradient) => (&gradient[range.start..], channels),
                None => {
                    beside.fill(kernels, given, gradient, channels, range);
                    (&given[..], width)
                }
            };
            let mut sums = vec![0.0; taps * width];
            for tile in tiles(taps, kernels.most_rows()) {
                let tile_of = StencilSumTile {
                    source: room.as_ptr(),
                    step: phase.step[1] * width,
                    row_step: phase.step[0] * padded.whole[1] * width,
                    offsets: offsets[tile.clone()].as_ptr(),
                    size: [rows, columns],
                    gradient: gradient.as_ptr(),
                    pitch,
                    columns: count,
                    target: sums[tile.start * width..].as_mut_ptr(),
                };
                // SAFETY: `Padded::around` leaves room for every tap of every pixel; the last pixel
                // of the gradient still has `count` numbers; the sums hold every tap.
                unsafe { kernels.stencil_sum(tile.len(), &tile_of) }
            }
            sums
        };
        let parts: Vec<Vec<f32>> =
            (0..images * blocks).into_par_iter().map_init(room, sums).collect();
        let mut weight = vec![0.0; channels * self.geometry.taps()];
        weight.par_chunks_mut(self.geometry.taps()).enumerate().for_each(|(channel, weight)| {
            let (block, lane) = (channel / width, channel % width);
            for (index, tap) in phase.taps.iter().enumerate() {
                let of =
                    |image: usize| f64::from(parts[image * blocks + block][index * width + lane]);
                weight[tap.place] = (0..images).map(of).sum::<f64>() as f32;
            }
        });
        weight
    }
}

impl Phase {
    /// Leaves out the taps that lie outside a source of this size wherever the window stands.
    fn seeing(mut self, size: [usize; 2]) -> Self {
        self.taps.retain(|tap| {
            (0..2).all(|axis| {
                (0..self.count[axis]).any(|number| {
                    let place = (number * self.step[axis]) as isize + tap.offset[axis];
                    (0..size[axis] as isize).contains(&place)
                })
            })
        });
        self
    }

    /// Returns the taps that do not lie above or below a source of this height.
    fn seen(&self, row: usize, height: usize) -> Range<usize> {
        let place = |tap: &Tap| (row * self.step[0]) as isize + tap.offset[0];
        let start = self.taps.partition_point(|tap| place(tap) < 0);
        start..self.taps.partition_point(|tap| place(tap) < height as isize).max(start)
    }
}

impl Padded {
    /// Returns the zeros that images of this size need around them.
    fn around(inner: [usize; 2], phases: &[Phase]) -> Self {
        let (mut before, mut whole) = ([0; 2], inner);
        for axis in 0..2 {
            let taps =
                || phases.iter().flat_map(|phase| phase.taps.iter().map(move |t| (phase, t)));
            let above = taps().map(|(_, tap)| -tap.offset[axis]).max().unwrap_or(0).max(0);
            before[axis] = above as usize;
            let last = taps().map(|(phase, tap)| {
                let last = (phase.count[axis].max(1) - 1) * phase.step[axis];
                (last as isize + tap.offset[axis] + above + 1) as usize
            });
            // where no tap is seen at all, the place itself is still named
            let places = phases.iter().map(|p| p.count[axis].max(1) * p.step[axis]);
            whole[axis] = last.chain(places).max().unwrap_or(0).max(inner[axis] + before[axis]);
        }
        Self { inner, before, whole }
    }

    /// Returns how far from a pixel's place each tap lies, in numbers.
    fn offsets(&self, phase: &Phase, width: usize) -> Vec<usize> {
        let offset = |tap: &Tap| {
            let [down, right] =
                [0, 1].map(|axis| (tap.offset[axis] + self.before[axis] as isize) as usize);
            (down * self.whole[1] + right) * width
        };
        phase.taps.iter().map(offset).collect()
    }

    /// Copies some channels of an image into the middle of the room.
    #[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
    fn fill<N: Factor>(
        &self,
        kernels: &Kernels,
        room: &mut [f32],
        image: &[N],
        channels: usize,
        range: Range<usize>,
    ) {
        let width = kernels.width();
        let [height, across] = self.inner;
        for row in 0..height {
            let from = &image[row * across * channels..][..across * channels][range.start..];
            let place = (row + self.before[0]) * self.whole[1] + self.before[1];
            let to = &mut room[place * width..][..across * width];
            // SAFETY: the row's last pixel still has the channels of the range, and there is room
            // for as many pixels as wide as a panel.
            unsafe {
                kernels.gather(&GatherTile {
                    count: across,
                    source: from.as_ptr(),
                    pitch: channels,
                    columns: range.len(),
                    target: to.as_mut_ptr(),
                });
            }
        }
    }
}

/// Lays out weights [channels, 1, kernel] as `[block][tap][width]`.
fn packed(phase: &Phase, weight: &[f32], channels: usize, places: usize, width: usize) -> Floats {
    let taps = phase.taps.len();
    let mut packed = Floats::zeros(channels.div_ceil(width) * taps * width);
    for channel in 0..channels {
        let block = &mut packed[channel / width * taps * width..][..taps * width];
        for (line, tap) in block.chunks_exact_mut(width).zip(&phase.taps) {
            line[channel % width] = weight[channel * places + tap.place];
        }
    }
    packed
}
