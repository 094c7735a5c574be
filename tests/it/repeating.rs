//! `pipe run --check`: results made a second time are compared byte for byte, and nothing is changed.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;

use crate::project::Project;

/// `list` sorts, `dice` never gives the same, `both` needs the two.
const CHANCE: &str = r#"
[stage.list]
kind = "command"
run = ["sh", "-c", "sort in/words > {out}/list.txt"]
files = ["in/words"]
outputs = ["list.txt"]

[stage.dice]
kind = "command"
run = ["sh", "-c", "echo it is $$ and $(date +%N) > {out}/dice.txt"]
outputs = ["dice.txt"]

[stage.both]
kind = "command"
run = ["sh", "-c", "cat {input.list}/list.txt {input.dice}/dice.txt > {out}/both.txt"]
inputs = { list = "list", dice = "dice" }
outputs = ["both.txt"]
"#;

fn project() -> Project {
    let project = Project::new();
    project.write("in/words", "pear\napple\n");
    project.write("p.toml", CHANCE);
    project
}

/// The names of the results in the store.
fn results(project: &Project) -> Vec<String> {
    let names = fs::read_dir(project.path(".pipe/v1/results")).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_comes_out_otherwise_is_told_and_the_store_stays_as_it_is() {
    let project = project();
    assert_eq!(project.pipe(&["run", "p.toml"]).code, Some(0));
    let (results_before, dice) = (results(&project), project.read(".pipe/latest/p/dice/dice.txt"));
    let checked = project.pipe(&["run", "p.toml", "--check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    let runs = project.pipe(&["runs", "--json"]);
    assert_eq!(runs.stdout.matches("\"failed\"").count(), 1, "{runs}");
    for line in [
        "list  the same bytes again",
        "dice  other bytes",
        "dice.txt: differs from byte ",
        "both  other bytes",
        "what it depends on came out otherwise",
    ] {
        assert!(checked.stderr.contains(line), "{line}\n{}", checked.stderr);
    }
    assert_eq!(results(&project), results_before);
    assert_eq!(project.read(".pipe/latest/p/dice/dice.txt"), dice);
    assert!(!project.path(".pipe/check/store").exists());
}

#[test]
fn a_step_alone_is_made_again_from_what_its_inputs_gave() {
    let project = project();
    let checked = project.pipe(&["run", "p.toml", "both", "--check", "--json"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let repeated: Vec<_> =
        checked.stdout.lines().filter(|line| line.contains("\"event\":\"repeated\"")).collect();
    assert_eq!(repeated, [r#"{"event":"repeated","step":"both","same":true,"differences":[]}"#]);
}

#[test]
fn a_step_that_fails_the_second_time_is_a_failure() {
    let project = Project::new();
    let script = "test ! -e once/done || exit 3; mkdir -p once; touch once/done; echo x > {out}/x";
    let step = format!(
        "[stage.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"{script}\"]\noutputs = [\"x\"]\n"
    );
    project.write("p.toml", &step);
    let checked = project.pipe(&["run", "p.toml", "--check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert!(!checked.stderr.contains("same bytes"), "{}", checked.stderr);
    assert_eq!(project.pipe(&["run", "p.toml"]).code, Some(0));
}
