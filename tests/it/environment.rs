//! What a step takes from the machine: versions of tools, variables, secrets.

use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::project::{Project, Shown};

const TOOLS: &str = r#"
[stage.a]
kind = "command"
tools = ["sh version.sh", ["sh", "-c", "echo two words >&2"]]
run = ["sh", "-c", "echo a > {out}/a"]
outputs = ["a"]

[stage.b]
kind = "command"
tools = ["sh version.sh"]
run = ["sh", "-c", "echo b > {out}/b"]
outputs = ["b"]
"#;

#[test]
fn versions_of_tools_are_part_of_the_key() {
    let project = Project::new();
    project.write("p.toml", TOOLS);
    project.write("version.sh", "echo asked >> asked\necho tool 1.2\necho free\n");
    assert_eq!(project.ran(), ["a", "b"]);
    assert_eq!(project.read("asked"), "asked\n", "two steps use it, and it is asked once");
    assert_eq!(project.ran(), [""; 0]);
    project.write("version.sh", "echo tool 1.3\necho free\n");
    assert_snapshot!(project.pipe(&["why", "p.toml", "a"]), @r#"
    exit code 0
    a would run:
      tool.sh version.sh: tool 1.2 → tool 1.3
    compared with result [KEY] of [WHEN] [WHEN], made in [TIME] s
    "#);
    assert_snapshot!(project.pipe(&["plan", "p.toml"]), @r#"
    exit code 0
      run      a  tool.sh version.sh: tool 1.2 → tool 1.3
      run      b  tool.sh version.sh: tool 1.2 → tool 1.3

      2 steps: 2 would run
    "#);
    assert_eq!(project.ran(), ["a", "b"]);
}

#[test]
fn tools_that_do_not_answer_are_told_before_any_work() {
    let project = Project::new();
    let text = TOOLS.replace(
        "\"sh version.sh\", [",
        "\"no-such-tool --version\", \"sh -c false\", \"true\", [",
    );
    project.write("p.toml", &text);
    project.write("version.sh", "echo tool 1.2; echo bad >&2; exit 3");
    assert_snapshot!(project.pipe(&["run", "p.toml"]), @r#"
    exit code 2
    p.toml:4:10: there is no program `no-such-tool`
      |
    4 | tools = ["no-such-tool --version", "sh -c false", "true", ["sh", "-c", "echo two words >&2"]]
      |          ^^^^^^^^^^^^^^^^^^^^^^^^
      = help: `tools` asks it for its version; it is looked for in `PATH`

    p.toml:4:36: `sh -c false` failed: exit status: 1
      |
    4 | tools = ["no-such-tool --version", "sh -c false", "true", ["sh", "-c", "echo two words >&2"]]
      |                                    ^^^^^^^^^^^^^
      = help: `tools` asks programs for their versions

    p.toml:4:51: `true` said nothing
      |
    4 | tools = ["no-such-tool --version", "sh -c false", "true", ["sh", "-c", "echo two words >&2"]]
      |                                                   ^^^^^^
      = help: what it says is part of the key

    p.toml:10:10: `sh version.sh` failed: exit status: 3
       |
    10 | tools = ["sh version.sh"]
       |          ^^^^^^^^^^^^^^^
       = help: it said: bad
    "#);
    assert!(!project.path(".pipe/latest").exists(), "something ran");
    // Of a step that is not asked for no tool is asked.
    assert_eq!(project.pipe(&["check", "p.toml"]).code, Some(0));
}

#[test]
fn inherited_variables_are_passed_on_and_part_of_the_key() {
    let project = Project::new();
    let text = "[stage.a]\nkind = \"command\"\ninherit = [\"PIPE_TEST_A\", \"PIPE_TEST_B\"]\noutputs = [\"a\"]\n\
                run = [\"sh\", \"-c\", \"echo $PIPE_TEST_A-${PIPE_TEST_B-unset} > {out}/a\"]\n";
    project.write("p.toml", text);
    let run = |value: &str| {
        let output = project.command(&["run", "p.toml"]).env("PIPE_TEST_A", value).output();
        let shown = project.shown(&output.expect("pipe starts"));
        assert_eq!(shown.code, Some(0), "{shown}");
        shown
    };
    run("{out} 'x'");
    assert_eq!(project.read(".pipe/latest/p/a/a"), "{out} 'x'-unset\n");
    let output = project.command(&["why", "p.toml", "a"]).env("PIPE_TEST_B", "").output();
    assert_snapshot!(project.shown(&output.expect("pipe starts")), @r#"
    exit code 0
    a would run:
      environment.PIPE_TEST_A: "{out} 'x'" → null
      environment.PIPE_TEST_B: null → ""
    compared with result [KEY] of [WHEN] [WHEN], made in [TIME] s
    "#);
    assert!(run("{out} 'x'").stderr.contains("up to date"));
}

const SECRET: &str = "hunter2{out}{ x }{input.x.*}{{y}}hunter2";

fn with_secret(project: &Project, secret: &str, arguments: &[&str]) -> Shown {
    let output = project.command(arguments).env("PIPE_TEST_SECRET", secret).output();
    project.shown(&output.expect("pipe starts"))
}

#[test]
fn secrets_reach_the_program_and_nothing_else() {
    let project = Project::new();
    let script = "printf %s \"$PIPE_TEST_SECRET\" | wc -c > {out}/length; echo out $PIPE_TEST_SECRET; \
                  echo err $PIPE_TEST_SECRET >&2; $FAIL";
    let text = format!(
        "[stage.good]\nkind = \"command\"\nsecrets = [\"PIPE_TEST_SECRET\"]\noutputs = [\"length\"]\n\
         run = [\"sh\", \"-c\", '{script}']\n\
         [stage.bad]\nkind = \"command\"\nsecrets = [\"PIPE_TEST_SECRET\"]\noutputs = [\"length\"]\n\
         environment.FAIL = \"exit 3\"\nrun = [\"sh\", \"-c\", '{script}']\n"
    );
    project.write("p.toml", &text);
    let shown = with_secret(&project, SECRET, &["run", "p.toml", "-k", "-j1", "--json"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    assert_eq!(project.read(".pipe/latest/p/good/length").trim(), SECRET.len().to_string());
    assert!(shown.stdout.contains("err ***"), "{shown}");
    let log = with_secret(&project, SECRET, &["log", "p.toml", "good"]).stdout;
    assert!(log.contains("out ***") && log.contains("err ***"), "{log}");
    let terminal = with_secret(&project, SECRET, &["run", "p.toml", "-v"]).to_string();
    for told in [&shown.stdout, &shown.stderr, &log, &terminal] {
        assert!(!told.contains("hunter2"), "{told}");
    }
    let files = files(project.root());
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"), "{} has it", file.display());
    }
    // Another secret is no other result.
    let again = with_secret(&project, "another", &["run", "p.toml", "good"]);
    assert!(again.stderr.contains("up to date"), "{again}");
}

#[test]
fn a_secret_that_is_not_set_is_told_at_once() {
    let project = Project::new();
    let text = "[stage.a]\nkind = \"command\"\nsecrets = [\"PIPE_TEST_SECRET\"]\nrun = [\"true\"]\noutputs = [\"a\"]\n";
    project.write("p.toml", text);
    assert_snapshot!(project.pipe(&["run", "p.toml"]), @r#"
    exit code 1
      ! the secret `PIPE_TEST_SECRET` is not set: steps that need it will fail
        a  started
      ✗ a  failed [TIME] s
          the secret `PIPE_TEST_SECRET` is not set; set the environment variable for the run

      1 failed in [TIME] s
      whole log: pipe log p.toml a
    "#);
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // A link leads to what is found anyway.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}
