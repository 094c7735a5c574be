//! A small training for tests: its data, its parameters, and everything it promises.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::context::{Context, Report, Trial};
use crate::data::{Entry, ShardWriter, Statistics};
use crate::kind::Stage as _;
use crate::kinds::train::Train;
use crate::rng::Random;

/// Side of the images.
const SIDE: usize = 16;
const PEOPLE: usize = 6;

/// Writes images of people, `count` of each, of whom each has an own soft pattern under noise.
pub(crate) fn people(directory: &Path, seed: u64, names: &[&str], count: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let classes = names.iter().map(|&name| name.to_owned()).collect();
    let mut writer = ShardWriter::create(directory, SIDE, SIDE, classes).unwrap();
    for (label, &name) in names.iter().enumerate() {
        let (mut entries, mut pixels) = (Vec::new(), Vec::new());
        for number in 0..count {
            entries.push(Entry {
                path: format!("{name}/{number}.png"),
                label: Some(label as u32),
                class: Some(name.to_owned()),
            });
            let mut noise = Random::new(seed, name, &[number as u64]);
            let shift = noise.between(-1.5, 1.5);
            for channel in 0..3 {
                let mut person = Random::new(1, name, &[channel]);
                let (base, pitch) = (person.between(80.0, 180.0), person.between(0.2, 1.2));
                let slope = person.between(-1.0, 1.0);
                for place in 0..SIDE * SIDE {
                    let (y, x) = ((place / SIDE) as f64, (place % SIDE) as f64 + shift);
                    let wave = 50.0 * (pitch * (x + slope * y)).sin();
                    pixels.push((base + wave + 15.0 * noise.normal()).clamp(0.0, 255.0) as u8);
                }
            }
        }
        writer.write(&entries, &pixels).unwrap();
    }
    writer.finish().unwrap();
}

/// The names of the people whom a trial trains on.
pub(crate) fn names() -> Vec<String> {
    (0..PEOPLE).map(|person| format!("n{person:06}")).collect()
}

/// Makes a trial with all inputs of a training.
pub(crate) fn trial() -> Trial {
    let mut trial = Trial::new();
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (name, seed, count) in [("train", 1, 9), ("dev", 2, 4)] {
        people(&trial.directory.path().join(name), seed, &names, count);
        trial.wire(name, name);
    }
    let stats = Statistics { images: 54, pixels: 1, mean: [0.5; 3], std: [0.2; 3] };
    std::fs::create_dir(trial.directory.path().join("stats")).unwrap();
    stats.write(&trial.directory.path().join("stats")).unwrap();
    trial.wire("stats", "stats");
    trial
}

/// Reads the parameters of a small training: three epochs of six steps.
pub(crate) fn settings(more: &str) -> Train {
    let text = format!(
        "{more}
        seed = 3
        epochs = 3
        batch = 8
        model.resnet = {{ depth = 18, width = 8, stem = \"small\", embedding = 16, dropout = 0.1 }}
        loss.cross-entropy = {{ smoothing = 0.1 }}
        optimizer.sgd = {{ rate = 0.05, nesterov = true }}
        schedule.cosine = {{ warm-up = 0.1 }}
        augment = [{{ flip = {{}} }}, {{ color-jitter = {{ brightness = 0.2 }} }}]"
    );
    toml::from_str(&text).unwrap()
}

/// Returns the bytes of every file below a directory, by name.
pub(crate) fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap);
    let files = walk.filter(|entry| entry.file_type().is_file()).map(|entry| {
        let name = entry.path().strip_prefix(directory).unwrap().display().to_string();
        (name, std::fs::read(entry.path()).unwrap())
    });
    files.collect()
}

/// Returns what the small training gives when nobody interferes.
pub(crate) fn undisturbed() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let trial = trial();
        settings("").run(&trial.context).unwrap();
        files(trial.context.out())
    })
}

/// Names the files that differ, since nobody reads their bytes in a message.
fn assert_same(found: &BTreeMap<String, Vec<u8>>, wanted: &BTreeMap<String, Vec<u8>>, when: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{when}");
    let differ: Vec<_> = found.keys().filter(|&name| found[name] != wanted[name]).collect();
    assert!(differ.is_empty(), "{when}: {differ:?} differ");
}

