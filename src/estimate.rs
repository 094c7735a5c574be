//! How long steps will probably take, from how long they took the last time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::check::Surroundings;
use crate::plan::StepId;
use crate::scheduler::Scheduler;

/// How often the rest of a run is told.
const EVERY: Duration = Duration::from_secs(1);
/// Looking at the rest of a large run takes a while; so many times as long nothing is looked at.
const SPARING: u32 = 50;
/// Times nearer to each other than this, in seconds, decide no order: they differ by chance.
const UNIT: f64 = 0.1;

/// What is known of how long steps take.
pub(crate) struct Estimates {
    /// In seconds; of a step that has never run as long as others of its kind.
    seconds: Vec<Option<f64>>,
    next: Instant,
}

impl Estimates {
    /// Looks at the last results of the selected steps.
    pub(crate) fn learn(around: Surroundings<'_>, selected: &BTreeSet<StepId>) -> Self {
        let plan = around.plan;
        let mut seconds = vec![None; plan.pipeline.steps.len()];
        let mut kinds: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
        for &id in selected {
            // Without a store there is no history, and the run will say what is wrong with it.
            let last = around.store.latest(&plan.pipeline.name, &plan.step(id).name);
            let took = last.ok().flatten().and_then(|last| last.facts["seconds"].as_f64());
            let Some(took) = took.filter(|took| took.is_finite() && *took >= 0.0) else { continue };
            seconds[id.0] = Some(took);
            let (sum, count) = kinds.entry(plan.step(id).kind.name).or_default();
            (*sum, *count) = (*sum + took, *count + 1);
        }
        for &id in selected {
            let kind = kinds.get(plan.step(id).kind.name);
            let usual = kind.map(|(sum, count)| sum / f64::from(*count));
            seconds[id.0] = seconds[id.0].or(usual);
        }
        Self { seconds, next: Instant::now() + EVERY }
    }

    /// How much each step weighs in the choice of what goes first.
    pub(crate) fn weights(&self) -> Vec<u64> {
        weights(&self.seconds)
    }

    /// Returns how many steps are left and how many seconds they will take, if that can be told and
    /// was not told just before.
    pub(crate) fn rest(
        &mut self,
        scheduler: &Scheduler,
        begun: &[Option<Instant>],
    ) -> Option<(usize, f64)> {
        let now = Instant::now();
        if now < self.next || !scheduler.is_settled() {
            return None;
        }
        let remaining: Vec<usize> = scheduler.remaining().collect();
        let known = remaining.iter().all(|&step| self.seconds[step].is_some());
        let told = (known && !remaining.is_empty()).then(|| {
            let running: BTreeSet<usize> = scheduler.running().collect();
            let left = |step: usize| {
                let whole = self.seconds[step].unwrap_or_default();
                let begun = begun[step].filter(|_| running.contains(&step));
                let done = begun.map_or(0.0, |begun| (now - begun).as_secs_f64());
                // One that takes longer than before will not end this very moment.
                millis((whole - done).max(whole / 20.0))
            };
            (remaining.len(), scheduler.rest(left) as f64 / 1000.0)
        });
        self.next = now + EVERY.max(now.elapsed() * SPARING);
        told
    }
}

fn millis(seconds: f64) -> u64 {
    // A float that is too large becomes the largest number.
    (seconds * 1000.0).round() as u64
}

fn weights(seconds: &[Option<f64>]) -> Vec<u64> {
    let units = |seconds: f64| ((seconds / UNIT).round() as u64).max(1);
    let mut known: Vec<u64> = seconds.iter().flatten().map(|&seconds| units(seconds)).collect();
    known.sort_unstable();
    let usual = known.get(known.len() / 2).copied().unwrap_or(1);
    seconds.iter().map(|seconds| seconds.map_or(usual, units)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_counts_as_what_is_usual() {
        assert_eq!(weights(&[None, None]), [1, 1]);
        let seconds = [Some(0.001), None, Some(2.0), Some(60.0), Some(0.04)];
        assert_eq!(weights(&seconds), [1, 20, 20, 600, 1]);
    }
}
