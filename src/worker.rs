//! The inside of a step's process: a job comes in, the stage runs, reports and an end go out.
//!
//! A process that ran a program and is as it was before ([`Job::keeps_worker`]) waits for another job: to start
//! one takes longer than many a program runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};
use stages::{Context, DeviceChoice, Earlier, Report};

use crate::environment;
use crate::lost_lines;
use crate::sandbox::{self, Rules};

/// The name of the hidden subcommand that [`run`] serves.
pub const SUBCOMMAND: &str = "worker";

/// Progress faster than this tells a reader nothing more.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What a worker is to do; written as a line of JSON to its standard input or, on a cluster, as JSON to a
/// file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Job {
    /// The kind of stage.
    pub kind: String,
    /// Its parameters, with defaults.
    pub parameters: serde_json::Value,
    /// Input name → directories.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Step name → directory, for the steps that parameters mention.
    pub steps: BTreeMap<String, PathBuf>,
    /// The empty directory to fill.
    pub out: PathBuf,
    /// The directory that survives a failed or killed try.
    pub scratch: PathBuf,
    /// Variables of the environment that the program of a command is given besides its own.
    pub environment: BTreeMap<String, String>,
    /// The names of variables that hold secrets; their values are in the environment of the worker alone.
    pub secrets: Vec<String>,
    /// What may be taken over.
    pub earlier: Option<Earlier>,
    /// Where to compute; [`DeviceChoice::Auto`] only on a cluster, whose nodes look for themselves.
    pub device: DeviceChoice,
    /// How many threads to use.
    pub threads: usize,
    /// What it may touch, when it is to be confined.
    pub sandbox: Option<Rules>,
    /// Where the log goes; none where standard error leads there already.
    pub log: Option<PathBuf>,
    /// The process that the worker must not outlive.
    pub runner: u32,
}

impl Job {
    /// Whether the worker is as it was before once this has succeeded: the work is that of another program,
    /// and the worker is neither confined nor knows a secret.
    #[must_use]
    pub fn keeps_worker(&self) -> bool {
        self.kind == sandbox::CONFINED && self.sandbox.is_none() && self.secrets.is_empty()
    }
}

/// What a worker tells: one JSON value a line on its standard output or, on a cluster, in a file;
/// [`Message::End`] last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// A node of a cluster has begun with the job.
    Begun {
        /// The node.
        node: String,
        /// Where on it the stage computes.
        device: DeviceChoice,
    },
    /// From the running stage.
    Report(Report),
    /// Something that a person should know.
    Notice(String),
    /// The stage has returned.
    End {
        /// Why it failed, if it did.
        error: Option<String>,
        /// What it used.
        usage: Usage,
    },
}

/// What a step's process and the programs it started used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// Processor time, user and system, of all threads.
    pub cpu_seconds: f64,
    /// The most memory resident at once in any one process.
    pub peak_memory_bytes: u64,
}

/// Serves the jobs that come on standard input, until its end; returns whether the last stage succeeded.
///
/// # Errors
///
/// When a job cannot be read, or the run has gone.
pub fn run() -> anyhow::Result<bool> {
    // Standard output belongs to whatever the stage starts; messages go where only we can write.
    let channel = io::stdout().as_fd().try_clone_to_owned().context("cannot copy stdout")?;
    nix::unistd::dup2_stdout(io::stderr()).context("cannot redirect stdout to the log")?;
    // In a session of its own, Ctrl-C in the terminal reaches the run alone, and whatever the stage
    // starts can be found.
    nix::unistd::setsid().context("cannot start a session")?;
    crate::lineage::adopt_orphans().context("cannot become the parent of orphans")?;
    die_with_parent()?;
    let jobs = io::stdin().as_fd().try_clone_to_owned().context("cannot copy stdin")?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?).context("cannot close stdin")?;
    let mut server = Server::new(File::from(channel))?;
    let mut succeeded = true;
    for line in BufReader::new(File::from(jobs)).split(b'\n') {
        let line = line.context("cannot read the job")?;
        let job: Job = serde_json::from_slice(&line).context("the job is not understood")?;
        // The parent may have died before the kernel was asked to watch it.
        let parent = std::os::unix::process::parent_id();
        anyhow::ensure!(parent == job.runner, "the run has gone");
        if let Some(log) = &job.log {
            write_log_to(log)?;
        }
        succeeded = server.serve(|_| Ok(job))?;
    }
    Ok(succeeded)
}

