//! What a step's result depends on, as a [`Fingerprint`].

use std::path::{Path, PathBuf};

use cache::{Fingerprint, Listing, Store, StoreError};
use serde_json::Value;

use crate::pipeline::Step;
use crate::plan::{Plan, StepId};

/// Everything the result of one step depends on.
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    /// Hashed, it is the key.
    pub(crate) fingerprint: Fingerprint,
    /// What its digests stand for, so that a later change can be told file by file.
    pub(crate) listings: Vec<Listing>,
    /// The outside files and directories, as they were.
    pub(crate) outside: Vec<(PathBuf, Listing)>,
}

/// Why what a step depends on cannot be known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// Outside data cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A parameter points into a result at something that is not there.
    #[error(
        "the result of step `{step}` holds no `{path}`, which `{parameter}` names; it holds {}",
        some(holds)
    )]
    NotInResult {
        /// The step whose result it is.
        step: String,
        /// What was looked for.
        path: String,
        /// The parameter that names it.
        parameter: String,
        /// What the result holds.
        holds: Vec<String>,
    },
}

fn some(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        _ if names.len() > 6 => format!("`{}`, ...", names[..6].join("`, `")),
        _ => format!("`{}`", names.join("`, `")),
    }
}

/// Works out what a step depends on. `made` tells the files of the result of each step it needs.
pub(crate) fn basis(
    plan: &Plan,
    id: StepId,
    made: &dyn Fn(StepId) -> Listing,
    store: &Store,
    root: &Path,
) -> Result<Basis, Unknown> {
    let step = plan.step(id);
    let mut basis =
        Basis { fingerprint: declared(step), listings: Vec::new(), outside: Vec::new() };
    let result = |name: &str| {
        let id = plan.find(name).expect("a plan has every step that is mentioned");
        made(id)
    };
    for (input, steps) in &step.inputs {
        for (index, name) in steps.iter().enumerate() {
            let entry = match steps.len() {
                1 => format!("input.{input}"),
                _ => format!("input.{input}.{index}"),
            };
            basis.add(entry, result(name));
        }
    }
    for read in &step.reads {
        let entry = format!("read.{}", read.parameter);
        match read.source.step() {
            None => {
                let path = root.join(read.source.as_path());
                let listing = store.scan_once(&path)?;
                basis.add(entry, listing.clone());
                basis.outside.push((path, listing));
            }
            Some((name, rest)) => {
                let whole = result(name);
                let listing = whole.under(rest);
                if listing.is_empty() && !rest.is_empty() {
                    return Err(Unknown::NotInResult {
                        step: name.to_owned(),
                        path: rest.to_owned(),
                        parameter: read.parameter.clone(),
                        holds: top_level(&whole),
                    });
                }
                basis.add(entry, listing);
            }
        }
    }
    Ok(basis)
}

impl Basis {
    fn add(&mut self, entry: String, listing: Listing) {
        self.fingerprint.insert(entry, listing.digest().to_string());
        self.listings.push(listing);
    }

    /// Keeps what the digests stand for; to be called before the result is committed.
    pub(crate) fn keep_listings(&self, store: &Store) -> Result<(), StoreError> {
        for listing in &self.listings {
            store.put_listing(listing)?;
        }
        Ok(())
    }
}

/// The first names of the paths in a listing.
fn top_level(listing: &Listing) -> Vec<String> {
    let mut names: Vec<String> =
        listing.iter().map(|(path, _)| path.split('/').next().unwrap_or(path).to_owned()).collect();
    names.dedup();
    names
}

/// The part of the fingerprint that the pipeline file decides, and what the machine said of its tools and
/// variables.
pub(crate) fn declared(step: &Step) -> Fingerprint {
    let mut fingerprint = stated(step);
    for (name, text) in step.environment.entries() {
        fingerprint.insert(name, text.clone());
    }
    fingerprint
}

/// The part of the fingerprint that the pipeline file decides by itself.
pub(crate) fn stated(step: &Step) -> Fingerprint {
    let mut fingerprint = Fingerprint::new();
    fingerprint.insert("kind", step.kind.name);
    fingerprint.insert("version", step.kind.version.to_string());
    let content_only = |name: &str| {
        step.reads.iter().any(|read| !read.path_matters && is_at_or_below(name, &read.parameter))
    };
    let free = |name: &str| step.kind.free.iter().any(|free| is_at_or_below(name, free));
    let mut leaves = Vec::new();
    flatten(&step.stage.parameters(), String::new(), &mut leaves);
    for (name, text) in leaves {
        if !free(&name) && !content_only(&name) {
            fingerprint.insert(format!("param.{name}"), text);
        }
    }
    fingerprint
}

fn is_at_or_below(name: &str, parent: &str) -> bool {
    name.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Lists the leaves of parameters by dotted name, each as JSON.
fn flatten(value: &Value, name: String, leaves: &mut Vec<(String, String)>) {
    let below = |part: &str| {
        // A part with a dot in it must not look like two parts.
        let part = if part.contains(['.', '"']) { format!("{part:?}") } else { part.to_owned() };
        if name.is_empty() { part } else { format!("{name}.{part}") }
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(part, value)| flatten(value, below(part), leaves));
        }
        Value::Array(items) if !items.is_empty() => {
            let numbered = items.iter().enumerate();
            numbered.for_each(|(part, value)| flatten(value, below(&part.to_string()), leaves));
        }
        // A stage without parameters has no leaf at all.
        Value::Object(_) | Value::Null if name.is_empty() => {}
        leaf => leaves.push((name, leaf.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leaves_have_names_that_cannot_be_confused() {
        let parameters = json!({
            "loss": { "arcface": { "margin": 0.5 } },
            "augment": [{ "flip": {} }, "x"],
            "environment": { "A.B": "1", "A": "2" },
            "none": [],
            "initial": null,
        });
        let mut leaves = Vec::new();
        flatten(&parameters, String::new(), &mut leaves);
        let told: Vec<String> =
            leaves.iter().map(|(name, text)| format!("{name}={text}")).collect();
        let expected = [
            "loss.arcface.margin=0.5",
            "augment.0.flip={}",
            "augment.1=\"x\"",
            "environment.\"A.B\"=\"1\"",
            "environment.A=\"2\"",
            "none=[]",
            "initial=null",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_free_parameter_takes_what_is_below_with_it() {
        assert!(is_at_or_below("loader.workers", "loader") && is_at_or_below("log", "log"));
        assert!(!is_at_or_below("log-every", "log"));
    }
}
