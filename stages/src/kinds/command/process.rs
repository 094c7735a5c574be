//! One program, run to its end or stopped with everything it started.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};
use wait4::{ResUse, Wait4};

/// How often a quiet program is looked at, in milliseconds.
const TICK: u8 = 20;
/// How soon a program is looked at that has closed its streams.
const SHORTEST: Duration = Duration::from_micros(100);
/// How long a program has between the polite signal and the final one.
const GRACE: Duration = Duration::from_secs(10);
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

/// Runs a program; its output goes to the log, a line each. `used` is told the most memory, in bytes, that
/// was resident at once in it or in any one program that it waited for.
///
/// # Errors
///
/// When it cannot be started, ends with another status than 0 or by a signal, or when `cancelled` is set.
pub(super) fn run(
    words: &[OsString],
    environment: &BTreeMap<OsString, OsString>,
    cancelled: &AtomicBool,
    used: impl FnOnce(u64),
) -> anyhow::Result<()> {
    let (program, arguments) = words.split_first().context("no program to run")?;
    let name = program.to_string_lossy();
    let start = |file: &OsStr| {
        Command::new(file)
            .arg0(program)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what the program starts can be stopped with it.
            .process_group(0)
            .spawn()
    };
    let search = environment.get(OsStr::new("PATH"));
    let file = search.and_then(|search| program_file(program, search));
    let mut child = match file {
        // A script that does not name its interpreter is the shell's, which only a search finds.
        Some(file) => start(file.as_os_str()).or_else(|error| match error.raw_os_error() {
            Some(code) if code == Errno::ENOEXEC as i32 => start(program),
            _ => Err(error),
        }),
        None => start(program),
    }
    .with_context(|| format!("cannot start `{name}`"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let mut output = Output::new(stdout.into(), stderr.into());
    let ended = wait(&mut child, &mut output, cancelled)?;
    used(ended.rusage.maxrss);
    output.drain()?;
    describe(ended.status).map_or(Ok(()), |end| {
        let tail = output.tail.into_iter().collect::<Vec<_>>().join("\n  ");
        let last =
            if tail.is_empty() { String::new() } else { format!("; its last output:\n  {tail}") };
        Err(anyhow::anyhow!("`{name}` {end}{last}"))
    })
}

/// Returns the file of a program that is named without its place, found in the directories of `search`.
///
/// The system searches, too, but then a copy of this process has to, with all its memory mapped once more; the
/// start of a program whose file is named needs none.
#[must_use]
pub fn program_file(program: &OsStr, search: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() != 1 || program.as_bytes().contains(&b'/') {
        return None;
    }
    // An empty entry stands for the working directory.
    let place = |directory: PathBuf| Path::new(".").join(directory).join(program);
    let mut files = std::env::split_paths(search).map(place);
    files.find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}

/// Something that can be waited for beside the streams of a program until the program ends; none where the
/// system has no such thing.
#[cfg(target_os = "linux")]
fn end_of(child: &Child) -> Option<OwnedFd> {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_: &Child) -> Option<OwnedFd> {
    None
}

/// Waits for the end, and stops the whole group when cancelled.
fn wait(child: &mut Child, output: &mut Output, cancelled: &AtomicBool) -> anyhow::Result<ResUse> {
    let group = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
    let mut patience = None;
    let end = end_of(child);
    // A program closes its streams as it ends, so at first it is looked at again very soon.
    let mut pause = SHORTEST;
    loop {
        let tick = output.tick(end.as_ref())?;
        if let Some(ended) = child.try_wait4().context("cannot wait for the program")? {
            // What it left running would write into a result that is being hashed.
            stop(group, Signal::SIGKILL)?;
            anyhow::ensure!(patience.is_none(), "cancelled");
            return Ok(ended);
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
            pause = Duration::from_millis(TICK.into()).min(pause * 2);
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

/// Both streams, and the last few of their lines.
struct Output {
    streams: [Stream; 2],
    tail: VecDeque<String>,
}

/// One stream of a program, until its end.
struct Stream {
    name: &'static str,
    from: Option<File>,
    line: Vec<u8>,
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
    Some,
    Quiet,
    End,
}

impl Output {
    fn new(stdout: OwnedFd, stderr: OwnedFd) -> Self {
        let stream =
            |name, from: OwnedFd| Stream { name, from: Some(from.into()), line: Vec::new() };
        Self {
            streams: [stream("stdout", stdout), stream("stderr", stderr)],
            tail: VecDeque::new(),
        }
    }

    /// Logs what comes within a tick or until `end` is there; returns what happened.
    fn tick(&mut self, end: Option<&OwnedFd>) -> anyhow::Result<Tick> {
        let open = self.streams.iter().filter_map(|stream| stream.from.as_ref());
        let open = open.map(AsFd::as_fd).chain(end.map(AsFd::as_fd));
        let mut asked: Vec<PollFd> =
            open.map(|from| PollFd::new(from, PollFlags::POLLIN)).collect();
        if asked.is_empty() {
            return Ok(Tick::End);
        }
        match poll(&mut asked, PollTimeout::from(TICK)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Tick::Quiet),
            answered => answered.context("cannot wait for the output of the program")?,
        };
        // A stream that has ended is told as ready, too.
        let ready: Vec<bool> = asked.iter().map(|asked| asked.any().unwrap_or(true)).collect();
        let open = self.streams.iter_mut().filter(|stream| stream.from.is_some());
        for (stream, _) in open.zip(ready).filter(|(_, ready)| *ready) {
            stream.read(&mut self.tail);
        }
        Ok(Tick::Some)
    }

    /// Logs what is left, without waiting for ever on a stream that a runaway process holds open.
    fn drain(&mut self) -> anyhow::Result<()> {
        let patience = Patience::new();
        loop {
            match self.tick(None)? {
                Tick::Some => {}
                Tick::Quiet if !patience.is_over() => {}
                Tick::Quiet | Tick::End => break,
            }
        }
        // A stream that is still open may have said half a line.
        self.streams.iter_mut().for_each(|stream| stream.end_line(&mut self.tail));
        Ok(())
    }
}

impl Stream {
    /// Reads what is there and logs each line; a carriage return ends a line too, as progress bars
    /// use it.
    fn read(&mut self, tail: &mut VecDeque<String>) {
        let mut buffer = [0; 8192];
        let count = match self.from.as_mut().map_or(Ok(0), |from| from.read(&mut buffer)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            read => read.unwrap_or(0),
        };
        if count == 0 {
            self.from = None;
            self.end_line(tail);
        }
        for &byte in &buffer[..count] {
            if matches!(byte, b'\n' | b'\r') {
                self.end_line(tail);
                continue;
            }
            self.line.push(byte);
            if self.line.len() == LONGEST {
                // Cut between words, so that whoever looks for a word in the log finds it.
                let cut = self.line.iter().rposition(u8::is_ascii_whitespace);
                let rest = self.line.split_off(cut.map_or(LONGEST, |at| at + 1));
                self.end_line(tail);
                self.line = rest;
            }
        }
    }

    /// Logs the line read so far, unless it is empty.
    fn end_line(&mut self, tail: &mut VecDeque<String>) {
        if self.line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        tracing::info!(stream = self.name, "{line}");
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(shortened(line));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_is_found_by_its_own_path_and_knows_its_name() {
        let place = tempfile::tempdir().unwrap();
        for (directory, mode) in [("first", 0o644), ("second", 0o755)] {
            let file = place.path().join(directory).join("tool");
            fs::create_dir(file.parent().unwrap()).unwrap();
            // Without a first line that names an interpreter.
            fs::write(&file, "echo ran \"$1\" >> \"$2\"\n").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        }
        let said = place.path().join("said");
        let search = ["first", "second"].map(|name| place.path().join(name));
        let mut environment = surroundings();
        let usual = environment[OsStr::new("PATH")].clone();
        let search = search.into_iter().chain(std::env::split_paths(&usual));
        environment.insert("PATH".into(), std::env::join_paths(search).unwrap());
        let mut words = ["tool".into(), "this".into(), said.clone().into_os_string()];
        let mut used = 0;
        run(&words, &environment, &AtomicBool::new(false), |bytes| used = bytes).unwrap();
        assert_eq!(fs::read_to_string(&said).unwrap(), "ran this\n");
        assert!(used > 0);

        words = ["sh".into(), "-c".into(), "test \"$0\" = sh".into()];
        run(&words, &environment, &AtomicBool::new(false), drop).unwrap();
    }
}
