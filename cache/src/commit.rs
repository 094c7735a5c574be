//! Making a result visible, by one rename.
//!
//! In this order: each file is digested, sealed and moved to `objects/`; the manifest is written
//! aside; all of these and the directories they are in are brought to the disk; the manifest is
//! renamed into `results/`. Whenever the process or the machine dies, there is either a manifest
//! with everything it mentions, or none, and objects that nothing mentions. Such an object may have
//! lost its content with the power, so it is read before another commit relies on it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::digest::Digest;
use crate::durable::sync;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
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
        let Record { fingerprint, measures, facts } = record;
        let key = *pending.key();
        assert_eq!(fingerprint.key(), key, "a result is committed under the key it was begun with");
        let files = self.store_files(&pending)?;
        let log = self.store_log(&pending)?;
        let outputs =
            Listing::of(files.iter().map(|stored| (stored.known.path.clone(), stored.entry)));
        let log_digest = log.as_ref().map(|stored| stored.known.digest);
        let manifest = Manifest { key, fingerprint, outputs, log: log_digest, measures, facts };
        let aside = pending.directory.join("manifest");
        fs::write(&aside, manifest.encode()).at("write", &aside)?;

        let objects = || files.iter().chain(&log);
        let digests = objects().map(|stored| stored.known.digest);
        if let Err(error) = self.sync_objects(digests, Some(aside.clone())) {
            // What memory holds of a file that could not be written is no longer what the disk
            // holds, and no second attempt would be told.
            for stored in objects().filter(|stored| stored.new) {
                session::remove(&self.object(&stored.known.digest))?;
            }
            return Err(error);
        }
        let result = self.result(&key);
        fs::rename(&aside, &result).at("write", &result)?;
        // From here on the result is there.
        sync(&[self.results()])?;

        let table = self.object_table(&manifest.outputs.digest());
        let files = files.into_iter().map(|stored| stored.known).collect();
        self.remember(&table, &FileTable { root: String::new(), files });
        for left in [pending.scratch(), pending.log_path()] {
            if let Err(error) = session::remove(left) {
                tracing::warn!("{error}");
            }
        }
        Ok(manifest)
    }

    fn store_files(&self, pending: &Pending) -> Result<Vec<Stored>, StoreError> {
        Walk::output(pending.out())
            .files()?
            .into_par_iter()
            .map(|found| self.store_file(join(pending.out(), &found.path), found))
            .collect()
    }

    fn store_log(&self, pending: &Pending) -> Result<Option<Stored>, StoreError> {
        let log = pending.log_path();
        let metadata = match fs::metadata(log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.at("read", log)?,
        };
        // Not moved: whoever follows the log may still have it open, and until the commit it is
        // the log of an unfinished try.
        let found = Found { shared: true, ..Found::of("log".to_owned(), &metadata, false) };
        self.store_file(log.to_owned(), found).map(Some)
    }

    /// Makes an object of a file; of a copy, when it has other names, since these may be written to.
    fn store_file(&self, mut file: PathBuf, found: Found) -> Result<Stored, StoreError> {
        let copy = self.session()?.aside();
        if found.shared {
            // The copy is what does not fit when the disk is full.
            reflink_copy::reflink_or_copy(&file, &*copy).at("copy a file to", &copy)?;
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
        let entry = FileEntry { digest, size: state.size, executable: found.executable };
        let known = Known { path: found.path, state, digest };
        Ok(Stored { known, entry, new: old.is_none() })
    }
}
