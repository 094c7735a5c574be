//! The parameters of a step: read by the stage itself, and checked with places.

use std::collections::BTreeSet;

use stages::{Arity, Complaint, DynStage, Kind, Read};
use toml::Spanned;

use super::findings::Findings;
use super::tree::{Entry, Node, Table, Value, to_document};
use super::wiring::Steps;
use super::{Need, Surroundings, absent};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::quoted;

/// How many mistakes that only the stage itself can see are told of one step.
const MOST_RETRIES: usize = 16;

/// Reads the parameters of a step, once what the schema can tell has been told and made faulty;
/// `None` when they are at fault.
pub(super) fn read_parameters(
    step: &str,
    kind: &Kind,
    own: &mut Entry,
    is_whole: bool,
    findings: &mut Findings,
) -> Option<Box<dyn DynStage>> {
    let mut right = is_whole;
    for _ in 0..MOST_RETRIES {
        let document = Spanned::new(own.node.span.clone(), to_document(own.node.as_table()?));
        let error = match (kind.parse)(toml::de::Deserializer::from(document)) {
            Ok(stage) => return right.then_some(stage),
            Err(error) => error,
        };
        // It may lack only what was taken out as faulty.
        if !right && error.message().starts_with("missing field") {
            return None;
        }
        right = false;
        let Some(span) = error.span() else {
            let message = format!("step {}: {}", quoted(step), error.message());
            findings.add(&own.key, Problem::new(message));
            return None;
        };
        let mut path = Vec::new();
        match make_faulty(&mut own.node, &span, &mut path) {
            // What was taken out of it is what it lacks.
            Some(was_faulty) if was_faulty => {}
            found => {
                let name = match path.as_slice() {
                    [] => format!("step {}", quoted(step)),
                    path => quoted(&path.join(".")),
                };
                findings.add(&span, Problem::new(format!("{name}: {}", error.message())));
                found?;
            }
        }
    }
    None
}

/// Makes the value at `span` faulty and says the keys that lead to it, and whether anything in it
/// was faulty before; `None` when there is no such value.
fn make_faulty(node: &mut Node, span: &Span, path: &mut Vec<String>) -> Option<bool> {
    let mut descend = |name: String, key: Option<&Span>, node: &mut Node| {
        path.push(name);
        let found = make_faulty(node, span, path).or_else(|| {
            let here = key == Some(span) || node.span == *span;
            here.then(|| {
                let was_faulty = has_faulty(node);
                node.value = Value::Faulty;
                was_faulty
            })
        });
        if found.is_none() {
            path.pop();
        }
        found
    };
    match &mut node.value {
        Value::Array(items) => {
            let mut items = items.iter_mut().enumerate();
            items.find_map(|(index, item)| descend(index.to_string(), None, item))
        }
        Value::Table(table) => table
            .iter_mut()
            .find_map(|(name, entry)| descend(name.clone(), Some(&entry.key), &mut entry.node)),
        _ => None,
    }
}

/// Whether anything at or below a value has been told to be at fault.
pub(super) fn has_faulty(node: &Node) -> bool {
    match &node.value {
        Value::Faulty => true,
        Value::Array(items) => items.iter().any(has_faulty),
        Value::Table(table) => table.values().any(|entry| has_faulty(&entry.node)),
        _ => false,
    }
}

/// Places what a stage says of its own parameters.
pub(super) fn complain(
    step: &str,
    own: &Entry,
    complaints: Vec<Complaint>,
    findings: &mut Findings,
) {
    for complaint in complaints {
        let message = if complaint.parameter.is_empty() {
            format!("step {}: {}", quoted(step), complaint.message)
        } else {
            format!("{}: {}", quoted(&complaint.parameter), complaint.message)
        };
        let problem = Problem::new(message);
        let problem = match complaint.help {
            Some(help) => problem.help(help),
            None => problem,
        };
        let (span, _) = place_of(own, &complaint.parameter);
        findings.add(&span, problem);
    }
}

