//! `pipe watch`.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{Project, wait_for};

/// A command that watches, and what it says.
struct Watching {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Watching {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut child = project.start(&[&["watch", "p.toml"], arguments].concat());
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// Reads on until it waits, and returns the lines that contain one of `words`.
    fn until_it_waits(&mut self, words: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended after {found:?}");
            if line.contains("; Ctrl-C ends it") {
                return found;
            }
            if words.iter().any(|word| line.contains(word)) {
                found.push(line.trim().split("  ").next().unwrap().to_owned());
            }
        }
    }

    fn end(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
    }
}

const WORDS: [&str; 3] = ["✓", "changed", "p.toml:"];

#[test]
fn it_runs_again_when_data_or_file_change() {
    for arguments in [&["-j1"] as &[&str], &["-j1", "--poll", "1"]] {
        let project = Project::small();
        project.write("base.toml", &project.read("p.toml"));
        project.write("p.toml", "extends = \"base.toml\"\n");
        let mut watching = Watching::start(&project, arguments);
        let mut ran = watching.until_it_waits(&WORDS);
        ran.sort();
        assert_eq!(ran, ["✓ count", "✓ list", "✓ other"]);

        project.write("in/c.txt", "fig\n");
        let told = watching.until_it_waits(&WORDS);
        assert_eq!(told, ["pipe: in/c.txt changed", "✓ list", "✓ count"]);

        // A mistake is told, and mended; the file is replaced as editors do it.
        let text = project.read("base.toml");
        project.write("aside", "[stage.broken\n");
        fs::rename(project.path("aside"), project.path("base.toml")).unwrap();
        let told = watching.until_it_waits(&["base.toml"]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("pipe: base.toml") && told[1].starts_with("base.toml:1:"),
            "{told:?}"
        );
        project.write("base.toml", &text.replace("echo other", "echo another"));
        let told = watching.until_it_waits(&WORDS);
        assert_eq!(told, ["pipe: base.toml changed", "✓ other"]);

        // Waiting, it keeps nobody from cleaning up.
        let gc = project.pipe(&["store", "gc", "--keep-days", "0"]);
        assert_eq!(gc.code, Some(0), "{gc}");
        watching.end();
    }
}

#[test]
fn a_change_during_a_run_is_taken_up_after_it() {
    let project = Project::new();
    project.write("data", "1\n");
    project.write(
        "p.toml",
        r#"
[stage.slow]
kind = "command"
files = ["data"]
run = ["sh", "-c", "cat {files.0} > {out}/x; touch $PWD/began; while [ ! -e $PWD/go ]; do sleep 0.02; done"]
outputs = ["x"]

[stage.other]
kind = "command"
files = ["more"]
run = ["sh", "-c", "cat {files.0} > {out}/x"]
outputs = ["x"]
"#,
    );
    project.write("more", "1\n");
    let mut watching = Watching::start(&project, &[]);
    assert!(wait_for(
        || project.path("began").exists() && project.path(".pipe/latest/p/other").exists()
    ));
    project.write("more", "2\n");
    project.write("go", "");
    assert_eq!(watching.until_it_waits(&["✓ slow"]), ["✓ slow"]);
    let told = watching.until_it_waits(&WORDS);
    assert_eq!(told, ["pipe: more changed", "✓ other"]);
    assert_eq!(project.read(".pipe/latest/p/other/x"), "2\n");
    watching.end();
    project.wait_until_quiet();
}
