//! What a parameter may be: the JSON Schema of a kind, read in the words of a pipeline file.

use serde_json::Value;

pub use crate::bounds::Bounds;
use crate::bounds::range_words;

/// A part of the JSON Schema of a kind.
#[derive(Clone, Copy)]
pub struct Schema<'s> {
    root: &'s Value,
    here: &'s Value,
}

/// What a value may be.
pub enum Shape<'s> {
    /// A table with these keys.
    Table(Vec<Field<'s>>),
    /// A table with any keys.
    Map(Schema<'s>),
    /// A table with one of these keys, or a string where the choice has no parameters.
    Choice(Vec<Choice<'s>>),
    /// An array.
    Array {
        /// What each item may be.
        items: Option<Schema<'s>>,
        /// The fewest and the most items.
        length: (Option<u64>, Option<u64>),
    },
    /// A string.
    String,
    /// An integer.
    Integer(Bounds<i128>),
    /// A number with or without a fraction.
    Number(Bounds<f64>),
    /// True or false.
    Boolean,
    /// Anything.
    Any,
}

/// A key of a table.
pub struct Field<'s> {
    /// The key.
    pub name: &'s str,
    /// Its documentation.
    pub about: Option<&'s str>,
    /// The value it has where it is not written.
    pub default: Option<&'s Value>,
    /// Whether it must be written.
    pub required: bool,
    /// What its value may be.
    pub schema: Schema<'s>,
}

/// One of several things a value may be.
pub struct Choice<'s> {
    /// Its name.
    pub name: &'s str,
    /// Its documentation.
    pub about: Option<&'s str>,
    /// Its parameters, when it has any.
    pub body: Option<Schema<'s>>,
}

impl<'s> Schema<'s> {
    /// Reads the schema of a kind.
    #[must_use]
    pub fn new(root: &'s Value) -> Self {
        Self { root, here: root }
    }

    fn at(self, here: &'s Value) -> Self {
        Self { here, ..self }
    }

    /// Whether values of this place are paths ([`stages::Source`]).
    #[must_use]
    pub fn is_source(self) -> bool {
        let names_source = |node: &Value| node["$ref"].as_str() == Some("#/$defs/Source");
        names_source(self.here)
            || self.here["anyOf"].as_array().is_some_and(|any| any.iter().any(names_source))
    }

    /// What a value must be, with its article: `an integer`, `a path`.
    #[must_use]
    pub fn words(self) -> String {
        match self.shape() {
            Shape::String if self.is_source() => "a path".to_owned(),
            Shape::Array { items: Some(items), .. } if items.is_source() => {
                "an array of paths".to_owned()
            }
            shape => shape.words(),
        }
    }

    /// The documentation of the place, or of its type.
    #[must_use]
    pub fn about(self) -> Option<&'s str> {
        let own = self.here["description"].as_str();
        own.or_else(|| self.resolved().here["description"].as_str())
    }

    /// Follows references, and `Option` to what it is an option of.
    fn resolved(self) -> Self {
        const MOST_HOPS: usize = 16;
        let mut here = self.here;
        for _ in 0..MOST_HOPS {
            let target = here["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
            let inner = ["anyOf", "allOf"].into_iter().find_map(|word| {
                let any = here[word].as_array()?;
                let mut real = any.iter().filter(|one| one["type"] != "null");
                real.next().filter(|_| real.next().is_none())
            });
            match target.and_then(|pointer| self.root.pointer(pointer)).or(inner) {
                Some(next) => here = next,
                None => break,
            }
        }
        self.at(here)
    }

    /// What a value at this place may be.
    #[must_use]
    pub fn shape(self) -> Shape<'s> {
        let schema = self.resolved();
        let here = schema.here;
        if let Some(choices) = schema.choices() {
            return Shape::Choice(choices);
        }
        let kind = match &here["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("")
            }
            _ => "",
        };
        match kind {
            "object" => match (&here["properties"], &here["additionalProperties"]) {
                (Value::Null, Value::Null | Value::Bool(true)) => {
                    Shape::Map(schema.at(&Value::Null))
                }
                (Value::Null, Value::Object(_)) => {
                    Shape::Map(schema.at(&here["additionalProperties"]))
                }
                _ => Shape::Table(schema.fields()),
            },
            "array" => Shape::Array {
                items: here.get("items").map(|items| schema.at(items)),
                length: (here["minItems"].as_u64(), here["maxItems"].as_u64()),
            },
            "string" => Shape::String,
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer(schema.integer_bounds()),
            "number" => Shape::Number(schema.number_bounds()),
            _ => Shape::Any,
        }
    }

    /// What stands below a key of this place.
    #[must_use]
    pub fn below(self, key: &str) -> Option<Self> {
        match self.shape() {
            Shape::Table(fields) => {
                fields.into_iter().find(|field| field.name == key).map(|field| field.schema)
            }
            Shape::Map(values) => Some(values),
            Shape::Choice(choices) => {
                choices.into_iter().find(|choice| choice.name == key).and_then(|choice| choice.body)
            }
            _ => None,
        }
    }

    fn fields(self) -> Vec<Field<'s>> {
        let required = |name: &str| {
            let names = self.here["required"].as_array();
            names.is_some_and(|names| names.iter().any(|other| other == name))
        };
        let properties = self.here["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, node)| {
                let schema = self.at(node);
                Field {
                    name,
                    about: schema.about(),
                    default: node.get("default"),
                    required: required(name),
                    schema,
                }
            })
            .collect()
    }

    /// The choices, where this is one: an enum, whose variants are strings or tables of one key.
    fn choices(self) -> Option<Vec<Choice<'s>>> {
        if let Some(names) = self.here["enum"].as_array() {
            let plain = |name| Choice { name, about: None, body: None };
            return names.iter().map(|name| name.as_str().map(plain)).collect();
        }
        let mut choices = Vec::new();
        for variant in self.here["oneOf"].as_array()? {
            let about = variant["description"].as_str();
            if let Some(name) = variant["const"].as_str() {
                choices.push(Choice { name, about, body: None });
            } else if let Some(names) = variant["enum"].as_array() {
                let names = names.iter().filter_map(Value::as_str);
                choices.extend(names.map(|name| Choice { name, about, body: None }));
            } else {
                let mut properties = variant["properties"].as_object()?.iter();
                let (name, node) = properties.next()?;
                if properties.next().is_some() {
                    return None;
                }
                let body = self.at(node);
                choices.push(Choice { name, about: about.or(body.about()), body: Some(body) });
            }
        }
        Some(choices)
    }

    fn integer_bounds(self) -> Bounds<i128> {
        let whole = |word: &str| {
            let bound = &self.here[word];
            let exact = bound.as_i64().map(i128::from).or(bound.as_u64().map(i128::from));
            // Bounds of `range(min = 1)` may be written as floats; they are small.
            #[expect(clippy::cast_possible_truncation, reason = "the bound is a whole number")]
            exact.or_else(|| bound.as_f64().map(|bound| bound as i128))
        };
        let (fits_from, fits_to) = match self.here["format"].as_str() {
            Some("uint8") => (0, i128::from(u8::MAX)),
            Some("uint16") => (0, i128::from(u16::MAX)),
            Some("uint32") => (0, i128::from(u32::MAX)),
            Some("uint" | "uint64") => (0, i128::from(u64::MAX)),
            Some("int8") => (i128::from(i8::MIN), i128::from(i8::MAX)),
            Some("int16") => (i128::from(i16::MIN), i128::from(i16::MAX)),
            Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        let minimum = whole("minimum").or(whole("exclusiveMinimum").map(|bound| bound + 1));
        let maximum = whole("maximum").or(whole("exclusiveMaximum").map(|bound| bound - 1));
        Bounds {
            minimum: Some(minimum.unwrap_or(fits_from)),
            maximum: Some(maximum.unwrap_or(fits_to)),
            above: false,
            below: false,
        }
    }

    fn number_bounds(self) -> Bounds<f64> {
        let bound = |word: &str| self.here[word].as_f64();
        Bounds {
            minimum: bound("minimum").or(bound("exclusiveMinimum")),
            maximum: bound("maximum").or(bound("exclusiveMaximum")),
            above: bound("exclusiveMinimum").is_some(),
            below: bound("exclusiveMaximum").is_some(),
        }
    }
}

