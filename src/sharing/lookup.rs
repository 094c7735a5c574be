//! The look into a remote before a step runs.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cache::{Parcel, Present, Store, StoreError};

use super::telling::{Carried, Telling, Way};
use crate::check::{Made, Surroundings};
use crate::event::Event;
use crate::freshness::Basis;
use crate::plan::StepId;
use crate::remote::{Failure, Load, Remote};

/// What came of the look.
pub(crate) enum Looked {
    /// The result is here now.
    Fetched(Made, Load),
    /// Another run has made it meanwhile.
    Fresh(Made),
    /// The step has to run.
    Nothing,
}

/// Looks for the result of a step in the remote, and fetches it. Whatever is wrong there is told, and
/// is no reason not to run the step.
///
/// # Errors
///
/// When the store on this machine cannot be used.
pub(crate) fn look(
    around: &Surroundings<'_>,
    id: StepId,
    basis: &Basis,
    remote: &Remote,
    cancelled: &AtomicBool,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Looked, StoreError> {
    if !remote.is_usable() {
        return Ok(Looked::Nothing);
    }
    let key = basis.fingerprint.key();
    let step = &around.plan.step(id).name;
    let ended = remote.find(&key).and_then(|parcel| match parcel {
        Some(parcel) => fetch(around, id, basis, remote, parcel, cancelled, tell),
        None => Ok(Looked::Nothing),
    });
    let message = match ended {
        Ok(looked) => return Ok(looked),
        Err(Failure::Stopped) => return Ok(Looked::Nothing),
        Err(Failure::Refused(why)) => {
            format!(
                "the remote's result of {step} is refused: {why}; \
                 `pipe push --again` from where it was made mends it"
            )
        }
        Err(Failure::Store(StoreError::Damaged { .. })) => return Ok(Looked::Nothing),
        Err(Failure::Store(error)) => return Err(error),
        // Many steps may find out at once; it is told once.
        Err(_) if !remote.give_up() => return Ok(Looked::Nothing),
        Err(failure @ Failure::Unusable { .. }) => {
            format!("{failure}; the run goes on without the remote")
        }
    };
    tell(Event::Notice { message });
    Ok(Looked::Nothing)
}

fn fetch(
    around: &Surroundings<'_>,
    id: StepId,
    basis: &Basis,
    remote: &Remote,
    parcel: Parcel,
    cancelled: &AtomicBool,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Looked, Failure> {
    let store: &Store = around.store;
    let step = around.plan.step(id).name.clone();
    let mut told = false;
    let lock = store.lock(&basis.fingerprint.key(), &mut || {
        if !std::mem::replace(&mut told, true) {
            tell(Event::Waiting { step: step.clone() });
        }
        match cancelled.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    let Some(_lock) = lock else { return Err(Failure::Stopped) };
    if told && let Some(made) = around.find(basis, &mut Vec::new())? {
        return Ok(Looked::Fresh(made));
    }
    let carried = [Carried { step, parcel: parcel.clone(), path: PathBuf::new() }];
    let outcome: Mutex<Option<Result<Load, Failure>>> = Mutex::new(None);
    // Its end is told when the result has been taken.
    let progress = |event| match event {
        Event::Fetched { .. } | Event::NotShared { .. } => {}
        other => tell(other),
    };
    let telling = Telling::new(Way::Here, &carried, &progress, |_, ended| {
        let ended = match ended {
            Ok(load) => Ok(*load),
            Err(failure) => Err(Failure::Refused(failure.to_string())),
        };
        *outcome.lock().expect("noting does not panic") = Some(ended);
        Ok(())
    });
    let parcels = [parcel];
    remote.fetch(&parcels, store, &telling)?;
    drop(telling);
    let outcome = outcome.into_inner().expect("noting does not panic");
    let load = outcome.unwrap_or(Err(Failure::Stopped))?;
    let [parcel] = parcels;
    let tree = store.tree(parcel.manifest())?;
    Ok(Looked::Fetched(Arc::new(Present::new(parcel.manifest(), tree)), load))
}
