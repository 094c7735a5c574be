//! Results that are there: whole, and with their files laid out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::fingerprint::Key;
use crate::listing::Listing;
use crate::manifest::Manifest;
use crate::recall::{Links, Remembered, Table};
use crate::state::State;
use crate::store::{Lookup, Store};
use crate::walk::join;

/// Results of more files than this have tables of their own, which need not be written anew for others.
const MOST_FILES: usize = 64;

/// A whole result, whose files lie in a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// What it is called.
    pub key: Key,
    /// Its files.
    pub outputs: Listing,
    /// Figures by name.
    pub measures: BTreeMap<String, f64>,
    /// Where the files are, read-only.
    pub tree: PathBuf,
}

impl Present {
    /// Returns what is worth knowing of a result whose files are in `tree`.
    #[must_use]
    pub fn new(manifest: &Manifest, tree: PathBuf) -> Self {
        let Manifest { key, outputs, measures, .. } = manifest;
        Self { key: *key, outputs: outputs.clone(), measures: measures.clone(), tree }
    }
}

/// What [`Store::present`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    /// The result was never made, or has been removed.
    Missing,
    /// As [`Lookup::Damaged`].
    Damaged {
        /// Files in the store.
        paths: Vec<PathBuf>,
    },
    /// The result is whole and laid out.
    Here(Arc<Present>),
}

/// What is known of the results of a pipeline, from before and from now.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    before: Table,
    /// Whether the links are where they were.
    links_hold: bool,
    /// The state of the directory of the links as the run began, if later writes are bound to change it.
    directory: Option<State>,
    found: HashMap<Key, Arc<Remembered>>,
    links: BTreeMap<String, (Key, Digest)>,
}

impl Recall {
    /// Notes that the links of a step lead there.
    pub(crate) fn note_links(&mut self, step: &str, to: (Key, Digest)) {
        self.links.insert(step.to_owned(), to);
    }

    /// Returns whether the links of a step are known to lead there, with no need to look.
    pub(crate) fn leads(&self, step: &str, to: (Key, Digest)) -> bool {
        let links = self.before.links.as_ref().filter(|_| self.links_hold);
        links.is_some_and(|links| links.targets.get(step) == Some(&to))
    }
}

impl Store {
    /// Remembers what the last run found of the results of a pipeline, to be called before they are looked for.
    pub fn recall(&self, pipeline: &str) {
        let path = self.recall_table(pipeline);
        let tree = |listing: &Digest| self.trees().join(listing.to_string());
        let before = match fs::read(&path) {
            Ok(bytes) => Table::decode(&bytes, tree).unwrap_or_else(|| {
                tracing::warn!("{} is broken: results are read again", path.display());
                Table::default()
            }),
            // What cannot be read is no worse than what was never written.
            Err(_) => Table::default(),
        };
        let now = SystemTime::now();
        let directory = state_of(&self.links_of(pipeline));
        let links_hold =
            before.links.as_ref().is_some_and(|links| Some(links.directory) == directory);
        let directory = directory.filter(|state| state.settled(now));
        *self.recalled() = Recall { before, links_hold, directory, ..Recall::default() };
    }

    /// Writes down what this run found, for the next; all of the pipeline's results if it looked at the `whole`.
    pub fn keep_recall(&self, pipeline: &str, whole: bool) {
        let Recall { before, links_hold, directory, found, links } =
            std::mem::take(&mut *self.recalled());
        let unmoved = directory.is_some() && directory == state_of(&self.links_of(pipeline));
        let mut targets = if whole || !links_hold {
            BTreeMap::new()
        } else {
            before.links.as_ref().map(|links| links.targets.clone()).unwrap_or_default()
        };
        targets.extend(links);
        let links = directory.filter(|_| unmoved).map(|directory| Links { directory, targets });
        let mut results = if whole { HashMap::new() } else { before.results.clone() };
        // One made anew has the key of what it replaces.
        let known = |key, now| before.results.get(key).is_some_and(|old| Arc::ptr_eq(old, now));
        let fresh = found.iter().filter(|(key, now)| !known(*key, *now));
        let objects = fresh.clone().flat_map(|(_, remembered)| remembered.present.outputs.iter());
        let (mut paths, _) = self.not_durable(objects.map(|(_, entry)| (entry.digest, false)));
        paths.extend(fresh.map(|(key, _)| self.result(key)));
        // Once remembered they are not read, so it must not be memory alone that holds them.
        let durable = self.disk.sync(&Vec::from_iter(paths)).is_ok();
        results.extend(found);
        let table = Table { links, results };
        if durable && table != before {
            self.remember_bytes(&self.recall_table(pipeline), &table.encode());
        }
    }

