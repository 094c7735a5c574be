//! Input that nobody means well with: one clear answer, nothing lost, no panic, no hang.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::project::{Project, Shown};

/// A pipeline of one step that runs a script.
fn step(script: &str, outputs: &str, more: &str) -> String {
    format!(
        "[stage.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {}]\noutputs = {outputs}\n{more}\n",
        serde_json::Value::from(script)
    )
}

/// A project with a pipeline.
fn project(pipeline: &str) -> Project {
    let project = Project::new();
    project.write("p.toml", pipeline);
    project
}

/// What is shown must not steer a terminal.
fn check_calm(shown: &Shown) {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(
        !shown.stdout.contains(steers) && !shown.stderr.contains(steers),
        "{:?}",
        shown.stdout.clone() + &shown.stderr
    );
    assert!(!shown.stderr.contains("panicked"), "{shown}");
}

/// Runs a command of `p.toml`, and finds the exit code and what it says.
fn told(project: &Project, command: &str, code: i32, parts: &[&str]) -> Shown {
    let shown = project.pipe(&[command, "p.toml"]);
    check_calm(&shown);
    assert_eq!(shown.code, Some(code), "{parts:?}: {shown}");
    let text = format!("{}{}", shown.stdout, shown.stderr);
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {shown}");
    shown
}

