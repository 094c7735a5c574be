//! `threshold`: from labelled probes, the score below which a face is nobody known.

mod rule;

use std::fs;

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::data::{Decision, Reject, identity_labels};
use crate::kind::{Arity, Input, Read, Source, Stage};
use crate::metric::bootstrap::{interval, resample};
use crate::metric::gaussian_rule::GaussianRule;
use crate::metric::open_set::{Faces, Gallery, NOBODY, Similarity};
use crate::metric::threshold_search::{Outcome, Probe, best, sort, steps};

use rule::Rule;

/// Chooses the threshold of open-set identification.
///
/// Every unknown face is compared with the template of every known identity (the mean of the
/// embeddings of its images). It is accepted as the most similar one when that similarity reaches the
/// threshold, and is `n000000`, nobody, otherwise; of equally similar identities the first by name
/// counts. The share of right answers is the accuracy.
///
/// The accuracy that the rule promises for new images is its leave-one-out accuracy: each image is
/// judged by the threshold chosen from all the others. Its interval, and that of the threshold, hold
/// 95 % of what `bootstrap` resamples of the images give.
///
/// Writes `threshold.json` and, for a plot, `curve.csv`: for every threshold that tells the images
/// apart, the accuracy, the share of correct answers among images of known people, and the share of
/// images of nobody that are rejected.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Threshold {
    /// A CSV with the identity of each unknown image, in order of file name: the column `label`, or the
    /// last one of a file without header. `n000000` is nobody.
    labels: Source,
    /// How embeddings are compared.
    #[serde(default)]
    similarity: Choice,
    /// How the threshold is chosen.
    #[serde(default)]
    rule: Rule,
    /// How many resamples the intervals rest on; 0 leaves them out.
    #[serde(default = "default_bootstrap")]
    bootstrap: u32,
    /// The seed of the resamples.
    #[serde(default)]
    seed: u64,
}

/// How embeddings are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Choice {
    /// The cosine of the angle between them.
    #[default]
    Cosine,
    /// The distance between them, negated.
    Euclidean,
    /// Whichever has the higher leave-one-out accuracy; the cosine where they are equal.
    Auto,
}

fn default_bootstrap() -> u32 {
    1000
}

/// The contents of `threshold.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Summary {
    /// How embeddings are compared.
    similarity: Similarity,
    /// When a face is called nobody.
    reject: Reject,
    /// How that was chosen.
    rule: Rule,
    /// What the rule promises for new images.
    leave_one_out_accuracy: f64,
    /// The bootstrap interval of that promise.
    leave_one_out_interval: Option<[f64; 2]>,
    /// The bootstrap interval of the threshold.
    reject_interval: Option<[Reject; 2]>,
    /// The accuracy on the given images, from which the threshold was chosen: it flatters.
    accuracy: f64,
    /// The best accuracy that any threshold has on the given images: it flatters most.
    best_accuracy: f64,
    /// The lowest and highest threshold of that accuracy.
    best_range: [Reject; 2],
    /// The accuracy of calling everybody nobody.
    nobody_accuracy: f64,
    /// Of the images of known people, the share whose most similar identity is the right one.
    rank_1: f64,
    /// How many known identities there are.
    known: usize,
    /// How many images were judged.
    images: usize,
    /// The fit behind the parametric rule.
    fit: GaussianRule,
}

impl Stage for Threshold {
    const KIND: &'static str = "threshold";
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
            about: "embeddings of the labelled images to choose the threshold by",
        },
    ];
    const OUTPUT: &'static str = "threshold";

    fn reads(&self) -> Vec<Read> {
        let source = self.labels.clone();
        vec![Read { parameter: "labels".to_owned(), source, path_matters: false }]
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let known = Faces::read(cx.input("known")?)?;
        let unknown = Faces::read(cx.input("unknown")?)?;
        ensure!(!unknown.list().is_empty(), "there is no unknown image to choose a threshold by");
        let labels = cx.path(&self.labels)?;
        let candidates: &[Similarity] = match self.similarity {
            Choice::Cosine => &[Similarity::Cosine],
            Choice::Euclidean => &[Similarity::Euclidean],
            Choice::Auto => &[Similarity::Cosine, Similarity::Euclidean],
        };
        let mut chosen: Option<(Summary, Vec<Probe>)> = None;
        for &similarity in candidates {
            let gallery = Gallery::new(&known, similarity)?;
            let images = unknown.list().len();
            let truth = identity_labels::read_for(&labels, images, gallery.names(), NOBODY)?;
            let nearest = gallery.nearest(&unknown)?;
            let mut probes: Vec<Probe> = nearest
                .iter()
                .zip(&truth)
                .map(|(nearest, truth)| Probe {
                    score: nearest.score,
                    outcome: Gallery::outcome(nearest, truth),
                })
                .collect();
            sort(&mut probes);
            let summary = self.summarize(similarity, gallery.names().count(), &probes);
            tracing::info!(
                similarity = ?similarity,
                reject = ?summary.reject,
                leave_one_out_accuracy = summary.leave_one_out_accuracy,
                rank_1 = summary.rank_1,
            );
            let better = |(best, _): &(Summary, _)| {
                summary.leave_one_out_accuracy > best.leave_one_out_accuracy
            };
            if chosen.as_ref().is_none_or(better) {
                chosen = Some((summary, probes));
            }
        }
        let (summary, probes) = chosen.context("no similarity was tried")?;
        cx.measure("accuracy", summary.leave_one_out_accuracy);
        cx.measure("rank-1", summary.rank_1);
        cx.measure("threshold", f64::from(summary.reject));
        let text = serde_json::to_string_pretty(&summary).context("a summary is plain data")?;
        let put = |name: &str, text: String| {
            let path = cx.out().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        put(Decision::FILE, format!("{text}\n"))?;
        put("curve.csv", curve(&probes))
    }
}

