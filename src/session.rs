//! Everything a worker started, known by the session it all runs in, and the end of it.
//!
//! A process group would not do: a stage puts the programs it starts into groups of their own.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How often to look again for processes that were started while others were being ended.
const ROUNDS: usize = 20;

/// Kills every process of a session; those already gone are what was wanted.
pub(crate) fn end(session: Pid) {
    killpg(session, Signal::SIGKILL).ok();
    for _ in 0..ROUNDS {
        let members = members(session);
        if members.is_empty() {
            return;
        }
        for member in members {
            kill(member, Signal::SIGKILL).ok();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    tracing::warn!("processes of session {session} could not be ended");
}

/// Lists the processes of a session that still run; empty where there is no `/proc`.
fn members(session: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &i32| {
            // The process may have ended since it was listed.
            std::fs::read_to_string(format!("/proc/{number}/stat"))
                .is_ok_and(|stat| running_session(&stat) == Some(session.as_raw()))
        })
        .map(Pid::from_raw)
        .collect()
}

/// Reads the session from a line of proc(5), unless the process has ended and awaits its parent.
fn running_session(stat: &str) -> Option<i32> {
    // The name of the program stands in parentheses and may itself hold parentheses and spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(2)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_read_past_a_strange_name() {
        assert_eq!(running_session("12 (a) b (c) S 1 12 11 0 -1 4194304"), Some(11));
        assert_eq!(running_session("12 (a) Z 1 12 11 0 -1"), None);
        assert_eq!(running_session("12 (a) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn programs_in_other_groups_end_too() {
        let mut leader = std::process::Command::new("setsid")
            .args(["sh", "-c", "set -m; sleep 61 & sleep 62 & wait"])
            .spawn()
            .unwrap();
        let session = Pid::from_raw(i32::try_from(leader.id()).unwrap());
        while members(session).len() < 3 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        end(session);
        assert!(!leader.wait().unwrap().success());
        assert_eq!(members(session), []);
    }
}
