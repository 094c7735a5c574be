//! Turns by a random angle about the centre.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augmentation, check_highest};
use crate::change::Change;
use crate::data::Picture;
use crate::kind::Complaint;
use crate::number::{NonNegative, Probability};
use crate::rng::Random;

/// Turns by a random angle about the centre, bilinear, as torchvision's `RandomRotation`. What was
/// outside the picture is filled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Rotation {
    /// The largest angle either way, from 0 to 180.
    degrees: NonNegative,
    /// The grey of what was outside, from 0 (black) to 1 (white).
    #[serde(default = "black")]
    fill: Probability,
}

fn black() -> Probability {
    Probability::new(0.0)
}

impl Augmentation for Rotation {
    fn draw(&self, _: [usize; 2], random: &mut Random) -> Change {
        let degrees = random.between(-self.degrees.get(), self.degrees.get());
        if degrees == 0.0 {
            return Change::Nothing;
        }
        Change::Turn { degrees, fill: self.fill.get() as f32 }
    }

    fn check(&self) -> Vec<Complaint> {
        check_highest("rotation.degrees", self.degrees, 180.0).into_iter().collect()
    }
}

/// Turns a picture counter-clockwise by this many degrees, as if it went on in grey `fill`.
pub(super) fn turn(picture: &Picture, degrees: f64, fill: f32) -> Picture {
    let (height, width) = (picture.height, picture.width);
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (middle_x, middle_y) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
    let (step_x, step_y) = (fixed(cos), fixed(sin));
    let mut pixels = vec![0.0; picture.pixels.len()];
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        let dy = y as f64 - middle_y;
        let mut from_x = fixed(middle_x - sin * dy - cos * middle_x);
        let mut from_y = fixed(middle_y + cos * dy - sin * middle_x);
        for pixel in row.chunks_exact_mut(3) {
            pixel.copy_from_slice(&sample(picture, from_x, from_y, fill));
            from_x += step_x;
            from_y += step_y;
        }
    }
    Picture { height, width, pixels }
}

/// A place as an integer with 32 binary digits after the point: adding a step to it and splitting
/// it are single instructions, which on a plain x86-64 `f32::floor` is not.
fn fixed(place: f64) -> i64 {
    (place * 4_294_967_296.0).round() as i64
}

/// The integer below a place, and the share of the next one.
fn split(place: i64) -> (i64, f32) {
    (place >> 32, (place as u32 >> 8) as f32 / 16_777_216.0)
}

/// The colour between four pixels.
fn sample(picture: &Picture, x: i64, y: i64, fill: f32) -> [f32; 3] {
    let ((left, right_share), (top, bottom_share)) = (split(x), split(y));
    let (width, height) = (picture.width as i64, picture.height as i64);
    let mix = |above: [f32; 6], below: [f32; 6]| {
        let mut color = [0.0; 3];
        for channel in 0..3 {
            let upper = above[channel] + right_share * (above[channel + 3] - above[channel]);
            let lower = below[channel] + right_share * (below[channel + 3] - below[channel]);
            color[channel] = (upper + bottom_share * (lower - upper)).clamp(0.0, 1.0);
        }
        color
    };
    if (0..width - 1).contains(&left) && (0..height - 1).contains(&top) {
        let start = 3 * (top * width + left) as usize;
        let pair =
            |start: usize| *picture.pixels[start..].first_chunk().expect("two pixels of a row");
        return mix(pair(start), pair(start + 3 * picture.width));
    }
    let pair = |row: i64| {
        let mut pair = [fill; 6];
        for (place, column) in pair.chunks_exact_mut(3).zip([left, left + 1]) {
            if (0..width).contains(&column) && (0..height).contains(&row) {
                let start = 3 * (row * width + column) as usize;
                place.copy_from_slice(&picture.pixels[start..start + 3]);
            }
        }
        pair
    };
    mix(pair(top), pair(top + 1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::turn;
    use crate::data::golden::{check_picture, picture, starting_with};

    #[test]
    fn pixels_are_those_of_torchvision() {
        for (degrees, want) in starting_with("rotation ") {
            let turned = turn(&picture(), degrees.parse().unwrap(), 0.0);
            check_picture(&degrees, &turned, &want, 1e-5);
        }
    }

    #[test]
    fn a_quarter_turn_is_counter_clockwise() {
        let picture = noise(9, 9, 3);
        let turned = turn(&picture, 90.0, 0.0);
        for y in 0..9 {
            for x in 0..9 {
                // The right column becomes the top row.
                let (to, from) = (3 * (9 * y + x), 3 * (9 * x + 8 - y));
                assert!((turned.pixels[to] - picture.pixels[from]).abs() < 1e-4, "{x} {y}");
            }
        }
    }

    #[test]
    fn outside_is_filled() {
        let turned = turn(&noise(21, 21, 3), 45.0, 0.5);
        let corners = [0, 20, 20 * 21, 20 * 21 + 20];
        assert!(corners.iter().all(|&corner| (turned.pixels[3 * corner] - 0.5).abs() < 1e-6));
    }
}
