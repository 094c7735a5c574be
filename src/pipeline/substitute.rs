//! Puts values in the place of references: `"${params.size}"`, `"${matrix.depth}"`, `"${each.key}"`.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::template::{Piece, is_plain, pieces};
use super::tree::{DEEPEST, Node, Table, Value};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::{did_you_mean, list, quoted};

/// How long a string may become.
const LONGEST_STRING: usize = 1 << 16;

/// What references are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The first words of references that are resolved; others are text.
    pub(super) words: &'static [&'static str],
    /// First word → the values below it. A word without a table is none of this step's.
    pub(super) tables: &'a [(&'static str, &'a Table)],
    /// Axis → what the names of instances say of it.
    pub(super) labels: Option<&'a BTreeMap<&'a str, &'a str>>,
    /// The step whose strings they are; empty for parameters.
    pub(super) step: &'a str,
}

/// Puts values into the strings of a tree.
pub(super) struct Substitution<'a, 'f> {
    pub(super) scope: Scope<'a>,
    /// How many values may still be made.
    pub(super) budget: &'f mut usize,
    pub(super) findings: &'f mut Findings,
}

impl<'a> Substitution<'a, '_> {
    /// Resolves every string at or below a node that lies `depth` deep. In `names` of steps what
    /// stands for the value of an axis is its label.
    pub(super) fn node(&mut self, node: &mut Node, depth: usize, names: bool) {
        match &mut node.value {
            Value::String(text) if !is_plain(text) => {
                let text = std::mem::take(text);
                node.value = self.string(&text, &node.span, depth, names).unwrap_or(Value::Faulty);
            }
            Value::Array(items) => {
                items.iter_mut().for_each(|item| self.node(item, depth + 1, names));
            }
            Value::Table(table) => {
                table.values_mut().for_each(|entry| self.node(&mut entry.node, depth + 1, names));
            }
            _ => {}
        }
    }

    /// The value of a string; `None` when it is at fault.
    fn string(&mut self, text: &str, span: &Span, depth: usize, names: bool) -> Option<Value> {
        let mut pieces = match pieces(text, self.scope.words) {
            Ok(pieces) => pieces,
            Err(slip) => {
                self.findings.add_part(span, &slip.part, slip.problem);
                return None;
            }
        };
        if let [Piece::Reference(name)] = pieces.as_slice() {
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
                Piece::Reference(name) => {
                    let names = names || in_name(&whole);
                    whole.push_str(&self.text_of(name, span, names)?);
                }
            }
            if whole.len() > LONGEST_STRING {
                let message = format!("the string becomes longer than {LONGEST_STRING} bytes");
                self.findings.add(span, Problem::new(message));
                return None;
            }
        }
        Some(Value::String(whole))
    }

    fn text_of(&mut self, name: &str, span: &Span, names: bool) -> Option<String> {
        let found = self.look_up(name, span)?;
        let axis = name.strip_prefix("matrix.").filter(|_| names);
        if let Some(label) = axis.and_then(|axis| self.scope.labels?.get(axis)) {
            return Some((*label).to_owned());
        }
        if found.is_faulty() {
            return None;
        }
        let text = found.text();
        if text.is_none() {
            let message =
                format!("`{name}` is {} and cannot be part of a string", found.describe());
            let help = format!("alone it can: `\"${{{name}}}\"`");
            let problem = Problem::new(message).help(help);
            self.findings.add_part(span, &format!("${{{name}}}"), problem);
        }
        text
    }

    fn look_up(&mut self, name: &str, span: &Span) -> Option<&'a Node> {
        let (word, rest) = name.split_once('.').unwrap_or((name, ""));
        let Some((_, top)) = self.scope.tables.iter().find(|(known, _)| *known == word) else {
            let problem = self.no_such_word(word, name);
            self.findings.add_part(span, &format!("${{{name}"), problem);
            return None;
        };
        let mut found: Option<&'a Node> = None;
        let mut path = Vec::new();
        for part in rest.split('.') {
            let next = match found {
                Some(node) => node.child(part),
                None => top.get(part).map(|entry| &entry.node),
            };
            let Some(node) = next else {
                if found.is_some_and(Node::is_faulty) {
                    return None;
                }
                let table = found.map_or(Some(*top), Node::as_table);
                let problem = match table.is_some_and(|table| table.len() > self.findings.room()) {
                    // To look through them all, time and again, takes too long.
                    true => Problem::new(format!("unknown reference {}", quoted(name))),
                    false => absent(word, &path, part, found, table),
                };
                let first = path.first().copied().unwrap_or(part);
                self.findings.add_absent_part(span, &format!("${{{word}.{first}"), problem);
                return None;
            };
            path.push(part);
            found = Some(node);
        }
        found
    }

    /// What is said of `${matrix.x}` where there is no matrix.
    fn no_such_word(&self, word: &str, name: &str) -> Problem {
        let step = quoted(self.scope.step);
        let problem = match word {
            "matrix" => Problem::new(format!("step {step} has no `matrix`"))
                .help("for example `matrix = { depth = [18, 34] }`"),
            _ => Problem::new(format!("step {step} has neither `foreach` nor `matrix`"))
                .help("for example `foreach = [\"a\", \"b\"]`"),
        };
        problem.help(format!("`$${{{name}}}` stands for the text `${{{name}}}`"))
    }
}

/// Whether the end of a text is inside a `${stage.NAME}`.
fn in_name(text: &str) -> bool {
    text.rfind("${stage.").is_some_and(|at| !text[at..].contains('}'))
}

/// What is said of a reference to something that is not there: `part` below `path` of `word`.
fn absent(
    word: &str,
    path: &[&str],
    part: &str,
    found: Option<&Node>,
    table: Option<&Table>,
) -> Problem {
    let known = || table.into_iter().flat_map(|table| table.keys().map(String::as_str));
    let near = did_you_mean(part, known());
    let names = list(known());
    let whole = path.iter().copied().chain([part]).collect::<Vec<_>>().join(".");
    match (word, path, found) {
        ("params", ..) => {
            let help = match names.is_empty() {
                true => format!("write `[params]` with `{part} = …`"),
                false => format!("parameters: {names}"),
            };
            Problem::new(format!("unknown parameter {}{near}", quoted(&whole))).help(help)
        }
        ("matrix", [], _) => Problem::new(format!("unknown axis {}{near}", quoted(part)))
            .help(format!("axes: {names}")),
        (_, [], _) => {
            let whole = quoted(&format!("{word}.{part}"));
            Problem::new(format!("unknown reference {whole}{near}"))
                .help(format!("known below `{word}`: {names}"))
        }
        (_, path, Some(found)) => {
            let above = format!("{word}.{}", path.join("."));
            let message =
                format!("{} is {} and has no {}", quoted(&above), found.describe(), quoted(part));
            let problem = Problem::new(format!("{message}{near}"));
            if names.is_empty() { problem } else { problem.help(format!("it has: {names}")) }
        }
        (_, _, None) => Problem::new(format!("unknown reference {}", quoted(&whole))),
    }
}
