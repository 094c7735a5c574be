//! Talks to Slurm's controller through its own commands.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::array::Arrays;

/// How soon after one look at the queue another may follow.
const SOONEST: Duration = Duration::from_millis(300);
/// What Slurm's commands say while the controller is away or busy.
const PASSING: [&str; 5] =
    ["unable to contact", "timed out", "temporarily", "connection refused", "zero bytes"];

/// What the controller says of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// In Slurm's words, e.g. `PENDING`.
    pub(super) name: String,
    /// Why it is so, e.g. `Resources`; empty when there is no reason.
    pub(super) reason: String,
}

/// An answer of the controller about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It does not answer, as while it starts anew.
    Silent,
    /// It knows no such job.
    Unknown,
    /// It knows it.
    Known(State),
}

type Jobs = BTreeMap<String, State>;

/// The controller; one look at its queue serves all jobs of a run.
#[derive(Default)]
pub(crate) struct Controller {
    looked: Mutex<Option<(Instant, Option<Jobs>)>>,
    pub(super) arrays: Arrays,
}

impl Controller {
    /// Asks about a job, looking at the queue when the last look began before `since` or `age` ago.
    pub(super) fn ask(&self, job: &str, since: Instant, age: Duration) -> Answer {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |at: &Instant| {
            let old = at.elapsed();
            old < SOONEST || old < age && *at > since
        };
        if !looked.as_ref().is_some_and(|(at, _)| serves(at)) {
            let now = Instant::now();
            let jobs = look(&["--me"]);
            if let Err(error) = &jobs {
                tracing::warn!("{error}");
            }
            *looked = Some((now, jobs.ok()));
        }
        match looked.as_ref() {
            // A look from before the job was submitted knows nothing of it.
            Some((at, Some(jobs))) if *at > since => {
                state_of(jobs, job).cloned().map_or(Answer::Unknown, Answer::Known)
            }
            _ => Answer::Silent,
        }
    }
}

/// The state of a job. Tasks of an array that were cancelled together before their turn have left
/// the queue as one, under the number of the array.
fn state_of<'a>(jobs: &'a Jobs, job: &str) -> Option<&'a State> {
    jobs.get(job).or_else(|| jobs.get(job.split_once('_')?.0))
}

/// Looks at the queue, with jobs that ended of late.
fn look(which: &[&str]) -> io::Result<Jobs> {
    let form = ["--noheader", "--array", "--states=all", "--format=%i|%T|%r"];
    Ok(parse(&call("squeue", &[which, &form].concat(), "")?))
}

fn parse(text: &str) -> Jobs {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.trim().splitn(3, '|').map(str::to_owned);
        let (id, name, reason) = (words.next()?, words.next()?, words.next()?);
        let reason = if reason == "None" { String::new() } else { reason };
        Some((id, State { name, reason }))
    });
    lines.collect()
}

/// Returns how many tasks a job array may have, if Slurm says so.
pub(super) fn largest_array() -> Option<usize> {
    let told = call("scontrol", &["show", "config"], "");
    told.inspect_err(|error| tracing::debug!("the largest array is not known: {error}"))
        .ok()
        .and_then(|told| array_size(&told))
}

fn array_size(told: &str) -> Option<usize> {
    let setting = told.lines().filter_map(|line| line.split_once('='));
    let mut sizes = setting.filter(|(name, _)| name.trim() == "MaxArraySize");
    sizes.next().and_then(|(_, size)| size.trim().parse().ok())
}

/// Submits a script and returns the number of the job.
pub(super) fn submit(options: &[String], script: &str) -> io::Result<String> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let answer = call("sbatch", &options, script)?;
    // On a federation the name of the cluster follows.
    let id = answer.trim().split(';').next().unwrap_or_default();
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
        return Err(io::Error::other(format!("sbatch answered {:?}", answer.trim())));
    }
    Ok(id.to_owned())
}

/// Whether it may be otherwise in a moment.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let text = error.to_string().to_lowercase();
    PASSING.iter().any(|words| text.contains(words))
}

/// Returns the number of the job of a name that was submitted though its submission seemed to fail.
pub(super) fn find(name: &str) -> io::Result<Option<String>> {
    let jobs = look(&[&format!("--name={name}")])?;
    // The tasks of an array share a number.
    Ok(jobs.into_keys().next().map(|id| id.split('_').next().unwrap_or_default().to_owned()))
}

/// Cancels a job: Slurm asks it to stop, and kills it some time later.
pub(super) fn cancel(id: &str) -> io::Result<()> {
    call("scancel", &[id], "").map(drop)
}

