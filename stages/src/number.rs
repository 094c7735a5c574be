//! Numbers that hold only values in range, so that a bad one is an error at its place in the file.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Makes types that wrap an `f64` in range: read from a TOML integer or float, documented in the
/// schema with the limits, and refused outside them.
macro_rules! numbers {
    ($($(#[$meta:meta])* $name:ident($value:ident) $test:expr, $right:literal, $schema:tt;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub(crate) struct $name(f64);

        impl $name {
            /// Wraps a number that is known to be in range.
            pub(crate) fn new($value: f64) -> Self {
                assert!($test, $right);
                Self($value)
            }

            /// Returns the number.
            pub(crate) const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = String;

            fn try_from($value: f64) -> Result<Self, String> {
                if $test {
                    Ok(Self($value))
                } else {
                    Err(format!("{} is out of range: expected {}", $value, $right))
                }
            }
        }

        impl From<$name> for f64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

numbers! {
    /// A probability, or a share of a whole: 0 to 1, both included.
    Probability(value) (0.0..=1.0).contains(&value), "a number from 0 to 1",
        { "type": "number", "minimum": 0, "maximum": 1 };

    /// A share that is never the whole: 0 to 1, 1 left out.
    Fraction(value) (0.0..1.0).contains(&value), "a number from 0 to 1, 1 left out",
        { "type": "number", "minimum": 0, "exclusiveMaximum": 1 };

    /// A number above 0.
    Positive(value) value > 0.0 && value < f64::INFINITY, "a number above 0",
        { "type": "number", "exclusiveMinimum": 0 };

    /// What numbers of channels are multiplied by: a twentieth to 8.
    WidthMultiplier(value) (0.05..=8.0).contains(&value), "a number from 0.05 to 8",
        { "type": "number", "minimum": 0.05, "maximum": 8 };

    /// A number not below 0.
    NonNegative(value) (0.0..f64::INFINITY).contains(&value), "a number not below 0",
        { "type": "number", "minimum": 0 };
}

#[cfg(test)]
mod tests {
    use super::{Fraction, NonNegative, Positive, Probability};
    use schemars::{JsonSchema, schema_for};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Numbers {
        share: Probability,
        momentum: Fraction,
        scale: Positive,
        decay: NonNegative,
    }

    impl Default for Numbers {
        fn default() -> Self {
            Self {
                share: Probability::new(1.0),
                momentum: Fraction::new(0.9),
                scale: Positive::new(64.0),
                decay: NonNegative::new(0.0),
            }
        }
    }

    /// Checks what a line of TOML gives: the four numbers, or the text at fault and the message.
    fn check(line: &str, expected: Result<[f64; 4], (&str, &str)>) {
        let found = toml::from_str::<Numbers>(line)
            .map(|n| [n.share.get(), n.momentum.get(), n.scale.get(), n.decay.get()]);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
            (Err(error), Err((at, message))) => {
                let span = error.span().expect("an error has a place");
                assert_eq!((&line[span], error.message()), (at, message), "{line}");
            }
            (found, expected) => panic!("{line}: {found:?} but expected {expected:?}"),
        }
    }

    #[test]
    fn integers_and_floats_are_numbers() {
        check("scale = 30\nmomentum = 0\nshare = 1", Ok([1.0, 0.0, 30.0, 0.0]));
        check("scale = 0.5\ndecay = 5e-4", Ok([1.0, 0.9, 0.5, 5e-4]));
    }

    #[test]
    fn errors_stand_at_the_value() {
        let error = "1.5 is out of range: expected a number from 0 to 1";
        check("share = 1.5", Err(("1.5", error)));
        let error = "1 is out of range: expected a number from 0 to 1, 1 left out";
        check("momentum = 1", Err(("1", error)));
        check("scale = 0", Err(("0", "0 is out of range: expected a number above 0")));
        check("scale = inf", Err(("inf", "inf is out of range: expected a number above 0")));
        check("decay = nan", Err(("nan", "NaN is out of range: expected a number not below 0")));
        check("decay = \"x\"", Err(("\"x\"", "invalid type: string \"x\", expected f64")));
    }

    #[test]
    fn the_schema_tells_limits_and_defaults() {
        let schema = schema_for!(Numbers);
        let scale = &schema.as_value()["properties"]["scale"];
        assert_eq!(scale["exclusiveMinimum"], 0);
        assert_eq!(scale["default"], 64.0);
        assert_eq!(scale["type"], "number");
    }
}
