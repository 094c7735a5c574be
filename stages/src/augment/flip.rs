//! Mirrors left to right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Augmentation;
use crate::change::Change;
use crate::number::Probability;
use crate::rng::Random;

/// Mirrors left to right, as torchvision's `RandomHorizontalFlip`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Flip {
    /// How often.
    #[serde(default = "half")]
    probability: Probability,
}

fn half() -> Probability {
    Probability::new(0.5)
}

impl Flip {
    /// Mirrors every image.
    pub(crate) fn always() -> Self {
        Self { probability: Probability::new(1.0) }
    }
}

impl Augmentation for Flip {
    fn draw(&self, _: [usize; 2], random: &mut Random) -> Change {
        if random.chance(self.probability.get()) { Change::Mirror } else { Change::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::{Augmentation, Flip, half};
    use crate::data::golden::{array, check_picture, picture};
    use crate::rng::Random;

    #[test]
    fn a_mirrored_picture_is_that_of_torchvision() {
        let mirrored = Flip::always().apply(picture(), &mut Random::new(1, "flip", &[]));
        check_picture("mirror", &mirrored, &array("mirror"), 0.0);
    }

    #[test]
    fn twice_is_nothing_and_half_is_half() {
        let mut random = Random::new(1, "flip", &[]);
        let picture = noise(7, 9, 1);
        let always = Flip::always();
        let once = always.apply(picture.clone(), &mut random);
        assert_ne!(once, picture);
        assert_eq!(always.apply(once, &mut random), picture);
        let even = Flip { probability: half() };
        let changed =
            (0..2000).filter(|_| even.apply(picture.clone(), &mut random) != picture).count();
        assert!((900..1100).contains(&changed), "{changed}");
    }
}
