//! Images to classes.

use std::collections::HashMap;
use std::num::NonZeroU32;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::embed::{INPUTS, Pass, Passed, default_batch, yes};
use crate::context::Context;
use crate::data::{Entry, Shards};
use crate::kind::{Input, Pool, Stage};
use crate::metric::accuracy::{ClosedSet, best, log_sum_exp};
use crate::training::description::{Precision, Which};

/// Predicts the class of each image: `predictions.jsonl` (`path`, `label`, `predicted`, `class`,
/// `probability` and the five likeliest as `top` for each) and `predictions.csv` (the same without
/// `top`); where every image is labelled also `accuracy.json` (`top-1` with its 95 % interval,
/// `top-5`, `macro`, `loss`).
///
/// Numbers of classes are those of the weights. Labels of images are matched by the name of their
/// class, so that the images may be of only some classes; a class that the weights do not know is
/// an error.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Classify {
    /// Which weights of the training.
    #[serde(default)]
    pub(crate) weights: Which,
    /// Whether the logits of an image and of its mirror image are averaged.
    #[serde(default = "yes")]
    pub(crate) flip: bool,
    /// In what numbers activations are computed; with bf16 they take half the memory.
    #[serde(default)]
    pub(crate) precision: Precision,
    /// Images computed together; on the CPU it cannot change the result.
    #[serde(default = "default_batch")]
    pub(crate) batch: NonZeroU32,
    /// Threads that prepare images, as many as the stage has where not given; cannot change the
    /// result.
    #[serde(default)]
    pub(crate) workers: Option<NonZeroU32>,
}

/// A line of `predictions.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Prediction {
    /// Relative to the folder that was preprocessed, with `/`.
    pub(crate) path: String,
    /// The class it is of, where that is known.
    pub(crate) label: Option<u32>,
    /// The likeliest class.
    pub(crate) predicted: u32,
    /// Its name.
    pub(crate) class: String,
    /// Its probability.
    pub(crate) probability: f64,
    /// The likeliest classes, at most five, best first.
    pub(crate) top: Vec<Guess>,
}

/// One of the likeliest classes of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Guess {
    /// The class.
    pub(crate) label: u32,
    /// Its name.
    pub(crate) class: String,
    /// Its probability.
    pub(crate) probability: f64,
}

impl Stage for Classify {
    const KIND: &'static str = "classify";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Input] = INPUTS;
    const OUTPUT: &'static str = "predictions";
    const POOL: Pool = Pool::Gpu;
    const FREE: &'static [&'static str] = &["batch", "workers"];

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let shards = Shards::open(cx.input("images")?)?;
        let pass = Pass {
            cx,
            which: self.weights,
            precision: self.precision,
            flip: self.flip,
            batch: self.batch.get() as usize,
            workers: self.workers.map(|workers| workers.get() as usize),
        };
        let Passed { embeddings, mirrored, network, description } = pass.run(&shards)?;
        let classes = &description.classes;
        let labels = labels(shards.entries(), classes)?;

        let mut passes = vec![embeddings.as_slice()];
        passes.extend(mirrored.as_deref());
        let mut set = ClosedSet::new(classes.len());
        let mut predictions = Vec::with_capacity(shards.len());
        network.logits(&passes, |image, logits| {
            let label = labels[image];
            if let Some(label) = label {
                set.add(logits, label);
            }
            predictions.push(predict(&shards.entries()[image], label, logits, classes));
            Ok(())
        })?;
        write(cx, &predictions)?;
        if !labels.is_empty() && labels.iter().all(Option::is_some) {
            let accuracy = set.accuracy();
            cx.measure("accuracy", accuracy.first);
            cx.measure("accuracy-5", accuracy.five);
            cx.measure("accuracy-macro", accuracy.balanced);
            tracing::info!(accuracy = accuracy.first, images = accuracy.images, "classified");
            let text = serde_json::to_string_pretty(&accuracy).context("figures are plain data")?;
            put(cx, "accuracy.json", (text + "\n").as_bytes())?;
        }
        Ok(())
    }
}

/// Returns the class of each image by the weights' numbers, matched by name.
fn labels(entries: &[Entry], classes: &[String]) -> anyhow::Result<Vec<Option<u32>>> {
    let numbers: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let number = |entry: &Entry| {
        let Some(class) = entry.class.as_deref() else { return Ok(None) };
        let number = numbers.get(class).with_context(|| {
            format!(
                "class `{class}` of {} is not one of the {} classes of the weights",
                entry.path,
                classes.len()
            )
        })?;
        Ok(Some(*number))
    };
    entries.iter().map(number).collect()
}

