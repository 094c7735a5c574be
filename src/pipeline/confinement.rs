//! The table `sandbox` of a step: what its program may read besides what the step declares.

use std::path::{Path, PathBuf};

use super::absent;
use super::findings::Findings;
use super::tree::{Node, Table, Value, in_order};
use crate::problem::Problem;
use crate::sandbox::{Mode, Sandbox};
use crate::suggest::{did_you_mean, quoted};

/// What the keys of the table mean, for who wrote something else.
const HELP: &str = "for example `sandbox = { mode = \"strict\", read = [\"~/.cache/models\"] }`";

/// Reads the table; every mistake is told.
pub(super) fn read_sandbox(node: &Node, root: Option<&Path>, findings: &mut Findings) -> Sandbox {
    let mut sandbox = Sandbox::default();
    let Some(table) = expect_table(node, findings) else { return sandbox };
    for (name, entry) in in_order(table) {
        match name.as_str() {
            "mode" => sandbox.mode = read_mode(&entry.node, findings),
            "read" => sandbox.read = read_paths(&entry.node, root, findings),
            _ => {
                let near = did_you_mean(name, ["mode", "read"]);
                let message = format!("unknown key {}{near}", quoted(&format!("sandbox.{name}")));
                findings.add(&entry.key, Problem::new(message).help(HELP));
            }
        }
    }
    sandbox
}

fn expect_table<'n>(node: &'n Node, findings: &mut Findings) -> Option<&'n Table> {
    if node.as_table().is_none() && !node.is_faulty() {
        let message = format!("`sandbox` must be a table, not {}", node.describe());
        findings.add(&node.span, Problem::new(message).help(HELP));
    }
    node.as_table()
}

fn read_mode(node: &Node, findings: &mut Findings) -> Option<Mode> {
    if node.is_faulty() {
        return None;
    }
    let mode = node.as_str().and_then(|text| text.parse().ok());
    if mode.is_none() {
        let near = node.as_str().map(|text| did_you_mean(text, Mode::NAMES)).unwrap_or_default();
        let message = format!("`sandbox.mode` cannot be {}{near}", node.describe());
        let help = format!("write one of {}", Mode::NAMES.map(quoted).join(", "));
        findings.add(&node.span, Problem::new(message).help(help));
    }
    mode
}

fn read_paths(node: &Node, root: Option<&Path>, findings: &mut Findings) -> Vec<PathBuf> {
    let Value::Array(items) = &node.value else {
        if !node.is_faulty() {
            let message = format!("`sandbox.read` must be an array, not {}", node.describe());
            findings.add(&node.span, Problem::new(message).help(HELP));
        }
        return Vec::new();
    };
    let mut paths = Vec::new();
    for item in items.iter().filter(|item| !item.is_faulty()) {
        let Some(text) = item.as_str().filter(|text| !text.is_empty()) else {
            let message = format!("`sandbox.read` holds paths, not {}", item.describe());
            findings.add(&item.span, Problem::new(message).help(HELP));
            continue;
        };
        let path = locate(text, root.unwrap_or(Path::new("")));
        if root.is_none() || path.exists() {
            paths.push(path);
        } else {
            let message = format!("there is no file {}", quoted(text));
            findings.add(&item.span, Problem::new(message).help(absent::describe(&path)));
        }
    }
    paths
}

/// Finds a path that starts at the project, at the home directory (`~/`) or at the top.
fn locate(text: &str, root: &Path) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below),
        _ => root.join(text),
    }
}
