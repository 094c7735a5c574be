//! Which values go together: all of a matrix, less those excluded, and those included.

use std::collections::BTreeSet;

use super::super::findings::Findings;
use super::super::tree::{Entry, Node, Table, Value, in_order};
use super::axis::Axis;
use super::{Room, too_many};
use crate::problem::Problem;
use crate::suggest::{did_you_mean, quoted};

/// The keys of a matrix that are no axes.
const RESERVED: [&str; 2] = ["exclude", "include"];

/// How many entries `exclude` and `include` may have.
const MOST_ENTRIES: usize = 1_000;

/// How many axes a matrix may have.
const MOST_AXES: usize = 16;

/// The axes, and of each combination the positions of its values.
type Combined = (Vec<Axis>, Vec<Vec<usize>>);

/// Reads `foreach`: a list, or a table from key to value.
pub(super) fn foreach(written: &Entry, room: &Room, findings: &mut Findings) -> Option<Combined> {
    let axis = Axis::read("foreach", "foreach", &written.key, &written.node, findings)?;
    let count = axis.choices.len();
    if count > room.steps {
        too_many(&written.key, Some(count), "foreach", findings);
        return None;
    }
    let picks = (0..count).map(|pick| vec![pick]).collect();
    Some((vec![axis], picks))
}

/// Reads `matrix`: a table of axes, with `exclude` and `include`.
pub(super) fn matrix(written: &Entry, room: &Room, findings: &mut Findings) -> Option<Combined> {
    let Some(table) = written.node.as_table() else {
        if !written.node.is_faulty() {
            let message = format!("`matrix` must be a table, not {}", written.node.describe());
            let help = "for example `matrix = { depth = [18, 34] }`";
            findings.add(&written.node.span, Problem::new(message).help(help));
        }
        return None;
    };
    let mut axes = read_axes(written, table, findings)?;
    let count = axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.choices.len()));
    let Some(count) = count.filter(|count| *count <= room.steps) else {
        too_many(&written.key, count, "matrix", findings);
        return None;
    };
    let mut combinations = crossed(&axes, count);
    if let Some(items) = entries("exclude", table, findings) {
        let excluded: Vec<_> =
            items.iter().filter_map(|item| read_exclude(item, &axes, findings)).collect();
        combinations.retain(|picks| {
            let is_out =
                |out: &Vec<(usize, usize)>| out.iter().all(|(axis, pick)| picks[*axis] == *pick);
            !excluded.iter().any(is_out)
        });
    }
    if let Some(items) = entries("include", table, findings) {
        let mut there: BTreeSet<Vec<usize>> = combinations.iter().cloned().collect();
        for item in items {
            let Some(picks) = read_include(item, &mut axes, findings) else { continue };
            if there.insert(picks.clone()) {
                combinations.push(picks);
            } else {
                let message = "the matrix has this combination already";
                findings.add(&item.span, Problem::new(message));
            }
        }
    }
    Some((axes, combinations))
}

fn read_axes(written: &Entry, table: &Table, findings: &mut Findings) -> Option<Vec<Axis>> {
    let mut axes = Vec::new();
    let mut right = true;
    let named = in_order(table).into_iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    for (name, entry) in named {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            let message =
                format!("axis {} must be a word of a to z, 0 to 9, `-` and `_`", quoted(name));
            findings.add(&entry.key, Problem::new(message));
            right = false;
            continue;
        }
        let axis = Axis::read(name, &format!("matrix.{name}"), &entry.key, &entry.node, findings);
        right &= axis.is_some();
        axes.extend(axis);
    }
    if axes.is_empty() && right {
        let help = "for example `matrix = { depth = [18, 34] }`";
        findings.add(&written.key, Problem::new("`matrix` has no axes").help(help));
        return None;
    }
    if axes.len() > MOST_AXES {
        let message = format!("`matrix` has {} axes; it may have {MOST_AXES}", axes.len());
        findings.add(&written.key, Problem::new(message));
        return None;
    }
    right.then_some(axes)
}

