//! A person in a scene, seen: which surface lies at each sample, and how it is lit.

use super::ellipsoid::{Ellipsoid, Hit};
use super::face::{self, Place, Surface};
use super::noise;
use super::person::{Person, Style};
use super::scene::{Background, Occluder, Scene};
use super::space::{Rotation, Vector, cover, smooth, vector};

/// Half the height of what is seen, in units of the head.
const VIEW: f32 = 1.22;

/// A person in a scene, ready to be looked at.
pub(super) struct Render<'a> {
    person: &'a Person,
    scene: &'a Scene,
    rotation: Rotation,
    head: Ellipsoid,
    nose: [Ellipsoid; 4],
    ears: [Ellipsoid; 2],
    neck: Ellipsoid,
    body: Ellipsoid,
    cap: Option<Ellipsoid>,
    behind: Option<Ellipsoid>,
    bun: Option<Ellipsoid>,
    brim: Option<Ellipsoid>,
    crown: Option<Ellipsoid>,
}

impl<'a> Render<'a> {
    /// Places the parts of the head in the view.
    pub(super) fn new(person: &'a Person, scene: &'a Scene) -> Self {
        let rotation = Rotation::of_head(scene.yaw, scene.pitch, scene.roll);
        let part = |centre, radii| Ellipsoid::of_head(rotation, centre, radii);
        let radii = person.head;
        let base = person.eyes.height - person.nose.length;
        let nose = &person.nose;
        let front = radii.z * (1.0 - (base / radii.y).powi(2)).max(0.0).sqrt();
        let wing = |side: f32| {
            let width = 0.42 * nose.width;
            part(vector(side * 0.52 * nose.width, base, front - 0.02), vector(width, 0.085, 0.13))
        };
        let noses = [
            part(
                vector(0.0, 0.5 * (base + person.eyes.height) + 0.03, front - 0.02),
                vector(nose.bridge, 0.30, 0.14),
            ),
            part(vector(0.0, base + 0.03, front + 0.02), vector(0.72 * nose.tip, 0.10, 0.19)),
            wing(-1.0),
            wing(1.0),
        ];
        let ear = |side: f32| {
            let size = person.ear;
            part(
                vector(side * radii.x * 0.99, -0.06, -0.10),
                vector(0.10 * size, 0.24 * size, 0.17 * size),
            )
        };
        let hair = &person.hair;
        let volume = hair.volume * scene.hair_volume;
        let thick = match hair.style {
            Style::Bald => 0.0,
            Style::Receding | Style::Cropped => 0.025,
            Style::Short | Style::TiedUp => 0.06 * volume,
            Style::Parted | Style::Fringe => 0.10 * volume,
            Style::Long => 0.11 * volume,
            Style::Curly => 0.24 * volume,
        };
        let thick = if scene.hat.is_some() { thick.min(0.06) } else { thick };
        let cap = vector(radii.x + thick, radii.y + thick, radii.z + 0.8 * thick);
        let upright = Rotation::of_head(0.4 * scene.yaw, 0.0, 0.3 * scene.roll);
        Self {
            person,
            scene,
            rotation,
            head: part(vector(0.0, 0.0, 0.0), radii),
            nose: noses,
            ears: [ear(-1.0), ear(1.0)],
            neck: Ellipsoid::of_head(
                upright,
                vector(0.0, -1.25, -0.22),
                vector(person.neck, 0.85, 0.42),
            ),
            body: Ellipsoid::of_head(upright, vector(0.0, -2.25, -0.25), vector(1.35, 0.78, 0.55)),
            cap: (thick > 0.0).then(|| part(vector(0.0, 0.02, -0.04), cap)),
            behind: match hair.style {
                Style::Long => Some(part(
                    vector(0.0, -0.45, -0.35),
                    vector(radii.x * (1.02 + 0.16 * volume), 1.15, 0.55),
                )),
                _ => None,
            },
            bun: (hair.style == Style::TiedUp && scene.hat.is_none()).then(|| {
                part(vector(0.0, 1.02, -0.42), vector(0.30 * volume, 0.28 * volume, 0.30))
            }),
            brim: scene.hat.map(|_| {
                part(vector(0.0, 0.50, 0.10), vector(radii.x + 0.22, 0.06, radii.z + 0.28))
            }),
            crown: scene.hat.map(|_| {
                part(vector(0.0, 0.42, -0.02), vector(radii.x + 0.09, 0.80, radii.z + 0.07))
            }),
        }
    }

