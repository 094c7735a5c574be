//! The pipelines that users run.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::project::Project;

/// Makes a project with the pipelines in it.
fn project() -> Project {
    let project = Project::new();
    for (name, text) in pipelines() {
        project.write(&format!("pipelines/{name}"), &text);
    }
    project
}

/// The names and texts of the pipelines.
fn pipelines() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

#[track_caller]
fn succeed(project: &Project, arguments: &[&str]) -> String {
    let shown = project.pipe(arguments);
    assert_eq!(shown.code, Some(0), "{arguments:?}\n{}{}", shown.stdout, shown.stderr);
    shown.stdout
}

/// Reads a CSV of two columns: its header, and its rows.
fn table(project: &Project, path: &str) -> (String, Vec<(String, String)>) {
    let text = project.read(path);
    let (header, rows) = text.split_once('\n').unwrap();
    let two = |line: &str| {
        let (id, label) = line.split_once(',').unwrap();
        (id.to_owned(), label.to_owned())
    };
    (header.to_owned(), rows.lines().map(two).collect())
}

/// With data where they look for it, nothing is wrong with any of them.
#[test]
fn every_pipeline_can_run() {
    let project = project();
    for (root, classification, verification) in [
        ("data/faces", "classification", "verification"),
        ("data/hw2p2", "11-785-f23-hw2p2-classification", "11-785-f23-hw2p2-verification"),
    ] {
        for folder in ["train", "dev", "test"] {
            project.write(&format!("{root}/{classification}/{folder}/x"), "");
        }
        for folder in ["known", "unknown_dev", "unknown_test"] {
            project.write(&format!("{root}/{verification}/{folder}/x"), "");
        }
        let sample = format!("{root}/{classification}/classification_sample_submission.csv");
        project.write(&sample, "");
        for table in ["verification_dev.csv", "verification_sample_submission.csv"] {
            project.write(&format!("{root}/{verification}/{table}"), "");
        }
    }
    let names: BTreeSet<String> = pipelines().into_iter().map(|(name, _)| name).collect();
    let expected = ["faces.toml", "hw2p2.toml", "smoke.toml", "verify.toml"];
    assert_eq!(names, expected.map(str::to_owned).into(), "name a new pipeline here");
    for name in names {
        succeed(&project, &["check", &format!("pipelines/{name}")]);
    }
}

/// The rules of the competition are held to before anything runs.
#[test]
fn a_net_beyond_the_rules_is_refused() {
    let project = project();
    let wide = ["--set", "stage.net.model.resnet.width=64", "--set", "params.data=pipelines"];
    let shown = project.pipe(&[&["check", "pipelines/hw2p2.toml"], &wide[..]].concat());
    assert_eq!(shown.code, Some(2));
    assert!(shown.stderr.contains("where parameter-limit allows 21000000"), "{}", shown.stderr);
}