#[test]
fn paths_and_texts_that_cannot_be_are_mistakes_of_the_file() {
    let cases = [
        (step("", r#"["/tmp/x"]"#, ""), "p.toml:4:12: `outputs.0`: `/tmp/x` is not a path inside"),
        (step("", r#"["../x"]"#, ""), "p.toml:4:12: `outputs.0`: `../x` is not a path inside"),
        (step("", r#"["a/../../x"]"#, ""), "`outputs.0`: `a/../../x` is not a path inside"),
        (step("", r#"["a\u0000b"]"#, ""), "p.toml:4:12: `outputs.0`: `a�b` is not a path inside"),
        (step("x\0y", r#"["x"]"#, ""), "no program can be given a text with NUL in it"),
        (
            step("", r#"["x"]"#, r#"environment = { A = "a\u0000b" }"#),
            "no program can be given a text with NUL in it",
        ),
        (
            step("", r#"["x"]"#, r#"environment = { "A=B" = "1" }"#),
            "`A=B` cannot be the name of an environment variable",
        ),
        (step("", r#"["x"]"#, r#"files = ["a\u0000b"]"#), "p.toml:5:10: "),
        (step("", r#"["x"]"#, r#"files = ["p.toml/x"]"#), "cannot read `p.toml/x`"),
    ];
    for (text, part) in cases {
        told(&project(&text), "check", 2, &[part]);
    }
}

#[test]
fn inputs_that_are_no_files_are_told_and_not_waited_for() {
    let text = step("touch {out}/x", r#"["x"]"#, r#"files = ["in"]"#);
    let fifo = |project: &Project, path: &str| {
        assert!(Command::new("mkfifo").arg(project.path(path)).status().unwrap().success());
    };
    let in_directory = |project: &Project| fs::create_dir(project.path("in")).unwrap();
    let project = project(&text);
    fifo(&project, "in");
    told(&project, "run", 1, &["/in is neither a file nor a directory"]);
    fs::remove_file(project.path("in")).unwrap();
    in_directory(&project);
    fifo(&project, "in/deep");
    told(&project, "run", 1, &["/in/deep is neither a file nor a directory"]);
    fs::remove_file(project.path("in/deep")).unwrap();
    let _listening = std::os::unix::net::UnixListener::bind(project.path("in/socket")).unwrap();
    told(&project, "run", 1, &["/in/socket is neither a file nor a directory"]);
    fs::remove_file(project.path("in/socket")).unwrap();
    symlink("nowhere", project.path("in/broken")).unwrap();
    told(&project, "run", 1, &["cannot follow the link", "/in/broken"]);
    fs::remove_file(project.path("in/broken")).unwrap();
    symlink(".", project.path("in/loop")).unwrap();
    told(&project, "run", 1, &["/in/loop is a symbolic link to a directory above it, a loop"]);
    fs::remove_file(project.path("in/loop")).unwrap();
    fs::write(project.path("in").join(OsStr::from_bytes(b"a\xffb")), "").unwrap();
    told(&project, "run", 1, &["has a name that is not UTF-8; rename it"]);
    project.write("p.toml", &text.replace("\"in\"", "\"/dev/zero\""));
    told(&project, "run", 1, &["/dev/zero is neither a file nor a directory"]);
    fs::remove_file(project.path("p.toml")).unwrap();
    fifo(&project, "p.toml");
    told(&project, "check", 2, &["p.toml is a named pipe, not a file"]);
}

#[test]
fn a_link_out_of_the_project_is_read_as_what_it_leads_to() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("word"), "one").unwrap();
    let project = project(&step("cat {files.0}/word > {out}/x", r#"["x"]"#, r#"files = ["in"]"#));
    symlink(elsewhere.path(), project.path("in")).unwrap();
    assert_eq!(project.ran(), ["a"]);
    assert_eq!(project.ran(), [""; 0]);
    fs::write(elsewhere.path().join("word"), "two").unwrap();
    assert_eq!(project.ran(), ["a"], "its content decides");
    assert_eq!(project.read(".pipe/latest/p/a/x"), "two");
}

#[test]
fn a_directory_that_may_not_be_read_is_told() {
    let project = project(&step("touch {out}/x", r#"["x"]"#, r#"files = ["in"]"#));
    project.write("in/a", "");
    fs::set_permissions(project.path("in"), fs::Permissions::from_mode(0o000)).unwrap();
    // Nothing is closed to root.
    if fs::read_dir(project.path("in")).is_err() {
        told(&project, "run", 1, &["cannot list", "/in", "Permission denied"]);
    }
    fs::set_permissions(project.path("in"), fs::Permissions::from_mode(0o755)).unwrap();
    told(&project, "run", 0, &["1 ran"]);
}

#[test]
fn what_a_program_does_to_its_output_never_reaches_beyond_it() {
    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path().join("x");
    fs::write(&there, "mine").unwrap();
    let link = format!("rm -r {{out}}; ln -s {} {{out}}", elsewhere.path().display());
    let in_its_place = "the program put something else in the place of the directory {out}";
    let cases = [
        (link.as_str(), "x", in_its_place),
        ("rm -r {out}; echo hi > {out}", "x", in_its_place),
        ("rm -r {out}", "x", "the program removed the directory {out}"),
        ("ln -s /etc/passwd {out}/x", "x", "made `x`, which is neither a file nor a directory"),
        ("mkdir {out}/d; ln -s ../../../../p.toml {out}/d/x", "d", "made `d/x`, which is neither"),
        ("mkfifo {out}/x", "x", "made `x`, which is neither a file nor a directory"),
        (
            "touch {out}/x {out}/../y; ln {out}/../y {out}/z",
            "x",
            "which `outputs` does not declare",
        ),
        (r#"mkdir {out}/d; touch {out}/d/$(printf 'a\377b')"#, "d", "not UTF-8"),
        (r#"touch "{out}/$(printf 'a\033[2Jb\nc')""#, "x", "`outputs` does not declare"),
    ];
    for (script, output, part) in cases {
        let project = project(&step(script, &format!("[\"{output}\"]"), ""));
        let before = project.read("p.toml");
        told(&project, "run", 1, &[part]);
        assert_eq!(project.read("p.toml"), before);
        assert_eq!(fs::read_to_string(&there).unwrap(), "mine", "{script}");
        let verified = project.pipe(&["store", "verify"]);
        assert_eq!(verified.code, Some(0), "{script}: {verified}");
    }
}

#[test]
fn odd_outputs_that_are_files_all_the_same_become_results() {
    let scripts = [
        "touch {out}/x; chmod 000 {out}/x; chmod 500 {out}",
        "exec >&- 2>&-; touch {out}/x; sleep 0.1",
        r#"mkdir {out}/x; touch "{out}/x/$(printf 'a\033[2Jb\nc\007')""#,
        "mkdir {out}/x; cd {out}/x; seq 3000 | xargs touch",
        // No end of a line in 64 MB.
        "head -c 64000000 /dev/zero | tr '\\0' a; touch {out}/x",
    ];
    for script in scripts {
        let project = project(&step(script, r#"["x"]"#, ""));
        told(&project, "run", 0, &["1 ran"]);
        told(&project, "run", 0, &["1 step up to date"]);
        for command in ["plan", "check"] {
            told(&project, command, 0, &[]);
        }
        for arguments in
            [&["show", "p.toml", "a"][..], &["why", "p.toml", "a"], &["store", "verify"]]
        {
            let shown = project.pipe(arguments);
            check_calm(&shown);
            assert_eq!(shown.code, Some(0), "{script}: {shown}");
        }
    }
}

#[test]
fn what_a_failing_program_printed_is_cut_and_cannot_steer_the_terminal() {
    let project = project(&step("head -c 1000000 /dev/zero | tr '\\0' a; exit 3", r#"["x"]"#, ""));
    let shown = told(&project, "run", 1, &["failed with exit status 3", "aaaa ..."]);
    assert!(shown.stderr.len() < 8_000, "{} bytes", shown.stderr.len());
    let script = r#"printf '\033[2Jhello\007\n\033]0;title\007x\n'; exit 1"#;
    project.write("p.toml", &step(script, r#"["x"]"#, ""));
    told(&project, "run", 1, &["�[2Jhello�", "�]0;title�x"]);
}

#[test]
fn names_with_control_characters_are_told_as_text() {
    let project = project(&step("ls {files.0} > {out}/x", r#"["x"]"#, r#"files = ["in"]"#));
    project.write("in/a\nb\u{1b}[31mred", "");
    told(&project, "run", 0, &["1 ran"]);
    project.write("in/c\u{1b}]0;evil\u{7}", "");
    told(&project, "plan", 0, &["c�]0;evil� new"]);
    let why = project.pipe(&["why", "p.toml", "a"]);
    check_calm(&why);
    assert!(why.stdout.contains("c�]0;evil� new"), "{why}");
    let name = "p\u{1b}[31m\n.toml";
    project.write(name, &project.read("p.toml"));
    let shown = project.pipe(&["run", name]);
    check_calm(&shown);
    assert_eq!(shown.code, Some(0), "{shown}");
}

#[test]
fn numbers_at_their_limits_are_taken_or_refused() {
    let line = |line: &str| step("touch {out}/x", r#"["x"]"#, line);
    for value in ["9223372036854775808", "1e400", "nan", "-inf", "99999999999999999999999999"] {
        for key in ["priority", "retry", "resources.cpu", "retry.times"] {
            told(&project(&line(&format!("{key} = {value}"))), "check", 2, &["p.toml:5:"]);
        }
        let epochs = format!("[stage.a]\nkind = \"train\"\nepochs = {value}\n");
        told(&project(&epochs), "check", 2, &["p.toml:3:10: `epochs` must be"]);
    }
    for time in ["99999999999999999999h", "9223372036854775807s", "1e400s", "-1s", "87601h"] {
        let timeout = format!("timeout = \"{time}\"");
        told(&project(&line(&timeout)), "check", 2, &["p.toml:5:11: `timeout` must be a time"]);
        let delay = format!("retry = {{ times = 1, delay = \"{time}\" }}");
        told(&project(&line(&delay)), "check", 2, &["`retry.delay` must be a time"]);
    }
    let taken = line(
        "timeout = \"87600h\"\npriority = -9223372036854775808\nretry = { times = 1, delay = \"87600h\" }",
    );
    told(&project(&taken), "run", 0, &["1 ran"]);
    for memory in ["99999999999999999999GiB", "9223372036854775807TiB", "-1GiB", "1e400GiB"] {
        let text = line(&format!("resources.memory = \"{memory}\""));
        told(&project(&text), "check", 2, &["`resources.memory` must be an amount"]);
    }
    for value in ["9223372036854775807", "-0.0", "inf", "nan", "5e-324"] {
        let text = format!(
            "[params]\np = {value}\n{}",
            step("echo ${params.p} > {out}/x", r#"["x"]"#, "")
        );
        let project = project(&text);
        told(&project, "run", 0, &["1 ran"]);
        assert_eq!(project.read(".pipe/latest/p/a/x").trim(), value);
    }
}

#[test]
fn files_that_lead_to_each_other_are_told() {
    for (key, word) in [("extends = \"{}\"", "extend"), ("include = [\"{}\"]", "include")] {
        let itself = project(&key.replace("{}", "p.toml"));
        told(
            &itself,
            "check",
            2,
            &[&format!("files {word} each other in a loop: p.toml → p.toml")],
        );
        let two = project(&key.replace("{}", "q.toml"));
        two.write("q.toml", &key.replace("{}", "p.toml"));
        told(&two, "check", 2, &["in a loop: p.toml → q.toml → p.toml"]);
    }
}

#[test]
fn deep_and_huge_files_are_refused() {
    let deep = "tables or arrays lie too deep in each other";
    let cases = [
        (format!("x = {}", "[".repeat(100_000)), deep),
        (format!("x = {}", "{a=".repeat(100_000)), deep),
        (format!("[{}]", vec!["a"; 100_000].join(".")), deep),
        (format!("{} = 1", vec!["a"; 100_000].join(".")), deep),
        ("a = 1\n".repeat(3_000_000), "p.toml is larger than 16 MiB"),
    ];
    for (text, part) in cases {
        told(&project(&text), "check", 2, &[part]);
    }
    let mut text = "[params]\np0 = \"x\"\n".to_owned();
    for number in 1..60 {
        let before = number - 1;
        text += &format!("p{number} = \"${{params.p{before}}}${{params.p{before}}}\"\n");
    }
    told(&project(&text), "check", 2, &["the string becomes longer than 65536 bytes"]);
}

/// Fewer than a file may hold, since the tests run on what is built for tests; each of these took
/// minutes once.
#[test]
fn a_slip_in_every_one_of_very_many_lines_is_told_once_for_all() {
    let lines = |line: &dyn Fn(usize) -> String, count: usize| {
        (0..count).map(|number| line(number) + "\n").collect::<String>()
    };
    let one = step("touch {out}/x", r#"["x"]"#, "");
    let keys = |number: usize| format!("k{number} = {number}");
    let cases = [
        (lines(&keys, 200_000), "unknown key `k0`"),
        (one.clone() + &lines(&keys, 200_000), "unknown key `k0`"),
        (lines(&|number| format!("[stage.s{number}]"), 50_000), "step `s0` has no `kind`"),
        (
            one.clone()
                + "[stage.a.inputs]\n"
                + &lines(&|n| format!("i{n} = \"no-such-{n}\""), 50_000),
            "no step `no-such-0`",
        ),
        (lines(&|n| format!("[stage.S{n}]\nkind = \"trian\""), 50_000), "must be lower-case words"),
    ];
    for (text, part) in cases {
        told(&project(&text), "check", 2, &[part, "and at least 9", "; 1 of 1 file cannot run"]);
    }
    let params = "[params]\n".to_owned() + &lines(&|n| format!("p{n} = {n}"), 200_000) + &one;
    told(&project(&params), "check", 0, &["p.toml: ok, 1 step"]);
}
