//! A result being made.

use std::fs;
use std::io;
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
    out: Aside,
    scratch: PathBuf,
    resumes: bool,
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

    /// Returns the directory that outlives a failed or killed try and is removed by the commit; whoever
    /// needs it makes it.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns whether an earlier try has left something there.
    #[must_use]
    pub const fn resumes(&self) -> bool {
        self.resumes
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
        let out = self.session()?.aside_for("out");
        let scratch = self.scratches().join(lock.key().to_string());
        let log = self.log(lock.key());
        session::remove(&log)?;
        fs::create_dir(&*out).at("make the directory", &out)?;
        let resumes = match fs::read_dir(&scratch) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            left => left.at("list", &scratch)?.next().is_some(),
        };
        Ok(Pending { lock, out, scratch, resumes, log })
    }
}
