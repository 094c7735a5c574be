//! The Rust half of `just bench-train`: reads a name on each line and answers how long that work took.
//!
//! `benches/train/__main__.py` starts it beside PyTorch and lets the two take turns.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::json;
use stages::workload::{Counting, Decoding, Loading, Matching, Place, Roof, Thresholds, Training};
use stages::{DeviceChoice, Profile};

const CLASSES: usize = 100;
const SIDE: usize = 112;
const BATCH: usize = 32;
const INFERENCE_BATCH: usize = 64;
const IMAGES: usize = 512;
/// Known people, unknown images, and the length of their embeddings.
const MATCHING: [usize; 3] = [100_000, 10_000, 512];
const SCORES: usize = 10_000_000;
const COUNTED_IMAGES: usize = 10_000;
const MATRIX: usize = 1536;
/// Long enough for some hundredths of a second.
const REGISTER_ROUNDS: usize = 5_000_000;

fn settings(model: &str) -> String {
    format!(
        "model.{model}\nloss.cross-entropy = {{}}\n\
         optimizer.sgd = {{ rate = 0.001, momentum = 0.9, weight-decay = 5e-4 }}"
    )
}

fn model(name: &str) -> Option<&'static str> {
    match name {
        "resnet" => Some("resnet = { depth = 18 }"),
        "mobilenet" => Some("mobilenet-v2 = { dropout = 0 }"),
        "convnext" => Some("convnext = { size = \"nano\", stochastic-depth = 0 }"),
        _ => None,
    }
}

const AUGMENT: &str = "augment = [{ random-resized-crop = { scale = [0.6, 1.0] } }, { flip = {} }]";

/// Nanoseconds since 1970. The rule against clocks is for results; whether it is raised here depends on
/// where clippy starts, so no expectation of it could be right.
fn clock() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_nanos() as u64)
}

/// Seconds since a time of [`clock`].
fn since(start: u64) -> f64 {
    clock().saturating_sub(start) as f64 / 1e9
}

/// Processor seconds of this process so far.
fn processor() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds as f64 / 1e6)
}

/// Networks and loaders that were asked for, kept from turn to turn.
#[derive(Default)]
struct Works {
    trainings: BTreeMap<String, Training>,
    loading: Option<Loading>,
    matching: Option<Matching>,
    thresholds: Option<Thresholds>,
    counting: Option<Counting>,
    roof: Option<Roof>,
}

/// Returns what was made before, or makes it.
fn kept<T>(
    place: &mut Option<T>,
    make: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<&mut T> {
    match place {
        Some(made) => Ok(made),
        None => Ok(place.insert(make()?)),
    }
}

impl Works {
    fn training(&mut self, name: &str, batch: usize) -> anyhow::Result<&mut Training> {
        let key = format!("{name} {batch}");
        if !self.trainings.contains_key(&key) {
            let (name, precision) = name.split_once(' ').context("no precision")?;
            let model = model(name).with_context(|| format!("no model {name}"))?;
            let place = Place::open(DeviceChoice::Cpu, precision)?;
            let training = Training::new(&settings(model), CLASSES, batch, SIDE, &place)?;
            self.trainings.insert(key.clone(), training);
        }
        self.trainings.get_mut(&key).context("it was made above")
    }

    /// Does one piece of work, after what it needs was made.
    fn run(&mut self, line: &str) -> anyhow::Result<serde_json::Value> {
        let (what, name) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "train" => {
                let training = self.training(name, BATCH)?;
                timed(|| training.step().map(drop))
            }
            "infer" => {
                let training = self.training(name, INFERENCE_BATCH)?;
                timed(|| training.infer())
            }
            "profile-train" => {
                let training = self.training(name, BATCH)?;
                profiled(|| training.measured_step(clock))
            }
            "profile-infer" => {
                let training = self.training(name, INFERENCE_BATCH)?;
                profiled(|| training.measured_inference(clock))
            }
            "load" => {
                let workers = rayon::current_num_threads();
                let make = || Loading::new(AUGMENT, IMAGES, SIDE, workers);
                let loading = kept(&mut self.loading, make)?;
                timed(|| loading.run(BATCH))
            }
            "decode" => {
                let decoding = Decoding::new(Path::new(name))?;
                timed(|| decoding.run().map(drop))
            }
            "match" => {
                let [known, unknown, dimension] = MATCHING;
                let make = || Matching::new(known, unknown, dimension);
                let matching = kept(&mut self.matching, make)?;
                timed(|| matching.run().map(drop))
            }
            "threshold" => {
                let thresholds = kept(&mut self.thresholds, || Ok(Thresholds::new(SCORES)))?;
                timed(|| {
                    black_box(thresholds.run());
                    Ok(())
                })
            }
            "statistics" => {
                let make = || Ok(Counting::new(COUNTED_IMAGES, SIDE));
                let counting = kept(&mut self.counting, make)?;
                timed(|| {
                    black_box(counting.run());
                    Ok(())
                })
            }
            "product" => {
                let roof = kept(&mut self.roof, || Ok(Roof::new(MATRIX)))?;
                timed(|| {
                    black_box(roof.product());
                    Ok(())
                })
            }
            "registers" => {
                let mut operations = 0;
                let mut taken = timed(|| {
                    operations = Roof::registers(REGISTER_ROUNDS, name == "bf16");
                    Ok(())
                })?;
                taken["operations"] = operations.into();
                Ok(taken)
            }
            "forget" => {
                *self = Self::default();
                Ok(json!({}))
            }
            _ => anyhow::bail!("no work {what}"),
        }
    }
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<serde_json::Value> {
    let (start, before) = (clock(), processor()?);
    work()?;
    Ok(json!({ "wall": since(start), "cpu": processor()? - before }))
}

fn profiled(work: impl FnOnce() -> anyhow::Result<Profile>) -> anyhow::Result<serde_json::Value> {
    let start = clock();
    let profile = work()?;
    let shares: BTreeMap<_, _> = profile
        .into_iter()
        .map(|(name, share)| {
            let figures = json!({
                "forward": share.forward as f64 / 1e9,
                "backward": share.backward as f64 / 1e9,
                "products": share.products,
            });
            (name, figures)
        })
        .collect();
    Ok(json!({ "wall": since(start), "shares": shares }))
}

fn main() -> anyhow::Result<()> {
    let mut works = Works::default();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = works.run(line?.trim())?;
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
