//! What a program may leave as its result, and what not.

use std::fs;

use crate::project::{Project, Shown};

fn run(script: &str) -> (Project, Shown) {
    let project = Project::new();
    project.write("outside.txt", "outside\n");
    project.write(
        "p.toml",
        &format!(
            "[stage.step]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {script:?}]\noutputs = [\"x\"]\n"
        ),
    );
    let shown = project.pipe(&["run", "p.toml"]);
    (project, shown)
}

#[test]
fn what_is_no_plain_file_is_refused() {
    for (script, words) in [
        ("mkfifo {out}/x", "the program made `x`, which is neither a file nor a directory"),
        ("mkdir {out}/x; mkfifo {out}/x/f", "the program made `x/f`, which is neither"),
        ("ln -s \"$PWD/outside.txt\" {out}/x", "the program made `x`, which is neither"),
        ("ln -s nowhere {out}/x", "the program made `x`, which is neither"),
        (r"mkdir {out}/x; echo > {out}/x/$(printf 'a\377b')", "has a name that is not UTF-8"),
    ] {
        let (project, shown) = run(script);
        assert_eq!(shown.code, Some(1), "{script}: {shown}");
        assert!(shown.stderr.contains(words), "{script}: {shown}");
        assert!(!project.path(".pipe/latest/p/step").exists(), "{script}");
    }
}

#[test]
fn a_hard_link_to_a_file_outside_becomes_a_copy() {
    let (project, shown) = run("ln outside.txt {out}/x");
    assert_eq!(shown.code, Some(0), "{shown}");
    project.write("outside.txt", "changed\n");
    assert_eq!(project.read(".pipe/latest/p/step/x"), "outside\n");
    let verified = project.pipe(&["store", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified}");
}

#[test]
fn a_name_with_a_newline_is_kept() {
    let (project, shown) = run(r#"mkdir {out}/x; echo y > "{out}/x/$(printf 'a\nb')""#);
    assert_eq!(shown.code, Some(0), "{shown}");
    let made = fs::read_to_string(project.path(".pipe/latest/p/step/x/a\nb")).unwrap();
    assert_eq!(made, "y\n");
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn each_output_is_depended_on_apart() {
    let project = Project::new();
    project.write("a", "1");
    project.write("b", "1");
    project.write(
        "p.toml",
        r#"
[stage.two]
kind = "command"
run = ["sh", "-c", "cp {files.0} {out}/one; mkdir {out}/other; cp {files.1} {out}/other/b"]
files = ["a", "b"]
outputs = ["one", "other"]

[stage.of-one]
kind = "command"
run = ["cp", "{files.0}", "{out}/x"]
files = ["${stage.two}/one"]
outputs = ["x"]

[stage.of-other]
kind = "command"
run = ["cp", "-r", "{files.0}", "{out}/x"]
files = ["${stage.two}/other"]
outputs = ["x"]
"#,
    );
    assert_eq!(project.ran(), ["two", "of-one", "of-other"]);
    project.write("b", "2");
    assert_eq!(project.ran(), ["two", "of-other"]);
    project.write("a", "2");
    assert_eq!(project.ran(), ["two", "of-one"]);
}
