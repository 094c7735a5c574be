//! The way from embeddings to a verification submission, marked by the truth that `synthesize` knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::context::{Context, Trial};
use crate::data::{Embeddings, read_lines};
use crate::kinds::find;
use crate::rng::Random;

/// Runs a kind with these parameters and inputs, and returns its output directory.
fn run(
    kind: &str,
    parameters: serde_json::Value,
    inputs: &[(&str, &Path)],
    trial: &Trial,
) -> PathBuf {
    let out = trial.directory.path().join(kind);
    std::fs::create_dir(&out).unwrap();
    let inputs = inputs.iter().map(|(name, path)| ((*name).to_owned(), vec![path.to_path_buf()]));
    let context = Context {
        inputs: inputs.collect(),
        steps: BTreeMap::new(),
        out: out.clone(),
        scratch: trial.context.scratch.clone(),
        earlier: None,
        device: trial.context.device,
        threads: 2,
        cancelled: trial.context.cancelled.clone(),
        program_memory: trial.context.program_memory.clone(),
        report: Box::new(|_| ()),
    };
    (find(kind).unwrap().restore)(parameters).unwrap().run(&context).unwrap();
    out
}

/// Embeds a folder by hand: a direction of its own for each person, and noise for each picture.
fn embed(trial: &Trial, folder: &Path, who: impl Fn(usize, &str) -> String, noise: f64) -> PathBuf {
    let paths = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let paths: Vec<String> = paths
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().display().to_string())
        .collect();
    // Not the whole path: the folder it is in has another name each time.
    let name = folder.file_name().unwrap().display();
    let direction = |purpose: &str| {
        let mut random = Random::new(1, purpose, &[]);
        [(); 24].map(|()| random.normal())
    };
    let rows: Vec<(&str, [f32; 24])> = paths
        .iter()
        .enumerate()
        .map(|(position, path)| {
            let person = direction(&who(position, path));
            let here = direction(&format!("{name}/{path}"));
            let mixed: [f32; 24] = std::array::from_fn(|i| (person[i] + noise * here[i]) as f32);
            (path.as_str(), mixed)
        })
        .collect();
    let out = trial.directory.path().join(format!("embed-{name}"));
    std::fs::create_dir(&out).unwrap();
    Embeddings::of_test(&rows).write(&out).unwrap();
    out
}

/// Reads the second column of a CSV with a header.
fn column(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
}

/// Goes the whole way, and returns the accuracy that each of threshold, verify and the submission has.
fn go(noise: f64) -> [f64; 3] {
    let trial = Trial::new();
    let small = serde_json::json!({
        "size": 8, "identities": 1, "train-images": 1, "dev-images": 1, "test-images": 1,
        "known": 30, "unknown-dev": 180, "unknown-test": 270, "unknown-share": 0.2,
    });
    let faces = run("synthesize", small, &[], &trial);
    let folder = |name: &str| faces.join("verification").join(name);
    let known = embed(
        &trial,
        &folder("known"),
        |_, path| path.split('/').next().unwrap().to_owned(),
        noise,
    );
    // Each stranger is somebody else.
    let person = |labels: &Path| {
        let labels = column(labels);
        move |position: usize, path: &str| match labels[position].as_str() {
            "n000000" => format!("stranger {path}"),
            known => known.to_owned(),
        }
    };
    let truth = faces.join("truth/verification_test.csv");
    let dev_labels = folder("verification_dev.csv");
    let dev = embed(&trial, &folder("unknown_dev"), person(&dev_labels), noise);
    let test = embed(&trial, &folder("unknown_test"), person(&truth), noise);

    let threshold = run(
        "threshold",
        serde_json::json!({"labels": dev_labels}),
        &[("known", &known), ("unknown", &dev)],
        &trial,
    );
    let inputs = [("known", &*known), ("unknown", &*test), ("threshold", &*threshold)];
    let matches = run("verify", serde_json::json!({"labels": truth}), &inputs, &trial);
    let sample = folder("verification_sample_submission.csv");
    let submission =
        run("submit", serde_json::json!({"sample": sample}), &[("answers", &matches)], &trial);

    let answers = column(&submission.join("submission.csv"));
    let right = answers.iter().zip(column(&truth)).filter(|(answer, truth)| **answer == *truth);
    let marked = right.count() as f64 / answers.len() as f64;
    let figure = |path: PathBuf, name: &str| {
        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        read[name].as_f64().unwrap()
    };
    let lines: Vec<serde_json::Value> = read_lines(&matches.join("matches.jsonl")).unwrap();
    assert_eq!(lines.len(), 270);
    [
        figure(threshold.join("threshold.json"), "leave-one-out-accuracy"),
        figure(matches.join("accuracy.json"), "accuracy"),
        marked,
    ]
}

/// Whether figures are the same but for the last digit, which is lost on the way through JSON.
fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn good_embeddings_get_good_marks() {
    let [promised, judged, marked] = go(0.35);
    assert!(marked > 0.97, "{marked}");
    assert!(is_same(judged, marked), "{judged} {marked}");
    assert!((promised - marked).abs() < 0.03, "{promised} {marked}");
}

#[test]
fn what_is_promised_of_poor_embeddings_is_kept() {
    let [promised, judged, marked] = go(1.0);
    assert!((0.4..0.9).contains(&marked), "{marked}");
    assert!(is_same(judged, marked), "{judged} {marked}");
    assert!((promised - marked).abs() < 0.08, "{promised} {marked}");
}
