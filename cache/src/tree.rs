//! A result laid out as files.
//!
//! `trees/<digest of the listing>/` holds hard links to objects; where the file system has none,
//! and for executable files, whose mode an object cannot have, copies that share blocks if they
//! can. A tree is built aside and renamed, so it is whole or not there. One that was edited by hand
//! is replaced; the edit of a hard link is the edit of an object, which makes the object damaged.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::file_table::{FileTable, Known};
use crate::known;
use crate::listing::{Change, FileEntry, Listing};
use crate::manifest::Manifest;
use crate::object::seal;
use crate::present::Present;
use crate::session;
use crate::state::State;
use crate::store::Store;
use crate::walk::{Walk, join};

impl Store {
    /// Returns a directory that holds the files of a result, read-only.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when an object is missing or damaged; the result is then removed, so
    /// that it is made again. Otherwise when the tree cannot be written.
    pub fn tree(&self, manifest: &Manifest) -> Result<PathBuf, StoreError> {
        let _operation = self.enter()?;
        self.pin(manifest.key.digest());
        let digest = manifest.outputs.digest();
        let tree = self.trees().join(digest.to_string());
        loop {
            if tree.symlink_metadata().is_ok() {
                if self.is_sound(&tree, &manifest.outputs, &digest) {
                    return Ok(tree);
                }
                tracing::warn!("{} was edited and is laid out again", tree.display());
                self.discard_tree(&tree)?;
            }
            let paths = self.check_objects(&manifest.outputs)?;
            if !paths.is_empty() {
                session::remove(&self.result(&manifest.key))?;
                return Err(StoreError::Damaged { paths });
            }
            let aside = self.session()?.aside();
            self.lay_out(&aside, &manifest.outputs, &digest)?;
            match fs::rename(&*aside, &tree) {
                Ok(()) => return Ok(tree),
                // Another process was faster; its tree is looked at as any other.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                    ) => {}
                Err(error) => return Err(error).at("write", &tree),
            }
        }
    }

    /// Returns what of a laid-out result is no longer what it was; nothing when all is as it should be.
    ///
    /// # Errors
    ///
    /// When the files cannot be looked at.
    pub fn edits(&self, present: &Present) -> Result<Vec<(String, Change)>, StoreError> {
        let _operation = self.enter()?;
        let Present { outputs, tree, .. } = present;
        if self.is_sound(tree, outputs, &outputs.digest()) {
            return Ok(Vec::new());
        }
        let found = match Walk::output(tree).files() {
            Ok(found) => found,
            Err(_) if !tree.exists() => Vec::new(),
            Err(error) => return Err(error),
        };
        let digested = known::digest(found, &[], None, |path| join(tree, path))?;
        Ok(Listing::of(digested.files).differences(outputs))
    }

    /// Returns whether a tree holds exactly the files of `listing`.
    fn is_sound(&self, tree: &Path, listing: &Listing, digest: &Digest) -> bool {
        let place = self.tree_table(digest);
        let proven = self.proven().remove(digest);
        let objects = proven.map_or_else(
            || known::table_of(listing, &self.object_table(digest)),
            |files| FileTable { root: String::new(), files },
        );
        let tables = [known::table_of(listing, &place), objects];
        let found = match Walk::output(tree).files() {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("{error}");
                return false;
            }
        };
        let same_paths = found.iter().map(|found| found.path.as_str());
        if !same_paths.eq(listing.iter().map(|(path, _)| path)) {
            return false;
        }
        let [copies, objects] = &tables;
        match known::digest(found, &[copies, objects], None, |path| join(tree, path)) {
            Ok(digested) => {
                let same = digested.files.iter().map(|(path, entry)| (path.as_str(), entry));
                let sound = same.eq(listing.iter());
                if let Some(table) = digested.table.filter(|_| sound) {
                    self.remember(&place, &table);
                }
                sound
            }
            Err(error) => {
                tracing::warn!("{error}");
                false
            }
        }
    }

    /// Makes the files of `listing`, whose objects are sound, in a new directory.
    fn lay_out(&self, to: &Path, listing: &Listing, digest: &Digest) -> Result<(), StoreError> {
        let mut directories = BTreeSet::from([to.to_owned()]);
        directories.extend(
            listing.iter().filter_map(|(path, _)| join(to, path).parent().map(Path::to_owned)),
        );
        for directory in directories {
            fs::create_dir_all(&directory).at("make the directory", &directory)?;
        }
        let files: Vec<(&str, &FileEntry)> = listing.iter().collect();
        files
            .par_iter()
            .with_min_len(16)
            .try_for_each(|(path, entry)| self.lay_out_file(&join(to, path), entry))?;
        if !known::worth_remembering(files.iter().map(|(_, entry)| entry.size)) {
            return Ok(());
        }
        // Each link changed the change time of its object, and all are made now.
        let known: Result<Vec<Known>, StoreError> = files
            .par_iter()
            .with_min_len(64)
            .map(|(path, entry)| {
                let file = join(to, path);
                let state = State::of(&fs::metadata(&file).at("read", &file)?);
                Ok(Known { path: (*path).to_owned(), state, digest: entry.digest })
            })
            .collect();
        self.renew(digest, known?);
        Ok(())
    }

    /// Remembers the files of a tree just laid out, and with them the objects they are links to.
    fn renew(&self, digest: &Digest, files: Vec<Known>) {
        let place = self.object_table(digest);
        let mut objects = FileTable::read(&place);
        for (object, file) in objects.files.iter_mut().zip(&files) {
            let linked = State { changed: file.state.changed, ..object.state };
            if object.path == file.path && linked == file.state {
                object.state = linked;
            }
        }
        self.remember(&place, &objects);
        self.remember(&self.tree_table(digest), &FileTable { root: String::new(), files });
    }

    fn lay_out_file(&self, to: &Path, entry: &FileEntry) -> Result<(), StoreError> {
        let object = self.object(&entry.digest);
        if !entry.executable && fs::hard_link(&object, to).is_ok() {
            return Ok(());
        }
        // Not every file system has hard links, and none has them without limit.
        self.copy(&object, to).at("write", to)?;
        let file = File::open(to).at("read", to)?;
        seal(&file, &entry.digest).at("write", to)?;
        let mode = if entry.executable { 0o555 } else { 0o444 };
        file.set_permissions(Permissions::from_mode(mode)).at("write", to)
    }

    /// Removes a tree in one step, as seen from others.
    pub(crate) fn discard_tree(&self, tree: &Path) -> Result<(), StoreError> {
        match fs::rename(tree, &*self.session()?.aside()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.at("remove", tree),
        }
    }

    /// Where the states of the files of a tree are remembered.
    pub(crate) fn tree_table(&self, listing: &Digest) -> PathBuf {
        self.tables().join(format!("tree-{listing}"))
    }
}
