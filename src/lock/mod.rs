//! The lock file of a pipeline: which results it gives, written for version control.
//!
//! `verify.toml.lock` beside `verify.toml` has one line for each step, in the order of names:
//!
//! ```toml
//! version = 1
//!
//! [step]
//! net = { key = "…", result = "…", declared = "…", depends = { "read.images" = "…" } }
//! ```
//!
//! Nothing of the machine is in it, so that it is the same wherever the same results are.

mod check;
#[cfg(test)]
mod mutations;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::Data;

use cache::{Digest, Fingerprint, Key, Listing, Manifest};
use serde::Deserialize;
use toml::Spanned;

use crate::StepId;
use crate::freshness::stated;
use crate::pipeline::Step;
use crate::plan::Plan;
use crate::preview::Preview;
use crate::problem::{Place, Problem};
use crate::source_map::SourceFile;

/// The version of the format that is written, and the only one that is read.
const VERSION: i64 = 1;

/// Which results a pipeline gives.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    steps: BTreeMap<String, Locked>,
}

/// The result of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Its key.
    pub key: Key,
    /// The digest of the listing of its files.
    pub result: Digest,
    /// The digest of all that the pipeline file says of the step, the names of its inputs included.
    pub declared: Digest,
    /// What the key depends on besides that and its inputs: the entries of the fingerprint, such as
    /// the digest of outside data under `read.images`, or what a tool answered.
    pub depends: BTreeMap<String, String>,
    /// Its line in the lock file, if it was read from one.
    at: Option<Place>,
}

impl Lock {
    /// Returns where the lock file of a pipeline file is.
    #[must_use]
    pub fn path_of(pipeline: &Path) -> PathBuf {
        let mut name = pipeline.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    /// Makes the lock of a pipeline whose every step is fresh.
    ///
    /// # Errors
    ///
    /// The steps that are not, and why.
    pub fn of(plan: &Plan, previews: &[(StepId, Preview)]) -> Result<Self, Vec<(StepId, String)>> {
        let mut lock = Self::default();
        let mut missing = Vec::new();
        for (id, preview) in previews {
            let step = plan.step(*id);
            match preview {
                Preview::Fresh(manifest) => {
                    lock.steps.insert(step.name.clone(), Locked::of(step, manifest));
                }
                Preview::Runs { reasons, .. } | Preview::MayRun { reasons } => {
                    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                    missing.push((*id, reasons.join(", ")));
                }
                Preview::Fails(why) => missing.push((*id, why.clone())),
            }
        }
        if missing.is_empty() { Ok(lock) } else { Err(missing) }
    }

    /// Reads the lock file of a pipeline file.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, or where it is not what `pipe lock` writes.
    pub fn read(pipeline: &Path) -> Result<Self, Problem> {
        let path = Self::path_of(pipeline);
        let shown = path.display();
        let again = format!("`pipe lock {}` writes it", pipeline.display());
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Problem::new(format!("there is no lock file {shown}")).help(&again)
            }
            _ => Problem::new(format!("cannot read {shown}: {error}")),
        })?;
        Self::parse(path.display().to_string(), text).map_err(|problem| problem.help(&again))
    }

    fn parse(name: String, text: String) -> Result<Self, Problem> {
        let source = Arc::new(SourceFile::new(name, text));
        let place = |span| Place::new(Arc::clone(&source), 0, span);
        let broken = |error: toml::de::Error| {
            let problem = Problem::new(error.message());
            match error.span() {
                Some(span) => problem.at(place(span)),
                None => problem,
            }
        };
        let Versioned { version } = toml::from_str(source.text()).map_err(broken)?;
        if *version.get_ref() != VERSION {
            let message = format!("version {} of lock files is not known", version.get_ref());
            let help = format!("this pipe reads and writes version {VERSION}");
            return Err(Problem::new(message).at(place(version.span())).help(help));
        }
        let file: File = toml::from_str(source.text()).map_err(broken)?;
        let steps = file.step.into_iter().map(|(name, line)| {
            let at = Some(place(name.span()));
            let Line { key, result, declared, depends } = line;
            (name.into_inner(), Locked { key, result, declared, depends, at })
        });
        Ok(Self { steps: steps.collect() })
    }

    /// Returns the result of a step.
    #[must_use]
    pub fn get(&self, step: &str) -> Option<&Locked> {
        self.steps.get(step)
    }

    /// Returns every step and its result, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Locked)> {
        self.steps.iter().map(|(name, locked)| (name.as_str(), locked))
    }

    /// Returns the steps whose results differ between the two.
    #[must_use]
    pub fn differences(&self, other: &Self) -> BTreeSet<String> {
        let names = self.steps.keys().chain(other.steps.keys());
        let same = |a: &Locked, b: &Locked| a.as_written() == b.as_written();
        let differs = |name: &&String| match (self.steps.get(*name), other.steps.get(*name)) {
            (Some(a), Some(b)) => !same(a, b),
            _ => true,
        };
        names.filter(differs).cloned().collect()
    }

    /// Returns the text of the lock file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# What this pipeline gives; `pipe lock` writes it, `--locked` holds to it.\n\
             version = {VERSION}\n\n[step]\n"
        );
        for (name, Locked { key, result, declared, depends, .. }) in &self.steps {
            let name = if is_bare(name) { name.clone() } else { quoted(name) };
            text.push_str(&format!(
                "{name} = {{ key = \"{key}\", result = \"{result}\", declared = \"{declared}\""
            ));
            let depends: Vec<String> = depends
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                .collect();
            if !depends.is_empty() {
                text.push_str(&format!(", depends = {{ {} }}", depends.join(", ")));
            }
            text.push_str(" }\n");
        }
        text
    }

    /// Writes the lock file of a pipeline file, whole or not at all; returns whether it was another
    /// before.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, pipeline: &Path) -> io::Result<bool> {
        let (path, text) = (Self::path_of(pipeline), self.to_text());
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let aside = path.with_file_name(name);
        let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path));
        if written.is_err() {
            fs::remove_file(&aside).ok();
        }
        written.map(|()| true)
    }
}

