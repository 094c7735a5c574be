//! Results on disk, found by key.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::durable::Disk;
use crate::error::{At, StoreError};
use crate::file_table::Known;
use crate::fingerprint::Key;
use crate::in_use::InUse;
use crate::manifest::Manifest;
use crate::present::Recall;
use crate::scan::Seen;
use crate::session::{self, Session};
use crate::unwritten::Unwritten;
use crate::walk::identity;

/// The directories of the store, below its version.
const DIRECTORIES: [&str; 8] =
    ["objects", "results", "trees", "tmp", "scratch", "locks", "logs", "tables"];

/// Results on disk; the crate's documentation tells the layout.
///
/// May be used by many threads and, each with its own, by many processes at once.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    version: PathBuf,
    /// The directories that hold the names of the store and of its directories.
    pub(crate) above: Vec<PathBuf>,
    pub(crate) in_use: InUse,
    identity: (u64, u64),
    session: Mutex<Option<Arc<Session>>>,
    pub(crate) disk: Disk,
    durable: Mutex<Durable>,
    unwritten: Mutex<Unwritten>,
    /// Whether the file system was found unable to share blocks between files.
    pub(crate) copies_bytes: AtomicBool,
    /// The objects of a listing that were read and not yet looked at as a tree.
    proven: Mutex<HashMap<Digest, Vec<Known>>>,
    recalled: Mutex<Recall>,
    /// Outside files that were looked at, while nothing is being made.
    pub(crate) seen: Seen,
}

/// What this process has brought to the disk, or seen there.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    pub(crate) objects: HashSet<Digest>,
    /// The directories of objects whose names are there.
    pub(crate) directories: HashSet<PathBuf>,
    /// Whether the name of the store is there, and those of its directories.
    pub(crate) store: bool,
}

/// What [`Store::lookup`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// The result was never made, or has been removed.
    Missing,
    /// The result was there, but these files did not hold what they should, or were missing. The
    /// result is removed with them, so that making it again repairs it.
    Damaged {
        /// Files in the store.
        paths: Vec<PathBuf>,
    },
    /// The result is whole.
    Found(Box<Manifest>),
}

impl Lookup {
    /// Returns the manifest of a whole result.
    #[must_use]
    pub fn found(self) -> Option<Manifest> {
        match self {
            Self::Found(manifest) => Some(*manifest),
            Self::Missing | Self::Damaged { .. } => None,
        }
    }
}

