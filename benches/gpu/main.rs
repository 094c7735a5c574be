//! The Rust half of `scripts/gpu-check`: reads a request on each line and answers with a line of JSON.
//!
//! `benches/gpu/__main__.py` starts it, and anew where a request ended it: a GPU that has failed once
//! fails at everything after.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use stages::workload::{Place, Training};
use stages::{DeviceChoice, Parity};

/// What shapes of operators are drawn from.
const SEED: u64 = 1;
const CLASSES: usize = 100;

/// Nanoseconds since 1970.
fn clock() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_nanos() as u64)
}

/// What follows the name of a network that computes norms and activations again on the way back.
const RECOMPUTE: &str = "+recompute";

fn settings(name: &str) -> anyhow::Result<String> {
    let plain = name.strip_suffix(RECOMPUTE);
    let recompute = plain.is_some();
    let (model, loss) = match plain.unwrap_or(name) {
        "ir-50" => ("iresnet = { depth = 50 }", "cross-entropy = {}"),
        "resnet-50" => ("resnet = { depth = 50 }", "cross-entropy = {}"),
        "convnext-nano" => {
            ("convnext = { size = \"nano\", stochastic-depth = 0 }", "cross-entropy = {}")
        }
        // small ones, which a CPU can follow
        "small-resnet" => ("resnet = { width = 8, stem = \"small\" }", "cross-entropy = {}"),
        "small-iresnet" => {
            ("iresnet = { depth = 18, width = 8, embedding = 64, size = 32 }", "arcface = {}")
        }
        "small-mobilenet" => ("mobilenet-v2 = { dropout = 0 }", "cross-entropy = {}"),
        "small-convnext" => {
            ("convnext = { size = \"atto\", stochastic-depth = 0 }", "cross-entropy = {}")
        }
        _ => bail!("no network {name}"),
    };
    Ok(format!(
        "model.{model}\nloss.{loss}\n\
         optimizer.sgd = {{ rate = 0.001, momentum = 0.9, weight-decay = 5e-4 }}\n\
         recompute = {recompute}"
    ))
}

/// What was made for earlier requests.
struct Works {
    place: Place,
    parity: Parity,
    training: Option<(String, Training)>,
}

impl Works {
    fn answer(&mut self, line: &str) -> anyhow::Result<Value> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| -> anyhow::Result<usize> {
            let word = words.get(at).with_context(|| format!("`{line}` needs a number"))?;
            word.parse().with_context(|| format!("`{word}` is no number"))
        };
        match words.first().copied() {
            Some("names") => Ok(json!(self.parity.names())),
            Some("check") => self.check(number(1)?),
            Some("curve") => {
                let (batch, side, steps) = (number(2)?, number(3)?, number(4)?);
                let moved = words.get(5).map_or(Ok(0.0), |word| word.parse());
                let moved = moved.with_context(|| format!("`{line}` ends with no number"))?;
                self.curve(words[1], batch, side, steps, moved)
            }
            Some("steps") => {
                let (place, count) = (self.place.clone(), number(4)?);
                let training = self.training(words[1], number(2)?, number(3)?)?;
                place.wait()?;
                let start = clock();
                let losses = training.steps(count)?;
                place.wait()?;
                let wall = since(start);
                ensure!(losses.iter().all(|loss| loss.is_finite()), "the losses are {losses:?}");
                Ok(json!({ "wall": wall / count as f64 }))
            }
            Some("memory") => Ok(json!(self.place.most_bytes()?)),
            Some("profile") => {
                let training = self.training(words[1], number(2)?, number(3)?)?;
                let start = clock();
                let profile = training.measured_step(clock)?;
                let wall = since(start);
                let shares: BTreeMap<_, _> = profile
                    .into_iter()
                    .map(|(name, share)| {
                        let seconds = [share.forward, share.backward].map(|time| time as f64 / 1e9);
                        (name, json!({ "seconds": seconds, "products": share.products }))
                    })
                    .collect();
                Ok(json!({ "wall": wall, "shares": shares }))
            }
            _ => bail!("no request `{line}`"),
        }
    }

    fn check(&self, number: usize) -> anyhow::Result<Value> {
        let verdict = self.parity.check(number)?;
        Ok(json!({
            "holds": verdict.holds(),
            "error": verdict.error,
            "worst": verdict.worst,
            "tolerance": verdict.tolerance,
            "repeats": verdict.repeats,
        }))
    }

    /// Trains a fresh network, on pixels moved by a share of them, and returns what a comparison needs: first
    /// embeddings, losses, weights.
    fn curve(
        &self,
        name: &str,
        batch: usize,
        side: usize,
        steps: usize,
        moved: f64,
    ) -> anyhow::Result<Value> {
        let training = Training::new(&settings(name)?, CLASSES, batch, side, &self.place)?;
        let mut training = training.moved(moved)?;
        let embeddings = training.embeddings()?;
        let losses = training.steps(steps)?;
        let finite = losses.iter().all(|loss| loss.is_finite());
        Ok(json!({
            "embeddings": embeddings,
            "losses": losses,
            "finite": finite,
            "checksum": training.checksum()?,
        }))
    }

    fn training(&mut self, name: &str, batch: usize, side: usize) -> anyhow::Result<&mut Training> {
        let key = format!("{name} {batch} {side}");
        if self.training.as_ref().is_none_or(|(made, _)| *made != key) {
            // one at a time: a GPU may not hold two
            self.training = None;
            let training = Training::new(&settings(name)?, CLASSES, batch, side, &self.place)?;
            self.training = Some((key, training));
        }
        self.training.as_mut().map(|(_, training)| training).context("it was made above")
    }
}

/// Seconds since a time of [`clock`].
fn since(start: u64) -> f64 {
    clock().saturating_sub(start) as f64 / 1e9
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, precision] = &arguments[..] else {
        bail!("usage: gpu DEVICE PRECISION, e.g. gpu cuda:0 bf16");
    };
    let choice: DeviceChoice = device.parse().map_err(anyhow::Error::msg)?;
    let place = Place::open(choice, precision)?;
    let parity = place.parity(SEED);
    let mut works = Works { place, parity, training: None };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({ "ready": device }))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let answer = match works.answer(line?.trim()) {
            Ok(answer) => json!({ "answer": answer }),
            Err(error) => json!({ "failure": format!("{error:#}") }),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
