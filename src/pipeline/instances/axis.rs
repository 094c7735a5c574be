//! The values of one axis of a matrix, or those of `foreach`, each with its label.

use super::super::findings::Findings;
use super::super::tree::{Node, Table, Value, in_order};
use super::names::{label, label_problem};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::{did_you_mean, list, quoted};

/// One axis: its values in the order of the file.
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) key: Span,
    pub(super) choices: Vec<Choice>,
    /// Whether the file names the values itself.
    labelled: bool,
}

/// One value of an axis.
#[derive(Clone)]
pub(super) struct Choice {
    /// What the names of instances say of it.
    pub(super) label: String,
    pub(super) node: Node,
}

impl Axis {
    /// Reads the values of an axis; `None` when it has none that are right. `called` is the axis in
    /// messages.
    pub(super) fn read(
        name: &str,
        called: &str,
        key: &Span,
        node: &Node,
        findings: &mut Findings,
    ) -> Option<Self> {
        let help = format!("for example `{called} = [1, 2]` or `{called} = {{ LABEL = … }}`");
        let (choices, labelled) = match &node.value {
            Value::Array(items) => (listed(called, items, findings)?, false),
            Value::Table(table) => (labelled(table, findings)?, true),
            Value::Faulty => return None,
            _ => {
                let message =
                    format!("`{called}` must be an array or a table, not {}", node.describe());
                findings.add(&node.span, Problem::new(message).help(help));
                return None;
            }
        };
        if choices.is_empty() {
            findings.add(&node.span, Problem::new(format!("`{called}` has no values")).help(help));
            return None;
        }
        Some(Self { name: name.to_owned(), key: key.clone(), choices, labelled })
    }

    /// The positions of the choices that a value of `exclude` or `include` means.
    pub(super) fn find(&self, node: &Node) -> Option<usize> {
        match (self.labelled, &node.value) {
            (true, Value::String(text)) => {
                self.choices.iter().position(|choice| choice.label == *text)
            }
            (true, _) => None,
            (false, _) => self.choices.iter().position(|choice| same(&choice.node, node)),
        }
    }

    /// As [`Axis::find`]; a value that is not there is told.
    pub(super) fn expect(&self, node: &Node, findings: &mut Findings) -> Option<usize> {
        let found = self.find(node);
        if found.is_none() && !node.is_faulty() {
            let labels = || self.choices.iter().map(|choice| choice.label.as_str());
            let near = node.as_str().map(|text| did_you_mean(text, labels())).unwrap_or_default();
            let message = format!("`{}` is never {}{near}", self.name, node.describe());
            let what = if self.labelled { "labels" } else { "values" };
            let help = format!("{what} of `{}`: {}", self.name, list(labels()));
            findings.add(&node.span, Problem::new(message).help(help));
        }
        found
    }

    /// The position of a value that `include` brings along.
    pub(super) fn bring(&mut self, node: &Node, findings: &mut Findings) -> Option<usize> {
        if self.labelled || self.find(node).is_some() {
            return self.expect(node, findings);
        }
        let label = of_value(&self.name, node, findings)?;
        self.choices.push(Choice { label, node: node.clone() });
        Some(self.choices.len() - 1)
    }
}

fn listed(called: &str, items: &[Node], findings: &mut Findings) -> Option<Vec<Choice>> {
    let mut choices = Vec::with_capacity(items.len());
    let mut seen = std::collections::BTreeSet::new();
    let mut right = true;
    for item in items {
        let Some(label) = of_value(called, item, findings) else {
            right = false;
            continue;
        };
        if !seen.insert(label.to_ascii_lowercase()) {
            let twice = quoted(&label);
            let message = match item.as_str() == Some(&label) || item.as_str().is_none() {
                true => format!("{twice} stands in `{called}` twice"),
                false => format!("two values of `{called}` make the label {twice}"),
            };
            let help = format!("with labels of your own: `{called} = {{ LABEL = … }}`");
            findings.add(&item.span, Problem::new(message).help(help));
            right = false;
            continue;
        }
        choices.push(Choice { label, node: item.clone() });
    }
    right.then_some(choices)
}

/// Makes a label of a value that has none.
fn of_value(called: &str, item: &Node, findings: &mut Findings) -> Option<String> {
    if item.is_faulty() {
        return None;
    }
    let made = label(item);
    if made.is_none() {
        let message = format!("{} in `{called}` needs a label", item.describe());
        let help = format!("write `{called} = {{ LABEL = … }}`");
        findings.add(&item.span, Problem::new(message).help(help));
    }
    made
}

fn labelled(table: &Table, findings: &mut Findings) -> Option<Vec<Choice>> {
    let mut choices = Vec::with_capacity(table.len());
    let mut right = true;
    for (name, entry) in in_order(table) {
        if let Some(problem) = label_problem(name) {
            findings.add(&entry.key, problem);
            right = false;
        }
        right &= !entry.node.is_faulty();
        choices.push(Choice { label: name.clone(), node: entry.node.clone() });
    }
    right.then_some(choices)
}

/// Whether two values are the same, however they are written.
fn same(one: &Node, other: &Node) -> bool {
    let number = |node: &Node| match &node.value {
        Value::Integer(text, value) => {
            value.map_or_else(|| text.parse().ok(), |value| Some(value as f64))
        }
        Value::Float(text) => text.replace('_', "").parse::<f64>().ok(),
        _ => None,
    };
    match (&one.value, &other.value) {
        (Value::Integer(_, Some(one)), Value::Integer(_, Some(other))) => one == other,
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Boolean(one), Value::Boolean(other)) => one == other,
        (Value::Datetime(one), Value::Datetime(other)) => one == other,
        _ => number(one).zip(number(other)).is_some_and(|(one, other)| one == other),
    }
}