impl Threshold {
    /// Chooses the threshold for sorted probes and says how good it is.
    fn summarize(&self, similarity: Similarity, known: usize, probes: &[Probe]) -> Summary {
        let images = probes.len();
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        let count = |outcome| probes.iter().filter(|probe| probe.outcome == outcome).count();
        let (correct, nobody) = (count(Outcome::Correct), count(Outcome::Unknown));
        let threshold = self.rule.choose(probes.iter().copied());
        let right = probes.iter().filter(|probe| probe.is_right(threshold)).count();
        let judged = self.rule.leave_one_out(probes);
        let rounds: Vec<(f64, f64)> = (0..u64::from(self.bootstrap))
            .into_par_iter()
            .map(|round| {
                let mut drawn = resample(self.seed, round, images);
                // Probes stand in order of score, so drawn positions in order give drawn scores in order.
                drawn.sort_unstable();
                let right = drawn.iter().filter(|&&position| judged[position]).count();
                let threshold = self.rule.choose(drawn.iter().map(|&position| probes[position]));
                (share(right, images), threshold)
            })
            .collect();
        let (accuracies, thresholds) = rounds.into_iter().unzip();
        let best = best(probes.iter().copied());
        Summary {
            similarity,
            reject: threshold.into(),
            rule: self.rule,
            leave_one_out_accuracy: share(judged.iter().filter(|&&right| right).count(), images),
            leave_one_out_interval: interval(accuracies),
            reject_interval: interval(thresholds).map(|ends| ends.map(Reject::from)),
            accuracy: share(right, images),
            best_accuracy: share(best.right, images),
            best_range: [best.lowest.into(), best.highest.into()],
            nobody_accuracy: share(nobody, images),
            rank_1: share(correct, images - nobody),
            known,
            images,
            fit: GaussianRule::fit(probes.iter().copied()),
        }
    }
}