/// Runs on fresh inputs, cancelled after each of these numbers of steps in turn, then to the end.
fn interrupted(train: &Train, steps: &[u64]) -> BTreeMap<String, Vec<u8>> {
    let trial = trial();
    let mut context = trial.context;
    for &stop in steps {
        let (cancelled, told) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
        let flag = cancelled.clone();
        context.cancelled = cancelled;
        context.report = Box::new(move |report| {
            let Report::Progress { .. } = report else { return };
            flag.store(told.fetch_add(1, Ordering::Relaxed) + 1 == stop, Ordering::Relaxed);
        });
        let error = train.run(&context).unwrap_err();
        assert!(format!("{error:#}").contains("cancelled"), "{error:#}");
        assert!(files(&context.out).is_empty(), "an unfinished training leaves nothing");
    }
    context.cancelled = Arc::default();
    context.report = Box::new(|_| ());
    train.run(&context).unwrap();
    files(&context.out)
}

#[test]
fn a_small_net_learns() {
    let trial = trial();
    let mut train = settings("");
    train.epochs = 12.try_into().unwrap();
    assert_eq!(train.check(), []);
    train.run(&trial.context).unwrap();
    let found = files(trial.context.out());
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let event_file = format!("tensorboard/{}", crate::tensorboard::FILE_NAME);
    let wanted =
        ["best.safetensors", "last.safetensors", "metrics.jsonl", "model.json", &event_file];
    assert_eq!(names, wanted);
    assert!(trial.measure("dev-accuracy").unwrap() > 0.6, "{:?}", trial.measure("dev-accuracy"));
    assert!(trial.measure("dev-retrieval").unwrap() > 0.6, "{:?}", trial.measure("dev-retrieval"));
    let lines = String::from_utf8(found["metrics.jsonl"].clone()).unwrap();
    let loss = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap()
    };
    let losses: Vec<f64> = lines.lines().map(loss).collect();
    assert!(losses.len() == 12 && losses[11] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn killed_and_resumed_is_bit_identical() {
    // In the first epoch, in the middle of the second, after its last batch, before the last step.
    for steps in [&[1][..], &[9], &[12], &[17], &[4, 3, 6]] {
        let train = settings("");
        assert_same(&interrupted(&train, steps), undisturbed(), &format!("after {steps:?} steps"));
    }
}

#[test]
fn a_training_in_bf16_is_as_repeatable_and_near() {
    let whole = interrupted(&settings("precision = \"bf16\""), &[]);
    assert_same(&interrupted(&settings("precision = \"bf16\""), &[7]), &whole, "in bf16");
    let last = |files: &BTreeMap<String, Vec<u8>>| {
        let lines = String::from_utf8(files["metrics.jsonl"].clone()).unwrap();
        let line: serde_json::Value =
            serde_json::from_str(lines.lines().next_back().unwrap()).unwrap();
        line["loss"].as_f64().unwrap()
    };
    let (half, single) = (last(&whole), last(undisturbed()));
    assert!((half - single).abs() < 0.25 * single && half != single, "{half} and {single}");
}

#[test]
fn a_torn_checkpoint_costs_time_alone() {
    let mut trial = trial();
    let train = settings("checkpoint = { minutes = 0.000001 }");
    let left = Arc::new(AtomicU64::new(11));
    let cancelled = trial.context.cancelled.clone();
    trial.context.report = Box::new(move |_| {
        cancelled.store(left.fetch_sub(1, Ordering::Relaxed) == 1, Ordering::Relaxed);
    });
    train.run(&trial.context).unwrap_err();
    let folder = trial.context.scratch.join("checkpoints");
    let newest = files(&folder).into_iter().next_back().unwrap();
    assert_eq!(newest.0, "000000000011.checkpoint");
    std::fs::write(folder.join(newest.0), &newest.1[..newest.1.len() / 2]).unwrap();
    trial.context.cancelled = Arc::default();
    trial.context.report = Box::new(|_| ());
    train.run(&trial.context).unwrap();
    assert_same(&files(trial.context.out()), undisturbed(), "with a torn checkpoint");
}

#[test]
fn threads_and_free_parameters_do_not_change_a_byte() {
    let free = "checkpoint = { epochs = 0, minutes = 0 }\nlog-interval = 1\nrecompute = true\n";
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| {
            let trial = trial();
            settings(&format!("{free}workers = {threads}")).run(&trial.context).unwrap();
            files(trial.context.out())
        });
        assert_same(&found, undisturbed(), &format!("with {threads} threads"));
    }
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let check = |train: &Train, change: &dyn Fn(&Context), expected: &str| {
        let trial = trial();
        change(&trial.context);
        let error = format!("{:#}", train.run(&trial.context).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    let nothing = |_: &Context| ();
    let dev = |names: &'static [&'static str]| {
        move |context: &Context| {
            let directory = context.input("dev").unwrap();
            std::fs::remove_dir_all(directory).unwrap();
            people(directory, 2, names, 1);
        }
    };
    let some = ["n000000", "n000001", "n000002", "n000003", "n000004"];
    let less: &'static [&str] = some.to_vec().leak();
    let other: &'static [&str] = [&some[..], &["n000009"]].concat().leak();
    let all: &'static [&str] = [&some[..], &["n000005"]].concat().leak();
    check(&settings(""), &dev(less), "class `n000005` of train is not in dev");
    check(&settings(""), &dev(other), "class `n000009` of dev is not in train");
    check(&settings("select = \"retrieval\""), &dev(all), "needs two dev images of some class");
    check(&settings("classes = 7"), &nothing, "are of 6 classes where `classes` says 7");
    check(&settings("parameter-limit = 1000"), &nothing, "are more than parameter-limit 1000");
    check(&settings("new-head = true"), &nothing, "`initial`, which is not wired");
    let mut train = settings("");
    train.batch = 55.try_into().unwrap();
    check(&train, &nothing, "a batch of 55 is more than the 54 training images");
    let mut train = settings("");
    train.optimizer = toml::from_str("sgd = { rate = 1e30 }").unwrap();
    check(&train, &nothing, "lower the optimizer's rate");
}

