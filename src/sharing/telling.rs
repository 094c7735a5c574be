//! Makes events of how the files of results get on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cache::{Manifest, Parcel};

use crate::event::{Event, StepResult};
use crate::remote::{Failure, Listener, Load};

/// How often a result says how far it is.
const EVERY: Duration = Duration::from_millis(100);

/// Which way results are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Here,
    There,
}

/// A result that is carried, under the name of its step.
pub(super) struct Carried {
    pub(super) step: String,
    pub(super) parcel: Parcel,
    /// The link to its files.
    pub(super) path: PathBuf,
}

/// Tells how results are carried; and is told.
pub(super) struct Telling<'a, F> {
    way: Way,
    carried: &'a [Carried],
    parcels: Mutex<BTreeMap<usize, Progress>>,
    totals: Vec<u64>,
    /// What is done with a result that has been carried.
    ended: F,
    tell: &'a (dyn Fn(Event) + Sync),
}

struct Progress {
    begun: Instant,
    told: Instant,
    done: u64,
}

impl<'a, F: Fn(usize, &Result<Load, Failure>) -> Result<(), Failure> + Sync> Telling<'a, F> {
    pub(super) fn new(
        way: Way,
        carried: &'a [Carried],
        tell: &'a (dyn Fn(Event) + Sync),
        ended: F,
    ) -> Self {
        let size = |carried: &Carried| -> u64 {
            carried.parcel.contents().iter().filter_map(|content| content.size).sum()
        };
        let totals = carried.iter().map(size).collect();
        Self { way, carried, parcels: Mutex::default(), totals, ended, tell }
    }
}

/// What of a result is told.
pub(super) fn result(manifest: &Manifest, path: PathBuf) -> StepResult {
    StepResult {
        key: manifest.key.to_string(),
        measures: manifest.measures.clone(),
        files: manifest.outputs.len(),
        bytes: manifest.outputs.size(),
        path,
    }
}

impl<F: Fn(usize, &Result<Load, Failure>) -> Result<(), Failure> + Sync> Listener
    for Telling<'_, F>
{
    fn bytes(&self, parcel: usize, bytes: u64) {
        let now = Instant::now();
        let Carried { step, .. } = &self.carried[parcel];
        let total = self.totals[parcel];
        let mut parcels = self.parcels.lock().expect("telling does not panic");
        let progress = parcels.entry(parcel).or_insert_with(|| {
            let (step, way) = (step.clone(), self.way);
            (self.tell)(match way {
                Way::Here => Event::Fetching { step, bytes: total },
                Way::There => Event::Sending { step, bytes: total },
            });
            Progress { begun: now, told: now, done: 0 }
        });
        progress.done += bytes;
        if now - progress.told >= EVERY {
            progress.told = now;
            // Logs and listings come on top of what the manifest says.
            let (done, unit) = (progress.done.min(total), "bytes".to_owned());
            let note = String::new();
            (self.tell)(Event::Progress { step: step.clone(), done, total, unit, note });
        }
    }

    fn ended(&self, parcel: usize, outcome: Result<Load, Failure>) {
        let carried = &self.carried[parcel];
        let seconds = {
            let parcels = self.parcels.lock().expect("telling does not panic");
            parcels.get(&parcel).map_or(0.0, |progress| progress.begun.elapsed().as_secs_f64())
        };
        let ended = (self.ended)(parcel, &outcome);
        let step = carried.step.clone();
        let event = match outcome.and_then(|load| ended.map(|()| load)) {
            Err(failure) => Event::NotShared { step, message: failure.to_string() },
            Ok(Load { files, bytes }) => {
                let (carried_files, carried_bytes) = (files, bytes);
                let result = result(carried.parcel.manifest(), carried.path.clone());
                match self.way {
                    Way::Here => {
                        Event::Fetched { step, result, carried_files, carried_bytes, seconds }
                    }
                    Way::There => {
                        Event::Sent { step, result, carried_files, carried_bytes, seconds }
                    }
                }
            }
        };
        (self.tell)(event);
    }
}
