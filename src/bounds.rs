//! The smallest and the largest value of a parameter.

/// The smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds<T> {
    /// The smallest.
    pub minimum: Option<T>,
    /// The largest.
    pub maximum: Option<T>,
    /// Whether the smallest is itself too small.
    pub above: bool,
    /// Whether the largest is itself too large.
    pub below: bool,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    /// Whether a value is within.
    pub fn hold(&self, value: T) -> bool {
        let large_enough = self
            .minimum
            .is_none_or(|bound| if self.above { value > bound } else { value >= bound });
        let small_enough = self
            .maximum
            .is_none_or(|bound| if self.below { value < bound } else { value <= bound });
        large_enough && small_enough
    }
}

impl Bounds<i128> {
    /// The bounds in words; those that only say what fits into a machine word are left out.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let machine = |bound: &i128| {
            *bound >= i128::from(u8::MAX) && (bound + 1).count_ones() == 1
                || *bound < -100 && bound.unsigned_abs().count_ones() == 1
        };
        range_words(
            self.minimum.filter(|bound| !machine(bound)),
            self.maximum.filter(|bound| !machine(bound)),
            (false, false),
        )
    }
}

impl Bounds<f64> {
    /// The bounds in words.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        range_words(self.minimum, self.maximum, (self.above, self.below))
    }
}

/// Two bounds in words; `above` and `below` say that they are themselves out of range.
pub(crate) fn range_words<T: std::fmt::Display>(
    minimum: Option<T>,
    maximum: Option<T>,
    (above, below): (bool, bool),
) -> Option<String> {
    match (minimum, maximum) {
        (Some(from), Some(to)) if !above && !below => Some(format!("from {from} to {to}")),
        (Some(from), Some(to)) => {
            let from_word = if above { "above" } else { "at least" };
            let to_word = if below { "below" } else { "at most" };
            Some(format!("{from_word} {from} and {to_word} {to}"))
        }
        (Some(from), None) if above => Some(format!("above {from}")),
        (Some(from), None) => Some(format!("at least {from}")),
        (None, Some(to)) if below => Some(format!("below {to}")),
        (None, Some(to)) => Some(format!("at most {to}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_at_their_ends_or_not() {
        let bounds = Bounds { minimum: Some(0.0), maximum: Some(1.0), above: true, below: false };
        assert_eq!(
            [0.0, 0.5, 1.0, 1.1].map(|value| bounds.hold(value)),
            [false, true, true, false]
        );
    }
}
