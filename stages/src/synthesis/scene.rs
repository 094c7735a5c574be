//! What differs from one image of a person to the next: pose, light, expression, things in the way.

use crate::rng::Random;

use super::Variation;
use super::space::{Vector, vector};

/// One picture's circumstances.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Turns of the head, in radians.
    pub(super) yaw: f32,
    pub(super) pitch: f32,
    pub(super) roll: f32,
    /// Where the middle of the head is, and how large, in the units of the head.
    pub(super) shift: (f32, f32),
    pub(super) scale: f32,
    /// Where the light comes from, its colour, and the light from everywhere.
    pub(super) light: Vector,
    pub(super) sun: Vector,
    pub(super) ambient: Vector,
    pub(super) expression: Expression,
    pub(super) shirt: Vector,
    pub(super) background: Background,
    /// Whether someone who has glasses wears them, and whether they are dark.
    pub(super) glasses: bool,
    pub(super) dark_glasses: bool,
    pub(super) hat: Option<Vector>,
    /// How much of a beard has grown, and how the hair lies today.
    pub(super) beard: f32,
    pub(super) hair_shift: f32,
    pub(super) hair_volume: f32,
    pub(super) occluder: Option<Occluder>,
    pub(super) camera: Camera,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Expression {
    pub(super) gaze: (f32, f32),
    pub(super) open_eyes: f32,
    pub(super) smile: f32,
    pub(super) open_mouth: f32,
    pub(super) raised_brows: f32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Background {
    pub(super) colours: [Vector; 3],
    pub(super) direction: (f32, f32),
    /// The size of its blots, and how much they show.
    pub(super) grain: f32,
    pub(super) contrast: f32,
    pub(super) seed: u32,
}

/// A hand, a microphone, the edge of a crowd: a blot of one colour in front of the face.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occluder {
    pub(super) centre: (f32, f32),
    pub(super) radii: (f32, f32),
    pub(super) turn: f32,
    pub(super) colour: Vector,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Camera {
    /// The width of the blur, as a share of the image.
    pub(super) blur: f32,
    /// The deviation of the noise, in shares of white.
    pub(super) noise: f32,
    pub(super) exposure: f32,
    pub(super) balance: Vector,
    pub(super) grey: bool,
    /// JPEG quality, 1 to 100.
    pub(super) quality: u8,
}

/// What is behind and below a face on a passport.
const GREY: Vector = vector(0.3, 0.3, 0.3);

impl Scene {
    /// Draws the circumstances of an image, told apart by its `index`.
    pub(super) fn new(seed: u64, index: &[u64], variation: &Variation) -> Self {
        let random = &mut Random::new(seed, "scene", index);
        let pose = variation.pose.get() as f32;
        let clutter = variation.clutter.get();
        let yaw = pose * normal(random, 0.30);
        Self {
            yaw: yaw.clamp(-0.85, 0.85),
            pitch: (pose * normal(random, 0.13)).clamp(-0.4, 0.4),
            roll: (pose * normal(random, 0.11)).clamp(-0.5, 0.5),
            shift: (pose * normal(random, 0.055), 0.06 + pose * normal(random, 0.055)),
            scale: (pose * normal(random, 0.065)).exp(),
            shirt: GREY.mix(any_colour(random), (clutter as f32).min(1.0)),
            expression: Expression::new(random, variation.expression.get() as f32),
            glasses: random.chance(1.0 - 0.15 * clutter.min(1.0)),
            dark_glasses: random.chance((0.03 * clutter).min(1.0)),
            hat: random.chance((0.06 * clutter).min(1.0)).then(|| any_colour(random)),
            beard: (1.0 - clutter as f32 * between(random, 0.0, 0.5)).max(0.0),
            hair_shift: clutter as f32 * normal(random, 0.035),
            hair_volume: (clutter as f32 * normal(random, 0.12)).exp(),
            occluder: random.chance((0.12 * clutter).min(1.0)).then(|| Occluder::new(random)),
            background: Background::new(random, clutter as f32),
            camera: Camera::new(random, variation),
            ..Self::lit(random, variation.light.get() as f32)
        }
    }

    /// Draws the light; the rest is as on a passport.
    fn lit(random: &mut Random, strength: f32) -> Self {
        let side = (strength * normal(random, 0.6)).clamp(-1.3, 1.3);
        let above = (0.45 + strength * normal(random, 0.30)).clamp(-0.5, 1.2);
        let light = vector(side.sin() * above.cos(), above.sin(), side.cos() * above.cos());
        let warmth = strength * normal(random, 0.10);
        let harshness = (0.55 + strength * between(random, -0.35, 0.35)).clamp(0.0, 1.2);
        let sun = vector(1.0 + warmth, 1.0, 1.0 - warmth) * (1.15 * harshness);
        let ambient = vector(1.0 - 0.5 * warmth, 1.0, 1.0 + 0.5 * warmth)
            * (0.62 - 0.30 * harshness + strength * between(random, -0.05, 0.10));
        Self {
            yaw: 0.0,
            pitch: 0.0,
            roll: 0.0,
            shift: (0.0, 0.0),
            scale: 1.0,
            light,
            sun,
            ambient,
            expression: Expression {
                gaze: (0.0, 0.0),
                open_eyes: 1.0,
                smile: 0.0,
                open_mouth: 0.0,
                raised_brows: 0.0,
            },
            shirt: GREY,
            background: Background {
                colours: [GREY; 3],
                direction: (0.0, 1.0),
                grain: 1.0,
                contrast: 0.0,
                seed: 0,
            },
            glasses: true,
            dark_glasses: false,
            hat: None,
            beard: 1.0,
            hair_shift: 0.0,
            hair_volume: 1.0,
            occluder: None,
            camera: Camera {
                blur: 0.0,
                noise: 0.0,
                exposure: 1.0,
                balance: vector(1.0, 1.0, 1.0),
                grey: false,
                quality: 95,
            },
        }
    }
}

impl Expression {
    fn new(random: &mut Random, strength: f32) -> Self {
        Self {
            gaze: (strength * normal(random, 0.30), strength * normal(random, 0.12)),
            open_eyes: (1.0 + strength * normal(random, 0.18)).clamp(0.12, 1.35),
            smile: (strength * (0.25 + normal(random, 0.45))).clamp(-0.5, 1.2),
            open_mouth: (strength * (normal(random, 0.45) - 0.15)).clamp(0.0, 1.0),
            raised_brows: strength * normal(random, 0.018),
        }
    }
}

impl Background {
    fn new(random: &mut Random, clutter: f32) -> Self {
        let colours = [(); 3].map(|()| GREY.mix(any_colour(random), clutter.min(1.0)));
        let angle = between(random, 0.0, std::f32::consts::TAU);
        Self {
            colours,
            direction: (angle.cos(), angle.sin()),
            grain: between(random, 0.7, 5.0),
            contrast: clutter.min(1.0) * between(random, 0.0, 1.0),
            seed: random.below(1 << 32) as u32,
        }
    }
}

impl Occluder {
    fn new(random: &mut Random) -> Self {
        let angle = between(random, 0.0, std::f32::consts::TAU);
        let away = between(random, 0.65, 1.25);
        Self {
            centre: (away * angle.cos(), away * angle.sin() - 0.15),
            radii: (between(random, 0.15, 0.40), between(random, 0.15, 0.75)),
            turn: between(random, 0.0, std::f32::consts::PI),
            colour: any_colour(random),
        }
    }
}

impl Camera {
    fn new(random: &mut Random, variation: &Variation) -> Self {
        let quality = variation.quality.get() as f32;
        let light = variation.light.get() as f32;
        let tint = |random: &mut Random| 1.0 + light * normal(random, 0.06);
        Self {
            blur: quality * between(random, 0.0, 0.1).powi(2),
            noise: quality * between(random, 0.0, 0.2).powi(2),
            exposure: (light * normal(random, 0.28)).exp(),
            balance: vector(tint(random), tint(random), tint(random)),
            grey: random.chance((0.05 * f64::from(quality)).min(1.0)),
            quality: (92.0 - quality * between(random, 0.0, 45.0)).clamp(20.0, 95.0) as u8,
        }
    }
}

/// Draws a normal number of this deviation, at most 2.5 deviations from 0.
fn normal(random: &mut Random, deviation: f32) -> f32 {
    deviation * (random.normal() as f32).clamp(-2.5, 2.5)
}

fn between(random: &mut Random, low: f32, high: f32) -> f32 {
    low + (high - low) * random.uniform() as f32
}

/// Draws a colour of any kind, dark ones and dull ones most often.
fn any_colour(random: &mut Random) -> Vector {
    let level = between(random, 0.05, 0.85).powi(2);
    let mut channel = || level * between(random, 0.35, 1.45);
    let colour = vector(channel(), channel(), channel());
    let grey = vector(level, level, level);
    grey.mix(colour, between(random, 0.0, 1.0))
}
