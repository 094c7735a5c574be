//! `pipe pull`: from the remote what the steps of a plan would make.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use cache::{Key, Manifest, Parcel};

use super::find::{Found, find};
use super::telling::{Carried, Telling, Way, result};
use super::{Shares, Summary, drive, unless_stopped};
use crate::event::{Event, Observer};
use crate::lock::{Lock, Locked};
use crate::plan::StepId;
use crate::remote::Failure;

/// Where a result is.
enum Place {
    Here(Box<Manifest>),
    There(Box<Parcel>),
}

impl Place {
    fn manifest(&self) -> &Manifest {
        match self {
            Self::Here(manifest) => manifest,
            Self::There(parcel) => parcel.manifest(),
        }
    }
}

/// Fetches the results of the selected steps that are not here; of `only` these, if it is said. With a
/// `lock`, exactly the results that it names.
///
/// # Errors
///
/// When the remote or the store cannot be used. A result that nobody has is no error: it is told and
/// counted.
pub fn pull(
    shares: &Shares<'_>,
    only: Option<&BTreeSet<StepId>>,
    lock: Option<&Lock>,
    observer: &mut dyn Observer,
) -> Result<Summary, Failure> {
    drive(shares, observer, |sender| work(shares, only, lock, sender))
}

fn work(
    shares: &Shares<'_>,
    only: Option<&BTreeSet<StepId>>,
    lock: Option<&Lock>,
    sender: &Sender<Event>,
) -> Result<Summary, Failure> {
    let tell = |event| drop(sender.send(event));
    let look = |key: &Key, locked: Option<&Locked>| {
        let refused = |manifest: &Manifest| locked?.refuses(&manifest.outputs, None);
        let here = shares.store.lookup(key)?.found();
        // A step that is not repeatable may have made other files here than those that were locked.
        if let Some(manifest) = here.filter(|manifest| refused(manifest).is_none()) {
            return Ok(Some(Place::Here(Box::new(manifest))));
        }
        let Some(parcel) = shares.remote.find(key)? else { return Ok(None) };
        match refused(parcel.manifest()) {
            Some(why) => Err(Failure::Refused(format!("in {}, {why}", shares.remote.address()))),
            None => Ok(Some(Place::There(Box::new(parcel)))),
        }
    };
    let found = find(shares, lock, &look, |place| place.manifest().outputs.clone())?;
    let nowhere = format!("{} does not have it", shares.remote.address());
    let mut summary = Summary::default();
    let mut carried = Vec::new();
    for &id in shares.plan.order() {
        let Some(found) = found.get(&id) else { continue };
        if only.is_some_and(|only| !only.contains(&id)) {
            continue;
        }
        let step = shares.plan.step(id).name.clone();
        let path = shares.store.root().join("latest").join(&shares.plan.pipeline.name).join(&step);
        if let Some(message) = found.problem(shares, &nowhere) {
            summary.left += 1;
            tell(Event::NotShared { step, message });
            continue;
        }
        match found {
            Found::Result(Place::There(parcel)) => {
                carried.push(Carried { step, parcel: Parcel::clone(parcel), path });
            }
            Found::Result(Place::Here(manifest)) => {
                lay_out(shares, &step, manifest)?;
                summary.present += 1;
                tell(Event::Fresh { step, result: result(manifest, path) });
            }
            _ => {}
        }
    }
    fetch(shares, &carried, &tell, summary)
}

/// Fetches results, each of which becomes the last one of its step.
fn fetch(
    shares: &Shares<'_>,
    carried: &[Carried],
    tell: &(dyn Fn(Event) + Sync),
    summary: Summary,
) -> Result<Summary, Failure> {
    let summary = Mutex::new(summary);
    let parcels: Vec<Parcel> = carried.iter().map(|carried| carried.parcel.clone()).collect();
    let telling = Telling::new(Way::Here, carried, tell, |index, outcome| {
        let mut summary = summary.lock().expect("counting does not panic");
        let Ok(load) = outcome else {
            summary.left += 1;
            return Ok(());
        };
        summary.fetched += 1;
        summary.bytes += load.bytes;
        drop(summary);
        let Carried { step, parcel, .. } = &carried[index];
        lay_out(shares, step, parcel.manifest())
    });
    unless_stopped(shares.remote.fetch(&parcels, shares.store, &telling))?;
    drop(telling);
    Ok(summary.into_inner().expect("counting does not panic"))
}

/// Makes the files of a result those that the link of its step leads to.
fn lay_out(shares: &Shares<'_>, step: &str, manifest: &Manifest) -> Result<(), Failure> {
    shares.store.tree(manifest)?;
    shares.store.set_latest(&shares.plan.pipeline.name, step, &manifest.key, &manifest.outputs)?;
    Ok(())
}
