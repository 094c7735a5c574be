//! Points and rotations in space.

use std::ops::{Add, Mul, Sub};

/// A point, a direction or a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Vector {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) z: f32,
}

pub(super) const fn vector(x: f32, y: f32, z: f32) -> Vector {
    Vector { x, y, z }
}

impl Vector {
    pub(super) fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    pub(super) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Returns the direction; the vector must not be of length 0.
    pub(super) fn unit(self) -> Self {
        self * (1.0 / self.length())
    }

    /// Multiplies component by component.
    pub(super) fn times(self, other: Self) -> Self {
        vector(self.x * other.x, self.y * other.y, self.z * other.z)
    }

    /// Returns the point at a share of the way to another.
    pub(super) fn mix(self, other: Self, share: f32) -> Self {
        self + (other - self) * share
    }
}

impl Add for Vector {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        vector(self.x + other.x, self.y + other.y, self.z + other.z)
    }
}

impl Sub for Vector {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        vector(self.x - other.x, self.y - other.y, self.z - other.z)
    }
}

impl Mul<f32> for Vector {
    type Output = Self;
    fn mul(self, factor: f32) -> Self {
        vector(self.x * factor, self.y * factor, self.z * factor)
    }
}

/// A rotation: its rows are the axes of the turned frame, seen from the frame it was turned in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation([Vector; 3]);

impl Rotation {
    /// Turns a head: `yaw` to its side, then `pitch` down, then `roll` to the shoulder, in radians.
    pub(super) fn of_head(yaw: f32, pitch: f32, roll: f32) -> Self {
        let ((sy, cy), (sp, cp), (sr, cr)) = (yaw.sin_cos(), pitch.sin_cos(), roll.sin_cos());
        // Columns are where the head's own axes point in the view.
        let right = vector(cy, sp * sy, -cp * sy);
        let up = vector(0.0, cp, sp);
        let front = vector(sy, -sp * cy, cp * cy);
        let roll = |v: Vector| vector(cr * v.x - sr * v.y, sr * v.x + cr * v.y, v.z);
        Self([roll(right), roll(up), roll(front)])
    }

    /// Returns a vector of the head's frame as the view sees it.
    pub(super) fn to_view(self, v: Vector) -> Vector {
        let [right, up, front] = self.0;
        right * v.x + up * v.y + front * v.z
    }

    /// Returns a vector of the view in the head's frame.
    pub(super) fn to_head(self, v: Vector) -> Vector {
        let [right, up, front] = self.0;
        vector(right.dot(v), up.dot(v), front.dot(v))
    }
}

/// Rises smoothly from 0 at `low` to 1 at `high`; falls where `high` is below `low`.
pub(super) fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Returns how much of a sample of this width an edge at signed distance `inside` covers.
pub(super) fn cover(inside: f32, width: f32) -> f32 {
    (0.5 + inside / width).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::{Rotation, vector};

    #[test]
    fn turning_there_and_back_changes_nothing() {
        let rotation = Rotation::of_head(0.5, -0.3, 0.2);
        let v = vector(0.3, -1.2, 0.7);
        let back = rotation.to_head(rotation.to_view(v));
        assert!((back - v).length() < 1e-6, "{back:?}");
        assert!((rotation.to_view(v).length() - v.length()).abs() < 1e-6);
    }

    #[test]
    fn a_turned_head_looks_aside_and_a_bowed_one_down() {
        let front = vector(0.0, 0.0, 1.0);
        let aside = Rotation::of_head(0.5, 0.0, 0.0).to_view(front);
        assert!(aside.x > 0.4 && aside.y.abs() < 1e-6 && aside.z > 0.8, "{aside:?}");
        let down = Rotation::of_head(0.0, 0.3, 0.0).to_view(front);
        assert!(down.y < -0.2 && down.x.abs() < 1e-6, "{down:?}");
    }
}
