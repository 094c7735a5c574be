//! A project in a temporary directory, and the command run in it.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A temporary directory with a pipeline and its data.
pub(crate) struct Project {
    directory: tempfile::TempDir,
}

/// What a command showed, with what varies from run to run taken out.
pub(crate) struct Shown {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// Makes an empty project.
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// Makes a project with `p.toml` in it and two files in `in/`: `list` sorts them, `count` counts
    /// what `list` made, and `other` depends on nothing.
    pub(crate) fn small() -> Self {
        let project = Self::new();
        project.write("in/a.txt", "pear\n");
        project.write("in/b.txt", "apple\n");
        project.write("p.toml", SMALL);
        project
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Where a file of it is.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Prepares the command.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipe"));
        command
            .args(arguments)
            .current_dir(self.root())
            .env_remove("PIPE_LOG")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn pipe(&self, arguments: &[&str]) -> Shown {
        self.shown(&self.command(arguments).output().unwrap())
    }

    /// Starts the command, its output kept.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Turns the output of a command into what a test compares.
    pub(crate) fn shown(&self, output: &Output) -> Shown {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let root = self.root().canonicalize().unwrap();
            normalise(&text.replace(&root.display().to_string(), "[ROOT]"))
        };
        Shown {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs `p.toml`, one step at a time, and returns the steps that ran.
    pub(crate) fn ran(&self) -> Vec<String> {
        let shown = self.pipe(&["run", "p.toml", "-j1", "--json"]);
        assert_eq!(shown.code, Some(0), "{}{}", shown.stdout, shown.stderr);
        let events = shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        let ran = events.filter(|event: &serde_json::Value| event["event"] == "ran");
        ran.map(|event| event["step"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the command lines of processes that have to do with this project.
    pub(crate) fn processes(&self) -> Vec<String> {
        let root = self.root().to_str().unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(bytes) = fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
            let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|at| at == self.root());
            let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
            if is_process && !line.is_empty() && (here || line.contains(root)) {
                found.push(line);
            }
        }
        found
    }

    /// Waits until nothing of this project runs any more.
    pub(crate) fn wait_until_quiet(&self) {
        let quiet = wait_for(|| self.processes().is_empty());
        assert!(quiet, "left behind: {:?}", self.processes());
    }
}

/// Waits for something to become true, ten seconds at most.
pub(crate) fn wait_for(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        write!(f, "exit code {code}\n{}{}", self.stdout, self.stderr)
    }
}

/// Replaces times, dates and keys by words.
fn normalise(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for index in 0..words.len() {
            let is_number = words[index].parse::<f64>().is_ok();
            let unit = words.get(index + 1).map(|word| word.trim_end_matches(','));
            if is_number && unit == Some("s") {
                words[index] = "[TIME]".to_owned();
            }
            let word = words[index].trim_end_matches(',');
            let shape: String =
                word.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            if shape == "9999-99-99" || shape == "99:99:99" {
                words[index] = words[index].replace(word, "[WHEN]");
                continue;
            }
            let is_hex = word.chars().all(|c| c.is_ascii_hexdigit());
            if is_hex && (word.len() == 12 || word.len() == 64) {
                words[index] = words[index].replace(word, "[KEY]");
            }
        }
        lines.push(words.join(" ").trim_end().to_owned());
    }
    lines.join("\n") + if text.is_empty() { "" } else { "\n" }
}

const SMALL: &str = r#"
[stage.list]
kind = "command"
files = ["in"]
run = ["sh", "-c", "cat {files.0}/* | sort > {out}/list.txt; echo sorted"]
outputs = ["list.txt"]

[stage.count]
kind = "command"
inputs = { list = "list" }
run = ["sh", "-c", "wc -l < {input.list}/list.txt > {out}/count.txt"]
outputs = ["count.txt"]

[stage.other]
kind = "command"
run = ["sh", "-c", "echo other > {out}/other.txt"]
outputs = ["other.txt"]
"#;
