//! The table `remote` of a pipeline: where results are shared; no part of any key.

use super::findings::Findings;
use super::tree::{Node, Table, Value, in_order};
use crate::problem::Problem;
use crate::remote::{Address, NotAnAddress};
use crate::suggest::{did_you_mean, quoted};

/// What the keys of the table mean, for who wrote something else.
const HELP: &str = "for example `[remote]` with `url = \"s3://bucket/prefix\"` and `push = true`";

/// Where a pipeline's results are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAt {
    /// The remote.
    pub address: Address,
    /// Whether a run sends there what it made.
    pub push: bool,
}

/// Takes the table out of a merged pipeline and reads it; every mistake is told.
pub(super) fn take_remote(pipeline: &mut Table, findings: &mut Findings) -> Option<SharedAt> {
    let entry = pipeline.remove("remote")?;
    let Some(table) = entry.node.as_table() else {
        if !entry.node.is_faulty() {
            let message = format!("`remote` must be a table, not {}", entry.node.describe());
            findings.add(&entry.node.span, Problem::new(message).help(HELP));
        }
        return None;
    };
    let (mut address, mut push, mut named) = (None, false, false);
    for (name, entry) in in_order(table) {
        match name.as_str() {
            "url" => {
                named = true;
                address = read_url(&entry.node, findings);
            }
            "push" => push = read_push(&entry.node, findings),
            _ => {
                let near = did_you_mean(name, ["url", "push"]);
                named |= near.contains("url");
                let message = format!("unknown key {}{near}", quoted(&format!("remote.{name}")));
                findings.add(&entry.key, Problem::new(message).help(HELP));
            }
        }
    }
    if !named {
        findings.add_absence(&entry.key, Problem::new("`remote` lacks `url`").help(HELP));
    }
    Some(SharedAt { address: address?, push })
}

fn read_url(node: &Node, findings: &mut Findings) -> Option<Address> {
    let text = match &node.value {
        Value::String(text) => text,
        Value::Faulty => return None,
        _ => {
            let message = format!("`remote.url` must be a string, not {}", node.describe());
            findings.add(&node.span, Problem::new(message).help(HELP));
            return None;
        }
    };
    match text.parse() {
        Ok(address) => Some(address),
        Err(NotAnAddress { message, help, secret: false }) => {
            findings.add(&node.span, Problem::new(message).help(help));
            None
        }
        // With a place, the line that holds the secret would be shown.
        Err(NotAnAddress { message, help, secret: true }) => {
            let place = findings.place(&node.span);
            let message = format!("{place}: `remote.url`: {message}");
            findings.add_placed(Problem::new(message).help(help));
            None
        }
    }
}

fn read_push(node: &Node, findings: &mut Findings) -> bool {
    match node.value {
        Value::Boolean(push) => push,
        Value::Faulty => false,
        _ => {
            let message = format!("`remote.push` must be true or false, not {}", node.describe());
            findings.add(&node.span, Problem::new(message).help(HELP));
            false
        }
    }
}
