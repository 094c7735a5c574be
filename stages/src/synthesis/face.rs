//! The front of a face: the colour of the skin at each place, with eyes, brows, mouth and the rest.

use super::noise;
use super::person::{Beard, Glasses, Person};
use super::scene::Scene;
use super::space::{Vector, cover, smooth, vector};

const WHITE: Vector = vector(1.0, 1.0, 1.0);
const BLACK: Vector = vector(0.0, 0.0, 0.0);

/// A place on the face, seen straight from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) x: f32,
    pub(super) y: f32,
    /// The width of a sample there, over which edges are softened.
    pub(super) width: f32,
}

/// A surface: its colour, and how much it shines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surface {
    pub(super) colour: Vector,
    pub(super) shine: f32,
}

impl Surface {
    fn paint(&mut self, colour: Vector, share: f32) {
        self.colour = self.colour.mix(colour, share);
    }
}

/// Returns the surface at a place on the front of the head.
pub(super) fn surface(person: &Person, scene: &Scene, place: Place) -> Surface {
    let mut surface = Surface { colour: person.skin, shine: 0.14 };
    skin(person, place, &mut surface);
    if place.y < person.eyes.height - 0.16 {
        mouth(person, scene, place, &mut surface);
        nostrils(person, place, &mut surface);
        if let Some(beard) = &person.beard {
            hair_of_beard(person, beard, scene, place, &mut surface);
        }
    } else {
        let side = if place.x < 0.0 { -1.0 } else { 1.0 };
        eye(person, scene, place, side, &mut surface);
        brow(person, scene, place, side, &mut surface);
    }
    if let Some(worn) = person.glasses.as_ref().filter(|_| scene.glasses) {
        glasses(
            person,
            worn,
            if scene.dark_glasses { 0.93 } else { worn.tint },
            place,
            &mut surface,
        );
    } else if scene.dark_glasses {
        glasses(person, &DARK, 0.95, place, &mut surface);
    }
    surface
}

/// What those wear in the sun who have no glasses of their own.
const DARK: Glasses = Glasses {
    half_width: 0.24,
    half_height: 0.16,
    power: 3.0,
    rim: 0.025,
    colour: vector(0.012, 0.012, 0.014),
    tint: 0.95,
};

/// Cheeks, hollows of the eyes, freckles, moles and the lines of age.
fn skin(person: &Person, place: Place, surface: &mut Surface) {
    let Place { x, y, width } = place;
    let bare = surface.colour;
    let across = x.abs();
    let cheek = ellipse(across - 0.40, y + 0.20, 0.28, 0.22);
    surface.paint(
        bare.times(vector(1.06, 0.74, 0.76)),
        person.blush * (1.0 - smooth(0.0, 1.0, cheek)),
    );
    let eyes = &person.eyes;
    let hollow = ellipse(across - eyes.apart, y - eyes.height - 0.015, 0.26, 0.17);
    surface.paint(bare * 0.55, (0.18 + 0.5 * eyes.shadow) * (1.0 - smooth(0.25, 1.0, hollow)));
    let mottle = noise::smooth(x * 9.0, y * 9.0, person.grain) - 0.5;
    surface.colour = surface.colour * (1.0 + 0.07 * mottle);
    if person.freckles > 0.0 && y < 0.25 && y > -0.42 {
        let dots = noise::smooth(x * 30.0, y * 30.0, person.grain ^ 0xF4EC);
        let share = person.freckles * smooth(0.66, 0.86, dots) * smooth(0.62, 0.1, across);
        surface.paint(bare.times(vector(0.62, 0.45, 0.36)), share);
    }
    for &(mole_x, mole_y, radius) in &person.moles {
        let inside = radius - (x - mole_x).hypot(y - mole_y);
        surface.paint(bare * 0.22, 0.9 * cover(inside, width.max(0.008)));
    }
    if person.age > 0.35 {
        lines(person, place, bare, surface);
    }
}

