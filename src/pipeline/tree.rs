//! TOML values that own their text and know their place among all sources.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use toml::value::Datetime;

use crate::source_map::Span;

/// How deep tables and arrays may lie in each other. What is deeper is refused, so that walking a
/// tree may recurse.
pub(super) const DEEPEST: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    /// As written, and its value where one exists.
    Integer(String, Option<i128>),
    Float(String),
    Boolean(bool),
    Datetime(Datetime),
    Array(Vec<Node>),
    Table(Table),
    /// What stands here is at fault and has been reported.
    Faulty,
}

/// A table, by key.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Span,
    /// The place that decides which entry comes first; stays that of the first definition when a
    /// later file changes the value.
    pub(super) order: usize,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn as_table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value below a key or an index.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(table) => table.get(name).map(|entry| &entry.node),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The value below a key or an index, to change.
    pub(super) fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Table(table) => table.get_mut(name).map(|entry| &mut entry.node),
            Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a value that is no array and no table.
    pub(super) fn text(&self) -> Option<String> {
        match &self.value {
            Value::String(text) | Value::Integer(text, _) | Value::Float(text) => {
                Some(text.clone())
            }
            Value::Boolean(value) => Some(value.to_string()),
            Value::Datetime(value) => Some(value.to_string()),
            Value::Array(_) | Value::Table(_) | Value::Faulty => None,
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        matches!(self.value, Value::Faulty)
    }

    /// What it is, for "must be an integer, not ...".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::String(text) => format!("the string \"{}\"", shortened(text)),
            Value::Integer(text, _) => format!("the integer {}", shortened(text)),
            Value::Float(text) => format!("the float {}", shortened(text)),
            Value::Boolean(value) => format!("the boolean {value}"),
            Value::Datetime(value) => format!("the date {value}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Faulty => "a faulty value".to_owned(),
        }
    }

    /// Copies a tree, unless it would be deeper than [`DEEPEST`] when put at `depth` or use up
    /// `budget` nodes.
    pub(super) fn copy(&self, depth: usize, budget: &mut usize) -> Option<Self> {
        if depth > DEEPEST || *budget == 0 {
            return None;
        }
        *budget -= 1;
        let value = match &self.value {
            Value::Array(items) => Value::Array(
                items.iter().map(|item| item.copy(depth + 1, budget)).collect::<Option<_>>()?,
            ),
            Value::Table(table) => Value::Table(
                table
                    .iter()
                    .map(|(name, entry)| {
                        let node = entry.node.copy(depth + 1, budget)?;
                        Some((name.clone(), Entry { node, ..entry.place_only() }))
                    })
                    .collect::<Option<_>>()?,
            ),
            flat => flat.clone(),
        };
        Some(Self { span: self.span.clone(), value })
    }
}

impl Entry {
    fn place_only(&self) -> Self {
        let node = Node { span: self.node.span.clone(), value: Value::Faulty };
        Self { key: self.key.clone(), order: self.order, node }
    }
}

fn shortened(text: &str) -> String {
    let quoted = crate::suggest::quoted(text);
    quoted.trim_matches('`').to_owned()
}

/// The entries of a table in file order.
pub(super) fn in_order(table: &Table) -> Vec<(&String, &Entry)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(_, entry)| entry.order);
    entries
}

/// Turns a parsed document that begins at `base` into a tree. The spans of what lies too deep are
/// added to `too_deep`; `keep` says which entries (not tables) to keep, by the bytes from key to
/// value.
pub(super) fn from_document(
    document: DeTable<'_>,
    base: usize,
    keep: &dyn Fn(&Span) -> bool,
    too_deep: &mut Vec<Span>,
) -> Table {
    Conversion { base, keep, too_deep }.table(document, 0)
}

/// Turns a parsed value that begins at `base` into a tree; see [`from_document`].
pub(super) fn from_value(
    value: Spanned<DeValue<'_>>,
    base: usize,
    too_deep: &mut Vec<Span>,
) -> Node {
    Conversion { base, keep: &|_| true, too_deep }.node(value, 0)
}

struct Conversion<'a> {
    base: usize,
    keep: &'a dyn Fn(&Span) -> bool,
    too_deep: &'a mut Vec<Span>,
}

