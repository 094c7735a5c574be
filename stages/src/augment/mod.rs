//! Random changes to training images, one file each.

mod color_jitter;
mod erasing;
mod flip;
mod random_resized_crop;
mod rotation;

use crate::change::Change;
use crate::choices::choices;
use crate::data::Picture;
use crate::kind::Complaint;
use crate::number::NonNegative;
use crate::rng::Random;

/// A random change to a training image that keeps its size and what it shows.
pub(crate) trait Augmentation {
    /// Draws what is to be done to a picture of this height and width.
    fn draw(&self, size: [usize; 2], random: &mut Random) -> Change;

    /// Returns the picture changed as `random` decides: of the same size, numbers in 0..=1.
    fn apply(&self, picture: Picture, random: &mut Random) -> Picture {
        let drawn = self.draw([picture.height, picture.width], random);
        change(picture, &drawn)
    }

    /// Returns what is wrong with the parameters beyond what their types say; names start with that
    /// of the augmentation, e.g. `erasing.scale`.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

choices! {
    /// Every augmentation, by its name in pipeline files.
    pub(crate) enum AnyAugmentation: Augmentation {
        /// Mirrors left to right.
        Flip(flip::Flip),
        /// Cuts out a part of random area and shape and scales it to the whole.
        RandomResizedCrop(random_resized_crop::RandomResizedCrop),
        /// Turns by a random angle about the centre.
        Rotation(rotation::Rotation),
        /// Changes brightness, contrast, saturation and hue, in random order.
        ColorJitter(color_jitter::ColorJitter),
        /// Covers a random rectangle.
        Erasing(erasing::Erasing),
    }
}

impl AnyAugmentation {
    /// Returns that which mirrors every image.
    pub(crate) fn mirror() -> Self {
        Self::Flip(flip::Flip::always())
    }
}

/// Makes a change on the CPU.
fn change(mut picture: Picture, change: &Change) -> Picture {
    match change {
        Change::Nothing => {}
        Change::Mirror => picture.mirror(),
        Change::Stretch(part) => return random_resized_crop::stretch(picture, *part),
        Change::Turn { degrees, fill } => return rotation::turn(&picture, *degrees, *fill),
        Change::Recolour(by) => color_jitter::recolour(&mut picture, *by),
        Change::Cover(part, with) => erasing::cover(&mut picture, *part, with),
    }
    picture
}

/// Changes a picture by each augmentation in turn.
pub(crate) fn apply_all(
    augmentations: &[AnyAugmentation],
    picture: Picture,
    random: &mut Random,
) -> Picture {
    augmentations.iter().fold(picture, |picture, one| one.apply(picture, random))
}

/// Draws what each augmentation in turn does to a picture of this height and width: what [`apply_all`] would do.
#[cfg(any(feature = "cuda", test))]
pub(crate) fn draw_all(
    augmentations: &[AnyAugmentation],
    size: [usize; 2],
    random: &mut Random,
) -> Vec<Change> {
    augmentations.iter().map(|one| one.draw(size, random)).collect()
}

/// Returns what is wrong with a list that is the parameter `name`, e.g. `augment.0.erasing.scale`.
pub(crate) fn check_all(name: &str, augmentations: &[AnyAugmentation]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (position, one) in augmentations.iter().enumerate() {
        complaints.extend(one.check().into_iter().map(|complaint| Complaint {
            parameter: format!("{name}.{position}.{}", complaint.parameter),
            ..complaint
        }));
    }
    complaints
}

/// Complains of an interval `[low, high]` that is empty, backwards or not positive.
fn check_interval(parameter: &str, [low, high]: [f64; 2], highest: f64) -> Option<Complaint> {
    let right = low > 0.0 && low <= high && high <= highest;
    (!right).then(|| Complaint {
        parameter: parameter.to_owned(),
        message: format!("[{low}, {high}] is not an interval of numbers above 0"),
        help: Some(match highest.is_finite() {
            true => format!("two numbers, the lower first, above 0 and at most {highest}"),
            false => "two numbers above 0, the lower first".to_owned(),
        }),
    })
}

/// Complains of a number above the highest.
fn check_highest(parameter: &str, value: NonNegative, highest: f64) -> Option<Complaint> {
    (value.get() > highest).then(|| Complaint {
        parameter: parameter.to_owned(),
        message: format!("{} is out of range", value.get()),
        help: Some(format!("a number from 0 to {highest}")),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::{AnyAugmentation, apply_all, check_all};
    use crate::data::Picture;
    use crate::rng::Random;

    /// A picture of random bytes.
    pub(super) fn noise(height: usize, width: usize, seed: u64) -> Picture {
        let mut random = Random::new(seed, "noise", &[]);
        let planes: Vec<u8> = (0..3 * height * width).map(|_| random.below(256) as u8).collect();
        Picture::from_planes(height, width, &planes)
    }

    fn parse(text: &str) -> Vec<AnyAugmentation> {
        #[derive(serde::Deserialize)]
        struct Document {
            augment: Vec<AnyAugmentation>,
        }
        toml::from_str::<Document>(text).unwrap().augment
    }

    const ALL: &str = "
        [[augment]]
        flip = {}
        [[augment]]
        random-resized-crop = { scale = [0.5, 1] }
        [[augment]]
        rotation = { degrees = 20 }
        [[augment]]
        color-jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }
        [[augment]]
        erasing = {}
    ";

    #[test]
    fn the_table_reads_and_checks() {
        let all = parse(ALL);
        assert_eq!(all.len(), 5);
        assert!(check_all("augment", &all).is_empty());
        let wrong = parse(
            "augment = [{ rotation = { degrees = 181 } }, { erasing = { scale = [0.3, 0.1] } }]",
        );
        let names: Vec<_> =
            check_all("augment", &wrong).into_iter().map(|one| one.parameter).collect();
        assert_eq!(names, ["augment.0.rotation.degrees", "augment.1.erasing.scale"]);
    }

    proptest! {
        #[test]
        fn size_and_range_hold(h in 1_usize..40, w in 1_usize..40, seed in any::<u64>()) {
            for one in parse(ALL) {
                let changed = one.apply(noise(h, w, seed), &mut Random::new(seed, "augment", &[]));
                prop_assert_eq!((changed.height, changed.width), (h, w));
                prop_assert_eq!(changed.pixels.len(), 3 * h * w);
                let outside = changed.pixels.iter().find(|x| !(0.0..=1.0).contains(*x));
                prop_assert_eq!(outside, None, "{:?}", one);
            }
        }

        #[test]
        fn one_seed_gives_one_picture(seed in any::<u64>()) {
            let all = parse(ALL);
            let run = || apply_all(&all, noise(9, 8, 1), &mut Random::new(seed, "augment", &[]));
            prop_assert_eq!(run(), run());
        }
    }

    #[test]
    fn nothing_changes_at_strength_zero() {
        let idle = parse(
            "augment = [{ flip = { probability = 0 } }, { rotation = { degrees = 0 } },
                { color-jitter = {} }, { erasing = { probability = 0 } },
                { random-resized-crop = { scale = [1, 1], ratio = [1, 1] } }]",
        );
        let picture = noise(12, 12, 5);
        let after = apply_all(&idle, picture.clone(), &mut Random::new(5, "augment", &[]));
        assert_eq!(picture, after);
    }
}