/// From the nose to the corners of the mouth, across the forehead, and beside the eyes.
fn lines(person: &Person, place: Place, bare: Vector, surface: &mut Surface) {
    let Place { x, y, width } = place;
    let depth = 0.55 * smooth(0.35, 1.0, person.age);
    let nose_end = person.eyes.height - person.nose.length;
    let down = (nose_end - y) / (nose_end - person.mouth.height);
    if (-0.1..1.25).contains(&down) {
        let fold = person.nose.width * 0.75 + 0.14 * down.max(0.0);
        let line = 1.0 - smooth(0.008, 0.035 + width, (x.abs() - fold).abs());
        surface.paint(bare * 0.45, depth * line * smooth(1.25, 0.9, down));
    }
    let forehead = y - person.eyes.height - person.brows.above;
    if forehead > 0.07 && x.abs() < 0.42 {
        let wave = 0.012 * (9.0 * x + (person.grain % 7) as f32).sin();
        let line = ((forehead + wave) / 0.085).fract();
        let line = 1.0 - smooth(0.06, 0.20 + width * 6.0, (line - 0.5).abs());
        surface.paint(bare * 0.5, 0.6 * depth * line * smooth(0.42, 0.2, x.abs()));
    }
}

fn eye(person: &Person, scene: &Scene, place: Place, side: f32, surface: &mut Surface) {
    let eyes = &person.eyes;
    let (dx, dy) = (side * place.x - eyes.apart, place.y - eyes.height);
    let (sin, cos) = eyes.tilt.sin_cos();
    // `u` runs from the nose outwards, `v` upwards.
    let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
    let length = u / eyes.half_width;
    if length.abs() > 1.35 || v.abs() > 0.16 {
        return;
    }
    let bare = person.skin;
    let width = place.width;
    let curve = (1.0 - length * length).max(0.0);
    let smile = scene.expression.smile.max(0.0);
    let open = eyes.opening * scene.expression.open_eyes;
    let upper = open * curve.powf(0.75) - 0.012 * length;
    let lower = -open * (0.62 - 0.22 * smile) * curve - 0.012 * length;
    let inside = (upper - v).min(v - lower).min((1.0 - length.abs()) * eyes.half_width);
    let opened = cover(inside, width);
    if opened > 0.0 {
        let (gaze_x, gaze_y) = scene.expression.gaze;
        let (iris_x, iris_y) = (u - side * gaze_x * 0.055, v - 0.008 - gaze_y * 0.03);
        let distance = iris_x.hypot(iris_y);
        let white = vector(0.72, 0.69, 0.66) * (0.72 + 0.28 * curve);
        let mut colour = white;
        let fibre =
            noise::smooth(8.0 * iris_x.atan2(iris_y), 30.0 * distance, person.grain ^ 0x1215);
        let edge = smooth(0.55, 1.0, distance / eyes.iris_radius);
        let iris = eyes.iris * (1.15 - 0.75 * edge + 0.5 * (fibre - 0.5));
        colour = colour.mix(iris, cover(eyes.iris_radius - distance, width));
        colour = colour.mix(BLACK, cover(0.44 * eyes.iris_radius - distance, width));
        let glint = (iris_x - side * scene.light.x * 0.03).hypot(iris_y - 0.018);
        colour = colour.mix(WHITE, 0.85 * cover(0.012 - glint, width));
        // The upper lid throws a shadow.
        colour = colour * (1.0 - 0.5 * smooth(0.035, 0.0, upper - v));
        surface.paint(colour, opened);
        surface.shine = surface.shine.max(0.3 * opened);
    }
    let along = smooth(1.12, 0.9, length.abs());
    let lash = 0.008 + 0.020 * eyes.lashes * (0.6 + 0.4 * length);
    let upper_lash = cover(lash - (v - upper).abs(), width.max(0.008)) * along;
    surface.paint(BLACK, (0.45 + 0.5 * eyes.lashes) * upper_lash);
    let lower_lash = cover(0.007 - (v - lower).abs(), width.max(0.008)) * along;
    surface.paint(bare * 0.25, 0.45 * lower_lash);
    let crease = (v - upper - 0.035 - 0.01 * curve).abs();
    surface.paint(bare * 0.4, eyes.crease * along * (1.0 - smooth(0.004, 0.02 + width, crease)));
    let bag = (v - lower + 0.05 + 0.03 * (1.0 - curve)).abs();
    let tired = 0.15 + 0.45 * smooth(0.4, 1.0, person.age);
    surface.paint(bare * 0.5, tired * along * (1.0 - smooth(0.006, 0.03 + width, bag)));
}

