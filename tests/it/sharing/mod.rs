//! Results shared between machines: `push`, `pull`, and a run that looks into a remote.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod cleaning;
mod elsewhere;
mod faults;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::crash::content;
use crate::project::{Project, Shown};

/// A project, another of the same pipeline that has made nothing, and a directory that is their remote.
struct Machines {
    here: Project,
    there: Project,
    remote: tempfile::TempDir,
}

impl Machines {
    fn new() -> Self {
        let remote = tempfile::tempdir().unwrap();
        let machines = Self { here: Project::small(), there: Project::small(), remote };
        for project in [&machines.here, &machines.there] {
            let table = format!("[remote]\nurl = \"{}\"\n", machines.url());
            project.write("p.toml", &(table + &project.read("p.toml")));
        }
        machines
    }

    fn url(&self) -> String {
        format!("file://{}", self.remote.path().join("shared").display())
    }

    /// Runs the command in a project, hides where the remote is, and sorts what comes in any order.
    fn pipe(&self, project: &Project, arguments: &[&str]) -> Shown {
        let shown = project.pipe(arguments);
        let text = shown.stderr.replace(&self.url(), "[REMOTE]");
        let (steps, end) = text.split_once("\n\n").unwrap_or((&text, ""));
        // A message stays with the step above it.
        let joined = steps.replace("\n      ", "\r      ");
        let mut lines: Vec<&str> = joined.lines().collect();
        lines.sort_by_key(|line| line.chars().skip(4).collect::<String>());
        let stderr = format!("{}\n\n{end}", lines.join("\n")).replace('\r', "\n");
        Shown { stderr, ..shown }
    }

    /// Makes everything here and sends it.
    fn pushed() -> Self {
        let machines = Self::new();
        machines.here.ran();
        let shown = machines.here.pipe(&["push", "p.toml"]);
        assert_eq!(shown.code, Some(0), "{shown}");
        machines
    }

