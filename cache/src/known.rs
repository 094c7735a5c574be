//! Digests of many files, reading only those whose state is not known from before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::listing::{FileEntry, Listing};
use crate::state::State;
use crate::store::Store;
use crate::walk::Found;

/// How often a file is read again that changes while it is read.
const TRIES: usize = 3;
/// How many files a thread takes at least.
const SHARE: usize = 16;
/// Reading this many bytes, in this many files, again costs less than writing a table.
pub(crate) const CHEAP: (usize, u64) = (4, 64 << 10);

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
    let unread =
        |(found, digest): (&Found, &Option<Digest>)| digest.is_none().then_some(found.state.size);
    // What a table of the user's files says is worth keeping whatever it costs: they stay.
    let news = match now {
        Some(_) => first.len() != found.len() || digests.iter().any(Option::is_none),
        None => worth_remembering(found.iter().zip(&digests).filter_map(unread)),
    };
    let read: Result<Vec<(State, Digest)>, StoreError> = found
        .par_iter()
        .zip(&digests)
        .with_min_len(SHARE)
        .filter(|(_, digest)| digest.is_none())
        .map(|(found, _)| read(&place(&found.path)))
        .collect();
    let mut read = read?.into_iter();
    let mut files = Vec::with_capacity(found.len());
    let mut table = FileTable::default();
    for (found, digest) in found.into_iter().zip(digests) {
        let (state, digest) = match digest {
            Some(digest) => (found.state, digest),
            None => read.next().expect("each file without a digest was read"),
        };
        if news && now.is_none_or(|now| state.settled(now)) {
            table.files.push(Known { path: found.path.clone(), state, digest });
        }
        let entry = FileEntry { digest, size: state.size, executable: found.executable };
        files.push((found.path, entry));
    }
    let table = (news && table.files != first).then_some(table);
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
    read_by(path, Digest::of_file)
}

fn read_by(
    path: &Path,
    digest: impl Fn(&mut File) -> io::Result<(Digest, u64)>,
) -> Result<(State, Digest), StoreError> {
    for _ in 0..TRIES {
        let mut file = File::open(path).at("read", path)?;
        let before = State::of(&file.metadata().at("read", path)?);
        let (digest, size) = digest(&mut file).at("read", path)?;
        let after = State::of(&file.metadata().at("read", path)?);
        if before == after && size == after.size {
            return Ok((after, digest));
        }
    }
    Err(StoreError::Changed(path.to_owned()))
}

/// Returns whether reading files of these sizes each time costs more than remembering them.
pub(crate) fn worth_remembering(sizes: impl Iterator<Item = u64>) -> bool {
    let (files, bytes) = sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size));
    files > CHEAP.0 || bytes > CHEAP.1
}

/// Reads a table of the files of a listing; of a few small files none is kept.
pub(crate) fn table_of(listing: &Listing, path: &Path) -> FileTable {
    match worth_remembering(listing.iter().map(|(_, entry)| entry.size)) {
        true => FileTable::read(path),
        false => FileTable::default(),
    }
}

impl Store {
    /// Puts a table into place; that it cannot be is no more than a loss of time.
    pub(crate) fn remember(&self, path: &Path, table: &FileTable) {
        self.remember_bytes(path, &table.encode());
    }

    /// The same of the bytes of any table.
    pub(crate) fn remember_bytes(&self, path: &Path, table: &[u8]) {
        let written = self.session().and_then(|session| {
            let aside = session.aside();
            fs::write(&*aside, table).at("write", &aside)?;
            fs::rename(&*aside, path).at("write", path)
        });
        if let Err(error) = written {
            tracing::warn!("{error}: files will be read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Digests three files twice, the second time from `late` later; returns what is read then.
    fn read_again(late: Option<Duration>, edit: impl Fn(&Path)) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(root.path().join(name), name.repeat(100_000)).unwrap();
        }
        let reads = Mutex::new(Vec::new());
        let look = |table: &FileTable| {
            let found = crate::walk::Walk::output(root.path()).files().unwrap();
            let now = late.map(|late| SystemTime::now() + late);
            digest(found, &[table], now, |path| {
                reads.lock().unwrap().push(path.to_owned());
                root.path().join(path)
            })
            .unwrap()
        };
        let first = look(&FileTable::default());
        for (path, entry) in &first.files {
            assert_eq!(entry.digest, Digest::of(path.repeat(100_000).as_bytes()));
        }
        reads.lock().unwrap().clear();
        edit(root.path());
        let second = look(&first.table.unwrap_or_default());
        for (path, entry) in &second.files {
            let content = fs::read(root.path().join(path)).unwrap();
            assert_eq!(entry.digest, Digest::of(&content));
        }
        let mut reads = reads.into_inner().unwrap();
        reads.sort();
        reads
    }

    #[test]
    fn only_what_may_have_changed_is_read_again() {
        let later = Some(Duration::from_secs(60));
        let none: [&str; 0] = [];
        assert_eq!(read_again(later, |_| ()), none);
        assert_eq!(read_again(None, |_| ()), none, "the store's own files need no time to settle");
        assert_eq!(read_again(Some(Duration::ZERO), |_| ()), ["a", "b", "c"], "too young");
        assert_eq!(read_again(later, |root| fs::write(root.join("b"), "new").unwrap()), ["b"]);
        assert_eq!(read_again(later, |root| fs::remove_file(root.join("a")).unwrap()), none);
        assert_eq!(
            read_again(later, |root| fs::rename(root.join("a"), root.join("d")).unwrap()),
            ["d"]
        );
        // Same size and same time, as `cp --preserve` makes them: the change time differs.
        let keeping_time = |root: &Path| {
            let file = File::options().write(true).open(root.join("c")).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            fs::write(root.join("c"), "C".repeat(100_000)).unwrap();
            file.set_modified(modified).unwrap();
        };
        assert_eq!(read_again(later, keeping_time), ["c"]);
    }

    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_read_again_a_few_times() {
        let check = |writes: usize| {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("growing");
            fs::write(&path, "").unwrap();
            let left = AtomicUsize::new(writes);
            let read = read_by(&path, |file| {
                let read = Digest::of_file(file);
                if left.load(Ordering::Relaxed) > 0 {
                    left.fetch_sub(1, Ordering::Relaxed);
                    let mut other = File::options().append(true).open(&path)?;
                    io::Write::write_all(&mut other, b"more")?;
                }
                read
            });
            match read {
                Ok((_, digest)) => digest == Digest::of("more".repeat(writes).as_bytes()),
                Err(StoreError::Changed(changed)) => {
                    assert_eq!(changed, path);
                    false
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert!(check(0));
        assert!(check(TRIES - 1));
        assert!(!check(TRIES));
    }
}
