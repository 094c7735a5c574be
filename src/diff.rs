//! What differs between two runs, or a run and what a run would do now.

use std::collections::{BTreeMap, BTreeSet};

use cache::Store;

use crate::history::{History, Remembered, Run};
use crate::plan::{Plan, StepId};
use crate::preview::Preview;
use crate::reason::{Reason, between};

/// The steps of a run, in order, and their results.
#[derive(Clone, Debug)]
pub struct Side {
    steps: Vec<(String, State)>,
}

/// What is known of a step of one side.
#[derive(Clone, Debug)]
enum State {
    /// What its result depends on.
    Known(Box<Remembered>),
    /// It has no result, for this reason.
    Unknown(String),
}

/// How a step differs.
#[derive(Clone, Debug, PartialEq)]
pub enum StepDiff {
    /// It does not: the result is the same.
    Same,
    /// Only the newer side has it.
    Added,
    /// Only the older side has it.
    Removed,
    /// One side has no result to compare; both reasons, where there are any.
    Unknown([Option<String>; 2]),
    /// It depends on something else, or gave something else.
    Changed {
        /// What it depends on that is different.
        reasons: Vec<Reason>,
        /// Figures that are different, with both values.
        measures: Vec<(String, Option<f64>, Option<f64>)>,
        /// Whether its files are the same all the same; none when the newer side has not run.
        same_files: Option<bool>,
    },
}

impl Side {
    /// Returns the side of a run that is over or goes on.
    ///
    /// # Errors
    ///
    /// When the history cannot be read.
    pub fn of_run(history: &History, run: &Run) -> anyhow::Result<Self> {
        let mut steps = Vec::new();
        for step in history.steps(run.run)? {
            let made = matches!(step.outcome.as_str(), "ran" | "fetched" | "fresh");
            let known = match &step.key {
                Some(key) if made => history.remembered(key)?,
                _ => None,
            };
            let state = match known {
                Some(known) => State::Known(Box::new(known)),
                None if made => State::Unknown("its result is not remembered".to_owned()),
                None => State::Unknown(step.outcome),
            };
            steps.push((step.step, state));
        }
        Ok(Self { steps })
    }

    /// Returns the side of what is now.
    #[must_use]
    pub fn of_now(plan: &Plan, previews: &[(StepId, Preview)]) -> Self {
        let steps = previews.iter().map(|(id, preview)| {
            let state = match preview {
                Preview::Fresh(manifest) => State::Known(Box::new(Remembered::of(manifest))),
                Preview::Runs { fingerprint, .. } => State::Known(Box::new(Remembered {
                    key: fingerprint.key(),
                    fingerprint: fingerprint.clone(),
                    result: None,
                    measures: BTreeMap::new(),
                })),
                Preview::MayRun { .. } => State::Unknown("may run".to_owned()),
                Preview::Fails(_) => State::Unknown("cannot run".to_owned()),
            };
            (plan.step(*id).name.clone(), state)
        });
        Self { steps: steps.collect() }
    }

    fn get(&self) -> BTreeMap<&str, &State> {
        self.steps.iter().map(|(name, state)| (name.as_str(), state)).collect()
    }
}

/// Compares two sides step by step, in the order of the newer one; steps that went come last.
#[must_use]
pub fn diff(store: &Store, before: &Side, after: &Side) -> Vec<(String, StepDiff)> {
    let (older, newer) = (before.get(), after.get());
    let gone = before.steps.iter().filter(|(name, _)| !newer.contains_key(name.as_str()));
    let names = after.steps.iter().chain(gone).map(|(name, _)| name);
    let compared = names.map(|name| {
        let difference = match (older.get(name.as_str()), newer.get(name.as_str())) {
            (Some(State::Known(before)), Some(State::Known(after))) => {
                compare(store, before, after)
            }
            (Some(before), Some(after)) => {
                let why = |state: &State| match state {
                    State::Known(_) => None,
                    State::Unknown(why) => Some(why.clone()),
                };
                StepDiff::Unknown([why(before), why(after)])
            }
            (None, _) => StepDiff::Added,
            (_, None) => StepDiff::Removed,
        };
        (name.clone(), difference)
    });
    compared.collect()
}

fn compare(store: &Store, before: &Remembered, after: &Remembered) -> StepDiff {
    if before.key == after.key && (before.result == after.result || after.result.is_none()) {
        return StepDiff::Same;
    }
    let ran = after.result.is_some();
    // What a step that has not run gets from others may not be known yet.
    let unknown = |reason: &Reason| {
        let Reason::Changed { name, after: None, .. } = reason else { return false };
        !ran && (name.starts_with("input.") || name.starts_with("read."))
    };
    let mut reasons = between(store, &after.fingerprint, &[], &before.fingerprint);
    reasons.retain(|reason| !unknown(reason));
    let names: BTreeSet<&String> = before.measures.keys().chain(after.measures.keys()).collect();
    let measure = |name: &String| (before.measures.get(name), after.measures.get(name));
    let measures = names.into_iter().filter(|_| ran).filter_map(|name| {
        let (old, new) = measure(name);
        let same = old.map(|value| value.to_bits()) == new.map(|value| value.to_bits());
        (!same).then(|| (name.clone(), old.copied(), new.copied()))
    });
    StepDiff::Changed {
        reasons,
        measures: measures.collect(),
        same_files: ran.then(|| before.result == after.result),
    }
}