impl Shape<'_> {
    /// What a value must be, with its article: `an integer`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Shape::Table(_) | Shape::Map(_) => "a table".to_owned(),
            Shape::Choice(choices) => {
                let names = choices.iter().map(|choice| choice.name);
                format!("a choice of {}", crate::suggest::one_of(names))
            }
            Shape::Array { items: Some(items), .. } => match items.shape() {
                Shape::String => "an array of strings".to_owned(),
                Shape::Integer(_) => "an array of integers".to_owned(),
                Shape::Number(_) => "an array of numbers".to_owned(),
                Shape::Table(_) | Shape::Choice(_) => "an array of tables".to_owned(),
                _ => "an array".to_owned(),
            },
            Shape::Array { .. } => "an array".to_owned(),
            Shape::String => "a string".to_owned(),
            Shape::Integer(_) => "an integer".to_owned(),
            Shape::Number(_) => "a number".to_owned(),
            Shape::Boolean => "true or false".to_owned(),
            Shape::Any => "a value".to_owned(),
        }
    }

    /// The range of the value, in words.
    #[must_use]
    pub fn range(&self) -> Option<String> {
        match self {
            Shape::Integer(bounds) => bounds.words(),
            Shape::Number(bounds) => bounds.words(),
            Shape::Array { length: (None, None), .. } => None,
            Shape::Array { length: (from, to), .. } => {
                let items = if to.or(*from) == Some(1) { "item" } else { "items" };
                let range = match from {
                    Some(count) if from == to => Some(count.to_string()),
                    _ => range_words(*from, *to, (false, false)),
                };
                range.map(|range| format!("{range} {items}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(schema: &Value) -> String {
        let shape = Schema::new(schema).shape();
        match shape.range() {
            Some(range) => format!("{}, {range}", shape.words()),
            None => shape.words(),
        }
    }

    #[test]
    fn shapes_are_said_in_the_words_of_a_pipeline_file() {
        let cases = [
            (
                json!({"type": "integer", "format": "uint32", "minimum": 1}),
                "an integer, at least 1",
            ),
            (
                json!({"type": ["integer", "null"], "minimum": 8, "maximum": 9}),
                "an integer, from 8 to 9",
            ),
            (json!({"type": "integer", "format": "int64"}), "an integer"),
            (json!({"type": "number", "exclusiveMinimum": 0.0}), "a number, above 0"),
            (
                json!({"type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0}),
                "a number, at least 0 and below 1",
            ),
            (json!({"type": "string", "enum": ["a", "b"]}), "a choice of a or b"),
            (
                json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
                "an array of integers, 2 items",
            ),
            (json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}), "true or false"),
            (json!({"type": "object", "additionalProperties": {"type": "string"}}), "a table"),
            (json!({"$ref": "#/$defs/X", "$defs": {"X": {"type": "string"}}}), "a string"),
            (json!({"$ref": "#"}), "a value"),
        ];
        for (schema, expected) in cases {
            assert_eq!(words(&schema), expected, "{schema}");
        }
    }
}
