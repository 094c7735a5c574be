//! Cuts out a part of random area and shape and scales it to the whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augmentation, check_interval};
use crate::change::{Change, Rectangle};
use crate::data::Picture;
use crate::kind::Complaint;
use crate::rng::Random;

/// Cuts out a part of random area and shape and scales it to the whole, as torchvision's
/// `RandomResizedCrop` does (bilinear; no part is larger than the whole, so that antialiasing
/// changes nothing).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RandomResizedCrop {
    /// The lowest and highest share of the area, above 0 and at most 1.
    #[serde(default = "default_scale")]
    scale: [f64; 2],
    /// The lowest and highest width over height of the part.
    #[serde(default = "default_ratio")]
    ratio: [f64; 2],
}

fn default_scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

impl Augmentation for RandomResizedCrop {
    fn draw(&self, [height, width]: [usize; 2], random: &mut Random) -> Change {
        Change::Stretch(self.part(height, width, random))
    }

    fn check(&self) -> Vec<Complaint> {
        let scale = check_interval("random-resized-crop.scale", self.scale, 1.0);
        let ratio = check_interval("random-resized-crop.ratio", self.ratio, f64::INFINITY);
        scale.into_iter().chain(ratio).collect()
    }
}

impl RandomResizedCrop {
    /// Draws the part: ten tries of area and shape, then the largest central part whose shape is
    /// allowed.
    fn part(&self, height: usize, width: usize, random: &mut Random) -> Rectangle {
        let (h, w) = (height as f64, width as f64);
        for _ in 0..10 {
            let area = h * w * random.between(self.scale[0], self.scale[1]);
            let ratio = random.between(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let part_width = (area * ratio).sqrt().round_ties_even();
            let part_height = (area / ratio).sqrt().round_ties_even();
            if (1.0..=w).contains(&part_width) && (1.0..=h).contains(&part_height) {
                let (part_width, part_height) = (part_width as usize, part_height as usize);
                return Rectangle {
                    top: random.below((height - part_height + 1) as u64) as usize,
                    left: random.below((width - part_width + 1) as u64) as usize,
                    height: part_height,
                    width: part_width,
                };
            }
        }
        let whole = w / h;
        let (part_height, part_width) = if whole < self.ratio[0] {
            ((w / self.ratio[0]).round_ties_even().max(1.0) as usize, width)
        } else if whole > self.ratio[1] {
            (height, (h * self.ratio[1]).round_ties_even().max(1.0) as usize)
        } else {
            (height, width)
        };
        Rectangle {
            top: (height - part_height) / 2,
            left: (width - part_width) / 2,
            height: part_height,
            width: part_width,
        }
    }
}

/// Where an output row or column comes from: two neighbours, and the share of the second.
#[derive(Clone, Copy)]
struct Mix {
    first: usize,
    second: usize,
    share: f32,
}

/// Spreads `length` positions over `size` (half-pixel centres, edges repeated).
fn spread(length: usize, size: usize) -> Vec<Mix> {
    let step = length as f64 / size as f64;
    (0..size)
        .map(|position| {
            let at = ((position as f64 + 0.5) * step - 0.5).max(0.0);
            let first = (at as usize).min(length - 1);
            let second = (first + 1).min(length - 1);
            Mix { first, second, share: (at - first as f64) as f32 }
        })
        .collect()
}

/// Scales a part of a picture to the size of the whole, bilinear.
pub(super) fn stretch(picture: Picture, part: Rectangle) -> Picture {
    let (height, width) = (picture.height, picture.width);
    if (part.height, part.width) == (height, width) {
        return picture;
    }
    let columns = spread(part.width, width);
    let mut pixels = vec![0.0; picture.pixels.len()];
    let mut row = vec![0.0_f32; 3 * part.width];
    for (mix, out) in spread(part.height, height).iter().zip(pixels.chunks_exact_mut(3 * width)) {
        let source = |y: usize| {
            let start = 3 * ((part.top + y) * width + part.left);
            &picture.pixels[start..start + 3 * part.width]
        };
        for ((to, &a), &b) in row.iter_mut().zip(source(mix.first)).zip(source(mix.second)) {
            *to = a + mix.share * (b - a);
        }
        for (column, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
            let (first, second) = (&row[3 * column.first..][..3], &row[3 * column.second..][..3]);
            for channel in 0..3 {
                let (a, b) = (first[channel], second[channel]);
                pixel[channel] = (a + column.share * (b - a)).clamp(0.0, 1.0);
            }
        }
    }
    Picture { height, width, pixels }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::{RandomResizedCrop, Rectangle, default_ratio, default_scale, stretch};
    use crate::data::golden::{check_picture, picture, starting_with};
    use crate::rng::Random;

    #[test]
    fn pixels_are_those_of_torchvision() {
        for (part, want) in starting_with("crop ") {
            let numbers: Vec<usize> = part.split(' ').map(|one| one.parse().unwrap()).collect();
            let [top, left, height, width] = numbers[..] else { panic!("{part}") };
            let stretched = stretch(picture(), Rectangle { top, left, height, width });
            check_picture(&part, &stretched, &want, 1e-6);
        }
    }

    /// The means are those of 20,000 draws of torchvision's `RandomResizedCrop.get_params`.
    #[test]
    fn parts_lie_inside_and_are_drawn_as_torchvision_does() {
        let crop = RandomResizedCrop { scale: default_scale(), ratio: default_ratio() };
        let mut random = Random::new(1, "crop", &[]);
        let mut sums = [0; 4];
        for _ in 0..20_000 {
            let part = crop.part(64, 48, &mut random);
            assert!(part.top + part.height <= 64 && part.left + part.width <= 48);
            let ratio = part.width as f64 / part.height as f64;
            assert!((0.68..1.45).contains(&ratio), "{part:?}");
            let drawn = [part.top, part.left, part.height, part.width];
            sums.iter_mut().zip(drawn).for_each(|(sum, one)| *sum += one);
        }
        let means = sums.map(|sum| sum as f64 / 20_000.0);
        for (mean, want) in means.iter().zip([13.90, 6.54, 36.42, 34.89]) {
            assert!((mean - want).abs() < 0.5, "{means:?}");
        }
    }

    #[test]
    fn a_shape_that_never_fits_falls_back_to_the_centre() {
        let wide = RandomResizedCrop { scale: [1.0, 1.0], ratio: [2.0, 2.0] };
        let part = wide.part(40, 40, &mut Random::new(1, "crop", &[]));
        assert_eq!(part, Rectangle { top: 10, left: 0, height: 20, width: 40 });
    }

    #[test]
    fn a_part_of_one_colour_becomes_that_colour() {
        let mut picture = noise(8, 8, 2);
        for y in 2..5 {
            picture.pixels[3 * (8 * y + 1)..3 * (8 * y + 4)].fill(0.25);
        }
        let part = Rectangle { top: 2, left: 1, height: 3, width: 3 };
        assert!(stretch(picture, part).pixels.iter().all(|&x| x == 0.25));
    }
}
