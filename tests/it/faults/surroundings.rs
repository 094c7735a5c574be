//! A file system that cannot do everything, or nothing, and a clock that jumps.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use super::shim::Fault;
use super::{INPUTS, STEPS, expected, project, results, trials};
use crate::chance::Chance;
use crate::project::Project;

const EROFS: i32 = 30;

fn pipe(fault: Fault, project: &Project, arguments: &[&str]) -> crate::project::Shown {
    project.shown(&fault.command(project, arguments).output().unwrap())
}

#[test]
fn neither_hard_links_nor_shared_blocks_are_needed() {
    let [expected, _] = expected();
    // EPERM, EXDEV, ENOTSUP
    for (call, errno) in [("link", 1), ("link", 18), ("link", 95), ("copy", 18), ("copy", 95)] {
        let project = project();
        let fault = Fault { call, errno, ..Fault::default() };
        let run = pipe(fault, &project, &["run", "p.toml"]);
        assert_eq!(run.code, Some(0), "{fault:?}: {run}");
        assert!(call != "link" || Fault::hits(&project) > 0, "{fault:?}: nothing failed");
        assert!(results(&project) == expected, "{fault:?}");
        let again = pipe(fault, &project, &["run", "p.toml", "--json"]);
        assert!(
            again.code == Some(0) && !again.stdout.contains("\"event\":\"ran\""),
            "{fault:?}: {again}"
        );
        assert_eq!(project.ran(), [""; 0], "what was copied is as good");
    }
}

#[test]
fn a_read_only_store_is_looked_at_and_never_written() {
    let project = project();
    project.ran();
    let fault = Fault { call: "change", errno: EROFS, ..Fault::default() };
    let looks: [&[&str]; 6] = [
        &["run", "p.toml"],
        &["plan", "p.toml"],
        &["why", "p.toml", "large"],
        &["show", "p.toml", "large"],
        &["log", "p.toml", "sorted"],
        &["store", "size"],
    ];
    for look in looks {
        let shown = pipe(fault, &project, look);
        assert_eq!(shown.code, Some(0), "{look:?}: {shown}");
    }
    let before = results(&project);
    project.write("in/a.txt", INPUTS[1]);
    let plan = pipe(fault, &project, &["plan", "p.toml"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let run = pipe(fault, &project, &["run", "p.toml"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("the file system is read-only"), "{run}");
    assert!(results(&project) == before);
    assert_eq!(project.ran(), STEPS);
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    let expected = expected();
    let mut chance = Chance::new();
    let (project, mut now) = (project(), 0);
    let ten_years = 10 * 365 * 86_400;
    for trial in 0..trials().div_ceil(4) {
        let clock = i64::try_from(chance.below(2 * ten_years)).unwrap() - ten_years as i64;
        let fault = Fault { clock, ..Fault::default() };
        if chance.below(2) == 0 {
            now = 1 - now;
            project.write("in/a.txt", INPUTS[now]);
        }
        if chance.below(2) == 0 {
            let path = project.path("in/a.txt");
            let jumped =
                std::time::UNIX_EPOCH + std::time::Duration::from_secs(chance.below(ten_years * 9));
            std::fs::File::options().write(true).open(path).unwrap().set_modified(jumped).unwrap();
        }
        let about = format!("trial {trial} of seed {}: {fault:?}", chance.seed);
        let run = pipe(fault, &project, &["run", "p.toml"]);
        assert_eq!(run.code, Some(0), "{about}: {run}");
        assert!(results(&project) == expected[now], "{about}");
        let gc = pipe(fault, &project, &["store", "gc"]);
        assert_eq!(gc.code, Some(0), "{about}: {gc}");
        assert!(results(&project) == expected[now], "{about}");
        assert_eq!(project.ran(), [""; 0], "{about}");
    }
}
