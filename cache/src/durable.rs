//! Bringing what was written to the disk, so that it outlasts a loss of power.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{At, StoreError};

/// More files than this of one caller are brought to the disk by one call for the whole file system.
const MANY: usize = 64;
/// How many files are waited for at once, at most.
const THREADS: usize = 16;
/// How many files are worth a thread more.
const SHARE: usize = 4;

/// Brings files to the disk for all threads that ask at about the same time.
///
/// A file system writes its journal once for all who wait for it, so waiting for many files at once takes
/// little longer than waiting for one. While a round of files is waited for, what is asked for gathers for the
/// next, and whoever asked and has to wait does a part of the round that goes on.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    state: Mutex<State>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What was asked for since the last round began, each path once.
    gathered: BTreeSet<PathBuf>,
    /// The number of the round that will take it.
    next: u64,
    /// Who asked and has not yet read how it went.
    readers: usize,
    /// The round that is under way.
    round: Option<Round>,
    /// Round → how the paths of it fared that failed; kept while somebody may ask.
    over: BTreeMap<u64, Failures>,
}

/// Files that are being brought to the disk.
#[derive(Debug)]
struct Round {
    number: u64,
    /// Those that nobody has taken.
    left: Vec<PathBuf>,
    /// How many are not there yet, taken or not.
    open: usize,
    failures: Failures,
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
            state = if state.round.as_ref().is_some_and(|round| !round.left.is_empty()) {
                self.help(state)
            } else if state.round.is_none() {
                self.begin(state)
            } else {
                self.turned.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
        let failures = &state.over[&round];
        let failed = paths.iter().find_map(|path| Some((path, again(failures.get(path)?))));
        state.readers -= 1;
        if state.readers == 0 {
            state.over.clear();
        }
        failed.map_or(Ok(()), |(path, error)| Err(error).at("write", path))
    }

    /// Begins a round of all that was asked for, with more threads where those that wait are few for it.
    fn begin<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let left: Vec<_> = mem::take(&mut state.gathered).into_iter().collect();
        let (number, open) = (state.next, left.len());
        state.next += 1;
        if open == 0 {
            state.over.insert(number, Failures::new());
            return state;
        }
        let wanted = open.div_ceil(SHARE).min(THREADS);
        let more = wanted.saturating_sub(state.readers);
        state.round = Some(Round { number, left, open, failures: Failures::new() });
        self.turned.notify_all();
        if more == 0 {
            return state;
        }
        drop(state);
        std::thread::scope(|scope| {
            for _ in 0..more {
                scope.spawn(|| {
                    let mut state = self.lock();
                    let is_left = |round: &Round| round.number == number && !round.left.is_empty();
                    while state.round.as_ref().is_some_and(is_left) {
                        state = self.help(state);
                    }
                });
            }
        });
        self.lock()
    }

    /// Brings one path of the round that goes on to the disk.
    fn help<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(path) = state.round.as_mut().and_then(|round| round.left.pop()) else {
            return state;
        };
        drop(state);
        let failure = sync_one(&path).err();
        let mut state = self.lock();
        let round = state.round.as_mut().expect("it goes on until its last path is done");
        round.failures.extend(failure.map(|error| (path, error)));
        round.open -= 1;
        if round.open == 0
            && let Some(Round { number, failures, .. }) = state.round.take()
        {
            state.over.insert(number, failures);
            self.turned.notify_all();
        }
        state
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
        assert!(state.over.is_empty() && state.gathered.is_empty() && state.round.is_none());
    }
}
