//! Bringing what was written to the disk, so that it outlasts a loss of power.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{At, StoreError};

/// More files than this of one caller are brought to the disk by one call for the whole file system.
const MANY: usize = 64;
/// How many files are waited for at once.
const THREADS: usize = 16;

/// Brings files to the disk for all threads that ask at about the same time.
///
/// A file system writes its journal once for all who wait for it, so waiting for many files at once takes
/// little longer than waiting for one. While one thread waits for the disk, what the others ask for gathers,
/// and is waited for in one go, each path once.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    state: Mutex<State>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What was asked for since the last round began.
    gathered: BTreeSet<PathBuf>,
    /// The number of the round that will take it.
    next: u64,
    /// Who asked and has not yet read how it went.
    readers: usize,
    /// Whether a round is under way.
    busy: bool,
    /// Round → how the paths of it fared that failed; kept while somebody may ask.
    over: BTreeMap<u64, Failures>,
}

/// What the system said of the paths that did not reach the disk.
type Failures = BTreeMap<PathBuf, io::Error>;

impl Disk {
    /// Brings files and directories to the disk, in no order: all are there when it returns.
    pub(crate) fn sync(&self, paths: &[PathBuf]) -> Result<(), StoreError> {
        if let [first, ..] = paths
            && paths.len() > MANY
        {
            return sync_file_system(first);
        }
        let mut state = self.lock();
        let round = state.next;
        state.gathered.extend(paths.iter().cloned());
        state.readers += 1;
        while !state.over.contains_key(&round) {
            if state.busy {
                state = self.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.busy = true;
            state.next += 1;
            let gathered = std::mem::take(&mut state.gathered);
            drop(state);
            let failures = sync_all(&gathered.into_iter().collect::<Vec<_>>());
            state = self.lock();
            state.busy = false;
            state.over.insert(round, failures);
            self.turned.notify_all();
        }
        let failures = &state.over[&round];
        let failed = paths.iter().find_map(|path| Some((path, again(failures.get(path)?))));
        state.readers -= 1;
        if state.readers == 0 {
            state.over.clear();
        }
        failed.map_or(Ok(()), |(path, error)| Err(error).at("write", path))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says the same again to another caller.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn sync_all(paths: &[PathBuf]) -> Failures {
    let each = |paths: &[PathBuf]| {
        let failed = paths.iter().filter_map(|path| Some((path.clone(), sync_one(path).err()?)));
        failed.collect::<Failures>()
    };
    let share = paths.len().div_ceil(THREADS).max(1);
    std::thread::scope(|scope| {
        let mut shares = paths.chunks(share);
        let own = shares.next_back().unwrap_or_default();
        let threads: Vec<_> = shares.map(|paths| scope.spawn(|| each(paths))).collect();
        let mut failures = each(own);
        for thread in threads {
            failures.extend(thread.join().expect("bringing a file to the disk"));
        }
        failures
    })
}

fn sync_one(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all())
}

fn sync_file_system(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).at("read", path)?;
    nix::unistd::syncfs(&file).map_err(io::Error::from).at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_of_the_own_paths_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, here) = (Disk::default(), directory.path());
        std::thread::scope(|scope| {
            for number in 0..16 {
                let disk = &disk;
                scope.spawn(move || {
                    for turn in 0..50 {
                        let path = here.join(format!("{number}-{turn}"));
                        let exists = (number + turn) % 3 > 0;
                        if exists {
                            std::fs::write(&path, "").unwrap();
                        }
                        let result = disk.sync(&[here.to_owned(), path.clone()]);
                        assert_eq!(result.is_ok(), exists);
                        if let Err(error) = result {
                            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
                        }
                    }
                });
            }
        });
        let state = disk.lock();
        assert!(state.over.is_empty() && state.gathered.is_empty() && !state.busy);
    }
}
