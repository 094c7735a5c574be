//! One image as numbers, the form in which augmentations change it.

/// An RGB image, rows of interleaved pixels, every number in 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    /// Rows.
    pub(crate) height: usize,
    /// Pixels in a row.
    pub(crate) width: usize,
    /// `[height, width, 3]`, row after row.
    pub(crate) pixels: Vec<f32>,
}

/// Every byte as a share of 255; a table is quicker than three divisions a pixel.
const SHARES: [f32; 256] = {
    let mut shares = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        shares[byte] = byte as f32 / 255.0;
        byte += 1;
    }
    shares
};

impl Picture {
    /// Makes a picture from three planes of bytes, `[3, height, width]`, as shards hold them.
    ///
    /// # Panics
    ///
    /// When there are not `3 * height * width` bytes.
    pub(crate) fn from_planes(height: usize, width: usize, planes: &[u8]) -> Self {
        let area = height * width;
        assert_eq!(planes.len(), 3 * area, "three planes of {height}x{width}");
        let (red, rest) = planes.split_at(area);
        let (green, blue) = rest.split_at(area);
        let mut pixels = vec![0.0; 3 * area];
        let channels = red.iter().zip(green).zip(blue);
        for (pixel, ((&r, &g), &b)) in pixels.chunks_exact_mut(3).zip(channels) {
            pixel[0] = SHARES[usize::from(r)];
            pixel[1] = SHARES[usize::from(g)];
            pixel[2] = SHARES[usize::from(b)];
        }
        Self { height, width, pixels }
    }

    /// Writes `(x - mean) / std` of each channel into `out`, `[height, width, 3]`.
    ///
    /// # Panics
    ///
    /// When `out` has another length than the picture.
    pub(crate) fn normalize_into(&self, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
        assert_eq!(out.len(), self.pixels.len(), "one number for each of the picture");
        let scale = std.map(|one| 1.0 / one);
        for (to, from) in out.chunks_exact_mut(3).zip(self.pixels.chunks_exact(3)) {
            for channel in 0..3 {
                to[channel] = (from[channel] - mean[channel]) * scale[channel];
            }
        }
    }

    /// Mirrors the picture left to right, in place.
    pub(crate) fn mirror(&mut self) {
        for row in self.pixels.chunks_exact_mut(3 * self.width) {
            let (mut left, mut right) = (0, 3 * self.width);
            while left + 3 < right {
                right -= 3;
                for channel in 0..3 {
                    row.swap(left + channel, right + channel);
                }
                left += 3;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Picture;

    #[test]
    fn planes_become_interleaved_pixels() {
        let picture = Picture::from_planes(1, 2, &[0, 255, 51, 102, 153, 204]);
        assert_eq!(picture.pixels, [0.0, 0.2, 0.6, 1.0, 0.4, 0.8]);
    }

    #[test]
    fn normalizing_is_per_channel() {
        let picture = Picture::from_planes(1, 2, &[0, 255, 51, 102, 153, 204]);
        let mut out = [0.0; 6];
        picture.normalize_into([0.5, 0.2, 0.6], [0.5, 0.1, 0.2], &mut out);
        for (got, want) in out.iter().zip([-1.0, 0.0, 0.0, 1.0, 2.0, 1.0]) {
            assert!((got - want).abs() < 1e-6, "{out:?}");
        }
    }

    #[test]
    fn a_mirror_swaps_whole_pixels() {
        for width in [1, 2, 3, 6, 7] {
            let planes: Vec<u8> = (0..6 * width).map(|x| (x * 5) as u8).collect();
            let picture = Picture::from_planes(2, width, &planes);
            let mut mirrored = picture.clone();
            mirrored.mirror();
            for y in 0..2 {
                for x in 0..width {
                    let at = |x: usize| 3 * (y * width + x);
                    let other = at(width - 1 - x);
                    assert_eq!(
                        picture.pixels[at(x)..at(x) + 3],
                        mirrored.pixels[other..other + 3],
                        "width {width}"
                    );
                }
            }
        }
    }
}
