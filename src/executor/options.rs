//! What a run is asked for, and what it says at its end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use stages::DeviceChoice;

use crate::lock::Lock;
use crate::plan::StepId;
use crate::problem::Problems;
use crate::remote::Remote;
use crate::sandbox;

/// What to run, and how.
pub struct Options<'a> {
    /// Relative paths start here; where steps run.
    pub root: &'a Path,
    /// The steps to bring up to date, with all they need.
    pub selected: BTreeSet<StepId>,
    /// The steps to run though they are fresh.
    pub forced: BTreeSet<StepId>,
    /// How many steps may run at once.
    pub jobs: usize,
    /// How many threads the steps share.
    pub cores: usize,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Whether to go on with what does not depend on a step that failed.
    pub keep_going: bool,
    /// Whether programs are held to what their steps declare, where that is not left to each step.
    pub sandbox: Option<sandbox::Mode>,
    /// What the results have to be; a step whose result is another fails.
    pub locked: Option<&'a Lock>,
    /// Where results are looked for before a step runs.
    pub remote: Option<&'a Remote>,
    /// Whether what was made is sent there at the end.
    pub push: bool,
    /// What is to be told when the run begins.
    pub notices: Vec<String>,
    /// Set from outside to stop: once to let steps save what they can, again to kill them.
    pub interrupt: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many results were there.
    pub fresh: usize,
    /// How many results came from the remote.
    pub fetched: usize,
    /// How many steps ran.
    pub ran: usize,
    /// How many failed.
    pub failed: usize,
    /// How many did not run because another failed.
    pub skipped: usize,
    /// How many were stopped.
    pub cancelled: usize,
    /// How many tries failed that were followed by another.
    pub retried: usize,
    /// Whether the disk refused results of steps that had run.
    pub lost: bool,
    /// Whether the run was asked to stop.
    pub interrupted: bool,
}

/// What the run needs of this machine cannot be had; nothing has run.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// A device or a sandbox.
    #[error("{0}")]
    Missing(String),
    /// What a step wants of a pool is more than there is.
    #[error(transparent)]
    TooLarge(#[from] Problems),
}
