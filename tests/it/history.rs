//! The history of runs, and what differs between them.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::project::{Project, wait_for};

/// Lines of JSON.
fn lines(project: &Project, arguments: &[&str]) -> Vec<Value> {
    let shown = project.pipe(arguments);
    assert_eq!(shown.code, Some(0), "{shown}");
    shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of each run its number, outcome and counts of steps, the latest first.
fn runs(project: &Project) -> Vec<String> {
    let runs = lines(project, &["runs", "--json", "--last", "1000"]);
    let told = runs
        .iter()
        .map(|run| format!("{} {} {}", run["run"], run["outcome"].as_str().unwrap(), run["steps"]));
    told.collect()
}

/// A step that runs until it is killed.
const SLOW: &str = r#"
[stage.slow]
kind = "command"
run = ["sh", "-c", "touch {scratch}/began; sleep 60; echo > {out}/x"]
outputs = ["x"]

[stage.after]
kind = "command"
inputs = { slow = "slow" }
run = ["sh", "-c", "echo > {out}/x"]
outputs = ["x"]
"#;

fn began(project: &Project) -> bool {
    let keys = fs::read_dir(project.path(".pipe/v1/scratch")).into_iter().flatten().flatten();
    keys.into_iter().any(|key| key.path().join("began").exists())
}

#[test]
fn every_run_is_remembered_with_how_it_ended() {
    let project = Project::small();
    project.ran();
    project.ran();
    let broken = project.read("p.toml").replace("echo other >", "exit 3; echo >");
    project.write("p.toml", &broken);
    assert_eq!(project.pipe(&["run", "p.toml", "-k"]).code, Some(1));
    let expected = [
        "3 failed {\"failed\":1,\"fresh\":2}",
        "2 succeeded {\"fresh\":3}",
        "1 succeeded {\"ran\":3}",
    ];
    assert_eq!(runs(&project), expected);
    assert_eq!(runs(&project), expected, "looking changes nothing");

    let listed = project.pipe(&["runs", "--last", "1"]).stdout;
    let line: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..3], ["3", "[WHEN]", "[WHEN]"], "{listed}");
    assert!(listed.contains("failed   1 failed, 2 fresh  pipe run p.toml -k"), "{listed}");

    let one = project.pipe(&["runs", "3"]).stdout;
    let other = one.lines().find(|line| line.trim_start().starts_with("other")).unwrap();
    let words: Vec<&str> = other.split_whitespace().collect();
    assert_eq!(words[..3], ["other", "failed", "[KEY]"], "{one}");
    assert!(other.contains("exited with code 3") || other.contains("exit"), "{one}");
    let steps = lines(&project, &["runs", "1", "--json"]);
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[0]["command"], serde_json::json!(["pipe", "run", "p.toml", "-j1", "--json"]));
    assert_eq!((&steps[1]["step"], &steps[1]["why"][0]), (&"list".into(), &"never run".into()));

    let unknown = project.pipe(&["runs", "9"]);
    assert_eq!(unknown.code, Some(2));
    assert_eq!(unknown.stderr, "pipe: run 9 is not remembered; there are runs 1 to 3\n");
    assert_eq!(project.pipe(&["runs", "--pipeline", "q"]).code, Some(1));
    assert_eq!(lines(&project, &["runs", "--pipeline", "p", "--json"]).len(), 3);
}

#[test]
fn a_killed_run_was_interrupted_and_one_that_goes_on_runs() {
    let project = Project::new();
    project.write("p.toml", SLOW);
    let mut child = project.start(&["run", "p.toml"]);
    assert!(wait_for(|| began(&project)));
    assert_eq!(runs(&project), ["1 running {\"running\":1,\"waiting\":1}"]);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    project.wait_until_quiet();
    assert_eq!(runs(&project), ["1 interrupted {\"interrupted\":1,\"waiting\":1}"]);
    assert_eq!(fs::read_dir(project.path(".pipe/history/new")).unwrap().count(), 0);

    let child = project.start(&["run", "p.toml", "slow"]);
    assert!(wait_for(|| runs(&project)[0].contains("{\"running\":1}")));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    child.wait_with_output().unwrap();
    assert_eq!(runs(&project)[0], "2 stopped {\"stopped\":1}");
}

