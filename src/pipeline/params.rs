//! The values of `[params]`, and where the file says `"${params.NAME}"`.
//!
//! A string that is nothing but a reference becomes the value, of whatever type; inside a longer
//! string the value becomes text. Parameters may use each other.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::substitute::{Scope, Substitution};
use super::template::{PARAMETERS, Piece, is_plain, pieces};
use super::tree::{Entry, Node, Table, Value};
use crate::problem::Problem;

/// How many values references may make in all. A file that needs more doubles itself.
const MOST_NODES: usize = 200_000;

/// How often parameters may stand on each other.
const MOST_ROUNDS: usize = 64;

/// The keys and indices that lead to a value.
type Path = Vec<String>;

/// Resolves every reference of a merged pipeline, in `[params]` itself and below `[stage]`.
pub(super) fn resolve(pipeline: &mut Table, findings: &mut Findings) {
    let mut params = match pipeline.remove("params") {
        Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) => table,
        Some(entry) => {
            if !entry.node.is_faulty() {
                let message = format!("`params` must be a table, not {}", entry.node.describe());
                findings.add(&entry.node.span, Problem::new(message).help("write `[params]`"));
            }
            return;
        }
        None => Table::new(),
    };
    let mut budget = MOST_NODES;
    resolve_params(&mut params, &mut budget, findings);
    if let Some(stage) = pipeline.get_mut("stage") {
        let scope = Scope { tables: &[("params", &params)], ..SCOPE };
        Substitution { scope, budget: &mut budget, findings }.node(&mut stage.node, 1, false);
    }
}

/// Where parameters are looked up.
const SCOPE: Scope<'_> = Scope { words: PARAMETERS, tables: &[], labels: None, step: "" };

/// Resolves the parameters among themselves: round by round those that need only finished ones.
fn resolve_params(params: &mut Table, budget: &mut usize, findings: &mut Findings) {
    let mut pending = BTreeSet::new();
    for (name, entry) in params.iter() {
        collect(&entry.node, &mut vec![name.clone()], &mut pending);
    }
    for _ in 0..MOST_ROUNDS {
        let before = pending.len();
        for path in pending.clone() {
            let Some(node) = at_path(params, &path) else { continue };
            if first_need(node, &pending).is_some() {
                continue;
            }
            let mut node = node.clone();
            let scope = Scope { tables: &[("params", params)], ..SCOPE };
            Substitution { scope, budget, findings }.node(&mut node, path.len(), false);
            if let Some(place) = at_path_mut(params, &path) {
                *place = node;
            }
            pending.remove(&path);
        }
        if pending.len() == before {
            break;
        }
    }
    tell_loops(params, &pending, findings);
    for path in &pending {
        if let Some(node) = at_path_mut(params, path) {
            node.value = Value::Faulty;
        }
    }
}

/// Tells each loop of parameters that wait for each other; one that only leads to a loop is silent.
fn tell_loops(params: &Table, pending: &BTreeSet<Path>, findings: &mut Findings) {
    let mut seen: BTreeSet<Path> = BTreeSet::new();
    for first in pending {
        // Each waits for some other, so following them comes back to one that was seen.
        let mut walk = vec![first.clone()];
        while let Some(last) = walk.last() {
            if seen.contains(last) {
                break;
            }
            let next = at_path(params, last).and_then(|node| first_need(node, pending));
            let Some(next) = next else {
                // It waits for nothing: only the rounds were too few.
                if let Some(node) = at_path(params, last) {
                    let message =
                        format!("parameters stand on each other more than {MOST_ROUNDS} deep");
                    findings.add(&node.span, Problem::new(message));
                }
                break;
            };
            if let Some(start) = walk.iter().position(|path| *path == next) {
                let names = walk[start..].iter().chain([&next]).map(|path| path.join("."));
                let names = names.collect::<Vec<_>>().join(" → ");
                let message = format!("parameters refer to each other in a loop: {names}");
                if let Some(node) = at_path(params, &next) {
                    findings.add(&node.span, Problem::new(message));
                }
                break;
            }
            walk.push(next);
        }
        seen.extend(walk);
    }
}

/// Collects the paths of all strings that have something to resolve.
fn collect(node: &Node, path: &mut Path, found: &mut BTreeSet<Path>) {
    let mut below = |name: String, node: &Node| {
        path.push(name);
        collect(node, path, found);
        path.pop();
    };
    match &node.value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| below(index.to_string(), item));
        }
        Value::Table(table) => {
            table.iter().for_each(|(name, entry)| below(name.clone(), &entry.node));
        }
        Value::String(text) if !is_plain(text) => {
            found.insert(path.clone());
        }
        _ => {}
    }
}

fn at_path<'t>(params: &'t Table, path: &[String]) -> Option<&'t Node> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(&params.get(first)?.node, |node, name| node.child(name))
}

fn at_path_mut<'t>(params: &'t mut Table, path: &[String]) -> Option<&'t mut Node> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(&mut params.get_mut(first)?.node, |node, name| node.child_mut(name))
}

/// The first of the pending strings that a string needs: on the way to what it names, or below it.
fn first_need(node: &Node, pending: &BTreeSet<Path>) -> Option<Path> {
    // A slip in the string is told when it is resolved.
    let pieces = pieces(node.as_str()?, PARAMETERS).ok()?;
    pieces.iter().find_map(|piece| {
        let Piece::Reference(name) = piece else { return None };
        let path: Path = name.split('.').skip(1).map(str::to_owned).collect();
        let above = (1..path.len()).find_map(|length| pending.get(&path[..length]));
        let below = || pending.range(path.clone()..).next().filter(|next| next.starts_with(&path));
        above.or_else(below).cloned()
    })
}
