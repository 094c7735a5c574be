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
}

impl Log {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        opened.step(&self.step)?;
        let bytes = match self.current(&opened)? {
            Some(bytes) => bytes,
            None => {
                let message = format!("step {} has never run; there is no log of it", self.step);
                return Err(Failure::Failed(anyhow::anyhow!(message)));
            }
        };
        io::stdout().lock().write_all(&bytes)?;
        Ok(SUCCESS)
    }

    fn current(&self, opened: &Opened) -> Result<Option<Vec<u8>>, Failure> {
        let Opened { plan, store, project } = opened;
        let selected = opened.select(std::slice::from_ref(&self.step))?;
        let previews = preview(plan, store, &project.root, &selected, &BTreeSet::new());
        let (_, preview) = previews.last().expect("the step itself was selected");
        let unfinished = |key: &Key| match store.unfinished_log(key) {
            Some(path) => std::fs::read(&path)
                .map(Some)
                .with_context(|| format!("cannot read {}", path.display())),
            None => Ok(None),
        };
        let kept = |manifest: &Manifest| match &manifest.log {
            Some(digest) => store.get(digest).context("cannot read the log"),
            None => Ok(None),
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
        match store.latest(&plan.pipeline.name, &self.step).context("cannot read the store")? {
            Some(manifest) => Ok(kept(&manifest)?),
            None => Ok(None),
        }
    }
}
