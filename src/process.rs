//! A step's worker from outside: start it, hear it, stop it, know how it ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::guard::Guard;
use crate::lineage;
use crate::nursery::Nursery;
use crate::placement::{Heard, Returned, hear_line};
use crate::session;
use crate::slurm::Controller;
use crate::worker::{self, Job, Usage};

/// How a worker ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The stage returned, with an error or without.
    Returned {
        /// What went wrong.
        error: Option<String>,
        /// What it used.
        usage: Usage,
    },
    /// The process ended before the stage returned.
    Died(ExitStatus),
    /// It was ended because it took longer than this.
    TimedOut(Duration),
    /// Its Slurm job is over, or lost, before the stage returned; says how.
    Lost(String),
}

/// How long a worker that was asked to stop may take to save what it can: a second more than it gives its program.
pub(crate) const GRACE: Duration = Duration::from_secs(11);

/// A process that waits for a job, or does one.
struct Worker {
    child: Child,
    process: Pid,
    /// Where its jobs go; it ends when this is closed.
    jobs: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
}

/// A worker that runs.
struct Running {
    process: Pid,
    /// How long it may take, and when that is over.
    timeout: Option<(Duration, Instant)>,
    /// When it was asked to end because it took longer.
    asked: Option<Instant>,
}

/// Which processes there are.
#[derive(Default)]
struct Staff {
    running: BTreeMap<usize, Running>,
    /// Those that did their job and are as they were before.
    idle: Vec<Worker>,
}

impl Staff {
    fn processes(&self) -> Vec<Pid> {
        let running = self.running.values().map(|running| running.process);
        running.chain(self.idle.iter().map(|worker| worker.process)).collect()
    }
}

/// The workers of a run: started, stopped and never left behind.
#[derive(Default)]
pub(crate) struct Workers {
    guard: OnceLock<Guard>,
    nursery: OnceLock<Nursery>,
    starting: Mutex<()>,
    staff: Mutex<Staff>,
    /// Held by each start of a worker, and alone while the children of this process are looked at.
    births: RwLock<()>,
    stopping: AtomicBool,
    killing: AtomicBool,
    pub(crate) controller: Controller,
}

impl Workers {
    /// Runs one job to its end in a process of its own, in `directory`, with its log in `log`. Whoever
    /// sets a `timeout` calls [`Workers::end_overdue`] often.
    pub(crate) fn run(
        &self,
        step: usize,
        job: &Job,
        directory: &Path,
        log: File,
        timeout: Option<Duration>,
        mut hear: impl FnMut(Heard),
    ) -> io::Result<End> {
        let guard = self.guard()?;
        let timeout = timeout.map(|timeout| (timeout, Instant::now() + timeout));
        let mut worker = self.employ(step, job, directory, log, timeout)?;
        // Only a worker that was told its job can start anything, and by then it is watched.
        let jobs = worker.jobs.as_mut().expect("open until it is let go");
        let told = guard.watch(worker.process).and_then(|()| {
            let mut line = serde_json::to_vec(job)?;
            line.push(b'\n');
            jobs.write_all(&line)
        });
        if !job.keeps_worker() {
            worker.jobs = None;
        }
        if self.is_stopping() {
            kill(worker.process, Signal::SIGTERM).ok();
        }
        let end = listen(&mut worker.told, &mut hear);
        if job.keeps_worker() && matches!(end, Ok(Some((None, _)))) {
            worker = match self.keep(step, worker) {
                Ok(()) => return end.map(|end| End::returned(end.expect("matched above"))),
                Err(worker) => *worker,
            };
        }
        worker.jobs = None;

        // Until it is reaped its number is its own, so everything it started can be found by it.
        wait_unreaped(worker.process)?;
        let returned = matches!(end, Ok(Some(_)));
        if !returned {
            session::end(worker.process);
            self.end_adopted();
        }
        let running = lock(&self.staff).running.remove(&step);
        guard.release(worker.process)?;
        let status = worker.child.wait()?;
        let end = end?;
        let made = matches!(end, Some((None, _)));
        let overdue = running.filter(|running| running.asked.is_some() && !made);
        if let Some((timeout, _)) = overdue.and_then(|running| running.timeout) {
            return Ok(End::TimedOut(timeout));
        }
        match end {
            Some(end) if status.code().is_some() => Ok(End::returned(end)),
            // How a worker died says more than that its pipe broke.
            _ if status.signal().is_some() => Ok(End::Died(status)),
            _ => told.map(|()| End::Died(status)),
        }
    }

