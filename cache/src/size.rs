//! How much room a store takes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};
use crate::store::Store;

/// How many of a class of things there are, and what they take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// How many.
    pub count: u64,
    /// Bytes of content; files that are links to objects count nothing.
    pub bytes: u64,
}

/// Room by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Contents, each once.
    pub objects: Class,
    /// Manifests.
    pub results: Class,
    /// Results laid out as files.
    pub trees: Class,
    /// What is being made now, or was when a process died.
    pub tmp: Class,
    /// What failed or running tries left: scratch directories and logs.
    pub scratch: Class,
    /// Tables of file states.
    pub tables: Class,
}

impl Sizes {
    /// Returns the bytes of all classes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Self { objects, results, trees, tmp, scratch, tables } = self;
        [objects, results, trees, tmp, scratch, tables].iter().map(|class| class.bytes).sum()
    }
}

impl Store {
    /// Returns how much room the store takes.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn size(&self) -> Result<Sizes, StoreError> {
        let class = |directories: &[PathBuf]| -> Result<Class, StoreError> {
            let mut class = Class::default();
            for directory in directories {
                for path in entries(directory)? {
                    class.count += 1;
                    class.bytes += bytes_below(&path)?;
                }
            }
            Ok(class)
        };
        Ok(Sizes {
            objects: class(&entries(&self.objects())?)?,
            results: class(&[self.results()])?,
            trees: class(&[self.trees()])?,
            tmp: class(&[self.tmp()])?,
            scratch: class(&[self.scratches(), self.logs()])?,
            tables: class(&[self.tables()])?,
        })
    }
}

/// Returns what is in a directory, sorted; nothing when it has just been removed.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let read = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        read => read.at("list", directory)?,
    };
    let paths: io::Result<Vec<PathBuf>> = read.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.at("list", directory)?;
    paths.sort();
    Ok(paths)
}

/// Returns the bytes of a file, or of all files below a directory, but for those in a tree or a
/// session that have another name as an object.
pub(crate) fn bytes_below(path: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(path) {
        let found = entry.and_then(|entry| Ok((entry.depth(), entry.metadata()?)));
        let (depth, metadata) = match found {
            Ok(found) => found,
            // Others may remove files at any time.
            Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {
                continue;
            }
            Err(error) => return Err(error.into()).at("read", path),
        };
        if metadata.is_file() && (depth == 0 || metadata.nlink() == 1) {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}
