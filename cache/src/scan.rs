//! Digests of files outside the store.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::FileTable;
use crate::known;
use crate::listing::Listing;
use crate::store::Store;
use crate::walk::{Found, Walk, join};

/// What [`Store::scan_once`] has seen, by absolute path, since something was last made.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<PathBuf, Arc<Mutex<Option<Listing>>>>>);

impl Seen {
    /// What steps make may be anywhere: nothing seen before one starts counts after.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn of(&self, path: &Path) -> Arc<Mutex<Option<Listing>>> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(seen.entry(path.to_owned()).or_default())
    }
}

impl Store {
    /// Returns what [`Store::scan`] does, looking only once at a path, however many ask, until
    /// something is begun.
    ///
    /// What changes meanwhile may be missed: who makes a result has to scan again before its commit.
    ///
    /// # Errors
    ///
    /// As [`Store::scan`].
    pub fn scan_once(&self, path: &Path) -> Result<Listing, StoreError> {
        let path = std::path::absolute(path).at("find", path)?;
        let seen = self.seen.of(&path);
        // Who comes second waits for the first, rather than walk the same directory beside it.
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = &*seen {
            return Ok(listing.clone());
        }
        let listing = self.scan(&path)?;
        // Once for all who get a clone.
        let digest = listing.digest();
        tracing::debug!(%digest, "looked at {}", path.display());
        Ok(seen.insert(listing).clone())
    }

    /// Returns what is at `path`: every file below a directory, or a single file, named
    /// [`Listing::ITSELF`].
    ///
    /// Symbolic links are followed. Files whose size, times and inode are as they were when they
    /// were last read are not read again.
    ///
    /// # Errors
    ///
    /// When `path` is missing, a file cannot be read or is written to meanwhile, a link leads to a
    /// directory above it, a name is not UTF-8, or something is neither file nor directory.
    pub fn scan(&self, path: &Path) -> Result<Listing, StoreError> {
        // Taken before the first look at a file, since what comes later may be missed.
        let now = SystemTime::now();
        let path = std::path::absolute(path).at("find", path)?;
        let metadata = fs::metadata(&path).at("read", &path)?;
        let place = self.scan_table(&path);
        let (known, found) = rayon::join(
            || FileTable::read(&place),
            || {
                if metadata.is_dir() {
                    Walk::outside(&path, self.identity()).files()
                } else if metadata.is_file() {
                    Ok(vec![Found::of(Listing::ITSELF.to_owned(), &metadata, false)])
                } else {
                    let problem = "is neither a file nor a directory".to_owned();
                    Err(StoreError::Unusable { path: path.clone(), problem })
                }
            },
        );
        let found = found?;
        let digested = known::digest(found, &[&known], Some(now), |name| join(&path, name))?;
        if let Some(mut table) = digested.table {
            table.root = path.to_string_lossy().into_owned();
            self.remember(&place, &table);
        }
        Ok(Listing::of(digested.files))
    }

    fn scan_table(&self, path: &Path) -> PathBuf {
        let name = Digest::of(path.as_os_str().as_encoded_bytes());
        self.tables().join(format!("scan-{name:.32}"))
    }
}
