//! One program, run to its end or stopped with everything it started.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How often a quiet program is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How soon a program is looked at that has closed its streams.
const SHORTEST: Duration = Duration::from_micros(100);
/// How long a program has between the polite signal and the final one.
const GRACE: Duration = Duration::from_secs(3);
/// How many lines of output an error repeats.
const TAIL: usize = 10;
/// The longest line, in bytes, that an error repeats whole.
const LONGEST_TOLD: usize = 400;
/// The longest line, in bytes, that is logged whole.
const LONGEST: usize = 16 * 1024;

/// Returns the part of the surrounding environment that every program needs to start at all.
pub(super) fn surroundings() -> BTreeMap<OsString, OsString> {
    let kept = |name: &OsStr| {
        let name = name.to_string_lossy();
        ["PATH", "HOME", "TMPDIR", "LANG"].contains(&name.as_ref()) || name.starts_with("LC_")
    };
    std::env::vars_os().filter(|(name, _)| kept(name)).collect()
}

/// Runs a program; its output goes to the log, a line each.
///
/// # Errors
///
/// When it cannot be started, ends with another status than 0 or by a signal, or when `cancelled` is set.
pub(super) fn run(
    words: &[OsString],
    environment: &BTreeMap<OsString, OsString>,
    cancelled: &AtomicBool,
) -> anyhow::Result<()> {
    let (program, arguments) = words.split_first().context("no program to run")?;
    let name = program.to_string_lossy();
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what the program starts can be stopped with it.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    let (sender, lines) = sync_channel(1024);
    forward("stdout", child.stdout.take().context("no standard output")?, sender.clone());
    forward("stderr", child.stderr.take().context("no standard error")?, sender);
    let mut output = Output { lines, tail: VecDeque::new() };
    let status = wait(&mut child, &mut output, cancelled)?;
    output.drain();
    describe(status).map_or(Ok(()), |end| {
        let tail = output.tail.into_iter().collect::<Vec<_>>().join("\n  ");
        let last =
            if tail.is_empty() { String::new() } else { format!("; its last output:\n  {tail}") };
        Err(anyhow::anyhow!("`{name}` {end}{last}"))
    })
}

/// Waits for the end, and stops the whole group when cancelled.
fn wait(
    child: &mut Child,
    output: &mut Output,
    cancelled: &AtomicBool,
) -> anyhow::Result<ExitStatus> {
    let group = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
    let mut patience = None;
    // A program closes its streams as it ends, so at first it is looked at again very soon.
    let mut pause = SHORTEST;
    loop {
        let tick = output.tick();
        if let Some(status) = child.try_wait().context("cannot wait for the program")? {
            // What it left running would write into a result that is being hashed.
            stop(group, Signal::SIGKILL)?;
            anyhow::ensure!(patience.is_none(), "cancelled");
            return Ok(status);
        }
        match &patience {
            None if cancelled.load(Ordering::Relaxed) => {
                stop(group, Signal::SIGTERM)?;
                patience = Some(Patience::new());
            }
            Some(patience) if patience.is_over() => stop(group, Signal::SIGKILL)?,
            _ => {}
        }
        if matches!(tick, Tick::End) {
            thread::sleep(pause);
            pause = TICK.min(pause * 2);
        }
    }
}

/// How long a program is waited for.
struct Patience(Instant);

impl Patience {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long an end is waited for is no part of a result"
    )]
    fn new() -> Self {
        Self(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() > GRACE
    }
}

/// Sends a signal to a process group that may be gone already.
fn stop(group: Pid, signal: Signal) -> anyhow::Result<()> {
    match killpg(group, signal) {
        // EPERM is what some systems answer for a group of zombies.
        Ok(()) | Err(nix::errno::Errno::ESRCH | nix::errno::Errno::EPERM) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot send {signal} to process group {group}"))
        }
    }
}

/// Returns how a program failed, or nothing when it succeeded.
fn describe(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("failed with exit status {code}")),
        (None, Some(number)) => Some(match Signal::try_from(number) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {number}"),
        }),
        (None, None) => Some(format!("ended in an unknown way: {status}")),
    }
}

/// The lines of both streams, and the last few of them.
struct Output {
    lines: Receiver<(&'static str, String)>,
    tail: VecDeque<String>,
}

impl Output {
    /// Logs a line if one comes within a tick; returns what happened.
    fn tick(&mut self) -> Tick {
        match self.lines.recv_timeout(TICK) {
            Ok((stream, line)) => {
                tracing::info!(stream, "{line}");
                if self.tail.len() == TAIL {
                    self.tail.pop_front();
                }
                self.tail.push_back(shortened(line));
                Tick::Line
            }
            Err(RecvTimeoutError::Timeout) => Tick::Quiet,
            Err(RecvTimeoutError::Disconnected) => Tick::End,
        }
    }

    /// Logs what is left, without waiting for ever on a stream that a runaway process holds open.
    fn drain(&mut self) {
        let patience = Patience::new();
        loop {
            match self.tick() {
                Tick::Line => {}
                Tick::Quiet if !patience.is_over() => {}
                Tick::Quiet | Tick::End => return,
            }
        }
    }
}

/// Cuts a line that would fill the screen; the log has all of it.
fn shortened(mut line: String) -> String {
    if line.len() > LONGEST_TOLD {
        line.truncate(line.floor_char_boundary(LONGEST_TOLD));
        line.push_str(" ...");
    }
    line
}

/// What one wait for output gave.
enum Tick {
    Line,
    Quiet,
    End,
}

/// Sends each line of a stream; a carriage return ends a line too, as progress bars use it.
fn forward(
    stream: &'static str,
    mut from: impl Read + Send + 'static,
    to: SyncSender<(&'static str, String)>,
) {
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        let mut line = Vec::new();
        let send = |line: &mut Vec<u8>| {
            let text = String::from_utf8_lossy(line).into_owned();
            line.clear();
            text.is_empty() || to.send((stream, text)).is_ok()
        };
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for &byte in &buffer[..count] {
                let ends = matches!(byte, b'\n' | b'\r');
                if !ends {
                    line.push(byte);
                }
                let whole = match line.len() {
                    // Cut between words, so that whoever looks for a word in the log finds it.
                    LONGEST => line.iter().rposition(u8::is_ascii_whitespace).map(|at| at + 1),
                    _ => None,
                };
                let rest = line.split_off(whole.unwrap_or(line.len()));
                if (ends || whole.is_some() || line.len() == LONGEST) && !send(&mut line) {
                    return;
                }
                line.extend(rest);
            }
        }
        send(&mut line);
    });
}
