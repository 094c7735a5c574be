//! `pipe watch`: runs again whenever something changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use pipe::Pipeline;
use pipe::watch;

use super::run::Run;
use super::target::Opened;
use super::{Failure, Global, INTERRUPTED, USAGE, complain, problems, quantity, remote};

/// How many changed files are named.
const NAMED: usize = 3;

/// Runs a pipeline, and again whenever its file or its data change
///
/// Watched are the pipeline file, those it extends, and the files and directories outside the store
/// that the steps read. A change during a run is taken up when the run has ended. Mistakes in the
/// file are told, and it goes on watching. Ctrl-C ends it. Takes every option of `pipe run`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe watch pipelines/verify.toml
  pipe watch pipelines/verify.toml train --dry-run   only tell what would run")]
pub(crate) struct Watch {
    #[command(flatten)]
    run: Run,
    /// Look every so many seconds instead of being told by the kernel; by itself it does so on file
    /// systems of other machines
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    poll: Option<u64>,
}

impl Watch {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let project = global.project()?;
        let interrupt = remote::interrupt()?;
        let mut watch = watch::Watch::new(&project.store, self.poll.map(Duration::from_secs));
        let mut places = BTreeSet::new();
        loop {
            // Watched before it is read, so that no change is missed.
            places.extend(self.files());
            watch.set(&places).context("cannot watch")?;
            match self.run.open(global) {
                Ok(opened) => {
                    places = self.files().chain(outside(&opened)).collect();
                    watch.set(&places).context("cannot watch")?;
                    if self.once(global, &opened, &interrupt)? == INTERRUPTED {
                        return Ok(INTERRUPTED);
                    }
                }
                Err(Failure::Problems(found)) => problems::show(&found)?,
                Err(other) => return Err(other),
            }
            if !global.quiet {
                let every = watch.polls().map(|poll| format!(" every {} s", poll.as_secs()));
                let count = quantity::count(places.len(), "place");
                complain(&format!("watching {count}{}; Ctrl-C ends it", every.unwrap_or_default()));
            }
            match watch.wait(&interrupt).context("cannot watch")? {
                None => return Ok(INTERRUPTED),
                Some(changed) if !global.quiet => complain(&format!("{} changed", told(&changed))),
                Some(_) => {}
            }
        }
    }

    /// One run; what is wrong with the command line or the lock file is told, and may be mended.
    fn once(
        &self,
        global: &Global,
        opened: &Opened,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<u8, Failure> {
        match self.run.bring(global, opened, interrupt) {
            Err(Failure::Problems(found)) => {
                problems::show(&found)?;
                Ok(USAGE)
            }
            Err(Failure::Usage(message)) => {
                complain(&message);
                Ok(USAGE)
            }
            other => other,
        }
    }

    /// The pipeline file, those it is made of, and those that the command line puts over it.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let made_of = Pipeline::files(self.run.file()).into_iter();
        made_of.chain(self.run.params()).map(|path| absolute(&path))
    }
}

/// What the steps read outside the store.
fn outside(opened: &Opened) -> impl Iterator<Item = PathBuf> {
    let Opened { plan, project, .. } = opened;
    let reads = plan.pipeline.steps.iter().flat_map(|step| &step.reads);
    let outside = reads.filter(|read| read.source.step().is_none());
    outside.map(|read| absolute(&project.root.join(read.source.as_path())))
}

/// A path as the kernel tells of it.
fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // What is not there yet is watched by where it would be.
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else { return whole };
    let parent = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
    let whole = parent.join(name);
    if whole.is_dir() { whole.canonicalize().unwrap_or(whole) } else { whole }
}

fn told(changed: &[PathBuf]) -> String {
    let names: Vec<String> = changed.iter().take(NAMED).map(|path| quantity::path(path)).collect();
    match changed.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
