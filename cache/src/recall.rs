//! What a run found of a pipeline's results: as long as the state of each file is what it was then, the next
//! run reads none of them.
//!
//! One table for each pipeline, read once. Like every table it is a memory, never a record. Little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `piperec1` |
//! | 1, or 1 + 40 | whether the links below `latest/<pipeline>/` are told, and the state of that directory |
//! | 4, then for each link | its count; name of the step, key (32), listing (32) |
//! | then for each result: | |
//! | 32, 32, 40 | key, digest of the listing, state of the manifest |
//! | 4, then for each file | their count; path, digest (32), executable (1), state of the object (40), whether the tree has a copy (1), state of the copy (40) |
//! | 4, then for each directory of the tree | their count; path, state (40) |
//! | 4, then for each measure | their count; name, value (8) |
//! | last 32 | digest of everything before |
//!
//! A text is its length (4) and its bytes, a state is size, modified, changed (ns since 1970), inode and device.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::file_table::{put_state, put_text, take, take_state, take_text};
use crate::fingerprint::Key;
use crate::listing::{FileEntry, Listing};
use crate::present::Present;
use crate::state::State;

const MAGIC: &[u8; 8] = b"piperec1";

/// A result, and how its files were when it was found whole.
#[derive(Debug, PartialEq)]
pub(crate) struct Remembered {
    pub(crate) present: Arc<Present>,
    pub(crate) manifest: State,
    /// In the order of the listing; of each file the object and, where that is another file, the one in the tree.
    pub(crate) files: Vec<(State, Option<State>)>,
    /// Of the tree, by path; the first is the tree itself.
    pub(crate) directories: Vec<(String, State)>,
}

/// Where the links of a pipeline lead, as long as their directory is in this state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Links {
    pub(crate) directory: State,
    pub(crate) targets: BTreeMap<String, (Key, Digest)>,
}

/// All that is remembered of a pipeline.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) links: Option<Links>,
    pub(crate) results: HashMap<Key, Arc<Remembered>>,
}

impl Table {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(u8::from(self.links.is_some()));
        if let Some(links) = &self.links {
            put_state(&mut bytes, &links.directory);
            put_count(&mut bytes, links.targets.len());
            for (step, (key, listing)) in &links.targets {
                put_text(&mut bytes, step);
                bytes.extend(key.digest().as_bytes());
                bytes.extend(listing.as_bytes());
            }
        }
        for (key, remembered) in &self.results {
            bytes.extend(key.digest().as_bytes());
            remembered.encode(&mut bytes);
        }
        let digest = Digest::of(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    /// Reads what [`Table::encode`] wrote; `tree` tells where the tree of a listing is. None when a bit differs.
    pub(crate) fn decode(bytes: &[u8], tree: impl Fn(&Digest) -> PathBuf) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).as_bytes() != digest {
            return None;
        }
        let rest = &mut body.strip_prefix(MAGIC)?;
        let links = if take(rest)? == [1] {
            let directory = take_state(rest)?;
            let target = |rest: &mut &[u8]| {
                let step = take_text(rest)?;
                Some((step, (take_key(rest)?, take_digest(rest)?)))
            };
            Some(Links { directory, targets: take_all(rest, target)?.into_iter().collect() })
        } else {
            None
        };
        let mut results = HashMap::new();
        while !rest.is_empty() {
            let key = take_key(rest)?;
            results.insert(key, Arc::new(Remembered::decode(key, rest, &tree)?));
        }
        Some(Self { links, results })
    }
}