impl Store {
    /// Opens the store in `root`, which is made when there is none, and removes what processes that
    /// died left half done.
    ///
    /// Waits as long as another process collects garbage. A store that may not be written to can be
    /// opened and looked at.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).at("find", root)?;
        let version = root.join("v1");
        let above = named_in(&root, &version);
        if !version.is_dir() {
            fs::create_dir_all(&version).at("make the directory", &version)?;
            // Results are made from what is in version control; they do not belong there.
            // What the user has written there stays.
            let ignore = root.join(".gitignore");
            match File::create_new(&ignore).and_then(|mut file| file.write_all(b"*\n")) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                written => written.at("write", &ignore)?,
            }
        }
        for name in DIRECTORIES {
            let directory = version.join(name);
            match fs::create_dir(&directory) {
                // Said of a directory in a read-only store, too, before it is looked for.
                Err(_) if directory.is_dir() => {}
                made => made.at("make the directory", &directory)?,
            }
        }
        let in_use = InUse::take(&version.join("lock"))?;
        let identity = identity(&fs::metadata(&version).at("read", &version)?);
        let (session, disk, seen) = (Mutex::new(None), Disk::default(), Seen::default());
        let (copies_bytes, proven) = (AtomicBool::new(false), Mutex::default());
        let store = Self {
            root,
            version,
            above,
            in_use,
            identity,
            session,
            disk,
            durable: Mutex::default(),
            unwritten: Mutex::default(),
            copies_bytes,
            proven,
            recalled: Mutex::default(),
            seen,
        };
        // What cannot be removed, perhaps because it is another user's, is in nobody's way.
        if let Err(error) = Session::clean(&store.tmp()) {
            tracing::warn!("{error}");
        }
        Ok(store)
    }

    /// Returns the directory the store was opened in, as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks for the result of `key`, and whether its files are what was committed.
    ///
    /// Files whose size, times and inode are as they were are not read.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn lookup(&self, key: &Key) -> Result<Lookup, StoreError> {
        self.lookup_after(key, |_| ())
    }

    /// The same, with a look at a record that was read before its files are.
    pub(crate) fn lookup_after(
        &self,
        key: &Key,
        look: impl FnOnce(&Manifest),
    ) -> Result<Lookup, StoreError> {
        let _operation = self.enter()?;
        let manifest = match self.read_manifest(key)? {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(Lookup::Missing),
            Err(path) => {
                session::remove(&path)?;
                return Ok(Lookup::Damaged { paths: vec![path] });
            }
        };
        look(&manifest);
        let paths = self.check_objects(&manifest.outputs)?;
        if paths.is_empty() {
            self.pin(key.digest());
            return Ok(Lookup::Found(Box::new(manifest)));
        }
        session::remove(&self.result(key))?;
        Ok(Lookup::Damaged { paths })
    }

    /// Returns the record of the result of `key` without looking at its files; none when there is
    /// none or it is broken.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn manifest(&self, key: &Key) -> Result<Option<Manifest>, StoreError> {
        let _operation = self.enter()?;
        Ok(self.read_manifest(key)?.unwrap_or_default())
    }

    /// Returns the log of a try to make the result of `key` that failed or still runs.
    #[must_use]
    pub fn unfinished_log(&self, key: &Key) -> Option<PathBuf> {
        Some(self.log(key)).filter(|path| path.is_file())
    }

    /// Returns the log of a failed try to make the result of `key`, by its number from 1, if it was
    /// followed by another try ([`Store::set_log_aside`]).
    #[must_use]
    pub fn log_of_try(&self, key: &Key, number: u32) -> Option<PathBuf> {
        Some(self.log_aside(key, number)).filter(|path| path.is_file())
    }

    /// Keeps the log of a failed try while the next one writes its own; returns where.
    ///
    /// # Errors
    ///
    /// When it cannot be renamed.
    pub fn set_log_aside(&self, key: &Key, number: u32) -> Result<PathBuf, StoreError> {
        let aside = self.log_aside(key, number);
        fs::rename(self.log(key), &aside).at("write", &aside)?;
        Ok(aside)
    }

    /// Removes the logs that earlier runs set aside.
    ///
    /// # Errors
    ///
    /// When one cannot be removed.
    pub fn forget_tries(&self, key: &Key) -> Result<(), StoreError> {
        let mut number = 1;
        while let Some(path) = self.log_of_try(key, number) {
            session::remove(&path)?;
            number += 1;
        }
        Ok(())
    }

    /// Reads a manifest; the inner error is the path of a broken one.
    pub(crate) fn read_manifest(
        &self,
        key: &Key,
    ) -> Result<Result<Option<Manifest>, PathBuf>, StoreError> {
        let path = self.result(key);
        match fs::read(&path) {
            Ok(bytes) => Ok(Manifest::decode(&bytes, key).map(Some).ok_or(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
            Err(error) => Err(error).at("read", &path),
        }
    }

    pub(crate) fn recalled(&self) -> MutexGuard<'_, Recall> {
        self.recalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn proven(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Known>>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the private directory of this store, made when first asked for.
    pub(crate) fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let new = Arc::new(Session::start(&self.tmp())?);
        *session = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Returns the private directory of this store, if there is one.
    pub(crate) fn session_if_any(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.version.join("lock")
    }

    /// Tells the store's own directory from others, whatever its path.
    pub(crate) const fn identity(&self) -> (u64, u64) {
        self.identity
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.version.join("objects")
    }

    pub(crate) fn object(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let mut path = self.objects();
        path.push(&name[..2]);
        path.push(&name[2..]);
        path
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.version.join("results")
    }

    pub(crate) fn result(&self, key: &Key) -> PathBuf {
        self.results().join(format!("{key}.json"))
    }

    pub(crate) fn trees(&self) -> PathBuf {
        self.version.join("trees")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.version.join("tmp")
    }

    pub(crate) fn scratches(&self) -> PathBuf {
        self.version.join("scratch")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.version.join("locks")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.version.join("logs")
    }

    pub(crate) fn log(&self, key: &Key) -> PathBuf {
        self.logs().join(format!("{key}.log"))
    }

    fn log_aside(&self, key: &Key, number: u32) -> PathBuf {
        self.logs().join(format!("{key}.{number}.log"))
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.version.join("tables")
    }
}

/// Returns the directories that hold names which a loss of power must not take from a store: itself, what it lies
/// in, and all directories that are still to be made for it.
fn named_in(root: &Path, version: &Path) -> Vec<PathBuf> {
    let mut found = vec![version.to_owned(), root.to_owned()];
    for directory in root.ancestors().skip(1) {
        let is_there = directory.is_dir();
        // Some may be passed through but not read; they are somebody else's, and long there.
        if !is_there || File::open(directory).is_ok() {
            found.push(directory.to_owned());
        }
        if is_there {
            break;
        }
    }
    found
}
