//! `tools`, `inherit` and `secrets` of a step: what its program takes from the machine.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::tree::{Entry, Node, Table, Value};
use crate::environment::{Environment, Tool, Variable};
use crate::problem::Problem;
use crate::suggest::quoted;

/// Takes the three keys out of a step and reads them; every mistake is told.
pub(super) fn read_environment(own: &mut Table, findings: &mut Findings) -> Environment {
    let [tools, inherit, secrets] = ["tools", "inherit", "secrets"].map(|key| own.remove(key));
    let own_variables: BTreeSet<&str> = own
        .get("environment")
        .and_then(|entry| entry.node.as_table())
        .map(|table| table.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let tools = items("tools", "[\"python3 --version\"]", tools.as_ref(), findings);
    let tools = tools.iter().filter_map(|item| tool(item, findings)).collect();
    let mut seen = own_variables;
    let inherit = items("inherit", "[\"CUDA_VISIBLE_DEVICES\"]", inherit.as_ref(), findings);
    let inherit = variables("inherit", &inherit, &mut seen, findings);
    let secrets = items("secrets", "[\"HF_TOKEN\"]", secrets.as_ref(), findings);
    let secrets = variables("secrets", &secrets, &mut seen, findings);
    Environment::new(tools, inherit, secrets)
}

fn items<'e>(
    key: &str,
    example: &str,
    entry: Option<&'e Entry>,
    findings: &mut Findings,
) -> Vec<&'e Node> {
    let Some(entry) = entry else { return Vec::new() };
    match &entry.node.value {
        Value::Array(items) => items.iter().filter(|item| !item.is_faulty()).collect(),
        Value::Faulty => Vec::new(),
        _ => {
            let message = format!("`{key}` must be an array, not {}", entry.node.describe());
            let help = format!("for example `{key} = {example}`");
            findings.add(&entry.node.span, Problem::new(message).help(help));
            Vec::new()
        }
    }
}

/// A tool: a line split at its blanks, or an array of words.
fn tool(item: &Node, findings: &mut Findings) -> Option<Tool> {
    let words: Option<Vec<String>> = match &item.value {
        Value::String(line) => Some(line.split_whitespace().map(str::to_owned).collect()),
        Value::Array(words) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let quotes = item.as_str().is_some_and(|line| line.contains(['"', '\'']));
    let words =
        words.filter(|words| words.first().is_some_and(|first| !first.is_empty()) && !quotes);
    if words.is_none() {
        let message = match quotes {
            true => "a tool is split at its blanks alone; quotes mean nothing in it".to_owned(),
            false => format!("a tool is a program with its arguments, not {}", item.describe()),
        };
        let help = "for example `\"python3 --version\"` or `[\"python3\", \"-c\", \"import torch; print(torch.__version__)\"]`";
        findings.add(&item.span, Problem::new(message).help(help));
    }
    Some(Tool { words: words?, place: findings.place(&item.span) })
}

fn variables<'n>(
    key: &str,
    items: &[&'n Node],
    seen: &mut BTreeSet<&'n str>,
    findings: &mut Findings,
) -> Vec<Variable> {
    let mut variables = Vec::new();
    for item in items {
        let name = item.as_str().filter(|name| !name.is_empty() && !name.contains(['=', '\0']));
        let Some(name) = name else {
            let message =
                format!("`{key}` holds names of environment variables, not {}", item.describe());
            findings.add(&item.span, Problem::new(message));
            continue;
        };
        if !seen.insert(name) {
            let message = format!("the environment variable {} is given twice", quoted(name));
            let help = "it stands once in `environment`, `inherit` and `secrets` together";
            findings.add(&item.span, Problem::new(message).help(help));
            continue;
        }
        variables.push(Variable { name: name.to_owned(), place: findings.place(&item.span) });
    }
    variables
}
