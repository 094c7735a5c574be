//! One call of the operating system fails somewhere in a run.

use std::collections::BTreeMap;

use super::shim::Fault;
use super::{INPUTS, expected, project, results, trials};
use crate::chance::Chance;

/// Calls, the errors they may give, and how many of them a process makes at most.
const FAULTS: [(&str, &[i32], u64); 12] = [
    ("write", &[ENOSPC, EIO, EDQUOT, SHORT], 12),
    ("read", &[EIO], 30),
    ("open", &[EIO, EMFILE], 40),
    ("sync", &[EIO], 16),
    ("rename", &[EIO, ENOSPC], 20),
    ("mkdir", &[ENOSPC, EIO], 12),
    ("link", &[EPERM, EXDEV, ENOTSUP, EMLINK], 4),
    ("symlink", &[ENOSPC, EPERM], 4),
    ("unlink", &[EIO], 10),
    ("chmod", &[EPERM], 6),
    ("copy", &[EXDEV, ENOTSUP, EIO], 2),
    ("change", &[ENOSPC, EIO], 60),
];

const EPERM: i32 = 1;
const EIO: i32 = 5;
const EXDEV: i32 = 18;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EMLINK: i32 = 31;
const ENOTSUP: i32 = 95;
const EDQUOT: i32 = 122;
/// No error: half of what was given is written.
const SHORT: i32 = 0;

#[test]
fn a_call_that_fails_costs_no_more_than_the_run() {
    let expected = expected();
    let mut chance = Chance::new();
    let mut now = 0;
    let mut hurt = project();
    // Of each call: how often it failed, and how often the run told so.
    let mut told: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for trial in 0..trials() {
        if chance.below(6) == 0 {
            (hurt, now) = (project(), 0);
        }
        if chance.below(2) == 0 {
            now = 1 - now;
            hurt.write("in/a.txt", INPUTS[now]);
        }
        let (call, errors, most) = *chance.of(&FAULTS);
        // The first calls of a process are made by every process.
        let at = 1 + chance.below(most);
        let at = 1 + chance.below(at);
        let fault = Fault { call, errno: *chance.of(errors), at, clock: 0 };
        let run = hurt.shown(&fault.command(&hurt, &["run", "p.toml"]).output().unwrap());
        let about = format!("trial {trial} of seed {}: {fault:?}: {run}", chance.seed);
        let hits = Fault::hits(&hurt);
        match run.code {
            Some(0) => assert!(results(&hurt) == expected[now], "{about}"),
            Some(1 | 2) => assert!(hits > 0 && !run.stderr.is_empty(), "{about}"),
            _ => panic!("{about}"),
        }
        // What a call says is told; nobody is left with a panic.
        assert!(!run.stderr.contains("code 101"), "{about}");
        let [failed, ended] = told.entry(call).or_default();
        *failed += u64::from(hits > 0);
        *ended += u64::from(run.code != Some(0));
        // A call may fail that only a run with something to do makes.
        if hurt.path(".pipe/v1/objects").exists() {
            let verified = hurt.pipe(&["store", "verify"]);
            assert_eq!(verified.code, Some(0), "{about}{verified}");
        }
        let ran = hurt.ran();
        assert!(results(&hurt) == expected[now], "after {ran:?} of {about}");
        assert_eq!(hurt.ran(), [""; 0], "{about}");
    }
    let failed: u64 = told.values().map(|[failed, _]| failed).sum();
    println!(
        "{} runs; of each call: runs it failed in, runs that ended for it: {told:?}",
        trials()
    );
    assert!(failed * 4 > trials(), "hardly anything failed: {told:?}");
}
