//! Turns by a random angle about the centre.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augmentation, check_highest};
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
    fn apply(&self, picture: Picture, random: &mut Random) -> Picture {
        let angle = random.between(-self.degrees.get(), self.degrees.get());
        if angle == 0.0 { picture } else { turn(&picture, angle, self.fill.get() as f32) }
    }

    fn check(&self) -> Vec<Complaint> {
        check_highest("rotation.degrees", self.degrees, 180.0).into_iter().collect()
    }
}

/// Turns a picture counter-clockwise by this many degrees, as if it went on in grey `fill`.
fn turn(picture: &Picture, degrees: f64, fill: f32) -> Picture {
    let (height, width) = (picture.height, picture.width);
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (sin, cos) = (sin as f32, cos as f32);
    let (middle_x, middle_y) = ((width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0);
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    for y in 0..height {
        let dy = y as f32 - middle_y;
        let (start_x, start_y) = (middle_x - sin * dy, middle_y + cos * dy);
        for x in 0..width {
            let dx = x as f32 - middle_x;
            let (from_x, from_y) = (start_x + cos * dx, start_y + sin * dx);
            pixels.extend(sample(picture, from_x, from_y, fill));
        }
    }
    Picture { height, width, pixels }
}

/// The colour between four pixels.
fn sample(picture: &Picture, x: f32, y: f32, fill: f32) -> [f32; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (right_share, bottom_share) = (x - left, y - top);
    let (column, row) = (left as i64, top as i64);
    let (width, height) = (picture.width as i64, picture.height as i64);
    let mut color = [0.0; 3];
    let mut add = |column: i64, row: i64, share: f32| {
        if (0..width).contains(&column) && (0..height).contains(&row) {
            let start = 3 * (row * width + column) as usize;
            let pixel = &picture.pixels[start..start + 3];
            (0..3).for_each(|channel| color[channel] += share * pixel[channel]);
        } else {
            color.iter_mut().for_each(|channel| *channel += share * fill);
        }
    };
    add(column, row, (1.0 - right_share) * (1.0 - bottom_share));
    add(column + 1, row, right_share * (1.0 - bottom_share));
    add(column, row + 1, (1.0 - right_share) * bottom_share);
    add(column + 1, row + 1, right_share * bottom_share);
    color.map(|channel| channel.min(1.0))
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
