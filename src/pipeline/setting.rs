//! `--set stage.train.epochs=3`: one value of the command line, put over the file.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::findings::Findings;
use super::tree::{Entry, Node, Table, Value, from_document, from_value};
use crate::problem::Problem;
use crate::source_map::{SLOT, SourceFile};
use crate::suggest::{did_you_mean, list, quoted};

/// How places name a setting.
const NAME: &str = "--set";

/// Reads one setting into a layer, as the source at `slot`. The value is read as TOML, or else is
/// a string as it stands. What it sets must be there in `below`, so that a slip is noticed.
pub(super) fn read_setting(
    slot: usize,
    text: &str,
    below: &Table,
    findings: &mut Findings,
) -> Option<Table> {
    if text.len() >= SLOT {
        findings.add_placed(Problem::new("a setting is longer than 16 MiB"));
        return None;
    }
    let source = Arc::new(SourceFile::new(NAME.to_owned(), text.to_owned()));
    let base = findings.sources.add(slot, source);
    let whole = base..base + text.len();
    let help = "for example `--set stage.train.epochs=3` or `--set params.data=../faces`";
    let Some((key, value)) = split(text) else {
        let message = format!("setting {} has no `=`", quoted(text));
        findings.add(&whole, Problem::new(message).help(help));
        return None;
    };
    let key_text = format!("{key}=0");
    let mut layer = match DeTable::parse(&key_text) {
        Ok(table) => from_document(table.into_inner(), base, &|_| true, &mut Vec::new()),
        Err(error) => {
            let message = format!("{} is no dotted key: {}", quoted(key), error.message());
            findings.add(&(base..base + key.len()), Problem::new(message).help(help));
            return None;
        }
    };
    let start = base + key.len() + 1;
    let node = read_value(value, start, findings);
    *innermost(&mut layer)? = node;
    known(&layer, below, help, findings).then_some(layer)
}

/// Splits at the first `=` outside quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some((&text[..at], &text[at + 1..])),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

fn read_value(text: &str, start: usize, findings: &mut Findings) -> Node {
    let span = start..start + text.len();
    let lead = text.len() - text.trim_start().len();
    if let Ok(value) = DeValue::parse(text.trim()) {
        let mut too_deep = Vec::new();
        let node = from_value(value, start + lead, &mut too_deep);
        if let Some(deep) = too_deep.first() {
            let message = format!("the value lies more than {} deep", super::tree::DEEPEST);
            findings.add(deep, Problem::new(message));
        }
        // No parameter is a date, so what looks like one is a name.
        if !matches!(node.value, Value::Datetime(_)) {
            return node;
        }
    }
    Node { span, value: Value::String(text.to_owned()) }
}

/// The value at the end of a chain of tables with one key each.
fn innermost(layer: &mut Table) -> Option<&mut Node> {
    let mut node = &mut layer.values_mut().next()?.node;
    while matches!(node.value, Value::Table(_)) {
        let Value::Table(table) = &mut node.value else { return None };
        node = &mut table.values_mut().next()?.node;
    }
    Some(node)
}

/// Checks that every parameter of a file of the command line is there in `below`.
pub(super) fn known_parameters(params: &Table, below: &Table, findings: &mut Findings) {
    let there = below.get("params").and_then(|there| there.node.as_table());
    for (name, entry) in params {
        if !there.is_some_and(|there| there.contains_key(name)) {
            absent("parameter", name, &entry.key, there, findings);
        }
    }
}

/// Checks that a setting changes something that is there: a step, or a parameter of `[params]`.
fn known(layer: &Table, below: &Table, help: &str, findings: &mut Findings) -> bool {
    let Some((top, entry)) = layer.iter().next() else { return false };
    // Where and how steps run may be said here alone; what it says is read like the file's.
    if matches!(top.as_str(), "executor" | "pools") {
        return true;
    }
    let named = entry.node.as_table().and_then(|table| table.iter().next());
    let (word, Some((name, named))) = (top.as_str(), named) else {
        let message = format!("{} cannot be set as a whole", quoted(top));
        findings.add(&entry.key, Problem::new(message).help(help));
        return false;
    };
    let there = below.get(word).and_then(|there| there.node.as_table());
    match word {
        "stage" if there.is_some_and(|there| there.contains_key(name)) => true,
        "params" => known_parameter(name, named, there, findings),
        "stage" => {
            let base = name.split('@').next().unwrap_or(name);
            if base != name && there.is_some_and(|there| there.contains_key(base)) {
                let message = format!("one instance of step {} cannot be set alone", quoted(base));
                let help = format!("`stage.{base}` sets all of them");
                findings.add(&named.key, Problem::new(message).help(help));
                return false;
            }
            absent("step", name, &named.key, there, findings);
            false
        }
        _ => {
            let near = did_you_mean(word, ["stage", "params", "pools", "executor"]);
            let message = format!("{} cannot be set{near}", quoted(word));
            findings.add(&entry.key, Problem::new(message).help(help));
            false
        }
    }
}

/// Walks down both tables while the setting names single keys.
fn known_parameter<'a>(
    mut name: &'a String,
    mut entry: &'a Entry,
    mut there: Option<&Table>,
    findings: &mut Findings,
) -> bool {
    loop {
        let Some(below) = there.and_then(|table| table.get(name)) else {
            absent("parameter", name, &entry.key, there, findings);
            return false;
        };
        let Some(table) = entry.node.as_table() else { return true };
        // A table as the value may bring keys of its own.
        let (Some(inner), 1) = (below.node.as_table(), table.len()) else { return true };
        let Some(next) = table.iter().next() else { return true };
        (name, entry) = next;
        there = Some(inner);
    }
}

fn absent(
    what: &str,
    name: &str,
    span: &crate::source_map::Span,
    there: Option<&Table>,
    findings: &mut Findings,
) {
    let names = || there.into_iter().flat_map(|table| table.keys().map(String::as_str));
    let message =
        format!("there is no {what} {} to set{}", quoted(name), did_you_mean(name, names()));
    let list = list(names());
    findings.add_absence(span, Problem::new(message).help(format!("{what}s: {list}")));
}
