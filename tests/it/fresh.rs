//! What runs again and what does not.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use crate::project::Project;

#[test]
fn a_second_run_finds_everything_fresh() {
    let project = Project::small();
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "-j1"]), @r#"
    exit code 0
        other  started
      ✓ other  ran [TIME] s  never run
        list   started
      ✓ list   ran [TIME] s  never run
        count  started
      ✓ count  ran [TIME] s  never run

      3 ran in [TIME] s
      result in .pipe/latest/p/count/
      result in .pipe/latest/p/other/
    "#);
    assert_eq!(project.read(".pipe/latest/p/list/list.txt"), "apple\npear\n");
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "-j1"]), @r#"
    exit code 0
      · other  fresh
      · list   fresh
      · count  fresh

      3 steps up to date in [TIME] s
      result in .pipe/latest/p/count/
      result in .pipe/latest/p/other/
    "#);
}

#[test]
fn of_many_results_a_run_names_some() {
    let project = Project::new();
    let step = |name: &String| {
        let run = format!("[\"sh\", \"-c\", \"echo {name} > {{out}}/x\"]");
        format!("[stage.{name}]\nkind = \"command\"\nrun = {run}\noutputs = [\"x\"]\n")
    };
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    project.write("p.toml", &names.iter().map(step).collect::<String>());
    // What is remembered of the links must be that of the run before, and not of one in the same instant.
    for (turn, expected) in ["10 ran", "up to date", "up to date"].into_iter().enumerate() {
        let run = project.pipe(&["run", "p.toml"]);
        assert!(run.stderr.contains(expected), "{turn}: {run}");
        assert_eq!(run.stderr.matches("result in .pipe/latest/p/s").count(), 8, "{run}");
        assert!(run.stderr.contains("  and 2 more beside them in .pipe/latest/p/\n"), "{run}");
        std::thread::sleep(Duration::from_millis(60));
        let listed = fs::read_dir(project.path(".pipe/latest/p")).unwrap().count();
        assert_eq!(listed, 20, "a link to the files and one to the record of each");
    }
}

#[test]
fn a_touched_file_changes_nothing() {
    let project = Project::small();
    project.ran();
    let file = File::options().write(true).open(project.path("in/a.txt")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn a_changed_file_runs_what_depends_on_it() {
    let project = Project::small();
    project.ran();
    project.write("in/c.txt", "fig\n");
    assert_eq!(project.ran(), ["list", "count"]);
    assert_eq!(project.read(".pipe/latest/p/count/count.txt").trim(), "3");
}

#[test]
fn the_same_output_ends_the_wave() {
    let project = Project::small();
    project.ran();
    project.write("in/a.txt", "apple\n");
    project.write("in/b.txt", "pear\n");
    assert_eq!(project.ran(), ["list"]);
    insta::assert_snapshot!(project.pipe(&["why", "p.toml", "list"]).stdout, @r#"
    list is fresh: result [KEY] of [WHEN] [WHEN], made in [TIME] s
    it was made because of:
      read.files.0 changed: a.txt changed, b.txt changed
    "#);
}

#[test]
fn an_edit_that_keeps_size_and_mtime_is_noticed() {
    let project = Project::small();
    project.ran();
    let path = project.path("in/a.txt");
    let before = fs::metadata(&path).unwrap();
    project.write("in/a.txt", "plum\n");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.len(), before.mtime_nsec()), (after.len(), after.mtime_nsec()));
    assert_eq!(project.ran(), ["list", "count"]);
}

#[test]
fn an_output_edited_by_hand_is_repaired() {
    let project = Project::small();
    project.ran();
    let output = project.path(".pipe/latest/p/list/list.txt");
    let mut permissions = fs::metadata(&output).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&output, permissions).unwrap();
    fs::write(&output, "mine\n").unwrap();
    project.ran();
    assert_eq!(project.read(".pipe/latest/p/list/list.txt"), "apple\npear\n");
    assert_eq!(project.pipe(&["store", "verify"]).code, Some(0));
    assert_eq!(project.ran(), [""; 0]);
}

#[test]
fn a_reverted_input_runs_nothing() {
    let project = Project::small();
    project.ran();
    project.write("in/a.txt", "quince\nfig\n");
    assert_eq!(project.ran(), ["list", "count"]);
    project.write("in/a.txt", "pear\n");
    assert_eq!(project.ran(), [""; 0]);
    assert_eq!(project.read(".pipe/latest/p/list/list.txt"), "apple\npear\n");
}

