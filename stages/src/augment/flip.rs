//! Mirrors left to right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augmentation, check_number};
use crate::data::Picture;
use crate::kind::Complaint;
use crate::rng::Random;

/// Mirrors left to right, as torchvision's `RandomHorizontalFlip`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Flip {
    /// How often, from 0 to 1.
    #[serde(default = "half")]
    probability: f64,
}

fn half() -> f64 {
    0.5
}

impl Augmentation for Flip {
    fn apply(&self, mut picture: Picture, random: &mut Random) -> Picture {
        if random.chance(self.probability) {
            picture.mirror();
        }
        picture
    }

    fn check(&self) -> Vec<Complaint> {
        check_number("flip.probability", self.probability, 0.0, 1.0).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::{Augmentation, Flip};
    use crate::rng::Random;

    #[test]
    fn twice_is_nothing_and_half_is_half() {
        let mut random = Random::new(1, "flip", &[]);
        let picture = noise(7, 9, 1);
        let always = Flip { probability: 1.0 };
        let once = always.apply(picture.clone(), &mut random);
        assert_ne!(once, picture);
        assert_eq!(always.apply(once, &mut random), picture);
        let even = Flip { probability: 0.5 };
        let changed =
            (0..2000).filter(|_| even.apply(picture.clone(), &mut random) != picture).count();
        assert!((900..1100).contains(&changed), "{changed}");
    }
}
