//! `pipe run`: brings steps up to date.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;

use pipe::event::Observer;
use pipe::executor::{self, Options, Unavailable};
use pipe::history::{Begun, History, Journal, Outcome};
use pipe::pools::{self, Machine};
use pipe::remote::Remote;
use pipe::sandbox::Mode;
use pipe::{SharedAt, StepId};
use stages::DeviceChoice;

use super::target::{Opened, Target};
use super::{FAILED, Failure, Global, INTERRUPTED, SUCCESS, USAGE, complain, remote, report};

/// Brings the steps of a pipeline up to date
///
/// Runs the steps whose results are missing or out of date, each in a process of its own, as many at
/// once as there are cores. Results are kept in the store, with a link to each in
/// `.pipe/latest/PIPELINE/STEP/`.
///
/// Ctrl-C stops the run; steps save what they can and go on from there the next time. Ctrl-C again
/// kills them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    target: Target,
    /// The steps to bring up to date, with all they need [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// How many steps may run at once [default: the number of cores]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Only tell what would run, and why
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Run a step even though it is fresh; without `=STEP`, every step that was asked for
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true,
          value_delimiter = ',', default_missing_value = "")]
    force: Vec<String>,
    /// After a failure, go on with what does not depend on it
    #[arg(short, long)]
    keep_going: bool,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t, hide_possible_values = true)]
    device: DeviceChoice,
    /// Hold the programs of `command` steps to what the steps declare: off, warn or strict; warn goes on
    /// without where the kernel has no Landlock, strict does not [default: what each step says, or off]
    #[arg(long, value_name = "MODE")]
    sandbox: Option<Mode>,
    /// Refuse to run when the lock file no longer describes the pipeline file and its data, and to take
    /// any result that is not the one in it
    #[arg(long)]
    locked: bool,
    /// Look for results there before running a step [default: `url` of `[remote]` in the file]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Leave the remote alone that the file names
    #[arg(long, conflicts_with_all = ["remote", "push"])]
    no_remote: bool,
    /// Send results to the remote after the run [default: as `push` of `[remote]` says, or not]
    #[arg(long, conflicts_with = "dry_run")]
    push: bool,
    /// Make the results of the steps named (all, without any) a second time when all is up to date, and
    /// compare the bytes; the store stays as it is
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Write events as JSON lines to standard output
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  pipe run pipelines/verify.toml                 everything that is out of date
  pipe run pipelines/verify.toml train           the step train, and what it needs
  pipe run pipelines/verify.toml --force=train   train again, though it is fresh
  pipe run sweep.toml 'net@0.5-*'                some of the steps that a matrix makes
  pipe run pipelines/verify.toml train --check   does train give the same bytes every time?
  pipe run pipelines/verify.toml --set stage.train.epochs=3 --dry-run";

