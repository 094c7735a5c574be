//! What makes a person: everything about a face that all images of it share.

use crate::rng::Random;

use super::space::{Vector, vector};

/// The lasting features of a person. Lengths are in units of about half a head's height.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Person {
    /// Radii of the head.
    pub(super) head: Vector,
    /// The width of the jaw and of the chin, as shares of an ellipsoid's.
    pub(super) jaw: f32,
    pub(super) chin: f32,
    pub(super) ear: f32,
    pub(super) neck: f32,
    pub(super) skin: Vector,
    pub(super) blush: f32,
    pub(super) eyes: Eyes,
    pub(super) brows: Brows,
    pub(super) nose: Nose,
    pub(super) mouth: Mouth,
    pub(super) hair: Hair,
    pub(super) beard: Option<Beard>,
    pub(super) glasses: Option<Glasses>,
    /// Places on the face, seen from the front, and sizes.
    pub(super) moles: Vec<(f32, f32, f32)>,
    pub(super) freckles: f32,
    /// How deep the lines of the face are, 0 to 1.
    pub(super) age: f32,
    /// Tells the noise of one person from that of another.
    pub(super) grain: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Eyes {
    /// Half the distance between the pupils.
    pub(super) apart: f32,
    pub(super) height: f32,
    pub(super) half_width: f32,
    pub(super) opening: f32,
    pub(super) tilt: f32,
    pub(super) iris: Vector,
    pub(super) iris_radius: f32,
    pub(super) crease: f32,
    pub(super) shadow: f32,
    pub(super) lashes: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Brows {
    pub(super) above: f32,
    pub(super) half_length: f32,
    pub(super) thickness: f32,
    pub(super) tilt: f32,
    pub(super) arch: f32,
    pub(super) strength: f32,
    pub(super) inwards: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Nose {
    pub(super) tip: f32,
    pub(super) width: f32,
    pub(super) length: f32,
    pub(super) bridge: f32,
    pub(super) nostrils: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mouth {
    pub(super) height: f32,
    pub(super) half_width: f32,
    pub(super) upper: f32,
    pub(super) lower: f32,
    pub(super) bow: f32,
    pub(super) corners: f32,
    pub(super) colour: Vector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Bald,
    Receding,
    Cropped,
    Short,
    Parted,
    Fringe,
    Long,
    Curly,
    TiedUp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hair {
    pub(super) style: Style,
    pub(super) colour: Vector,
    /// The height of the hairline over the forehead.
    pub(super) line: f32,
    /// How far the hairline comes down in the middle, and how much more on one side.
    pub(super) peak: f32,
    pub(super) part: f32,
    pub(super) volume: f32,
    pub(super) strands: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Beard {
    pub(super) cheeks: f32,
    pub(super) chin: f32,
    pub(super) moustache: f32,
    pub(super) length: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Glasses {
    pub(super) half_width: f32,
    pub(super) half_height: f32,
    /// 2 is an ellipse; the higher, the squarer.
    pub(super) power: f32,
    pub(super) rim: f32,
    pub(super) colour: Vector,
    pub(super) tint: f32,
}

/// Draws the features of one person.
struct Draw {
    random: Random,
    diversity: f32,
}

impl Draw {
    /// A feature around its usual value, at most 2.5 deviations from it.
    fn around(&mut self, usual: f32, deviation: f32) -> f32 {
        let normal = loop {
            let normal = self.random.normal() as f32;
            if normal.abs() < 2.5 {
                break normal;
            }
        };
        usual + deviation * self.diversity * normal
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        let middle = (low + high) / 2.0;
        middle
            + (self.random.between(low.into(), high.into()) as f32 - middle)
                * self.diversity.min(1.0)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.chance(probability)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.below(choices.len() as u64) as usize]
    }
}

/// Colours are linear shares of red, green and blue.
const IRISES: [Vector; 7] = [
    vector(0.07, 0.03, 0.015),
    vector(0.14, 0.06, 0.025),
    vector(0.22, 0.11, 0.04),
    vector(0.20, 0.17, 0.06),
    vector(0.12, 0.21, 0.10),
    vector(0.13, 0.24, 0.42),
    vector(0.26, 0.31, 0.34),
];

const HAIRS: [Vector; 10] = [
    vector(0.010, 0.009, 0.010),
    vector(0.016, 0.011, 0.009),
    vector(0.040, 0.020, 0.010),
    vector(0.085, 0.042, 0.018),
    vector(0.16, 0.075, 0.028),
    vector(0.26, 0.075, 0.022),
    vector(0.45, 0.30, 0.12),
    vector(0.60, 0.46, 0.25),
    vector(0.30, 0.29, 0.28),
    vector(0.62, 0.61, 0.60),
];

const STYLES: [Style; 12] = [
    Style::Bald,
    Style::Receding,
    Style::Cropped,
    Style::Short,
    Style::Short,
    Style::Parted,
    Style::Parted,
    Style::Fringe,
    Style::Long,
    Style::Long,
    Style::Curly,
    Style::TiedUp,
];

impl Person {
    /// Draws the person of a number. `diversity` scales how much people differ: 1 as usual, 0 not at
    /// all in shape.
    pub(super) fn new(seed: u64, number: u64, diversity: f64) -> Self {
        let random = Random::new(seed, "person", &[number]);
        let mut draw = Draw { random, diversity: diversity as f32 };
        let d = &mut draw;
        let age = d.between(0.0, 1.0);
        let skin = skin(d);
        let style = d.one_of(&STYLES);
        let hair_colour = if age > 0.75 && d.chance(0.6) {
            d.one_of(&HAIRS[8..])
        } else {
            d.one_of(&HAIRS[..8]) * d.between(0.75, 1.3)
        };
        let long = matches!(style, Style::Long | Style::TiedUp | Style::Fringe);
        let bearded = !long && d.chance(0.45);
        Self {
            head: vector(d.around(0.755, 0.04), d.around(1.03, 0.045), d.around(0.92, 0.03)),
            jaw: d.around(0.93, 0.06),
            chin: d.around(0.80, 0.12),
            ear: d.around(1.0, 0.16),
            neck: d.around(if long { 0.40 } else { 0.48 }, 0.04),
            skin,
            blush: d.between(0.0, 0.35),
            eyes: Eyes {
                apart: d.around(0.315, 0.024),
                height: d.around(0.06, 0.025),
                half_width: d.around(0.148, 0.013),
                opening: d.around(0.068, 0.012),
                tilt: d.around(0.05, 0.08),
                iris: d.one_of(&IRISES) * d.between(0.8, 1.25),
                iris_radius: d.around(0.058, 0.005),
                crease: d.between(0.1, 0.7),
                shadow: d.between(0.0, 0.45),
                lashes: if long { d.between(0.5, 1.0) } else { d.between(0.15, 0.5) },
            },
            brows: Brows {
                above: d.around(0.165, 0.022),
                half_length: d.around(0.185, 0.018),
                thickness: d.around(if long { 0.024 } else { 0.034 }, 0.009).max(0.010),
                tilt: d.around(0.06, 0.10),
                arch: d.around(0.035, 0.02),
                strength: d.between(0.45, 1.0),
                inwards: d.around(0.0, 0.02),
            },
            nose: Nose {
                tip: d.around(0.135, 0.022),
                width: d.around(0.165, 0.026),
                length: d.around(0.30, 0.035),
                bridge: d.around(0.075, 0.015),
                nostrils: d.around(0.032, 0.008),
            },
            mouth: Mouth {
                height: d.around(-0.53, 0.03),
                half_width: d.around(0.235, 0.028),
                upper: d.around(0.042, 0.014).max(0.010),
                lower: d.around(0.062, 0.017).max(0.018),
                bow: d.between(0.0, 1.0),
                corners: d.around(0.0, 0.018),
                colour: lips(d, skin, long),
            },
            hair: Hair {
                style,
                colour: hair_colour,
                line: d.around(0.56, 0.06),
                peak: d.around(0.0, 0.05),
                part: d.around(0.0, 0.14),
                volume: d.between(0.6, 1.4),
                strands: d.between(6.0, 16.0),
            },
            beard: bearded.then(|| beard(d)),
            glasses: d.chance(0.22).then(|| glasses(d)),
            moles: (0..d.random.below(5)).map(|_| mole(d)).collect(),
            freckles: if d.chance(0.15) { d.between(0.3, 0.9) } else { 0.0 },
            age,
            grain: d.random.below(1 << 32) as u32,
        }
    }
}

/// Draws a skin: from light to dark, and from reddish to yellowish.
fn skin(d: &mut Draw) -> Vector {
    let tones = [
        vector(0.80, 0.57, 0.46),
        vector(0.70, 0.45, 0.33),
        vector(0.54, 0.32, 0.21),
        vector(0.34, 0.185, 0.11),
        vector(0.15, 0.078, 0.047),
        vector(0.075, 0.040, 0.026),
    ];
    let place = d.between(0.0, 4.999);
    let tone = tones[place as usize].mix(tones[place as usize + 1], place.fract());
    let warmth = d.around(0.0, 0.05);
    tone.times(vector(1.0 + warmth, 1.0, 1.0 - 1.5 * warmth))
}

/// Draws the colour of lips: that of the skin, redder, or painted.
fn lips(d: &mut Draw, skin: Vector, long: bool) -> Vector {
    let bare = skin.times(vector(0.82, 0.52, 0.55));
    if long && d.chance(0.45) {
        let paint = vector(d.between(0.30, 0.62), d.between(0.02, 0.10), d.between(0.04, 0.18));
        bare.mix(paint, 0.75)
    } else {
        bare.mix(skin, d.between(0.0, 0.5))
    }
}

fn beard(d: &mut Draw) -> Beard {
    let full = d.chance(0.45);
    Beard {
        cheeks: if full { d.between(0.3, 1.0) } else { 0.0 },
        chin: d.between(0.2, 1.0),
        moustache: if d.chance(0.75) { d.between(0.3, 1.0) } else { 0.0 },
        length: d.between(0.0, 1.0),
    }
}

fn glasses(d: &mut Draw) -> Glasses {
    let colours = [
        vector(0.01, 0.01, 0.012),
        vector(0.05, 0.025, 0.012),
        vector(0.35, 0.30, 0.22),
        vector(0.25, 0.02, 0.03),
        vector(0.02, 0.05, 0.16),
        vector(0.40, 0.41, 0.43),
    ];
    Glasses {
        half_width: d.around(0.215, 0.018),
        half_height: d.around(0.150, 0.024),
        power: d.between(2.0, 6.0),
        rim: d.between(0.012, 0.036),
        colour: d.one_of(&colours),
        tint: if d.chance(0.15) { d.between(0.2, 0.6) } else { 0.0 },
    }
}

fn mole(d: &mut Draw) -> (f32, f32, f32) {
    (d.between(-0.55, 0.55), d.between(-0.75, 0.45), d.between(0.010, 0.024))
}

#[cfg(test)]
mod tests {
    use super::Person;

    #[test]
    fn people_differ_and_are_the_same_again() {
        let people: Vec<Person> = (0..200).map(|number| Person::new(1, number, 1.0)).collect();
        for (number, person) in people.iter().enumerate() {
            assert_eq!(*person, Person::new(1, number as u64, 1.0));
            assert!(people[..number].iter().all(|other| other != person));
        }
        assert!(Person::new(2, 0, 1.0) != people[0]);
    }

    #[test]
    fn features_stay_where_a_face_has_them() {
        for number in 0..2000 {
            let Person { eyes, mouth, nose, brows, head, .. } = Person::new(3, number, 1.0);
            assert!(eyes.apart > eyes.half_width + 0.05, "eyes apart");
            assert!(eyes.height - nose.length > mouth.height + 0.10, "nose above mouth");
            assert!(mouth.height - mouth.lower > -head.y + 0.2, "mouth above chin");
            assert!(brows.above > eyes.opening, "brows above eyes");
            assert!(eyes.opening > 0.02 && nose.tip > 0.07 && nose.nostrils > 0.005);
        }
    }
}