/// Kills a job at once.
pub(super) fn kill(id: &str) -> io::Result<()> {
    kill_which(&[id])
}

/// Kills every job of a name at once, or the one task of an array.
pub(super) fn kill_named(name: &str, task: Option<u32>) -> io::Result<()> {
    let ids = match task {
        None => return kill_which(&[&format!("--name={name}")]),
        Some(_) => there(name, task)?,
    };
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    if ids.is_empty() { Ok(()) } else { kill_which(&ids) }
}

fn kill_which(which: &[&str]) -> io::Result<()> {
    // Only what runs can be sent a signal; the rest is taken from the queue.
    let killed = call("scancel", &[&["--full", "--signal=KILL"], which].concat(), "");
    call("scancel", which, "").and(killed).map(drop)
}

/// Whether a job of a name, or the one task of an array, waits, runs or is still being ended.
pub(super) fn is_there(name: &str, task: Option<u32>) -> io::Result<bool> {
    Ok(!there(name, task)?.is_empty())
}

fn there(name: &str, task: Option<u32>) -> io::Result<Vec<String>> {
    let name = format!("--name={name}");
    let listed = call("squeue", &["--noheader", "--array", "--format=%i", &name], "")?;
    let ids = listed.lines().map(str::trim).filter(|id| !id.is_empty());
    Ok(ids.filter(|id| is_of(id, task)).map(str::to_owned).collect())
}

/// Whether a number of a job is that of a task; an array of one task is a job like others.
fn is_of(id: &str, task: Option<u32>) -> bool {
    match (task, id.split_once('_')) {
        (Some(task), Some((_, number))) => number == task.to_string(),
        _ => true,
    }
}

fn call(program: &str, arguments: &[&str], input: &str) -> io::Result<String> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => " (is Slurm installed here, and on the PATH?)",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot run {program}: {error}{hint}"))
    };
    let mut child = Command::new(program)
        .args(arguments)
        // Of a job that this run may itself be in; a new job would take it for its own.
        .env_remove("SLURM_RESTART_COUNT")
        .env_remove("SLURM_ARRAY_TASK_ID")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not want its input says why in its answer.
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let told = match lines.as_slice() {
        [] => output.status.to_string(),
        lines => lines.join("; "),
    };
    Err(io::Error::other(format!("{program} failed: {told}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_slurm_prints_is_understood_or_passed_over(
            text in r"([0-9_]{0,4}[|\n \[\]%-]?[A-Z|]{0,9}[|\n]?){0,6}", task in any::<Option<u32>>()
        ) {
            for (id, state) in &parse(&text) {
                is_of(id, task);
                prop_assert!(!id.contains('|') && !state.name.contains('|'));
            }
        }
    }

    #[test]
    fn a_queue_is_understood() {
        let jobs = parse("12|RUNNING|None\n13_2|PENDING|Resources\n14|PENDING|a|b\ntorn|\n");
        assert_eq!(jobs.len(), 3);
        assert_eq!(jobs["12"], State { name: "RUNNING".to_owned(), reason: String::new() });
        assert_eq!(jobs["13_2"].reason, "Resources");
        assert_eq!(jobs["14"].reason, "a|b");
    }

    #[test]
    fn the_largest_array_is_read() {
        let told = "Configuration data:\nMaxArraySize            = 1001\nMaxDBDMsgs = 20008\n";
        assert_eq!(array_size(told), Some(1001));
        assert_eq!(array_size("MaxArraySize = (null)\n"), None);
        assert_eq!(array_size("OtherMaxArraySize = 3\n"), None);
    }

    #[test]
    fn tasks_that_were_cancelled_together_are_found_under_their_array() {
        let jobs = parse("34_0|RUNNING|None\n34|CANCELLED|JobArrayTaskLimit\n");
        assert_eq!(state_of(&jobs, "34_0").unwrap().name, "RUNNING");
        assert_eq!(state_of(&jobs, "34_2").unwrap().name, "CANCELLED");
        assert_eq!(state_of(&jobs, "35_0"), None);
    }

    #[test]
    fn a_task_is_known_by_its_number() {
        assert!(is_of("12_3", Some(3)) && is_of("12", Some(0)) && is_of("12_3", None));
        assert!(!is_of("12_31", Some(3)) && !is_of("12_[4-5]", Some(4)));
    }

    #[test]
    fn a_controller_that_is_away_is_told_from_a_wrong_option() {
        let away =
            io::Error::other("sbatch failed: sbatch: error: Unable to contact slurm controller");
        let wrong =
            io::Error::other("sbatch failed: sbatch: error: invalid partition specified: x");
        assert!(is_passing(&away) && !is_passing(&wrong));
    }
}