    /// Returns the light that reaches the camera from each sample of a square image, row by row.
    pub(super) fn image(&self, side: usize) -> Vec<Vector> {
        let step = 2.0 * VIEW / side as f32;
        let place = |index: usize| (index as f32 + 0.5) * step - VIEW;
        let mut light = Vec::with_capacity(side * side);
        for row in 0..side {
            for column in 0..side {
                light.push(self.sample(place(column), -place(row), step));
            }
        }
        light
    }

    /// Looks along one ray.
    fn sample(&self, x: f32, y: f32, step: f32) -> Vector {
        let scene = self.scene;
        let (dx, dy) = scene.shift;
        let (head_x, head_y) = ((x - dx) / scene.scale, (y - dy) / scene.scale);
        let width = step / scene.scale;
        let seen = self.solid(head_x, head_y, width);
        let light = match seen {
            Some((hit, surface, shade)) => self.lit(hit, surface) * shade,
            None => background(&scene.background, x, y).times(scene.ambient + scene.sun * 0.35),
        };
        match &scene.occluder {
            Some(occluder) => {
                let share = occluder.cover(x, y, step);
                light.mix(occluder.colour.times(scene.ambient + scene.sun * 0.4), share)
            }
            None => light,
        }
    }

    /// Returns what lies foremost: where, of what, and how much of the light reaches it.
    fn solid(&self, x: f32, y: f32, width: f32) -> Option<(Hit, Surface, f32)> {
        let mut best: Option<(Hit, Surface, f32)> = None;
        let mut put = |hit: Hit, surface: Surface, shade: f32| {
            if best.as_ref().is_none_or(|(other, ..)| hit.z > other.z) {
                best = Some((hit, surface, shade));
            }
        };
        let (person, scene) = (self.person, self.scene);
        let skin = |colour| Surface { colour, shine: 0.12 };
        if let Some(hit) = self.body.hit(x, y) {
            let fold = noise::smooth(x * 5.0, y * 5.0, scene.background.seed ^ 0x50F7);
            put(hit, Surface { colour: scene.shirt * (0.8 + 0.4 * fold), shine: 0.02 }, 1.0);
        }
        if let Some(hit) = self.neck.hit(x, y) {
            put(hit, skin(person.skin * 0.9), 0.35 + 0.65 * smooth(-1.0, -1.55, y));
        }
        if let Some(hit) = self.behind.as_ref().and_then(|part| part.hit(x, y)) {
            put(hit, self.strands(x, y), 0.7);
        }
        if let Some(hit) = self.bun.as_ref().and_then(|part| part.hit(x, y)) {
            put(hit, self.strands(x * 1.7, y * 1.7), 0.9);
        }
        for ear in &self.ears {
            if let Some(hit) = ear.hit(x, y) {
                let inner = smooth(0.55, 0.95, hit.normal.z);
                put(
                    hit,
                    skin(person.skin.times(vector(1.0, 0.90, 0.88)) * (1.0 - 0.25 * inner)),
                    0.9,
                );
            }
        }
        if let Some((hit, surface, shade)) = self.face(x, y, width) {
            put(hit, surface, shade);
        }
        if let Some(hit) = self.cap.as_ref().and_then(|part| self.ruffled(part, x, y)) {
            let point = self.rotation.to_head(vector(x, y, hit.z));
            if self.is_hair(point) && (scene.hat.is_none() || point.y < 0.5) {
                put(hit, self.strands(point.x, point.y), 1.0);
            }
        }
        if let Some(colour) = scene.hat {
            let cloth = Surface { colour, shine: 0.03 };
            if let Some(hit) = self.crown.as_ref().and_then(|part| part.hit(x, y))
                && self.rotation.to_head(vector(x, y, hit.z)).y > 0.46
            {
                put(hit, cloth, 1.0);
            }
            if let Some(hit) = self.brim.as_ref().and_then(|part| part.hit(x, y)) {
                put(hit, Surface { colour: colour * 0.7, shine: 0.03 }, 1.0);
            }
        }
        best
    }

