//! One step run once: locked, begun, worked on in its own process, checked again, committed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache::{KeyLock, Manifest, Pending, Present, Record, Store, StoreError};
use serde_json::{Value, json};
use stages::{DeviceChoice, Earlier, Report};

use crate::check::{Made, Stale, Surroundings};
use crate::earlier::to_take_over;
use crate::event::Event;
use crate::placement::{Heard, Placement};
use crate::plan::StepId;
use crate::process::{End, Workers};
use crate::reason::Reason;
use crate::sandbox::{self, Mode, Rules, is_supported};
use crate::slurm::{self, Submission};
use crate::worker::{Job, Usage};

/// What took no longer to make need not be on the disk before the run goes on.
const SHORT: Duration = Duration::from_secs(1);
/// How much of the end of a log is read for its last lines, in bytes.
const TAIL_BYTES: u64 = 4096;
/// How much of the end of a log is searched for what a sandbox refused, in bytes.
const LOG_BYTES: u64 = 1 << 20;
/// How many of its last lines are shown.
const TAIL_LINES: usize = 10;

/// One try to make the result of a step.
pub(crate) struct Attempt<'a> {
    pub(crate) around: Surroundings<'a>,
    pub(crate) id: StepId,
    pub(crate) stale: Arc<Stale>,
    /// Which try of this run it is, from 1.
    pub(crate) number: u32,
    /// Where its inputs lie.
    pub(crate) inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Where the results lie that its parameters mention.
    pub(crate) steps: BTreeMap<String, PathBuf>,
    /// All these results by the step that made them.
    pub(crate) needs: BTreeMap<String, Made>,
    pub(crate) device: DeviceChoice,
    pub(crate) threads: usize,
    /// Whether its program is held to what the step declares.
    pub(crate) sandbox: Mode,
    pub(crate) workers: &'a Workers,
    /// Set when the run was asked to stop.
    pub(crate) cancelled: &'a AtomicBool,
    pub(crate) tell: &'a (dyn Fn(Event) + Sync),
    /// Called when the work is done and what is left is to store the result.
    pub(crate) worked: &'a (dyn Fn() + Sync),
}

/// What a worker did that succeeded.
struct Worked {
    usage: Usage,
    measures: BTreeMap<String, f64>,
    /// The node and the device, when it was not this machine.
    place: Option<(String, String)>,
}

/// How a try ended.
pub(crate) enum Ended {
    /// Another run made the same result meanwhile.
    Fresh(Made),
    /// The result is there.
    Ran(Box<Ran>),
    /// It is not.
    Failed(Failed),
    /// The run was stopped.
    Cancelled,
}

/// A step that ran.
pub(crate) struct Ran {
    pub(crate) made: Made,
    pub(crate) why: Vec<String>,
    pub(crate) unchanged: bool,
    pub(crate) unrepeatable: bool,
    pub(crate) usage: Usage,
}

/// A step that failed.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    pub(crate) message: String,
    pub(crate) log_tail: Vec<String>,
    pub(crate) log: Option<PathBuf>,
    /// Whether the same work may succeed another time.
    pub(crate) may_pass: bool,
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(Failed { message: error.to_string(), ..Failed::default() })
    }
}

