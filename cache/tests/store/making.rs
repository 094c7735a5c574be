//! Results are made once, found again and laid out.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use cache::{Digest, Fingerprint, Lookup, Manifest, Pending, Record, Store};

/// Names a result by one word.
pub(crate) fn fingerprint(name: &str) -> Fingerprint {
    let mut fingerprint = Fingerprint::new();
    fingerprint.insert("kind", "test");
    fingerprint.insert("param.name", name);
    fingerprint
}

/// Starts to make a result that nobody else makes.
pub(crate) fn begin(store: &Store, name: &str) -> Pending {
    let key = fingerprint(name).key();
    let lock = store.lock(&key, &mut || ControlFlow::Break(())).unwrap();
    store.begin(lock.expect("nobody else makes it")).unwrap()
}

/// Says that a result consists of what is in its directory.
pub(crate) fn record(name: &str) -> Record {
    Record {
        fingerprint: fingerprint(name),
        measures: [("accuracy".to_owned(), 0.5)].into(),
        facts: serde_json::json!({ "step": name }),
    }
}

/// Makes a result of these files.
pub(crate) fn make(store: &Store, name: &str, files: &[(&str, &str)]) -> Manifest {
    let pending = begin(store, name);
    write(pending.out(), files);
    store.commit(pending, record(name)).unwrap()
}

/// Writes files with the directories they are in.
pub(crate) fn write(directory: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Returns every file below a directory with its content, sorted.
pub(crate) fn read(directory: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = walkdir::WalkDir::new(directory)
        .follow_links(true)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| {
            let path = entry.path().strip_prefix(directory).unwrap();
            (path.to_str().unwrap().to_owned(), fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Returns files as [`read`] does.
pub(crate) fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
}

/// Returns how many files there are below a directory of the store.
pub(crate) fn count(store: &Store, directory: &str) -> usize {
    read(&store.root().join("v1").join(directory)).len()
}

#[test]
fn a_result_is_found_again_and_laid_out() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let files = [("a", "1"), ("b/c", "2"), ("b/d", "1")];
    assert_eq!(store.lookup(&fingerprint("x").key()).unwrap(), Lookup::Missing);
    let made = make(&store, "x", &files);
    assert_eq!(
        count(&store, "tmp"),
        2,
        "nothing but the sign that the process lives, and its pins"
    );
    drop(store);
    assert_eq!(fs::read_dir(root.path().join("v1/tmp")).unwrap().count(), 0);

    let store = Store::open(root.path()).unwrap();
    let found = store.lookup(&fingerprint("x").key()).unwrap().found().unwrap();
    assert_eq!(found, made);
    let tree = store.tree(&found).unwrap();
    assert_eq!(read(&tree), owned(&files));
    assert_eq!(store.tree(&found).unwrap(), tree);
    assert_eq!(count(&store, "objects"), 2, "equal content is stored once");
    let a = fs::metadata(tree.join("a")).unwrap();
    assert_eq!(a.ino(), fs::metadata(tree.join("b/d")).unwrap().ino());
    assert_eq!(a.permissions().mode() & 0o777, 0o444);
}

#[test]
fn a_try_that_failed_leaves_scratch_and_log_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let key = fingerprint("x").key();
    let pending = begin(&store, "x");
    write(pending.out(), &[("half", "done")]);
    write(pending.scratch(), &[("checkpoint", "7")]);
    fs::write(pending.log_path(), "it failed").unwrap();
    drop(pending);
    assert_eq!(store.lookup(&key).unwrap(), Lookup::Missing);
    assert_eq!(fs::read_to_string(store.unfinished_log(&key).unwrap()).unwrap(), "it failed");
    assert_eq!(count(&store, "objects"), 0);

    let pending = begin(&store, "x");
    assert_eq!(read(pending.out()), []);
    assert_eq!(read(pending.scratch()), owned(&[("checkpoint", "7")]));
    assert_eq!(store.unfinished_log(&key), None, "a new try starts a new log");
    fs::write(pending.log_path(), "it worked").unwrap();
    let scratch = pending.scratch().to_owned();
    let made = store.commit(pending, record("x")).unwrap();
    assert!(!scratch.exists());
    assert_eq!(store.unfinished_log(&key), None);
    assert_eq!(store.get(&made.log.unwrap()).unwrap().unwrap(), b"it worked");
    assert!(made.outputs.is_empty());
    assert_eq!(read(&store.tree(&made).unwrap()), []);
}

#[test]
fn executable_files_stay_so_and_share_nothing_with_those_that_are_not() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let pending = begin(&store, "x");
    write(pending.out(), &[("plain", "#!"), ("run", "#!")]);
    fs::set_permissions(pending.out().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    let made = store.commit(pending, record("x")).unwrap();
    let tree = store.tree(&made).unwrap();
    let mode = |name| fs::metadata(tree.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("plain"), mode("run")], [0o444, 0o555]);
    assert_eq!(count(&store, "objects"), 1);
    assert_eq!(store.scan(&tree).unwrap(), made.outputs);
}

