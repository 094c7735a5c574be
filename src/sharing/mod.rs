//! `push`, `pull` and the look into a remote before a step runs: joins plan, store and remote.

mod find;
mod lookup;
mod pull;
mod push;
mod survey;
mod telling;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use cache::Store;

use crate::event::{Event, Observer};
use crate::plan::{Plan, StepId};
use crate::remote::{Failure, Remote};

pub(crate) use lookup::{Looked, look};
pub use pull::pull;
pub use push::push;
pub(crate) use push::push_made;
pub use survey::{Whereabouts, survey};

/// How often the keyboard and the clock are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Which results are shared with which remote.
pub struct Shares<'a> {
    /// The steps.
    pub plan: &'a Plan,
    /// The store on this machine.
    pub store: &'a Store,
    /// Relative paths start here.
    pub root: &'a Path,
    /// The remote.
    pub remote: &'a Remote,
    /// The steps whose results are wanted.
    pub selected: BTreeSet<StepId>,
    /// Set from outside to stop.
    pub interrupt: &'a AtomicBool,
}

/// How sharing ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many results came.
    pub fetched: usize,
    /// How many were sent.
    pub sent: usize,
    /// How many were there already.
    pub present: usize,
    /// How many were not carried, though they were wanted.
    pub left: usize,
    /// The size of all that was carried.
    pub bytes: u64,
    /// Whether it was asked to stop.
    pub interrupted: bool,
}

/// Begins and ends the events of a push or a pull.
fn drive(
    shares: &Shares<'_>,
    observer: &mut dyn Observer,
    work: impl FnOnce(&Sender<Event>) -> Outcome + Send,
) -> Outcome {
    let begin = Instant::now();
    let steps = shares.plan.order().iter().filter(|id| shares.selected.contains(id));
    observer.event(&Event::Begin {
        pipeline: shares.plan.pipeline.name.clone(),
        steps: steps.map(|id| shares.plan.step(*id).name.clone()).collect(),
        jobs: 1,
        store: shares.store.root().to_owned(),
    });
    let (ended, interrupted) = hear(observer, shares.interrupt, shares.remote, work);
    let summary = match ended {
        Ok(summary) => Summary { interrupted, ..summary },
        Err(Failure::Stopped) => Summary { interrupted: true, ..Summary::default() },
        Err(failure) => return Err(failure),
    };
    observer.event(&Event::Shared {
        remote: shares.remote.address().to_string(),
        fetched: summary.fetched,
        sent: summary.sent,
        present: summary.present,
        left: summary.left,
        bytes: summary.bytes,
        seconds: begin.elapsed().as_secs_f64(),
    });
    Ok(summary)
}

/// Being stopped is no failure: what was carried until then counts.
fn unless_stopped(ended: Result<(), Failure>) -> Result<(), Failure> {
    match ended {
        Err(Failure::Stopped) => Ok(()),
        ended => ended,
    }
}

/// What came of sharing.
type Outcome = Result<Summary, Failure>;

/// Tells what `work` says to the observer, from this thread, until it is over; and whether it was asked
/// to stop meanwhile.
fn hear(
    observer: &mut dyn Observer,
    interrupt: &AtomicBool,
    remote: &Remote,
    work: impl FnOnce(&Sender<Event>) -> Outcome + Send,
) -> (Outcome, bool) {
    let (sender, receiver) = channel();
    let mut interrupted = false;
    let ended = std::thread::scope(|scope| {
        let work = scope.spawn(move || work(&sender));
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(event) => observer.event(&event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            observer.tick();
            if interrupt.swap(false, Ordering::SeqCst) && !interrupted {
                interrupted = true;
                let message =
                    "stopping; what has arrived stays, and the same command goes on from there";
                observer.event(&Event::Notice { message: message.to_owned() });
                remote.stop();
            }
        }
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    (ended, interrupted)
}
