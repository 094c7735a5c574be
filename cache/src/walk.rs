//! Finding every file below a directory, on all threads.

use std::fs::{self, DirEntry, FileType, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{At, StoreError};
use crate::state::{State, executable};

/// Directories may be nested this deep.
const DEPTH: usize = 200;
/// How many files of a directory a thread takes at least.
const SHARE: usize = 128;

/// A file that a walk came upon.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Relative to where the walk started, with `/` between names.
    pub(crate) path: String,
    /// Before it was read.
    pub(crate) state: State,
    /// Whether its owner may execute it.
    pub(crate) executable: bool,
    /// Whether it was reached by a symbolic link of this name, or has other names.
    pub(crate) shared: bool,
}

/// How a walk treats what it meets.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    /// The start, for messages.
    root: &'a Path,
    /// A directory that must not be met: the store that asks.
    forbidden: Option<(u64, u64)>,
    /// Whether symbolic links to directories are followed.
    follow_directories: bool,
}

/// The directories above the one being read, to notice a link that leads back up.
struct Above<'a> {
    directory: (u64, u64),
    depth: usize,
    above: Option<&'a Above<'a>>,
}

impl<'a> Walk<'a> {
    /// Starts from data of the user, in which links to directories are followed.
    pub(crate) fn outside(root: &'a Path, forbidden: (u64, u64)) -> Self {
        Self { root, forbidden: Some(forbidden), follow_directories: true }
    }

    /// Starts from an output, which must not depend on directories elsewhere.
    pub(crate) fn output(root: &'a Path) -> Self {
        Self { root, forbidden: None, follow_directories: false }
    }

    /// Returns every file, sorted by path.
    pub(crate) fn files(self) -> Result<Vec<Found>, StoreError> {
        let mut found = self.directory(self.root, "", None)?;
        // Only links to directories come at another place than the walk takes them for.
        if !found.is_sorted_by(|a, b| a.path < b.path) {
            found.par_sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(found)
    }

    fn directory(
        self,
        directory: &Path,
        prefix: &str,
        above: Option<&Above<'_>>,
    ) -> Result<Vec<Found>, StoreError> {
        let id = identity(&fs::metadata(directory).at("read", directory)?);
        let here = Above { directory: id, depth: above.map_or(0, |a| a.depth + 1), above };
        self.admit(directory, &here)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory).at("list", directory)? {
            entries.push(Entry::of(entry.at("list", directory)?)?);
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries
            .into_par_iter()
            .with_min_len(SHARE)
            .try_fold(Vec::new, |mut found, entry| {
                self.entry(prefix, entry, &here, &mut found)?;
                Ok(found)
            })
            .try_reduce(Vec::new, |mut left, mut right| {
                left.append(&mut right);
                Ok(left)
            })
    }

    fn admit(self, directory: &Path, here: &Above<'_>) -> Result<(), StoreError> {
        let refuse =
            |problem: String| Err(StoreError::Unusable { path: directory.to_owned(), problem });
        if self.forbidden == Some(here.directory) {
            let root = self.root.display();
            return refuse(format!("is the store itself; read a directory narrower than {root}"));
        }
        if here.depth > DEPTH {
            return refuse(format!("is nested deeper than {DEPTH} directories"));
        }
        let mut above = here.above;
        while let Some(one) = above {
            if one.directory == here.directory {
                return refuse("is a symbolic link to a directory above it, a loop".to_owned());
            }
            above = one.above;
        }
        Ok(())
    }

    fn entry(
        self,
        prefix: &str,
        entry: Entry,
        here: &Above<'_>,
        found: &mut Vec<Found>,
    ) -> Result<(), StoreError> {
        let Entry { name, kind, entry } = entry;
        let mut path = [prefix, &name].concat();
        if kind.is_dir() {
            found.append(&mut self.directory(&entry.path(), &path, Some(here))?);
            return Ok(());
        }
        let metadata = if kind.is_symlink() {
            fs::metadata(entry.path()).at("follow the link", &entry.path())?
        } else {
            entry.metadata().at_made("read", || entry.path())?
        };
        if metadata.is_file() {
            found.push(Found::of(path, &metadata, kind.is_symlink()));
            return Ok(());
        }
        if metadata.is_dir() && self.follow_directories {
            path.push('/');
            found.append(&mut self.directory(&entry.path(), &path, Some(here))?);
            return Ok(());
        }
        let problem = if metadata.is_dir() {
            "is a link to a directory; write the files themselves"
        } else {
            "is neither a file nor a directory; remove it"
        };
        Err(StoreError::Unusable { path: entry.path(), problem: problem.to_owned() })
    }
}

/// What a directory says of something in it.
struct Entry {
    /// With `/` after that of a directory, so that the order of names is the order of the paths
    /// that start with them.
    name: String,
    kind: FileType,
    entry: DirEntry,
}

impl Entry {
    fn of(entry: DirEntry) -> Result<Self, StoreError> {
        let kind = entry.file_type().at_made("read", || entry.path())?;
        match entry.file_name().into_string() {
            Ok(mut name) => {
                if kind.is_dir() {
                    name.push('/');
                }
                Ok(Self { name, kind, entry })
            }
            Err(_) => {
                let problem = "has a name that is not UTF-8; rename it".to_owned();
                Err(StoreError::Unusable { path: entry.path(), problem })
            }
        }
    }
}

impl Found {
    pub(crate) fn of(path: String, metadata: &Metadata, link: bool) -> Self {
        Self {
            path,
            state: State::of(metadata),
            executable: executable(metadata),
            shared: link || metadata.nlink() > 1,
        }
    }
}

/// Tells directories apart whatever their path.
pub(crate) fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Joins a relative path of a listing to the directory it is relative to.
pub(crate) fn join(root: &Path, path: &str) -> PathBuf {
    if path == crate::listing::Listing::ITSELF { root.to_owned() } else { root.join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    fn paths(root: &Path) -> Result<Vec<String>, String> {
        let found = Walk::outside(root, (0, 0)).files().map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|one| one.path).collect())
    }

