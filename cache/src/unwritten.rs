//! Results that are visible before they are known to be on the disk, because making them again costs little.
//!
//! Whoever looks for such a result reads it, so what a loss of power took of it shows: it is made again. A wait
//! for the disk after each of many short steps would take longer than they do.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::fingerprint::Key;
use crate::session;
use crate::store::Store;

/// More files than this are not left unwritten.
const MOST: usize = 4096;

/// What is still to be brought to the disk.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    paths: BTreeSet<PathBuf>,
    results: Vec<Visible>,
}

/// A result that has to go if the disk refuses it.
#[derive(Debug)]
struct Visible {
    key: Key,
    listing: Digest,
    new: Vec<Digest>,
}

impl Unwritten {
    /// Adds files that nothing is lost with.
    pub(crate) fn add(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.paths.extend(paths);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!("{error}");
        }
    }
}

impl Store {
    /// Makes a result visible whose manifest is written `aside`; its objects, those that are `new` among them, and the
    /// manifest are brought to the disk later.
    pub(crate) fn show_unwritten(
        &self,
        aside: &Path,
        key: &Key,
        listing: Digest,
        objects: impl Iterator<Item = (Digest, bool)>,
    ) -> Result<(), StoreError> {
        let objects: Vec<_> = objects.collect();
        let new = objects.iter().filter(|(_, new)| *new).map(|(digest, _)| *digest).collect();
        let (mut paths, _) = self.not_durable(objects);
        let result = self.result(key);
        fs::rename(aside, &result).at("write", &result)?;
        paths.extend([result, self.results()]);
        let mut unwritten = self.unwritten();
        unwritten.add(paths);
        unwritten.results.push(Visible { key: *key, listing, new });
        let many = unwritten.paths.len() > MOST;
        drop(unwritten);
        if many { self.flush() } else { Ok(()) }
    }

    /// Brings to the disk what [`Store::commit_soon`] has left for later.
    ///
    /// # Errors
    ///
    /// When the disk refuses; the results it was about are removed, so that they are made again.
    pub fn flush(&self) -> Result<(), StoreError> {
        let Unwritten { paths, results } = mem::take(&mut *self.unwritten());
        if paths.is_empty() {
            return Ok(());
        }
        let _operation = self.enter()?;
        // What was found to be damaged meanwhile has gone.
        let paths: Vec<PathBuf> = paths.into_iter().filter(|path| path.exists()).collect();
        let written = self.disk.sync(&paths);
        if written.is_err() {
            for Visible { key, listing, new } in results {
                session::remove(&self.result(&key))?;
                self.discard_tree(&self.trees().join(listing.to_string()))?;
                new.iter().try_for_each(|digest| session::remove(&self.object(digest)))?;
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::manifest::Record;
    use crate::store::Lookup;
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    fn make(store: &Store, name: &str, content: &str) -> Key {
        let mut fingerprint = Fingerprint::new();
        fingerprint.insert("kind", name);
        let key = fingerprint.key();
        let lock = store.lock(&key, &mut || ControlFlow::Break(())).unwrap().unwrap();
        let pending = store.begin(lock).unwrap();
        fs::write(pending.out().join("x"), content).unwrap();
        let facts = serde_json::Value::Null;
        let record = Record { fingerprint, measures: BTreeMap::new(), facts };
        let manifest = store.commit_soon(pending, record).unwrap();
        store.tree(&manifest).unwrap();
        key
    }

    #[test]
    fn a_small_result_is_there_at_once_and_goes_if_the_disk_refuses() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let [kept, lost] = [("a", "kept"), ("b", "lost")].map(|(name, content)| {
            store.flush().unwrap();
            make(&store, name, content)
        });
        assert!(store.lookup(&lost).unwrap().found().is_some());
        assert_eq!(store.unwritten().results.len(), 1, "the other is on the disk");
        // A name that is there and cannot be opened, as a file that a disk refuses.
        let refused = root.path().join("refused");
        std::os::unix::net::UnixListener::bind(&refused).unwrap();
        store.unwritten().paths.insert(refused.clone());
        let error = store.flush().unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");
        assert_eq!(store.lookup(&lost).unwrap(), Lookup::Missing);
        let manifest = store.lookup(&kept).unwrap().found().unwrap();
        assert_eq!(fs::read_dir(store.trees()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(store.tree(&manifest).unwrap().join("x")).unwrap(), "kept");
        store.flush().unwrap();
    }

    #[test]
    fn what_is_not_small_waits_for_the_disk_and_takes_along_what_did_not() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        make(&store, "a", "small");
        assert_eq!(store.unwritten().results.len(), 1);
        make(&store, "b", &"large".repeat(20_000));
        assert!(store.unwritten().results.is_empty() && store.unwritten().paths.is_empty());
    }
}
