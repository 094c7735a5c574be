//! The commands that only look.

use crate::project::Project;

#[test]
fn plan_tells_what_would_run() {
    let project = Project::small();
    insta::assert_snapshot!(project.pipe(&["plan", "p.toml"]), @r#"
    exit code 0
      run      list   never run
      run      count  never run
      run      other  never run

      3 steps: 3 would run
    "#);
    project.ran();
    project.write("in/b.txt", "cherry\n");
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "--dry-run"]), @r#"
    exit code 0
      run      list   read.files.0 changed: b.txt changed
      may run  count  depends on list
      fresh    other

      3 steps: 1 would run, 1 may run, 1 fresh
    "#);
    insta::assert_snapshot!(project.pipe(&["why", "p.toml", "count"]), @r#"
    exit code 0
    count runs if one of these makes other files:
      list would run:
        read.files.0 changed
          b.txt changed
    "#);
}

#[test]
fn show_tells_everything_about_a_result() {
    let project = Project::small();
    project.ran();
    let shown = project.pipe(&["show", "p.toml", "count"]).stdout;
    let expected = ["state      fresh", "because    never run", "input.list = ", "count.txt"];
    assert!(expected.iter().all(|part| shown.contains(part)), "{shown}");
    let all = project.pipe(&["show", "p.toml"]).stdout;
    assert_eq!(all.lines().filter(|line| line.contains("fresh")).count(), 3, "{all}");
}

#[test]
fn metrics_say_when_there_are_none() {
    let project = Project::small();
    insta::assert_snapshot!(project.pipe(&["metrics", "p.toml", "--sort", "accuracy"]), @r#"
    exit code 1
    pipe: no result of these steps has measures
    "#);
    insta::assert_snapshot!(project.pipe(&["metrics", "p.toml", "--json"]), @"exit code 0");
    insta::assert_snapshot!(project.pipe(&["metrics", "p.toml", "cuont"]).code.unwrap(), @"2");
}

#[test]
fn log_gives_what_the_step_said() {
    let project = Project::small();
    let never = project.pipe(&["log", "p.toml", "list"]);
    assert_eq!((never.code, never.stderr.contains("has never run")), (Some(1), true), "{never}");
    project.ran();
    let log = project.pipe(&["log", "p.toml", "list"]);
    assert!(log.stdout.contains("sorted"), "{log}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let project = Project::small();
    let mut child = project.start(&["plan", "p.toml"]);
    drop(child.stdout.take());
    let shown = project.shown(&child.wait_with_output().unwrap());
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_store_is_looked_after() {
    let project = Project::small();
    project.ran();
    project.write("in/a.txt", "grape\n");
    project.ran();
    let gc = project.pipe(&["store", "gc", "--keep-days", "0"]);
    assert!(gc.stdout.contains("removed; 3 results kept"), "{gc}");
    assert_eq!(project.ran(), [""; 0]);
    assert!(project.pipe(&["store", "size"]).stdout.contains("3 results"));
    let verified = project.pipe(&["store", "verify"]);
    assert!(verified.stdout.contains("are what was stored"), "{verified}");
}

#[test]
fn two_pipelines_of_one_name_are_told() {
    let project = Project::small();
    let text = project.read("p.toml");
    project.write("more/p.toml", &text);
    let notice = "p.toml is called `p`, too";
    for (file, told) in
        [("p.toml", false), ("more/p.toml", true), ("more/p.toml", false), ("p.toml", true)]
    {
        let shown = project.pipe(&["run", file]);
        assert_eq!(shown.code, Some(0), "{shown}");
        assert_eq!(shown.stderr.contains(notice), told, "{file}: {shown}");
    }
}

#[test]
fn events_that_cannot_be_written_are_an_error() {
    let project = Project::small();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = project.command(&["run", "p.toml", "--json"]);
    let shown = project.shown(&command.stdout(full).output().unwrap());
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("cannot write the events: No space left"), "{shown}");
    assert!(project.ran().is_empty());
}
