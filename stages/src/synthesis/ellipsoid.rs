//! The solid that heads are made of, seen along the axis of view.

use super::space::{Rotation, Vector, vector};

/// An ellipsoid placed in the view, which looks along -z.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ellipsoid {
    centre: Vector,
    /// Columns of the map from an offset in the view to the unit sphere.
    columns: [Vector; 3],
    /// Half the size of its outline, along x and y.
    reach: (f32, f32),
}

/// Where the view meets a solid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// The higher, the nearer to the viewer.
    pub(super) z: f32,
    /// Outwards, of unit length.
    pub(super) normal: Vector,
}

impl Ellipsoid {
    /// Places an ellipsoid of a head: its centre and radii along the head's axes.
    pub(super) fn of_head(rotation: Rotation, centre: Vector, radii: Vector) -> Self {
        let inverse = vector(1.0 / radii.x, 1.0 / radii.y, 1.0 / radii.z);
        let column = |axis: Vector| rotation.to_head(axis).times(inverse);
        let axes = [vector(1.0, 0.0, 0.0), vector(0.0, 1.0, 0.0), vector(0.0, 0.0, 1.0)];
        let reach = |axis: Vector| rotation.to_head(axis).times(radii).length();
        Self {
            centre: rotation.to_view(centre),
            columns: axes.map(column),
            reach: (reach(axes[0]), reach(axes[1])),
        }
    }

    /// Returns the front point seen at (x, y), where there is one.
    pub(super) fn hit(&self, x: f32, y: f32) -> Option<Hit> {
        let (dx, dy) = (x - self.centre.x, y - self.centre.y);
        if dx.abs() > self.reach.0 || dy.abs() > self.reach.1 {
            return None;
        }
        let [right, up, front] = self.columns;
        let start = right * dx + up * dy;
        let (a, b, c) = (front.dot(front), start.dot(front), start.dot(start) - 1.0);
        let discriminant = b * b - a * c;
        if discriminant < 0.0 {
            return None;
        }
        let dz = (discriminant.sqrt() - b) / a;
        let point = start + front * dz;
        let normal = vector(right.dot(point), up.dot(point), front.dot(point)).unit();
        Some(Hit { z: self.centre.z + dz, normal })
    }
}

impl Hit {
    /// Melts two surfaces into one over a depth of about `width`.
    pub(super) fn melt(self, other: Self, width: f32) -> Self {
        let share = (0.5 + 0.5 * (other.z - self.z) / width).clamp(0.0, 1.0);
        let z = self.z + (other.z - self.z) * share + width * share * (1.0 - share);
        Self { z, normal: self.normal.mix(other.normal, share).unit() }
    }
}

#[cfg(test)]
mod tests {
    use super::Ellipsoid;
    use crate::synthesis::space::{Rotation, vector};

    #[test]
    fn the_surface_is_where_the_equation_holds() {
        let rotation = Rotation::of_head(0.4, -0.2, 0.1);
        let (centre, radii) = (vector(0.1, -0.2, 0.3), vector(0.5, 0.8, 0.6));
        let ellipsoid = Ellipsoid::of_head(rotation, centre, radii);
        let mut hits = 0;
        for i in -50..50 {
            for j in -50..50 {
                let (x, y) = (i as f32 / 40.0, j as f32 / 40.0);
                let Some(hit) = ellipsoid.hit(x, y) else { continue };
                hits += 1;
                let p = rotation.to_head(vector(x, y, hit.z)) - centre;
                let scaled = vector(p.x / radii.x, p.y / radii.y, p.z / radii.z);
                assert!((scaled.length() - 1.0).abs() < 1e-4);
                // The gradient of the equation, turned into the view, is the normal.
                let gradient = vector(scaled.x / radii.x, scaled.y / radii.y, scaled.z / radii.z);
                let normal = rotation.to_view(gradient.unit());
                assert!((normal - hit.normal).length() < 1e-3);
                assert!(hit.normal.z > -1e-3, "the front is seen");
            }
        }
        assert!(hits > 1000, "{hits}");
    }
}
