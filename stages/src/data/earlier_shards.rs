//! Images of an earlier shard directory that are as they were.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use super::images::Images;
use super::shard_file::path_of;
use super::shards::{Entry, Shards};
use crate::context::Earlier;

/// An earlier output of `preprocess` with the same parameters, less the images that changed since.
#[derive(Debug)]
pub(crate) struct EarlierShards {
    directory: PathBuf,
    images: Images,
    /// How many images each shard holds.
    counts: Vec<usize>,
    /// Path → shard, row, and position among all.
    places: HashMap<String, Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    shard: usize,
    row: usize,
    position: usize,
}

impl EarlierShards {
    /// Opens what lies in `earlier`; `parameter` names the folder of images.
    ///
    /// # Errors
    ///
    /// When it is not a whole shard directory.
    pub(crate) fn open(earlier: &Earlier, parameter: &str) -> anyhow::Result<Self> {
        let shards = Shards::open(&earlier.out)?;
        let none = BTreeSet::new();
        let changed = earlier.changed.get(parameter).unwrap_or(&none);
        let counts = shards.counts().to_vec();
        let rows = counts
            .iter()
            .enumerate()
            .flat_map(|(shard, &count)| (0..count).map(move |row| (shard, row)));
        let places = shards.entries().iter().zip(rows).enumerate();
        let places = places
            .filter(|(_, (entry, _))| !changed.contains(&entry.path))
            .map(|(position, (entry, (shard, row)))| {
                (entry.path.clone(), Place { shard, row, position })
            })
            .collect();
        // Of most shards nothing is read: none is kept in memory.
        let images = shards.images(0)?;
        Ok(Self { directory: earlier.out.clone(), images, counts, places })
    }

    /// Returns the shard file that holds exactly these images in this order.
    pub(crate) fn whole(&self, entries: &[Entry]) -> Option<PathBuf> {
        let shard = self.places.get(&entries.first()?.path)?.shard;
        let same = entries.iter().enumerate().all(|(row, entry)| {
            let place = self.places.get(&entry.path);
            place.is_some_and(|place| (place.shard, place.row) == (shard, row))
        });
        (same && self.counts[shard] == entries.len()).then(|| path_of(&self.directory, shard))
    }

    /// Reads the planes of an image into `out`; returns whether it was there.
    ///
    /// # Errors
    ///
    /// When its shard cannot be read.
    pub(crate) fn planes_into(&self, path: &str, out: &mut [u8]) -> anyhow::Result<bool> {
        let Some(place) = self.places.get(path) else { return Ok(false) };
        out.copy_from_slice(&self.images.planes(place.position)?);
        Ok(true)
    }
}
