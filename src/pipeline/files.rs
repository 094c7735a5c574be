//! Reads a pipeline file and all that it names: the file it extends, those it includes, those with
//! parameters.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::findings::Findings;
use super::tree::{Node, Table, Value};
use super::{absent, json, read};
use crate::problem::Problem;
use crate::source_map::{SourceFile, Span};
use crate::suggest::quoted;

/// The keys that name other files.
pub(super) const NAMING: [&str; 3] = ["extends", "include", "params-files"];

/// How many files a pipeline may be made of. Their slots come before those of the command line.
pub(super) const MOST_FILES: usize = 256;

/// How long a chain of files may be in which each extends or includes the next.
const LONGEST_CHAIN: usize = 32;

/// A file with those that it names.
pub(super) struct Source {
    pub(super) table: Table,
    /// The files it includes, in the order it names them.
    pub(super) includes: Vec<Source>,
    /// The files of parameters, in the order it names them.
    pub(super) params: Vec<Table>,
    /// The file it extends.
    pub(super) base: Option<Box<Source>>,
}

/// Reads a pipeline file and all that it names. Fails when the file itself cannot be read at all.
pub(super) fn read_all(path: &Path, findings: &mut Findings) -> Result<Source, Problem> {
    let text = read::read_text(path)?;
    let mut reading =
        Reading { left: MOST_FILES, included: BTreeSet::new(), chain: Vec::new(), findings };
    Ok(reading.file(path, text))
}

/// Reads a file of parameters of the command line, as the source at `slot`.
pub(super) fn read_params(
    path: &Path,
    slot: usize,
    findings: &mut Findings,
) -> Option<(Span, Table)> {
    match read::read_text(path) {
        Ok(text) => Some(parse_params(path, text, slot, findings)),
        Err(problem) => {
            findings.set_damaged();
            findings.add_placed(problem);
            None
        }
    }
}

/// Why a file is read, for messages.
#[derive(Clone, Copy, PartialEq)]
enum Why {
    Extends,
    Includes,
}

