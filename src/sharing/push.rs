//! `pipe push`: to the remote what the steps of a plan have made.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use cache::{Key, Parcel};

use super::find::{Found, find};
use super::telling::{Carried, Telling, Way, result};
use super::{Outcome, Shares, Summary, drive, hear, unless_stopped};
use crate::check::Surroundings;
use crate::event::{Event, Observer};
use crate::lock::Locked;
use crate::plan::StepId;
use crate::remote::{Failure, Remote};

/// Sends the results of the selected steps that the remote does not have; `again`, those too that it
/// has.
///
/// # Errors
///
/// When the remote or the store cannot be used. A step without a result is no error: it is told and
/// counted.
pub fn push(
    shares: &Shares<'_>,
    again: bool,
    observer: &mut dyn Observer,
) -> Result<Summary, Failure> {
    drive(shares, observer, |sender| send_found(shares, again, sender))
}

/// Sends what a run has made; whatever is wrong with the remote is told. Returns whether it was asked
/// to stop.
pub(crate) fn push_made(
    around: &Surroundings<'_>,
    made: &[(StepId, Key)],
    remote: &Remote,
    interrupt: &AtomicBool,
    observer: &mut dyn Observer,
) -> bool {
    if !remote.is_usable() {
        return false;
    }
    let remote = match Remote::open_to_send(remote.address()) {
        Ok(remote) => remote,
        Err(failure) => {
            tell_unsent(&failure, observer);
            return false;
        }
    };
    let (ended, interrupted) = hear(observer, interrupt, &remote, |sender| {
        let mut carried = Vec::new();
        for (id, key) in made {
            let step = around.plan.step(*id).name.clone();
            // What has been damaged since is made again by the next run.
            if let Some(parcel) = around.store.parcel(key)? {
                carried.push(Carried { step, parcel, path: around.latest_link(*id) });
            }
        }
        let tell = |event| match event {
            Event::Present { .. } => {}
            other => drop(sender.send(other)),
        };
        send(&remote, around.store, carried, false, &tell)
    });
    match ended {
        Ok(_) | Err(Failure::Stopped) => {}
        Err(failure) => tell_unsent(&failure, observer),
    }
    interrupted
}

fn tell_unsent(failure: &Failure, observer: &mut dyn Observer) {
    let message = format!("{failure}; the results stay here: `pipe push` sends them");
    observer.event(&Event::Notice { message });
}

fn send_found(shares: &Shares<'_>, again: bool, sender: &Sender<Event>) -> Outcome {
    let look = |key: &Key, _: Option<&Locked>| Ok(shares.store.parcel(key)?);
    let found = find(shares, None, &look, |parcel: &Parcel| parcel.manifest().outputs.clone())?;
    let mut carried = Vec::new();
    let mut left = 0;
    for &id in shares.plan.order() {
        let Some(found) = found.get(&id) else { continue };
        let step = shares.plan.step(id).name.clone();
        match found {
            Found::Result(parcel) => {
                let path = shares.store.root().join("latest");
                let path = path.join(&shares.plan.pipeline.name).join(&step);
                carried.push(Carried { step, parcel: parcel.clone(), path });
            }
            other => {
                left += 1;
                let message = other
                    .problem(shares, "it has no result that is up to date; `pipe run` makes it");
                let message = message.unwrap_or_default();
                drop(sender.send(Event::NotShared { step, message }));
            }
        }
    }
    let tell = |event| drop(sender.send(event));
    let summary = send(shares.remote, shares.store, carried, again, &tell)?;
    Ok(Summary { left: summary.left + left, ..summary })
}

/// Sends results that are here.
pub(super) fn send(
    remote: &Remote,
    store: &cache::Store,
    carried: Vec<Carried>,
    again: bool,
    tell: &(dyn Fn(Event) + Sync),
) -> Outcome {
    let parcels: Vec<&Parcel> = carried.iter().map(|carried| &carried.parcel).collect();
    let there = if again { vec![false; parcels.len()] } else { remote.have(&parcels)? };
    let (present, carried): (Vec<_>, Vec<_>) =
        carried.into_iter().zip(there).partition(|(_, there)| *there);
    let carried: Vec<Carried> = carried.into_iter().map(|(carried, _)| carried).collect();
    let summary = Mutex::new(Summary { present: present.len(), ..Summary::default() });
    for (Carried { step, parcel, path }, _) in present {
        tell(Event::Present { step, result: result(parcel.manifest(), path) });
    }
    let parcels: Vec<Parcel> = carried.iter().map(|carried| carried.parcel.clone()).collect();
    let telling = Telling::new(Way::There, &carried, tell, |_, outcome| {
        let mut summary = summary.lock().expect("counting does not panic");
        match outcome {
            Ok(load) => {
                summary.sent += 1;
                summary.bytes += load.bytes;
            }
            Err(_) => summary.left += 1,
        }
        Ok(())
    });
    unless_stopped(remote.send(&parcels, store, again, &telling))?;
    drop(telling);
    Ok(summary.into_inner().expect("counting does not panic"))
}
