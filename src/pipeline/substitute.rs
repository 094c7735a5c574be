//! Puts the values of parameters into strings.

use super::findings::Findings;
use super::template::{Piece, is_plain, pieces};
use super::tree::{DEEPEST, Node, Table, Value};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::{did_you_mean, list, quoted};

/// How long a string may become.
const LONGEST_STRING: usize = 1 << 16;

/// Puts values into the strings of a tree.
pub(super) struct Substitution<'a> {
    /// The table to look names up in.
    pub(super) params: &'a Table,
    /// How many values may still be made.
    pub(super) budget: &'a mut usize,
    pub(super) findings: &'a mut Findings,
}

impl<'a> Substitution<'a> {
    /// Resolves every string at or below a node that lies `depth` deep.
    pub(super) fn node(&mut self, node: &mut Node, depth: usize) {
        match &mut node.value {
            Value::String(text) if !is_plain(text) => {
                let text = std::mem::take(text);
                node.value = self.string(&text, &node.span, depth).unwrap_or(Value::Faulty);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item, depth + 1)),
            Value::Table(table) => {
                table.values_mut().for_each(|entry| self.node(&mut entry.node, depth + 1));
            }
            _ => {}
        }
    }

    /// The value of a string; `None` when it is at fault.
    fn string(&mut self, text: &str, span: &Span, depth: usize) -> Option<Value> {
        let mut pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(slip) => {
                self.findings.add_part(span, &slip.part, slip.problem);
                return None;
            }
        };
        if let [Piece::Parameter(name)] = pieces.as_slice() {
            let found = self.look_up(name, span)?;
            if found.is_faulty() {
                return None;
            }
            let Some(copy) = found.copy(depth, self.budget) else {
                let message = if *self.budget == 0 {
                    "references make the pipeline too large".to_owned()
                } else {
                    format!("tables and arrays lie more than {DEEPEST} deep")
                };
                self.findings.add(span, Problem::new(message));
                return None;
            };
            self.findings.substituted(span, name.clone(), found.span.clone());
            return Some(copy.value);
        }
        if let [Piece::Text(text)] = pieces.as_mut_slice() {
            return Some(Value::String(std::mem::take(text)));
        }
        let mut whole = String::new();
        for piece in &pieces {
            match piece {
                Piece::Text(text) => whole.push_str(text),
                Piece::Parameter(name) => whole.push_str(&self.text_of(name, span)?),
            }
            if whole.len() > LONGEST_STRING {
                let message = format!("the string becomes longer than {LONGEST_STRING} bytes");
                self.findings.add(span, Problem::new(message));
                return None;
            }
        }
        Some(Value::String(whole))
    }

    fn text_of(&mut self, name: &str, span: &Span) -> Option<String> {
        let found = self.look_up(name, span)?;
        match &found.value {
            Value::String(text) | Value::Integer(text, _) | Value::Float(text) => {
                Some(text.clone())
            }
            Value::Boolean(value) => Some(value.to_string()),
            Value::Datetime(value) => Some(value.to_string()),
            Value::Faulty => None,
            Value::Array(_) | Value::Table(_) => {
                let message = format!(
                    "`params.{name}` is {} and cannot be part of a string",
                    found.describe()
                );
                let help = format!("alone it can: `\"${{params.{name}}}\"`");
                self.findings.add_part(
                    span,
                    &format!("${{params.{name}}}"),
                    Problem::new(message).help(help),
                );
                None
            }
        }
    }

    fn look_up(&mut self, name: &str, span: &Span) -> Option<&'a Node> {
        let mut names = name.split('.');
        let mut table = Some(self.params);
        let mut found: Option<&'a Node> = None;
        let mut path = Vec::new();
        for name in names.by_ref() {
            let next = match found {
                Some(node) => node.child(name),
                None => self.params.get(name).map(|entry| &entry.node),
            };
            let Some(node) = next else {
                if found.is_some_and(Node::is_faulty) {
                    return None;
                }
                let known = || table.into_iter().flat_map(|table| table.keys().map(String::as_str));
                path.push(name);
                let message = format!(
                    "unknown parameter {}{}",
                    quoted(&path.join(".")),
                    did_you_mean(name, known())
                );
                let list = list(known());
                let help = if list.is_empty() {
                    format!("write `[params]` with `{name} = …`")
                } else {
                    format!("parameters: {list}")
                };
                let whole = format!("${{params.{}", path[0]);
                self.findings.add_absent_part(span, &whole, Problem::new(message).help(help));
                return None;
            };
            path.push(name);
            table = node.as_table();
            found = Some(node);
        }
        found
    }
}
