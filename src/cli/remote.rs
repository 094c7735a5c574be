//! Which remote a command works with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use pipe::event::Observer;
use pipe::remote::{Address, Failure as RemoteFailure, NotAnAddress, Remote};
use pipe::sharing::{Shares, Summary, Whereabouts, survey};
use pipe::{SharedAt, StepId};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::target::Opened;
use super::{FAILED, Failure, INTERRUPTED, SUCCESS};

/// Listens for Ctrl-C and its like.
pub(crate) fn interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, interrupt.clone())
            .context("cannot listen for signals")?;
    }
    Ok(interrupt)
}

/// Reads the URL of the command line, else that of the pipeline file.
pub(crate) fn address(
    written: Option<&str>,
    shared: Option<&SharedAt>,
) -> Result<Option<Address>, Failure> {
    let Some(written) = written else {
        return Ok(shared.map(|shared| shared.address.clone()));
    };
    match written.parse() {
        Ok(address) => Ok(Some(address)),
        Err(NotAnAddress { message, help, .. }) => {
            Err(Failure::Usage(format!("--remote: {message}\n  help: {help}")))
        }
    }
}

/// As [`address`], for a command that is nothing without a remote.
pub(crate) fn require(opened: &Opened, written: Option<&str>) -> Result<Address, Failure> {
    let pipeline = &opened.plan.pipeline;
    address(written, pipeline.shared.as_ref())?.ok_or_else(|| {
        Failure::Usage(format!(
            "{} names no remote\n  help: write `[remote]` with `url = \"s3://bucket/prefix\"` into it, \
             or add `--remote URL`",
            pipeline.path.display()
        ))
    })
}

/// Carries the results of the selected steps by a push or a pull, and tells of it.
pub(crate) fn carry(
    opened: &Opened,
    remote: &Remote,
    selected: BTreeSet<StepId>,
    mut observer: Box<dyn Observer>,
    by: impl FnOnce(&Shares<'_>, &mut dyn Observer) -> Result<Summary, RemoteFailure>,
) -> Result<u8, Failure> {
    let interrupt = interrupt()?;
    let shares = shares(opened, remote, selected, &interrupt);
    Ok(code(by(&shares, &mut *observer).map_err(failed)?))
}

/// Looks where the results of the selected steps are.
pub(crate) fn look(
    opened: &Opened,
    remote: &Remote,
    selected: BTreeSet<StepId>,
) -> Result<BTreeMap<StepId, Whereabouts>, Failure> {
    // Nothing is half done that would have to be ended in order.
    let interrupt = AtomicBool::new(false);
    let shares = shares(opened, remote, selected, &interrupt);
    survey(&shares).map_err(failed)
}

fn shares<'a>(
    opened: &'a Opened,
    remote: &'a Remote,
    selected: BTreeSet<StepId>,
    interrupt: &'a AtomicBool,
) -> Shares<'a> {
    Shares {
        plan: &opened.plan,
        store: &opened.store,
        root: &opened.project.root,
        remote,
        selected,
        interrupt,
    }
}

/// Says why a remote could not be used.
pub(crate) fn failed(failure: RemoteFailure) -> Failure {
    Failure::Failed(match failure {
        RemoteFailure::Unusable { message, help } => anyhow::anyhow!("{message}\n  help: {help}"),
        other => other.into(),
    })
}

/// The exit code of a push or a pull.
fn code(summary: Summary) -> u8 {
    match summary {
        Summary { interrupted: true, .. } => INTERRUPTED,
        Summary { left: 0, .. } => SUCCESS,
        _ => FAILED,
    }
}