/// Returns every threshold that tells sorted probes apart, as CSV.
fn curve(probes: &[Probe]) -> String {
    use std::fmt::Write as _;

    let count = |outcome| probes.iter().filter(|probe| probe.outcome == outcome).count();
    let nobody = count(Outcome::Unknown);
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let mut text = String::from("threshold,accuracy,known-correct,nobody-rejected\n");
    let (mut left, mut rejected) = (probes.iter().peekable(), 0);
    for step in steps(probes.iter().copied()) {
        while let Some(probe) = left.next_if(|probe| probe.score < step.threshold) {
            rejected += usize::from(probe.outcome == Outcome::Unknown);
        }
        let known = share(step.right - rejected, probes.len() - nobody);
        let accuracy = share(step.right, probes.len());
        let threshold = step.threshold;
        writeln!(text, "{threshold},{accuracy},{known},{}", share(rejected, nobody))
            .expect("a string takes every line");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Choice, Summary, Threshold};
    use crate::context::Trial;
    use crate::data::{Embeddings, Reject};
    use crate::kind::{Source, Stage};
    use crate::kinds::threshold::rule::{Fixed, Rule};
    use crate::metric::open_set::Similarity;

    /// Two known people at a right angle; four probes: sure, less sure, wrong, and nobody between.
    fn setting(trial: &mut Trial) -> Threshold {
        let known = [("n000001/a.jpg", [2.0, 0.0]), ("n000002/a.jpg", [0.0, 1.0])];
        Embeddings::of_test(&known).write_as_input(trial, "known");
        let probes = [
            ("0.jpg", [1.0, 0.0]),
            ("1.jpg", [0.1, 1.0]),
            ("2.jpg", [0.2, 1.0]),
            ("3.jpg", [1.0, 0.9]),
        ];
        Embeddings::of_test(&probes).write_as_input(trial, "unknown");
        let text = "id,label\n0,n000001\n1,n000002\n2,n000001\n3,n000000\n";
        let labels = Source(trial.write("dev.csv", text).display().to_string());
        Threshold {
            labels,
            similarity: Choice::default(),
            rule: Rule::Maximum,
            bootstrap: 200,
            seed: 1,
        }
    }

    fn run(threshold: &Threshold, trial: &Trial) -> (Summary, String) {
        threshold.run(&trial.context).unwrap();
        let read = |name| std::fs::read_to_string(trial.context.out().join(name)).unwrap();
        (serde_json::from_str(&read("threshold.json")).unwrap(), read("curve.csv"))
    }

    #[test]
    fn a_small_case_by_hand() {
        let mut trial = Trial::new();
        let threshold = setting(&mut trial);
        let (summary, curve) = run(&threshold, &trial);
        let cosine = |x: f64, y: f64| y / x.hypot(y);
        let (wrong, nobody) = (cosine(0.2, 1.0), cosine(0.9, 1.0));
        let [Reject::Below(lowest), Reject::Below(highest)] = summary.best_range else {
            panic!("{summary:?}");
        };
        let sure = cosine(0.1, 1.0);
        assert!((lowest - (wrong + nobody) / 2.0).abs() < 1e-7, "{summary:?}");
        assert!((highest - (wrong + sure) / 2.0).abs() < 1e-7, "{summary:?}");
        assert_eq!(summary.reject, Reject::Below(lowest));
        assert_eq!((summary.accuracy, summary.best_accuracy), (0.75, 0.75));
        // Without the only unknown probe nothing is rejected, so it is judged wrongly; the others stay.
        assert_eq!(summary.leave_one_out_accuracy, 0.5);
        assert_eq!((summary.nobody_accuracy, summary.known, summary.images), (0.25, 2, 4));
        assert!((summary.rank_1 - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(trial.measure("accuracy"), Some(0.5));
        let rows: Vec<&str> = curve.lines().collect();
        assert_eq!(rows[0], "threshold,accuracy,known-correct,nobody-rejected");
        assert_eq!(rows[1], format!("-inf,0.5,{},0", 2.0 / 3.0));
        assert_eq!(rows[2], format!("{lowest},0.75,{},1", 2.0 / 3.0));
        assert_eq!(rows[5], "inf,0.25,0,1");
        assert_eq!(rows.len(), 6);
    }

    #[test]
    fn fixed_and_auto() {
        let mut trial = Trial::new();
        let mut threshold = setting(&mut trial);
        threshold.rule = Rule::Fixed(Fixed { value: -0.95 });
        threshold.similarity = Choice::Auto;
        let (summary, _) = run(&threshold, &trial);
        // As a cosine -0.95 rejects nothing; as a distance it rejects the first two as well.
        assert_eq!(summary.similarity, Similarity::Cosine);
        assert_eq!(summary.reject, Reject::Below(-0.95));
        assert_eq!((summary.accuracy, summary.leave_one_out_accuracy), (0.5, 0.5));
        threshold.rule = Rule::Fixed(Fixed { value: -0.85 });
        threshold.similarity = Choice::Euclidean;
        assert_eq!(run(&threshold, &trial).0.similarity, Similarity::Euclidean);
    }

    #[test]
    fn results_depend_on_the_seed_alone() {
        let mut trial = Trial::new();
        let mut threshold = setting(&mut trial);
        threshold.rule = Rule::Parametric;
        let first = run(&threshold, &trial);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| run(&threshold, &trial)), first);
        threshold.seed = 2;
        assert!(run(&threshold, &trial).0.leave_one_out_interval.is_some());
        threshold.bootstrap = 0;
        let (summary, _) = run(&threshold, &trial);
        assert_eq!((summary.leave_one_out_interval, summary.reject_interval), (None, None));
    }

    #[test]
    fn faults_are_named() {
        let fault = |change: &dyn Fn(&mut Trial)| {
            let mut trial = Trial::new();
            let threshold = setting(&mut trial);
            change(&mut trial);
            format!("{:#}", threshold.run(&trial.context).unwrap_err())
        };
        let rewire = |trial: &mut Trial, name: &str, of: &[(&str, [f32; 2])]| {
            Embeddings::of_test(of).write_as_input(trial, name);
        };
        let nan = fault(&|trial| rewire(trial, "unknown", &[("0.jpg", [f32::NAN, 0.0])]));
        assert!(nan.contains("the embedding of 0.jpg holds a number that is not finite"), "{nan}");
        let none = fault(&|trial| rewire(trial, "unknown", &[]));
        assert!(none.contains("no unknown image"), "{none}");
        let few = fault(&|trial| rewire(trial, "unknown", &[("0.jpg", [1.0, 0.0])]));
        assert!(few.contains("dev.csv has 4 labels for 1 images"), "{few}");
        let strange = fault(&|trial| rewire(trial, "known", &[("n000001/a.jpg", [1.0, 0.0])]));
        assert!(strange.contains("the first is `n000002`"), "{strange}");
    }
}
