//! Several processes use one store at once.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Stdio;

use cache::{Lookup, Store};

use crate::crash::child;
use crate::making::{fingerprint, owned, read, record, write};

/// Names the directory of the store to the child.
const ROOT: &str = "STORE_TEST_TOGETHER_ROOT";
const PROCESSES: usize = 4;
const RESULTS: usize = 12;

/// Makes every result that is not there yet, as a run does; does nothing unless started by
/// [`child`].
#[test]
fn make_what_is_missing() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let root = Path::new(&root);
    let store = Store::open(&root.join("store")).unwrap();
    for number in 0..RESULTS {
        let name = number.to_string();
        let key = fingerprint(&name).key();
        let mut found = store.lookup(&key).unwrap();
        if found == Lookup::Missing {
            let lock = store.lock(&key, &mut || ControlFlow::Continue(())).unwrap().unwrap();
            found = store.lookup(&key).unwrap();
            if found == Lookup::Missing {
                let mut made = fs::File::options().append(true).open(root.join("made")).unwrap();
                writeln!(made, "{name}").unwrap();
                let pending = store.begin(lock).unwrap();
                write(pending.out(), &[("own", &name), ("shared", "by all")]);
                let manifest = store.commit(pending, record(&name)).unwrap();
                found = Lookup::Found(Box::new(manifest));
            }
        }
        let manifest = found.found().expect("nothing is damaged");
        let tree = store.tree(&manifest).unwrap();
        assert_eq!(read(&tree), owned(&[("own", &name), ("shared", "by all")]));
        store.set_latest("together", &name, &manifest.key, &manifest.outputs).unwrap();
    }
}

#[test]
fn each_result_is_made_once_and_used_by_all() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("made"), "").unwrap();
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = child("together::make_what_is_missing", ROOT, root.path());
            command.stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let made = fs::read_to_string(root.path().join("made")).unwrap();
    let expected: Vec<String> = (0..RESULTS).map(|number| number.to_string()).collect();
    assert_eq!(made.lines().collect::<Vec<_>>(), expected, "each once");
    let store = Store::open(&root.path().join("store")).unwrap();
    assert_eq!(store.verify(&|_| ()).unwrap(), []);
    assert_eq!(fs::read_dir(store.root().join("v1/tmp")).unwrap().count(), 0);
}

/// Threads that each believe to be alone, as on a file system whose locks do not work.
#[test]
fn without_locks_each_commit_is_still_whole() {
    let root = tempfile::tempdir().unwrap();
    let files = [("a", "same"), ("b", "same"), ("c", "other")];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = Store::open(root.path()).unwrap();
                for number in 0..10 {
                    let name = number.to_string();
                    // A lock file that is removed protects nobody.
                    let key = fingerprint(&name).key();
                    let lock = loop {
                        let _ = fs::remove_file(root.path().join(format!("v1/locks/{key}")));
                        let lock = store.lock(&key, &mut || ControlFlow::Break(())).unwrap();
                        if let Some(lock) = lock {
                            break lock;
                        }
                    };
                    let pending = store.begin(lock).unwrap();
                    write(pending.out(), &files);
                    let made = store.commit(pending, record(&name)).unwrap();
                    assert_eq!(read(&store.tree(&made).unwrap()), owned(&files));
                }
            });
        }
    });
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.verify(&|_| ()).unwrap(), []);
    for number in 0..10 {
        let key = fingerprint(&number.to_string()).key();
        assert!(store.lookup(&key).unwrap().found().is_some());
    }
}