    /// Looks for the result of `key`, as [`Store::lookup`] does, and lays out its files.
    ///
    /// What [`Store::recall`] remembers and is in the same state is not read.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the files cannot be laid out.
    pub fn present(&self, key: &Key) -> Result<Presence, StoreError> {
        let _operation = self.enter()?;
        let remembered = self.recalled().before.results.get(key).cloned();
        if let Some(remembered) = remembered
            && self.is_as_it_was(&remembered)
        {
            self.pin(key.digest());
            let present = Arc::clone(&remembered.present);
            self.recalled().found.insert(*key, remembered);
            return Ok(Presence::Here(present));
        }
        let now = SystemTime::now();
        let mut seen = None;
        // Looked at before it is read, so that a later change shows.
        let record = match fs::symlink_metadata(self.result(key)) {
            Ok(metadata) => Some(State::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Missing),
            // Reading it tells what is wrong.
            Err(_) => None,
        };
        let lookup = self.lookup_after(key, |manifest| {
            seen = record.and_then(|record| self.see(manifest, record));
        });
        let manifest = match lookup? {
            Lookup::Found(manifest) => manifest,
            Lookup::Missing => return Ok(Presence::Missing),
            Lookup::Damaged { paths } => return Ok(Presence::Damaged { paths }),
        };
        let tree = match self.tree(&manifest) {
            Ok(tree) => tree,
            Err(StoreError::Damaged { paths }) => return Ok(Presence::Damaged { paths }),
            Err(error) => return Err(error),
        };
        if let Some(seen) = seen.filter(|seen| seen.states().all(|state| state.settled(now))) {
            let present = Arc::clone(&seen.present);
            self.recalled().found.insert(*key, Arc::new(seen));
            return Ok(Presence::Here(present));
        }
        Ok(Presence::Here(Arc::new(Present::new(&manifest, tree))))
    }

    /// Looks at the files of a result without reading them; none when they are many, or one is not there.
    fn see(&self, manifest: &Manifest, record: State) -> Option<Remembered> {
        let outputs = &manifest.outputs;
        if outputs.len() > MOST_FILES {
            return None;
        }
        let tree = self.trees().join(outputs.digest().to_string());
        let mut paths = BTreeSet::from([""]);
        for (path, _) in outputs.iter() {
            paths.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
        }
        let directories =
            paths.into_iter().map(|path| Some((path.to_owned(), state_of(&join(&tree, path))?)));
        let files = outputs.iter().map(|(path, entry)| {
            let object = state_of(&self.object(&entry.digest))?;
            let laid_out = state_of(&join(&tree, path))?;
            Some((object, Some(laid_out).filter(|laid_out| *laid_out != object)))
        });
        Some(Remembered {
            manifest: record,
            files: files.collect::<Option<_>>()?,
            directories: directories.collect::<Option<_>>()?,
            present: Arc::new(Present::new(manifest, tree)),
        })
    }

    /// Returns whether every file and directory of a result is in the state in which it was.
    fn is_as_it_was(&self, remembered: &Remembered) -> bool {
        let Remembered { present, manifest, files, directories } = remembered;
        let tree = &present.tree;
        state_of(&self.result(&present.key)) == Some(*manifest)
            // As long as a directory is what it was, so is which files its names stand for.
            && directories.iter().all(|(path, state)| state_of(&join(tree, path)) == Some(*state))
            && present.outputs.iter().zip(files).all(|((path, entry), (object, copy))| {
                state_of(&self.object(&entry.digest)) == Some(*object)
                    && copy.is_none_or(|copy| state_of(&join(tree, path)) == Some(copy))
            })
    }

    fn recall_table(&self, pipeline: &str) -> PathBuf {
        self.tables().join(format!("results-{pipeline}"))
    }
}

impl Remembered {
    fn states(&self) -> impl Iterator<Item = &State> {
        let files = self.files.iter().flat_map(|(object, copy)| [Some(object), copy.as_ref()]);
        let directories = self.directories.iter().map(|(_, state)| state);
        files.flatten().chain(directories).chain([&self.manifest])
    }
}

