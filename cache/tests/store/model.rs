//! Random operations, compared with what a simple model says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache::{Digest, GcOptions, Lookup, Store, StoreError};
use proptest::prelude::*;

use crate::damage::overwrite;
use crate::making::{fingerprint, make, owned, read};

/// Results by number: some share content, two are equal, one is empty.
const RESULTS: [&[(&str, &str)]; 5] = [
    &[("a", "one"), ("b", "two")],
    &[("a", "one"), ("b", "two")],
    &[("a", "two"), ("c/d", "three"), ("c/e", "three")],
    &[("z", "one")],
    &[],
];

#[derive(Clone, Debug)]
enum Operation {
    Make(usize),
    Look(usize),
    Tree(usize),
    Latest(usize),
    Forget(usize),
    /// Writes into a file of a tree, which is a link to an object.
    EditTree(usize, bool),
    RemoveTree(usize),
    RemoveFromTree(usize),
    RemoveObject(&'static str),
    ReplaceObject(&'static str),
    BreakManifest(usize),
    LoseTables,
    Verify,
    Collect,
    Reopen,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    use Operation::*;
    let result = 0..RESULTS.len();
    let content = prop::sample::select(vec!["one", "two", "three"]);
    let operation = prop_oneof![
        6 => result.clone().prop_map(Make),
        4 => result.clone().prop_map(Look),
        4 => result.clone().prop_map(Tree),
        2 => result.clone().prop_map(Latest),
        1 => result.clone().prop_map(Forget),
        2 => (result.clone(), any::<bool>()).prop_map(|(result, times)| EditTree(result, times)),
        1 => result.clone().prop_map(RemoveTree),
        1 => result.clone().prop_map(RemoveFromTree),
        1 => content.clone().prop_map(RemoveObject),
        1 => content.prop_map(ReplaceObject),
        1 => result.prop_map(BreakManifest),
        1 => Just(LoseTables),
        1 => Just(Verify),
        1 => Just(Collect),
        1 => Just(Reopen),
    ];
    prop::collection::vec(operation, 1..24)
}

/// The store and what must be in it.
struct Model {
    root: tempfile::TempDir,
    store: Store,
    /// The results made and not removed since; false when the manifest is broken.
    made: BTreeMap<usize, bool>,
    latest: BTreeSet<usize>,
}

impl Model {
    fn object(&self, content: &str) -> PathBuf {
        let name = Digest::of(content.as_bytes()).to_string();
        self.root.path().join("v1/objects").join(&name[..2]).join(&name[2..])
    }

    /// Reads the bytes: tables and times must never lead to another answer.
    fn sound(&self, content: &str) -> bool {
        fs::read_to_string(self.object(content)).is_ok_and(|stored| stored == content)
    }

    fn whole(&self, number: usize) -> bool {
        RESULTS[number].iter().all(|(_, content)| self.sound(content))
    }

    fn key(number: usize) -> cache::Key {
        fingerprint(&number.to_string()).key()
    }

    fn tree_of(&self, number: usize) -> Option<PathBuf> {
        let manifest = self.store.manifest(&Self::key(number)).unwrap()?;
        let tree = self.root.path().join("v1/trees").join(manifest.outputs.digest().to_string());
        tree.exists().then_some(tree)
    }

    /// Looks a result up and compares with the model, which then forgets what was damaged.
    fn look(&mut self, number: usize) -> Option<cache::Manifest> {
        let expected = self.made.get(&number).map(|readable| *readable && self.whole(number));
        match (self.store.lookup(&Self::key(number)).unwrap(), expected) {
            (Lookup::Missing, None) => None,
            (Lookup::Damaged { .. }, Some(false)) => {
                self.made.remove(&number);
                None
            }
            (Lookup::Found(manifest), Some(true)) => Some(*manifest),
            (found, expected) => panic!("result {number}: found {found:?}, expected {expected:?}"),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Make(number) => {
                make(&self.store, &number.to_string(), RESULTS[number]);
                self.made.insert(number, true);
                assert!(self.look(number).is_some());
            }
            Operation::Look(number) => drop(self.look(number)),
            Operation::Tree(number) => {
                let Some(manifest) = self.store.manifest(&Self::key(number)).unwrap() else {
                    return;
                };
                let whole = self.whole(number);
                match self.store.tree(&manifest) {
                    Ok(tree) => assert_eq!(read(&tree), owned(RESULTS[number])),
                    Err(StoreError::Damaged { .. }) => {
                        assert!(!whole, "a whole result has a tree");
                        self.made.remove(&number);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Operation::Latest(number) => {
                if let Some(manifest) = self.look(number) {
                    self.store
                        .set_latest("model", &number.to_string(), &manifest.key, &manifest.outputs)
                        .unwrap();
                    self.latest.insert(number);
                }
            }
            Operation::Forget(number) => {
                self.store.forget("model", &number.to_string()).unwrap();
                self.latest.remove(&number);
            }
            Operation::EditTree(number, keep_time) => {
                let Some(tree) = self.tree_of(number) else { return };
                for (path, content) in RESULTS[number].iter().take(1) {
                    edit(&tree.join(path), content, keep_time);
                }
            }
            Operation::RemoveTree(number) => {
                if let Some(tree) = self.tree_of(number) {
                    fs::remove_dir_all(tree).unwrap();
                }
            }
            Operation::RemoveFromTree(number) => {
                if let (Some(tree), Some((path, _))) =
                    (self.tree_of(number), RESULTS[number].first())
                {
                    let _ = fs::remove_file(tree.join(path));
                }
            }
            Operation::RemoveObject(content) => drop(fs::remove_file(self.object(content))),
            Operation::ReplaceObject(content) => {
                if fs::remove_file(self.object(content)).is_ok() {
                    fs::write(self.object(content), content.to_uppercase()).unwrap();
                }
            }
            Operation::BreakManifest(number) => {
                let path = self.root.path().join(format!("v1/results/{}.json", Self::key(number)));
                if let Ok(mut bytes) = fs::read(&path) {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&path, bytes).unwrap();
                    self.made
                        .insert(number, self.store.manifest(&Self::key(number)).unwrap().is_some());
                }
            }
            Operation::LoseTables => {
                let tables = self.root.path().join("v1/tables");
                for table in fs::read_dir(tables).unwrap() {
                    fs::remove_file(table.unwrap().path()).unwrap();
                }
            }
            Operation::Verify => {
                let broken: Vec<usize> =
                    (0..RESULTS.len()).filter(|n| self.made.contains_key(n)).collect();
                let broken: Vec<usize> =
                    broken.into_iter().filter(|n| !(self.made[n] && self.whole(*n))).collect();
                let damage = self.store.verify(&|_| ()).unwrap();
                let told: BTreeSet<_> = damage.iter().filter_map(|one| one.result).collect();
                assert_eq!(told, broken.iter().map(|n| Self::key(*n)).collect());
                self.made.retain(|number, _| !broken.contains(number));
                assert_eq!(self.store.verify(&|_| ()).unwrap(), []);
            }
            Operation::Collect => {
                std::thread::sleep(Duration::from_millis(15));
                let options = GcOptions { keep: Duration::ZERO, dry_run: false };
                self.store.gc(&options, &mut || ControlFlow::Break(())).unwrap();
                self.made.retain(|number, readable| *readable && self.latest.contains(number));
                let needed = self.made.keys().flat_map(|number| RESULTS[*number]);
                let needed: BTreeSet<_> = needed.map(|(_, content)| *content).collect();
                for content in ["one", "two", "three"] {
                    let gone = !self.object(content).exists();
                    assert!(gone || needed.contains(content), "{content} is needed by nobody");
                }
            }
            Operation::Reopen => {
                // The old one is closed only after the new one is open, as with two processes.
                self.store = Store::open(self.root.path()).unwrap();
            }
        }
    }
}

/// Changes a file in place, its size the same; `keep_time` restores its time as well.
fn edit(path: &Path, content: &str, keep_time: bool) {
    let Ok(metadata) = fs::metadata(path) else { return };
    // Two writes within one tick of the clock could not be told apart by any time.
    std::thread::sleep(Duration::from_millis(15));
    overwrite(path, &content.to_uppercase());
    if keep_time {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(metadata.modified().unwrap()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_the_model_says(operations in operations()) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let mut model = Model { root, store, made: BTreeMap::new(), latest: BTreeSet::new() };
        for operation in &operations {
            model.apply(operation);
        }
        for (number, files) in RESULTS.iter().enumerate() {
            if let Some(manifest) = model.look(number) {
                prop_assert_eq!(read(&model.store.tree(&manifest).unwrap()), owned(files));
            }
        }
    }
}
