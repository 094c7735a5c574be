//! Making a result visible, by one rename.
//!
//! In this order: each file is digested, sealed and moved to `objects/`; the manifest is written
//! aside; all of these and the directories they are in are brought to the disk; the manifest is
//! renamed into `results/`. Whenever the process or the machine dies, there is either a manifest
//! with everything it mentions, or none, and objects that nothing mentions. Such an object may have
//! lost its content with the power, so it is read before another commit relies on it. Small results that cost
//! little to make again are visible before they are on the disk (`unwritten.rs`).

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::fingerprint::Key;
use crate::known;
use crate::listing::{FileEntry, Listing};
use crate::manifest::{Manifest, Record};
use crate::object::seal;
use crate::pending::Pending;
use crate::session;
use crate::state::State;
use crate::store::Store;
use crate::walk::{Found, Walk, join};

/// A file that became an object, or was one already.
struct Stored {
    known: Known,
    entry: FileEntry,
    new: bool,
}

impl Stored {
    fn new(found: Found, digest: Digest, state: State, new: bool) -> Self {
        let entry = FileEntry { digest, size: state.size, executable: found.executable };
        Self { known: Known { path: found.path, state, digest }, entry, new }
    }
}

/// The tables of trees that outputs have links into, each read once.
#[derive(Default)]
struct Trees(Mutex<HashMap<Digest, Arc<FileTable>>>);

impl Trees {
    fn get(&self, store: &Store, tree: &Digest) -> Arc<FileTable> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || Arc::new(FileTable::read(&store.tree_table(tree)));
        Arc::clone(tables.entry(*tree).or_insert_with(read))
    }
}

impl Store {
    /// Makes a finished result visible and removes its scratch directory.
    ///
    /// # Errors
    ///
    /// When an output cannot be part of a result, or the store cannot be written; what was stored
    /// before stays as it was.
    ///
    /// # Panics
    ///
    /// When the fingerprint is not the one whose key was locked.
    pub fn commit(&self, pending: Pending, record: Record) -> Result<Manifest, StoreError> {
        self.commit_with(pending, record, false)
    }

    /// The same of a result that costs little to make again: if it is small, too, it may come to the disk only with
    /// the next result that is neither, or with [`Store::flush`].
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    ///
    /// # Panics
    ///
    /// As [`Store::commit`].
    pub fn commit_soon(&self, pending: Pending, record: Record) -> Result<Manifest, StoreError> {
        self.commit_with(pending, record, true)
    }

    fn commit_with(
        &self,
        pending: Pending,
        record: Record,
        soon: bool,
    ) -> Result<Manifest, StoreError> {
        let _operation = self.enter()?;
        let Record { fingerprint, measures, facts } = record;
        let key = *pending.key();
        assert_eq!(fingerprint.key(), key, "a result is committed under the key it was begun with");
        let files = self.store_files(&pending)?;
        let log = self.store_log(&pending)?;
        let outputs =
            Listing::of(files.iter().map(|stored| (stored.known.path.clone(), stored.entry)));
        let log_digest = log.as_ref().map(|stored| stored.known.digest);
        let manifest = Manifest { key, fingerprint, outputs, log: log_digest, measures, facts };
        let aside = self.session()?.aside();
        fs::write(&*aside, manifest.encode()).at("write", &aside)?;

        let all = || files.iter().chain(&log);
        let objects = all().map(|stored| (stored.known.digest, stored.new));
        let digest = manifest.outputs.digest();
        let large = known::worth_remembering(all().map(|stored| stored.known.state.size));
        self.pin(key.digest());
        if soon && !large {
            self.show_unwritten(&aside, &key, digest, objects)?;
        } else {
            self.flush()?;
            self.make_visible(&aside, &key, objects)?;
        }

        let sizes = files.iter().map(|stored| stored.known.state.size);
        let remembered = known::worth_remembering(sizes);
        let files = files.into_iter().map(|stored| stored.known).collect();
        if remembered {
            self.remember(&self.object_table(&digest), &FileTable { root: String::new(), files });
        } else {
            self.proven().insert(digest, files);
        }
        for left in [pending.scratch(), pending.log_path()] {
            if let Err(error) = session::remove(left) {
                tracing::warn!("{error}");
            }
        }
        Ok(manifest)
    }

