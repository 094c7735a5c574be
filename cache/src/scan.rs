//! Digests of files outside the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::FileTable;
use crate::known;
use crate::listing::Listing;
use crate::store::Store;
use crate::walk::{Found, Walk, join};

impl Store {
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
        let found = if metadata.is_dir() {
            Walk::outside(&path, self.identity()).files()?
        } else if metadata.is_file() {
            vec![Found::of(Listing::ITSELF.to_owned(), &metadata, false)]
        } else {
            let problem = "is neither a file nor a directory".to_owned();
            return Err(StoreError::Unusable { path, problem });
        };
        let place = self.scan_table(&path);
        let known = FileTable::read(&place);
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
