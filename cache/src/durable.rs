//! Bringing what was written to the disk, so that it outlasts a loss of power.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};

/// More files than this are brought to the disk by one call for the whole file system.
const MANY: usize = 64;
/// How many files are waited for at once.
const THREADS: usize = 16;

/// Brings files and directories to the disk, in no order: all are there when it returns.
///
/// A file system writes its journal once for all who wait for it, so waiting for many files at once
/// takes little longer than waiting for one.
pub(crate) fn sync(paths: &[PathBuf]) -> Result<(), StoreError> {
    match paths {
        [] => Ok(()),
        [one] => sync_one(one),
        [first, ..] if paths.len() > MANY => sync_file_system(first),
        _ => std::thread::scope(|scope| {
            let share = paths.len().div_ceil(THREADS);
            let threads: Vec<_> = paths
                .chunks(share)
                .map(|paths| scope.spawn(|| paths.iter().try_for_each(|path| sync_one(path))))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("bringing a file to the disk"))
        }),
    }
}

fn sync_one(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).at("write", path)
}

fn sync_file_system(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).at("read", path)?;
    nix::unistd::syncfs(&file).map_err(std::io::Error::from).at("write", path)
}
