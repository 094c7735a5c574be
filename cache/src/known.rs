//! Digests of many files, reading only those whose state is not known from before.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::listing::FileEntry;
use crate::state::State;
use crate::store::Store;
use crate::walk::Found;

/// How often a file is read again that changes while it is read.
const TRIES: usize = 3;

/// The files found, each with its digest.
pub(crate) struct Digested {
    /// In the order in which they were found.
    pub(crate) files: Vec<(String, FileEntry)>,
    /// What to remember; none when nothing is new.
    pub(crate) table: Option<FileTable>,
}

/// Digests `found`, which is sorted by path; `place` tells where the file of a path is.
///
/// Files in `known` with the same state are not read. Those whose state proves nothing yet, seen
/// from `now`, are not remembered; without `now` all are.
pub(crate) fn digest(
    found: Vec<Found>,
    known: &[&FileTable],
    now: Option<SystemTime>,
    place: impl Fn(&str) -> PathBuf + Sync,
) -> Result<Digested, StoreError> {
    let first = known.first().map_or(&[] as &[Known], |table| &table.files);
    let digests = recall(&found, known);
    let news = digests.iter().any(Option::is_none) || first.len() != found.len();
    let files: Result<Vec<(Known, FileEntry)>, StoreError> = found
        .into_par_iter()
        .zip(digests)
        .with_min_len(16)
        .map(|(found, digest)| {
            let (state, digest) = match digest {
                Some(digest) => (found.state, digest),
                None => read(&place(&found.path))?,
            };
            let entry = FileEntry { digest, size: state.size, executable: found.executable };
            Ok((Known { path: found.path, state, digest }, entry))
        })
        .collect();
    let files = files?;
    let table = news.then(|| FileTable {
        root: String::new(),
        files: files
            .iter()
            .map(|(known, _)| known)
            .filter(|known| now.is_none_or(|now| known.state.settled(now)))
            .cloned()
            .collect(),
    });
    let table = table.filter(|table| table.files != first);
    let files = files.into_iter().map(|(known, entry)| (known.path, entry)).collect();
    Ok(Digested { files, table })
}

/// Returns the digests of files whose state is in one of `tables`.
fn recall(found: &[Found], tables: &[&FileTable]) -> Vec<Option<Digest>> {
    let mut digests = vec![None; found.len()];
    for table in tables {
        // Both are sorted: one pass over both finds all.
        let mut known = table.files.iter().peekable();
        for (found, digest) in found.iter().zip(&mut digests) {
            while known.next_if(|known| known.path < found.path).is_some() {}
            if let Some(same) = known.next_if(|known| known.path == found.path)
                && same.state == found.state
            {
                *digest = Some(same.digest);
            }
        }
    }
    digests
}

/// Reads a file that nobody writes to meanwhile.
pub(crate) fn read(path: &Path) -> Result<(State, Digest), StoreError> {
    for _ in 0..TRIES {
        let mut file = File::open(path).at("read", path)?;
        let before = State::of(&file.metadata().at("read", path)?);
        let (digest, size) = Digest::of_file(&mut file).at("read", path)?;
        let after = State::of(&file.metadata().at("read", path)?);
        if before == after && size == after.size {
            return Ok((after, digest));
        }
    }
    Err(StoreError::Changed(path.to_owned()))
}

impl Store {
    /// Puts a table into place; that it cannot be is no more than a loss of time.
    pub(crate) fn remember(&self, path: &Path, table: &FileTable) {
        let written = self.session().and_then(|session| {
            let aside = session.unique();
            fs::write(&aside, table.encode()).at("write", &aside)?;
            fs::rename(&aside, path).at("write", path)
        });
        if let Err(error) = written {
            tracing::warn!("{error}: files will be read again");
        }
    }
}