    /// The files of the remote whose path holds this.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let all = walk(&self.remote.path().join("shared"));
        all.into_iter().filter(|path| path.to_string_lossy().contains(part)).collect()
    }

    /// The object of the remote that holds these bytes.
    fn object(&self, bytes: &str) -> PathBuf {
        let mut objects = self.files("/objects/").into_iter();
        objects.find(|path| fs::read(path).unwrap() == bytes.as_bytes()).unwrap()
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn events(shown: &Shown) -> Vec<Value> {
    shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The steps that an event of this name is of.
fn steps(shown: &Shown, name: &str) -> Vec<String> {
    let events = events(shown);
    let of = events.iter().filter(|event| event["event"] == name);
    let mut steps: Vec<_> = of.map(|event| event["step"].as_str().unwrap().to_owned()).collect();
    steps.sort();
    steps
}

#[test]
fn what_one_machine_made_another_finds_fresh() {
    let machines = Machines::new();
    machines.here.ran();
    insta::assert_snapshot!(machines.pipe(&machines.here, &["push", "p.toml"]), @r#"
    exit code 0
      ↑ count  sent [TIME] s  96 B
      ↑ list   sent [TIME] s  221 B
      ↑ other  sent [TIME] s  6 B

      3 sent; 323 B in [TIME] s, [REMOTE]
    "#);
    insta::assert_snapshot!(machines.pipe(&machines.here, &["push", "p.toml"]), @r#"
    exit code 0
      · count  there already
      · list   there already
      · other  there already

      3 there already; 0 B in [TIME] s, [REMOTE]
    "#);
    insta::assert_snapshot!(machines.pipe(&machines.there, &["pull", "p.toml"]), @r#"
    exit code 0
      ↓ count  fetched [TIME] s  96 B
      ↓ list   fetched [TIME] s  221 B
      ↓ other  fetched [TIME] s  6 B

      3 fetched; 323 B in [TIME] s, [REMOTE]
    "#);
    insta::assert_snapshot!(machines.pipe(&machines.there, &["run", "p.toml", "--no-remote"]), @r#"
    exit code 0
      · count  fresh
      · list   fresh
      · other  fresh

      3 steps up to date in [TIME] s
      result in .pipe/latest/p/count/
      result in .pipe/latest/p/other/
    "#);
    let latest = |project: &Project| content(&project.path(".pipe/latest/p"));
    assert!(latest(&machines.here) == latest(&machines.there));
    // Log, measures and listings came along.
    let log = machines.there.pipe(&["log", "p.toml", "list"]).stdout;
    assert!(log.contains("sorted"), "{log}");
    let listed = machines.there.pipe(&["pull", "p.toml", "--json"]);
    assert_eq!(steps(&listed, "fresh"), ["count", "list", "other"], "{listed}");
    machines.there.write("in/c.txt", "fig\n");
    let why = machines.there.pipe(&["why", "p.toml", "list"]).stdout;
    assert!(why.contains("c.txt new"), "{why}");
    assert_eq!(machines.there.pipe(&["store", "verify"]).code, Some(0));
}

#[test]
fn a_run_fetches_what_it_would_make() {
    let machines = Machines::pushed();
    insta::assert_snapshot!(machines.pipe(&machines.there, &["run", "p.toml", "-j1"]), @r#"
    exit code 0
      ↓ count  fetched [TIME] s  96 B
      ↓ list   fetched [TIME] s  221 B
      ↓ other  fetched [TIME] s  6 B

      3 fetched in [TIME] s
      result in .pipe/latest/p/count/
      result in .pipe/latest/p/other/
    "#);
    assert_eq!(machines.there.ran(), [""; 0]);
    // Whoever forces a step wants it to run.
    let forced = machines.there.pipe(&["run", "p.toml", "--json", "--force=list"]);
    assert_eq!(steps(&forced, "ran"), ["list"]);
}

#[test]
fn a_run_sends_what_it_made_only_when_asked() {
    let machines = Machines::new();
    machines.here.ran();
    assert!(!machines.remote.path().join("shared").exists());
    insta::assert_snapshot!(machines.pipe(&machines.here, &["run", "p.toml", "--push"]), @r#"
    exit code 0
      · count  fresh
      ↑ count  sent [TIME] s  96 B
      · list   fresh
      ↑ list   sent [TIME] s  221 B
      · other  fresh
      ↑ other  sent [TIME] s  6 B

      3 steps up to date in [TIME] s
      result in .pipe/latest/p/count/
      result in .pipe/latest/p/other/
    "#);
    let text = machines.here.read("p.toml").replace("[remote]", "[remote]\npush = true");
    machines.here.write("p.toml", &text.replace("echo other", "echo another"));
    let shown = machines.here.pipe(&["run", "p.toml", "--json"]);
    assert_eq!(
        (steps(&shown, "ran"), steps(&shown, "sent")),
        (vec!["other".to_owned()], vec!["other".to_owned()])
    );
    assert_eq!(events(&shown).last().unwrap()["event"], "end");
}

#[test]
fn what_was_damaged_there_is_refused_and_made_again() {
    let machines = Machines::pushed();
    let sorted = machines.object("apple\npear\n");
    for (bytes, problem) in [
        (&b"apple\npeaR\n"[..], "does not hold the content it is named by"),
        (b"apple", "has 5 bytes of 11"),
        (b"apple\npear\n\n", "is longer than the 11 bytes it should have"),
    ] {
        fs::remove_file(&sorted).unwrap();
        fs::write(&sorted, bytes).unwrap();
        let there = Project::small();
        let shown = there.pipe(&["pull", "p.toml", "--json", "--remote", &machines.url()]);
        assert_eq!(
            (shown.code, steps(&shown, "not-shared")),
            (Some(1), vec!["list".to_owned()]),
            "{shown}"
        );
        assert!(shown.stdout.contains(problem), "{shown}");
        assert!(!there.path(".pipe/latest/p/list").exists());
        let shown = there.pipe(&["run", "p.toml", "--json", "--remote", &machines.url()]);
        assert_eq!(
            (shown.code, steps(&shown, "ran")),
            (Some(0), vec!["list".to_owned()]),
            "{shown}"
        );
        assert_eq!(there.read(".pipe/latest/p/list/list.txt"), "apple\npear\n");
    }
    fs::remove_file(&sorted).unwrap();
    let shown = machines.pipe(&machines.there, &["pull", "p.toml", "list"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("in [REMOTE] is missing"), "{shown}");
    // Its maker can mend it.
    let shown = machines.here.pipe(&["push", "p.toml", "--again"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(machines.there.pipe(&["pull", "p.toml"]).code, Some(0));
}

#[test]
fn a_long_file_travels_in_parts() {
    let machines = Machines::new();
    for project in [&machines.here, &machines.there] {
        let text = project.read("p.toml").replace("echo other", "seq 1 2700000");
        project.write("p.toml", &text);
    }
    machines.here.ran();
    assert_eq!(machines.here.pipe(&["push", "p.toml"]).code, Some(0));
    let shown = machines.there.pipe(&["pull", "p.toml", "other", "--json"]);
    assert_eq!(
        (shown.code, steps(&shown, "fetched")),
        (Some(0), vec!["other".to_owned()]),
        "{shown}"
    );
    let long =
        |project: &Project| fs::read(project.path(".pipe/latest/p/other/other.txt")).unwrap();
    let expected = long(&machines.here);
    assert!(expected.len() > 20_000_000 && long(&machines.there) == expected);
    // One bit of one part.
    let object = machines.files("/objects/");
    let object = object.iter().find(|path| fs::metadata(path).unwrap().len() > 20_000_000).unwrap();
    let mut bytes = expected;
    bytes[17_000_000] ^= 4;
    fs::remove_file(object).unwrap();
    fs::write(object, &bytes).unwrap();
    let fresh = Project::new();
    fresh.write("p.toml", &machines.there.read("p.toml"));
    fresh.write("in/a.txt", "pear\n");
    let shown = fresh.pipe(&["pull", "p.toml", "other"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stderr.contains("does not hold the content"), "{shown}");
    let objects = walk(&fresh.path(".pipe/v1/objects"));
    assert!(objects.iter().all(|path| fs::metadata(path).unwrap().len() < 1000), "{objects:?}");
}

#[test]
fn a_manifest_that_was_damaged_or_swapped_is_refused() {
    let machines = Machines::pushed();
    let manifests = machines.files("/results/");
    let texts: Vec<_> = manifests.iter().map(|path| fs::read(path).unwrap()).collect();
    for (at, path) in manifests.iter().enumerate() {
        fs::remove_file(path).unwrap();
        fs::write(path, &texts[(at + 1) % texts.len()]).unwrap();
    }
    let shown = machines.there.pipe(&["pull", "p.toml", "--json"]);
    assert_eq!(steps(&shown, "not-shared"), ["count", "list", "other"], "{shown}");
    assert_eq!(shown.stdout.matches("is not the manifest of the key").count(), 2, "{shown}");
    let shown = machines.there.pipe(&["run", "p.toml", "--json"]);
    assert_eq!(steps(&shown, "ran"), ["count", "list", "other"], "{shown}");
}

#[test]
fn a_pull_goes_on_with_what_is_there() {
    let machines = Machines::new();
    machines.here.pipe(&["run", "p.toml", "list"]);
    insta::assert_snapshot!(machines.pipe(&machines.here, &["push", "p.toml"]), @r#"
    exit code 1
      ✗ count  left out
          it has no result that is up to date; `pipe run` makes it
      ↑ list   sent [TIME] s  221 B
      ✗ other  left out
          it has no result that is up to date; `pipe run` makes it

      1 sent, 2 left out; 221 B in [TIME] s, [REMOTE]
    "#);
    insta::assert_snapshot!(machines.pipe(&machines.there, &["pull", "p.toml"]), @r#"
    exit code 1
      ✗ count  left out
          [REMOTE] does not have it
      ↓ list   fetched [TIME] s  221 B
      ✗ other  left out
          [REMOTE] does not have it

      1 fetched, 2 left out; 221 B in [TIME] s, [REMOTE]
    "#);
    assert_eq!(machines.there.read(".pipe/latest/p/list/list.txt"), "apple\npear\n");
}

#[test]
fn a_step_alone_can_be_fetched() {
    let machines = Machines::pushed();
    let shown = machines.there.pipe(&["pull", "p.toml", "count", "--only", "--json"]);
    assert_eq!(
        (shown.code, steps(&shown, "fetched")),
        (Some(0), vec!["count".to_owned()]),
        "{shown}"
    );
    assert_eq!(machines.there.read(".pipe/latest/p/count/count.txt").trim(), "2");
    assert!(!machines.there.path(".pipe/latest/p/list").exists());
}

#[test]
fn what_was_locked_is_what_comes() {
    let machines = Machines::pushed();
    assert_eq!(machines.here.pipe(&["lock", "p.toml"]).code, Some(0));
    machines.there.write("p.toml.lock", &machines.here.read("p.toml.lock"));
    // None of the data is needed.
    fs::remove_dir_all(machines.there.path("in")).unwrap();
    assert_eq!(machines.there.pipe(&["pull", "p.toml"]).code, Some(2));
    let shown = machines.there.pipe(&["pull", "p.toml", "--locked", "--json"]);
    let all = ["count", "list", "other"];
    assert_eq!(
        (shown.code, steps(&shown, "fetched")),
        (Some(0), all.map(str::to_owned).into()),
        "{shown}"
    );
    assert_eq!(machines.there.read(".pipe/latest/p/list/list.txt"), "apple\npear\n");
    let shown = machines.there.pipe(&["pull", "p.toml", "--locked", "--json"]);
    assert_eq!(steps(&shown, "fresh"), all, "{shown}");
    // Of the same key, but not what was locked.
    let lock = machines.here.read("p.toml.lock");
    let result = |step: &str| {
        let line = lock.lines().find(|line| line.starts_with(step)).unwrap();
        line.split("result = \"").nth(1).unwrap()[..64].to_owned()
    };
    let other = lock.replace(&result("other"), &result("list"));
    machines.there.write("p.toml.lock", &other);
    insta::assert_snapshot!(machines.pipe(&machines.there, &["pull", "p.toml", "other", "--locked"]), @r#"
    exit code 1
      ✗ other  left out
          in [REMOTE], its files are not those of the lock file

      1 left out; 0 B in [TIME] s, [REMOTE]
    "#);
    // A lock file of another pipeline is no lock file.
    let changed = machines.there.read("p.toml").replace("echo other", "echo another");
    machines.there.write("p.toml", &changed);
    let shown = machines.there.pipe(&["pull", "p.toml", "--locked"]);
    assert_eq!(shown.code, Some(2));
    assert!(shown.stderr.contains("`other` is not as it was locked"), "{shown}");
}

#[test]
fn a_result_that_cannot_be_made_again_is_the_locked_one() {
    let machines = Machines::new();
    for project in [&machines.here, &machines.there] {
        let text = project.read("p.toml").replace("echo other", "date +%N");
        project.write("p.toml", &text);
        project.ran();
    }
    for arguments in [["push", "p.toml"], ["lock", "p.toml"]] {
        assert_eq!(machines.here.pipe(&arguments).code, Some(0));
    }
    machines.there.write("p.toml.lock", &machines.here.read("p.toml.lock"));
    let shown = machines.there.pipe(&["pull", "p.toml", "--locked", "--json"]);
    assert_eq!(steps(&shown, "fetched"), ["other"], "{shown}");
    let other = |project: &Project| project.read(".pipe/latest/p/other/other.txt");
    assert_eq!(other(&machines.here), other(&machines.there));
    assert_eq!(machines.there.pipe(&["run", "p.toml", "--locked"]).code, Some(0));
}

#[test]
fn where_a_remote_is_changes_no_key() {
    let machines = Machines::new();
    machines.here.ran();
    let text = machines.here.read("p.toml");
    machines.here.write("p.toml", &text.replace(&machines.url(), "s3://bucket/prefix"));
    let shown = machines.here.pipe(&["run", "p.toml", "--no-remote", "--json"]);
    assert_eq!(steps(&shown, "fresh"), ["count", "list", "other"], "{shown}");
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let project = Project::small();
    let steps = project.read("p.toml");
    let told = [
        "remote = 3",
        "[remote]",
        "[remote]\nulr = \"s3://bucket\"\npush = \"yes\"",
        "[remote]\nurl = \"s3//bucket\"",
        "[remote]\nurl = \"file://mnt/x\"",
        "[remote]\nurl = \"s3://KEY:hunter2@bucket\"",
    ]
    .map(|table| {
        project.write("p.toml", &format!("{table}\n{steps}"));
        project.pipe(&["check", "p.toml"]).stderr
    });
    insta::assert_snapshot!(told.join("\n"), @r#"
    p.toml:1:10: `remote` must be a table, not the integer 3
      |
    1 | remote = 3
      |          ^
      = help: for example `[remote]` with `url = "s3://bucket/prefix"` and `push = true`

    1 problem; 1 of 1 file cannot run

    p.toml:1:2: `remote` lacks `url`
      |
    1 | [remote]
      |  ^^^^^^
      = help: for example `[remote]` with `url = "s3://bucket/prefix"` and `push = true`

    1 problem; 1 of 1 file cannot run

    p.toml:2:1: unknown key `remote.ulr`, did you mean `url`?
      |
    2 | ulr = "s3://bucket"
      | ^^^
      = help: for example `[remote]` with `url = "s3://bucket/prefix"` and `push = true`

    p.toml:3:8: `remote.push` must be true or false, not the string "yes"
      |
    3 | push = "yes"
      |        ^^^^^
      = help: for example `[remote]` with `url = "s3://bucket/prefix"` and `push = true`

    2 problems; 1 of 1 file cannot run

    p.toml:2:7: `s3//bucket` is not a URL
      |
    2 | url = "s3//bucket"
      |       ^^^^^^^^^^^^
      = help: for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`

    1 problem; 1 of 1 file cannot run

    p.toml:2:7: `file://mnt/x` names a machine, `mnt`
      |
    2 | url = "file://mnt/x"
      |       ^^^^^^^^^^^^^^
      = help: a directory is written with three slashes: `file:///mnt/x`

    1 problem; 1 of 1 file cannot run

    p.toml:2:7: `remote.url`: the URL of a remote must hold no user, no password and no `?` or `#`
     = help: credentials come from the environment, so that they are written down nowhere

    1 problem; 1 of 1 file cannot run
    "#);
    project.write("p.toml", &steps);
    let told = [
        &["push", "p.toml"][..],
        &["pull", "p.toml", "--remote", "http://host/x"],
        &["run", "p.toml", "--push"],
        &["pull", "p.toml", "--remote", "file:///nowhere/at/all"],
    ]
    .map(|arguments| project.pipe(arguments).to_string());
    insta::assert_snapshot!(told.join("\n"), @r#"
    exit code 2
    pipe: p.toml names no remote
      help: write `[remote]` with `url = "s3://bucket/prefix"` into it, or add `--remote URL`

    exit code 2
    pipe: --remote: a remote cannot be at `http:`
      help: for example `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///mnt/results`

    exit code 2
    pipe: --push: there is no remote
      help: add `--remote URL`, or `[remote]` with `url = …` to the file

    exit code 1
    pipe: there is no directory for file:///nowhere/at/all
      help: `pipe push` makes it
    "#);
}
