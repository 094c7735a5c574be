//! What a run would do, found out without doing it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cache::{Fingerprint, Manifest, Store};

use crate::check::{Checked, Results, Surroundings};
use crate::freshness::declared;
use crate::plan::{Plan, StepId};
use crate::reason::{Reason, changes};

/// What would happen to a step.
#[derive(Clone, Debug)]
pub enum Preview {
    /// Its result is there.
    Fresh(Arc<Manifest>),
    /// It would run, because of this.
    Runs {
        /// Everything it depends on.
        fingerprint: Fingerprint,
        /// Why it would run.
        reasons: Vec<Reason>,
    },
    /// Steps it needs would run, so it runs unless they give the same files again.
    MayRun {
        /// Those steps, and what is known already to be different.
        reasons: Vec<Reason>,
    },
    /// It cannot run as things are.
    Fails(String),
}

/// Looks at every selected step, in an order that respects needs.
#[must_use]
pub fn preview(
    plan: &Plan,
    store: &Store,
    root: &Path,
    selected: &BTreeSet<StepId>,
    forced: &BTreeSet<StepId>,
) -> Vec<(StepId, Preview)> {
    let around = Surroundings { plan, store, root, forced };
    store.recall(&plan.pipeline.name);
    let mut results = Results::new();
    let mut previews = Vec::new();
    for &id in plan.order().iter().filter(|id| selected.contains(id)) {
        let missing: Vec<StepId> =
            plan.upstream(id).into_iter().filter(|need| !results.contains_key(need)).collect();
        let preview = if missing.is_empty() {
            match around.check(id, &results) {
                Ok(Checked::Fresh(made)) => match store.manifest(&made.key) {
                    Ok(Some(manifest)) => {
                        results.insert(id, made);
                        Preview::Fresh(Arc::new(manifest))
                    }
                    Ok(None) => Preview::Fails("its result was removed just now".to_owned()),
                    Err(error) => Preview::Fails(error.to_string()),
                },
                Ok(Checked::Stale(stale)) => {
                    let fingerprint = stale.basis.fingerprint;
                    Preview::Runs { fingerprint, reasons: stale.reasons }
                }
                Err(unknown) => Preview::Fails(unknown.to_string()),
            }
        } else {
            unsettled(&around, id, &missing)
        };
        previews.push((id, preview));
    }
    previews
}

/// What can be told of a step before the steps it needs have run.
fn unsettled(around: &Surroundings<'_>, id: StepId, missing: &[StepId]) -> Preview {
    let step = around.plan.step(id);
    let declared = declared(step);
    // A broken store is told by the steps that can be looked at.
    let last = around.store.latest(&around.plan.pipeline.name, &step.name).ok().flatten();
    let Some(last) = last else {
        return Preview::Runs { fingerprint: declared, reasons: vec![Reason::NeverRun] };
    };
    let of_file = |name: &str| !name.starts_with("input.") && !name.starts_with("read.");
    let mut reasons: Vec<Reason> = changes(around.store, &declared, &[], &last)
        .into_iter()
        .filter(|reason| matches!(reason, Reason::Changed { name, .. } if of_file(name)))
        .collect();
    if !reasons.is_empty() || around.forced.contains(&id) {
        if reasons.is_empty() {
            reasons.push(Reason::Forced);
        }
        return Preview::Runs { fingerprint: declared, reasons };
    }
    let name = |need: &StepId| around.plan.step(*need).name.clone();
    Preview::MayRun {
        reasons: missing.iter().map(|need| Reason::MayChange { step: name(need) }).collect(),
    }
}