fn state_of(path: &Path) -> Option<State> {
    fs::symlink_metadata(path).ok().map(|metadata| State::of(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::manifest::Record;
    use std::ops::ControlFlow;
    use std::time::Duration;

    const STEPS: [&str; 2] = ["a", "b"];

    fn fingerprint(step: &str) -> Fingerprint {
        let mut fingerprint = Fingerprint::new();
        fingerprint.insert("kind", step);
        fingerprint
    }

    fn make(store: &Store, step: &str) {
        let key = fingerprint(step).key();
        let lock = store.lock(&key, &mut || ControlFlow::Break(())).unwrap().unwrap();
        let pending = store.begin(lock).unwrap();
        fs::create_dir(pending.out().join("sub")).unwrap();
        for name in ["x", "sub/y"] {
            fs::write(pending.out().join(name), format!("{step} {name}")).unwrap();
        }
        let record = Record {
            fingerprint: fingerprint(step),
            measures: BTreeMap::from([("loss".to_owned(), 0.5)]),
            facts: serde_json::Value::Null,
        };
        store.commit(pending, record).unwrap();
    }

    /// Looks at every step as a run does; returns which had to be read, and which are damaged or missing.
    fn run(root: &Path) -> (Vec<&'static str>, Vec<&'static str>) {
        let store = Store::open(root).unwrap();
        store.recall("p");
        let (mut read, mut lost) = (Vec::new(), Vec::new());
        for step in STEPS {
            let key = fingerprint(step).key();
            let before = store.recalled().before.results.get(&key).cloned();
            match store.present(&key).unwrap() {
                Presence::Here(here) => {
                    let files = ["x", "sub/y"]
                        .map(|name| fs::read_to_string(here.tree.join(name)).unwrap());
                    assert_eq!(files, ["x", "sub/y"].map(|name| format!("{step} {name}")));
                    assert_eq!(here.measures["loss"], 0.5);
                    store.set_latest("p", step, &key, &here.outputs).unwrap();
                    let same = before.is_some_and(|before| Arc::ptr_eq(&before.present, &here));
                    read.extend((!same).then_some(step));
                }
                Presence::Missing | Presence::Damaged { .. } => lost.push(step),
            }
            let link = store.links_of("p").join(step);
            assert!(lost.contains(&step) || link.join("x").is_file());
        }
        store.keep_recall("p", true);
        (read, lost)
    }

    #[test]
    fn what_did_not_change_is_not_read_and_every_change_shows() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let all = || STEPS.to_vec();
        let settle = || std::thread::sleep(Duration::from_millis(60));
        let fresh = || {
            let store = Store::open(root).unwrap();
            STEPS.iter().for_each(|step| make(&store, step));
            drop(store);
            run(root);
            settle();
            run(root);
            assert_eq!(run(root), (vec![], vec![]), "nothing is read");
        };
        fresh();
        let store = Store::open(root).unwrap();
        let Presence::Here(here) = store.present(&fingerprint("a").key()).unwrap() else {
            panic!()
        };
        let object = store.object(&here.outputs.get("x").unwrap().digest);
        let (record, link) = (store.result(&here.key), store.links_of("p").join("a"));
        let table = store.recall_table("p");
        drop(store);
        let overwrite = |path: &Path| {
            let mut permissions = fs::metadata(path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
            fs::set_permissions(path, permissions).unwrap();
            fs::write(path, "other").unwrap();
        };
        let replace = |path: &Path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "other").unwrap();
        };

        // The object itself: the other names of it show it, too.
        overwrite(&object);
        assert_eq!(run(root), (vec![], vec!["a"]));
        fresh();
        fs::remove_file(&object).unwrap();
        assert_eq!(run(root), (vec![], vec!["a"]));
        fresh();
        overwrite(&record);
        assert_eq!(run(root), (vec![], vec!["a"]));
        fresh();
        fs::remove_file(&record).unwrap();
        assert_eq!(run(root), (vec![], vec!["a"]));
        fresh();
        // The tree is laid out again.
        for name in ["x", "sub/y"] {
            replace(&here.tree.join(name));
            assert_eq!(run(root), (vec!["a"], vec![]));
            fresh();
        }
        fs::write(here.tree.join("sub/stray"), "").unwrap();
        assert_eq!(run(root), (vec!["a"], vec![]));
        assert!(!here.tree.join("sub/stray").exists());
        fresh();
        // A link that could not be made is not remembered.
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        let store = Store::open(root).unwrap();
        settle();
        store.recall("p");
        store.set_latest("p", "a", &here.key, &here.outputs).unwrap_err();
        store.keep_recall("p", true);
        drop(store);
        fs::remove_dir(&link).unwrap();
        assert_eq!(run(root).1, [""; 0]);
        assert_eq!(fs::read_to_string(link.join("x")).unwrap(), "a x");
        fresh();
        // Links that were moved are put back.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("b", &link).unwrap();
        assert_eq!(run(root), (vec![], vec![]));
        assert_eq!(fs::read_to_string(link.join("x")).unwrap(), "a x");
        fs::write(&table, "piperec1 and nothing right").unwrap();
        assert_eq!(run(root), (all(), vec![]));
    }
}
