//! Locks between processes, which die with the process that holds them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{At, StoreError};
use crate::fingerprint::Key;
use crate::in_use::Making;
use crate::store::Store;

/// The right to make the result of a key, held by one process at a time.
///
/// Losing it, as on a file system without locks, costs time, never correctness: both processes
/// make the same result, and each commit is whole.
#[derive(Debug)]
pub struct KeyLock {
    pub(crate) key: Key,
    path: PathBuf,
    /// Others may collect garbage while it is held.
    _making: Making,
    /// Locked for as long as it is open.
    _file: File,
}

impl KeyLock {
    /// Returns the key whose result may be made.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Still locked: whoever opened the file meanwhile sees that it has lost its name.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Store {
    /// Waits for the right to make the result of `key`.
    ///
    /// As long as another process has it, `waiting` is asked whether to go on; none when it said no.
    ///
    /// # Errors
    ///
    /// When the lock file cannot be made or the file system has no locks.
    pub fn lock(
        &self,
        key: &Key,
        waiting: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<KeyLock>, StoreError> {
        let making = self.making();
        let path = self.locks().join(key.to_string());
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(file) = try_exclusive(&path)? {
                return Ok(Some(KeyLock { key: *key, path, _making: making, _file: file }));
            }
            if waiting().is_break() {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// Opens and locks the file at `path`, which its last holder may just be removing; none when
/// another process holds it.
pub(crate) fn try_exclusive(path: &Path) -> Result<Option<File>, StoreError> {
    loop {
        let file = open(path)?;
        if !try_lock(&file).at("lock", path)? {
            return Ok(None);
        }
        if named(&file, path).at("read", path)? {
            return Ok(Some(file));
        }
    }
}

/// Opens a file to lock, which is made when there is none. Where nothing may be written, one that is
/// there can be locked all the same.
pub(crate) fn open(path: &Path) -> Result<File, StoreError> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    match opened {
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            File::open(path).or(Err(error)).at("open", path)
        }
        opened => opened.at("open", path),
    }
}

/// Returns whether the lock was free.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns whether the file open as `file` still is the one at `path`.
fn named(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_at_a_time_however_often_the_file_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let key = Fingerprint::new().key();
        let store = Store::open(&root.path().join("store")).unwrap();
        let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let path = root.path().join("lock");
                    // No pause, so that files are often opened just before they are removed.
                    while turns.load(Ordering::SeqCst) < 300 {
                        let Some(_file) = try_exclusive(&path).unwrap() else { continue };
                        let lock =
                            KeyLock { key, path: path.clone(), _making: store.making(), _file };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        turns.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "lock files are removed");
    }

    #[test]
    fn giving_up_is_possible_and_other_keys_are_free() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (Store::open(root.path()).unwrap(), Store::open(root.path()).unwrap());
        let key = Fingerprint::new().key();
        let held = a.lock(&key, &mut || ControlFlow::Break(())).unwrap().unwrap();
        let mut asked = 0;
        let lock = b.lock(&key, &mut || {
            asked += 1;
            if asked == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(lock.unwrap().is_none());
        assert_eq!(asked, 3);
        let mut other = Fingerprint::new();
        other.insert("kind", "train");
        assert!(b.lock(&other.key(), &mut || ControlFlow::Break(())).unwrap().is_some());
        drop(held);
        assert!(b.lock(&key, &mut || ControlFlow::Break(())).unwrap().is_some());
    }
}