#[test]
fn the_smoke_pipeline_goes_from_nothing_to_two_submissions() {
    let project = project();
    succeed(&project, &["run", "pipelines/smoke.toml"]);
    let result = |path: &str| format!(".pipe/latest/smoke/{path}");

    let (header, rows) = table(&project, &result("submit-classification/submission.csv"));
    let sample = result("faces/classification/classification_sample_submission.csv");
    let (sample_header, sample_rows) = table(&project, &sample);
    assert_eq!(header, sample_header);
    let ids = |rows: &[(String, String)]| rows.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&rows), ids(&sample_rows));
    assert!(rows.iter().all(|(_, label)| label.parse::<u32>().unwrap() < 6), "{rows:?}");

    let (header, rows) = table(&project, &result("submit-verification/submission.csv"));
    let sample = result("faces/verification/verification_sample_submission.csv");
    let (sample_header, sample_rows) = table(&project, &sample);
    assert_eq!((header, ids(&rows)), (sample_header, ids(&sample_rows)));
    let known = fs::read_dir(project.path(&result("faces/verification/known"))).unwrap();
    let mut known: BTreeSet<String> =
        known.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    known.insert("n000000".to_owned());
    assert!(rows.iter().all(|(_, label)| known.contains(label)), "{rows:?}");

    let again = succeed(&project, &["run", "pipelines/smoke.toml", "--json"]);
    assert!(!again.contains(r#""event":"ran""#) && again.contains(r#""event":"fresh""#), "{again}");
    metrics_tell_what_was_measured(&project, rows.len());
}

/// Of the smoke pipeline, all of it fresh, whose submission for verification has so many rows.
fn metrics_tell_what_was_measured(project: &Project, rows: usize) {
    let metrics = ["metrics", "pipelines/smoke.toml"];
    let told = |more: &[&str]| succeed(project, &[&metrics, more].concat());
    let lines = |more: &[&str]| -> Vec<serde_json::Value> {
        told(more).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };

    let all = lines(&["--json"]);
    assert!(all.len() > 3 && all.iter().all(|line| line["state"] == "fresh"), "{all:?}");
    for line in &all {
        let step = line["step"].as_str().unwrap();
        let stored = project.read(&format!(".pipe/latest/smoke/{step}.json"));
        let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
        assert_eq!(line["measures"], stored["manifest"]["measures"], "{step}");
        assert_eq!(line["key"], stored["manifest"]["key"], "{step}");
    }
    let sorted = lines(&["--json", "--sort", "accuracy"]);
    let accuracy = |line: &serde_json::Value| line["measures"]["accuracy"].as_f64();
    let figures: Vec<Option<f64>> = sorted.iter().map(accuracy).collect();
    assert!(figures.iter().flatten().count() > 1, "{figures:?}");
    assert!(figures.is_sorted_by(|a, b| a >= b), "{figures:?}");

    let csv = told(&["submit-verification", "--csv"]);
    let (header, row) = csv.trim_end().split_once('\n').unwrap();
    assert_eq!(header, "step,key,state,rows");
    assert!(row.starts_with("submit-verification,"), "{csv}");
    assert!(row.ends_with(&format!(",fresh,{rows}")), "{csv}");

    let changed =
        told(&["--set", "stage.threshold.bootstrap=50", "threshold", "mark-verification"]);
    let line = |step: &str| changed.lines().find(|line| line.trim().starts_with(step)).unwrap();
    assert!(line("threshold").ends_with("  out of date"), "{changed}");
    assert!(line("mark-verification").ends_with("  may be out of date"), "{changed}");

    let slip = project.pipe(&[&metrics[..], &["--sort", "acuracy"]].concat());
    assert_eq!(slip.code, Some(2), "{slip}");
    assert!(slip.stderr.contains("did you mean `accuracy`?"), "{slip}");
}

/// One core or many: every file of every result is the same.
#[cfg(target_os = "linux")]
#[test]
fn the_number_of_cores_changes_no_byte() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    let project = project();
    // Several blocks of images for each step to add up, and several pieces in each block.
    let small = "stage.train-images.shard-size=10";
    let run = |store: &str| {
        succeed(&project, &["run", "pipelines/smoke.toml", "--set", small, "--store", store]);
        crate::crash::content(&project.path(store).join("latest/smoke"))
    };
    let many = run("many");
    let one = std::thread::scope(|scope| {
        let on_one_core = || {
            let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
            let first = (0..CpuSet::count()).find(|&core| all.is_set(core).unwrap()).unwrap();
            let mut only = CpuSet::new();
            only.set(first).unwrap();
            sched_setaffinity(Pid::from_raw(0), &only).unwrap();
            run("one")
        };
        scope.spawn(on_one_core).join().unwrap()
    });
    assert!(many.keys().eq(one.keys()) && !many.is_empty());
    for (path, bytes) in many {
        assert!(one[&path] == bytes, "{path} depends on the number of cores");
    }
}

/// What another run drew stands in for photographs.
#[test]
fn the_faces_pipeline_takes_a_folder() {
    let project = project();
    succeed(&project, &["run", "pipelines/smoke.toml", "faces"]);
    let mut run = vec!["run", "pipelines/faces.toml"];
    for setting in [
        "params.data=.pipe/latest/smoke/faces",
        "params.size=32",
        "stage.net.epochs=1",
        "stage.net.batch=12",
        "stage.net.model.resnet={ depth = 18, width = 8 }",
    ] {
        run.extend(["--set", setting]);
    }
    succeed(&project, &run);
    let (_, rows) = table(&project, ".pipe/latest/faces/submit-verification/submission.csv");
    assert_eq!(rows.len(), 9);
}
