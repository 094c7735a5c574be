//! Where the results of a plan are, before anything is fetched or run.

use std::collections::BTreeMap;

use cache::{Key, Parcel};

use super::Shares;
use super::find::{Found, find};
use crate::plan::StepId;
use crate::remote::Failure;

/// Where the result of a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this machine.
    Here,
    /// In the remote.
    There {
        /// The size of its files.
        bytes: u64,
    },
    /// Neither here nor there.
    Nowhere,
    /// Not known before a step it needs has a result.
    Unsettled,
    /// What it depends on, or what the remote has of it, cannot be used; why.
    Unusable(String),
}

enum Place {
    Here(Box<cache::Manifest>),
    There(Box<Parcel>),
}

/// Looks where the results of the selected steps are; carries records alone, no files.
///
/// # Errors
///
/// When the remote or the store cannot be used.
pub fn survey(shares: &Shares<'_>) -> Result<BTreeMap<StepId, Whereabouts>, Failure> {
    let look = |key: &Key, _: Option<&_>| {
        if let Some(manifest) = shares.store.lookup(key)?.found() {
            return Ok(Some(Place::Here(Box::new(manifest))));
        }
        let parcel = shares.remote.find(key)?;
        Ok(parcel.map(|parcel| Place::There(Box::new(parcel))))
    };
    let outputs = |place: &Place| match place {
        Place::Here(manifest) => manifest.outputs.clone(),
        Place::There(parcel) => parcel.manifest().outputs.clone(),
    };
    let found = find(shares, None, &look, outputs)?.into_iter();
    let whereabouts = found.map(|(id, found)| {
        let whereabouts = match found {
            Found::Result(Place::Here(_)) => Whereabouts::Here,
            Found::Result(Place::There(parcel)) => {
                Whereabouts::There { bytes: parcel.manifest().outputs.size() }
            }
            Found::Nowhere => Whereabouts::Nowhere,
            Found::After(_) => Whereabouts::Unsettled,
            Found::Unusable(why) => Whereabouts::Unusable(why),
        };
        (id, whereabouts)
    });
    Ok(whereabouts.collect())
}
