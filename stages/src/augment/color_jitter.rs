//! Changes brightness, contrast, saturation and hue, in random order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augmentation, check_highest};
use crate::change::{Change, Recolour};
use crate::data::Picture;
use crate::kind::Complaint;
use crate::number::NonNegative;
use crate::rng::Random;

/// Changes brightness, contrast, saturation and hue, in random order, as torchvision's `ColorJitter`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ColorJitter {
    /// The factor lies in 1 - this to 1 + this, and is never below 0.
    #[serde(default = "none")]
    brightness: NonNegative,
    /// The factor lies in 1 - this to 1 + this, and is never below 0.
    #[serde(default = "none")]
    contrast: NonNegative,
    /// The factor lies in 1 - this to 1 + this, and is never below 0.
    #[serde(default = "none")]
    saturation: NonNegative,
    /// The shift lies in minus this to this, as a part of the colour circle; at most 0.5.
    #[serde(default = "none")]
    hue: NonNegative,
}

fn none() -> NonNegative {
    NonNegative::new(0.0)
}

impl Augmentation for ColorJitter {
    fn draw(&self, _: [usize; 2], random: &mut Random) -> Change {
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let mut factor = |spread: f64| random.between((1.0 - spread).max(0.0), 1.0 + spread) as f32;
        let [brightness, contrast, saturation, hue] =
            [self.brightness, self.contrast, self.saturation, self.hue].map(NonNegative::get);
        let factors = [brightness, contrast, saturation].map(&mut factor);
        let shift = random.between(-hue, hue) as f32;
        let some = [brightness, contrast, saturation, hue].map(|width| width > 0.0);
        Change::Recolour(Recolour { order, some, factors, shift })
    }

    fn check(&self) -> Vec<Complaint> {
        check_highest("color-jitter.hue", self.hue, 0.5).into_iter().collect()
    }
}

/// Changes brightness, contrast, saturation and hue one after the other.
pub(super) fn recolour(picture: &mut Picture, by: Recolour) {
    let Recolour { order, some, factors, shift } = by;
    for part in order {
        match part {
            _ if !some[usize::from(part)] => {}
            0 => brighten(picture, factors[0]),
            1 => spread(picture, factors[1]),
            2 => saturate(picture, factors[2]),
            _ => shift_hue(picture, shift),
        }
    }
}

/// The grey of a colour (ITU-R 601-2, with torchvision's digits).
fn grey(pixel: &[f32]) -> f32 {
    0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

/// Moves a number away from another, or towards it when the factor is below 1.
fn blend(value: f32, other: f32, factor: f32) -> f32 {
    (factor * value + (1.0 - factor) * other).clamp(0.0, 1.0)
}

fn brighten(picture: &mut Picture, factor: f32) {
    picture.pixels.iter_mut().for_each(|value| *value = (*value * factor).clamp(0.0, 1.0));
}

/// Moves every number away from the mean grey of the picture.
fn spread(picture: &mut Picture, factor: f32) {
    let sum: f64 = picture.pixels.chunks_exact(3).map(|pixel| f64::from(grey(pixel))).sum();
    let mean = (sum / (picture.height * picture.width) as f64) as f32;
    picture.pixels.iter_mut().for_each(|value| *value = blend(*value, mean, factor));
}

/// Moves every colour away from its grey.
fn saturate(picture: &mut Picture, factor: f32) {
    for pixel in picture.pixels.chunks_exact_mut(3) {
        let grey = grey(pixel);
        pixel.iter_mut().for_each(|value| *value = blend(*value, grey, factor));
    }
}

/// Turns every colour on the colour circle (Smith 1978); 1 is the whole circle, `shift` at most half.
fn shift_hue(picture: &mut Picture, shift: f32) {
    for pixel in picture.pixels.chunks_exact_mut(3) {
        let (red, green, blue) = (pixel[0], pixel[1], pixel[2]);
        let highest = red.max(green).max(blue);
        let range = highest - red.min(green).min(blue);
        let scale = if range > 0.0 { 1.0 / range } else { 0.0 };
        let sixths = if highest == red {
            (green - blue) * scale
        } else if highest == green {
            2.0 + (blue - red) * scale
        } else {
            4.0 + (red - green) * scale
        };
        let turned = around(sixths + 6.0 * shift);
        // How far each channel falls below the highest, by its distance on the circle.
        for (channel, place) in pixel.iter_mut().zip([5.0, 3.0, 1.0]) {
            let distance = around(turned + place);
            let fall = distance.min(4.0 - distance).clamp(0.0, 1.0);
            *channel = (highest - range * fall).clamp(0.0, 1.0);
        }
    }
}

/// Brings sixths of a circle that are at most one circle out of it back into 0..=6.
fn around(sixths: f32) -> f32 {
    if sixths < 0.0 {
        sixths + 6.0
    } else if sixths >= 6.0 {
        sixths - 6.0
    } else {
        sixths
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::{brighten, saturate, shift_hue, spread};
    use crate::data::Picture;
    use crate::data::golden::{check_picture, picture, starting_with};

    #[test]
    fn pixels_are_those_of_torchvision() {
        let check = |name: &str, change: fn(&mut Picture, f32)| {
            for (factor, want) in starting_with(name) {
                let mut changed = picture();
                change(&mut changed, factor.parse().unwrap());
                check_picture(&format!("{name}{factor}"), &changed, &want, 2e-6);
            }
        };
        check("brightness ", brighten);
        check("contrast ", spread);
        check("saturation ", saturate);
        check("hue ", shift_hue);
    }

    #[test]
    fn hue_goes_around_the_circle() {
        let picture = noise(16, 16, 4);
        let mut turned = picture.clone();
        for _ in 0..3 {
            shift_hue(&mut turned, 1.0 / 3.0);
        }
        for (got, want) in turned.pixels.iter().zip(&picture.pixels) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        shift_hue(&mut turned, 1.0 / 3.0);
        for (got, want) in turned.pixels.chunks_exact(3).zip(picture.pixels.chunks_exact(3)) {
            assert!((got[1] - want[0]).abs() < 1e-5, "red becomes green: {got:?} {want:?}");
        }
    }

    #[test]
    fn factor_zero_takes_everything_away() {
        let mut dark = noise(4, 4, 1);
        brighten(&mut dark, 0.0);
        assert!(dark.pixels.iter().all(|&x| x == 0.0));
        let mut flat = noise(4, 4, 1);
        spread(&mut flat, 0.0);
        assert!(flat.pixels.iter().all(|&x| x == flat.pixels[0]));
        let mut grey = noise(4, 4, 1);
        saturate(&mut grey, 0.0);
        assert!(grey.pixels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]));
    }
}
