//! The digest of a large file: every thread reads and digests parts of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// What one thread reads and digests by itself; a power of two, as a part of BLAKE3's tree is.
const PART: u64 = 1 << 20;
/// What is read at a time: small enough to be still in the cache when it is digested.
const PIECE: u64 = 64 << 10;
/// Smaller files have too few parts for this.
pub(crate) const LEAST: u64 = PART + 1;

/// Returns the BLAKE3 digest of `length` bytes of a file from `start` on, at least [`LEAST`].
///
/// # Errors
///
/// When it cannot be read, or ends before.
pub(crate) fn digest(file: &File, start: u64, length: u64) -> io::Result<[u8; 32]> {
    let [left, right] = halves(file, start, 0, length)?;
    Ok(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

/// Digests both sides of the tree over `length` bytes from `offset` on.
fn halves(file: &File, start: u64, offset: u64, length: u64) -> io::Result<[ChainingValue; 2]> {
    let left = left_subtree_len(length);
    let (left, right) = rayon::join(
        || subtree(file, start, offset, left),
        || subtree(file, start, offset + left, length - left),
    );
    Ok([left?, right?])
}

fn subtree(file: &File, start: u64, offset: u64, length: u64) -> io::Result<ChainingValue> {
    if length > PART {
        let [left, right] = halves(file, start, offset, length)?;
        return Ok(merge_subtrees_non_root(&left, &right, Mode::Hash));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    let mut buffer = vec![0; PIECE.min(length) as usize];
    let mut done = 0;
    while done < length {
        let piece = &mut buffer[..PIECE.min(length - done) as usize];
        file.read_exact_at(piece, start + offset + done)?;
        hasher.update(piece);
        done += piece.len() as u64;
    }
    Ok(hasher.finalize_non_root())
}