    /// Returns the skin of the head, with the nose melted into it.
    fn face(&self, x: f32, y: f32, width: f32) -> Option<(Hit, Surface, f32)> {
        let (person, scene) = (self.person, self.scene);
        // The head is an ellipsoid made narrower towards the chin, along the axis of the face.
        let up = self.rotation.to_view(vector(0.0, 1.0, 0.0));
        let along = (x * up.x + y * up.y) / (up.x * up.x + up.y * up.y);
        let narrow = self.narrow(along);
        let (axis_x, axis_y) = (up.x * along, up.y * along);
        let (wide_x, wide_y) = (axis_x + (x - axis_x) / narrow, axis_y + (y - axis_y) / narrow);
        let mut hit = self.head.hit(wide_x, wide_y)?;
        for part in &self.nose {
            if let Some(other) = part.hit(x, y) {
                hit = hit.melt(other, 0.07);
            }
        }
        let point = self.rotation.to_head(vector(x, y, hit.z));
        let place = Place { x: point.x, y: point.y, width };
        if point.z < 0.0 {
            return Some((hit, Surface { colour: person.skin, shine: 0.1 }, 1.0));
        }
        let surface = face::surface(person, scene, place);
        let under_brim =
            if scene.hat.is_some() { 1.0 - 0.45 * smooth(0.25, 0.5, point.y) } else { 1.0 };
        // The brow ridge, the nose and the lower lip keep light from what is below them.
        let sockets = 1.0 - 0.18 * smooth(0.16, 0.0, (point.y - person.eyes.height - 0.05).abs());
        Some((hit, surface, sockets * under_brim))
    }

    /// Returns how wide the head is at a height, as a share of an ellipsoid's width.
    fn narrow(&self, height: f32) -> f32 {
        let (jaw, chin) = (self.person.jaw, self.person.chin);
        let at_jaw = 1.0 + (jaw - 1.0) * smooth(0.15, -0.50, height);
        at_jaw * (1.0 + (chin - 1.0) * smooth(-0.45, -1.05, height))
    }

    /// Meets the cap of hair, whose outline is ruffled where hair is curly.
    fn ruffled(&self, cap: &Ellipsoid, x: f32, y: f32) -> Option<Hit> {
        let rough = match self.person.hair.style {
            Style::Curly => 0.10,
            Style::Cropped | Style::Receding => 0.005,
            _ => 0.025,
        };
        let frequency = if self.person.hair.style == Style::Curly { 6.0 } else { 14.0 };
        let bump = noise::smooth(x * frequency, y * frequency, self.person.grain ^ 0xCA9);
        let factor = 1.0 + rough * (bump - 0.3);
        let mut hit = cap.hit(x * factor, y * factor)?;
        if self.person.hair.style == Style::Curly {
            let slope = noise::smooth(x * 11.0, y * 11.0, self.person.grain ^ 0x11);
            hit.normal = (hit.normal + vector(slope - 0.5, 0.5 - bump, 0.0) * 1.2).unit();
        }
        Some(hit)
    }

