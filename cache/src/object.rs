//! Content by digest: read-only files, each once.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::known;
use crate::listing::Listing;
use crate::state::State;
use crate::store::Store;

impl Store {
    /// Stores a few bytes, such as the text of a listing, and returns their digest.
    ///
    /// They are kept as long as a fingerprint or the facts of a result mention the digest, and are on the disk before
    /// a result is that is committed after them.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let _operation = self.enter()?;
        self.pin(digest);
        let object = self.object(&digest);
        if fs::read(&object).is_ok_and(|stored| stored == bytes) {
            return Ok(digest);
        }
        let aside = self.session()?.aside();
        fs::write(&*aside, bytes).at("write", &aside)?;
        let file = File::open(&*aside).at("read", &aside)?;
        seal(&file, &digest).at("write", &aside)?;
        self.place(&aside, &object)?;
        let (paths, _) = self.not_durable([(digest, true)]);
        self.unwritten().add(paths);
        Ok(digest)
    }

    /// Returns the bytes of `digest`; none when they are not stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when what is stored is something else; otherwise when it cannot be
    /// read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let object = self.object(digest);
        match fs::read(&object) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => {
                self.remove_damaged(digest)?;
                Err(StoreError::Damaged { paths: vec![object] })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", &object),
        }
    }

    /// Stores the text of a listing; its digest is the digest of the listing.
    ///
    /// # Errors
    ///
    /// As [`Store::put`].
    pub fn put_listing(&self, listing: &Listing) -> Result<Digest, StoreError> {
        self.put(listing.to_text().as_bytes())
    }

    /// Returns the listing of that digest; none when it is not stored.
    ///
    /// # Errors
    ///
    /// As [`Store::get`], and when the bytes are not those of a listing.
    pub fn get_listing(&self, digest: &Digest) -> Result<Option<Listing>, StoreError> {
        let Some(bytes) = self.get(digest)? else { return Ok(None) };
        Listing::parse(&String::from_utf8_lossy(&bytes))
            .map(Some)
            .map_err(|error| StoreError::Listing { path: self.object(digest), error })
    }

    /// Returns the objects of `listing` that are missing or do not hold what they should, which are
    /// then removed. Objects in the state in which they were last read are not read.
    pub(crate) fn check_objects(&self, listing: &Listing) -> Result<Vec<PathBuf>, StoreError> {
        let digest = listing.digest();
        let place = self.object_table(&digest);
        let proven = self.proven().remove(&digest);
        let table = proven.map_or_else(
            || known::table_of(listing, &place),
            |files| FileTable { root: String::new(), files },
        );
        let recall = |path: &str| {
            let at = table.files.binary_search_by(|known| known.path.as_str().cmp(path)).ok()?;
            Some(&table.files[at])
        };
        let files: Vec<_> = listing.iter().collect();
        let checked: Result<Vec<Result<Known, PathBuf>>, StoreError> = files
            .into_par_iter()
            .with_min_len(64)
            .map(|(path, entry)| {
                let object = self.object(&entry.digest);
                let is_as_known = |known: &&Known| {
                    let now = fs::symlink_metadata(&object).map(|metadata| State::of(&metadata));
                    known.digest == entry.digest && now.is_ok_and(|now| now == known.state)
                };
                let state = match recall(path).filter(is_as_known) {
                    Some(known) => known.state,
                    None => match self.read_object(&entry.digest)? {
                        Some(state) if state.size == entry.size => state,
                        _ => return Ok(Err(object)),
                    },
                };
                Ok(Ok(Known { path: path.to_owned(), state, digest: entry.digest }))
            })
            .collect();
        let (mut files, mut damaged) = (Vec::new(), Vec::new());
        for one in checked? {
            match one {
                Ok(known) => files.push(known),
                Err(path) if !damaged.contains(&path) => damaged.push(path),
                Err(_) => {}
            }
        }
        if damaged.is_empty()
            && !known::worth_remembering(files.iter().map(|known| known.state.size))
        {
            // Whoever lays them out next, or looks at links to them, need not read them again.
            self.proven().insert(digest, files.clone());
        }
        let old = |known: &Known| recall(&known.path) == Some(known);
        let new = files.iter().filter(|known| !old(known)).map(|known| known.state.size);
        if damaged.is_empty() && known::worth_remembering(new) {
            self.remember(&place, &FileTable { root: String::new(), files });
        }
        Ok(damaged)
    }

    /// Reads the object of `digest`; none when it is missing or is something else, in which case it
    /// is removed.
    pub(crate) fn read_object(&self, digest: &Digest) -> Result<Option<State>, StoreError> {
        let object = self.object(digest);
        match known::read(&object) {
            Ok((state, found)) if found == *digest => Ok(Some(state)),
            Ok(_) | Err(StoreError::Changed(_)) => {
                self.remove_damaged(digest)?;
                Ok(None)
            }
            Err(StoreError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the object of `digest`, unless another process has just put a good one there.
    pub(crate) fn remove_damaged(&self, digest: &Digest) -> Result<(), StoreError> {
        let object = self.object(digest);
        let aside = self.session()?.aside();
        match fs::rename(&object, &*aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved.at("remove", &object)?,
        }
        if known::read(&aside).is_ok_and(|(_, found)| found == *digest) {
            return fs::rename(&*aside, &object).at("write", &object);
        }
        tracing::warn!("{} is damaged and removed", object.display());
        Ok(())
    }

    /// Moves a sealed file to where its object belongs.
    pub(crate) fn place(&self, from: &Path, object: &Path) -> Result<(), StoreError> {
        match fs::rename(from, object) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = object.parent().expect("an object is in a directory");
                fs::create_dir_all(directory).at("make the directory", directory)?;
                self.durable().directories.remove(directory);
                fs::rename(from, object).at("write", object)
            }
            moved => moved.at("write", object),
        }
    }

    /// Copies a file; the copy shares its blocks where the file system can do that.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.copies_bytes.load(Ordering::Relaxed) {
            return fs::copy(from, to).map(drop);
        }
        if reflink_copy::reflink_or_copy(from, to)?.is_some() {
            // To ask each time would cost a file each time.
            self.copies_bytes.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Brings objects, their names and `besides` to the disk; those that are not new only where this
    /// process has not done so before.
    pub(crate) fn sync_objects(
        &self,
        objects: impl IntoIterator<Item = (Digest, bool)>,
        besides: Option<PathBuf>,
    ) -> Result<(), StoreError> {
        let (mut paths, written) = self.not_durable(objects);
        paths.extend(besides);
        self.disk.sync(&Vec::from_iter(paths))?;
        let mut durable = self.durable();
        for (digest, directory) in written {
            durable.objects.insert(digest);
            durable.directories.insert(directory);
            durable.store = true;
        }
        Ok(())
    }

    /// Returns what of some objects and their names is not known to be on the disk, and the objects themselves, each
    /// with its directory; an object that is new is not.
    pub(crate) fn not_durable(
        &self,
        objects: impl IntoIterator<Item = (Digest, bool)>,
    ) -> (BTreeSet<PathBuf>, Vec<(Digest, PathBuf)>) {
        let (mut paths, mut unknown) = (BTreeSet::new(), Vec::new());
        let durable = self.durable();
        for (digest, new) in objects {
            if !new && durable.objects.contains(&digest) {
                continue;
            }
            let object = self.object(&digest);
            let directory = object.parent().expect("an object is in a directory").to_owned();
            if !durable.directories.contains(&directory) {
                paths.insert(self.objects());
            }
            unknown.push((digest, directory.clone()));
            paths.extend([directory, object]);
        }
        if !durable.store && !unknown.is_empty() {
            paths.extend(self.above.iter().cloned());
        }
        (paths, unknown)
    }

    /// Where the states of the objects of a listing are remembered.
    pub(crate) fn object_table(&self, listing: &Digest) -> PathBuf {
        self.tables().join(format!("objects-{listing}"))
    }
}

/// Makes a file read-only and stamps it with a time long ago that only its content decides.
///
/// Whoever writes to it, through whichever of its names, changes the time; and programs that tell
/// content apart by size and time, at a path such as `latest/`, see that it changed.
pub(crate) fn seal(file: &File, digest: &Digest) -> io::Result<()> {
    let number = |at: usize| {
        let bytes = digest.as_bytes()[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    let seconds = Duration::from_secs(1_000_000_000 + number(0) % 500_000_000);
    let time: SystemTime = UNIX_EPOCH + seconds + Duration::from_nanos(number(4) % 1_000_000_000);
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
    file.set_permissions(Permissions::from_mode(0o444))
}