#[test]
fn a_journal_cut_short_is_read_as_far_as_it_goes() {
    let project = Project::small();
    project.ran();
    let journals = fs::read_dir(project.path(".pipe/history/new")).unwrap();
    let journal = journals.flatten().next().unwrap().path();
    let text = fs::read_to_string(&journal).unwrap();
    let end = text.trim_end().rfind('\n').unwrap();
    fs::write(&journal, &text[..end - 7]).unwrap();
    // The last of the steps is cut, so it is not known to have ended.
    assert_eq!(runs(&project), ["1 interrupted {\"interrupted\":1,\"ran\":2}"]);
    fs::write(project.path(".pipe/history/new/9.jsonl"), "nothing of ours\n").unwrap();
    assert_eq!(runs(&project).len(), 1, "it is removed");
    assert!(!project.path(".pipe/history/new/9.jsonl").exists());
}

#[test]
fn runs_at_once_have_a_number_each() {
    let project = Project::small();
    let children: Vec<_> = (0..6).map(|_| project.start(&["run", "p.toml"])).collect();
    let looks: Vec<_> = (0..3).map(|_| project.start(&["runs", "--json"])).collect();
    for child in children.into_iter().chain(looks) {
        let shown = project.shown(&child.wait_with_output().unwrap());
        // There may be no store and no run yet.
        assert!(shown.code == Some(0) || shown.stderr.contains("there is no store"), "{shown}");
    }
    let told = runs(&project);
    assert_eq!(told.len(), 6);
    for (at, run) in told.iter().enumerate() {
        assert!(run.starts_with(&format!("{} succeeded", 6 - at)), "{told:?}");
    }
}