    /// Gives a step one of the workers that wait, or a new one.
    fn employ(
        &self,
        step: usize,
        job: &Job,
        directory: &Path,
        log: File,
        timeout: Option<(Duration, Instant)>,
    ) -> io::Result<Worker> {
        let running = |process| Running { process, timeout, asked: None };
        while job.keeps_worker() {
            let mut staff = lock(&self.staff);
            let Some(mut worker) = staff.idle.pop() else { break };
            // The system may have ended it meanwhile, as it does when memory runs out.
            if !has_ended(&mut worker.child)? {
                staff.running.insert(step, running(worker.process));
                return Ok(worker);
            }
            drop(staff);
            self.let_go(worker)?;
        }
        let mut command = this_program(worker::SUBCOMMAND);
        if let Some(rules) = &job.sandbox {
            command.env("TMPDIR", &rules.temporary);
        }
        let birth = self.births.read().unwrap_or_else(PoisonError::into_inner);
        command
            .current_dir(directory)
            .env("RAYON_NUM_THREADS", job.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = self.nursery()?.start(command)?;
        let id = i32::try_from(child.id()).expect("the system's own process ids fit");
        let process = Pid::from_raw(id);
        lock(&self.staff).running.insert(step, running(process));
        drop(birth);
        let jobs = child.stdin.take();
        let told = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Ok(Worker { child, process, jobs, told })
    }

    /// Lets a worker that did its job wait for another; gives it back when it was asked to end.
    fn keep(&self, step: usize, worker: Worker) -> Result<(), Box<Worker>> {
        let mut staff = lock(&self.staff);
        let asked = staff.running.get(&step).is_none_or(|running| running.asked.is_some());
        if asked || self.is_stopping() {
            return Err(Box::new(worker));
        }
        staff.running.remove(&step);
        staff.idle.push(worker);
        Ok(())
    }

    /// Has a worker that waits end.
    fn let_go(&self, mut worker: Worker) -> io::Result<()> {
        worker.jobs = None;
        wait_unreaped(worker.process)?;
        self.guard()?.release(worker.process)?;
        worker.child.wait().map(drop)
    }

    /// Whether workers were asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether workers are being killed.
    pub(crate) fn is_killing(&self) -> bool {
        self.killing.load(Ordering::SeqCst)
    }

    /// Asks every worker to stop, those included that are about to start.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for Running { process, .. } in lock(&self.staff).running.values() {
            kill(*process, Signal::SIGTERM).ok();
        }
    }

    /// Asks every worker to stop that takes too long, and kills it when it does not.
    pub(crate) fn end_overdue(&self) {
        let now = Instant::now();
        for running in lock(&self.staff).running.values_mut() {
            match (running.timeout, running.asked) {
                (Some((_, end)), None) if now >= end => {
                    running.asked = Some(now);
                    kill(running.process, Signal::SIGTERM).ok();
                }
                (_, Some(asked)) if now - asked > GRACE => {
                    session::end(running.process);
                }
                _ => {}
            }
        }
    }

    /// Kills every worker with all it started.
    pub(crate) fn kill(&self) {
        self.killing.store(true, Ordering::SeqCst);
        self.stopping.store(true, Ordering::SeqCst);
        for Running { process, .. } in lock(&self.staff).running.values() {
            session::end(*process);
        }
    }

    /// Ends what a worker that was killed has left: it has become a child of this process, in another
    /// session than the programs that this process starts itself.
    fn end_adopted(&self) {
        let _alone = self.births.write().unwrap_or_else(PoisonError::into_inner);
        let known = lock(&self.staff).processes();
        let own = nix::unistd::getpid();
        let Ok(session) = nix::unistd::getsid(None) else { return };
        let adopted = || {
            let all = lineage::processes().into_iter();
            all.filter(|process| process.parent == own && process.session != session)
                .filter(|process| !known.contains(&process.id))
                .collect::<Vec<_>>()
        };
        for process in adopted() {
            lineage::end_below(process.id);
        }
        lineage::end_all(|| {
            let living = adopted().into_iter().filter(|process| !process.ended);
            living.map(|process| process.id).collect()
        });
        for process in adopted() {
            nix::sys::wait::waitpid(process.id, None).ok();
        }
    }

    /// The thread that starts workers, itself started when first needed.
    fn nursery(&self) -> io::Result<&Nursery> {
        let _one = lock(&self.starting);
        if self.nursery.get().is_none() {
            // The lock makes this the only thread that sets it.
            self.nursery.set(Nursery::open()?).ok();
        }
        Ok(self.nursery.get().expect("set above"))
    }

    /// The guard of this run, started when first needed.
    pub(crate) fn guard(&self) -> io::Result<&Guard> {
        let _one = lock(&self.starting);
        if self.guard.get().is_none() {
            lineage::adopt_orphans()?;
            // The lock makes this the only thread that sets it.
            self.guard.set(Guard::start()?).ok();
        }
        Ok(self.guard.get().expect("set above"))
    }
}

