//! JSON as a tree with places: files of parameters may be TOML or JSON.

use jsonc_parser::ast::Value as Json;
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::findings::Findings;
use super::tree::{DEEPEST, Entry, Node, Table, Value};
use crate::problem::Problem;
use crate::source_map::{SourceFile, Span};
use crate::suggest::quoted;

/// JSON as it is in RFC 8259, without comments and other liberties.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Parses a source that is a JSON object; what is wrong with it is told.
pub(super) fn parse(source: &SourceFile, base: usize, findings: &mut Findings) -> Table {
    let mut conversion = Conversion { base, findings };
    let parsed = parse_to_ast(source.text(), &CollectOptions::default(), &STRICT);
    match parsed.map(|parsed| parsed.value) {
        Ok(Some(Json::Object(object))) => return conversion.object(object, 1),
        Ok(Some(other)) => {
            let span = conversion.span(other.range());
            conversion.refuse(&span, "a file of parameters holds one JSON object");
        }
        Ok(None) => conversion.refuse(&(base..base), "a file of parameters holds one JSON object"),
        Err(error) => {
            let span = conversion.span(error.range());
            let message = error.kind().to_string();
            let mut letters = message.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            let message: String = first.into_iter().chain(letters).collect();
            conversion.refuse(&span, &message);
        }
    }
    Table::new()
}

struct Conversion<'f> {
    base: usize,
    findings: &'f mut Findings,
}

impl Conversion<'_> {
    fn span(&self, range: Range) -> Span {
        self.base + range.start..self.base + range.end
    }

    fn refuse(&mut self, span: &Span, message: &str) {
        self.findings.set_damaged();
        self.findings.add(span, Problem::new(message));
    }

    fn object(&mut self, object: jsonc_parser::ast::Object<'_>, depth: usize) -> Table {
        let mut table = Table::new();
        for property in object.properties {
            let key = self.span(property.name.range());
            let name = property.name.as_str().to_owned();
            let node = self.node(property.value, depth);
            if table.contains_key(&name) {
                self.refuse(&key, &format!("duplicate key {}", quoted(&name)));
                continue;
            }
            table.insert(name, Entry { order: key.start, key, node });
        }
        table
    }

    fn node(&mut self, value: Json<'_>, depth: usize) -> Node {
        let span = self.span(value.range());
        if depth > DEEPEST && matches!(value, Json::Object(_) | Json::Array(_)) {
            self.refuse(&span, &format!("objects and arrays lie more than {DEEPEST} deep"));
            return Node { span, value: Value::Faulty };
        }
        let value = match value {
            Json::StringLit(text) => Value::String(text.value.into_owned()),
            Json::NumberLit(number) => self.number(number.value, &span),
            Json::BooleanLit(boolean) => Value::Boolean(boolean.value),
            Json::Array(array) => Value::Array(
                array.elements.into_iter().map(|item| self.node(item, depth + 1)).collect(),
            ),
            Json::Object(object) => Value::Table(self.object(object, depth + 1)),
            Json::NullKeyword(_) => {
                self.refuse(&span, "a parameter cannot be null");
                Value::Faulty
            }
        };
        Node { span, value }
    }

    fn number(&mut self, text: &str, span: &Span) -> Value {
        // Every number of JSON is one of TOML.
        match toml::de::DeValue::parse(text).map(toml::Spanned::into_inner) {
            Ok(toml::de::DeValue::Integer(_)) => Value::Integer(text.to_owned(), text.parse().ok()),
            Ok(toml::de::DeValue::Float(_)) => Value::Float(text.to_owned()),
            _ => {
                self.refuse(span, &format!("{} is no number", quoted(text)));
                Value::Faulty
            }
        }
    }
}
