//! Garbage is collected; what is needed stays.

use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use cache::{GcOptions, GcReport, Lookup, Record, Store, StoreError};

use crate::making::{begin, count, fingerprint, make, owned, read, record, write};

const NOTHING: GcOptions = GcOptions { keep: Duration::ZERO, dry_run: false };

fn collect(store: &Store, options: GcOptions) -> GcReport {
    // A result is old once the clock has gone on.
    std::thread::sleep(Duration::from_millis(20));
    store.gc(&options, &mut || ControlFlow::Break(())).unwrap()
}

#[test]
fn what_latest_leads_to_is_kept_with_all_it_mentions() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let mentioned = [store.put(b"in the fingerprint").unwrap(), store.put(b"in facts").unwrap()];
    let mut named = fingerprint("kept");
    named.insert("read.images", mentioned[0].to_string());
    let lock = store.lock(&named.key(), &mut || ControlFlow::Break(())).unwrap().unwrap();
    let pending = store.begin(lock).unwrap();
    write(pending.out(), &[("a", "shared"), ("b", "own")]);
    fs::write(pending.log_path(), "log").unwrap();
    let facts = serde_json::json!({ "nested": [{ "digest": mentioned[1] }] });
    let kept = Record { fingerprint: named, measures: [].into(), facts };
    let kept = store.commit(pending, kept).unwrap();
    store.tree(&kept).unwrap();
    store.set_latest("verify", "train", &kept).unwrap();
    let gone = make(&store, "gone", &[("a", "shared"), ("b", "other")]);
    store.tree(&gone).unwrap();
    store.put(b"mentioned by nobody").unwrap();

    let before = read(&root.path().join("v1/objects")).len();
    let dry = collect(&store, GcOptions { dry_run: true, ..NOTHING });
    assert_eq!(read(&root.path().join("v1/objects")).len(), before, "a dry run removes nothing");
    assert!(store.lookup(&gone.key).unwrap().found().is_some());

    let report = collect(&store, NOTHING);
    assert_eq!(report, dry, "a dry run tells what would be removed");
    assert_eq!((report.results.as_slice(), report.kept), ([gone.key].as_slice(), 1));
    assert_eq!(report.removed.objects.count, 2, "`other`, and what nobody mentions");
    assert_eq!(report.removed.objects.bytes, 5 + 19);
    assert_eq!(report.removed.trees.count, 1);
    assert_eq!(store.lookup(&gone.key).unwrap(), Lookup::Missing);
    let found = store.lookup(&kept.key).unwrap().found().unwrap();
    assert_eq!(found, kept);
    assert_eq!(read(&store.tree(&kept).unwrap()), owned(&[("a", "shared"), ("b", "own")]));
    assert_eq!(store.get(&kept.log.unwrap()).unwrap().unwrap(), b"log");
    for digest in mentioned {
        assert!(store.get(&digest).unwrap().is_some());
    }
    assert_eq!(store.verify(&|_| ()).unwrap(), []);
    let nothing_left = collect(&store, NOTHING);
    assert_eq!(nothing_left, GcReport { kept: 1, ..GcReport::default() });
}

#[test]
fn young_results_and_tries_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let young = make(&store, "young", &[("a", "1")]);
    let failed = begin(&store, "failed");
    write(failed.scratch(), &[("checkpoint", "7")]);
    fs::write(failed.log_path(), "log").unwrap();
    drop(failed);
    let day = GcOptions { keep: Duration::from_secs(86_400), dry_run: false };
    assert_eq!(collect(&store, day).removed, cache::Sizes::default());
    assert!(store.lookup(&young.key).unwrap().found().is_some());
    assert_eq!(read(begin(&store, "failed").scratch()), owned(&[("checkpoint", "7")]));

    let report = collect(&store, NOTHING);
    assert_eq!(report.removed.scratch.count, 1, "the log was that of the try before");
    assert_eq!(report.removed.scratch.bytes, 1);
    for directory in ["objects", "results", "scratch", "logs", "tables", "trees", "locks"] {
        assert_eq!(count(&store, directory), 0, "{directory}");
    }
}

#[test]
fn a_store_in_use_is_not_collected() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    make(&store, "x", &[("a", "1")]);
    let other = Store::open(root.path()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut asked = 0;
    let refused = store.gc(&NOTHING, &mut || {
        asked += 1;
        if asked < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(refused, Err(StoreError::InUse(path)) if path == root.path()));
    assert_eq!(asked, 3);
    assert!(other.lookup(&fingerprint("x").key()).unwrap().found().is_some());
    drop(other);
    assert_eq!(collect(&store, NOTHING).results.len(), 1);
    // Having had the store alone, it is shared again.
    Store::open(root.path()).unwrap();
}

#[test]
fn tables_of_directories_that_are_gone_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("store")).unwrap();
    for name in ["here", "gone"] {
        write(&root.path().join(name), &[("a", "1")]);
        std::thread::sleep(Duration::from_millis(80));
        store.scan(&root.path().join(name)).unwrap();
    }
    fs::remove_dir_all(root.path().join("gone")).unwrap();
    assert_eq!(collect(&store, NOTHING).removed.tables.count, 1);
    assert_eq!(store.size().unwrap().tables.count, 1);
}

#[test]
fn room_is_told_by_class() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let made = make(&store, "x", &[("a", "12345"), ("b", "12345"), ("c", "")]);
    store.tree(&made).unwrap();
    let pending = begin(&store, "y");
    write(pending.scratch(), &[("checkpoint", "123")]);
    let sizes = store.size().unwrap();
    assert_eq!((sizes.objects.count, sizes.objects.bytes), (2, 5));
    assert_eq!((sizes.trees.count, sizes.trees.bytes), (1, 0), "links take no room");
    assert_eq!((sizes.scratch.count, sizes.scratch.bytes), (1, 3));
    assert_eq!(sizes.results.count, 1);
    assert_eq!(store.commit(pending, record("y")).unwrap().outputs.len(), 0);
    assert_eq!(store.size().unwrap().scratch, cache::Class::default());
}
