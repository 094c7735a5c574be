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

/// A step that writes to what another made, and one beside it that reads that meanwhile.
const MEDDLING: &str = r#"
[stage.a]
kind = "command"
run = ["sh", "-c", "mkdir {out}/d; echo good > {out}/d/x; echo other > {out}/d/y"]
outputs = ["d"]

[stage.meddles]
kind = "command"
inputs.a = "a"
run = ["sh", "-c", "MEDDLE; touch in/done; while [ -e in/wait ]; do sleep 0.02; done; cp {input.a}/d/x {out}/x"]
outputs = ["x"]

[stage.reads]
kind = "command"
inputs.a = "a"
files = ["in/never"]
run = ["sh", "-c", "while ! [ -e in/done ]; do sleep 0.02; done; cat {input.a}/d/* > {out}/x; rm -f in/wait; sleep SLEEP"]
outputs = ["x"]
"#;

#[test]
fn what_a_step_read_must_not_be_written_to() {
    for (meddle, named, sleep) in [
        // By another name: the object is as it was.
        ("rm -f {input.a}/d/x; echo BAD > {input.a}/d/x", "d/x", "0"),
        // Meanwhile it is laid out again.
        ("rm -f {input.a}/d/x; echo BAD > {input.a}/d/x", "d/x", "0.5"),
        ("echo new > {input.a}/d/z", "d/z", "0"),
        ("rm -f {input.a}/d/y", "d/y", "0"),
        // In the object itself, which is made again.
        ("chmod u+w {input.a}/d/x; echo BAD > {input.a}/d/x", "d/x", "0"),
    ] {
        let project = Project::new();
        project.write("in/never", "");
        project.write("in/wait", "");
        let pipeline = MEDDLING.replace("MEDDLE", meddle).replace("SLEEP", sleep);
        project.write("p.toml", &pipeline);
        let shown = project.pipe(&["run", "p.toml", "--keep-going", "-j2"]);
        assert_eq!(shown.code, Some(1), "{meddle}: {shown}");
        let told = format!(
            "`{named}` in the result of `a`, which it reads, was changed while the step ran"
        );
        assert!(shown.stderr.contains(&told), "{meddle}: {shown}");
        for step in ["meddles", "reads"] {
            assert!(!project.path(&format!(".pipe/latest/p/{step}")).exists(), "{meddle}: {shown}");
        }
        // By itself the other step has what it should.
        let shown = project.pipe(&["run", "p.toml", "reads"]);
        assert_eq!(shown.code, Some(0), "{meddle}: {shown}");
        assert_eq!(project.read(".pipe/latest/p/a/d/x"), "good\n", "{meddle}");
        assert_eq!(project.read(".pipe/latest/p/reads/x"), "good\nother\n", "{meddle}");
        let verified = project.pipe(&["store", "verify"]);
        assert_eq!(verified.code, Some(0), "{meddle}: {verified}");
    }
}
