//! What a step may take over from its last result.

use std::collections::BTreeMap;

use cache::{Manifest, StoreError};
use stages::Earlier;

use crate::check::Surroundings;
use crate::freshness::Basis;
use crate::plan::StepId;
use crate::reason::{Reason, changes};

/// Returns the last result of a step, when all that differs since are files that it reads, and which.
///
/// # Errors
///
/// When the store cannot be read or written.
pub(crate) fn to_take_over(
    around: Surroundings<'_>,
    id: StepId,
    basis: &Basis,
    last: &Manifest,
) -> Result<Option<Earlier>, StoreError> {
    if !around.plan.step(id).kind.takes_over {
        return Ok(None);
    }
    let mut changed = BTreeMap::new();
    for reason in changes(around.store, &basis.fingerprint, &basis.listings, last) {
        let Reason::Changed { name, files, .. } = reason else { return Ok(None) };
        // Without files it is not known which they are: the older listing is gone.
        match name.strip_prefix("read.") {
            Some(parameter) if !files.is_empty() => {
                let paths = files.into_iter().map(|(path, _)| path).collect();
                changed.insert(parameter.to_owned(), paths);
            }
            _ => return Ok(None),
        }
    }
    match around.store.tree(last) {
        Ok(out) => Ok(Some(Earlier { out, changed })),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