impl Drop for Workers {
    /// Lets those go that wait.
    fn drop(&mut self) {
        let mut idle = mem::take(&mut lock(&self.staff).idle);
        // All at once, so that they end at the same time.
        idle.iter_mut().for_each(|worker| worker.jobs = None);
        for worker in idle {
            if let Err(error) = self.let_go(worker) {
                tracing::warn!("cannot wait for a worker: {error}");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on reports until the end of a job or of the worker; returns what it said last.
fn listen(stdout: &mut impl BufRead, hear: &mut impl FnMut(Heard)) -> io::Result<Option<Returned>> {
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line)? > 0 {
        if let Some(end) = hear_line(&line, hear) {
            return Ok(Some(end));
        }
        line.clear();
    }
    Ok(None)
}

#[cfg(target_os = "linux")]
fn wait_unreaped(process: Pid) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    loop {
        match waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}

/// Returns whether a process has ended, without reaping it.
#[cfg(target_os = "linux")]
fn has_ended(child: &mut Child) -> io::Result<bool> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let id = i32::try_from(child.id()).expect("the system's own process ids fit");
    let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    Ok(waitid(Id::Pid(Pid::from_raw(id)), how)? != WaitStatus::StillAlive)
}

#[cfg(not(target_os = "linux"))]
fn has_ended(child: &mut Child) -> io::Result<bool> {
    Ok(child.try_wait()?.is_some())
}

/// Elsewhere a worker's number may be used again between its end and its release, for a moment.
#[cfg(not(target_os = "linux"))]
fn wait_unreaped(_: Pid) -> io::Result<()> {
    Ok(())
}

impl End {
    fn returned((error, usage): Returned) -> Self {
        Self::Returned { error, usage }
    }

    /// Says in words how a process died.
    pub(crate) fn describe(status: ExitStatus) -> String {
        let Some(number) = status.signal() else {
            let code = status.code().unwrap_or_default();
            return format!("its process ended with code {code} before the stage returned");
        };
        let name = Signal::try_from(number)
            .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned());
        let meaning = match Signal::try_from(number) {
            Ok(Signal::SIGKILL) => " (most likely the system ran out of memory)",
            Ok(Signal::SIGSEGV | Signal::SIGBUS) => " (it touched memory that is not its own)",
            Ok(Signal::SIGILL) => " (the processor does not know an instruction)",
            Ok(Signal::SIGABRT) => " (it gave up by itself)",
            _ => "",
        };
        format!("its process was killed by {name}{meaning}")
    }
}

/// Starts a hidden subcommand of the very program that runs now, even if its file was replaced.
pub(crate) fn this_program(subcommand: &str) -> Command {
    let running = Path::new("/proc/self/exe");
    let path = match std::env::current_exe() {
        Ok(path) if !running.exists() => path,
        _ => running.to_owned(),
    };
    let mut command = Command::new(path);
    command.arg(subcommand);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_named() {
        let check = |raw: i32, expected: &str| {
            let told = End::describe(ExitStatus::from_raw(raw));
            assert!(told.contains(expected), "{told}");
        };
        check(11, "killed by SIGSEGV");
        check(9, "killed by SIGKILL (most likely the system ran out of memory)");
        check(3 << 8, "code 3");
    }

    #[test]
    fn a_torn_last_message_is_no_end() {
        let text = "{\"report\":{\"measure\":{\"name\":\"a\",\"value\":1.0}}}\n{\"end\":{\"err";
        let mut heard = Vec::new();
        let end = listen(&mut text.as_bytes(), &mut |report| heard.push(report)).unwrap();
        assert_eq!((end, heard.len()), (None, 1));
    }
}
