//! Whether the result of a step is there, and if not, why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache::{Presence, Present, Store, StoreError};

use crate::freshness::{Basis, Unknown, basis};
use crate::plan::{Plan, StepId};
use crate::reason::{Reason, changes};

/// A result, and where its files lie.
pub(crate) type Made = Arc<Present>;

/// The results so far.
pub(crate) type Results = BTreeMap<StepId, Made>;

/// What a look at one step found.
#[derive(Debug)]
pub(crate) enum Checked {
    /// Its result is there.
    Fresh(Made),
    /// It has to run.
    Stale(Box<Stale>),
}

/// A step that has to run.
#[derive(Debug)]
pub(crate) struct Stale {
    pub(crate) basis: Basis,
    pub(crate) reasons: Vec<Reason>,
}

/// What a step is looked at against.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) store: &'a Store,
    pub(crate) root: &'a Path,
    pub(crate) forced: &'a BTreeSet<StepId>,
}

impl Surroundings<'_> {
    /// Looks at a step whose needs all have their results.
    pub(crate) fn check(&self, id: StepId, results: &Results) -> Result<Checked, Unknown> {
        let made = |need: StepId| {
            let made = results.get(&need).expect("a step is looked at after those it needs");
            made.outputs.clone()
        };
        let basis = basis(self.plan, id, &made, self.store, self.root)?;
        let mut damaged = Vec::new();
        if !self.forced.contains(&id) {
            match self.find(&basis, &mut damaged)? {
                Some(made) => return Ok(Checked::Fresh(made)),
                None => tracing::debug!(key = %basis.fingerprint.key(), "no result"),
            }
        }
        let reasons = self.reasons(id, &basis, damaged)?;
        Ok(Checked::Stale(Box::new(Stale { basis, reasons })))
    }

    /// Finds a whole result and lays out its files.
    pub(crate) fn find(
        &self,
        basis: &Basis,
        damaged: &mut Vec<PathBuf>,
    ) -> Result<Option<Made>, StoreError> {
        match self.store.present(&basis.fingerprint.key())? {
            Presence::Here(made) => return Ok(Some(made)),
            Presence::Damaged { paths } => damaged.extend(paths),
            Presence::Missing => {}
        }
        Ok(None)
    }

    fn reasons(
        &self,
        id: StepId,
        basis: &Basis,
        damaged: Vec<PathBuf>,
    ) -> Result<Vec<Reason>, StoreError> {
        if !damaged.is_empty() {
            return Ok(vec![Reason::Damaged(damaged)]);
        }
        if self.forced.contains(&id) {
            return Ok(vec![Reason::Forced]);
        }
        let (pipeline, step) = (&self.plan.pipeline.name, &self.plan.step(id).name);
        Ok(match self.store.latest(pipeline, step)? {
            Some(last) => match changes(self.store, &basis.fingerprint, &basis.listings, &last) {
                none if none.is_empty() => vec![Reason::Removed],
                changes => changes,
            },
            None if self.had_result(id) => vec![Reason::Removed],
            None => vec![Reason::NeverRun],
        })
    }

    /// Whether a link is left of a result that is not there any more.
    fn had_result(&self, id: StepId) -> bool {
        self.latest_link(id).symlink_metadata().is_ok()
    }

    /// Makes this result the one that the link leads to.
    pub(crate) fn set_latest(&self, id: StepId, made: &Made) -> Result<(), StoreError> {
        let step = &self.plan.step(id).name;
        self.store.set_latest(&self.plan.pipeline.name, step, &made.key, &made.outputs)
    }

    /// The link to the last result of a step.
    pub(crate) fn latest_link(&self, id: StepId) -> PathBuf {
        let step = &self.plan.step(id).name;
        self.store.root().join("latest").join(&self.plan.pipeline.name).join(step)
    }
}
