//! Any file of the store is changed, cut short or lost between two runs.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{expected, project, results, trials};
use crate::chance::Chance;

/// Every file and link below a directory, links not followed.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn damage(path: &Path, chance: &mut Chance) -> String {
    let mut bytes = match path.symlink_metadata().unwrap().is_file() {
        true => fs::read(path).unwrap(),
        false => Vec::new(),
    };
    if bytes.is_empty() || chance.below(3) == 0 {
        fs::remove_file(path).unwrap();
        return format!("removed {}", path.display());
    }
    let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
    let done = if chance.below(3) == 0 {
        bytes.truncate(at);
        "cut"
    } else {
        bytes[at] ^= 1 << chance.below(8);
        "flipped a bit of"
    };
    let times = fs::metadata(path).unwrap().modified().unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    // As if nothing had happened.
    fs::File::options().write(true).open(path).unwrap().set_modified(times).unwrap();
    format!("{done} {} at {at}", path.display())
}

#[test]
fn a_damaged_store_mends_itself() {
    let [expected, _] = expected();
    let mut chance = Chance::new();
    let hurt = project();
    hurt.ran();
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for trial in 0..trials() {
        let mut all = Vec::new();
        files(&hurt.path(".pipe"), &mut all);
        // A class first, so that the many objects do not hide the few others.
        let class = |path: &Path| {
            let path = path.strip_prefix(hurt.path(".pipe")).unwrap();
            let mut names = path.iter().map(|name| name.to_str().unwrap());
            let first = names.next().unwrap();
            if first == "v1" { names.next().unwrap().to_owned() } else { first.to_owned() }
        };
        let mut classes: Vec<String> = all.iter().map(|path| class(path)).collect();
        classes.sort();
        classes.dedup();
        let chosen = chance.of(&classes).clone();
        all.retain(|path| class(path) == chosen);
        let done = damage(&chance.of(&all).clone(), &mut chance);
        *told.entry(chosen).or_default() += 1;
        let about = format!("trial {trial} of seed {}: {done}", chance.seed);
        if chance.below(3) == 0 {
            let verified = hurt.pipe(&["store", "verify"]);
            assert!(matches!(verified.code, Some(0 | 1)), "{about}: {verified}");
            let again = hurt.pipe(&["store", "verify"]);
            assert_eq!(again.code, Some(0), "{about}: {again}");
        }
        hurt.ran();
        assert!(results(&hurt) == expected, "{about}");
        assert_eq!(hurt.ran(), [""; 0], "{about}");
    }
    println!("{} files damaged: {told:?}", trials());
}