    /// Returns whether hair grows at a point of the cap, in the head's frame.
    fn is_hair(&self, point: Vector) -> bool {
        let hair = &self.person.hair;
        let around = point.z / point.x.hypot(point.z).max(1e-6);
        let side = point.x / self.person.head.x;
        let front = hair.line
            + self.scene.hair_shift
            + match hair.style {
                Style::Receding => 0.30,
                Style::Fringe => -0.24,
                Style::Long | Style::TiedUp => 0.02,
                _ => 0.0,
            }
            - hair.peak * (1.0 - smooth(0.0, 0.35, side.abs()))
            + match hair.style {
                Style::Parted => 1.6 * hair.part * side - 0.08,
                Style::Long => {
                    0.25 * (1.0 - side.abs()) * (1.0 - smooth(0.0, 0.5, (side - hair.part).abs()))
                }
                _ => 0.3 * hair.part * side,
            };
        let (temple, ends) = match hair.style {
            Style::Long => (-1.1, -1.4),
            Style::Curly => (-0.25, -0.6),
            Style::Fringe => (-0.35, -0.7),
            _ => (-0.02, -0.6),
        };
        let strand = noise::smooth(point.x * 22.0, point.y * 5.0, self.person.grain ^ 0x4A1E) - 0.5;
        let edge_of_face = if hair.style == Style::Long { 0.62 } else { 0.48 };
        let line = if around > edge_of_face {
            front
        } else if around > 0.12 {
            let share = smooth(edge_of_face, 0.12, around);
            front + (temple - front) * share
        } else {
            temple + (ends - temple) * smooth(0.12, -0.3, around)
        };
        point.y + 0.05 * strand > line
    }

    /// Returns hair at a place.
    fn strands(&self, x: f32, y: f32) -> Surface {
        let hair = &self.person.hair;
        let (across, along) = match hair.style {
            Style::Curly => (x * 12.0, y * 12.0),
            Style::Long | Style::Fringe => (x * 2.2 * hair.strands, y * 1.5),
            _ => ((x + 0.4 * y) * 1.8 * hair.strands, (y - 0.4 * x) * 2.5),
        };
        let strand = noise::smooth(across, along, self.person.grain);
        let fine = noise::smooth(across * 2.7, along * 1.3, self.person.grain ^ 0xF1);
        let level = 0.60 + 0.55 * strand + 0.25 * fine;
        Surface { colour: hair.colour * level, shine: 0.10 + 0.12 * strand }
    }

    /// Returns the light that a surface sends to the viewer.
    fn lit(&self, hit: Hit, surface: Surface) -> Vector {
        let scene = self.scene;
        // Light goes a little round the edge, as it does in skin.
        let facing = ((hit.normal.dot(scene.light) + 0.22) / 1.22).max(0.0);
        let sky = 0.72 + 0.28 * hit.normal.y;
        let halfway = (scene.light + vector(0.0, 0.0, 1.0)).unit();
        let gleam = surface.shine * hit.normal.dot(halfway).max(0.0).powi(24);
        surface.colour.times(scene.ambient * sky + scene.sun * facing) + scene.sun * (0.5 * gleam)
    }
}

impl Occluder {
    fn cover(&self, x: f32, y: f32, step: f32) -> f32 {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (sin, cos) = self.turn.sin_cos();
        let radius =
            ((cos * dx + sin * dy) / self.radii.0).hypot((cos * dy - sin * dx) / self.radii.1);
        cover((1.0 - radius) * self.radii.0.min(self.radii.1), step.max(0.02))
    }
}

/// Returns what is behind the person: blots of three colours, more or less apart.
fn background(background: &Background, x: f32, y: f32) -> Vector {
    let Background { colours: [first, second, third], direction, grain, contrast, seed } =
        *background;
    let slope = 0.5 + 0.3 * (x * direction.0 + y * direction.1);
    let base = first.mix(second, slope.clamp(0.0, 1.0));
    let (u, v) = (x * grain, y * grain);
    let blot = noise::smooth(u + 7.0, v - 3.0, seed);
    let fine = noise::smooth(2.3 * u, 2.3 * v, seed ^ 0xB1);
    base.mix(third, contrast * smooth(0.35, 0.70, 0.7 * blot + 0.3 * fine))
        * (1.0 - 0.3 * contrast * fine)
}
