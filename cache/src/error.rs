//! What can go wrong with a store, with the path it went wrong at.

use std::io;
use std::path::{Path, PathBuf};

use crate::listing::InvalidListing;

/// Why the store could not do what was asked. Whatever it is, results stored before are whole.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer of the operating system.
        error: io::Error,
    },
    /// The disk or the quota is full.
    #[error(
        "cannot write {}: {}; nothing stored is lost, but space is needed there: \
         `pipe store gc` removes results that no pipeline uses", path.display(), full(*kind)
    )]
    Full {
        /// The file that did not fit.
        path: PathBuf,
        /// [`io::ErrorKind::StorageFull`], `QuotaExceeded` or `FileTooLarge`.
        kind: io::ErrorKind,
    },
    /// Nothing can be written there.
    #[error(
        "cannot write {}: the file system is read-only; results in it can be used, but none can be made",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// Stored files do not hold what they held when they were stored. They have been removed, so
    /// that making the result again repairs it.
    #[error("damaged, and removed: {}", paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    Damaged {
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// A file or directory that cannot be taken into a listing.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// A file was written to while it was read.
    #[error("{} changed while it was read; let what writes it finish first", .0.display())]
    Changed(PathBuf),
    /// Stored data breaks its own format.
    #[error("{} is not a listing: {error}", path.display())]
    Listing {
        /// The stored object.
        path: PathBuf,
        /// What is wrong with it.
        error: InvalidListing,
    },
    /// Another process uses the store, and what was asked needs it alone.
    #[error("{} is in use by another process; wait until it has finished", .0.display())]
    InUse(PathBuf),
}

fn full(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::FileTooLarge => "the file is larger than the file system or a limit allows",
        _ => "the disk is full",
    }
}

/// Adds to an error of the operating system what was tried and where.
pub(crate) trait At<T> {
    /// `action` is a verb or a phrase that a path can follow.
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;

    /// As [`At::at`], where making the path costs more than it is worth when there is no error.
    fn at_made(self, action: &'static str, path: impl FnOnce() -> PathBuf)
    -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.at_made(action, || path.to_owned())
    }

    fn at_made(
        self,
        action: &'static str,
        path: impl FnOnce() -> PathBuf,
    ) -> Result<T, StoreError> {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        self.map_err(|error| match error.kind() {
            kind @ (StorageFull | QuotaExceeded | FileTooLarge) => {
                StoreError::Full { path: path(), kind }
            }
            ReadOnlyFilesystem => StoreError::ReadOnly(path()),
            _ => StoreError::Io { action, path: path(), error },
        })
    }
}