fn brow(person: &Person, scene: &Scene, place: Place, side: f32, surface: &mut Surface) {
    let brows = &person.brows;
    let u = (side * place.x - person.eyes.apart + brows.inwards) / brows.half_length;
    if u.abs() > 1.15 {
        return;
    }
    let middle = person.eyes.height
        + brows.above
        + scene.expression.raised_brows
        + brows.tilt * u * brows.half_length
        + brows.arch * (1.0 - (u - 0.25) * (u - 0.25));
    let taper = (1.0 - smooth(0.35, 1.1, u)) * smooth(-1.12, -0.85, u);
    let thickness = brows.thickness * (0.35 + 0.65 * taper);
    let strand =
        noise::smooth(place.x * 45.0 + place.y * 30.0, place.y * 60.0, person.grain ^ 0xB0);
    let inside = thickness - (place.y - middle).abs() - 0.012 * strand;
    let soft = cover(inside, place.width.max(0.022)) * smooth(0.0, 0.12, taper);
    let colour = person.hair.colour.mix(person.skin * 0.35, 0.35);
    surface.paint(colour, brows.strength * soft);
}

fn nostrils(person: &Person, place: Place, surface: &mut Surface) {
    let nose = &person.nose;
    let base = person.eyes.height - nose.length;
    let (across, y) = (place.x.abs(), place.y - base);
    if across > nose.width * 1.5 || y.abs() > 0.2 {
        return;
    }
    let hole =
        ellipse(across - 0.46 * nose.width, y + 0.062, nose.nostrils * 1.15, nose.nostrils * 0.75);
    let soft = 0.3 + place.width / nose.nostrils;
    surface.paint(person.skin * 0.10, 0.92 * (1.0 - smooth(1.0 - soft, 1.0 + soft, hole)));
    let wing =
        (ellipse(across - 0.55 * nose.width, y + 0.02, 0.40 * nose.width, 0.085) - 1.0).abs();
    let outer = smooth(0.65, 1.0, across / nose.width) * smooth(0.05, -0.02, y);
    surface.paint(person.skin * 0.45, 0.55 * outer * (1.0 - smooth(0.06, 0.34, wing)));
    let below = ellipse(place.x, y + 0.085, 0.85 * nose.width, 0.035);
    surface.paint(person.skin * 0.5, 0.35 * (1.0 - smooth(0.2, 1.0, below)));
}

fn mouth(person: &Person, scene: &Scene, place: Place, surface: &mut Surface) {
    let lips = &person.mouth;
    let expression = &scene.expression;
    let half_width = lips.half_width * (1.0 + 0.22 * expression.smile);
    let u = place.x / half_width;
    if u.abs() > 1.3 {
        return;
    }
    let width = place.width;
    let curve = (1.0 - u * u).max(0.0);
    let lift = (lips.corners + 0.055 * expression.smile) * (u * u - 0.35);
    let v = place.y - lips.height - lift;
    let gap = 0.085 * expression.open_mouth * curve;
    let bow = lips.bow * 0.35 * (1.0 - smooth(0.0, 0.28, u.abs()));
    let thin = 1.0 - 0.25 * expression.smile.max(0.0);
    let top = gap * 0.4 + lips.upper * thin * curve.powf(0.6) * (1.0 - bow) + 0.004 * curve;
    let bottom = -gap - lips.lower * thin * curve.powf(0.7) - 0.004 * curve;
    let inside = (top - v).min(v - bottom).min((1.0 - u.abs()) * half_width);
    let on_lips = cover(inside, width.max(0.012));
    let below = ellipse(place.x, v - bottom + 0.055, 0.55 * half_width, 0.045);
    surface.paint(person.skin * 0.55, 0.4 * (1.0 - smooth(0.2, 1.0, below)));
    if on_lips > 0.0 {
        let rounding = if v > 0.0 { 0.80 } else { 0.92 + 0.16 * smooth(bottom, 0.4 * bottom, v) };
        surface.paint(lips.colour * rounding, on_lips);
        surface.shine = surface.shine.max(0.35 * on_lips);
    }
    let opened = cover((gap * 0.4 - v).min(v + gap), width.max(0.008));
    if gap > 0.004 && opened > 0.0 && u.abs() < 1.0 {
        let teeth = smooth(-gap * 0.55, -gap * 0.25, v) * smooth(0.9, 0.7, u.abs());
        let tooth = 0.9 + 0.1 * ((u * 9.0).fract() - 0.5).abs().sqrt();
        let colour = vector(0.045, 0.012, 0.012).mix(vector(0.66, 0.62, 0.54) * tooth, teeth);
        surface.paint(colour, opened);
    } else {
        let line = cover(0.008 - v.abs(), width.max(0.014)) * smooth(1.08, 0.95, u.abs());
        surface.paint(lips.colour * 0.18, 0.85 * line);
    }
}

