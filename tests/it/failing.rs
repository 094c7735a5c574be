//! Steps that fail.

use crate::project::{Project, wait_for};

fn project(script: &str) -> Project {
    let project = Project::new();
    project.write(
        "p.toml",
        &format!(
            r#"
[stage.bad]
kind = "command"
run = ["sh", "-c", {script:?}]
outputs = ["x"]

[stage.after]
kind = "command"
inputs = {{ x = "bad" }}
run = ["sh", "-c", "cp {{input.x}}/x {{out}}/y"]
outputs = ["y"]

[stage.apart]
kind = "command"
run = ["sh", "-c", "echo z > {{out}}/z"]
outputs = ["z"]
"#
        ),
    );
    project
}

#[test]
fn a_failure_is_told_and_skips_what_needs_it() {
    let project = project("echo about to fail; exit 3");
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "-j1"]), @r#"
    exit code 1
        bad    started
      ✗ bad    failed [TIME] s
          `sh` failed with exit status 3; its last output:
            about to fail
      - after  skipped  because bad failed
      - apart  skipped  because bad failed

      1 failed, 2 skipped in [TIME] s
      whole log: pipe log p.toml bad
    "#);
    let log = project.pipe(&["log", "p.toml", "bad"]).stdout;
    assert!(log.contains("about to fail"), "{log}");
}

#[test]
fn keep_going_runs_what_does_not_need_it() {
    let project = project("exit 3");
    let shown = project.pipe(&["run", "p.toml", "-j1", "--keep-going", "--json"]);
    assert_eq!(shown.code, Some(1));
    let words =
        ["\"event\":\"failed\",\"step\":\"bad\"", "\"event\":\"skipped\",\"step\":\"after\""];
    assert!(words.iter().all(|word| shown.stdout.contains(word)), "{shown}");
    assert!(shown.stdout.contains("\"event\":\"ran\",\"step\":\"apart\""), "{shown}");
}

#[test]
fn a_killed_worker_is_one_failed_step_and_leaves_nothing() {
    let project = project("echo last words; sleep 0.1; kill -KILL $PPID; sleep 60; echo {out}");
    let shown = project.pipe(&["run", "p.toml", "-j1", "--keep-going"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("its process was killed by SIGKILL"), "{shown}");
    assert!(shown.stderr.contains("last words"), "{shown}");
    assert_eq!(project.read(".pipe/latest/p/apart/z"), "z\n");
    project.wait_until_quiet();
}

#[test]
fn lines_that_fit_into_no_log_are_told_and_stop_no_worker() {
    let project = Project::new();
    // Written to a file, a line beyond the limit is refused as by a full disk.
    let loud = "seq 1 3000 >&2; echo {out} > {out}/x";
    project.write(
        "p.toml",
        &format!("[stage.loud]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"{loud}\"]\noutputs = [\"x\"]\n"),
    );
    let pipe = project.command(&["run", "p.toml"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
    limited.arg(pipe.get_program()).args(pipe.get_args());
    limited.current_dir(project.root());
    let shown = project.shown(&limited.output().unwrap());
    let told = "! loud: a part of a log could not be written: File too large";
    assert!(shown.stderr.contains(told), "{shown}");
    // The log itself is what cannot be stored in the end.
    assert!(shown.stderr.contains("cannot write [ROOT]/.pipe/v1/tmp/"), "{shown}");
    let log = project.pipe(&["log", "p.toml", "loud"]).stdout;
    assert!(log.contains(" INFO 1 ") && !log.contains(" INFO 3000 "), "{log}");
}

#[test]
fn data_that_changes_while_a_step_runs_is_an_error() {
    let project = Project::small();
    let slow = project.read("p.toml").replace("; echo sorted", "; touch {scratch}/s; sleep 0.6");
    project.write("p.toml", &slow);
    let run = project.start(&["run", "p.toml", "list"]);
    let scratch = project.path(".pipe/v1/scratch");
    let is_running = || {
        let keys = std::fs::read_dir(&scratch).into_iter().flatten().flatten();
        keys.into_iter().any(|key| key.path().join("s").exists())
    };
    assert!(wait_for(is_running));
    project.write("in/a.txt", "changed meanwhile\n");
    let shown = project.shown(&run.wait_with_output().unwrap());
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("in/a.txt changed while the step ran"), "{shown}");
    assert!(!project.path(".pipe/latest/p/list").exists());
    assert_eq!(std::fs::read_dir(project.path(".pipe/v1/results")).unwrap().count(), 0);
    assert!(!is_running(), "what was saved must not be taken up again");
}

#[test]
fn a_gpu_that_is_not_there_or_a_step_that_is_not_there_is_bad_usage() {
    let project = Project::small();
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "lst"]), @r#"
    exit code 2
    no step `lst` in p.toml, did you mean `list`?
     = help: steps: list, count, other
    "#);
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "--device", "gpu"]), @r#"
    exit code 2
    error: invalid value 'gpu' for '--device <DEVICE>': no device `gpu`: use auto, cpu, cuda or cuda:N

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(project.pipe(&["run", "missing.toml"]), @r#"
    exit code 2
    there is no file missing.toml
     = help: looked for [ROOT]/missing.toml
    "#);
}