impl Conversion<'_> {
    fn shift(&self, span: &Span) -> Span {
        span.start + self.base..span.end + self.base
    }

    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let mut entries = Table::new();
        for (key, value) in table {
            let whole = key.span().start..value.span().end.max(key.span().end);
            if !value.get_ref().is_table() && !(self.keep)(&whole) {
                dismantle(value.into_inner());
                continue;
            }
            let span = self.shift(&key.span());
            let node = self.node(value, depth + 1);
            let entry = Entry { order: span.start, key: span, node };
            entries.insert(key.into_inner().into_owned(), entry);
        }
        entries
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, depth: usize) -> Node {
        let span = self.shift(&value.span());
        let value = value.into_inner();
        if depth > DEEPEST && (value.is_table() || value.is_array()) {
            dismantle(value);
            self.too_deep.push(span.clone());
            return Node { span, value: Value::Faulty };
        }
        let value = match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => Value::Integer(
                number.to_string(),
                i128::from_str_radix(number.as_str(), number.radix()).ok(),
            ),
            DeValue::Float(number) => Value::Float(number.to_string()),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(value) => Value::Datetime(value),
            DeValue::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.node(item, depth + 1)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        };
        Node { span, value }
    }
}

/// Drops a value of any depth without recursion, which dropping it as it is would need.
fn dismantle(value: DeValue<'_>) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            DeValue::Array(items) => left.extend(items.into_iter().map(Spanned::into_inner)),
            DeValue::Table(table) => {
                left.extend(table.into_iter().map(|(_, value)| value.into_inner()));
            }
            _ => {}
        }
    }
}

/// Turns a tree back into a document to deserialize from; faulty values are left out.
pub(super) fn to_document(table: &Table) -> DeTable<'_> {
    let mut document = DeTable::new();
    for (name, entry) in table.iter().filter(|(_, entry)| !entry.node.is_faulty()) {
        let key = Spanned::new(entry.key.clone(), name.as_str().into());
        document.insert(key, to_value(&entry.node));
    }
    document
}

fn to_value(node: &Node) -> Spanned<DeValue<'_>> {
    let value = match &node.value {
        Value::String(text) => DeValue::String(text.as_str().into()),
        // Only the parser makes a number, so its text is parsed again.
        Value::Integer(text, _) | Value::Float(text) => match DeValue::parse(text) {
            Ok(number) => number.into_inner(),
            Err(_) => DeValue::String(text.as_str().into()),
        },
        Value::Boolean(value) => DeValue::Boolean(*value),
        Value::Datetime(value) => DeValue::Datetime(*value),
        Value::Array(items) => DeValue::Array(
            items.iter().filter(|item| !item.is_faulty()).map(to_value).collect::<DeArray<'_>>(),
        ),
        Value::Table(table) => DeValue::Table(to_document(table)),
        Value::Faulty => DeValue::Boolean(false),
    };
    Spanned::new(node.span.clone(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Table, Vec<Span>) {
        let mut too_deep = Vec::new();
        let document = DeTable::parse(text).unwrap().into_inner();
        let table = from_document(document, 100, &|_| true, &mut too_deep);
        (table, too_deep)
    }

    #[test]
    fn a_tree_goes_there_and_back() {
        let text = "a = 0x1F\nb = -1_000\nc = 2.5e3\nd = inf\ne = 1979-05-27\nf = [1, {g = true}]";
        let (table, _) = parse(text);
        let back = to_document(&table);
        let shown: Vec<_> = back.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        let again = DeTable::parse(text).unwrap().into_inner();
        let expected: Vec<_> =
            again.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        let unplaced = |lines: &[String]| {
            let lines = lines.iter().map(|line| {
                line.split("span:").map(|part| part.split_once(',').map_or(part, |p| p.1)).collect()
            });
            lines.collect::<Vec<String>>()
        };
        assert_eq!(unplaced(&shown), unplaced(&expected));
        assert_eq!(table["b"].key, 109..110);
    }

    #[test]
    fn what_lies_too_deep_is_told_and_not_walked() {
        // Dotted keys inside inline tables nest far deeper than the parser's own limit.
        let dots = vec!["a"; 70].join(".");
        let text = format!("x = {}1{}", format!("{{{dots} = ").repeat(70), "}".repeat(70));
        let (table, too_deep) = parse(&text);
        assert_eq!(too_deep.len(), 1);
        assert!(table.contains_key("x"));
    }
}
