//! The `inputs` of a step: which slots it has, and what may be wired to them.

use stages::{Arity, Input, Kind};

use super::Need;
use super::findings::Findings;
use super::step::Wired;
use super::tree::{Entry, Node, Value, in_order};
use super::wiring::Steps;
use crate::glob;
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::{did_you_mean, list, nearest, one_of, quoted};

/// The output that every input accepts, because nothing is known of it.
const FILES: &str = "files";

/// Whether an input can use an output.
fn accepts(input: &Input, output: &str) -> bool {
    output == FILES
        || input.accepts.is_empty()
        || input.accepts.iter().any(|word| *word == output || *word == FILES || *word == "*")
}

/// Reads the table `inputs` of a step and checks it against the slots of its kind.
pub(super) fn read_inputs(
    step: &str,
    entry: &Entry,
    kind: &Kind,
    written: Option<&Entry>,
    steps: &Steps<'_>,
    findings: &mut Findings,
) -> Wired {
    let mut wired = Wired::default();
    let mut faulty = Vec::new();
    if let Some(written) = written {
        match &written.node.value {
            Value::Table(table) => {
                for (name, input) in in_order(table) {
                    if findings.is_full() {
                        break;
                    }
                    let Some(slot) = slot(kind, name) else {
                        findings.add(&input.key, unknown_input(kind, name));
                        // It may stand for a required one that is spelled otherwise.
                        let names = kind.inputs.iter().map(|slot| slot.name);
                        faulty.extend(nearest(name, names));
                        continue;
                    };
                    match read_input(name, slot, &input.node, steps, findings) {
                        Some(needs) => {
                            let names = needs.iter().map(|need| need.step.clone()).collect();
                            wired.inputs.insert(name.clone(), names);
                            wired.needs.extend(needs);
                        }
                        None => faulty.push(slot.name),
                    }
                }
            }
            Value::Faulty => return wired,
            _ => {
                let message = format!("`inputs` must be a table, not {}", written.node.describe());
                findings.add(&written.node.span, Problem::new(message).help(example(kind)));
                return wired;
            }
        }
    }
    wired.inputs.retain(|_, names| !names.is_empty());
    for slot in kind.inputs.iter().filter(|slot| slot.arity == Arity::One) {
        if !wired.inputs.contains_key(slot.name) && !faulty.contains(&slot.name) {
            let place = written.map_or(&entry.key, |written| &written.key);
            findings.add_absence(place, missing_input(step, slot, steps));
        }
    }
    wired
}

/// The slot for an input of this name.
fn slot<'k>(kind: &'k Kind, name: &str) -> Option<&'k Input> {
    let named = kind.inputs.iter().find(|slot| slot.name == name);
    named.or_else(|| kind.inputs.iter().find(|slot| slot.name == "*"))
}

/// Reads the value of one input; `None` when it is at fault.
fn read_input(
    name: &str,
    slot: &Input,
    node: &Node,
    steps: &Steps<'_>,
    findings: &mut Findings,
) -> Option<Vec<Need>> {
    let items = match &node.value {
        Value::String(_) => std::slice::from_ref(node),
        Value::Array(items) => items.as_slice(),
        Value::Faulty => return None,
        _ => {
            let message = format!(
                "input {} must be the name of a step, not {}",
                quoted(name),
                node.describe()
            );
            findings.add(&node.span, Problem::new(message).help("a string or an array of strings"));
            return None;
        }
    };
    let mut right = true;
    if items.len() > 1 && slot.arity != Arity::Many {
        let message = format!("input {} takes one step, not {}", quoted(name), items.len());
        findings.add(&node.span, Problem::new(message));
        right = false;
    }
    let mut needs = Vec::new();
    for item in items {
        match item.as_str() {
            Some(pattern) if glob::is_pattern(pattern) => {
                let Some(found) = steps.matching(pattern, &item.span, findings) else {
                    right = false;
                    continue;
                };
                if slot.arity != Arity::Many && found.len() > 1 {
                    let (name, count) = (quoted(name), found.len());
                    let message = format!("input {name} takes one step, not {count}");
                    let help = format!("{} means {}", quoted(pattern), list(found));
                    findings.add(&item.span, Problem::new(message).help(help));
                    right = false;
                    continue;
                }
                let place = findings.place(&item.span);
                for step in found {
                    right = right && check_step(name, slot, step, &item.span, steps, findings);
                    needs.push(Need { step: step.to_owned(), place: place.clone() });
                }
            }
            Some(step) => {
                right &= check_step(name, slot, step, &item.span, steps, findings);
                needs.push(Need { step: step.to_owned(), place: findings.place(&item.span) });
            }
            None => {
                right = false;
                if !item.is_faulty() {
                    let message = format!("must be the name of a step, not {}", item.describe());
                    findings.add(&item.span, Problem::new(message));
                }
            }
        }
    }
    right.then_some(needs)
}

fn check_step(
    name: &str,
    slot: &Input,
    step: &str,
    span: &Span,
    steps: &Steps<'_>,
    findings: &mut Findings,
) -> bool {
    if let Some(rest) = step.strip_prefix("${stage.") {
        let bare = rest.split('}').next().unwrap_or(rest);
        let message = format!("input {} must be the name of a step", quoted(name));
        findings.add(span, Problem::new(message).help(format!("write \"{bare}\"")));
        return false;
    }
    if !steps.check(step, slot.arity, span, findings) {
        return false;
    }
    let Some(kind) = steps.kind_of(step) else { return true };
    if accepts(slot, kind.output) {
        return true;
    }
    let message = format!(
        "input {} takes {}, but {} gives {}",
        quoted(name),
        one_of(slot.accepts.iter().copied()),
        quoted(step),
        kind.output
    );
    findings.add(span, Problem::new(message).help(givers(slot, steps)));
    false
}

/// Says which steps, else which kinds, give what an input takes.
fn givers(slot: &Input, steps: &Steps<'_>) -> String {
    let what = one_of(slot.accepts.iter().copied());
    let kinds = steps.kinds.iter().filter(|kind| slot.accepts.contains(&kind.output));
    let kinds: Vec<_> = kinds.map(|kind| kind.name).collect();
    let mut help = format!("kinds that give {what}: {}", kinds.join(", "));
    let giving = steps.giving(slot.accepts);
    if !giving.is_empty() {
        help.push_str(&format!("\nsteps that give {what}: {}", list(giving)));
    }
    help
}

fn missing_input(step: &str, slot: &Input, steps: &Steps<'_>) -> Problem {
    let what = one_of(slot.accepts.iter().copied());
    Problem::new(format!("step {} lacks input `{}` ({what})", quoted(step), slot.name))
        .help(format!("`{}`: {}", slot.name, slot.about))
        .help(givers(slot, steps))
}

fn unknown_input(kind: &Kind, name: &str) -> Problem {
    let names = || kind.inputs.iter().map(|slot| slot.name);
    Problem::new(format!("unknown input {}{}", quoted(name), did_you_mean(name, names()))).help(
        if kind.inputs.is_empty() {
            format!("kind `{}` has no inputs", kind.name)
        } else {
            format!("inputs of kind `{}`: {}", kind.name, names().collect::<Vec<_>>().join(", "))
        },
    )
}

fn example(kind: &Kind) -> String {
    match kind.inputs.first() {
        Some(slot) if slot.name != "*" => format!("`inputs = {{ {} = \"STEP\" }}`", slot.name),
        Some(_) => "`inputs = { NAME = \"STEP\" }`".to_owned(),
        None => format!("kind `{}` has no inputs", kind.name),
    }
}