impl Attempt<'_> {
    /// Runs it to its end.
    pub(crate) fn run(self) -> Ended {
        self.try_run().unwrap_or_else(|ended| ended)
    }

    fn try_run(&self) -> Result<Ended, Ended> {
        let store = self.around.store;
        let key = self.stale.basis.fingerprint.key();
        let Some(lock) = self.lock()? else { return Ok(Ended::Cancelled) };
        let forced = self.stale.reasons == [Reason::Forced];
        if !forced && let Some(made) = self.around.find(&self.stale.basis, &mut Vec::new())? {
            return Ok(Ended::Fresh(made));
        }
        let earlier = if forced { store.manifest(&key)? } else { None };
        let last = store.latest(&self.around.plan.pipeline.name, self.name())?;
        let pending = store.begin(lock)?;
        if self.number == 1 && self.around.plan.step(self.id).policy.retry.times > 0 {
            store.forget_tries(&key)?;
        }
        let started = jiff::Timestamp::now();
        let clock = Instant::now();
        let usable = match &last {
            Some(last) if !forced => to_take_over(self.around, self.id, &self.stale.basis, last)?,
            _ => None,
        };
        let places = self.places();
        let Worked { usage, measures, place } = self.work(&pending, usable)?;
        (self.worked)();
        self.check_outside(&pending)?;
        self.check_needs(&pending, &places)?;
        self.stale.basis.keep_listings(store)?;
        let why = self.why();
        let record = Record {
            fingerprint: self.stale.basis.fingerprint.clone(),
            measures,
            facts: self.facts(started, clock.elapsed().as_secs_f64(), usage, place, &why),
        };
        let log = pending.log_path().to_owned();
        let commit = if clock.elapsed() < SHORT { Store::commit_soon } else { Store::commit };
        let manifest = commit(store, pending, record).map_err(|error| {
            let log = Some(log).filter(|log| log.exists());
            Ended::Failed(Failed { message: error.to_string(), log, ..Failed::default() })
        })?;
        let tree = store.tree(&manifest)?;
        let same_files = |other: &Manifest| other.outputs == manifest.outputs;
        Ok(Ended::Ran(Box::new(Ran {
            why,
            unchanged: last.as_ref().is_some_and(same_files),
            unrepeatable: forced && !earlier.as_ref().is_none_or(same_files),
            usage,
            made: Arc::new(Present::new(&manifest, tree)),
        })))
    }

    fn name(&self) -> &str {
        &self.around.plan.step(self.id).name
    }

    fn why(&self) -> Vec<String> {
        self.stale.reasons.iter().map(ToString::to_string).collect()
    }

    /// Gets the right to make the result; waits while another run makes it.
    fn lock(&self) -> Result<Option<KeyLock>, StoreError> {
        let mut told = false;
        self.around.store.lock(&self.stale.basis.fingerprint.key(), &mut || {
            if !std::mem::replace(&mut told, true) {
                (self.tell)(Event::Waiting { step: self.name().to_owned() });
            }
            match self.cancelled.load(Ordering::SeqCst) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    }

    /// Has a worker fill the output directory.
    fn work(&self, pending: &Pending, earlier: Option<Earlier>) -> Result<Worked, Ended> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(Ended::Cancelled);
        }
        // A job that a killed run left on a cluster may still write to the scratch directory.
        let records = slurm::records_of(self.around.store, pending.key());
        slurm::end_left(&records, slurm::PATIENCE).map_err(|error| {
            let message = format!("a Slurm job of an earlier run may still run: {error}");
            Ended::Failed(Failed { message, ..Failed::default() })
        })?;
        let step = self.around.plan.step(self.id);
        let job = Job {
            kind: step.kind.name.to_owned(),
            parameters: step.stage.parameters(),
            inputs: self.inputs.clone(),
            steps: self.steps.clone(),
            out: pending.out().to_owned(),
            scratch: pending.scratch().to_owned(),
            environment: step.environment.inherited(),
            secrets: step.environment.secrets.iter().map(|secret| secret.name.clone()).collect(),
            earlier,
            device: self.device,
            threads: self.threads,
            sandbox: self.rules(pending)?,
            log: step.placement.is_here().then(|| pending.log_path().to_owned()),
            runner: std::process::id(),
        };
        // A job takes it along, and what is confined can make none.
        if job.sandbox.is_some() || !step.placement.is_here() {
            made(&job.scratch)?;
        }
        let log_path = pending.log_path();
        let log = File::create(log_path).map_err(|error| {
            let message = format!("cannot write {}: {error}", log_path.display());
            Ended::Failed(Failed { message, ..Failed::default() })
        })?;
        (self.tell)(Event::Started {
            step: step.name.clone(),
            key: pending.key().to_string(),
            why: self.why(),
            device: self.device.to_string(),
            threads: self.threads,
            attempt: self.number,
            resumes: pending.resumes(),
            log: log_path.to_owned(),
        });
        let mut measures = BTreeMap::new();
        let mut place = None;
        let hear = |heard| {
            let step = step.name.clone();
            let report = match heard {
                Heard::Report(report) => report,
                Heard::Queued { job, state, reason } => {
                    return (self.tell)(Event::Queued { step, job, state, reason });
                }
                Heard::Begun { node, device } => {
                    // What an earlier start measured was measured for nothing.
                    measures.clear();
                    let device = device.to_string();
                    place = Some((node.clone(), device.clone()));
                    return (self.tell)(Event::Begun { step, node, device });
                }
                Heard::Notice(message) => {
                    let message = format!("{step}: {message}");
                    return (self.tell)(Event::Notice { message });
                }
            };
            (self.tell)(match report {
                Report::Progress { done, total, unit, note } => {
                    Event::Progress { step, done, total, unit, note }
                }
                Report::Measure { name, value } => {
                    measures.insert(name.clone(), value);
                    Event::Measure { step, name, value }
                }
            });
        };
        let end = match &step.placement {
            Placement::Here => {
                let timeout = step.policy.timeout;
                self.workers.run(self.id.0, &job, self.around.root, log, timeout, hear)
            }
            Placement::Slurm(order) => {
                let submission = Submission {
                    order,
                    step: &step.name,
                    job: &job,
                    root: self.around.root,
                    log: log_path,
                    records,
                };
                self.workers.run_on_slurm(&submission, hear)
            }
        };
        if let Some(rules) = &job.sandbox {
            // What is left of it goes with the session.
            fs::remove_dir_all(&rules.temporary).ok();
        }
        let fail = |message: String, log_tail: Vec<String>| {
            Ended::Failed(Failed {
                message,
                log_tail,
                log: Some(log_path.to_owned()),
                may_pass: true,
            })
        };
        match end {
            Ok(End::Returned { error: None, usage }) => Ok(Worked { usage, measures, place }),
            // Whatever a worker says that was told to stop, it is because of that.
            Ok(_) if self.cancelled.load(Ordering::SeqCst) => Err(Ended::Cancelled),
            Ok(End::Returned { error: Some(error), .. }) => {
                let error = match &job.sandbox {
                    Some(rules) => sandbox::explain(
                        &error,
                        &ending(log_path, LOG_BYTES),
                        rules,
                        self.around.root,
                    ),
                    None => error,
                };
                Err(fail(error, Vec::new()))
            }
            Ok(End::Died(status)) => Err(fail(End::describe(status), tail(log_path))),
            Ok(End::TimedOut(timeout)) => {
                let timeout = jiff::SignedDuration::try_from(timeout).unwrap_or_default();
                let message = format!("took longer than its timeout of {timeout:#} and was ended");
                Err(fail(message, tail(log_path)))
            }
            Ok(End::Lost(message)) => Err(fail(message, tail(log_path))),
            Err(error) => Err(fail(format!("cannot run its process: {error}"), Vec::new())),
        }
    }

    /// Returns what its program may touch, when it is to be confined.
    fn rules(&self, pending: &Pending) -> Result<Option<Rules>, Ended> {
        let step = self.around.plan.step(self.id);
        let confined = step.kind.name == sandbox::CONFINED && self.sandbox != Mode::Off;
        if !confined || !step.placement.is_here() || !is_supported() {
            return Ok(None);
        }
        // Beside the directory that becomes the result, so that nothing of it can get there.
        let temporary = pending.out().with_extension("temporary");
        made(&temporary)?;
        let inputs = self.inputs.values().flatten().chain(self.steps.values()).cloned();
        let outside = self.stale.basis.outside.iter().map(|(path, _)| self.around.root.join(path));
        let read = inputs.chain(outside).chain(step.sandbox.read.iter().cloned()).collect();
        let write = vec![pending.out().to_owned(), pending.scratch().to_owned()];
        let mut rules = Rules::new(read, write, temporary);
        // The engine knows no other parameter of a kind; where a program lies is for it to allow.
        let parameters = step.stage.parameters();
        let program = parameters["run"][0].as_str();
        let search = std::env::var_os("PATH").unwrap_or_default();
        rules.allow_programs(program, &search, self.around.root);
        Ok(Some(rules))
    }

    /// Makes sure that outside data is what it was when the key was made.
    fn check_outside(&self, pending: &Pending) -> Result<(), Ended> {
        for (path, before) in &self.stale.basis.outside {
            let now = self.around.store.scan(path);
            if now.as_ref().is_ok_and(|now| now == before) {
                continue;
            }
            let message = match now {
                Ok(now) => {
                    let name = first_change(path, &now.differences(before));
                    format!("{name} changed while the step ran; run it again when it is complete")
                }
                Err(error) => format!("{error} (it was there when the step started)"),
            };
            return Err(spoilt(pending, message));
        }
        Ok(())
    }

    /// Returns which directories the results are that the step reads.
    fn places(&self) -> Vec<Option<Place>> {
        self.needs.values().map(|made| place_of(&made.tree)).collect()
    }

    /// Makes sure that no step, neither this one nor one beside it, has written to the results that this one read.
    fn check_needs(&self, pending: &Pending, before: &[Option<Place>]) -> Result<(), Ended> {
        let store = self.around.store;
        for ((name, made), place) in self.needs.iter().zip(before) {
            let edits = store.edits(made)?;
            // One that was laid out again was edited before.
            if edits.is_empty() && place_of(&made.tree) == *place {
                continue;
            }
            // Whoever reads it next must not read this; where it cannot be laid out again, it is made again.
            if let Some(manifest) = store.manifest(&made.key)?
                && let Err(error) = store.tree(&manifest)
            {
                tracing::warn!("{error}");
            }
            let what = edits.first().map_or_else(
                || format!("the result of `{name}`, which it reads, was changed"),
                |(path, _)| {
                    format!("`{path}` in the result of `{name}`, which it reads, was changed")
                },
            );
            let message = format!(
                "{what} while the step ran, by its program or that of another step; a program may write to {{out}} and \
                 {{scratch}} alone (`--sandbox strict` tells which one does not)"
            );
            return Err(spoilt(pending, message));
        }
        Ok(())
    }

    /// What is worth knowing of how the result was made.
    fn facts(
        &self,
        started: jiff::Timestamp,
        seconds: f64,
        usage: Usage,
        place: Option<(String, String)>,
        why: &[String],
    ) -> Value {
        let (host, device) = place.unwrap_or_else(|| {
            let host = nix::unistd::gethostname().unwrap_or_default();
            (host.to_string_lossy().into_owned(), self.device.to_string())
        });
        json!({
            "pipeline": self.around.plan.pipeline.name,
            "step": self.name(),
            "kind": self.around.plan.step(self.id).kind.name,
            "why": why,
            "started": started.to_string(),
            "seconds": seconds,
            "cpu-seconds": usage.cpu_seconds,
            "peak-memory-bytes": usage.peak_memory_bytes,
            "host": host,
            "device": device,
            "threads": self.threads,
            "attempts": self.number,
            "pipe": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// Tells a directory from one that was put in its place, which may have its number: device, inode, and when it was
/// changed.
type Place = (u64, u64, i64, i64);

fn place_of(directory: &Path) -> Option<Place> {
    let about = fs::symlink_metadata(directory).ok()?;
    Some((about.dev(), about.ino(), about.ctime(), about.ctime_nsec()))
}

/// Fails a step of which something changed that it read; what it saved must not be taken up again.
fn spoilt(pending: &Pending, message: String) -> Ended {
    match fs::remove_dir_all(pending.scratch()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}", pending.scratch().display());
        }
        _ => {}
    }
    let log = Some(pending.log_path().to_owned());
    Ended::Failed(Failed { message, log, ..Failed::default() })
}

fn first_change(path: &Path, changes: &[(String, cache::Change)]) -> String {
    let first = changes.first().filter(|(name, _)| name != cache::Listing::ITSELF);
    let first = first.map_or_else(|| path.to_owned(), |(name, _)| path.join(name));
    match changes.len() {
        0 | 1 => first.display().to_string(),
        more => format!("{} and {} more", first.display(), more - 1),
    }
}

fn made(directory: &Path) -> Result<(), Ended> {
    fs::create_dir_all(directory).map_err(|error| {
        let message = format!("cannot make the directory {}: {error}", directory.display());
        Ended::Failed(Failed { message, ..Failed::default() })
    })
}

/// Returns the end of a log.
fn ending(log: &Path, length: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let whole = file.metadata()?.len();
        file.seek(SeekFrom::Start(whole.saturating_sub(length)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // Without its log an error is still an error.
    let bytes = read().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the last lines of a log.
fn tail(log: &Path) -> Vec<String> {
    let text = ending(log, TAIL_BYTES);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    last.iter().map(|&line| line.to_owned()).collect()
}
