//! What was read before: the state of each file of a directory, and the digest of its content.
//!
//! A table is one file, replaced as a whole, so that of two writers the last wins and nothing is
//! torn. It is a memory, never a record: one that is lost, old or broken costs reading the files
//! again. Little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `pipefil1` |
//! | 4, n | length of the name of the directory, and the name |
//! | then for each file, sorted by path: | |
//! | 8 × 5 | size, modified, changed (ns since 1970), inode, device |
//! | 32 | digest |
//! | 4, n | length of the path, and the path |
//! | last 32 | digest of everything before |

use std::fs;
use std::path::Path;

use crate::digest::Digest;
use crate::state::State;

const MAGIC: &[u8; 8] = b"pipefil1";

/// Files by path, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileTable {
    /// What the paths are relative to, for [`crate::Store::gc`].
    pub(crate) root: String,
    /// Sorted by path.
    pub(crate) files: Vec<Known>,
}

/// One file of a [`FileTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) path: String,
    pub(crate) state: State,
    pub(crate) digest: Digest,
}

impl FileTable {
    /// Reads the table at `path`; an empty one when there is none or it is broken.
    pub(crate) fn read(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => Self::decode(&bytes).unwrap_or_else(|| {
                tracing::warn!("{} is broken: files are read again", path.display());
                Self::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}: files are read again", path.display());
                Self::default()
            }
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.files.len() * 112);
        bytes.extend(MAGIC);
        put_text(&mut bytes, &self.root);
        for Known { path, state, digest } in &self.files {
            put_state(&mut bytes, state);
            bytes.extend(digest.as_bytes());
            put_text(&mut bytes, path);
        }
        let digest = Digest::of(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).as_bytes() != digest {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let root = take_text(&mut rest)?;
        let mut files = Vec::with_capacity(rest.len() / 96);
        while !rest.is_empty() {
            let state = take_state(&mut rest)?;
            let digest = Digest::from_bytes(take(&mut rest)?);
            files.push(Known { path: take_text(&mut rest)?, state, digest });
        }
        Some(Self { root, files })
    }
}

pub(crate) fn put_state(bytes: &mut Vec<u8>, state: &State) {
    bytes.extend(state.size.to_le_bytes());
    bytes.extend(state.modified.to_le_bytes());
    bytes.extend(state.changed.to_le_bytes());
    bytes.extend(state.inode.to_le_bytes());
    bytes.extend(state.device.to_le_bytes());
}

pub(crate) fn take_state(rest: &mut &[u8]) -> Option<State> {
    Some(State {
        size: u64::from_le_bytes(take(rest)?),
        modified: i64::from_le_bytes(take(rest)?),
        changed: i64::from_le_bytes(take(rest)?),
        inode: u64::from_le_bytes(take(rest)?),
        device: u64::from_le_bytes(take(rest)?),
    })
}

pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("a path is shorter than 4 GiB");
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
}

pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

pub(crate) fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    String::from_utf8(taken.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Path; size, inode and device; times; digest.
    type File = (String, [u64; 3], [i64; 2], [u8; 32]);

    fn table(files: Vec<File>) -> FileTable {
        let files = files.into_iter().map(|(path, [size, inode, device], times, digest)| Known {
            path,
            state: State { size, modified: times[0], changed: times[1], inode, device },
            digest: Digest::from_bytes(digest),
        });
        FileTable { root: "data/é".to_owned(), files: files.collect() }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let one = table(vec![("a".to_owned(), [1, 2, 3], [4, -5], [6; 32])]);
        let mut bytes = b"pipefil1\x07\0\0\0data/\xc3\xa9".to_vec();
        for number in [1_i64, 4, -5, 2, 3] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([6; 32]);
        bytes.extend(b"\x01\0\0\0a");
        let digest = Digest::of(&bytes);
        bytes.extend(digest.as_bytes());
        assert_eq!(one.encode(), bytes);
    }

    #[test]
    fn a_missing_table_is_empty() {
        assert_eq!(FileTable::read(Path::new("/nonexistent/table")), FileTable::default());
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_broken_ones_do_not(
            files in prop::collection::vec(
                (".{0,9}", any::<[u64; 3]>(), any::<[i64; 2]>(), any::<[u8; 32]>()), 0..5),
            place in any::<prop::sample::Index>(),
            bit in 0..8u32,
        ) {
            let table = table(files);
            let mut bytes = table.encode();
            prop_assert_eq!(FileTable::decode(&bytes).unwrap(), table);
            let place = place.index(bytes.len());
            prop_assert_eq!(FileTable::decode(&bytes[..place]), None);
            bytes[place] ^= 1u8 << bit;
            prop_assert_eq!(FileTable::decode(&bytes), None);
        }
    }
}
