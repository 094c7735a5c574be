//! Killed at any instant, the store is whole and the next run carries on.
//!
//! `PIPE_CRASH_KILLS` is how often a run is killed, `PIPE_CRASH_SEED` makes the instants repeatable.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::chance::{Chance, setting};
use crate::project::Project;

const PIPELINE: &str = r#"
[stage.many]
kind = "command"
files = ["in"]
run = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sort {files.0}/a.txt > {out}/$i; echo $i >> {out}/$i; done"]
outputs = ["1", "2", "3", "4", "5", "6", "7", "8", "9"]

[stage.large]
kind = "command"
inputs = { many = "many" }
run = ["sh", "-c", "head -c 3000000 /dev/zero > {out}/zero; cat {input.many}/* > {out}/all; sleep 0.05"]
outputs = ["zero", "all"]

[stage.apart]
kind = "command"
files = ["in/b.txt"]
run = ["sh", "-c", "sleep 0.1; cat {files.0} {files.0} > {out}/twice"]
outputs = ["twice"]

[stage.resumed]
kind = "command"
inputs = { large = "large", apart = "apart" }
run = ["sh", "-c", "for i in 1 2 3 4; do [ -e {scratch}/$i ] || { echo $i > {scratch}/tmp; sleep 0.03; mv {scratch}/tmp {scratch}/$i; }; done; cat {scratch}/[1-4] {input.apart}/twice > {out}/end"]
outputs = ["end"]
"#;

fn project() -> Project {
    let project = Project::new();
    project.write("in/a.txt", "pear\napple\nfig\n");
    project.write("in/b.txt", "quince\n");
    project.write("p.toml", PIPELINE);
    project
}

/// Reads every file below a directory, links to manifests apart, which hold times.
pub(crate) fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let path = entry.path();
        if path.is_dir() {
            let below = content(&path).into_iter();
            all.extend(below.map(|(rest, bytes)| (format!("{name}/{rest}"), bytes)));
        } else if !path.is_symlink() {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn a_run_killed_at_any_instant_leaves_a_whole_store() {
    let kills = setting("PIPE_CRASH_KILLS").unwrap_or(8);
    let mut chance = Chance::new();
    let seed = chance.seed;
    println!("PIPE_CRASH_SEED={seed}");

    let clean = project();
    let begin = Instant::now();
    clean.ran();
    let whole = begin.elapsed();
    let expected = content(&clean.path(".pipe/latest/p"));
    assert_eq!(expected.len(), 13);

    let mut crashed = project();
    for kill in 0..kills {
        let mut run = crashed.start(&["run", "p.toml"]);
        let limit = u64::try_from(whole.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(chance.below(limit)));
        run.kill().unwrap();
        run.wait().unwrap();
        crashed.wait_until_quiet();
        // The first kill may come before there is a store.
        if crashed.path(".pipe/v1").exists() {
            let verified = crashed.pipe(&["store", "verify"]);
            assert_eq!(verified.code, Some(0), "kill {kill} of seed {seed}: {verified}");
        }
        // Every now and then see it through, and start anew.
        if chance.below(4) == 0 {
            crashed.ran();
            assert!(content(&crashed.path(".pipe/latest/p")) == expected, "seed {seed}");
            crashed = project();
        }
    }
    crashed.ran();
    assert!(content(&crashed.path(".pipe/latest/p")) == expected, "seed {seed}");
    assert_eq!(crashed.ran(), [""; 0]);
}