    #[test]
    fn finds_files_in_the_order_of_whole_paths() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/deep/er")).unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        for path in ["a/deep/er/x", "a/b", "a-b", ".hidden"] {
            fs::write(root.path().join(path), "").unwrap();
        }
        symlink("a", root.path().join("again")).unwrap();
        symlink("a-b", root.path().join("z")).unwrap();
        assert_eq!(
            paths(root.path()).unwrap(),
            [".hidden", "a-b", "a/b", "a/deep/er/x", "again/b", "again/deep/er/x", "z"]
        );
        let error = Walk::output(root.path()).files().unwrap_err().to_string();
        assert!(error.ends_with("again is a link to a directory; write the files themselves"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let check = |make: &dyn Fn(&Path), expected: &str| {
            let root = tempfile::tempdir().unwrap();
            make(root.path());
            let error = paths(root.path()).unwrap_err();
            let error = error.replace(root.path().to_str().unwrap(), "ROOT");
            assert_eq!(error, expected);
        };
        check(
            &|root| symlink("nowhere", root.join("x")).unwrap(),
            "cannot follow the link ROOT/x: No such file or directory (os error 2)",
        );
        check(
            &|root| {
                fs::create_dir(root.join("a")).unwrap();
                symlink("..", root.join("a/up")).unwrap();
            },
            "ROOT/a/up is a symbolic link to a directory above it, a loop",
        );
        check(
            &|root| {
                fs::create_dir_all(root.join("a/b")).unwrap();
                symlink("../../a/b", root.join("a/b/x")).unwrap();
            },
            "ROOT/a/b/x is a symbolic link to a directory above it, a loop",
        );
        check(
            &|root| {
                nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
            "ROOT/pipe is neither a file nor a directory; remove it",
        );
        check(
            &|root| fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap(),
            "ROOT/\u{fffd} has a name that is not UTF-8; rename it",
        );
    }

    #[test]
    fn the_store_is_not_read_into_itself() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("store")).unwrap();
        let store = identity(&fs::metadata(root.path().join("store")).unwrap());
        let error = Walk::outside(root.path(), store).files().unwrap_err().to_string();
        assert!(error.contains("store is the store itself; read a directory narrower than"));
    }
}