    /// Brings the objects of a result and its manifest, written `aside`, to the disk, and only then
    /// renames the manifest into place: from there on the result is there.
    ///
    /// When the disk refuses, the objects that are `new` are removed: what memory holds of a file
    /// that could not be written is no longer what the disk holds, and no second attempt would be
    /// told.
    pub(crate) fn make_visible(
        &self,
        aside: &Path,
        key: &Key,
        objects: impl Iterator<Item = (Digest, bool)>,
    ) -> Result<(), StoreError> {
        let objects: Vec<_> = objects.collect();
        if let Err(error) = self.sync_objects(objects.iter().copied(), Some(aside.to_owned())) {
            for (digest, _) in objects.iter().filter(|(_, new)| *new) {
                session::remove(&self.object(digest))?;
            }
            return Err(error);
        }
        let result = self.result(key);
        fs::rename(aside, &result).at("write", &result)?;
        self.disk.sync(&[self.results()])
    }

    fn store_files(&self, pending: &Pending) -> Result<Vec<Stored>, StoreError> {
        let trees = Trees::default();
        Walk::output(pending.out())
            .files()?
            .into_par_iter()
            .map(|found| {
                let file = join(pending.out(), &found.path);
                match self.taken_over(&file, &found, &trees) {
                    Some(stored) => Ok(stored),
                    None => self.store_file(file, found),
                }
            })
            .collect()
    }

    /// Returns the object that a link leads to by way of a tree of this store; none when it leads
    /// elsewhere, or what is there is not in the state in which it was last read.
    fn taken_over(&self, file: &Path, found: &Found, trees: &Trees) -> Option<Stored> {
        if !found.shared || found.executable {
            return None;
        }
        let target = fs::read_link(file).ok()?;
        let mut below = target.strip_prefix(self.trees()).ok()?.components();
        let tree: Digest = below.next()?.as_os_str().to_str()?.parse().ok()?;
        let table = trees.get(self, &tree);
        let path = below.as_path().to_str()?;
        let at = table.files.binary_search_by(|known| known.path.as_str().cmp(path)).ok()?;
        let Known { state, digest, .. } = table.files[at];
        // Where there are no hard links, the object is another file than that of the tree.
        let object = State::of(&fs::symlink_metadata(self.object(&digest)).ok()?);
        if state != found.state || state != object {
            return None;
        }
        Some(Stored::new(found.clone(), digest, state, false))
    }

    fn store_log(&self, pending: &Pending) -> Result<Option<Stored>, StoreError> {
        let log = pending.log_path();
        let metadata = match fs::metadata(log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.at("read", log)?,
        };
        if metadata.len() == 0 {
            return Ok(None);
        }
        // Not moved: whoever follows the log may still have it open, and until the commit it is
        // the log of an unfinished try.
        let found = Found { shared: true, ..Found::of("log".to_owned(), &metadata, false) };
        self.store_file(log.to_owned(), found).map(Some)
    }

    /// Makes an object of a file; of a copy, when it has other names, since these may be written to.
    fn store_file(&self, mut file: PathBuf, found: Found) -> Result<Stored, StoreError> {
        let copy;
        if found.shared {
            // Many a log says what another said, or nothing.
            if found.state.size <= known::CHEAP.1 {
                let (_, digest) = known::read(&file)?;
                if let Some(state) = self.read_object(&digest)? {
                    return Ok(Stored::new(found, digest, state, false));
                }
            }
            copy = self.session()?.aside();
            // The copy is what does not fit when the disk is full.
            self.copy(&file, &copy).at("copy a file to", &copy)?;
            file = copy.to_path_buf();
        }
        fs::set_permissions(&file, Permissions::from_mode(0o444)).at("write", &file)?;
        let mut open = File::open(&file).at("read", &file)?;
        let (digest, _) = Digest::of_file(&mut open).at("read", &file)?;
        let old = self.read_object(&digest)?;
        let state = match old {
            Some(state) => state,
            None => {
                seal(&open, &digest).at("write", &file)?;
                let object = self.object(&digest);
                self.place(&file, &object)?;
                State::of(&fs::symlink_metadata(&object).at("read", &object)?)
            }
        };
        Ok(Stored::new(found, digest, state, old.is_none()))
    }
}