struct Reading<'f> {
    /// The slots that are left. They are given from the end, so that what is read later (the files that lie
    /// below) comes first.
    left: usize,
    /// Files that were included: each is taken once.
    included: BTreeSet<PathBuf>,
    /// The files that lead to the one that is read: what each is, and its name.
    chain: Vec<(PathBuf, String)>,
    findings: &'f mut Findings,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, text: String) -> Source {
        self.chain.push((identity(path), path.display().to_string()));
        let source = Arc::new(SourceFile::new(path.display().to_string(), text));
        self.left -= 1;
        let base = self.findings.sources.add(self.left, Arc::clone(&source));
        let mut table = read::parse(&source, base, self.findings);
        let [extends, include, params] =
            NAMING.map(|key| table.remove(key).map(|entry| entry.node));
        let directory = path.parent().unwrap_or(Path::new(""));
        // From the end, as slots are given.
        let params = self.names("params-files", params);
        let mut params: Vec<Table> = params
            .iter()
            .rev()
            .filter_map(|(name, span)| self.params(&directory.join(name), span))
            .collect();
        params.reverse();
        let includes = self.names("include", include);
        let mut includes: Vec<Source> = includes
            .iter()
            .rev()
            .filter_map(|(name, span)| self.other(&directory.join(name), span, Why::Includes))
            .collect();
        includes.reverse();
        let below = self.name("extends", extends);
        let below =
            below.and_then(|(name, span)| self.other(&directory.join(name), &span, Why::Extends));
        self.chain.pop();
        Source { table, includes, params, base: below.map(Box::new) }
    }

    /// Reads a file that another names.
    fn other(&mut self, path: &Path, said_at: &Span, why: Why) -> Option<Source> {
        let path = absent::clean(path);
        let identity = identity(&path);
        if let Some(first) = self.chain.iter().position(|(other, _)| *other == identity) {
            let names = self.chain[first..].iter().map(|(_, name)| name.clone());
            let names: Vec<_> = names.chain([path.display().to_string()]).collect();
            let verb = if why == Why::Extends { "extend" } else { "include" };
            let message = format!("files {verb} each other in a loop: {}", names.join(" → "));
            self.refuse(said_at, Problem::new(message));
            return None;
        }
        if why == Why::Includes && !self.included.insert(identity) {
            return None;
        }
        if self.chain.len() == LONGEST_CHAIN {
            let message = format!("more than {LONGEST_CHAIN} files extend or include each other");
            self.refuse(said_at, Problem::new(message));
            return None;
        }
        let text = self.text(&path, said_at)?;
        Some(self.file(&path, text))
    }

    fn params(&mut self, path: &Path, said_at: &Span) -> Option<Table> {
        let path = absent::clean(path);
        let text = self.text(&path, said_at)?;
        self.left -= 1;
        Some(parse_params(&path, text, self.left, self.findings).1)
    }

    fn text(&mut self, path: &Path, said_at: &Span) -> Option<String> {
        if self.left == 0 {
            let message = format!("the pipeline is made of more than {MOST_FILES} files");
            self.refuse(said_at, Problem::new(message));
            return None;
        }
        match read::read_text(path) {
            Ok(text) => Some(text),
            Err(problem) => {
                self.refuse(said_at, problem);
                None
            }
        }
    }

    /// Tells that a file is not read, in which anything might stand.
    fn refuse(&mut self, said_at: &Span, problem: Problem) {
        self.findings.set_damaged();
        self.findings.add(said_at, problem);
    }

    /// The path that a key names, and where it does.
    fn name(&mut self, key: &str, node: Option<Node>) -> Option<(String, Span)> {
        let node = node?;
        match node.value {
            Value::String(name) if !name.is_empty() => return Some((name, node.span)),
            Value::Faulty => self.findings.set_damaged(),
            _ => {
                let message = match key {
                    "params-files" => {
                        format!("`{key}` must name files of parameters, not {}", node.describe())
                    }
                    _ => format!(
                        "`{key}` must be the path of a pipeline file, not {}",
                        node.describe()
                    ),
                };
                let help = match key {
                    "extends" => "for example `extends = \"verify.toml\"`",
                    "include" => "for example `include = [\"shared.toml\"]`",
                    _ => "for example `params-files = [\"params.toml\"]`",
                };
                self.refuse(&node.span, Problem::new(message).help(help));
            }
        }
        None
    }

    /// The paths in an array, and where they stand.
    fn names(&mut self, key: &str, node: Option<Node>) -> Vec<(String, Span)> {
        match node {
            Some(Node { value: Value::Array(items), .. }) => {
                items.into_iter().filter_map(|item| self.name(key, Some(item))).collect()
            }
            Some(Node { value: Value::String(name), span }) => {
                let message = format!("`{key}` must be an array of paths");
                let help = format!("in brackets: `{key} = [{:?}]`", name);
                self.refuse(&span, Problem::new(message).help(help));
                Vec::new()
            }
            other => self.name(key, other).into_iter().collect(),
        }
    }
}

/// What a file is, whatever it is called.
fn identity(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Reads a table of parameters from TOML or JSON, and where it begins.
fn parse_params(path: &Path, text: String, slot: usize, findings: &mut Findings) -> (Span, Table) {
    let source = Arc::new(SourceFile::new(path.display().to_string(), text));
    let base = findings.sources.add(slot, Arc::clone(&source));
    let start = base..base;
    let table = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => read::parse(&source, base, findings),
        Some("json") => json::parse(&source, base, findings),
        _ => {
            findings.set_damaged();
            let message =
                format!("{} is neither a `.toml` nor a `.json` file", quoted(source.name()));
            findings.add(&start, Problem::new(message));
            Table::new()
        }
    };
    if let Some(entry) = table.get("params")
        && table.len() == 1
        && entry.node.as_table().is_some()
    {
        let problem = Problem::new("a file of parameters has them at its top, not in `params`");
        findings.set_damaged();
        findings.add(&entry.key, problem);
        return (start, Table::new());
    }
    (start, table)
}
