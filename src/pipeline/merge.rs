//! Puts a file beside those it includes, over the one it extends, and settings of the command line over
//! all.
//!
//! Tables merge key by key; anything else is replaced. Four things differ for steps: a step with
//! `remove = true` is taken out, one with `replace = true` starts anew, one with another `kind`
//! starts anew as well, and another choice (`loss.arcface` over `loss.cross-entropy`) takes the
//! place of the first. `inputs.NAME = []` leaves an input open.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use stages::Kind;

use super::files::Source;
use super::findings::Findings;
use super::tree::{Entry, Node, Table, Value, in_order};
use crate::problem::Problem;
use crate::schema::{Schema, Shape};
use crate::suggest::{did_you_mean, quoted};

/// The schemas of kinds, made when first asked for.
pub(super) struct Schemas {
    kinds: &'static [Kind],
    made: BTreeMap<&'static str, Json>,
}

impl Schemas {
    pub(super) fn new(kinds: &'static [Kind]) -> Self {
        Self { kinds, made: BTreeMap::new() }
    }

    /// The schema of a kind.
    pub(super) fn of(&mut self, kind: &'static Kind) -> &Json {
        self.made.entry(kind.name).or_insert_with(|| (kind.schema)().to_value())
    }

    fn named(&mut self, name: &str) -> Option<&Json> {
        let kind = self.kinds.iter().find(|kind| kind.name == name)?;
        Some(self.of(kind))
    }
}

/// Merges a file with those that it names: beside it what it includes, under that the file it extends.
pub(super) fn merge_files(source: Source, schemas: &mut Schemas, findings: &mut Findings) -> Table {
    let mut layer = Table::new();
    for include in source.includes {
        let included = merge_files(include, schemas, findings);
        put_beside(&mut layer, included, findings);
    }
    let mut own = source.table;
    put_params_under(&mut own, source.params);
    put_beside(&mut layer, own, findings);
    let lowest = source.base.is_none();
    let mut merged = match source.base {
        Some(base) => merge_files(*base, schemas, findings),
        None => Table::new(),
    };
    put_over(&mut merged, layer, lowest, schemas, findings);
    merged
}

/// Puts the values of files of parameters under those of `[params]`.
fn put_params_under(own: &mut Table, files: Vec<Table>) {
    let mut below = Table::new();
    for (name, entry) in files.into_iter().flatten() {
        put_entry(&mut below, name, entry, None);
    }
    let place = below.values().next().map(|entry| entry.key.clone());
    let (Some(key), params) = (place, own.get_mut("params")) else { return };
    match params.map(|entry| &mut entry.node.value) {
        Some(Value::Table(params)) => {
            for (name, entry) in std::mem::replace(params, below) {
                put_entry(params, name, entry, None);
            }
        }
        // What it is instead of a table is told when it is used.
        Some(_) => {}
        None => {
            let node = Node { span: key.clone(), value: Value::Table(below) };
            own.insert("params".to_owned(), Entry { order: key.start, key, node });
        }
    }
}

/// Puts the steps and parameters of one file beside those of others; none may be there already.
fn put_beside(layer: &mut Table, other: Table, findings: &mut Findings) {
    for (word, entry) in other {
        if let Some(first) = layer.get(&word)
            && !matches!(word.as_str(), "stage" | "params")
        {
            already(&quoted(&word), first, &entry, findings);
            continue;
        }
        let there = match layer.get_mut(&word).map(|there| &mut there.node.value) {
            Some(Value::Table(there)) => there,
            Some(_) => continue,
            None => {
                layer.insert(word, entry);
                continue;
            }
        };
        let Value::Table(names) = entry.node.value else {
            layer.insert(word, entry);
            continue;
        };
        let what = if word == "stage" { "step" } else { "parameter" };
        for (name, entry) in names {
            let Some(first) = there.get(&name) else {
                there.insert(name, entry);
                continue;
            };
            already(&format!("{what} {}", quoted(&name)), first, &entry, findings);
        }
    }
}

fn already(what: &str, first: &Entry, second: &Entry, findings: &mut Findings) {
    let help = format!("the first is at {}", findings.place(&first.key));
    findings.add(&second.key, Problem::new(format!("{what} is there already")).help(help));
}