/// Has all that this process and its programs print appended to a file.
fn write_log_to(path: &Path) -> anyhow::Result<()> {
    let log = File::options().append(true).create(true).open(path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    nix::unistd::dup2_stderr(&log).context("cannot redirect stderr to the log")?;
    nix::unistd::dup2_stdout(&log).context("cannot redirect stdout to the log")
}

/// Does jobs, one after the other.
pub(crate) struct Server {
    channel: Arc<Mutex<File>>,
    /// Set when the process was asked to end.
    cancelled: Arc<AtomicBool>,
    /// What the jobs before used.
    used: Usage,
}

impl Server {
    /// Makes one that tells everything on `channel`. A process has one.
    pub(crate) fn new(channel: File) -> anyhow::Result<Self> {
        note_panics();
        let cancelled = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, cancelled.clone())
            .context("cannot listen for signals")?;
        Ok(Self { channel: Arc::new(Mutex::new(channel)), cancelled, used: Usage::default() })
    }

    /// Does the job that `prepare` hands over, and returns whether it succeeded. `prepare` may tell
    /// something itself.
    pub(crate) fn serve(
        &mut self,
        prepare: impl FnOnce(&dyn Fn(&Message) -> io::Result<()>) -> anyhow::Result<Job>,
    ) -> anyhow::Result<bool> {
        let tell = |message: &Message| send(&self.channel, message);
        let program_memory = Arc::default();
        let result = catch(|| self.execute(prepare(&tell)?, &program_memory));
        // What the stage left running would write into a result that is being digested.
        crate::lineage::end_own();
        let error = result.err().map(|error| environment::secret::mask(&format!("{error:#}")));
        if let Some(error) = &error {
            tracing::error!("{error}");
        }
        if let Some(why) = lost_lines::take() {
            let message = format!("a part of a log could not be written: {why}");
            send(&self.channel, &Message::Notice(message))?;
        }
        let succeeded = error.is_none();
        let usage = self.usage(program_memory.load(Ordering::Relaxed))?;
        send(&self.channel, &Message::End { error, usage })?;
        Ok(succeeded)
    }

    fn execute(&self, job: Job, program_memory: &Arc<AtomicU64>) -> anyhow::Result<()> {
        let keeps_worker = job.keeps_worker();
        // The kernel confines a thread and what it starts, so it comes before any thread.
        if let Some(rules) = &job.sandbox {
            rules.enforce()?;
        }
        let kind = stages::kinds::find(&job.kind)
            .with_context(|| format!("no kind of stage is called `{}`", job.kind))?;
        let mut parameters = job.parameters;
        environment::give(&mut parameters, &job.environment, &job.secrets)?;
        let stage = (kind.restore)(parameters).context("the parameters are not understood")?;
        // Whoever only waits for a program needs no threads.
        if !keeps_worker {
            rayon::ThreadPoolBuilder::new()
                .num_threads(job.threads)
                .build_global()
                .context("cannot start threads")?;
        }
        let throttle = Throttle::default();
        let channel = self.channel.clone();
        let report = move |report: Report| {
            if throttle.lets_pass(&report) {
                // A run that went away takes this process with it; there is no need to fail first.
                drop(send(&channel, &Message::Report(report)));
            }
        };
        stage.run(&Context {
            inputs: job.inputs,
            steps: job.steps,
            out: job.out,
            scratch: job.scratch,
            earlier: job.earlier,
            device: job.device,
            threads: job.threads,
            cancelled: self.cancelled.clone(),
            program_memory: program_memory.clone(),
            report: Box::new(report),
        })
    }

    /// Returns what the last job used, in which a program took so much memory.
    fn usage(&mut self, program_memory: u64) -> anyhow::Result<Usage> {
        let (all, own) = usage()?;
        let before = std::mem::replace(&mut self.used, all);
        // The system keeps the peak of all programs, not that of each.
        let first = before == Usage::default();
        let peak = if first { all.peak_memory_bytes } else { own.max(program_memory) };
        let cpu_seconds = all.cpu_seconds - before.cpu_seconds;
        Ok(Usage { cpu_seconds, peak_memory_bytes: peak })
    }
}

