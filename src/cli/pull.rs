//! `pipe pull`: fetches results from the remote.

use pipe::remote::Remote;
use pipe::sharing;

use super::target::Target;
use super::{Failure, Global, lock, remote, report};

/// Fetches results from the remote of a pipeline
///
/// Works out, from the pipeline file and the data it names, which results a run would make, and fetches
/// those that are not here. Every file is digested as it comes; what is not what its name says is
/// refused. Nothing runs.
///
/// Exit code 1: the remote lacks a result or had to be refused one, or it cannot be used. What arrived
/// whole stays, and the same command goes on from there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Pull {
    #[command(flatten)]
    target: Target,
    /// The steps whose results are fetched, with those they need [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Fetch the results of the steps named alone, not of those they need
    #[arg(long, requires = "steps")]
    only: bool,
    /// Fetch exactly the results that FILE.lock names, whatever data and tools are here
    #[arg(long)]
    locked: bool,
    /// Where to fetch from [default: `url` of `[remote]` in the file]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Write events as JSON lines to standard output
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Credentials come from the environment, as for `pipe push`. See docs/sharing.md.

Examples:
  pipe pull pipelines/verify.toml
  pipe pull pipelines/verify.toml net --only
  pipe pull pipelines/verify.toml --locked
  pipe pull pipelines/verify.toml --remote s3://bucket/faces";

impl Pull {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = match self.locked {
            true => self.target.open_without_data(global)?,
            false => self.target.open(global)?,
        };
        let selected = match self.locked {
            // The machine's own tools decide nothing: the lock file names the keys.
            true => opened.plan.select(&self.steps)?,
            false => opened.select(&self.steps)?,
        };
        let lock = self.locked.then(|| lock::read(&opened, &selected)).transpose()?;
        let only = match self.only {
            true => Some(opened.plan.named(&self.steps)?),
            false => None,
        };
        let address = remote::require(&opened, self.remote.as_deref())?;
        let remote = Remote::open(&address).map_err(remote::failed)?;
        let observer = report::observer(self.json, global, &self.target, Vec::new());
        remote::carry(&opened, &remote, selected, observer, |shares, observer| {
            sharing::pull(shares, only.as_ref(), lock.as_ref(), observer)
        })
    }
}
