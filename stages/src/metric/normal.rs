//! The standard normal distribution function.

/// Returns P(Z < x) of a standard normal Z, with a relative error below 1e-12; 0 below -37.
///
/// The rational approximation of Hart 1968, in the form of West 2005, "Better approximations to
/// cumulative normal functions".
pub(crate) fn cumulative(x: f64) -> f64 {
    let distance = x.abs();
    let tail = if distance > 37.0 {
        0.0
    } else {
        let density = (-distance * distance / 2.0).exp();
        if distance < 3.0 {
            let above = polynomial(
                distance,
                &[
                    3.526_249_659_989_11e-2,
                    0.700_383_064_443_688,
                    6.373_962_203_531_65,
                    33.912_866_078_383,
                    112.079_291_497_871,
                    221.213_596_169_931,
                    220.206_867_912_376,
                ],
            );
            let below = polynomial(
                distance,
                &[
                    8.838_834_764_831_84e-2,
                    1.755_667_163_182_64,
                    16.064_177_579_207,
                    86.780_732_202_946_1,
                    296.564_248_779_674,
                    637.333_633_378_831,
                    793.826_512_519_948,
                    440.413_735_824_752,
                ],
            );
            density * above / below
        } else {
            // The continued fraction of Laplace, as Hart's quotient loses digits to its own rounding here.
            let fraction =
                (1..=120).rev().fold(distance, |below, k| distance + f64::from(k) / below);
            density / (fraction * std::f64::consts::TAU.sqrt())
        }
    };
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// Evaluates a polynomial, highest power first (Horner).
fn polynomial(x: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().fold(0.0, |value, coefficient| value * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::cumulative;

    /// Values of `scipy.stats.norm.cdf`.
    #[test]
    fn values_are_those_of_scipy() {
        for (x, expected) in [
            (-30.0, 4.906_713_927_147_908e-198),
            (-8.0, 6.220_960_574_271_74e-16),
            (-7.0, 1.279_812_543_885_835e-12),
            (-3.0, 1.349_898_031_630_093_3e-3),
            (-1.0, 0.158_655_253_931_457_07),
            (0.0, 0.5),
            (0.3, 0.617_911_422_188_952_6),
            (6.0, 0.999_999_999_013_412_3),
            (50.0, 1.0),
        ] {
            let found = cumulative(x);
            assert!((found - expected).abs() <= 1e-12 * expected, "{x}: {found} {expected}");
        }
    }

    #[test]
    fn it_rises_and_is_symmetric() {
        let values: Vec<f64> =
            (-400..=400).map(|step| cumulative(f64::from(step) / 50.0)).collect();
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
        for (low, high) in values.iter().zip(values.iter().rev()) {
            assert!((low + high - 1.0).abs() < 1e-14);
        }
    }
}