/// The guard process ends a worker whose run has gone, with all below it, and finds that through the
/// worker; so the worker must not be gone before. Should the guard be killed too, this ends the work.
#[cfg(target_os = "linux")]
fn die_with_parent() -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
        .context("cannot ask to die with the run")
}

/// Elsewhere the guard process alone sees to it.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> anyhow::Result<()> {
    Ok(())
}

/// Where the first panic of this process happened.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Has the place of the first panic kept for [`catch`].
fn note_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        // The first panic is the cause, those that follow on other threads its consequences.
        place.get_or_insert_with(|| info.location().map(ToString::to_string).unwrap_or_default());
    }));
}

/// Turns a panic into an error that says where it happened.
fn catch(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place.as_deref().unwrap_or("an unknown place");
        anyhow::bail!("panicked at {place}: {} (a bug in pipe)", panic_message(&*payload))
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

fn send(channel: &Mutex<File>, message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    channel.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
}

/// Returns what this process and its programs used since it began, and the memory of the process alone.
fn usage() -> anyhow::Result<(Usage, u64)> {
    let (mut all, mut own) = (Usage::default(), 0);
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let part = getrusage(who).context("cannot read the resources used")?;
        let micros = part.user_time().num_microseconds() + part.system_time().num_microseconds();
        all.cpu_seconds += micros as f64 / 1e6;
        // Linux counts in kibibytes, macOS in bytes.
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        let peak = u64::try_from(part.max_rss()).unwrap_or(0) * unit;
        all.peak_memory_bytes = all.peak_memory_bytes.max(peak);
        if matches!(who, UsageWho::RUSAGE_SELF) {
            own = peak;
        }
    }
    Ok((all, own))
}

/// Holds back progress that comes faster than it can be read; never the last one.
#[derive(Default)]
struct Throttle {
    last: Mutex<Option<Instant>>,
}

impl Throttle {
    fn lets_pass(&self, report: &Report) -> bool {
        let Report::Progress { done, total, .. } = report else { return true };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if due || done == total {
            *last = Some(Instant::now());
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_thinned_but_its_end_is_told() {
        let throttle = Throttle::default();
        let told = (0..=1000)
            .map(|done| Report::Progress {
                done,
                total: 1000,
                unit: "images".to_owned(),
                note: String::new(),
            })
            .filter(|report| throttle.lets_pass(report))
            .collect::<Vec<_>>();
        assert!(told.len() < 100, "{} passed", told.len());
        assert!(matches!(told.last(), Some(Report::Progress { done: 1000, .. })));
        assert!(throttle.lets_pass(&Report::Measure { name: "x".to_owned(), value: 1.0 }));
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_place() {
        note_panics();
        let error = catch(|| panic!("index {} is out of range", 7)).unwrap_err().to_string();
        assert!(error.contains("src/worker.rs") && error.contains("index 7"), "{error}");
    }

    #[test]
    fn messages_survive_the_pipe() {
        let message = Message::End {
            error: Some("line one\nline two".to_owned()),
            usage: Usage { cpu_seconds: 0.5, peak_memory_bytes: 1 << 20 },
        };
        let text = serde_json::to_string(&message).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
    }
}
