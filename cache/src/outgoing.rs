//! Reading what is to be carried to another store, so that nothing damaged leaves this one.

use std::fs::File;
use std::io::{self, Read};

use crate::digest::{Digest, Hasher};
use crate::error::{At, StoreError};
use crate::fingerprint::Key;
use crate::parcel::Parcel;
use crate::store::{Lookup, Store};

/// A stored file, read piece by piece.
#[derive(Debug)]
pub struct Outgoing<'a> {
    store: &'a Store,
    digest: Digest,
    file: File,
    size: u64,
    hasher: Hasher,
}

impl Store {
    /// Returns the result of `key` to be carried; none when it is not there or not whole.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn parcel(&self, key: &Key) -> Result<Option<Parcel>, StoreError> {
        let Lookup::Found(manifest) = self.lookup(key)? else { return Ok(None) };
        let bytes = manifest.encode();
        Ok(Some(Parcel::open(bytes, key).expect("what was just encoded")))
    }

    /// Opens a stored file; none when there is none of that digest.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn send(&self, digest: &Digest) -> Result<Option<Outgoing<'_>>, StoreError> {
        let path = self.object(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.at("read", &path)?,
        };
        let size = file.metadata().at("read", &path)?.len();
        Ok(Some(Outgoing { store: self, digest: *digest, file, size, hasher: Hasher::default() }))
    }
}

impl Outgoing<'_> {
    /// Returns how long the file is.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next `length` bytes, or what is left; nothing once all has been read and found
    /// to be what was stored. Until then the receiver must not show what it has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when the file is something else, which is then removed; otherwise
    /// when it cannot be read.
    pub fn next(&mut self, length: usize) -> Result<Vec<u8>, StoreError> {
        let mut piece = Vec::new();
        let read = (&mut self.file).take(length as u64).read_to_end(&mut piece);
        read.at_made("read", || self.store.object(&self.digest))?;
        self.hasher.update(&piece);
        if piece.is_empty() && self.hasher.digest() != self.digest {
            self.store.remove_damaged(&self.digest)?;
            return Err(StoreError::Damaged { paths: vec![self.store.object(&self.digest)] });
        }
        Ok(piece)
    }
}
