//! Takes out of a remote what nobody keeps: first the records of results, then the files of none.
//!
//! Others may push meanwhile. What is young stays, whoever names it; a push sends files again that have
//! been there for long ([`is_stale`]), so that what it is about to name is young.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::{Key, Parcel};

use super::Remote;
use super::carry::THREADS;
use super::client::Object;
use super::failure::Failure;

const RESULTS: &str = "v1/results";
const OBJECTS: &str = "v1/objects";
/// A file that has been there for longer is sent again by who needs it.
const LONG: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest time that what nobody names must have been there before it is taken: that after
/// which a file is sent again, and a day for a push to end and clocks to differ.
pub const SHORTEST_GRACE: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What was taken out, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// How many results.
    pub results: usize,
    /// How many of their files, that no other result has.
    pub files: usize,
    /// The size of all that.
    pub bytes: u64,
    /// How many results stay.
    pub kept: usize,
}

/// Whether a file has been in the remote for so long that it could be taken for one that nobody needs.
pub(super) fn is_stale(object: &Object) -> bool {
    age(object) > LONG
}

/// How long ago it was written, by our clock; of what comes from the future, nothing.
fn age(object: &Object) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(object.written)
}

impl Remote {
    /// Takes out every result that is not in `keep` and has been there for `grace`, and every file
    /// that then belongs to none and has been there as long; only counts them unless `delete`.
    ///
    /// # Errors
    ///
    /// When it cannot be used, or was stopped. What stays is whole whenever it ends.
    pub fn clean(
        &self,
        keep: &BTreeSet<Key>,
        grace: Duration,
        delete: bool,
    ) -> Result<Cleaned, Failure> {
        let grace = grace.max(SHORTEST_GRACE);
        // Files before records: a record that comes meanwhile is seen, and what it names with it.
        let mut files = Vec::new();
        let (_, folders) = self.client.list(OBJECTS)?;
        for folder in folders {
            files.extend(self.client.list(&folder)?.0);
        }
        let (records, _) = self.client.list(RESULTS)?;
        let (mut old, mut named) = (Vec::new(), Vec::new());
        for record in records {
            match key_of(&record.name) {
                Some(key) if keep.contains(&key) || age(&record) < grace => named.push(key),
                Some(_) => old.push(record),
                // Nothing of ours.
                None => {}
            }
        }
        let needed = self.files_of(&named)?;
        files.retain(|file| age(file) >= grace && !needed.contains(&file.name));
        let gone = old.iter().chain(&files);
        let cleaned = Cleaned {
            results: old.len(),
            files: files.len(),
            bytes: gone.map(|object| object.size).sum(),
            kept: named.len(),
        };
        if delete {
            self.delete(&old)?;
            self.delete(&files)?;
        }
        Ok(cleaned)
    }

    /// The names of all files that belong to results.
    fn files_of(&self, keys: &[Key]) -> Result<BTreeSet<String>, Failure> {
        let names = |key: &Key| match self.find(key) {
            Ok(parcel) => {
                let contents = parcel.map(|parcel| parcel.contents()).unwrap_or_default();
                Ok(contents.iter().map(cache::Content::name).collect::<Vec<_>>())
            }
            // A record that is damaged names nothing that anybody would get.
            Err(failure) if failure.is_of_one_result() => Ok(Vec::new()),
            Err(failure) => Err(failure),
        };
        let names = at_once(keys, &names)?;
        Ok(names.into_iter().flatten().collect())
    }

    fn delete(&self, objects: &[Object]) -> Result<(), Failure> {
        at_once(objects, &|object: &Object| self.client.delete(&object.name)).map(drop)
    }
}

/// The key of a result that a record is named by.
fn key_of(name: &str) -> Option<Key> {
    let key = name.strip_prefix(RESULTS)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()?;
    (Parcel::name(&key) == name).then_some(key)
}

/// Does something with many things, some at a time.
fn at_once<T: Sync, R: Send>(
    things: &[T],
    work: &(dyn Fn(&T) -> Result<R, Failure> + Sync),
) -> Result<Vec<R>, Failure> {
    let share = things.len().div_ceil(THREADS).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = things
            .chunks(share)
            .map(|things| scope.spawn(move || things.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .flat_map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
