//! What happens in a run, for whoever reports it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// Hears what happens in a run, in order and from one thread.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Comes many times a second while steps run, for what moves by itself.
    fn tick(&mut self) {}

    /// Returns why not all of it could be passed on, if so.
    fn broken(&self) -> Option<String> {
        None
    }
}

/// Something that happened in a run.
///
/// As JSON each is an object whose `event` is the kebab-case name of the variant; members may be
/// added, but never change their meaning. Times are seconds, sizes bytes, paths absolute.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// The run begins; always first.
    Begin {
        /// The name of the pipeline.
        pipeline: String,
        /// The steps that were asked for or are needed, in an order that respects needs.
        steps: Vec<String>,
        /// How many steps may run at once.
        jobs: usize,
        /// The store.
        store: PathBuf,
    },
    /// Something worth a line that belongs to no step.
    Notice {
        /// One line.
        message: String,
    },
    /// The result of a step was there.
    Fresh {
        /// The step.
        step: String,
        /// What is there.
        #[serde(flatten)]
        result: StepResult,
    },
    /// Another run is making the same result; this one waits for it.
    Waiting {
        /// The step.
        step: String,
    },
    /// A step starts to run.
    Started {
        /// The step.
        step: String,
        /// The key its result will have.
        key: String,
        /// Why it runs, one fragment each, e.g. `param.epochs: 3 → 5`.
        why: Vec<String>,
        /// Where to compute.
        device: String,
        /// How many threads it may use.
        threads: usize,
        /// Which try of this run it is, from 1.
        attempt: u32,
        /// Whether an earlier try left something in its scratch directory.
        resumes: bool,
        /// The log as it is written.
        log: PathBuf,
    },
    /// The Slurm job of a step waits: for a node, or to be started anew after it lost one.
    Queued {
        /// The step.
        step: String,
        /// The number of the job.
        job: String,
        /// Slurm's word for its state, e.g. `PENDING`.
        state: String,
        /// Slurm's word for why, e.g. `Resources`; empty when there is none.
        reason: String,
    },
    /// The Slurm job of a step has begun.
    Begun {
        /// The step.
        step: String,
        /// The node it runs on.
        node: String,
        /// Where on the node the step computes.
        device: String,
    },
    /// How far a running step is; at most about ten a second.
    Progress {
        /// The step.
        step: String,
        /// Units done.
        done: u64,
        /// Units in all; 0 when not known.
        total: u64,
        /// What is counted.
        unit: String,
        /// What it is doing.
        note: String,
    },
    /// A figure that a running step recorded.
    Measure {
        /// The step.
        step: String,
        /// The name of the figure.
        name: String,
        /// The figure; null where it is not a number.
        value: f64,
    },
    /// A step ran and its result is stored.
    Ran {
        /// The step.
        step: String,
        /// Why it ran.
        why: Vec<String>,
        /// What it made.
        #[serde(flatten)]
        result: StepResult,
        /// Whether the files are the same as those of the last result, so that nothing after this
        /// step need run because of it.
        unchanged: bool,
        /// A forced step made other files from the same key: it is not repeatable.
        unrepeatable: bool,
        /// From start to end.
        seconds: f64,
        /// How many tries it took.
        attempts: u32,
        /// Processor time.
        cpu_seconds: f64,
        /// The most memory it used.
        peak_memory_bytes: u64,
    },
    /// The result of a step is in the remote, and its files come.
    Fetching {
        /// The step.
        step: String,
        /// The size of its files; what is here already counts as come.
        bytes: u64,
    },
    /// The result of a step came from the remote and is stored.
    Fetched {
        /// The step.
        step: String,
        /// What came.
        #[serde(flatten)]
        result: StepResult,
        /// How many files were not here before.
        carried_files: usize,
        /// Their size.
        carried_bytes: u64,
        /// From start to end.
        seconds: f64,
    },
    /// The result of a step is sent to the remote.
    Sending {
        /// The step.
        step: String,
        /// The size of its files; what is there already counts as sent.
        bytes: u64,
    },
    /// The result of a step is in the remote now.
    Sent {
        /// The step.
        step: String,
        /// What was sent.
        #[serde(flatten)]
        result: StepResult,
        /// How many files were not there before.
        carried_files: usize,
        /// Their size.
        carried_bytes: u64,
        /// From start to end.
        seconds: f64,
    },
    /// The remote had the result of a step already.
    Present {
        /// The step.
        step: String,
        /// What is there.
        #[serde(flatten)]
        result: StepResult,
    },
    /// The result of a step was to be sent or fetched, and was not.
    NotShared {
        /// The step.
        step: String,
        /// Why.
        message: String,
    },
    /// A result was made a second time and compared; comes after the end of both runs.
    Repeated {
        /// The step.
        step: String,
        /// Whether every byte is the same.
        same: bool,
        /// What is not, a line each.
        differences: Vec<String>,
    },
    /// A push or a pull is over; always last.
    Shared {
        /// The remote.
        remote: String,
        /// How many results came.
        fetched: usize,
        /// How many were sent.
        sent: usize,
        /// How many were there already.
        present: usize,
        /// How many were not carried, though they were wanted.
        left: usize,
        /// The size of all that was carried.
        bytes: u64,
        /// From begin to end.
        seconds: f64,
    },
    /// A try of a step failed; after a pause there will be another.
    Retrying {
        /// The step.
        step: String,
        /// What went wrong; may have several lines.
        message: String,
        /// The last lines of its log.
        log_tail: Vec<String>,
        /// The whole log of this try; none when it never started.
        log: Option<PathBuf>,
        /// From start to end.
        seconds: f64,
        /// Which try it was, from 1.
        attempt: u32,
        /// How many there may be.
        attempts: u32,
        /// The pause, in seconds.
        pause: f64,
    },
    /// How long the rest of the run will probably take, by how long steps took the last time.
    Remaining {
        /// How many steps run or will, as far as is known.
        steps: usize,
        /// The time.
        seconds: f64,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// What went wrong; may have several lines.
        message: String,
        /// The last lines of its log.
        log_tail: Vec<String>,
        /// The whole log; none when the step never started.
        log: Option<PathBuf>,
        /// From start to end.
        seconds: f64,
        /// How many tries it took, the last one counted.
        attempts: u32,
    },
    /// A step did not run because another failed.
    Skipped {
        /// The step.
        step: String,
        /// The step that failed.
        because: String,
    },
    /// A step did not run, or not to its end, because the run was stopped.
    Cancelled {
        /// The step.
        step: String,
    },
    /// The run was asked to stop; running steps save what they can.
    Stopping {
        /// Whether they are killed instead.
        at_once: bool,
    },
    /// The run is over; always its last. With `--check` a second run follows, and then what came of it
    /// ([`Event::Repeated`]).
    End {
        /// How many results were there.
        fresh: usize,
        /// How many results came from the remote.
        fetched: usize,
        /// How many steps ran.
        ran: usize,
        /// How many failed.
        failed: usize,
        /// How many did not run because another failed.
        skipped: usize,
        /// How many were stopped.
        cancelled: usize,
        /// How many tries failed that were followed by another.
        retried: usize,
        /// From begin to end.
        seconds: f64,
    },
}

