//! Smooth noise over the plane: strands of hair, stubble, freckles, backgrounds.

/// Returns a number in 0..1 that depends on a point of the grid and a seed alone.
pub(super) fn at_point(x: i32, y: i32, seed: u32) -> f32 {
    let mut word = (x as u32).wrapping_mul(0x8DA6_B343)
        ^ (y as u32).wrapping_mul(0xD816_3841)
        ^ seed.wrapping_mul(0xCB1A_B31F);
    // The finalizer of MurmurHash3.
    word = (word ^ (word >> 16)).wrapping_mul(0x85EB_CA6B);
    word = (word ^ (word >> 13)).wrapping_mul(0xC2B2_AE35);
    word ^= word >> 16;
    (word >> 8) as f32 / (1_u32 << 24) as f32
}

/// Returns smooth noise in 0..1 with about one hill per unit.
pub(super) fn smooth(x: f32, y: f32, seed: u32) -> f32 {
    let (left, below) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (right, above) = (ease(x - left), ease(y - below));
    let (i, j) = (left as i32, below as i32);
    let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
    let low = mix(at_point(i, j, seed), at_point(i + 1, j, seed), right);
    let high = mix(at_point(i, j + 1, seed), at_point(i + 1, j + 1, seed), right);
    mix(low, high, above)
}

#[cfg(test)]
mod tests {
    use super::{at_point, smooth};

    #[test]
    fn noise_is_smooth_and_spread() {
        let mut values = Vec::new();
        for step in 0..4000 {
            let x = step as f32 * 0.01 - 20.0;
            let here = smooth(x, 0.3 * x, 5);
            assert!((smooth(x + 0.001, 0.3 * x, 5) - here).abs() < 0.01);
            values.push(here);
        }
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 0.5).abs() < 0.1, "{mean}");
        assert_eq!(smooth(3.0, -7.0, 5), at_point(3, -7, 5));
        assert!(at_point(3, -7, 5) != at_point(3, -7, 6));
    }
}
