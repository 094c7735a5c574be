//! Covers a random rectangle.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augmentation, check_interval};
use crate::change::{Change, Cover, Rectangle};
use crate::data::Picture;
use crate::kind::Complaint;
use crate::number::Probability;
use crate::rng::Random;

/// Covers a random rectangle, as torchvision's `RandomErasing` (Zhong et al. 2017, "Random Erasing
/// Data Augmentation").
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Erasing {
    /// How often.
    #[serde(default = "half")]
    probability: Probability,
    /// The lowest and highest share of the area, above 0 and at most 1.
    #[serde(default = "default_scale")]
    scale: [f64; 2],
    /// The lowest and highest height over width of the rectangle.
    #[serde(default = "default_ratio")]
    ratio: [f64; 2],
    /// What covers it.
    #[serde(default)]
    fill: Fill,
}

/// What covers an erased rectangle.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Fill {
    /// A random colour for every pixel.
    #[default]
    Noise,
    /// One grey, from 0 (black) to 1 (white): `{ grey = 0.5 }`.
    Grey(Probability),
}

fn half() -> Probability {
    Probability::new(0.5)
}

fn default_scale() -> [f64; 2] {
    [0.02, 0.33]
}

fn default_ratio() -> [f64; 2] {
    [0.3, 3.3]
}

impl Augmentation for Erasing {
    fn draw(&self, [height, width]: [usize; 2], random: &mut Random) -> Change {
        if random.chance(self.probability.get())
            && let Some(part) = self.part(height, width, random)
        {
            let numbers = 3 * part.height * part.width;
            let with = match self.fill {
                Fill::Grey(grey) => Cover::Grey(grey.get() as f32),
                Fill::Noise => {
                    Cover::Noise((0..numbers).map(|_| random.below(256) as u8).collect())
                }
            };
            return Change::Cover(part, with);
        }
        Change::Nothing
    }

    fn check(&self) -> Vec<Complaint> {
        let scale = check_interval("erasing.scale", self.scale, 1.0);
        let ratio = check_interval("erasing.ratio", self.ratio, f64::INFINITY);
        scale.into_iter().chain(ratio).collect()
    }
}

impl Erasing {
    /// Draws the rectangle, smaller than the picture either way: ten tries, or none.
    fn part(&self, height: usize, width: usize, random: &mut Random) -> Option<Rectangle> {
        for _ in 0..10 {
            let share = random.between(self.scale[0], self.scale[1]);
            let area = (height * width) as f64 * share;
            let ratio = random.between(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let part_height = (area * ratio).sqrt().round_ties_even() as usize;
            let part_width = (area / ratio).sqrt().round_ties_even() as usize;
            if part_height < height && part_width < width {
                return Some(Rectangle {
                    top: random.below((height - part_height + 1) as u64) as usize,
                    left: random.below((width - part_width + 1) as u64) as usize,
                    height: part_height,
                    width: part_width,
                });
            }
        }
        None
    }
}

/// Covers a part of a picture.
pub(super) fn cover(picture: &mut Picture, part: Rectangle, with: &Cover) {
    for row in 0..part.height {
        let start = 3 * ((part.top + row) * picture.width + part.left);
        let pixels = &mut picture.pixels[start..start + 3 * part.width];
        match with {
            Cover::Grey(grey) => pixels.fill(*grey),
            Cover::Noise(noise) => {
                let colours = &noise[3 * row * part.width..];
                for (pixel, colour) in pixels.iter_mut().zip(colours) {
                    *pixel = f32::from(*colour) / 255.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::{Augmentation, Erasing, Fill, default_ratio, default_scale};
    use crate::number::Probability;
    use crate::rng::Random;

    /// The means are those of 20,000 draws of torchvision's `RandomErasing.get_params`.
    #[test]
    fn rectangles_are_drawn_as_torchvision_does() {
        let erasing: Erasing = toml::from_str("").unwrap();
        let mut random = Random::new(1, "erasing", &[]);
        let mut sums = [0; 4];
        for _ in 0..20_000 {
            let part = erasing.part(20, 30, &mut random).unwrap();
            let drawn = [part.top, part.left, part.height, part.width];
            sums.iter_mut().zip(drawn).for_each(|(sum, one)| *sum += one);
        }
        let means = sums.map(|sum| sum as f64 / 20_000.0);
        for (mean, want) in means.iter().zip([5.12, 9.73, 9.76, 10.63]) {
            assert!((mean - want).abs() < 0.25, "{means:?}");
        }
    }

    #[test]
    fn one_whole_rectangle_is_covered() {
        let grey = Fill::Grey(Probability::new(0.123));
        let erasing = Erasing {
            probability: Probability::new(1.0),
            scale: default_scale(),
            ratio: default_ratio(),
            fill: grey,
        };
        let mut random = Random::new(2, "erasing", &[]);
        for _ in 0..200 {
            let covered = erasing.apply(noise(20, 30, 1), &mut random);
            let here: Vec<usize> =
                (0..600).filter(|&i| covered.pixels[3 * i..3 * i + 3] == [0.123; 3]).collect();
            let (rows, columns): (Vec<_>, Vec<_>) = here.iter().map(|i| (i / 30, i % 30)).unzip();
            let extent = |all: &[usize]| match (all.iter().min(), all.iter().max()) {
                (Some(low), Some(high)) => high - low + 1,
                _ => 0,
            };
            assert_eq!(here.len(), extent(&rows) * extent(&columns));
        }
    }

    #[test]
    fn noise_differs_from_pixel_to_pixel() {
        let erasing = Erasing {
            probability: Probability::new(1.0),
            scale: [0.5, 0.5],
            ratio: [1.0, 1.0],
            fill: Fill::Noise,
        };
        let before = noise(30, 30, 1);
        let after = erasing.apply(before.clone(), &mut Random::new(2, "erasing", &[]));
        let changed = after.pixels.iter().zip(&before.pixels).filter(|(a, b)| a != b).count();
        assert!((1250..=1323).contains(&changed), "{changed} of 21 x 21 x 3 differ");
    }
}