/// The result of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepResult {
    /// Names everything it depends on.
    pub key: String,
    /// Figures by name.
    pub measures: BTreeMap<String, f64>,
    /// How many files it has.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// A link to the files, until another result takes its place.
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_json_are_pinned() {
        let result = StepResult {
            key: "ab".to_owned(),
            measures: BTreeMap::from([("dev-accuracy".to_owned(), 0.5)]),
            files: 2,
            bytes: 30,
            path: PathBuf::from("/p/.pipe/latest/verify/train"),
        };
        let event = Event::Ran {
            step: "train".to_owned(),
            why: vec!["forced".to_owned()],
            result,
            unchanged: false,
            unrepeatable: false,
            seconds: 1.5,
            attempts: 1,
            cpu_seconds: 2.5,
            peak_memory_bytes: 1024,
        };
        let expected = concat!(
            r#"{"event":"ran","step":"train","why":["forced"],"key":"ab","#,
            r#""measures":{"dev-accuracy":0.5},"files":2,"bytes":30,"#,
            r#""path":"/p/.pipe/latest/verify/train","unchanged":false,"unrepeatable":false,"#,
            r#""seconds":1.5,"attempts":1,"cpu-seconds":2.5,"peak-memory-bytes":1024}"#
        );
        assert_eq!(serde_json::to_string(&event).unwrap(), expected);
        let event = Event::Skipped { step: "embed".to_owned(), because: "train".to_owned() };
        let expected = r#"{"event":"skipped","step":"embed","because":"train"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), expected);
    }
}
