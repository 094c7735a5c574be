//! `matrix` and `foreach`: one table of a pipeline file that makes several steps.
//!
//! `matrix` crosses the values of its axes, `foreach` takes those of one list or table. A step made so
//! is an instance; it is called `NAME@LABEL`, after the values that tell it apart.

mod axis;
mod combine;
mod names;

use std::collections::BTreeMap;

use super::findings::Findings;
use super::substitute::{Scope, Substitution};
use super::template::INSTANCES;
use super::tree::{Entry, Node, Table, Value};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::quoted;
use axis::Axis;

/// How many steps a pipeline may have.
pub(super) const MOST_STEPS: usize = 200_000;

/// How many values all instances of a pipeline may be made of; a long string counts as several.
const MOST_VALUES: usize = 20_000_000;

/// What a table of `[stage]` makes.
pub(super) enum Made {
    /// One step.
    One,
    /// Steps that differ in some values.
    Many(Family),
    /// Nobody knows; it has been told why.
    Unknown,
}

/// The instances of a step.
pub(super) struct Family {
    /// Whether they were made by `foreach`; its values are the only axis.
    foreach: bool,
    axes: Vec<Axis>,
    pub(super) instances: Vec<Instance>,
}

/// One step of several that a table makes.
pub(super) struct Instance {
    /// What stands after the `@` of its name.
    pub(super) label: String,
    /// Of each axis the position of the value.
    picks: Vec<usize>,
}

/// What all steps of a pipeline may still be made of.
pub(super) struct Room {
    steps: usize,
    values: usize,
}

impl Room {
    /// The room of a pipeline that writes so many steps.
    pub(super) fn new(written: usize) -> Self {
        Self { steps: MOST_STEPS.saturating_sub(written), values: MOST_VALUES }
    }
}

/// Takes `matrix` and `foreach` out of a step and reads them.
pub(super) fn read(
    step: &str,
    entry: &mut Entry,
    room: &mut Room,
    findings: &mut Findings,
) -> Made {
    let Some(table) = entry.node.as_table_mut() else { return Made::One };
    let (matrix, foreach) = (table.remove("matrix"), table.remove("foreach"));
    let (word, written) = match (matrix, foreach) {
        (None, None) => return Made::One,
        (Some(matrix), None) => ("matrix", matrix),
        (None, Some(foreach)) => ("foreach", foreach),
        (Some(matrix), Some(foreach)) => {
            let message = format!("step {} has both `matrix` and `foreach`", quoted(step));
            let help = "one more axis of the `matrix` does the same";
            let last = if matrix.key.start > foreach.key.start { matrix } else { foreach };
            findings.add(&last.key, Problem::new(message).help(help));
            return Made::Unknown;
        }
    };
    let ahead = findings.count();
    let made = match word {
        "matrix" => combine::matrix(&written, room, findings),
        _ => combine::foreach(&written, room, findings),
    };
    let Some((axes, picks)) = made.filter(|_| findings.count() == ahead) else {
        return Made::Unknown;
    };
    let family = Family { foreach: word == "foreach", axes, instances: Vec::new() };
    match names::give(step, family, picks, &written.key, findings) {
        Some(family) if !family.instances.is_empty() => {
            room.steps = room.steps.saturating_sub(family.instances.len());
            Made::Many(family)
        }
        Some(_) => {
            let message = format!("`{word}` of step {} makes no step", quoted(step));
            findings.add(&written.key, Problem::new(message).help("every combination is excluded"));
            Made::Unknown
        }
        None => Made::Unknown,
    }
}

/// Tells that there are too many steps.
fn too_many(key: &Span, count: Option<usize>, word: &str, findings: &mut Findings) {
    let count = count.map_or_else(|| "too many".to_owned(), |count| count.to_string());
    let message =
        format!("`{word}` makes {count} steps; a pipeline has at most {MOST_STEPS} in all");
    findings.add(key, Problem::new(message));
}

impl Family {
    /// Puts the values of one instance into a copy of what the step says.
    pub(super) fn instance(
        &self,
        step: &str,
        written: &Table,
        instance: &Instance,
        room: &mut Room,
        findings: &mut Findings,
    ) -> Option<Table> {
        let picked = self.axes.iter().zip(&instance.picks);
        let picked: Vec<_> = picked.map(|(axis, pick)| (axis, &axis.choices[*pick])).collect();
        let mut matrix = Table::new();
        let mut each = Table::new();
        let mut labels = BTreeMap::new();
        let place = picked.first().map_or(0..0, |(axis, _)| axis.key.clone());
        let key = Node { span: place.clone(), value: Value::String(instance.label.clone()) };
        each.insert("key".to_owned(), Entry { key: place.clone(), order: 0, node: key });
        for (axis, choice) in picked {
            let entry = Entry { key: axis.key.clone(), order: 1, node: choice.node.clone() };
            match self.foreach {
                true => each.insert("value".to_owned(), entry),
                false => {
                    labels.insert(axis.name.as_str(), choice.label.as_str());
                    matrix.insert(axis.name.clone(), entry)
                }
            };
        }
        let both = [("each", &each), ("matrix", &matrix)];
        let tables = if self.foreach { &both[..1] } else { &both[..] };
        let scope = Scope { words: INSTANCES, tables, labels: Some(&labels), step };
        let made = put(written, scope, &mut room.values, findings);
        room.values =
            room.values.saturating_sub(made.values().map(|entry| weight(&entry.node)).sum());
        if room.values == 0 {
            let message =
                format!("the instances of step {} make the pipeline too large", quoted(step));
            findings.add(&place, Problem::new(message));
            return None;
        }
        Some(made)
    }
}

/// Copies what a step without instances says; a reference to a value of an instance is told.
pub(super) fn alone(
    step: &str,
    written: &Table,
    room: &mut Room,
    findings: &mut Findings,
) -> Table {
    let scope = Scope { words: INSTANCES, tables: &[], labels: None, step };
    put(written, scope, &mut room.values, findings)
}

fn put(written: &Table, scope: Scope<'_>, budget: &mut usize, findings: &mut Findings) -> Table {
    let mut made = written.clone();
    for (name, entry) in &mut made {
        // The kind decides how files are put over each other, so it is one for all.
        if name != "kind" {
            let mut substitution = Substitution { scope, budget, findings };
            substitution.node(&mut entry.node, 1, name == "inputs");
        }
    }
    made
}

/// What a value counts for in [`MOST_VALUES`].
fn weight(node: &Node) -> usize {
    const LONG: usize = 64;
    1 + match &node.value {
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Table(table) => table.values().map(|entry| weight(&entry.node)).sum(),
        Value::String(text) => text.len() / LONG,
        _ => 0,
    }
}
