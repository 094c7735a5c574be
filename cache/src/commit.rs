//! Making a result visible, by one rename.
//!
//! In this order: each file is digested, sealed, brought to the disk and moved to `objects/`; the
//! directories of objects are brought to the disk; the manifest is written aside, brought to the
//! disk and renamed into `results/`. Whenever the process or the machine dies, there is either a
//! manifest with everything it mentions, or none, and objects that nothing mentions yet.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::listing::{FileEntry, Listing};
use crate::manifest::{Manifest, Record};
use crate::object::{seal, sync_directory, write_durably};
use crate::pending::Pending;
use crate::session;
use crate::state::State;
use crate::store::Store;
use crate::walk::{Found, Walk, join};

/// More files than this are brought to the disk by one call for the whole file system.
const MANY: usize = 32;

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
        let outputs = self.store_files(&pending)?;
        let log = self.store_log(&pending)?;
        let manifest = Manifest { key, fingerprint, outputs, log, measures, facts };

        let aside = pending.directory.join("manifest");
        write_durably(&aside, &manifest.encode())?;
        let result = self.result(&key);
        fs::rename(&aside, &result).at("write", &result)?;
        // From here on the result is there: what fails below has failed to tidy up.
        sync_directory(&self.results())?;
        for left in [pending.scratch(), pending.log_path()] {
            if let Err(error) = session::remove(left) {
                tracing::warn!("{error}");
            }
        }
        Ok(manifest)
    }

    fn store_files(&self, pending: &Pending) -> Result<Listing, StoreError> {
        let found = Walk::output(pending.out()).files()?;
        let each = found.len() <= MANY;
        let prepared: Result<Vec<(Found, PathBuf, Digest)>, StoreError> = found
            .into_par_iter()
            .map(|found| {
                let file = join(pending.out(), &found.path);
                let (file, digest) = prepare(pending, file, found.shared, each)?;
                Ok((found, file, digest))
            })
            .collect();
        let prepared = prepared?;
        if !each {
            sync_everything(pending.out())?;
        }
        let stored: Result<Vec<(Known, FileEntry)>, StoreError> = prepared
            .into_par_iter()
            .map(|(found, file, digest)| {
                let object = self.object(&digest);
                // The object may be there already; a damaged one must not be taken for it.
                let state = match self.read_object(&digest)? {
                    Some(state) => state,
                    None => {
                        self.place(&file, &object)?;
                        State::of(&fs::metadata(&object).at("read", &object)?)
                    }
                };
                let Found { path, executable, .. } = found;
                let entry = FileEntry { digest, size: state.size, executable };
                Ok((Known { path, state, digest }, entry))
            })
            .collect();
        let stored = stored?;
        self.sync_objects(stored.iter().map(|(known, _)| known.digest))?;
        let (files, entries): (Vec<Known>, Vec<FileEntry>) = stored.into_iter().unzip();
        let listing = Listing::of(files.iter().map(|known| known.path.clone()).zip(entries));
        let table = self.object_table(&listing.digest());
        self.remember(&table, &FileTable { root: String::new(), files });
        Ok(listing)
    }

    fn store_log(&self, pending: &Pending) -> Result<Option<Digest>, StoreError> {
        let log = pending.log_path();
        if !log.is_file() {
            return Ok(None);
        }
        // Not moved: whoever follows the log may still have it open, and until the commit it is
        // the log of an unfinished try.
        let copy = pending.session.unique();
        fs::copy(log, &copy).at("write", &copy)?;
        let (file, digest) = prepare(pending, copy, false, true)?;
        if self.read_object(&digest)?.is_none() {
            self.place(&file, &self.object(&digest))?;
            self.sync_objects([digest])?;
        } else {
            session::remove(&file)?;
        }
        Ok(Some(digest))
    }

    /// Brings the names of objects to the disk.
    fn sync_objects(&self, digests: impl IntoIterator<Item = Digest>) -> Result<(), StoreError> {
        let directories: BTreeSet<PathBuf> = digests
            .into_iter()
            .filter_map(|digest| self.object(&digest).parent().map(Path::to_owned))
            .collect();
        if directories.len() > MANY {
            return sync_everything(&self.objects());
        }
        directories.into_par_iter().try_for_each(|directory| sync_directory(&directory))
    }
}

/// Digests and seals a file; one that has other names is copied first, since these may be written
/// to.
fn prepare(
    pending: &Pending,
    file: PathBuf,
    shared: bool,
    sync: bool,
) -> Result<(PathBuf, Digest), StoreError> {
    let file = if shared {
        let copy = pending.session.unique();
        reflink_copy::reflink_or_copy(&file, &copy).at("copy", &file)?;
        copy
    } else {
        file
    };
    fs::set_permissions(&file, Permissions::from_mode(0o444)).at("write", &file)?;
    let mut open = File::open(&file).at("read", &file)?;
    let (digest, _) = Digest::of_file(&mut open).at("read", &file)?;
    seal(&open, &digest).at("write", &file)?;
    if sync {
        open.sync_all().at("write", &file)?;
    }
    Ok((file, digest))
}

/// Brings everything that the file system of `path` has in memory to the disk.
fn sync_everything(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).at("read", path)?;
    nix::unistd::syncfs(&file).map_err(std::io::Error::from).at("write", path)
}
