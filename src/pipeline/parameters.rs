//! The parameters of a step: read by the stage itself, and checked with places.

use stages::{Complaint, DynStage, Kind, Read};
use toml::Spanned;

use super::findings::Findings;
use super::inputs::Steps;
use super::tree::{Entry, Node, Table, Value, to_document};
use super::{Need, Surroundings, absent};
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::quoted;

/// Reads the parameters of a step; `None` when they are at fault.
pub(super) fn read_parameters(
    step: &str,
    kind: &Kind,
    own: &Entry,
    findings: &mut Findings,
) -> Option<Box<dyn DynStage>> {
    let table = own.node.as_table()?;
    let document = Spanned::new(own.node.span.clone(), to_document(table));
    match (kind.parse)(toml::de::Deserializer::from(document)) {
        Ok(stage) => Some(stage),
        Err(error) => {
            let span = error.span().unwrap_or_else(|| own.key.clone());
            let message = format!("step {}: {}", quoted(step), error.message());
            findings.add(&span, Problem::new(message));
            None
        }
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
            format!("`{}`: {}", complaint.parameter, complaint.message)
        };
        let mut problem = Problem::new(message);
        problem.help = complaint.help;
        findings.add(&place_of(own, &complaint.parameter), problem);
    }
}

/// The span of a parameter, by dotted name; where it is not written, of the nearest table above.
fn place_of(own: &Entry, dotted: &str) -> Span {
    let mut span = own.key.clone();
    let mut node = &own.node;
    for name in dotted.split('.').filter(|name| !name.is_empty()) {
        let key = match &node.value {
            Value::Table(table) => match table.get(name) {
                Some(entry) => {
                    node = &entry.node;
                    &entry.key
                }
                None => break,
            },
            Value::Array(items) => match name.parse::<usize>().ok().and_then(|at| items.get(at)) {
                Some(item) => {
                    node = item;
                    &item.span
                }
                None => break,
            },
            _ => break,
        };
        // A table may be long; its key says enough.
        span = if node.as_table().is_some() { key.clone() } else { node.span.clone() };
    }
    span
}

/// Checks every path a stage reads, and every `${stage.NAME}`; returns the steps needed by them.
pub(super) fn check_sources(
    own: &Entry,
    reads: &[Read],
    steps: &Steps<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut places = Vec::new();
    for read in reads {
        let span = place_of(own, &read.parameter);
        let text = &read.source.0;
        if let Some((step, rest)) = read.source.step() {
            places.push(span.start);
            if rest.split('/').any(|part| part == "..") {
                let message = format!("{} leads out of the result of the step", quoted(text));
                findings.add(&span, Problem::new(message));
            }
            if steps.check(step, &span, findings) {
                needs.push(Need { step: step.to_owned(), place: findings.place(&span) });
            }
        } else if !text.contains("${stage.") {
            check_path(text, &span, around, findings);
        }
    }
    misplaced(&own.node, &places, findings);
    needs
}

/// Tells every `${stage.NAME}` that is not the beginning of a path the stage reads.
fn misplaced(node: &Node, places: &[usize], findings: &mut Findings) {
    match &node.value {
        Value::String(text) if text.contains("${stage.") && !places.contains(&node.span.start) => {
            let start = text.find("${stage.").unwrap_or_default();
            let problem = Problem::new(if start > 0 {
                "`${stage.NAME}` must be the beginning of the path".to_owned()
            } else if !text.contains('}') {
                format!("{} lacks its `}}`", quoted(text))
            } else {
                "`${stage.NAME}` can stand only in a parameter that is a path".to_owned()
            });
            findings.add(&node.span, problem.help("for example `\"${stage.shards}/index.jsonl\"`"));
        }
        Value::Array(items) => items.iter().for_each(|item| misplaced(item, places, findings)),
        Value::Table(table) => misplaced_in(table, places, findings),
        _ => {}
    }
}

fn misplaced_in(table: &Table, places: &[usize], findings: &mut Findings) {
    table.values().for_each(|entry| misplaced(&entry.node, places, findings));
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