/// The span of a parameter, by dotted name, and whether it is written; where it is not, of the
/// nearest table above.
fn place_of(own: &Entry, dotted: &str) -> (Span, bool) {
    let mut span = own.key.clone();
    let mut node = &own.node;
    for name in dotted.split('.').filter(|name| !name.is_empty()) {
        let Some(next) = node.child(name) else { return (span, false) };
        // A table may be long; its key says enough.
        span = match (next.as_table(), node.as_table().and_then(|table| table.get(name))) {
            (Some(_), Some(entry)) => entry.key.clone(),
            _ => next.span.clone(),
        };
        node = next;
    }
    (span, true)
}

/// The paths that a stage reads, with their places; those that are not written are defaults.
pub(super) fn places_of_reads(own: &Entry, reads: &[Read]) -> Vec<(Span, String)> {
    let place = |read: &Read| (place_of(own, &read.parameter).0, read.source.0.clone());
    reads.iter().map(place).collect()
}

/// Checks every path of a step, and every `${stage.NAME}`; returns the steps needed by them.
/// `written` are the places that may hold a path.
pub(super) fn check_sources(
    own: &Entry,
    written: &[(Span, String)],
    read: &[(Span, String)],
    steps: &Steps<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Vec<Need> {
    let mut needs = Vec::new();
    for (span, text) in read {
        let source = stages::Source(text.clone());
        if let Some((step, rest)) = source.step() {
            if rest.split('/').any(|part| part == "..") {
                let message = format!("{} leads out of the result of the step", quoted(text));
                findings.add(span, Problem::new(message));
            }
            let after = text.split_once('}').map_or("", |(_, after)| after);
            if !after.is_empty() && !after.starts_with('/') {
                let message = format!("{} needs a `/` after the step", quoted(text));
                let help = format!("write `${{stage.{step}}}/{after}`");
                findings.add(span, Problem::new(message).help(help));
            }
            if steps.check(step, Arity::One, span, findings) {
                needs.push(Need { step: step.to_owned(), place: findings.place(span) });
            }
        } else if !text.contains("${stage.") {
            check_path(text, span, around, findings);
        }
    }
    let paths: BTreeSet<usize> = written
        .iter()
        .filter(|(_, text)| stages::Source(text.clone()).step().is_some())
        .map(|(span, _)| span.start)
        .collect();
    misplaced(&own.node, &paths, findings);
    needs
}

/// Tells every `${stage.NAME}` that is not the beginning of a path.
fn misplaced(node: &Node, paths: &BTreeSet<usize>, findings: &mut Findings) {
    match &node.value {
        Value::String(text) if text.contains("${stage.") && !paths.contains(&node.span.start) => {
            let start = text.find("${stage.").unwrap_or_default();
            let problem = Problem::new(if !text[start..].contains('}') {
                format!("{} lacks its `}}`", quoted(text))
            } else if start > 0 {
                "`${stage.NAME}` can stand only at the beginning of a path".to_owned()
            } else {
                "`${stage.NAME}` can stand only in a parameter that is a path".to_owned()
            });
            findings.add(&node.span, problem.help("for example `\"${stage.shards}/index.jsonl\"`"));
        }
        Value::Array(items) => items.iter().for_each(|item| misplaced(item, paths, findings)),
        Value::Table(table) => misplaced_in(table, paths, findings),
        _ => {}
    }
}

fn misplaced_in(table: &Table, paths: &BTreeSet<usize>, findings: &mut Findings) {
    table.values().for_each(|entry| misplaced(&entry.node, paths, findings));
}

/// Checks that an outside file or directory is there.
fn check_path(text: &str, span: &Span, around: &Surroundings<'_>, findings: &mut Findings) {
    let Some(root) = around.root else { return };
    let path = root.join(text);
    let problem = match std::fs::metadata(&path) {
        Ok(_) => return,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let problem = Problem::new(format!("there is no file or directory {}", quoted(text)));
            problem.help(if text.starts_with("~/") {
                "`~` is not expanded; write the whole path".to_owned()
            } else {
                absent::describe(&path)
            })
        }
        Err(error) => Problem::new(format!("cannot read {}: {error}", quoted(text))),
    };
    findings.add(span, problem);
}
