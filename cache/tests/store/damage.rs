//! What was edited, lost or broken is noticed, removed and made again.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache::{Lookup, Manifest, Store, StoreError};

use crate::making::{count, fingerprint, make, owned, read};

const FILES: [(&str, &str); 3] = [("a", "first"), ("b/c", "second"), ("b/d", "third")];

fn made() -> (tempfile::TempDir, Store, Manifest, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let made = make(&store, "x", &FILES);
    let tree = store.tree(&made).unwrap();
    (root, store, made, tree)
}

/// Writes to a file that is read-only.
pub(crate) fn overwrite(path: &Path, content: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
}

fn object(store: &Store, content: &str) -> PathBuf {
    let name = cache::Digest::of(content.as_bytes()).to_string();
    store.root().join("v1/objects").join(&name[..2]).join(&name[2..])
}

/// Damages a result, sees that it is noticed, and that making it again repairs it.
fn check(damage: impl Fn(&Store, &Manifest, &Path), expected: &[&str]) {
    let (_root, store, made, tree) = made();
    damage(&store, &made, &tree);
    let found = store.lookup(&made.key).unwrap();
    let Lookup::Damaged { paths } = found else { panic!("not noticed: {found:?}") };
    let expected: Vec<_> = expected.iter().map(|content| object(&store, content)).collect();
    assert_eq!(paths, expected);
    assert_eq!(store.lookup(&made.key).unwrap(), Lookup::Missing);

    let again = make(&store, "x", &FILES);
    assert_eq!(again, made);
    let found = store.lookup(&made.key).unwrap().found().unwrap();
    assert_eq!(read(&store.tree(&found).unwrap()), owned(&FILES));
    assert_eq!(count(&store, "objects"), 3);
}

#[test]
fn an_output_edited_by_hand_is_noticed() {
    check(|_, _, tree| overwrite(&tree.join("a"), "edited"), &["first"]);
}

#[test]
fn an_output_edited_keeping_size_and_time_is_noticed() {
    let edit = |_: &Store, _: &Manifest, tree: &Path| {
        let path = tree.join("b/c");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        overwrite(&path, "SECOND");
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    };
    check(edit, &["second"]);
}

#[test]
fn a_truncated_a_removed_and_a_replaced_object_are_noticed() {
    check(
        |store, _, _| {
            overwrite(&object(store, "first"), "");
            fs::remove_file(object(store, "second")).unwrap();
            fs::remove_file(object(store, "third")).unwrap();
            fs::write(object(store, "third"), "third!").unwrap();
        },
        &["first", "second", "third"],
    );
}

#[test]
fn a_broken_manifest_is_noticed() {
    let (root, store, made, _) = made();
    let path = root.path().join(format!("v1/results/{}.json", made.key));
    let broken = fs::read_to_string(&path).unwrap().replace("b/c", "b/e");
    fs::write(&path, broken).unwrap();
    assert_eq!(store.manifest(&made.key).unwrap(), None);
    assert_eq!(store.lookup(&made.key).unwrap(), Lookup::Damaged { paths: vec![path] });
    assert_eq!(store.lookup(&made.key).unwrap(), Lookup::Missing);
    assert_eq!(make(&store, "x", &FILES), made);
}

#[test]
fn a_tree_edited_by_hand_is_laid_out_again() {
    type Edit = fn(&Path);
    let edits: [Edit; 6] = [
        |tree| fs::remove_file(tree.join("a")).unwrap(),
        |tree| fs::write(tree.join("more"), "").unwrap(),
        // As `sed -i` does it.
        |tree| {
            fs::write(tree.join("new"), "edited").unwrap();
            fs::rename(tree.join("new"), tree.join("a")).unwrap();
        },
        |tree| fs::remove_dir_all(tree.join("b")).unwrap(),
        |tree| {
            fs::remove_file(tree.join("a")).unwrap();
            symlink("/", tree.join("a")).unwrap();
        },
        |tree| {
            fs::remove_dir_all(tree).unwrap();
            fs::write(tree, "").unwrap();
        },
    ];
    for edit in edits {
        let (_root, store, made, tree) = made();
        edit(&tree);
        let found = store.lookup(&made.key).unwrap().found().unwrap();
        assert_eq!(store.tree(&found).unwrap(), tree);
        assert_eq!(read(&tree), owned(&FILES));
    }
}

#[test]
fn a_tree_whose_objects_are_damaged_is_an_error_that_removes_the_result() {
    let (_root, store, made, tree) = made();
    overwrite(&tree.join("a"), "edited");
    let error = store.tree(&made).unwrap_err();
    let StoreError::Damaged { paths } = &error else { panic!("{error}") };
    assert_eq!(*paths, [object(&store, "first")]);
    assert_eq!(store.lookup(&made.key).unwrap(), Lookup::Missing);
    make(&store, "x", &FILES);
    assert_eq!(read(&store.tree(&made).unwrap()), owned(&FILES));
}

#[test]
fn a_damaged_object_is_not_taken_for_the_file_of_another_result() {
    let (_root, store, _, tree) = made();
    overwrite(&tree.join("a"), "edited");
    let other = make(&store, "y", &[("z", "first")]);
    assert_eq!(read(&store.tree(&other).unwrap()), owned(&[("z", "first")]));
    assert!(store.lookup(&other.key).unwrap().found().is_some());
    // The object is whole again, and so is the result that had it first, but for its tree.
    let first = store.lookup(&fingerprint("x").key()).unwrap().found().unwrap();
    assert_eq!(read(&store.tree(&first).unwrap()), owned(&FILES));
}

#[test]
fn a_broken_small_content_is_refused() {
    let (_root, store, ..) = made();
    let digest = store.put(b"text").unwrap();
    overwrite(&object(&store, "text"), "tent");
    assert!(matches!(store.get(&digest), Err(StoreError::Damaged { .. })));
    assert_eq!(store.get(&digest).unwrap(), None);
    assert_eq!(store.put(b"text").unwrap(), digest);
    assert_eq!(store.get(&digest).unwrap().unwrap(), b"text");
}

#[test]
fn verify_finds_what_no_time_and_no_size_tells() {
    let (root, store, made, tree) = made();
    let healthy = make(&store, "y", &[("e", "healthy")]);
    assert_eq!(store.verify(&|_| ()).unwrap(), []);

    overwrite(&object(&store, "first"), "FIRST");
    // Whoever could write to the disk itself could also make the table agree.
    fs::remove_dir_all(root.path().join("v1/tables")).unwrap();
    fs::create_dir(root.path().join("v1/tables")).unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let damage = store.verify(&|one| told.lock().unwrap().push(one)).unwrap();
    let lines: Vec<_> = damage.iter().map(|one| (one.path.clone(), one.result)).collect();
    assert_eq!(
        lines,
        [(object(&store, "first"), None), (object(&store, "first"), Some(made.key)), (tree, None)]
    );
    let told = told.into_inner().unwrap();
    assert!(told.iter().all(|one| one.total == 4), "{told:?}");
    assert_eq!(told.iter().map(|one| one.objects).max(), Some(4));
    assert_eq!(store.verify(&|_| ()).unwrap(), []);
    assert_eq!(store.lookup(&made.key).unwrap(), Lookup::Missing);
    assert!(store.lookup(&healthy.key).unwrap().found().is_some());
}
