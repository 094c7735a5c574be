//! Which result each step of a pipeline had last.
//!
//! `latest/<pipeline>/<step>` is a link to the tree, for people; `<step>.json` beside it is a link to
//! the manifest, and decides.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{At, StoreError};
use crate::fingerprint::Key;
use crate::listing::Listing;
use crate::manifest::Manifest;
use crate::session;
use crate::store::Store;

/// A step of a pipeline, and the key of its last result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Latest {
    /// The name of the pipeline.
    pub pipeline: String,
    /// The name of the step.
    pub step: String,
    /// The key of the result.
    pub key: Key,
}

impl Store {
    /// Records that the last result of a step is the one of `key`, with these files.
    ///
    /// # Errors
    ///
    /// When a name cannot be that of a file, or the links cannot be written.
    pub fn set_latest(
        &self,
        pipeline: &str,
        step: &str,
        key: &Key,
        outputs: &Listing,
    ) -> Result<(), StoreError> {
        let _operation = self.enter()?;
        let [tree, record] = self.latest_links(pipeline, step)?;
        let listing = outputs.digest();
        let known = self.recalled().leads(step, (*key, listing));
        if !known {
            let up = Path::new("../../v1");
            self.link(&up.join("results").join(format!("{key}.json")), &record)?;
            self.link(&up.join("trees").join(listing.to_string()), &tree)?;
        }
        self.recalled().note_links(step, (*key, listing));
        Ok(())
    }

    /// Returns the record of the last result of a step; none when there never was one, or it has
    /// been removed.
    ///
    /// # Errors
    ///
    /// When a name cannot be that of a file, or the store cannot be read.
    pub fn latest(&self, pipeline: &str, step: &str) -> Result<Option<Manifest>, StoreError> {
        let _operation = self.enter()?;
        let [_, record] = self.latest_links(pipeline, step)?;
        match key_of(&record)? {
            Some(key) => self.manifest(&key),
            None => Ok(None),
        }
    }

    /// Forgets the last result of a step, so that [`Store::gc`] may remove it.
    ///
    /// # Errors
    ///
    /// When a name cannot be that of a file, or the links cannot be removed.
    pub fn forget(&self, pipeline: &str, step: &str) -> Result<(), StoreError> {
        let _operation = self.enter()?;
        self.latest_links(pipeline, step)?.iter().try_for_each(|link| session::remove(link))
    }

    /// Returns every step with a last result, sorted.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn latest_of_all(&self) -> Result<Vec<Latest>, StoreError> {
        let _operation = self.enter()?;
        let mut all = Vec::new();
        for pipeline in names(&self.root().join("latest"))? {
            let directory = self.root().join("latest").join(&pipeline);
            for name in names(&directory)? {
                let Some(step) = name.strip_suffix(".json") else { continue };
                if let Some(key) = key_of(&directory.join(&name))? {
                    let (pipeline, step) = (pipeline.clone(), step.to_owned());
                    all.push(Latest { pipeline, step, key });
                }
            }
        }
        all.sort();
        Ok(all)
    }

    fn latest_links(&self, pipeline: &str, step: &str) -> Result<[PathBuf; 2], StoreError> {
        let directory = self.links_of(pipeline);
        for name in [pipeline, step] {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                let problem = format!("cannot be written for a pipeline or step called `{name}`");
                return Err(StoreError::Unusable { path: directory, problem });
            }
        }
        Ok([directory.join(step), directory.join(format!("{step}.json"))])
    }

    /// Where the links of a pipeline are.
    pub(crate) fn links_of(&self, pipeline: &str) -> PathBuf {
        self.root().join("latest").join(pipeline)
    }

    /// Makes `link` lead to `target`, replacing it in one step.
    fn link(&self, target: &Path, link: &Path) -> Result<(), StoreError> {
        match fs::read_link(link) {
            Ok(old) if old == target => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && symlink(target, link).is_ok() =>
            {
                return Ok(());
            }
            _ => {}
        }
        let aside = self.session()?.aside();
        symlink(target, &*aside).at("write", &aside)?;
        match fs::rename(&*aside, link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = link.parent().expect("a link is in a directory");
                fs::create_dir_all(directory).at("make the directory", directory)?;
                fs::rename(&*aside, link).at("write", link)
            }
            moved => moved.at("write", link),
        }
    }
}

/// Returns the key that a link to a manifest names; none when there is no such link.
fn key_of(record: &Path) -> Result<Option<Key>, StoreError> {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    match fs::read_link(record) {
        Ok(target) => {
            Ok(target.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()))
        }
        Err(error) if matches!(error.kind(), NotFound | InvalidInput | NotADirectory) => Ok(None),
        Err(error) => Err(error).at("read", record),
    }
}

fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        entries => entries.at("list", directory)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // Names that are not UTF-8 were not written by us.
        names.extend(entry.at("list", directory)?.file_name().into_string());
    }
    Ok(names)
}
