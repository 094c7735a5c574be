//! Secrets: given to the program of a step, and hidden in whatever is written of it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::RwLock;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Of how many bytes a secret is at least.
const SHORTEST: usize = 4;

/// The values to hide in this process, the longest first.
static HIDDEN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Puts inherited variables and secrets into the `environment` of a command's parameters, in the memory
/// of the worker alone: a job names secrets, it does not hold them.
pub(crate) fn give(
    parameters: &mut Value,
    inherited: &BTreeMap<String, String>,
    secrets: &[String],
) -> anyhow::Result<()> {
    if inherited.is_empty() && secrets.is_empty() {
        return Ok(());
    }
    let mut given = inherited.clone();
    for name in secrets {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        let value = value.with_context(|| {
            format!("the secret `{name}` is not set; set the environment variable for the run")
        })?;
        // Hidden wherever it stands, a shorter one would take times, numbers and words apart.
        ensure!(
            value.len() >= SHORTEST,
            "the secret `{name}` has {} bytes, and one of fewer than {SHORTEST} cannot be hidden; pass it on with \
             `inherit` if it is none",
            value.len()
        );
        hide(&value);
        given.insert(name.clone(), value);
    }
    let environment = parameters.get_mut("environment").and_then(Value::as_object_mut);
    let environment = environment.context("this kind of stage takes no environment")?;
    for (name, value) in given {
        environment.insert(name, Value::String(stages::kinds::literal(&value)));
    }
    Ok(())
}

/// Hides a value, and each long line of it, in all that is written through [`mask`] and [`Masked`].
fn hide(value: &str) {
    /// A short line of a longer value, such as `}`, says nothing and stands everywhere.
    const SHORTEST_LINE: usize = 8;
    let lines = value.lines().filter(|line| line.len() >= SHORTEST_LINE);
    let mut hidden = HIDDEN.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    hidden.extend(lines.chain([value]).map(|part| part.trim_end_matches('\n').to_owned()));
    hidden.retain(|part| !part.is_empty());
    hidden.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    hidden.dedup();
}

/// Puts `***` in the place of every secret of this process.
#[must_use]
pub fn mask(text: &str) -> String {
    let hidden = HIDDEN.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut text = text.to_owned();
    for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), MASK);
        }
    }
    text
}

/// A writer that hides the secrets of this process in each piece that it is given.
pub struct Masked<W>(pub W);

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let hides = !HIDDEN.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty();
        match hides {
            true => self.0.write_all(mask(&String::from_utf8_lossy(bytes)).as_bytes())?,
            false => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_their_lines_are_hidden() {
        hide("hunter2-hunter2\nsecond line of it\n}\n");
        hide("hunter2-hunter2-longer");
        assert_eq!(mask("a hunter2-hunter2-longer b hunter2-hunter2 } c"), "a *** b *** } c");
        assert_eq!(mask("second line of it!"), "***!");
        let mut written = Vec::new();
        Masked(&mut written).write_all(b"say hunter2-hunter2\n").unwrap();
        assert_eq!(written, b"say ***\n");
    }

    #[test]
    fn a_secret_that_is_not_set_is_named() {
        let mut parameters = serde_json::json!({"environment": {}});
        let error = give(&mut parameters, &BTreeMap::new(), &["NO_SUCH_SECRET_HERE".to_owned()])
            .unwrap_err();
        assert!(
            error.to_string().contains("the secret `NO_SUCH_SECRET_HERE` is not set"),
            "{error}"
        );
    }
}
