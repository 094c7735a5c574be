//! Ctrl-C.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{Project, wait_for};

/// A step that goes on where it was stopped, when asked politely.
const STEP: &str = r#"
[stage.long]
kind = "command"
run = ["sh", "-c", "trap 'echo saved > {scratch}/saved; exit 1' TERM; touch {scratch}/began; [ -e {scratch}/saved ] || { sleep 60 & wait; }; cp {scratch}/saved {out}/x"]
outputs = ["x"]
"#;

fn started() -> (Project, std::process::Child) {
    let project = Project::new();
    project.write("p.toml", STEP);
    let child = project.start(&["run", "p.toml"]);
    let scratch = project.path(".pipe/v1/scratch");
    assert!(wait_for(|| {
        let keys = std::fs::read_dir(&scratch).into_iter().flatten().flatten();
        keys.into_iter().any(|key| key.path().join("began").exists())
    }));
    (project, child)
}

fn signal(child: &std::process::Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn ctrl_c_lets_steps_save_and_the_next_run_goes_on() {
    let (project, child) = started();
    signal(&child, Signal::SIGINT);
    let shown = project.shown(&child.wait_with_output().unwrap());
    insta::assert_snapshot!(shown, @r#"
    exit code 130
        long  started
      ! stopping; running steps save what they can (Ctrl-C again kills them)
      - long  stopped

      1 stopped in [TIME] s
      run it again to go on where it stopped
    "#);
    project.wait_until_quiet();
    assert_eq!(project.pipe(&["store", "verify"]).code, Some(0));
    let again = project.pipe(&["run", "p.toml"]);
    assert!(again.stderr.contains("going on where it stopped"), "{again}");
    assert_eq!(project.read(".pipe/latest/p/long/x"), "saved\n");
}

#[test]
fn ctrl_c_twice_kills() {
    let (project, child) = started();
    signal(&child, Signal::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(120));
    // The step may have stopped by itself by now, and the run with it.
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).ok();
    let shown = project.shown(&child.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(130), "{shown}");
    project.wait_until_quiet();
}

#[test]
fn a_killed_run_takes_everything_with_it() {
    let (project, mut child) = started();
    assert!(project.processes().len() >= 3, "{:?}", project.processes());
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    project.wait_until_quiet();
}

/// Starts programs in sessions of their own that turn deaf, leave the directory and lose their parents.
#[cfg(target_os = "linux")]
const NASTY: &str = r#"
trap '' TERM INT HUP
deaf='trap "" TERM INT HUP; cd /; while :; do sleep 61; done'
setsid sh -c "$deaf" "$0-one" &
setsid sh -c "setsid sh -c '$deaf' $0-two & setsid setsid sh -c '$deaf' $0-three & exit" &
(setsid sh -c "$deaf" "$0-four" &)
sleep 0.2
touch "$1"
"#;

#[cfg(target_os = "linux")]
fn nasty(end: &str) -> (Project, std::process::Child) {
    let project = Project::new();
    let script = format!("{NASTY}{end}");
    project.write("nasty.sh", &script);
    let name = project.root().display();
    let step = format!(
        "[stage.nasty]\nkind = \"command\"\nfiles = [\"nasty.sh\"]\noutputs = [\"x\"]\n\
         run = [\"sh\", \"-c\", \". ./nasty.sh\", \"{name}/deaf\", \"{{scratch}}/began\", \"{{out}}/x\"]\n"
    );
    project.write("p.toml", &step);
    let child = project.start(&["run", "p.toml"]);
    let scratch = project.path(".pipe/v1/scratch");
    let began = || {
        let keys = std::fs::read_dir(&scratch).into_iter().flatten().flatten();
        keys.into_iter().any(|key| key.path().join("began").exists())
    };
    assert!(wait_for(|| began() || project.path(".pipe/latest/p/nasty/x").exists()));
    (project, child)
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_outlives_a_killed_run_however_it_hides() {
    let (project, mut child) = nasty("while :; do sleep 62; done");
    let deaf = project.processes().iter().filter(|line| line.contains("/deaf-")).count();
    assert!(deaf >= 4, "{:?}", project.processes());
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    project.wait_until_quiet();
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_outlives_a_stopped_run_however_it_hides() {
    for asked in [Signal::SIGTERM, Signal::SIGHUP] {
        let (project, child) = nasty("while :; do sleep 62; done");
        signal(&child, asked);
        let shown = project.shown(&child.wait_with_output().unwrap());
        assert_eq!(shown.code, Some(130), "{shown}");
        project.wait_until_quiet();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_outlives_a_step_that_ends_or_whose_worker_is_killed() {
    for (end, code) in [("touch \"$2\"", 0), ("exit 1", 1), ("kill -KILL $PPID; sleep 62", 1)] {
        let (project, child) = nasty(end);
        let shown = project.shown(&child.wait_with_output().unwrap());
        assert_eq!(shown.code, Some(code), "{shown}");
        project.wait_until_quiet();
    }
}
