//! The private directory of a process, which others remove once that process is dead.
//!
//! `tmp/<name>/` belongs to the process that holds the lock of `tmp/<name>.alive`. The lock file is
//! made and locked before the directory and removed after it, and names are never used twice, so a
//! directory whose lock file is free or missing belongs to nobody.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{At, StoreError};
use crate::in_use::is_held;
use crate::lock::try_lock;

/// Follows the name of a session in the name of its lock file.
const ALIVE: &str = ".alive";

/// A private directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    alive: PathBuf,
    _lock: File,
    names: AtomicU64,
}

impl Session {
    /// Makes one below `tmp`.
    pub(crate) fn start(tmp: &Path) -> Result<Self, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{now:x}-{count}", std::process::id());
            let (directory, alive) = (tmp.join(&name), tmp.join(name + ALIVE));
            let lock = match File::create_new(&alive) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.at("write", &alive)?,
            };
            // A process that cleans up may have come between the last line and this one.
            if !try_lock(&lock).at("lock", &alive)?
                || lock.metadata().at("read", &alive)?.nlink() == 0
            {
                continue;
            }
            fs::create_dir(&directory).at("make the directory", &directory)?;
            return Ok(Self { directory, alive, _lock: lock, names: AtomicU64::new(0) });
        }
    }

    /// Returns the directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directories below `tmp` whose processes live.
    pub(crate) fn living(tmp: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let mut living = Vec::new();
        for entry in fs::read_dir(tmp).at("list", tmp)? {
            let Ok(name) = entry.at("list", tmp)?.file_name().into_string() else { continue };
            let Some(session) = name.strip_suffix(ALIVE) else { continue };
            if is_held(&tmp.join(&name), true)? {
                living.push(tmp.join(session));
            }
        }
        Ok(living)
    }

    /// Returns a path at which nothing is, and which nobody else gets.
    pub(crate) fn aside(self: &Arc<Self>) -> Aside {
        self.aside_for("new")
    }

    /// The same with a word in its name that messages may show.
    pub(crate) fn aside_for(self: &Arc<Self>, what: &str) -> Aside {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        Aside { path: self.directory.join(format!("{number}-{what}")), _session: Arc::clone(self) }
    }

    /// Removes what dead processes left below `tmp`; returns how many sessions that were.
    pub(crate) fn clean(tmp: &Path) -> Result<usize, StoreError> {
        let mut cleaned = 0;
        for entry in fs::read_dir(tmp).at("list", tmp)? {
            // A name that is not UTF-8 is not that of a session.
            let Ok(name) = entry.at("list", tmp)?.file_name().into_string() else { continue };
            let name = name.strip_suffix(ALIVE).unwrap_or(&name);
            let (directory, alive) = (tmp.join(name), tmp.join(format!("{name}{ALIVE}")));
            let lock = match File::options().read(true).write(true).open(&alive) {
                Ok(file) if !try_lock(&file).at("lock", &alive)? => continue,
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error).at("open", &alive),
            };
            remove(&directory)?;
            if lock.is_some() {
                remove(&alive)?;
            }
            cleaned += 1;
        }
        Ok(cleaned)
    }
}

/// A private path; what is there when this is dropped, because it was not renamed to where it
/// belongs, is removed.
#[derive(Debug)]
pub(crate) struct Aside {
    path: PathBuf,
    _session: Arc<Session>,
}

impl Deref for Aside {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("{error}");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for path in [&self.directory, &self.alive] {
            if let Err(error) = remove(path) {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Removes a file or a directory with everything below it, also when part of it is read-only;
/// what is not there need not be removed.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    // Most directories are empty, and what is left of most private paths is nothing.
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return gone(fs::remove_file(path)).at("remove", path);
        }
        // Systems differ in what they say of one that is not empty, or may not be removed.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {}
        _ => return Ok(()),
    }
    match gone(fs::remove_dir_all(path)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path);
            gone(fs::remove_dir_all(path)).at("remove", path)
        }
        result => result.at("remove", path),
    }
}

/// Makes directories writable as far as possible: a step may leave read-only ones.
fn unlock(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tmp: &Path) -> usize {
        fs::read_dir(tmp).unwrap().count()
    }

    #[test]
    fn the_living_are_left_alone_and_the_dead_are_removed() {
        let tmp = tempfile::tempdir().unwrap();
        let living = Arc::new(Session::start(tmp.path()).unwrap());
        let [kept, moved] = [living.aside(), living.aside()];
        fs::write(&*kept, "kept").unwrap();
        // As a killed process leaves them: lock file and directory, or only one of both.
        for (directory, alive) in [(true, true), (true, false), (false, true)] {
            if directory {
                fs::create_dir_all(tmp.path().join(format!("{directory}{alive}/out"))).unwrap();
            }
            if alive {
                fs::write(tmp.path().join(format!("{directory}{alive}.alive")), "").unwrap();
            }
        }
        Session::clean(tmp.path()).unwrap();
        assert_eq!(names(tmp.path()), 2);
        assert_eq!(fs::read_to_string(&*kept).unwrap(), "kept");
        fs::rename(&*kept, &*moved).unwrap();
        drop(kept);
        assert_eq!(fs::read_to_string(&*moved).unwrap(), "kept");
        drop(moved);
        assert_eq!(names(&living.directory), 0);
        drop(living);
        assert_eq!(names(tmp.path()), 0);
    }

    #[test]
    fn starting_and_cleaning_at_once_never_takes_a_living_directory() {
        let tmp = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let session = Arc::new(Session::start(tmp.path()).unwrap());
                        fs::write(&*session.aside(), "").unwrap();
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..200 {
                    Session::clean(tmp.path()).unwrap();
                }
            });
        });
        assert_eq!(names(tmp.path()), 0);
    }
}
