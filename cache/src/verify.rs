//! Reading everything again, to find what a disk or a hand has changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::fingerprint::Key;
use crate::known;
use crate::listing::Listing;
use crate::session;
use crate::size::entries;
use crate::store::Store;
use crate::walk::{Walk, join};

/// Something that was not as it should be, and has been removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What was wrong with it.
    pub problem: String,
    /// The result that has to be made again.
    pub result: Option<Key>,
}

/// What [`Store::verify`] tells while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Objects read so far.
    pub objects: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Objects in all.
    pub total: u64,
}

impl Store {
    /// Reads every file of the store; removes those that do not hold what they should, and the
    /// results that need them, so that these are made again.
    ///
    /// # Errors
    ///
    /// When something cannot be read or removed.
    pub fn verify(&self, progress: &(dyn Fn(Verified) + Sync)) -> Result<Vec<Damage>, StoreError> {
        let _operation = self.enter()?;
        let (sizes, mut damage) = self.verify_objects(progress)?;
        for path in entries(&self.results())? {
            damage.extend(self.verify_result(&path, &sizes)?);
        }
        let trees: Result<Vec<_>, StoreError> =
            entries(&self.trees())?.par_iter().map(|tree| self.verify_tree(tree)).collect();
        damage.extend(trees?.into_iter().flatten());
        damage.sort();
        Ok(damage)
    }

    /// Returns the size of each sound object, and the others.
    fn verify_objects(
        &self,
        progress: &(dyn Fn(Verified) + Sync),
    ) -> Result<(HashMap<Digest, u64>, Vec<Damage>), StoreError> {
        let mut objects = Vec::new();
        for directory in entries(&self.objects())? {
            objects.extend(entries(&directory)?);
        }
        let told = Mutex::new(Verified { objects: 0, bytes: 0, total: objects.len() as u64 });
        let read: Result<Vec<_>, StoreError> = objects
            .into_par_iter()
            .map(|path| {
                let Some(digest) = self.digest_of(&path) else { return Ok(None) };
                let state = self.read_object(&digest)?;
                {
                    let mut told = told.lock().expect("progress does not panic");
                    told.objects += 1;
                    told.bytes += state.map_or(0, |state| state.size);
                    progress(*told);
                }
                Ok(Some((digest, path, state)))
            })
            .collect();
        let (mut sizes, mut damage) = (HashMap::new(), Vec::new());
        for (digest, path, state) in read?.into_iter().flatten() {
            match state {
                Some(state) => drop(sizes.insert(digest, state.size)),
                None => {
                    let problem = "does not hold the content it is named by".to_owned();
                    damage.push(Damage { path, problem, result: None });
                }
            }
        }
        Ok((sizes, damage))
    }

    fn verify_result(
        &self,
        path: &Path,
        sizes: &HashMap<Digest, u64>,
    ) -> Result<Vec<Damage>, StoreError> {
        let key = path.file_stem().and_then(|name| name.to_str()?.parse::<Key>().ok());
        let Some(key) = key else { return Ok(Vec::new()) };
        let damage = |path: &Path, problem: &str| Damage {
            path: path.to_owned(),
            problem: problem.to_owned(),
            result: Some(key),
        };
        let manifest = match self.read_manifest(&key)? {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(Vec::new()),
            Err(path) => {
                session::remove(&path)?;
                return Ok(vec![damage(&path, "is not the manifest that was written")]);
            }
        };
        let mut found = Vec::new();
        for (name, entry) in manifest.outputs.iter() {
            let size = match sizes.get(&entry.digest) {
                Some(size) => Some(*size),
                // It may have come since the objects were listed.
                None => self.read_object(&entry.digest)?.map(|state| state.size),
            };
            if size != Some(entry.size) {
                let problem = format!("is missing or damaged, and is `{name}` of a result");
                found.push(damage(&self.object(&entry.digest), &problem));
            }
        }
        if !found.is_empty() {
            session::remove(path)?;
        }
        Ok(found)
    }

    /// Reads the files of a tree and compares them with its name.
    fn verify_tree(&self, tree: &Path) -> Result<Option<Damage>, StoreError> {
        let name = tree.file_name().and_then(|name| name.to_str());
        let Some(name) = name.and_then(|name| name.parse::<Digest>().ok()) else { return Ok(None) };
        let sound = Walk::output(tree).files().and_then(|found| {
            let read = known::digest(found, &[], None, |path| join(tree, path))?;
            Ok(Listing::of(read.files).digest() == name)
        });
        match sound {
            Ok(true) => Ok(None),
            // Another process may have replaced it meanwhile.
            _ if !tree.exists() => Ok(None),
            Ok(false) | Err(StoreError::Unusable { .. } | StoreError::Changed(_)) => {
                self.discard_tree(tree)?;
                let problem = "was edited; it is laid out again when it is needed".to_owned();
                Ok(Some(Damage { path: tree.to_owned(), problem, result: None }))
            }
            Err(error) => Err(error),
        }
    }
}
