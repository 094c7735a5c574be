//! A result being made.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};
use crate::fingerprint::Key;
use crate::lock::KeyLock;
use crate::session::{self, Aside};
use crate::store::Store;

/// A result being made. Dropped without [`Store::commit`], its output is removed; scratch and log
/// stay.
#[derive(Debug)]
pub struct Pending {
    pub(crate) lock: KeyLock,
    /// Holds `out`.
    pub(crate) directory: Aside,
    out: PathBuf,
    scratch: PathBuf,
    log: PathBuf,
}

impl Pending {
    /// Returns the key whose result is made.
    #[must_use]
    pub const fn key(&self) -> &Key {
        self.lock.key()
    }

    /// Returns the directory to fill, empty at first and private.
    ///
    /// It may come to hold files and directories. A symbolic link to a file stands for the content
    /// of that file; one to a directory is refused. Directories without files are dropped.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Returns the directory that outlives a failed or killed try and is removed by the commit.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns where the log may be written; it outlives a failed or killed try
    /// ([`Store::unfinished_log`]) and becomes part of the manifest by the commit.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

impl Store {
    /// Starts to make the result that `lock` gives the right to.
    ///
    /// # Errors
    ///
    /// When the directories cannot be made.
    pub fn begin(&self, lock: KeyLock) -> Result<Pending, StoreError> {
        let _operation = self.enter()?;
        self.seen.forget();
        let directory = self.session()?.aside();
        let out = directory.join("out");
        let scratch = self.scratches().join(lock.key().to_string());
        let log = self.log(lock.key());
        session::remove(&log)?;
        for made in [&out, &scratch] {
            fs::create_dir_all(made).at("make the directory", made)?;
        }
        Ok(Pending { lock, directory, out, scratch, log })
    }
}
