//! `verify`: who is on each unknown image, or nobody known.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::data::{Decision, Match, identity_labels};
use crate::kind::{Arity, Input, Read, Source, Stage};
use crate::metric::accuracy::wilson;
use crate::metric::open_set::{Faces, Gallery, NOBODY, Nearest};
use crate::metric::threshold_search::{Outcome, Probe};

/// Maps each unknown face to the known identity most like it, or to `n000000`, nobody, where that
/// similarity is below the threshold.
///
/// Writes `matches.jsonl`: for each unknown image in order of file name its `path`, the answer `id`, the
/// `score` (the cosine, or the distance negated), the `nearest` identity whether accepted or not, and
/// `nearest-path`, the image of that identity that is most alike; the same without `nearest-path` as
/// `matches.csv`; and `identities.json`, every id that may be answered. Where `labels` are given also
/// `accuracy.json`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Verify {
    /// A CSV with the identity of each unknown image, in order of file name, where it is known; in the
    /// form that `threshold` takes.
    #[serde(default)]
    labels: Option<Source>,
}

/// The contents of `accuracy.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Accuracy {
    /// How many images were judged.
    images: usize,
    /// The share of right answers.
    accuracy: f64,
    /// Its 95 % interval (Wilson 1927).
    interval: [f64; 2],
    /// Of the images of known people, the share with the right identity.
    known_correct: f64,
    /// Of the images of nobody, the share called so.
    nobody_rejected: f64,
    /// Of the images of known people, the share whose nearest identity is right, accepted or not.
    rank_1: f64,
}

impl Stage for Verify {
    const KIND: &'static str = "verify";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Input] = &[
        Input {
            name: "known",
            accepts: &["embeddings"],
            arity: Arity::One,
            about: "embeddings of the known people, a folder each",
        },
        Input {
            name: "unknown",
            accepts: &["embeddings"],
            arity: Arity::One,
            about: "embeddings of the images to name",
        },
        Input {
            name: "threshold",
            accepts: &["threshold"],
            arity: Arity::One,
            about: "how to compare and when to reject",
        },
    ];
    const OUTPUT: &'static str = "matches";

    fn reads(&self) -> Vec<Read> {
        let read = |source: &Source| Read {
            parameter: "labels".to_owned(),
            source: source.clone(),
            path_matters: false,
        };
        self.labels.iter().map(read).collect()
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let decision = Decision::read(cx.input("threshold")?)?;
        let known = Faces::read(cx.input("known")?)?;
        let unknown = Faces::read(cx.input("unknown")?)?;
        let gallery = Gallery::new(&known, decision.similarity)?;
        let nearest = gallery.nearest(&unknown)?;
        let threshold = f64::from(decision.reject);

        let mut lines = String::new();
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["path", "id", "score", "nearest"])?;
        for (face, nearest) in unknown.list().iter().zip(&nearest) {
            let id = if nearest.score < threshold { NOBODY } else { nearest.identity };
            let line = serde_json::to_string(&Match {
                path: face.path.clone(),
                id: id.to_owned(),
                score: nearest.score,
                nearest: nearest.identity.to_owned(),
                nearest_path: nearest.path.to_owned(),
            });
            writeln!(lines, "{}", line.context("a match is plain data")?)?;
            table.write_record([&face.path, id, &nearest.score.to_string(), nearest.identity])?;
        }
        let put = |name: &str, bytes: &[u8]| {
            let path = cx.out().join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
        };
        put(Match::FILE, lines.as_bytes())?;
        put("matches.csv", &table.into_inner().context("a vector takes every row")?)?;
        let identities: Vec<&str> = std::iter::once(NOBODY).chain(gallery.names()).collect();
        put(
            Match::IDENTITIES,
            format!("{}\n", serde_json::to_string_pretty(&identities)?).as_bytes(),
        )?;
        let rejected = nearest.iter().filter(|nearest| nearest.score < threshold).count();
        tracing::info!(images = nearest.len(), rejected, "matched");
        cx.measure("rejected", rejected as f64 / nearest.len().max(1) as f64);

        let Some(labels) = &self.labels else { return Ok(()) };
        let path = cx.path(labels)?;
        let truth = identity_labels::read_for(&path, nearest.len(), gallery.names(), NOBODY)?;
        let accuracy = judge(&nearest, &truth, threshold);
        tracing::info!(accuracy = accuracy.accuracy, rank_1 = accuracy.rank_1);
        cx.measure("accuracy", accuracy.accuracy);
        cx.measure("rank-1", accuracy.rank_1);
        put("accuracy.json", format!("{}\n", serde_json::to_string_pretty(&accuracy)?).as_bytes())
    }
}

