//! Which results the steps of a plan would have, found out from manifests alone.

use std::collections::BTreeMap;

use cache::{Key, Listing};

use super::Shares;
use crate::freshness::basis;
use crate::lock::{Lock, Locked};
use crate::plan::StepId;
use crate::remote::Failure;

/// How many steps are looked for at once.
const THREADS: usize = 16;

/// What was found of a step.
pub(super) enum Found<T> {
    /// Its result.
    Result(T),
    /// What it depends on is known, but nobody has its result.
    Nowhere,
    /// What it depends on is not known before this step has a result.
    After(StepId),
    /// Its result or what it depends on cannot be used; why.
    Unusable(String),
}

/// Where results are looked for, by their key and by what a lock file says of it.
pub(super) type Look<'a, T> =
    &'a (dyn Fn(&Key, Option<&Locked>) -> Result<Option<T>, Failure> + Sync);

impl<T> Found<T> {
    /// Says why there is no result; none when there is one.
    pub(super) fn problem(&self, shares: &Shares<'_>, nowhere: &str) -> Option<String> {
        match self {
            Self::Result(_) => None,
            Self::Nowhere => Some(nowhere.to_owned()),
            Self::After(need) => {
                let need = &shares.plan.step(*need).name;
                Some(format!("not known before there is a result of {need}"))
            }
            Self::Unusable(why) => Some(why.clone()),
        }
    }
}

/// Looks for the result of every selected step, in an order that respects needs.
///
/// A key takes the digests of what the steps before have made, and no more of it; where `lock` names
/// the keys, not even that.
pub(super) fn find<T: Send + Sync>(
    shares: &Shares<'_>,
    lock: Option<&Lock>,
    look: Look<'_, T>,
    outputs: impl Fn(&T) -> Listing + Sync,
) -> Result<BTreeMap<StepId, Found<T>>, Failure> {
    let mut found: BTreeMap<StepId, Found<T>> = BTreeMap::new();
    let mut left: Vec<StepId> =
        shares.plan.order().iter().copied().filter(|id| shares.selected.contains(id)).collect();
    while !left.is_empty() {
        let (ready, later): (Vec<StepId>, Vec<StepId>) = left.into_iter().partition(|id| {
            lock.is_some() || shares.plan.upstream(*id).iter().all(|need| found.contains_key(need))
        });
        left = later;
        let share = ready.len().div_ceil(THREADS).max(1);
        let looked: Vec<(StepId, Result<Found<T>, Failure>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = ready
                .chunks(share)
                .map(|ids| {
                    let (found, outputs) = (&found, &outputs);
                    scope.spawn(move || {
                        ids.iter()
                            .map(|id| (*id, find_one(shares, *id, lock, found, look, outputs)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .flat_map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for (id, looked) in looked {
            found.insert(id, looked?);
        }
    }
    Ok(found)
}

fn find_one<T>(
    shares: &Shares<'_>,
    id: StepId,
    lock: Option<&Lock>,
    found: &BTreeMap<StepId, Found<T>>,
    look: Look<'_, T>,
    outputs: &(impl Fn(&T) -> Listing + Sync),
) -> Result<Found<T>, Failure> {
    let locked = lock.map(|lock| lock.get(&shares.plan.step(id).name));
    let key = match locked {
        Some(Some(locked)) => locked.key,
        Some(None) => return Ok(Found::Unusable("the lock file does not name it".to_owned())),
        None => match key_of(shares, id, found, outputs) {
            Ok(key) => key,
            Err(unknown) => return Ok(unknown),
        },
    };
    match look(&key, locked.flatten()) {
        Ok(Some(result)) => Ok(Found::Result(result)),
        Ok(None) => Ok(Found::Nowhere),
        Err(failure) if failure.is_of_one_result() => Ok(Found::Unusable(failure.to_string())),
        Err(failure) => Err(failure),
    }
}

/// Works out the key of a step, or why it cannot be known.
fn key_of<T>(
    shares: &Shares<'_>,
    id: StepId,
    found: &BTreeMap<StepId, Found<T>>,
    outputs: &(impl Fn(&T) -> Listing + Sync),
) -> Result<Key, Found<T>> {
    let is_missing = |need: &StepId| !matches!(found.get(need), Some(Found::Result(..)));
    if let Some(need) = shares.plan.upstream(id).into_iter().find(is_missing) {
        return Err(match found.get(&need) {
            Some(Found::After(first)) => Found::After(*first),
            _ => Found::After(need),
        });
    }
    let made = |need: StepId| match found.get(&need) {
        Some(Found::Result(result)) => outputs(result),
        _ => unreachable!("a step is looked at after those it needs"),
    };
    match basis(shares.plan, id, &made, shares.store, shares.root) {
        Ok(basis) => Ok(basis.fingerprint.key()),
        Err(unknown) => Err(Found::Unusable(unknown.to_string())),
    }
}
