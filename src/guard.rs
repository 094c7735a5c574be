//! A small process that outlives a killed run just long enough to end what the run left behind.
//!
//! A worker asks the kernel to die with its parent, but the programs that a worker started do not.
//! So the run tells its guard every session it starts. When the run ends in whatever way, its end of
//! the pipe closes, and the guard ends each session that was not released before. With a Slurm job it
//! does the same.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::unistd::Pid;

use crate::slurm::Record;

/// The name of the hidden subcommand that [`run`] serves.
pub const SUBCOMMAND: &str = "guard";

/// How long a killed Slurm job may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The run's side.
pub(crate) struct Guard {
    pipe: Option<Mutex<ChildStdin>>,
    process: Child,
}

impl Guard {
    /// Starts the process, in a group of its own so that Ctrl-C does not reach it.
    pub(crate) fn start() -> io::Result<Self> {
        let mut process = crate::process::this_program(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take().expect("stdin is piped");
        Ok(Self { pipe: Some(Mutex::new(pipe)), process })
    }

    /// Has a session ended should the run end before it is released.
    pub(crate) fn watch(&self, session: Pid) -> io::Result<()> {
        self.tell('+', session)
    }

    /// Has a Slurm job cancelled should the run end before it is released.
    pub(crate) fn watch_job(&self, job: &Record) -> io::Result<()> {
        self.say(&format!("+{}\n", serde_json::to_string(job)?))
    }

    /// Forgets a Slurm job.
    pub(crate) fn release_job(&self, job: &Record) -> io::Result<()> {
        self.say(&format!("-{}\n", serde_json::to_string(job)?))
    }

    /// Forgets a session; must come before its leader is reaped, when its number may be used again.
    pub(crate) fn release(&self, session: Pid) -> io::Result<()> {
        self.tell('-', session)
    }

    fn tell(&self, sign: char, session: Pid) -> io::Result<()> {
        self.say(&format!("{sign}{session}\n"))
    }

    fn say(&self, line: &str) -> io::Result<()> {
        let pipe = self.pipe.as_ref().expect("open until dropped");
        let mut pipe = pipe.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pipe.write_all(line.as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        if let Err(error) = self.process.wait() {
            tracing::warn!("cannot wait for the guard process: {error}");
        }
    }
}

/// The guard's side: listens on `input` until its end, then ends every session still watched.
///
/// # Errors
///
/// When reading fails; the sessions are ended all the same.
pub fn run(input: impl BufRead) -> io::Result<()> {
    let (mut watched, mut jobs) = (BTreeSet::new(), BTreeSet::new());
    let result = listen(input, &mut watched, &mut jobs);
    for session in watched {
        crate::session::end(Pid::from_raw(session));
    }
    // First all are killed, then each is waited for; the next run finds those that do not end.
    Record::kill_all(&jobs);
    for job in jobs {
        job.bury(PATIENCE).ok();
    }
    result
}

fn listen(
    input: impl BufRead,
    watched: &mut BTreeSet<i32>,
    jobs: &mut BTreeSet<Record>,
) -> io::Result<()> {
    for line in input.lines() {
        let line = line?;
        // A line torn by the end of the run names a session that was never told its work.
        let Some((sign, session)) = line.split_at_checked(1) else { continue };
        if let Ok(job) = serde_json::from_str::<Record>(session) {
            match sign {
                "+" => jobs.insert(job),
                _ => jobs.remove(&job),
            };
            continue;
        }
        let Ok(session @ 2..) = session.parse::<i32>() else { continue };
        match sign {
            "+" => watched.insert(session),
            _ => watched.remove(&session),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_released_stays_watched() {
        let mut watched = BTreeSet::new();
        listen("+17\n+18\n+1\n+x\n-17\n+19\n".as_bytes(), &mut watched, &mut BTreeSet::new())
            .unwrap();
        assert_eq!(watched, BTreeSet::from([18, 19]));
    }

    #[test]
    fn jobs_are_watched_beside_sessions() {
        let job = r#"{"directory":"/s/slurm/k/pipe-a","name":"pipe-a","task":null,"scratch":null}"#;
        let other = job.replace("pipe-a", "pipe-b");
        let (mut watched, mut jobs) = (BTreeSet::new(), BTreeSet::new());
        let input = format!("+{job}\n+17\n+{other}\n-{job}\n");
        listen(input.as_bytes(), &mut watched, &mut jobs).unwrap();
        assert_eq!(watched, BTreeSet::from([17]));
        assert_eq!(jobs, BTreeSet::from([serde_json::from_str(&other).unwrap()]));
    }

    #[test]
    fn a_watched_session_dies_with_the_pipe() {
        let mut sleeper =
            std::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        run(format!("+{}\n", sleeper.id()).as_bytes()).unwrap();
        assert!(!sleeper.wait().unwrap().success());
    }
}