/// Counts right answers.
fn judge(nearest: &[Nearest<'_>], truth: &[String], threshold: f64) -> Accuracy {
    let (mut known, mut nobody, mut accepted, mut rejected, mut correct) = (0, 0, 0, 0, 0);
    for (nearest, truth) in nearest.iter().zip(truth) {
        let outcome = Gallery::outcome(nearest, truth);
        let right = Probe { score: nearest.score, outcome }.is_right(threshold);
        if outcome == Outcome::Unknown {
            nobody += 1;
            rejected += usize::from(right);
        } else {
            known += 1;
            accepted += usize::from(right);
            correct += usize::from(outcome == Outcome::Correct);
        }
    }
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let images = known + nobody;
    Accuracy {
        images,
        accuracy: share(accepted + rejected, images),
        interval: wilson((accepted + rejected) as u64, images as u64),
        known_correct: share(accepted, known),
        nobody_rejected: share(rejected, nobody),
        rank_1: share(correct, known),
    }
}

#[cfg(test)]
mod tests {
    use super::{Accuracy, Verify};
    use crate::context::Trial;
    use crate::data::{Embeddings, Match, read_lines};
    use crate::kind::{Source, Stage};
    use crate::metric::accuracy::wilson;

    /// Two known people at a right angle, and four unknown images, the last of nobody.
    fn setting(reject: &str) -> Trial {
        let mut trial = Trial::new();
        let known = [("n000002/a.jpg", [0.0, 1.0]), ("n000001/a.jpg", [2.0, 0.0])];
        Embeddings::of_test(&known).write_as_input(&mut trial, "known");
        let unknown = [
            ("0.jpg", [3.0, 0.0]),
            ("1.jpg", [0.1, 1.0]),
            ("2.jpg", [1.0, 1.0]),
            ("3.jpg", [1.0, 0.9]),
        ];
        Embeddings::of_test(&unknown).write_as_input(&mut trial, "unknown");
        trial.write(
            "threshold/threshold.json",
            format!("{{\"similarity\":\"cosine\",\"reject\":{reject}}}"),
        );
        trial.wire("threshold", "threshold");
        trial
    }

    fn answers(trial: &Trial, labels: Option<Source>) -> Vec<(String, String)> {
        Verify { labels }.run(&trial.context).unwrap();
        let matches: Vec<Match> = read_lines(&trial.context.out().join("matches.jsonl")).unwrap();
        matches.into_iter().map(|one| (one.id, one.nearest)).collect()
    }

    #[test]
    fn answers_by_hand() {
        let pairs = |of: &[(&str, &str)]| -> Vec<(String, String)> {
            of.iter().map(|&(id, nearest)| (id.to_owned(), nearest.to_owned())).collect()
        };
        let trial = setting("{\"below\":0.72}");
        // The third image is as much alike to both: the first by name counts.
        let (one, two, nobody) = ("n000001", "n000002", "n000000");
        let expected = pairs(&[(one, one), (two, two), (nobody, one), (one, one)]);
        assert_eq!(answers(&trial, None), expected);
        assert!(!trial.context.out().join("accuracy.json").exists());
        let all = pairs(&[(one, one), (two, two), (one, one), (one, one)]);
        assert_eq!(answers(&setting("\"never\""), None), all);
        let none = pairs(&[(nobody, one), (nobody, two), (nobody, one), (nobody, one)]);
        assert_eq!(answers(&setting("\"always\""), None), none);
    }

    #[test]
    fn with_labels_the_accuracy_is_told() {
        let trial = setting("{\"below\":0.8}");
        let text = "id,label\n0,n000002\n1,n000002\n2,n000002\n3,n000000\n";
        let labels = Source(trial.write("truth.csv", text).display().to_string());
        answers(&trial, Some(labels));
        let text = std::fs::read(trial.context.out().join("accuracy.json")).unwrap();
        let found: Accuracy = serde_json::from_slice(&text).unwrap();
        let expected = Accuracy {
            images: 4,
            accuracy: 0.5,
            interval: wilson(2, 4),
            known_correct: 1.0 / 3.0,
            nobody_rejected: 1.0,
            rank_1: 1.0 / 3.0,
        };
        assert_eq!(found, expected);
        assert_eq!(trial.measure("accuracy"), Some(0.5));
        let identities =
            std::fs::read_to_string(trial.context.out().join("identities.json")).unwrap();
        let identities: Vec<String> = serde_json::from_str(&identities).unwrap();
        assert_eq!(identities, ["n000000", "n000001", "n000002"]);
    }
}
