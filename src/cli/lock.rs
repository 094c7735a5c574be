//! `pipe lock`: writes down which results a pipeline gives, and holds a run to that.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Context as _;
use pipe::lock::{self, Data};
use pipe::preview::preview;
use pipe::{Problems, StepId};

use super::target::{Opened, Target};
use super::{Failure, Global, SUCCESS, quantity, visible};

/// Writes a lock file: which results the pipeline gives, for version control
///
/// FILE.lock has a line for each step: its key, the digest of its result, and the digests of the data
/// it reads. `pipe run --locked` and `pipe plan --locked` refuse when the pipeline file or the data
/// are no longer what they were; `run --locked` also takes no other result. Every step has to be fresh.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe lock pipelines/verify.toml           writes pipelines/verify.toml.lock
  pipe run pipelines/verify.toml --locked   gives exactly those results, or fails")]
pub(crate) struct Lock {
    #[command(flatten)]
    target: Target,
}

impl Lock {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let selected = opened.select(&[])?;
        let Opened { plan, store, project } = &opened;
        let previews = preview(plan, store, &project.root, &selected, &BTreeSet::new());
        let lock = lock::Lock::of(plan, &previews).map_err(|missing| {
            let count = quantity::count(missing.len(), "step");
            let verb = if missing.len() == 1 { "is" } else { "are" };
            let mut message = format!("{count} {verb} not fresh, so there is nothing to lock");
            for (id, why) in missing.iter().take(10) {
                message.push_str(&format!("\n  {}: {why}", plan.step(*id).name));
            }
            if missing.len() > 10 {
                message.push_str(&format!("\n  and {} more", missing.len() - 10));
            }
            message.push_str(&format!("\n`pipe run {}` makes them", self.target.shown()));
            Failure::Failed(anyhow::anyhow!(message))
        })?;
        let (file, path) = (&plan.pipeline.path, lock::Lock::path_of(&plan.pipeline.path));
        // A broken one is written anew, whatever was wrong with it.
        let before = lock::Lock::read(file).ok();
        let written =
            lock.write(file).with_context(|| format!("cannot write {}", path.display()))?;
        let count = quantity::count(lock.iter().len(), "step");
        let changed = match before {
            Some(before) => lock.differences(&before).into_iter().collect(),
            None => Vec::new(),
        };
        let what = match (written, changed.as_slice()) {
            (false, _) => ", as before".to_owned(),
            (true, []) => String::new(),
            (true, [one]) => format!(", {one} changed"),
            (true, some) => format!(", {} changed", some.len()),
        };
        writeln!(visible::stdout(), "  {}: {count}{what}", path.display())?;
        Ok(SUCCESS)
    }
}

/// Reads the lock file and makes sure that it still describes the pipeline file and its data.
pub(super) fn hold(opened: &Opened, selected: &BTreeSet<StepId>) -> Result<lock::Lock, Failure> {
    let Opened { plan, store, project } = opened;
    let lock = lock::Lock::read(&plan.pipeline.path).map_err(Problems::from)?;
    lock.check(plan, selected, Some(Data { store, root: &project.root }))?;
    Ok(lock)
}

/// Reads the lock file and makes sure that it still describes the pipeline file, whatever the data is.
pub(super) fn read(opened: &Opened, selected: &BTreeSet<StepId>) -> Result<lock::Lock, Failure> {
    let lock = lock::Lock::read(&opened.plan.pipeline.path).map_err(Problems::from)?;
    lock.check(&opened.plan, selected, None)?;
    Ok(lock)
}
