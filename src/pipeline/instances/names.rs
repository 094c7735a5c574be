//! The names of instances: readable, unique, and fit for a file and a command line.

use std::collections::BTreeMap;

use super::super::findings::Findings;
use super::super::tree::{Node, Value};
use super::{Family, Instance};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::quoted;

/// How long what stands after the `@` may be.
const LONGEST: usize = 100;

/// The store keeps `NAME.json` beside `NAME`, so no name ends in this.
const RECORD: &str = ".json";

/// Whether a label may hold a character.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-')
}

/// What is wrong with a label that someone wrote.
pub(super) fn label_problem(label: &str) -> Option<Problem> {
    let right = !label.is_empty() && label.chars().all(is_plain) && !label.ends_with(RECORD);
    let help = "a label is made of a to z, A to Z, 0 to 9, `.`, `_`, `+` and `-`, and does not end in `.json`";
    (!right).then(|| Problem::new(format!("{} cannot be a label", quoted(label))).help(help))
}

/// Makes a label of a value: its text, with a `-` for what a label cannot hold; `None` of what has
/// no short text.
pub(super) fn label(node: &Node) -> Option<String> {
    let text = match &node.value {
        Value::String(text) => text.clone(),
        Value::Integer(_, Some(value)) => value.to_string(),
        Value::Integer(text, None) | Value::Float(text) => text.replace('_', ""),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(value) => value.to_string(),
        Value::Array(_) | Value::Table(_) | Value::Faulty => return None,
    };
    let mut label = String::new();
    for c in text.chars() {
        match is_plain(c) {
            true => label.push(c),
            false if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            false => {}
        }
    }
    // A number keeps its sign.
    let label =
        if matches!(node.value, Value::String(_)) { label.trim_matches('-') } else { &label };
    let label = match label.strip_suffix(RECORD) {
        Some(rest) => format!("{rest}-json"),
        None => label.to_owned(),
    };
    (!label.is_empty() && label.len() <= LONGEST).then_some(label)
}

/// Names an instance for each combination of choices; `None` when names would not tell them apart.
pub(super) fn give(
    step: &str,
    mut family: Family,
    combinations: Vec<Vec<usize>>,
    key: &Span,
    findings: &mut Findings,
) -> Option<Family> {
    // File systems of some machines take `A` and `a` for the same.
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    family.instances.reserve_exact(combinations.len());
    for picks in combinations {
        let label = joined(&family, &picks);
        let problem = if label.len() > LONGEST {
            let name = quoted(&format!("{step}@{label}"));
            Some(Problem::new(format!(
                "step name {name} is longer than {LONGEST} characters after its `@`"
            )))
        } else {
            let (name, index) = (label.to_ascii_lowercase(), family.instances.len());
            let other = seen.insert(name, index).map(|other| &family.instances[other].picks);
            other.map(|other| {
                let message =
                    format!("two instances would be called {}", quoted(&format!("{step}@{label}")));
                let (one, other) = (described(&family, other), described(&family, &picks));
                Problem::new(message).help(format!("one has {one}, the other {other}"))
            })
        };
        if let Some(problem) = problem {
            findings
                .add(key, problem.help("with labels of your own: `AXIS = { LABEL = VALUE, … }`"));
            return None;
        }
        family.instances.push(Instance { label, picks });
    }
    Some(family)
}

fn joined(family: &Family, picks: &[usize]) -> String {
    let labels =
        family.axes.iter().zip(picks).map(|(axis, pick)| axis.choices[*pick].label.as_str());
    labels.collect::<Vec<_>>().join("-")
}

fn described(family: &Family, picks: &[usize]) -> String {
    let axes = family.axes.iter().zip(picks);
    let told =
        axes.map(|(axis, pick)| format!("{} = {}", axis.name, quoted(&axis.choices[*pick].label)));
    told.collect::<Vec<_>>().join(", ")
}
