//! `pipe init`: a project that works at once, and nothing of what was there lost.

use crate::project::Project;

#[test]
fn a_new_project_runs() {
    let project = Project::new();
    let made = project.pipe(&["init", "mine"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(
        made.stdout.contains("next: cd mine && pipe run pipelines/verify.toml"),
        "{}",
        made.stdout
    );
    let checked =
        project.pipe(&["-C", "mine", "check", "pipelines/verify.toml", "pipelines/smoke.toml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let schema = project.pipe(&["schema"]).stdout;
    assert_eq!(project.read("mine/pipelines/pipe.schema.json"), schema);
}

#[test]
fn what_is_there_is_kept() {
    let project = Project::new();
    project.write(".gitignore", "target\n");
    project.write("pipelines/verify.toml", "mine");
    let made = project.pipe(&["init"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.contains("kept   .gitignore"), "{}", made.stdout);
    assert!(made.stdout.contains("wrote  pipelines/smoke.toml"), "{}", made.stdout);
    assert_eq!(project.read(".gitignore"), "target\n");
    assert_eq!(project.read("pipelines/verify.toml"), "mine");
}

#[test]
fn where_no_project_can_be_made_is_told() {
    let project = Project::new();
    project.write("taken", "a file");
    let made = project.pipe(&["init", "taken"]);
    assert_eq!(made.code, Some(1));
    assert!(made.stderr.contains("cannot make taken/pipelines"), "{}", made.stderr);
    assert_eq!(project.read("taken"), "a file");
}