#[test]
fn a_history_that_cannot_be_written_ends_no_run() {
    let project = Project::small();
    project.write(".pipe/history", "in the way");
    let shown = project.pipe(&["run", "p.toml", "-j1"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(
        shown.stderr.contains("! this run will not be in the history: cannot write"),
        "{shown}"
    );
    let shown = project.pipe(&["runs"]);
    assert!(shown.code == Some(1) && shown.stderr.contains("cannot read the history"), "{shown}");

    fs::remove_file(project.path(".pipe/history")).unwrap();
    project.ran();
    project.write(".pipe/history/history.sqlite", "not a database, and longer than its head is");
    let shown = project.pipe(&["runs"]);
    assert!(shown.code == Some(1) && shown.stderr.contains("not a database"), "{shown}");
    project.ran();
    assert_eq!(project.pipe(&["store", "gc"]).code, Some(0));
}

#[test]
fn nothing_of_the_environment_is_kept() {
    let project = Project::small();
    let mut command = project.command(&[
        "run",
        "p.toml",
        "--set=stage.other.run=['sh','-c','echo x > {out}/other.txt']",
    ]);
    command.env("MY_TOKEN", "hunter2-in-the-environment");
    assert!(command.output().unwrap().status.success());
    assert_eq!(runs(&project).len(), 1);
    let bytes = fs::read(project.path(".pipe/history/history.sqlite")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("hunter2") && text.contains("--set=stage.other.run"));
}

#[test]
fn only_as_many_runs_are_kept_as_wanted() {
    let project = Project::small();
    for _ in 0..4 {
        project.ran();
    }
    let kept = project.pipe(&["runs", "--keep", "2"]).stdout;
    assert_eq!(kept, "  2 runs removed; the latest 2 runs are kept\n");
    project.ran();
    assert_eq!(runs(&project), ["5 succeeded {\"fresh\":3}", "4 succeeded {\"fresh\":3}"]);
}

#[test]
fn diff_names_what_changed_between_two_runs() {
    let project = Project::small();
    project.ran();
    project.write("in/a.txt", "grape\n");
    let changed = project.read("p.toml").replace("echo other", "echo another");
    project.write("p.toml", &changed);
    project.ran();
    let shown = project.pipe(&["diff", "1", "2"]);
    assert_eq!(project.pipe(&["diff", "2"]).stdout, shown.stdout);
    insta::assert_snapshot!(shown, @r#"
    exit code 0
    - run 1   [WHEN] [WHEN]  pipe run p.toml -j1 --json
    + run 2   [WHEN] [WHEN]  pipe run p.toml -j1 --json

      list
        read.files.0  changed: a.txt changed
      count: the same files
        input.list  changed: list.txt changed
      other
        param.run.2  "echo other > {out}/other.txt" → "echo another > {out}/other.txt"
    "#);
    let json = lines(&project, &["diff", "1", "2", "--json"]);
    assert_eq!(json.len(), 3);
    let list = json.iter().find(|line| line["step"] == "list").unwrap();
    let files = serde_json::json!([{ "path": "a.txt", "change": "content" }]);
    assert_eq!((&list["depends"][0]["files"], &list["same-files"]), (&files, &false.into()));
    let same = project.pipe(&["diff", "2", "2"]).stdout;
    assert!(same.ends_with("  nothing differs: 3 steps\n"), "{same}");

    // What the store has forgotten is still told, but for the names of files.
    assert_eq!(project.pipe(&["store", "gc", "--keep-days", "0"]).code, Some(0));
    let shown = project.pipe(&["diff", "1", "2"]).stdout;
    assert!(
        shown.contains("echo other > {out}") && shown.contains("read.files.0  changed"),
        "{shown}"
    );
}

#[test]
fn diff_compares_a_run_with_now() {
    let project = Project::small();
    project.ran();
    let text = project.read("p.toml");
    project.write(
        "p.toml",
        &text.replace("sort >", "sort -r >").replace("[stage.other]", "[stage.new]"),
    );
    insta::assert_snapshot!(project.pipe(&["diff", "p.toml"]), @r#"
    exit code 0
    - run 1   [WHEN] [WHEN]  pipe run p.toml -j1 --json
    + now     p.toml

      list: would run
        param.run.2  "cat {files.0}/* | sort > {out}/list.txt; echo sorted" → "cat {files.0}/* | sort -r > {out}/list.txt; echo sorted"
      count: may run
      new: new
      other: gone
    "#);
    project.write("p.toml", &text);
    let shown = project.pipe(&["diff", "p.toml"]);
    assert!(shown.stdout.contains("nothing differs: 3 steps"), "{shown}");
    let first = project.pipe(&["diff", "1"]);
    assert_eq!(first.stderr, "pipe: run 1 is the first of `p` that is remembered\n");
}

#[test]
fn metrics_of_every_run_lie_side_by_side() {
    let project = Project::new();
    let pixels = "0".repeat(48);
    project.write("faces/a/1.ppm", &format!("P6 4 4 255\n{pixels}"));
    project.write("faces/a/broken.ppm", "P6 4");
    project.write(
        "p.toml",
        "[stage.images]\nkind = \"preprocess\"\nimages = \"faces\"\nsize = 4\non-error = \"skip\"\n",
    );
    project.ran();
    project.write("faces/a/broken-too.ppm", "P6");
    project.ran();
    project.ran();
    let rows = lines(&project, &["metrics", "p.toml", "--all", "--json"]);
    let told: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", row["run"], row["measures"]["skipped-images"]))
        .collect();
    assert_eq!(told, ["2 2.0", "1 1.0"], "each result once");
    let sorted =
        project.pipe(&["metrics", "p.toml", "images", "--all", "--sort", "skipped-images"]);
    insta::assert_snapshot!(sorted, @r#"
    exit code 0
       run  started              step    skipped-images
         2  [WHEN] [WHEN]  images               2
         1  [WHEN] [WHEN]  images               1
    "#);
    let csv = project.pipe(&["metrics", "p.toml", "--all", "--csv"]).stdout;
    assert!(csv.starts_with("step,key,run,started,skipped-images\n"), "{csv}");
}
