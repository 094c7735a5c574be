//! A process is killed at any instant; the store stays whole and goes on.
//!
//! Each test starts this test binary again as a child, which a variable of its environment tells
//! what to do.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cache::{GcOptions, Lookup, Store};

use crate::making::{begin, count, fingerprint, make, owned, read, record, write};

/// Names the directory of the store to the child.
const ROOT: &str = "STORE_TEST_CRASH_ROOT";
/// Says how many kills, instead of [`FEW`].
const KILLS: &str = "STORE_TEST_KILLS";
/// How many kills, of which each takes about a tenth of a second, are made usually.
const FEW: u64 = 40;
/// How many results the child makes, over and over.
const RESULTS: u64 = 6;

/// Starts a test of this binary in a process of its own.
pub(crate) fn child(test: &str, variable: &str, value: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(variable, value);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Files that differ from result to result and partly are the same.
fn files(number: u64) -> Vec<(String, String)> {
    let own = format!("own {number} ").repeat(1 << (2 * number));
    let shared = format!("shared {}", number % 2);
    owned(&[("own/a", &own), ("shared", &shared), ("shared-too", "by all"), ("z", &shared)])
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect()
}

/// Makes results until it is killed; does nothing unless started by [`child`].
#[test]
fn make_until_killed() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = Store::open(Path::new(&root)).unwrap();
    for number in (0..RESULTS).cycle() {
        let pending = begin(&store, &number.to_string());
        write(pending.scratch(), &[("checkpoint", &number.to_string())]);
        fs::write(pending.log_path(), "log").unwrap();
        write(pending.out(), &borrowed(&files(number)));
        let made = store.commit(pending, record(&number.to_string())).unwrap();
        store.tree(&made).unwrap();
        store.set_latest("crash", &number.to_string(), &made.key, &made.outputs).unwrap();
        store.put(format!("put {number}").as_bytes()).unwrap();
        store.lookup(&made.key).unwrap().found().unwrap();
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn killed_at_any_instant_the_store_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let seed = u64::from(std::process::id());
    let kills = std::env::var(KILLS).map_or(FEW, |number| number.parse().unwrap());
    let mut found = 0;
    for turn in 0..kills {
        let child =
            child("crash::make_until_killed", ROOT, root.path()).stderr(Stdio::null()).spawn();
        let child = child.unwrap();
        let started = Instant::now();
        while !root.path().join("v1/tmp").exists() && started.elapsed().as_secs() < 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Fibonacci hashing spreads the instants evenly over the first tenth of a second.
        let instant = (seed + turn).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let end = Instant::now() + Duration::from_micros(instant % 100_000);
        if turn % 2 == 0 {
            // Beside it, garbage is collected.
            let store = Store::open(root.path()).unwrap();
            let options = GcOptions { keep: Duration::ZERO, dry_run: false };
            let mut in_time = || match Instant::now() < end {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
            while store.gc(&options, &mut in_time).is_ok() {}
        } else {
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        let mut child = child;
        assert!(child.try_wait().unwrap().is_none(), "it failed by itself");
        kill(child);
        found += check(root.path());
    }
    assert!(found > 0, "no result was ever committed: the kills came too early");
}

/// Returns how many results there are, all of which must be what they were made as.
fn check(root: &Path) -> usize {
    let store = Store::open(root).unwrap();
    assert_eq!(fs::read_dir(root.join("v1/tmp")).unwrap().count(), 0, "cleaned by opening");
    let mut whole = 0;
    for number in 0..RESULTS {
        match store.lookup(&fingerprint(&number.to_string()).key()).unwrap() {
            Lookup::Missing => {}
            Lookup::Damaged { paths } => panic!("damaged: {paths:?}"),
            Lookup::Found(manifest) => {
                let tree = store.tree(&manifest).unwrap();
                assert_eq!(read(&tree), files(number));
                whole += 1;
            }
        }
    }
    assert_eq!(store.verify(&|_| ()).unwrap(), []);
    for latest in store.latest_of_all().unwrap() {
        assert!(store.lookup(&latest.key).unwrap().found().is_some(), "{latest:?}");
    }
    whole
}

#[test]
fn what_a_killed_process_was_making_is_made_again_from_its_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let running =
        child("crash::make_until_killed", ROOT, root.path()).stderr(Stdio::null()).spawn();
    let running = running.unwrap();
    let started = Instant::now();
    while !root.path().join("v1/scratch").is_dir()
        || fs::read_dir(root.path().join("v1/scratch")).unwrap().count() == 0
    {
        assert!(started.elapsed().as_secs() < 20, "nothing was begun");
        std::thread::sleep(Duration::from_micros(100));
    }
    kill(running);
    let store = Store::open(root.path()).unwrap();
    for number in 0..RESULTS {
        // The lock died with the process: nothing is waited for.
        let name = number.to_string();
        let pending = begin(&store, &name);
        let left = if pending.scratch().exists() { read(pending.scratch()) } else { Vec::new() };
        for (path, content) in left {
            assert_eq!(path, "checkpoint");
            assert!(content.is_empty() || content == name);
        }
        drop(pending);
        make(&store, &name, &borrowed(&files(number)));
    }
    assert_eq!(count(&store, "scratch"), 0);
    drop(store);
    assert_eq!(check(root.path()), RESULTS as usize);
}