fn predict(entry: &Entry, label: Option<u32>, logits: &[f32], classes: &[String]) -> Prediction {
    let all = log_sum_exp(logits);
    let guess = |class: u32| Guess {
        label: class,
        class: classes[class as usize].clone(),
        probability: (f64::from(logits[class as usize]) - all).exp(),
    };
    let top: Vec<Guess> = best(logits, 5).into_iter().map(guess).collect();
    let Guess { label: predicted, class, probability } = top[0].clone();
    Prediction { path: entry.path.clone(), label, predicted, class, probability, top }
}

fn write(cx: &Context, predictions: &[Prediction]) -> anyhow::Result<()> {
    let mut lines = String::new();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["path", "label", "predicted", "class", "probability"])?;
    for one in predictions {
        lines += &serde_json::to_string(one).context("a prediction is plain data")?;
        lines.push('\n');
        let label = one.label.map(|label| label.to_string()).unwrap_or_default();
        let numbers = (one.predicted.to_string(), one.probability.to_string());
        table.write_record([&one.path, &label, &numbers.0, &one.class, &numbers.1])?;
    }
    put(cx, "predictions.jsonl", lines.as_bytes())?;
    put(cx, "predictions.csv", &table.into_inner().context("the table is in memory")?)
}

fn put(cx: &Context, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = cx.out().join(name);
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Classify, Prediction, labels, predict};
    use crate::data::Entry;
    use crate::kind::Stage as _;
    use crate::training::trials::{files, people, trial, undisturbed};

    fn entry(class: Option<&str>) -> Entry {
        let label = class.map(|_| 0);
        Entry { path: "a/1.png".to_owned(), label, class: class.map(str::to_owned) }
    }

    #[test]
    fn labels_are_matched_by_name() {
        let classes = ["ann", "bob", "eve"].map(str::to_owned);
        let found = labels(&[entry(Some("eve")), entry(None), entry(Some("ann"))], &classes);
        assert_eq!(found.unwrap(), [Some(2), None, Some(0)]);
        let error = labels(&[entry(Some("sam"))], &classes).unwrap_err().to_string();
        assert_eq!(error, "class `sam` of a/1.png is not one of the 3 classes of the weights");
    }

    #[test]
    fn probabilities_are_those_of_softmax() {
        let classes = ["ann", "bob", "eve"].map(str::to_owned);
        let logits = [0.0, 3.0_f32.ln(), 0.0];
        let found = predict(&entry(None), None, &logits, &classes);
        assert_eq!((found.predicted, found.class.as_str(), found.top.len()), (1, "bob", 3));
        let shares: Vec<f64> = found.top.iter().map(|guess| guess.probability).collect();
        for (share, expected) in shares.iter().zip([0.6, 0.2, 0.2]) {
            assert!((share - expected).abs() < 1e-7, "{shares:?}");
        }
        assert_eq!(found.top[1].class, "ann");
    }

    /// Classifies images of these people with the weights of the small training.
    fn classify(parameters: &str, names: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let mut trial = trial();
        for (name, bytes) in undisturbed() {
            trial.write(&format!("weights/{name}"), bytes);
        }
        people(&trial.directory.path().join("images"), 9, names, 3);
        trial.wire("weights", "weights");
        trial.wire("images", "images");
        toml::from_str::<Classify>(parameters).unwrap().run(&trial.context)?;
        Ok(files(trial.context.out()))
    }

    #[test]
    fn some_classes_in_another_order_are_matched_by_name() {
        let found = classify("", &["n000004", "n000001"]).unwrap();
        let lines = String::from_utf8(found["predictions.jsonl"].clone()).unwrap();
        let predictions: Vec<Prediction> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let labels: Vec<_> = predictions.iter().map(|one| one.label.unwrap()).collect();
        assert_eq!(labels, [4, 4, 4, 1, 1, 1]);
        let right = predictions.iter().filter(|one| Some(one.predicted) == one.label).count();
        let accuracy: serde_json::Value = serde_json::from_slice(&found["accuracy.json"]).unwrap();
        assert_eq!(accuracy["top-1"].as_f64().unwrap(), right as f64 / 6.0);
        assert_eq!(accuracy["images"], 6);
        let table = String::from_utf8(found["predictions.csv"].clone()).unwrap();
        assert_eq!(table.lines().count(), 7);
        assert!(table.lines().nth(4).unwrap().starts_with("n000001/0.png,1,"), "{table}");
        let error = classify("", &["n000007"]).unwrap_err().to_string();
        assert!(error.contains("class `n000007` of n000007/0.png is not one of the 6"), "{error}");
    }

    #[test]
    fn the_batch_does_not_change_a_byte() {
        let wanted = classify("", &["n000000", "n000003"]).unwrap();
        for batch in [1, 4] {
            let text = format!("batch = {batch}");
            assert_eq!(classify(&text, &["n000000", "n000003"]).unwrap(), wanted, "{batch}");
        }
        assert_ne!(classify("flip = false", &["n000000", "n000003"]).unwrap(), wanted);
    }
}
