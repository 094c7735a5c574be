//! Pictures of people who do not exist: what makes a person apart from what makes a picture.

mod camera;
mod ellipsoid;
mod face;
mod noise;
mod person;
mod render;
mod scene;
mod space;

use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::NonNegative;
use crate::rng::Random;

use person::Person;
use render::Render;
use scene::Scene;

/// How much the pictures of one person differ: 1 as usual, 0 not at all, 2 twice as much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Variation {
    /// Turn, nod and tilt of the head, its place and its size.
    pub(crate) pose: NonNegative,
    /// Direction, harshness and colour of the light, exposure and white balance.
    pub(crate) light: NonNegative,
    /// Gaze, eyelids, brows and mouth.
    pub(crate) expression: NonNegative,
    /// Backgrounds, hats, dark glasses, how hair and beard have grown, things in front of the face.
    pub(crate) clutter: NonNegative,
    /// Blur, noise, strength of the JPEG compression, and now and then no colour.
    pub(crate) quality: NonNegative,
}

impl Default for Variation {
    fn default() -> Self {
        let usual = NonNegative::new(1.0);
        Self { pose: usual, light: usual, expression: usual, clutter: usual, quality: usual }
    }
}

/// A world of people, each known by a number.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Gives other people, in other pictures.
    pub(crate) seed: u64,
    /// How much people differ: 1 as usual, 0 not at all in shape.
    pub(crate) diversity: f64,
    /// How much the pictures of one person differ.
    pub(crate) variation: Variation,
    /// The side of a picture, in pixels.
    pub(crate) side: usize,
}

/// A picture, and how strongly it should be compressed.
pub(crate) struct Picture {
    /// Its pixels.
    pub(crate) image: RgbImage,
    /// JPEG quality, 1 to 100.
    pub(crate) quality: u8,
}

impl World {
    /// Takes a picture of a person; `index` tells it from all others.
    pub(crate) fn picture(&self, person: u64, index: u64) -> Picture {
        let scene = Scene::new(self.seed, &[person, index], &self.variation);
        let person_of_number = Person::new(self.seed, person, self.diversity);
        let render = Render::new(&person_of_number, &scene);
        let light = render.image(self.side * camera::SAMPLES);
        let mut random = Random::new(self.seed, "grain", &[person, index]);
        let image = camera::expose(&light, self.side, &scene.camera, &mut random);
        Picture { image, quality: scene.camera.quality }
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::{Variation, World};
    use crate::number::NonNegative;

    fn world(variation: f64) -> World {
        let v = NonNegative::new(variation);
        let variation = Variation { pose: v, light: v, expression: v, clutter: v, quality: v };
        World { seed: 4, diversity: 1.0, variation, side: 32 }
    }

    /// Returns how often the training picture nearest in pixels is of the same person.
    fn nearest_pixels(world: &World, people: u64, train: u64, dev: u64) -> f64 {
        let shoot = |first: u64, count: u64| -> Vec<(u64, Vec<i32>)> {
            (0..people * count)
                .into_par_iter()
                .map(|shot| {
                    let picture = world.picture(shot / count, first + shot % count);
                    (shot / count, picture.image.into_raw().into_iter().map(i32::from).collect())
                })
                .collect()
        };
        let (gallery, probes) = (shoot(0, train), shoot(train, dev));
        let distance =
            |a: &[i32], b: &[i32]| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<i32>();
        let right = probes.par_iter().filter(|(person, pixels)| {
            let nearest = gallery.iter().min_by_key(|(_, other)| distance(pixels, other));
            nearest.is_some_and(|(other, _)| other == person)
        });
        right.count() as f64 / probes.len() as f64
    }

    /// Chance is 1 in 100. What a net learns on the same pictures is seen by the pipelines.
    #[test]
    fn pixels_do_not_tell_people_apart() {
        let accuracy = nearest_pixels(&world(1.0), 100, 20, 3);
        assert!((0.02..0.20).contains(&accuracy), "{accuracy}");
    }

    /// Without variation there is nothing in the way: the person is in the picture.
    #[test]
    fn passport_pictures_tell_people_apart() {
        let accuracy = nearest_pixels(&world(0.05), 60, 3, 3);
        assert!(accuracy > 0.95, "{accuracy}");
    }

    #[test]
    fn pictures_of_every_size_and_variation_can_be_taken() {
        for side in [1, 2, 7, 33] {
            for variation in [0.0, 1.0, 5.0] {
                let picture = World { side, ..world(variation) }.picture(3, 8);
                assert_eq!(picture.image.dimensions(), (side as u32, side as u32));
                assert!((1..=100).contains(&picture.quality));
            }
        }
    }
}