#[test]
fn a_model_over_the_limit_is_a_complaint_with_the_count() {
    let train = settings("parameter-limit = 7000\nclasses = 7001");
    let [complaint] = train.check().try_into().unwrap();
    assert_eq!(complaint.parameter, "model");
    let expected = "with a head of 7001 classes, 131712 of them in `layer4`, where parameter-limit";
    assert!(complaint.message.contains(expected), "{}", complaint.message);
    assert_eq!(settings("parameter-limit = 21_000_000\nclasses = 7001").check(), []);
}

#[test]
fn training_goes_on_from_given_weights() {
    let mut trial = trial();
    std::fs::create_dir(trial.directory.path().join("first")).unwrap();
    for (name, bytes) in undisturbed().iter().filter(|(name, _)| !name.contains('/')) {
        trial.write(&format!("first/{name}"), bytes);
    }
    trial.wire("initial", "first");
    settings("").run(&trial.context).unwrap();
    let went_on = trial.measure("train-loss").unwrap();
    let before = String::from_utf8(undisturbed()["metrics.jsonl"].clone()).unwrap();
    let before: serde_json::Value = serde_json::from_str(before.lines().last().unwrap()).unwrap();
    assert!(went_on < before["loss"].as_f64().unwrap(), "{went_on}");

    let names = names();
    let five: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    for set in ["train", "dev"] {
        let directory = trial.context.input(set).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        people(directory, 5, &five, 6);
    }
    for done in [&trial.context.scratch, &trial.context.out] {
        std::fs::remove_dir_all(done).unwrap();
        std::fs::create_dir(done).unwrap();
    }
    let error = format!("{:#}", settings("").run(&trial.context).unwrap_err());
    let expected = "the initial weights know 6 classes and the training images are of 5: set \
                    new-head = true";
    assert!(error.contains(expected), "{error}");
    settings("new-head = true").run(&trial.context).unwrap();
}