#[test]
fn links_to_files_are_their_content_and_other_names_are_not_sealed() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), &[("soft", "1"), ("hard", "2")]);
    let pending = begin(&store, "x");
    symlink(outside.path().join("soft"), pending.out().join("a")).unwrap();
    fs::hard_link(outside.path().join("hard"), pending.out().join("b")).unwrap();
    let made = store.commit(pending, record("x")).unwrap();
    write(outside.path(), &[("soft", "changed"), ("hard", "changed")]);
    assert_eq!(read(&store.tree(&made).unwrap()), owned(&[("a", "1"), ("b", "2")]));
    assert!(store.lookup(&made.key).unwrap().found().is_some());
}

#[test]
fn outputs_that_are_no_files_are_refused_and_nothing_is_stored() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let check = |target: &str, expected: &str| {
        let pending = begin(&store, "x");
        symlink(target, pending.out().join("bad")).unwrap();
        let error = store.commit(pending, record("x")).unwrap_err().to_string();
        assert!(error.contains("out/bad") && error.contains(expected), "{error}");
        assert_eq!(store.lookup(&fingerprint("x").key()).unwrap(), Lookup::Missing);
    };
    check("/", "is a link to a directory; write the files themselves");
    check("nowhere", "cannot follow the link");
    check("/dev/null", "is neither a file nor a directory");
}

#[test]
fn small_contents_are_kept_by_digest() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let digest = store.put(b"text").unwrap();
    assert_eq!(digest, store.put(b"text").unwrap());
    assert_eq!(store.get(&digest).unwrap().unwrap(), b"text");
    assert_eq!(store.get(&Digest::of(b"other")).unwrap(), None);
    let made = make(&store, "x", &[("a", "1")]);
    let listing = store.put_listing(&made.outputs).unwrap();
    assert_eq!(listing, made.outputs.digest());
    assert_eq!(store.get_listing(&listing).unwrap().unwrap(), made.outputs);
}

#[test]
fn the_latest_result_of_a_step_is_a_link_to_its_files() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.latest("verify", "train").unwrap(), None);
    for content in ["1", "2"] {
        let made = make(&store, content, &[("a", content)]);
        store.tree(&made).unwrap();
        store.set_latest("verify", "train", &made.key, &made.outputs).unwrap();
        assert_eq!(store.latest("verify", "train").unwrap(), Some(made));
        assert_eq!(read(&root.path().join("latest/verify/train")), owned(&[("a", content)]));
    }
    let all = store.latest_of_all().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].key, fingerprint("2").key());
    for name in ["", "..", "a/b"] {
        assert!(store.latest("verify", name).is_err(), "{name:?}");
    }
    store.forget("verify", "train").unwrap();
    assert_eq!(store.latest("verify", "train").unwrap(), None);
}

#[test]
fn version_control_ignores_a_store_but_a_file_of_the_user_stays() {
    for own in [None, Some("/target/\n")] {
        let root = tempfile::tempdir().unwrap();
        let ignore = root.path().join(".gitignore");
        if let Some(own) = own {
            fs::write(&ignore, own).unwrap();
        }
        Store::open(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&ignore).unwrap(), own.unwrap_or("*\n"));
    }
}

#[test]
fn a_link_into_a_result_is_that_file_as_it_is_now() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let first = make(&store, "first", &[("a", "kept"), ("d/b", "edited later")]);
    let tree = store.tree(&first).unwrap();
    let again = |name: &str| {
        let pending = begin(&store, name);
        symlink(tree.join("a"), pending.out().join("x")).unwrap();
        symlink(tree.join("d/b"), pending.out().join("y")).unwrap();
        let manifest = store.commit(pending, record(name)).unwrap();
        read(&store.tree(&manifest).unwrap())
    };
    let files = |b: &str| vec![("x".to_owned(), "kept".to_owned()), ("y".to_owned(), b.to_owned())];
    assert_eq!(again("second"), files("edited later"));
    let edited = tree.join("d/b");
    fs::set_permissions(&edited, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&edited, "edited now  ").unwrap();
    assert_eq!(again("third"), files("edited now  "), "the same size, no longer the same content");
}