fn hair_of_beard(
    person: &Person,
    beard: &Beard,
    scene: &Scene,
    place: Place,
    surface: &mut Surface,
) {
    let Place { x, y, width } = place;
    let lips = &person.mouth;
    let (across, under_nose) = (x.abs(), person.eyes.height - person.nose.length - 0.07);
    let ragged = 0.05 * (noise::smooth(x * 16.0, y * 16.0, person.grain ^ 0xBEA2) - 0.5);
    let on_chin = smooth(0.40, 0.28, across + ragged) * smooth(-0.55, -0.66, y - ragged);
    let jaw_line = -0.05 - 0.62 * smooth(0.75, 0.30, across);
    let on_cheeks = smooth(jaw_line + 0.06, jaw_line - 0.06, y - ragged);
    let lip_top = lips.height + lips.upper + 0.012;
    let on_lip = smooth(under_nose + 0.01, under_nose - 0.05, y)
        * smooth(lip_top - 0.01, lip_top + 0.02, y)
        * smooth(0.34, 0.24, across);
    let share = (beard.chin * on_chin).max(beard.cheeks * on_cheeks).max(beard.moustache * on_lip);
    if share <= 0.0 {
        return;
    }
    let half_width = lips.half_width * 1.08;
    let on_mouth = ellipse(x, y - lips.height + 0.01, half_width, 0.05 + lips.lower);
    let bare_mouth = if y > lip_top - 0.01 { 1.0 } else { smooth(0.8, 1.15, on_mouth) };
    let strands = noise::smooth(x * 70.0, y * 28.0, person.grain ^ 0x57AB);
    let dense = (share * scene.beard * (0.45 + 0.6 * beard.length)).min(1.0);
    let grown = (dense * (0.75 + 0.5 * strands)).min(0.96) * bare_mouth;
    let colour = person.hair.colour.mix(person.skin * 0.3, 0.25 * (1.0 - beard.length));
    surface.paint(colour * (0.75 + 0.6 * strands), grown);
    surface.shine *= 1.0 - 0.8 * grown * cover(1.0, width);
}

fn glasses(person: &Person, worn: &Glasses, tint: f32, place: Place, surface: &mut Surface) {
    let (across, y) = (place.x.abs(), place.y - person.eyes.height + 0.01);
    if y.abs() > worn.half_height + 0.1 {
        return;
    }
    let apart = person.eyes.apart * 1.02;
    let (u, v) = ((across - apart).abs() / worn.half_width, y.abs() / worn.half_height);
    let radius = (u.powf(worn.power) + v.powf(worn.power)).powf(1.0 / worn.power);
    let outside = (radius - 1.0) * worn.half_height.min(worn.half_width);
    let soft = place.width.max(0.008);
    let lens = cover(-outside, soft);
    surface.paint(vector(0.015, 0.015, 0.018), tint * lens);
    surface.shine = surface.shine.max(0.10 * lens);
    let rim = cover(worn.rim - outside.abs(), soft);
    let bridge = cover(worn.rim * 0.9 - (y - 0.02).abs(), soft)
        * cover(apart - worn.half_width - across, soft);
    let temple = cover(worn.rim * 0.9 - (y - 0.05).abs(), soft)
        * cover(across - apart - worn.half_width, soft);
    let frame = rim.max(bridge).max(temple);
    surface.paint(worn.colour, frame);
    surface.shine = surface.shine.max(0.5 * frame);
}

/// Returns 0 in the middle of an ellipse, 1 on its edge, more outside.
fn ellipse(x: f32, y: f32, across: f32, up: f32) -> f32 {
    (x / across).hypot(y / up)
}
