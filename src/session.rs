//! Everything a worker started, known by its line and by the session it runs in, and the end of it.
//!
//! A process group would not do: a stage puts the programs it starts into groups of their own.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::lineage::{end_all, end_below, processes};

/// Kills a worker and everything it started; those already gone are what was wanted.
pub(crate) fn end(worker: Pid) {
    // While it lives, what is below it is found wherever it went; stopped, it starts nothing more.
    kill(worker, Signal::SIGSTOP).ok();
    end_below(worker);
    // One that was just started leads no group yet.
    kill(worker, Signal::SIGKILL).ok();
    killpg(worker, Signal::SIGKILL).ok();
    end_all(|| members(worker));
}

/// Lists the processes of a session that still run.
fn members(session: Pid) -> Vec<Pid> {
    let all = processes().into_iter();
    all.filter(|process| process.session == session && !process.ended)
        .map(|process| process.id)
        .collect()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
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
