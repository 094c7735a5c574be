//! What a process started, and what that started, whatever sessions it went into; and the end of it.
//!
//! A worker is the subreaper of everything below it: a program whose parent has ended becomes its
//! child, so however a program was started, its line leads to the worker as long as that lives. If a
//! worker is killed, what it leaves becomes a child of the runner, which is a subreaper as well.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often to look again for processes that were started while others were being ended.
const ROUNDS: usize = 200;
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(1);

/// A process as proc(5) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: Pid,
    pub(crate) parent: Pid,
    pub(crate) session: Pid,
    /// Whether it has ended and waits for its parent to notice.
    pub(crate) ended: bool,
}

impl Process {
    /// Reads a line of proc(5).
    fn read(id: i32, stat: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may itself hold parentheses and spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = || Some(Pid::from_raw(fields.next()?.parse().ok()?));
        let (parent, _group, session) = (number()?, number()?, number()?);
        let ended = matches!(state, "Z" | "X");
        Some(Self { id: Pid::from_raw(id), parent, session, ended })
    }
}

/// Lists every process; empty where there is no `/proc`.
pub(crate) fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let read = |number: i32| {
        // The process may have ended since it was listed.
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        Process::read(number, &stat)
    };
    numbers.filter_map(read).collect()
}

/// Has whatever is orphaned below this process become its child.
#[cfg(target_os = "linux")]
pub(crate) fn adopt_orphans() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Elsewhere orphans are lost sight of; what stays in the session of its worker is found by that.
#[cfg(not(target_os = "linux"))]
pub(crate) fn adopt_orphans() -> std::io::Result<()> {
    Ok(())
}

/// Kills everything below a process, but not the process itself.
pub(crate) fn end_below(root: Pid) {
    end_all(|| below(root, &processes()));
}

/// Kills what `found` finds, until it finds nothing any more.
pub(crate) fn end_all(found: impl Fn() -> Vec<Pid>) {
    for _ in 0..ROUNDS {
        let found = found();
        if found.is_empty() {
            return;
        }
        // What is stopped starts nothing while the others are being ended.
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for &process in &found {
                kill(process, signal).ok();
            }
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!("processes that a step started could not be ended");
}

/// The running processes whose line leads to `root`.
fn below(root: Pid, processes: &[Process]) -> Vec<Pid> {
    let mut children: BTreeMap<Pid, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.id);
            if !child.ended {
                found.push(child.id);
            }
        }
    }
    found
}

/// Ends everything that this process started, and waits until nothing of it is left.
pub(crate) fn end_own() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let mut rounds = 0;
    while rounds < ROUNDS {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                end_below(nix::unistd::getpid());
                std::thread::sleep(PAUSE);
                rounds += 1;
            }
            // One has ended; there may be others.
            Ok(_) => {}
            // Without children there is nothing below.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: i32, parent: i32, ended: bool) -> Process {
        let [id, parent] = [id, parent].map(Pid::from_raw);
        Process { id, parent, session: id, ended }
    }

    #[test]
    fn a_process_is_read_past_a_strange_name() {
        let read = Process::read(12, "12 (a) b (c) S 1 12 11 0 -1 4194304").unwrap();
        assert_eq!(
            (read.parent, read.session, read.ended),
            (Pid::from_raw(1), Pid::from_raw(11), false)
        );
        assert!(Process::read(12, "12 (a) Z 1 12 11 0 -1").unwrap().ended);
        assert_eq!(Process::read(12, "12 (a) S 1"), None);
    }

    #[test]
    fn lines_are_followed_through_those_that_ended() {
        let all = [
            process(2, 1, false),
            process(3, 2, true),
            process(4, 3, false),
            process(5, 4, false),
            process(6, 1, false),
        ];
        assert_eq!(below(Pid::from_raw(2), &all), [4, 5].map(Pid::from_raw));
        assert_eq!(below(Pid::from_raw(9), &all), []);
    }
}