/// Every combination, the last axis changing fastest.
fn crossed(axes: &[Axis], count: usize) -> Vec<Vec<usize>> {
    let pick = |index: usize| {
        let mut rest = index;
        let mut picks: Vec<usize> = axes
            .iter()
            .rev()
            .map(|axis| {
                let pick = rest % axis.choices.len();
                rest /= axis.choices.len();
                pick
            })
            .collect();
        picks.reverse();
        picks
    };
    (0..count).map(pick).collect()
}

/// The entries of `exclude` or `include`.
fn entries<'t>(word: &str, table: &'t Table, findings: &mut Findings) -> Option<&'t [Node]> {
    let node = &table.get(word)?.node;
    match &node.value {
        Value::Array(items) if items.len() <= MOST_ENTRIES => Some(items),
        Value::Array(items) => {
            let message =
                format!("`{word}` has {} entries; it may have {MOST_ENTRIES}", items.len());
            findings.add(&node.span, Problem::new(message));
            None
        }
        Value::Faulty => None,
        _ => {
            let message =
                format!("`matrix.{word}` must be an array of tables, not {}", node.describe());
            let help = format!("for example `{word} = [{{ depth = 18 }}]`");
            findings.add(&node.span, Problem::new(message).help(help));
            None
        }
    }
}

/// The table of an entry, when all its keys are axes.
fn keyed<'n>(
    word: &str,
    item: &'n Node,
    axes: &[Axis],
    findings: &mut Findings,
) -> Option<&'n Table> {
    let Some(table) = item.as_table() else {
        if !item.is_faulty() {
            let message = format!("`matrix.{word}` holds tables, not {}", item.describe());
            findings.add(&item.span, Problem::new(message).help("for example `{ depth = 18 }`"));
        }
        return None;
    };
    let names = || axes.iter().map(|axis| axis.name.as_str());
    let mut right = true;
    for (name, entry) in in_order(table) {
        if !names().any(|axis| axis == name) {
            let message = format!("unknown axis {}{}", quoted(name), did_you_mean(name, names()));
            let help = format!("axes: {}", names().collect::<Vec<_>>().join(", "));
            findings.add(&entry.key, Problem::new(message).help(help));
            right = false;
        }
    }
    right.then_some(table)
}

/// Reads an entry of `exclude`: the combinations that have all of these values.
fn read_exclude(
    item: &Node,
    axes: &[Axis],
    findings: &mut Findings,
) -> Option<Vec<(usize, usize)>> {
    let table = keyed("exclude", item, axes, findings)?;
    if table.is_empty() {
        let message = "this would exclude every combination";
        findings.add(&item.span, Problem::new(message));
        return None;
    }
    let mut out = Vec::new();
    let mut right = true;
    for (index, axis) in axes.iter().enumerate() {
        let Some(entry) = table.get(&axis.name) else { continue };
        let pick = axis.expect(&entry.node, findings);
        right &= pick.is_some();
        out.extend(pick.map(|pick| (index, pick)));
    }
    right.then_some(out)
}

/// Reads an entry of `include`: a value for every axis.
fn read_include(item: &Node, axes: &mut [Axis], findings: &mut Findings) -> Option<Vec<usize>> {
    let table = keyed("include", item, axes, findings)?;
    let missing: Vec<_> = axes.iter().filter(|axis| !table.contains_key(&axis.name)).collect();
    if !missing.is_empty() {
        let names = missing.iter().map(|axis| quoted(&axis.name)).collect::<Vec<_>>().join(", ");
        let problem = Problem::new(format!("an included combination lacks {names}"));
        findings.add(&item.span, problem.help("it has a value for every axis"));
        return None;
    }
    let picks = axes.iter_mut().map(|axis| {
        let entry = table.get(&axis.name)?;
        axis.bring(&entry.node, findings)
    });
    let picks: Vec<Option<usize>> = picks.collect();
    picks.into_iter().collect()
}
