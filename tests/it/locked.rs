//! The lock file: what it says, and what is held to it.

use std::fs;

use crate::project::Project;

/// A project that has run and whose lock file is written.
fn locked() -> Project {
    let project = Project::small();
    project.ran();
    let shown = project.pipe(&["lock", "p.toml"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "  p.toml.lock: 3 steps\n"));
    project
}

fn run(project: &Project) -> crate::project::Shown {
    project.pipe(&["run", "p.toml", "-j1", "--locked"])
}

#[test]
fn a_line_for_each_step_the_same_in_every_place() {
    let (project, other) = (locked(), locked());
    let text = project.read("p.toml.lock");
    assert_eq!(text, other.read("p.toml.lock"), "nothing of the machine or the time is in it");
    let steps: Vec<&str> =
        text.lines().skip(4).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(steps, ["count", "list", "other"]);
    assert!(text.contains("depends = { \"read.files.0\" = \""), "{text}");
    assert_eq!(project.pipe(&["lock", "p.toml"]).stdout, "  p.toml.lock: 3 steps, as before\n");
}

#[test]
fn only_what_is_fresh_can_be_locked() {
    let project = Project::small();
    insta::assert_snapshot!(project.pipe(&["lock", "p.toml"]), @r#"
    exit code 1
    pipe: 3 steps are not fresh, so there is nothing to lock
      list: never run
      count: never run
      other: never run
    `pipe run p.toml` makes them
    "#);
    assert!(!project.path("p.toml.lock").exists());
    insta::assert_snapshot!(run(&project), @r#"
    exit code 2
    there is no lock file p.toml.lock
     = help: `pipe lock p.toml` writes it
    "#);
}

#[test]
fn what_changed_is_told_at_its_line_and_nothing_runs() {
    let project = locked();
    project.write("in/a.txt", "quince\n");
    let changed = project.read("p.toml").replace("echo other", "echo another");
    project.write("p.toml", &changed);
    let mut shown = run(&project);
    assert_eq!(project.pipe(&["plan", "p.toml", "--locked"]).stderr, shown.stderr);
    // The lines of the lock file themselves are long.
    shown.stderr =
        shown.stderr.lines().filter(|line| !line.contains(" | ")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(shown, @r#"
    exit code 2
    p.toml.lock:6:1: step `list` is not as it was locked: read.files.0 changed: a.txt changed
      |
      = help: `pipe lock p.toml` writes it anew

    p.toml.lock:7:1: step `other` is not as it was locked: param.run.2: "echo other > {out}/other.txt" → "echo another > {out}/other.txt"
      |
      = help: `pipe lock p.toml` writes it anew
    "#);
    assert_eq!(project.read(".pipe/latest/p/other/other.txt"), "other\n");

    let mut ran = project.ran();
    ran.sort();
    assert_eq!(ran, ["count", "list", "other"]);
    assert_eq!(project.pipe(&["lock", "p.toml"]).stdout, "  p.toml.lock: 3 steps, 3 changed\n");
    assert_eq!(run(&project).code, Some(0));
}

#[test]
fn steps_that_came_went_or_were_wired_otherwise_are_told() {
    let project = locked();
    let text = project.read("p.toml");
    project.write("p.toml", &text.replace("[stage.other]", "[stage.another]"));
    let shown = run(&project);
    assert!(shown.stderr.contains("the lock file has no step `another`"), "{shown}");
    assert!(shown.stderr.contains("the pipeline has no step `other` any more"), "{shown}");
    project.write("p.toml", &text.replace("{ list = \"list\" }", "{ list = \"other\" }"));
    let shown = run(&project);
    let expected = "step `count` is not as it was locked: input.list changed";
    assert!(shown.stderr.contains(expected), "{shown}");
    project.write("p.toml", &text);
    assert_eq!(run(&project).code, Some(0));
}

#[test]
fn on_another_machine_the_same_results_are_made_or_none() {
    let project = locked();
    fs::remove_dir_all(project.path(".pipe")).unwrap();
    let shown = run(&project);
    assert_eq!(shown.code, Some(0), "made anew, and the same: {shown}");

    fs::remove_dir_all(project.path(".pipe")).unwrap();
    project.write("in/b.txt", "plum\n");
    let shown = run(&project);
    let expected = "step `list` is not as it was locked: read.files.0 changed";
    assert!(shown.code == Some(2) && shown.stderr.contains(expected), "{shown}");
}

#[test]
fn a_step_that_gives_something_else_every_time_fails() {
    let project = Project::small();
    let text = project.read("p.toml").replace("echo other", "date +%N");
    project.write("p.toml", &text);
    project.ran();
    assert_eq!(project.pipe(&["lock", "p.toml"]).code, Some(0));
    let shown = project.pipe(&["run", "p.toml", "other", "--locked", "--force"]);
    insta::assert_snapshot!(shown, @r#"
    exit code 1
        other  started
      ✗ other  failed
          its files are not those of the lock file

      1 failed in [TIME] s
    "#);
}