impl Remembered {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let Present { outputs, measures, .. } = &*self.present;
        bytes.extend(outputs.digest().as_bytes());
        put_state(bytes, &self.manifest);
        put_count(bytes, outputs.len());
        for ((path, entry), (object, copy)) in outputs.iter().zip(&self.files) {
            put_text(bytes, path);
            bytes.extend(entry.digest.as_bytes());
            bytes.push(u8::from(entry.executable));
            put_state(bytes, object);
            bytes.push(u8::from(copy.is_some()));
            copy.iter().for_each(|copy| put_state(bytes, copy));
        }
        put_count(bytes, self.directories.len());
        for (path, state) in &self.directories {
            put_text(bytes, path);
            put_state(bytes, state);
        }
        put_count(bytes, measures.len());
        for (name, value) in measures {
            put_text(bytes, name);
            bytes.extend(value.to_bits().to_le_bytes());
        }
    }

    fn decode(key: Key, rest: &mut &[u8], tree: impl Fn(&Digest) -> PathBuf) -> Option<Self> {
        let listing = take_digest(rest)?;
        let manifest = take_state(rest)?;
        let file = |rest: &mut &[u8]| {
            let (path, digest) = (take_text(rest)?, take_digest(rest)?);
            let executable = take(rest)? == [1];
            let object = take_state(rest)?;
            let copy = if take(rest)? == [1] { Some(take_state(rest)?) } else { None };
            Some(((path, FileEntry { digest, size: object.size, executable }), (object, copy)))
        };
        let (entries, files): (Vec<_>, _) = take_all(rest, file)?.into_iter().unzip();
        let directories = take_all(rest, |rest| Some((take_text(rest)?, take_state(rest)?)))?;
        let measure = |rest: &mut &[u8]| {
            Some((take_text(rest)?, f64::from_bits(u64::from_le_bytes(take(rest)?))))
        };
        let measures = take_all(rest, measure)?.into_iter().collect();
        let outputs = Listing::of_digest(entries, listing);
        let present = Arc::new(Present { key, outputs, measures, tree: tree(&listing) });
        Some(Self { present, manifest, files, directories })
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u32::try_from(count).expect("fewer than 2^32 of anything").to_le_bytes());
}

fn take_all<T>(rest: &mut &[u8], one: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = u32::from_le_bytes(take(rest)?);
    (0..count).map(|_| one(rest)).collect()
}

fn take_digest(rest: &mut &[u8]) -> Option<Digest> {
    take(rest).map(Digest::from_bytes)
}

fn take_key(rest: &mut &[u8]) -> Option<Key> {
    take_digest(rest).map(Key::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let state = |size| State { size, modified: -1, changed: 7, inode: 9, device: 3 };
        let entry = |size, executable| FileEntry { digest: Digest::of(b"x"), size, executable };
        let outputs =
            Listing::of([("a".to_owned(), entry(5, false)), ("ä/b".to_owned(), entry(6, true))]);
        let [key, other] = [b"k", b"l"].map(|text| Key::of(Digest::of(text)));
        let tree = PathBuf::from(outputs.digest().to_string());
        let measures = BTreeMap::from([("loss".to_owned(), f64::NEG_INFINITY)]);
        let targets = BTreeMap::from([("train".to_owned(), (other, outputs.digest()))]);
        let present = Arc::new(Present { key, outputs, measures, tree });
        let remembered = Remembered {
            present,
            manifest: state(1),
            files: vec![(state(5), None), (state(6), Some(state(6)))],
            directories: vec![(String::new(), state(4096)), ("ä".to_owned(), state(40))],
        };
        Table {
            links: Some(Links { directory: state(2), targets }),
            results: HashMap::from([(key, Arc::new(remembered))]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let tree = |listing: &Digest| PathBuf::from(listing.to_string());
        for table in [Table::default(), table()] {
            assert_eq!(Table::decode(&table.encode(), tree), Some(table));
        }
    }

    #[test]
    fn what_was_cut_or_changed_is_not_read() {
        let bytes = table().encode();
        for at in 0..bytes.len() {
            assert_eq!(Table::decode(&bytes[..at], |_| PathBuf::new()), None);
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert_eq!(Table::decode(&changed, |_| PathBuf::new()), None);
        }
    }
}