#[test]
fn a_changed_parameter_is_named() {
    let project = Project::small();
    project.ran();
    let changed = project.read("p.toml").replace("echo other", "echo another");
    project.write("p.toml", &changed);
    insta::assert_snapshot!(project.pipe(&["plan", "p.toml"]), @r#"
    exit code 0
      fresh    list
      fresh    count
      run      other  param.run.2: "echo other > {out}/other.txt" → "echo another > {out}/other.txt"

      3 steps: 1 would run, 2 fresh
    "#);
    assert_eq!(project.ran(), ["other"]);
}

#[test]
fn only_the_forced_step_runs() {
    let project = Project::small();
    project.ran();
    insta::assert_snapshot!(project.pipe(&["run", "p.toml", "-j1", "--force=list"]), @r#"
    exit code 0
      · other  fresh
        list   started
      ✓ list   ran [TIME] s  forced
      · count  fresh

      1 ran, 2 fresh in [TIME] s
      result in .pipe/latest/p/count/
      result in .pipe/latest/p/other/
    "#);
}

#[test]
fn two_runs_at_once_make_a_step_once() {
    let project = Project::new();
    project.write(
        "p.toml",
        &format!(
            r#"
[stage.slow]
kind = "command"
run = ["sh", "-c", "echo once >> {}/times; sleep 0.5; echo x > {{out}}/x"]
outputs = ["x"]
"#,
            project.root().display()
        ),
    );
    let runs = [project.start(&["run", "p.toml"]), project.start(&["run", "p.toml"])];
    for run in runs {
        let shown = project.shown(&run.wait_with_output().unwrap());
        assert_eq!(shown.code, Some(0), "{shown}");
    }
    assert_eq!(project.read("times"), "once\n");
}

#[test]
fn the_store_may_be_elsewhere() {
    let project = Project::small();
    let shown = project.pipe(&["run", "p.toml", "--store", "results"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(project.read("results/latest/p/other/other.txt"), "other\n");
    assert!(!project.path(".pipe").exists());
}

/// Eight images of four by four pixels, two to a shard.
fn images() -> Project {
    let project = Project::new();
    for number in 0..8 {
        image(&project, number, number);
    }
    project.write(
        "p.toml",
        "[stage.images]\nkind = \"preprocess\"\nimages = \"faces\"\nsize = 4\nshard-size = 2\n",
    );
    project
}

fn image(project: &Project, number: u8, grey: u8) {
    let pixels = String::from(char::from(b'0' + grey)).repeat(48);
    project.write(&format!("faces/{number}.ppm"), &format!("P6 4 4 255\n{pixels}"));
}

#[test]
fn one_changed_image_is_the_only_one_that_is_decoded() {
    let project = images();
    assert_eq!(project.ran(), ["images"]);
    let shard = |number: usize| {
        let path = format!(".pipe/latest/p/images/shards/{number:05}.safetensors");
        fs::metadata(project.path(&path)).unwrap().ino()
    };
    let before: Vec<u64> = (0..4).map(shard).collect();

    image(&project, 5, 9);
    assert_eq!(project.ran(), ["images"]);
    let same = (0..4).map(|number| shard(number) == before[number]).collect::<Vec<_>>();
    assert_eq!(same, [true, true, false, true], "the others are the same files");
    let log = project.pipe(&["log", "p.toml", "images"]).stdout;
    assert!(log.contains("decoded=1"), "{log}");

    // A run that knows nothing of the past, and one that was told to forget it, give the same.
    let anew = images();
    image(&anew, 5, 9);
    anew.ran();
    let results = |project: &Project| crate::crash::content(&project.path(".pipe/latest/p"));
    assert!(results(&project) == results(&anew));
    let forced = project.pipe(&["run", "p.toml", "--force"]);
    assert_eq!(forced.code, Some(0), "{forced}");
    assert!(project.pipe(&["log", "p.toml", "images"]).stdout.contains("decoded=8"));
    assert!(results(&project) == results(&anew));

    image(&project, 8, 3);
    fs::remove_file(project.path("faces/0.ppm")).unwrap();
    project.ran();
    assert!(project.pipe(&["log", "p.toml", "images"]).stdout.contains("decoded=1"));
    image(&anew, 8, 3);
    fs::remove_file(anew.path("faces/0.ppm")).unwrap();
    anew.pipe(&["run", "p.toml", "--force"]);
    assert!(results(&project) == results(&anew));
}