impl Locked {
    fn of(step: &Step, manifest: &Manifest) -> Self {
        let known = stated(step);
        let depends = manifest
            .fingerprint
            .iter()
            .filter(|(name, _)| known.get(name).is_none() && !name.starts_with("input."));
        Self {
            key: manifest.key,
            result: manifest.outputs.digest(),
            declared: written(step),
            depends: depends.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            at: None,
        }
    }

    /// Tells how a result differs from this one; none when it has the same files.
    #[must_use]
    pub fn refuses(&self, outputs: &Listing, known: Option<&Listing>) -> Option<String> {
        if outputs.digest() == self.result {
            return None;
        }
        let changed = known.map(|known| outputs.differences(known)).unwrap_or_default();
        let mut names: Vec<&str> = changed.iter().map(|(path, _)| path.as_str()).collect();
        let more = names.len().saturating_sub(3);
        names.truncate(3);
        let mut message = "its files are not those of the lock file".to_owned();
        if !names.is_empty() {
            message.push_str(&format!(": {} differ", names.join(", ")));
        }
        if more > 0 {
            message.push_str(&format!(", and {more} more"));
        }
        Some(message)
    }

    fn as_written(&self) -> (&Key, &Digest, &Digest, &BTreeMap<String, String>) {
        (&self.key, &self.result, &self.declared, &self.depends)
    }
}

/// Digests all that a pipeline file says of a step, where its inputs come from included.
fn written(step: &Step) -> Digest {
    let mut said: Fingerprint = stated(step);
    // What a machine answers is no word of the file; that it is asked is one.
    for name in step.environment.names() {
        said.insert(name, "");
    }
    for (input, steps) in &step.inputs {
        for (index, name) in steps.iter().enumerate() {
            said.insert(format!("input.{input}.{index}"), name);
        }
    }
    for read in step.reads.iter().filter(|read| read.source.step().is_some()) {
        said.insert(format!("read.{}", read.parameter), &read.source.0);
    }
    said.key().digest()
}

fn is_bare(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A string of JSON is one of TOML, but for the character that JSON leaves as it is.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[derive(Deserialize)]
struct Versioned {
    version: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[expect(dead_code, reason = "read before, but no unknown key")]
    version: i64,
    step: BTreeMap<Spanned<String>, Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Key,
    result: Digest,
    declared: Digest,
    #[serde(default)]
    depends: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(text: &str, depends: &[(&str, &str)]) -> Locked {
        let digest = Digest::of(text.as_bytes());
        let depends = depends.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        Locked {
            key: Fingerprint::new().key(),
            result: digest,
            declared: digest,
            depends: depends.collect(),
            at: None,
        }
    }

    fn parse(text: &str) -> Result<Lock, String> {
        Lock::parse("p.toml.lock".to_owned(), text.to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_text_is_pinned_and_comes_back() {
        let tool = [("tool.python3 --version", "Python 3.11\t\u{7f}\"ä\""), ("read.images", "ab")];
        let steps = [("plain", locked("a", &[])), ("net@0.5", locked("b", &tool))];
        let steps = steps.map(|(name, locked)| (name.to_owned(), locked));
        let lock = Lock { steps: steps.into() };
        let (key, a, b) = (Fingerprint::new().key(), Digest::of(b"a"), Digest::of(b"b"));
        let text = lock.to_text();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "version = 1",
                "",
                "[step]",
                &format!(
                    "\"net@0.5\" = {{ key = \"{key}\", result = \"{b}\", declared = \"{b}\", \
                     depends = {{ \"read.images\" = \"ab\", \"tool.python3 --version\" = \
                     \"Python 3.11\\t\\u007f\\\"ä\\\"\" }} }}"
                ),
                &format!("plain = {{ key = \"{key}\", result = \"{a}\", declared = \"{a}\" }}"),
            ]
        );
        let back = parse(&text).unwrap();
        assert_eq!(back.differences(&lock), BTreeSet::new());
        assert_eq!(back.get("plain").unwrap().at.as_ref().unwrap().to_string(), "p.toml.lock:6:1");
        let other = Lock { steps: [("plain".to_owned(), locked("x", &[]))].into() };
        assert_eq!(back.differences(&other).into_iter().collect::<Vec<_>>(), ["net@0.5", "plain"]);
    }

    #[test]
    fn what_is_not_a_lock_file_is_told_at_its_place() {
        let check = |text: &str, parts: &[&str]| {
            let told = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        };
        check("version = 2\nnew = 3\n", &["p.toml.lock:1:11", "version 2 ", "version 1"]);
        check("version = 1\n[step]\n<<<<<<< ours\n", &["p.toml.lock:3:"]);
        check("version = 1\n[step]\na = { key = \"12\" }\n", &["p.toml.lock:3:"]);
        check("version = 1\nsteps = {}\n", &["p.toml.lock:2:1", "unknown field `steps`"]);
        check("", &["missing field `version`"]);
    }

    #[test]
    fn the_lock_file_lies_beside_the_pipeline() {
        let path = Lock::path_of(Path::new("a/verify.toml"));
        assert_eq!(path, Path::new("a/verify.toml.lock"));
    }
}
