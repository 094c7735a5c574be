//! What Slurm's words for the state of a job mean for the step.

use super::controller::State;

/// What a state means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It waits, or runs.
    Lives,
    /// It waits: for a node, or to start anew.
    Waits,
    /// It will not run any more, and the worker knows best how it ended.
    Over,
    /// It will not run any more because of Slurm, whatever the worker said last; says why.
    Ended(String),
}

/// Judges a state.
pub(super) fn judge(state: &State) -> Verdict {
    let because = match state.name.as_str() {
        "PENDING" | "CONFIGURING" | "SUSPENDED" | "STOPPED" | "RESV_DEL_HOLD" | "REQUEUE_FED"
        | "REQUEUE_HOLD" | "REQUEUED" | "SPECIAL_EXIT" => return Verdict::Waits,
        "COMPLETED" | "FAILED" => return Verdict::Over,
        "CANCELLED" => "was cancelled from outside",
        "TIMEOUT" => "reached its time limit (`executor.slurm.time`)",
        "OUT_OF_MEMORY" => "needed more memory than it was given (`executor.slurm.memory`)",
        "NODE_FAIL" => "lost its node, and Slurm did not start it anew",
        "PREEMPTED" => "had to make room for another job, and Slurm did not start it anew",
        "DEADLINE" => "could not end before its deadline",
        "BOOT_FAIL" => "found no node that started",
        "REVOKED" => "was revoked: another cluster runs it",
        _ => return Verdict::Lives,
    };
    Verdict::Ended(because.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_judged() {
        let judge = |name: &str| judge(&State { name: name.to_owned(), reason: String::new() });
        assert_eq!(judge("PENDING"), Verdict::Waits);
        assert_eq!(judge("RUNNING"), Verdict::Lives);
        assert_eq!(judge("COMPLETING"), Verdict::Lives);
        assert_eq!(judge("FAILED"), Verdict::Over);
        let Verdict::Ended(because) = judge("TIMEOUT") else { panic!("a time-out is an end") };
        assert!(because.contains("executor.slurm.time"));
    }
}
