//! `pipe push`: sends results to the remote.

use pipe::remote::Remote;
use pipe::sharing;

use super::target::Target;
use super::{Failure, Global, remote, report};

/// Sends results to the remote of a pipeline
///
/// Sends the results of the steps that are up to date: files by their digest, each once, and then the
/// record of each result. What the remote has already is not sent again. Nothing runs.
///
/// Exit code 1: a step has no result that is up to date, or the remote cannot be used. What was sent
/// stays, and the same command goes on from there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Push {
    #[command(flatten)]
    target: Target,
    /// The steps whose results are sent, with those they need [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Where to send to [default: `url` of `[remote]` in the file]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Send what is there already, too; mends a remote whose files have been damaged
    #[arg(long)]
    again: bool,
    /// Write events as JSON lines to standard output
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Credentials come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY; for an S3
server of your own also AWS_ENDPOINT_URL. See docs/sharing.md.

Examples:
  pipe push pipelines/verify.toml
  pipe push pipelines/verify.toml net --remote s3://bucket/faces
  pipe push pipelines/verify.toml --remote file:///mnt/results";

impl Push {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let selected = opened.select(&self.steps)?;
        let address = remote::require(&opened, self.remote.as_deref())?;
        let remote = Remote::open_to_send(&address).map_err(remote::failed)?;
        let observer = report::observer(self.json, global, &self.target, Vec::new());
        remote::carry(&opened, &remote, selected, observer, |shares, observer| {
            sharing::push(shares, self.again, observer)
        })
    }
}