impl Run {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.open(global)?;
        let interrupt = remote::interrupt()?;
        self.bring(global, &opened, &interrupt)
    }

    /// The pipeline file.
    pub(super) fn file(&self) -> &Path {
        &self.target.file
    }

    /// The files of parameters that the command line names.
    pub(super) fn params(&self) -> Vec<PathBuf> {
        self.target.changes.changes().params
    }

    /// Reads the pipeline and opens its store.
    pub(super) fn open(&self, global: &Global) -> Result<Opened, Failure> {
        self.target.open(global)
    }

    /// Brings the steps up to date, until `interrupt` is set.
    pub(super) fn bring(
        &self,
        global: &Global,
        opened: &Opened,
        interrupt: &AtomicBool,
    ) -> Result<u8, Failure> {
        let selected = opened.select(&self.steps)?;
        let forced = self.forced(opened, &selected)?;
        let lock = self.locked.then(|| super::lock::hold(opened, &selected)).transpose()?;
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = self.jobs.map_or(cores, NonZeroUsize::get);
        if self.dry_run {
            pools::check(&opened.plan, &selected, Machine::look(cores), jobs)?;
            return super::plan::print(opened, &selected, &forced);
        }
        let goals = goals(opened, &selected);
        let mut observer = report::observer(self.json, global, &self.target, goals);
        let shared = opened.plan.pipeline.shared.as_ref();
        let mut notices = self.of_one_name(opened);
        let remote = self.open_remote(shared, &mut notices)?;
        let options = Options {
            root: &opened.project.root,
            selected,
            forced,
            jobs,
            cores,
            device: self.device,
            keep_going: self.keep_going,
            sandbox: self.sandbox,
            locked: lock.as_ref(),
            remote: remote.as_ref(),
            push: self.push || shared.is_some_and(|shared| shared.push),
            notices,
            interrupt,
        };
        let command = super::runs::command_line();
        let begun = Begun { command, file: self.target.file.clone() };
        let journal = Journal::new(opened.store.root(), begun, &mut *observer);
        let mut journal = journal.comparing(self.check);
        let code = match executor::run(&opened.plan, &opened.store, &options, &mut journal) {
            Ok(summary) if summary.interrupted => Ok(INTERRUPTED),
            Ok(summary) if summary.failed > 0 || summary.lost => Ok(FAILED),
            Ok(_) if self.check => {
                let code = self.repeat(global, opened, options);
                journal.compared(match &code {
                    Ok(SUCCESS) => Outcome::Succeeded,
                    Ok(INTERRUPTED) => Outcome::Stopped,
                    _ => Outcome::Failed,
                });
                code
            }
            Ok(_) => Ok(SUCCESS),
            Err(error) => {
                journal.refused(&error.to_string());
                match error {
                    Unavailable::TooLarge(problems) => Err(problems.into()),
                    Unavailable::Missing(_) => {
                        complain(&error.to_string());
                        Ok(USAGE)
                    }
                }
            }
        };
        if let Err(error) = History::tidy(&opened.store) {
            tracing::warn!("{error:#}");
        }
        unless_broken(code?, &*observer)
    }

    /// Tells of another pipeline that has the name of this one.
    fn of_one_name(&self, opened: &Opened) -> Vec<String> {
        let Opened { project, plan, store } = opened;
        let name = &plan.pipeline.name;
        // The file is named from where the command was called.
        let Ok(file) = std::path::absolute(&self.target.file) else { return Vec::new() };
        let other = pipe::namesake(store.root(), &project.root, name, &file);
        let told = other.map(|other| {
            format!(
                "{} is called `{name}`, too: the last results of both are in latest/{name}/, and `store gc` keeps \
                 those of the last run alone; another file name keeps them apart",
                super::quantity::path(&other)
            )
        });
        told.into_iter().collect()
    }

    /// Makes results again and compares them.
    fn repeat(
        &self,
        global: &Global,
        opened: &Opened,
        mut options: Options<'_>,
    ) -> Result<u8, Failure> {
        let steps = match self.steps.is_empty() {
            true => options.selected.clone(),
            false => opened.plan.named(&self.steps)?,
        };
        let count = super::quantity::count(steps.len(), "result");
        options.notices = vec![format!("making {count} again, to compare the bytes")];
        let mut observer = report::observer(self.json, global, &self.target, Vec::new());
        let Opened { plan, store, .. } = opened;
        let (summary, others) = pipe::repeat::repeat(plan, store, options, &steps, &mut *observer)?;
        let code = match summary.interrupted {
            true => INTERRUPTED,
            false if summary.failed > 0 || summary.lost || others > 0 => FAILED,
            false => SUCCESS,
        };
        unless_broken(code, &*observer)
    }

    fn forced(
        &self,
        opened: &Opened,
        selected: &BTreeSet<StepId>,
    ) -> Result<BTreeSet<StepId>, Failure> {
        let mut forced = BTreeSet::new();
        for name in &self.force {
            let named: Vec<&String> = match name.is_empty() {
                true => self.steps.iter().collect(),
                false => vec![name],
            };
            if named.is_empty() {
                return Ok(selected.clone());
            }
            for name in named {
                let steps = opened.plan.named(std::slice::from_ref(name))?;
                if steps.is_disjoint(selected) {
                    let message = format!("--force={name}: the steps asked for do not need it");
                    return Err(Failure::Usage(message));
                }
                forced.extend(steps.intersection(selected));
            }
        }
        Ok(forced)
    }

    /// Opens the remote, if there is one; a run goes on without one that cannot be opened.
    fn open_remote(
        &self,
        shared: Option<&SharedAt>,
        notices: &mut Vec<String>,
    ) -> Result<Option<Remote>, Failure> {
        if self.no_remote {
            return Ok(None);
        }
        let Some(address) = remote::address(self.remote.as_deref(), shared)? else {
            if self.push {
                let help = "add `--remote URL`, or `[remote]` with `url = …` to the file";
                return Err(Failure::Usage(format!("--push: there is no remote\n  help: {help}")));
            }
            return Ok(None);
        };
        let push = self.push || shared.is_some_and(|shared| shared.push);
        // Whoever sends makes the directory if there is none.
        let opened = if push { Remote::open_to_send(&address).map(drop) } else { Ok(()) };
        Ok(match opened.and_then(|()| Remote::open(&address)) {
            Ok(remote) => Some(remote),
            Err(failure) => {
                notices.push(format!("{failure}; the run goes on without the remote"));
                None
            }
        })
    }
}

/// Returns the code of a run, unless it succeeded and whoever reads its events cannot know.
fn unless_broken(code: u8, observer: &dyn Observer) -> Result<u8, Failure> {
    match observer.broken() {
        Some(error) if code == SUCCESS => Err(Failure::Failed(anyhow::anyhow!("{error}"))),
        _ => Ok(code),
    }
}

/// The steps whose results nothing else needs that was selected.
fn goals(opened: &Opened, selected: &BTreeSet<StepId>) -> Vec<String> {
    let plan = &opened.plan;
    let is_goal =
        |id: &&StepId| !plan.downstream(**id).iter().any(|after| selected.contains(after));
    selected.iter().filter(is_goal).map(|&id| plan.step(id).name.clone()).collect()
}