/// Puts one layer over what lies below it.
pub(super) fn put_over(
    below: &mut Table,
    layer: Table,
    lowest: bool,
    schemas: &mut Schemas,
    findings: &mut Findings,
) {
    for (name, mut entry) in layer {
        let steps = below.get_mut(&name).map(|below| &mut below.node.value);
        match (name.as_str(), steps, &mut entry.node.value) {
            ("stage", Some(Value::Table(steps)), Value::Table(over)) => {
                put_steps(steps, std::mem::take(over), lowest, schemas, findings);
            }
            ("stage", None, Value::Table(over)) => {
                let mut steps = Table::new();
                put_steps(&mut steps, std::mem::take(over), lowest, schemas, findings);
                *over = steps;
                below.insert(name, entry);
            }
            _ => put_entry(below, name, entry, None),
        }
    }
}

fn put_steps(
    steps: &mut Table,
    over: Table,
    lowest: bool,
    schemas: &mut Schemas,
    findings: &mut Findings,
) {
    let mut over: Vec<_> = over.into_iter().collect();
    over.sort_by_key(|(_, entry)| entry.order);
    for (name, mut entry) in over {
        let remove = flag("remove", &mut entry, findings);
        let replace = flag("replace", &mut entry, findings);
        if let Some(flag) = remove.as_ref().or(replace.as_ref())
            && !steps.contains_key(&name)
        {
            let word = if remove.is_some() { "remove" } else { "replace" };
            let near = did_you_mean(&name, steps.keys().map(String::as_str));
            let message = format!("there is no step {} to {word}{near}", quoted(&name));
            let problem = Problem::new(message);
            findings.add_absence(
                &flag.key,
                if lowest { problem.help("this file extends no other") } else { problem },
            );
        }
        if let Some(flag) = remove {
            findings.remove(&name, &flag.key);
            if let Some((key, other)) =
                entry.node.as_table().and_then(|table| in_order(table).into_iter().next())
            {
                let message = format!("{} has no effect on a step that is removed", quoted(key));
                findings.add(&other.key, Problem::new(message));
            }
            steps.remove(&name);
            continue;
        }
        let other_kind = match (kind_of(steps.get(&name)), kind_of(Some(&entry))) {
            (Some(below), Some(over)) => below != over,
            _ => false,
        };
        if replace.is_some() || other_kind {
            let order = steps.remove(&name).map_or(entry.order, |below| below.order);
            steps.insert(name, Entry { order, ..entry });
            continue;
        }
        let kind = kind_of(steps.get(&name)).map(str::to_owned);
        let schema = kind.and_then(|kind| schemas.named(&kind)).map(Schema::new);
        put_entry(steps, name, entry, schema);
    }
}

fn kind_of(step: Option<&Entry>) -> Option<&str> {
    step?.node.as_table()?.get("kind")?.node.as_str()
}

/// Takes `remove` or `replace` out of a step and returns it when it is true.
fn flag(word: &str, step: &mut Entry, findings: &mut Findings) -> Option<Entry> {
    let entry = step.node.as_table_mut()?.remove(word)?;
    match entry.node.value {
        Value::Boolean(set) => set.then_some(entry),
        Value::Faulty => None,
        _ => {
            let message = format!("`{word}` must be true or false, not {}", entry.node.describe());
            findings.add(&entry.node.span, Problem::new(message));
            None
        }
    }
}

/// Puts one entry over the one of the same name.
fn put_entry(below: &mut Table, name: String, over: Entry, schema: Option<Schema<'_>>) {
    let Some(entry) = below.get_mut(&name) else {
        below.insert(name, over);
        return;
    };
    entry.key = over.key;
    entry.node.span = over.node.span;
    match (&mut entry.node.value, over.node.value) {
        (Value::Table(old), Value::Table(new)) if !is_other_choice(old, &new, schema) => {
            for (name, over) in new {
                let schema = schema.and_then(|schema| schema.below(&name));
                put_entry(old, name, over, schema);
            }
        }
        (old, new) => *old = new,
    }
}

/// Whether the place is a choice and the new table makes another one.
fn is_other_choice(old: &Table, new: &Table, schema: Option<Schema<'_>>) -> bool {
    let is_choice = schema.is_some_and(|schema| matches!(schema.shape(), Shape::Choice(_)));
    is_choice && !(old.len() == 1 && new.len() == 1 && old.keys().eq(new.keys()))
}
