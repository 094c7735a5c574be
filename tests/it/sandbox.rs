//! Programs held to what their step declares.

use crate::project::Project;

fn project(script: &str, more: &str) -> Project {
    let project = Project::new();
    project.write("in/a.txt", "declared\n");
    project.write("secret.txt", "hidden\n");
    project.write(
        "p.toml",
        &format!(
            "[stage.step]\nkind = \"command\"\nrun = [\"sh\", \"-c\", {script:?}]\nfiles = [\"in\"]\n\
             outputs = [\"x\"]\n{more}\n"
        ),
    );
    project
}

/// Runs in the sandbox; `None` where the kernel has none, which the run must say.
fn confined(project: &Project, arguments: &[&str]) -> Option<(Option<i32>, String)> {
    let shown = project.pipe(&[&["run", "p.toml"], arguments].concat());
    if shown.stderr.contains("has no Landlock") {
        let strict = project.pipe(&["run", "p.toml", "--sandbox", "strict"]);
        assert_eq!(strict.code, Some(2), "{strict}");
        return None;
    }
    Some((shown.code, shown.stderr))
}

#[test]
fn what_is_declared_may_be_read_and_temporary_files_made() {
    let script = "t=$(mktemp) && sort {files.0}/a.txt > $t && cp $t {out}/x && touch {scratch}/s";
    let project = project(script, "");
    let Some((code, told)) = confined(&project, &["--sandbox", "strict"]) else { return };
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(project.read(".pipe/latest/p/step/x"), "declared\n");
}

#[test]
fn reading_what_is_not_declared_names_the_file() {
    let project = project("cat secret.txt > {out}/x", "");
    let Some((code, told)) = confined(&project, &["--sandbox", "warn"]) else { return };
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the sandbox refused to read `secret.txt`"), "{told}");
    let shown = project.pipe(&["run", "p.toml"]);
    assert_eq!(shown.code, Some(0), "{shown}");
}

#[test]
fn writing_elsewhere_is_refused() {
    let project = project("echo y > stray.txt; touch {out}/x; test -e stray.txt", "");
    let Some((code, told)) = confined(&project, &["--sandbox", "warn"]) else { return };
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the sandbox refused to write `stray.txt`"), "{told}");
    assert!(!project.path("stray.txt").exists());
}

#[test]
fn a_step_says_more_that_may_be_read_and_its_key_stays() {
    let project = project("cat secret.txt > {out}/x", "sandbox = { mode = \"warn\" }");
    let Some((code, told)) = confined(&project, &[]) else { return };
    assert_eq!(code, Some(1), "{told}");
    let text = project.read("p.toml");
    let wider = "sandbox = { mode = \"strict\", read = [\"secret.txt\"] }";
    project.write("p.toml", &text.replace("sandbox = { mode = \"warn\" }", wider));
    assert_eq!(project.ran(), ["step"]);
    project.write("p.toml", &text);
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn mistakes_of_the_table_are_told() {
    let table = "sandbox = { mode = \"stric\", reads = [], read = [\"no-such\", 7] }";
    let shown = project("true", table).pipe(&["check", "p.toml"]);
    let told = shown.stdout.clone() + &shown.stderr;
    for words in [
        "`sandbox.mode` cannot be the string \"stric\", did you mean `strict`?",
        "unknown key `sandbox.reads`, did you mean `read`?",
        "there is no file `no-such`",
        "`sandbox.read` holds paths, not the integer 7",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
}
