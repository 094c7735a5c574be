//! Taking in what comes from another store: nothing is visible before its digest was found right.
//!
//! A file is written aside, digested as it comes, and moved to `objects/` only when it is what its
//! name says; the manifest comes last, as in a commit. So what arrived whole stays, whatever happens
//! to the rest, and a second attempt need not fetch it again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;

use crate::digest::{Digest, Hasher};
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::manifest::Manifest;
use crate::object::seal;
use crate::parcel::{Content, Parcel};
use crate::session::Aside;
use crate::state::State;
use crate::store::Store;

/// The longest file that is taken in of which nobody said how long it is.
const LONGEST: u64 = 1 << 30;

/// A file that is coming.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    content: Content,
    aside: Aside,
    file: File,
    size: u64,
    hasher: Hasher,
}

/// A file that is stored and is what its name says.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    digest: Digest,
    state: State,
    /// Whether it came just now.
    new: bool,
}

/// Why something was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum NotReceived {
    /// More came than belongs to it.
    #[error("is longer than the {0} bytes it should have")]
    TooLong(u64),
    /// Less came than belongs to it.
    #[error("has {0} bytes of {1}")]
    TooShort(u64, u64),
    /// Something else came.
    #[error("does not hold the content it is named by")]
    OtherContent,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Returns the file of `content` if it is stored already; reads it, to be sure.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn hold(&self, content: &Content) -> Result<Option<Held>, StoreError> {
        let _operation = self.enter()?;
        let state = self.read_object(&content.digest)?;
        let state = state.filter(|state| content.size.is_none_or(|size| size == state.size));
        if state.is_some() {
            self.pin(content.digest);
        }
        Ok(state.map(|state| Held { digest: content.digest, state, new: false }))
    }

    /// Starts to take in a file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn receive(&self, content: &Content) -> Result<Incoming<'_>, StoreError> {
        let aside = self.session()?.aside();
        let file = File::create_new(&*aside).at("write", &aside)?;
        let (size, hasher) = (0, Hasher::default());
        Ok(Incoming { store: self, content: *content, aside, file, size, hasher })
    }

    /// Makes a result visible whose files are held.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when a needed file is not held; otherwise when the store cannot be
    /// written.
    pub fn admit(&self, parcel: &Parcel, held: &[Held]) -> Result<Manifest, StoreError> {
        let _operation = self.enter()?;
        let manifest = parcel.manifest();
        let states: HashMap<Digest, State> =
            held.iter().map(|held| (held.digest, held.state)).collect();
        let missing = parcel.contents().into_iter().filter(|content| {
            content.needed
                && states
                    .get(&content.digest)
                    .is_none_or(|state| content.size.is_some_and(|size| size != state.size))
        });
        let paths: Vec<_> = missing.map(|content| self.object(&content.digest)).collect();
        if !paths.is_empty() {
            return Err(StoreError::Damaged { paths });
        }
        let aside = self.session()?.aside();
        fs::write(&*aside, parcel.bytes()).at("write", &aside)?;
        let new: HashSet<Digest> =
            held.iter().filter(|held| held.new).map(|held| held.digest).collect();
        let objects = states.keys().map(|digest| (*digest, new.contains(digest)));
        self.make_visible(&aside, &manifest.key, objects)?;
        self.pin(manifest.key.digest());
        let known = manifest.outputs.iter().map(|(path, entry)| {
            let state = states[&entry.digest];
            Known { path: path.to_owned(), state, digest: entry.digest }
        });
        let table = FileTable { root: String::new(), files: known.collect() };
        self.remember(&self.object_table(&manifest.outputs.digest()), &table);
        Ok(manifest.clone())
    }
}

impl Incoming<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// When more come than belong to the file, or they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), NotReceived> {
        let limit = self.content.size.unwrap_or(LONGEST);
        self.size += bytes.len() as u64;
        if self.size > limit {
            return Err(NotReceived::TooLong(limit));
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).at("write", &self.aside)?;
        Ok(())
    }

    /// Stores the file, if it is what its name says.
    ///
    /// # Errors
    ///
    /// When it is not, or cannot be stored.
    pub fn finish(self) -> Result<Held, NotReceived> {
        let Self { store, content, aside, file, size, hasher } = self;
        if let Some(expected) = content.size.filter(|expected| *expected != size) {
            return Err(NotReceived::TooShort(size, expected));
        }
        let digest = content.digest;
        if hasher.digest() != digest {
            return Err(NotReceived::OtherContent);
        }
        let _operation = store.enter()?;
        store.pin(digest);
        seal(&file, &digest).at("write", &aside)?;
        let object = store.object(&digest);
        store.place(&aside, &object)?;
        let state = State::of(&fs::symlink_metadata(&object).at("read", &object)?);
        Ok(Held { digest, state, new: true })
    }
}

impl Held {
    /// Returns how long the file is.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.state.size
    }
}
