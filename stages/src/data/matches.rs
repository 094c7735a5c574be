//! The answers of open-set identification on disk: what `verify` writes and `submit` reads.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A line of `matches.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Match {
    /// The unknown image, relative to the folder that was preprocessed, with `/`.
    pub(crate) path: String,
    /// The answer: a known identity, or nobody.
    pub(crate) id: String,
    /// How much the nearest identity is alike.
    pub(crate) score: f64,
    /// The nearest identity, whether accepted or not.
    pub(crate) nearest: String,
    /// The image of it that is most alike.
    pub(crate) nearest_path: String,
}

impl Match {
    /// The name of the file.
    pub(crate) const FILE: &'static str = "matches.jsonl";
    /// The file beside it that lists every id that may be answered.
    pub(crate) const IDENTITIES: &'static str = "identities.json";
}

/// Reads a file of JSON lines.
///
/// # Errors
///
/// When it cannot be read, or a line has another form.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let parse = |(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{shown}, line {}", number + 1))
    };
    text.lines().enumerate().map(parse).collect()
}
