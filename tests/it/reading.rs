//! Commands that read pipeline files and run nothing: `check`, `graph`, `kinds`.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use tempfile::TempDir;

const RIGHT: &str = "\
[stage.numbers]
kind = \"command\"
run = [\"seq\", \"3\"]
outputs = [\"numbers.txt\"]

[stage.sum]
kind = \"command\"
run = [\"wc\", \"{input.numbers}\"]
inputs.numbers = \"numbers\"
outputs = [\"sum.txt\"]
";

fn files(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// Runs `pipe` and tells its exit code and all it wrote.
fn pipe(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipe"));
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    format!(
        "exit {}\n{}{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn check_tells_each_right_file() {
    let here = files(&[("a.toml", RIGHT), ("b.toml", "extends = \"a.toml\"\n")]);
    assert_snapshot!(pipe(here.path(), &["check", "a.toml", "b.toml"]), @r"
    exit 0
    a.toml: ok, 2 steps
    b.toml: ok, 2 steps
    ");
    assert_eq!(pipe(here.path(), &["check", "-q", "a.toml"]), "exit 0\n");
}

#[test]
fn check_tells_a_problem_that_files_share_once() {
    let wrong = RIGHT.replace("outputs = [\"sum.txt\"]", "output = [\"sum.txt\"]");
    let here =
        files(&[("a.toml", &wrong), ("b.toml", "extends = \"a.toml\"\n"), ("c.toml", RIGHT)]);
    assert_snapshot!(pipe(here.path(), &["check", "a.toml", "b.toml", "c.toml"]), @r#"
    exit 2
    c.toml: ok, 2 steps
    a.toml:10:1: unknown key `output`, did you mean `outputs`?
       |
    10 | output = ["sum.txt"]
       | ^^^^^^
       = help: keys of step `sum`: run, environment, files, outputs

    1 problem; 2 of 3 files cannot run
    "#);
}

#[test]
fn check_puts_settings_over_the_file() {
    let here = files(&[("a.toml", RIGHT)]);
    assert_snapshot!(pipe(here.path(), &["check", "a.toml", "--set", "stage.sum.inputs.numbers=nmubers"]), @r"
    exit 2
    --set:1:26: no step `nmubers`, did you mean `numbers`?
      |
    1 | stage.sum.inputs.numbers=nmubers
      |                          ^^^^^^^
      = help: steps: numbers, sum

    1 problem; 1 of 1 file cannot run
    ");
}

#[test]
fn check_looks_for_data_unless_told_not_to() {
    let text = format!("{RIGHT}files = [\"missing.txt\"]\n");
    let here = files(&[("a.toml", &text)]);
    assert!(pipe(here.path(), &["check", "a.toml"]).contains("no file or directory `missing.txt`"));
    assert!(pipe(here.path(), &["check", "--without-data", "a.toml"]).starts_with("exit 0\n"));
}

#[test]
fn graph_draws_in_three_languages() {
    let here = files(&[("a.toml", RIGHT)]);
    assert_snapshot!(pipe(here.path(), &["graph", "a.toml", "--format", "mermaid"]), @r#"
    exit 0
    flowchart TD
      s0["<b>numbers</b><br/>command"]
      s1["<b>sum</b><br/>command"]
      s0 -->|"numbers"| s1
    "#);
    let dot = pipe(here.path(), &["graph", "a.toml", "--format", "dot"]);
    assert!(dot.contains("\"numbers\" -> \"sum\""), "{dot}");
    let svg = pipe(here.path(), &["graph", "a.toml"]);
    assert!(svg.contains("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
}

#[test]
fn kinds_tells_one_or_all() {
    let here = files(&[]);
    let all = pipe(here.path(), &["kinds"]);
    assert!(all.contains("\ncommand "), "{all}");
    let one = pipe(here.path(), &["kinds", "command"]);
    assert!(one.contains("run = an array of strings") && one.contains("(required)"), "{one}");
    assert!(one.contains("files = an array of paths (default: [])"), "{one}");
    assert!(one.contains("\n  retry\n") && one.contains("\n  secrets\n"), "{one}");
    assert!(!pipe(here.path(), &["kinds", "stats"]).contains("  secrets\n"));
    let none = pipe(here.path(), &["kinds", "comand"]);
    assert!(
        none.starts_with("exit 2\npipe: unknown kind `comand`, did you mean `command`?"),
        "{none}"
    );
}
