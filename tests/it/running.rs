//! How steps are run: retries, timeouts, pools, priorities.

use crate::project::{Project, wait_for};

/// A project with one step, `flaky`, that fails until it has been tried so many times.
fn flaky(fails: u32, keys: &str) -> Project {
    let project = Project::new();
    let script = format!(
        "echo x >> {{scratch}}/tries; n=$(wc -l < {{scratch}}/tries); echo this is try $n; \
         [ $n -gt {fails} ] || exit 7; cp {{scratch}}/tries {{out}}/tries"
    );
    let step = format!(
        "[stage.flaky]\nkind = \"command\"\n{keys}\nrun = [\"sh\", \"-c\", {script:?}]\noutputs = [\"tries\"]\n"
    );
    project.write("p.toml", &step);
    project
}

#[test]
fn a_step_is_tried_again_and_goes_on_from_what_it_saved() {
    let project = flaky(2, "retry = { times = 3, delay = \"10ms\", factor = 1.5 }");
    insta::assert_snapshot!(project.pipe(&["run", "p.toml"]), @r#"
    exit code 0
        flaky  started
      ! flaky  failed [TIME] s  try 1 of 4, again in [TIME] s
          `sh` failed with exit status 7; its last output:
            this is try 1
        flaky  started, try 2, going on where it stopped
      ! flaky  failed [TIME] s  try 2 of 4, again in [TIME] s
          `sh` failed with exit status 7; its last output:
            this is try 2
        flaky  started, try 3, going on where it stopped
      ✓ flaky  ran [TIME] s  never run; try 3

      1 ran in [TIME] s
      2 tries failed and had another after
      result in .pipe/latest/p/flaky/
    "#);
    assert_eq!(project.read(".pipe/latest/p/flaky/tries"), "x\nx\nx\n");
    for (number, said) in [("1", "this is try 1"), ("2", "this is try 2")] {
        let log = project.pipe(&["log", "p.toml", "flaky", "--try", number]);
        assert!(log.stdout.contains(said), "{log}");
    }
    for last in [&["log", "p.toml", "flaky"][..], &["log", "p.toml", "flaky", "--try", "3"]] {
        let log = project.pipe(last);
        assert!(log.stdout.contains("this is try 3"), "{log}");
    }
    let none = project.pipe(&["log", "p.toml", "flaky", "--try", "4"]);
    assert!(none.code == Some(1) && none.stderr.contains("no log of try 4"), "{none}");
    // How a step is run is no part of its key.
    let other = project.read("p.toml").replace("times = 3", "times = 9");
    project.write("p.toml", &format!("{other}timeout = \"1h\"\npriority = 5\n"));
    assert!(project.ran().is_empty());
}

#[test]
fn tries_come_to_an_end() {
    let project = flaky(9, "retry = { times = 1, delay = \"0s\" }");
    insta::assert_snapshot!(project.pipe(&["run", "p.toml"]), @r#"
    exit code 1
        flaky  started
      ! flaky  failed [TIME] s  try 1 of 2, again at once
          `sh` failed with exit status 7; its last output:
            this is try 1
        flaky  started, try 2, going on where it stopped
      ✗ flaky  failed [TIME] s  try 2 of 2
          `sh` failed with exit status 7; its last output:
            this is try 2

      1 failed in [TIME] s
      1 try failed and had another after
      whole log: pipe log p.toml flaky
    "#);
    let events = project.pipe(&["run", "p.toml", "--json"]).stdout;
    let retrying = events.lines().filter(|line| line.contains("\"event\":\"retrying\""));
    assert_eq!(retrying.count(), 1, "{events}");
    assert!(events.contains("\"attempt\":1,\"attempts\":2,\"pause\":0.0"), "{events}");
    assert!(events.contains("\"retried\":1"), "{events}");
}

#[test]
fn ctrl_c_during_a_pause_stops_at_once() {
    let project = flaky(9, "retry = { times = 1, delay = \"1h\" }");
    let run = project.start(&["run", "p.toml"]);
    let logs = project.path(".pipe/v1/logs");
    assert!(wait_for(|| {
        let logs = std::fs::read_dir(&logs).into_iter().flatten().flatten();
        logs.into_iter().any(|log| log.file_name().to_string_lossy().ends_with(".1.log"))
    }));
    let id = nix::unistd::Pid::from_raw(i32::try_from(run.id()).expect("it fits"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("it runs");
    let shown = project.shown(&run.wait_with_output().expect("it ends"));
    assert_eq!(shown.code, Some(130), "{shown}");
    assert!(shown.stderr.contains("flaky  stopped"), "{shown}");
    project.wait_until_quiet();
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_all_it_started() {
    let project = Project::new();
    let step = "[stage.slow]\nkind = \"command\"\ntimeout = \"300ms\"\noutputs = [\"x\"]\n\
                run = [\"sh\", \"-c\", \"echo begins; sleep 61 & sleep 62; touch {out}/x\"]\n";
    project.write("p.toml", step);
    let shown = project.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    let said = "took longer than its timeout of 300ms and was ended";
    assert!(shown.stderr.contains(said) && shown.stderr.contains("INFO begins"), "{shown}");
    project.wait_until_quiet();
    // What it saved before is there for the next try.
    let saves = "[ -e {scratch}/x ] || { touch {scratch}/x; sleep 61; }";
    let saves = step.replace("echo begins; sleep 61 & sleep 62", saves);
    let again = saves.replace("timeout", "retry = { times = 1, delay = \"0s\" }\ntimeout");
    project.write("p.toml", &again);
    let shown = project.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stderr.contains("took longer than its timeout of 300ms"), "{shown}");
    assert!(shown.stderr.contains("going on where it stopped"), "{shown}");
}

/// Steps `s0`, `s1`, … that note when they begin and end.
fn marking(count: usize, keys: impl Fn(usize) -> String, rest: &str) -> Project {
    let project = Project::new();
    let root = project.root().display().to_string();
    let mut text = rest.to_owned();
    for step in 0..count {
        let script = format!(
            "echo + >> {root}/marks; sleep 0.05; echo - >> {root}/marks; echo s{step} > {{out}}/x"
        );
        let keys = keys(step);
        text.push_str(&format!(
            "[stage.s{step}]\nkind = \"command\"\n{keys}\nrun = [\"sh\", \"-c\", {script:?}]\noutputs = [\"x\"]\n"
        ));
    }
    project.write("p.toml", &text);
    project
}

/// The most steps that ran at once.
fn most_at_once(project: &Project) -> i32 {
    let marks = project.read("marks");
    let mut now = 0;
    let counts = marks.lines().map(|mark| {
        now += if mark == "+" { 1 } else { -1 };
        now
    });
    counts.max().unwrap_or(0)
}

#[test]
fn pools_limit_what_runs_at_once() {
    let license = |_| "resources = { license = 2, cpu = 0 }".to_owned();
    let project = marking(5, license, "[pools]\nlicense = 5\n");
    let shown = project.pipe(&["run", "p.toml", "-j4"]);
    assert_eq!((shown.code, most_at_once(&project)), (Some(0), 2), "{shown}");
    // From the command line as well; the others say nothing and take one processor each.
    let project = marking(4, |_| String::new(), "");
    let shown = project.pipe(&["run", "p.toml", "-j4", "--set", "pools.cpu=1"]);
    assert_eq!((shown.code, most_at_once(&project)), (Some(0), 1), "{shown}");
}

#[test]
fn what_this_machine_has_not_is_told_before_anything_runs() {
    let project = marking(1, |_| "resources = { gpu = 1000 }".to_owned(), "");
    let shown = project.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    let said = "p.toml:3:21: step `s0` wants 1000 of `gpu`, and this machine has ";
    assert!(shown.stderr.contains(said), "{shown}");
    assert!(shown.stderr.contains("`pools.gpu` says how much there is, if it is more"), "{shown}");
    assert_eq!(project.pipe(&["run", "p.toml", "--dry-run"]).code, Some(2));
    assert_eq!(project.pipe(&["check", "p.toml"]).code, Some(0));
    assert!(!project.path("marks").exists());
    assert_eq!(project.pipe(&["run", "p.toml", "--set", "pools.gpu=1000"]).code, Some(0));
}

#[test]
fn the_urgent_and_then_the_longest_path_go_first() {
    let urgent = |step| if step == 2 { "priority = 1".to_owned() } else { String::new() };
    let project = marking(3, urgent, "");
    assert_eq!(project.ran(), ["s2", "s0", "s1"]);
    // What took long before goes first the next time.
    let slow = project.read("p.toml").replace("priority = 1\n", "");
    let (before, after) = slow.split_once("[stage.s1]").expect("it is there");
    let slow = format!("{before}[stage.s1]{}", after.replacen("sleep 0.05", "sleep 0.4", 1));
    project.write("p.toml", &slow);
    assert_eq!(project.ran(), ["s1"]);
    project.write("p.toml", &slow.replace("echo s", "echo new s"));
    assert_eq!(project.ran(), ["s1", "s0", "s2"]);
}
