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
    store.set_latest("verify", "train", &kept.key, &kept.outputs).unwrap();
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

#[test]
fn what_is_being_made_stays_with_what_it_is_made_from() {
    let root = tempfile::tempdir().unwrap();
    let run = Store::open(root.path()).unwrap();
    let input = make(&run, "input", &[("a", "1")]);
    let tree = run.tree(&input).unwrap();
    let other = make(&run, "other", &[("a", "2")]);
    let collector = Store::open(root.path()).unwrap();
    let training = begin(&run, "training");
    write(training.scratch(), &[("checkpoint", "7")]);
    write(training.out(), &[("weights", "w")]);
    fs::write(training.log_path(), "log").unwrap();
    let listing = run.put_listing(&input.outputs).unwrap();

    let report = collect(&collector, NOTHING);
    assert_eq!(report.results, [], "made or used by a process that lives: {report:?}");
    assert_eq!(read(&tree), owned(&[("a", "1")]));
    assert_eq!(read(training.scratch()), owned(&[("checkpoint", "7")]));
    assert!(collector.get(&listing).unwrap().is_some(), "stored, and not yet mentioned");
    let made = run.commit(training, record("training")).unwrap();
    assert_eq!(read(&run.tree(&made).unwrap()), owned(&[("weights", "w")]));
    run.set_latest("p", "training", &made.key, &made.outputs).unwrap();

    // Making another, it lets go again; what it no longer needs goes when it has ended.
    let next = begin(&run, "next");
    assert_eq!(collect(&collector, NOTHING).kept, 3);
    drop(next);
    drop(run);
    let report = collect(&collector, NOTHING);
    let mut removed = report.results;
    removed.sort();
    let mut expected = [input.key, other.key];
    expected.sort();
    assert_eq!((removed.as_slice(), report.kept), (expected.as_slice(), 1));
    assert_eq!(collector.verify(&|_| ()).unwrap(), []);
}

#[test]
fn who_waits_for_a_result_of_another_keeps_nobody_from_collecting() {
    let root = tempfile::tempdir().unwrap();
    let [maker, waiter, collector] = [(); 3].map(|()| Store::open(root.path()).unwrap());
    let pending = begin(&maker, "slow");
    let key = *pending.key();
    let mut collected = false;
    let lock = waiter.lock(&key, &mut || {
        if !std::mem::replace(&mut collected, true) {
            assert_eq!(collect(&collector, NOTHING).removed.scratch.count, 0, "it is in use");
        }
        ControlFlow::Break(())
    });
    assert!(lock.unwrap().is_none() && collected);
    // It has stopped waiting: its next operation takes the store for good.
    waiter.latest_of_all().unwrap();
    assert!(matches!(
        collector.gc(&NOTHING, &mut || ControlFlow::Break(())),
        Err(StoreError::InUse(_))
    ));
}

/// Makes results that share contents over and over, beside others that do the same.
fn make_and_use(root: &std::path::Path, seed: u64, rounds: u64) {
    for round in 0..rounds {
        let store = Store::open(root).unwrap();
        let mut used = Vec::new();
        for step in 0..4 {
            let number = (seed * 7 + round * 3 + step * 5) % 9;
            let name = format!("{number}");
            let files = [
                ("own", name.as_str()),
                ("shared", "by all"),
                ("half", ["a", "b"][(number % 2) as usize]),
            ];
            let key = fingerprint(&name).key();
            let lock = store.lock(&key, &mut || ControlFlow::Continue(())).unwrap().unwrap();
            let made = match store.lookup(&key).unwrap() {
                Lookup::Found(made) => {
                    drop(lock);
                    *made
                }
                Lookup::Missing => {
                    let pending = store.begin(lock).unwrap();
                    write(pending.out(), &files);
                    write(pending.scratch(), &[("checkpoint", &name)]);
                    std::thread::sleep(Duration::from_millis(2));
                    assert_eq!(read(pending.scratch()), owned(&[("checkpoint", &name)]));
                    store.commit(pending, record(&name)).unwrap()
                }
                Lookup::Damaged { paths } => panic!("{paths:?}"),
            };
            let tree = store.tree(&made).unwrap();
            if number.is_multiple_of(3) {
                store.set_latest("p", &name, &made.key, &made.outputs).unwrap();
            }
            used.push((tree, owned(&files)));
            // Until it ends, everything it has used lies where it was.
            for (tree, files) in &used {
                let mut files = files.clone();
                files.sort();
                assert_eq!(&read(tree), &files);
            }
        }
    }
}

#[test]
fn collecting_beside_others_takes_nothing_from_them() {
    let root = tempfile::tempdir().unwrap();
    let collected = std::sync::atomic::AtomicUsize::new(0);
    let running = std::sync::atomic::AtomicUsize::new(3);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let running = &running;
            let root = root.path();
            scope.spawn(move || {
                // Counted also when an assertion fails.
                struct Ended<'a>(&'a std::sync::atomic::AtomicUsize);
                impl Drop for Ended<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                }
                let _ended = Ended(running);
                make_and_use(root, seed, 12);
            });
        }
        scope.spawn(|| {
            let store = Store::open(root.path()).unwrap();
            while running.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                let report = store.gc(&NOTHING, &mut || ControlFlow::Continue(())).unwrap();
                collected.fetch_add(report.results.len(), std::sync::atomic::Ordering::SeqCst);
            }
        });
    });
    let collected = collected.into_inner();
    assert!(collected > 0, "nothing was ever collected");
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.verify(&|_| ()).unwrap(), []);
    for latest in store.latest_of_all().unwrap() {
        assert!(store.lookup(&latest.key).unwrap().found().is_some(), "{latest:?}");
    }
    assert_eq!(count(&store, "tmp"), 0);
}
