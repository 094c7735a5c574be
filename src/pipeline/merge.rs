//! Puts a file over the one it extends, and settings of the command line over both.
//!
//! Tables merge key by key; anything else is replaced. Four things differ for steps: a step with
//! `remove = true` is taken out, one with `replace = true` starts anew, one with another `kind`
//! starts anew as well, and another choice (`loss.arcface` over `loss.cross-entropy`) takes the
//! place of the first. `inputs.NAME = []` leaves an input open.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use stages::Kind;

use super::findings::Findings;
use super::tree::{Entry, Table, Value, in_order};
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

/// Merges layers, the lowest first.
pub(super) fn merge_layers(
    layers: Vec<Table>,
    schemas: &mut Schemas,
    findings: &mut Findings,
) -> Table {
    let mut merged = Table::new();
    for (index, layer) in layers.into_iter().enumerate() {
        put_over(&mut merged, layer, index == 0, schemas, findings);
    }
    merged
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
