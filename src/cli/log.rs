//! `pipe log`: what a step said.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anyhow::Context as _;
use cache::{Key, Manifest};
use pipe::preview::{Preview, preview};

use super::target::{Opened, Target};
use super::{Failure, Global, SUCCESS};

/// Writes the log of a step: of the try that failed or still runs, else of its result
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pipe log pipelines/verify.toml train")]
pub(crate) struct Log {
    #[command(flatten)]
    target: Target,
    /// The step
    #[arg(value_name = "STEP")]
    step: String,
    /// The log of an earlier try of a step with `retry`: 1 is the first
    #[arg(long = "try", value_name = "N")]
    attempt: Option<std::num::NonZeroU32>,
}

impl Log {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let (step, selected) = opened.step_and_needs(&self.step)?;
        let name = &opened.plan.step(step).name;
        let Opened { plan, store, project } = &opened;
        let previews = preview(plan, store, &project.root, &selected, &BTreeSet::new());
        let (_, preview) = previews.last().expect("the step itself was selected");
        let found = match self.attempt {
            Some(attempt) => of_try(&opened, name, preview, attempt.get())?,
            None => current(&opened, name, preview)?,
        };
        let bytes = match (found, self.attempt) {
            (Some(bytes), _) => bytes,
            (None, Some(attempt)) => {
                let message = format!(
                    "there is no log of try {attempt} of step {name}: kept are those of its last run"
                );
                return Err(Failure::Failed(anyhow::anyhow!(message)));
            }
            (None, None) => {
                let message = format!("step {name} has never run; there is no log of it");
                return Err(Failure::Failed(anyhow::anyhow!(message)));
            }
        };
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(SUCCESS)
    }
}

/// The log of a try.
fn of_try(
    opened: &Opened,
    step: &str,
    preview: &Preview,
    attempt: u32,
) -> Result<Option<Vec<u8>>, Failure> {
    let Opened { plan, store, .. } = opened;
    let key = match preview {
        Preview::Runs { fingerprint, .. } => Some(fingerprint.key()),
        Preview::Fresh(manifest) => Some(manifest.key),
        _ => {
            let last = store.latest(&plan.pipeline.name, step).context("cannot read the store")?;
            last.map(|manifest| manifest.key)
        }
    };
    let path = key.and_then(|key| store.log_of_try(&key, attempt));
    let is_before = |key: Key| attempt == 1 || store.log_of_try(&key, attempt - 1).is_some();
    if path.is_none() && key.is_some_and(is_before) {
        // The last try has the log that is shown when none is asked for.
        return current(opened, step, preview);
    }
    let read = |path: std::path::PathBuf| {
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(path.map(read).transpose()?)
}

/// The log that is worth showing; none when the step never ran.
fn current(opened: &Opened, step: &str, preview: &Preview) -> Result<Option<Vec<u8>>, Failure> {
    let Opened { plan, store, .. } = opened;
    let unfinished = |key: &Key| match store.unfinished_log(key) {
        Some(path) => std::fs::read(&path)
            .map(Some)
            .with_context(|| format!("cannot read {}", path.display())),
        None => Ok(None),
    };
    let kept = |manifest: &Manifest| match &manifest.log {
        Some(digest) => store.get(digest).context("cannot read the log"),
        // It said nothing.
        None => Ok(Some(Vec::new())),
    };
    if let Preview::Runs { fingerprint, .. } = preview
        && let Some(bytes) = unfinished(&fingerprint.key())?
    {
        return Ok(Some(bytes));
    }
    if let Preview::Fresh(manifest) = preview {
        return match unfinished(&manifest.key)? {
            Some(bytes) => Ok(Some(bytes)),
            None => Ok(kept(manifest)?),
        };
    }
    match store.latest(&plan.pipeline.name, step).context("cannot read the store")? {
        Some(manifest) => Ok(kept(&manifest)?),
        None => Ok(None),
    }
}
