//! The power fails: what no run has brought to the disk is gone, or half there.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::HashMap;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::shim::watched;
use super::{INPUTS, expected, project, results, trials};
use crate::chance::Chance;
use crate::project::Project;

/// What of a project the disk has, told by the calls of the programs that wrote it; nanoseconds since 1970.
#[derive(Default)]
struct Disk {
    /// When the whole file system was last brought there.
    all: i128,
    /// Device and inode → when it was last brought there.
    synced: HashMap<(u64, u64), i128>,
    /// When a name was last given.
    named: HashMap<PathBuf, i128>,
}

impl Disk {
    /// Prepares a command whose calls are noted, and those of what it starts.
    fn command(project: &Project, arguments: &[&str]) -> Command {
        let mut command = watched(project, arguments);
        command.env("FAULT_DISK", project.path("disk")).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn of(project: &Project) -> Self {
        let mut disk = Self::default();
        for line in fs::read_to_string(project.path("disk")).unwrap_or_default().lines() {
            let (what, rest) = line.split_once(' ').unwrap();
            let (time, rest) = rest.split_once(' ').unwrap();
            let time: i128 = time.parse().unwrap();
            match (what, rest) {
                ("sync", "0 0") => disk.all = disk.all.max(time),
                ("sync", place) => {
                    let (device, inode) = place.split_once(' ').unwrap();
                    let place = (device.parse().unwrap(), inode.parse().unwrap());
                    let last = disk.synced.entry(place).or_default();
                    *last = time.max(*last);
                }
                ("name", path) => drop(disk.named.insert(path.into(), time)),
                _ => panic!("{line}"),
            }
        }
        disk
    }

    fn synced(&self, about: &Metadata) -> i128 {
        let own = self.synced.get(&(about.dev(), about.ino()));
        own.copied().unwrap_or_default().max(self.all)
    }

    /// Takes from a directory what the disk may not have, by chance, and returns what that was.
    fn lose(&self, directory: &Path, chance: &mut Chance, lost: &mut Vec<String>) {
        let about = fs::metadata(directory).unwrap();
        let mut entries: Vec<_> = fs::read_dir(directory).unwrap().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        for path in entries.iter().map(fs::DirEntry::path) {
            let entry = path.symlink_metadata().unwrap();
            let named = self.named.get(&path).copied().unwrap_or_else(|| changed(&about));
            if named > self.synced(&about) && chance.below(2) == 0 {
                lost.push(format!("lost {}", path.display()));
                remove(&path, &entry);
            } else if entry.is_dir() {
                self.lose(&path, chance, lost);
            } else if entry.is_file()
                && changed(&entry) > self.synced(&entry)
                && chance.below(4) > 0
            {
                lost.push(spoil(&path, &entry, chance));
            }
        }
        fs::set_permissions(directory, about.permissions()).unwrap();
    }
}

fn changed(about: &Metadata) -> i128 {
    i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec())
}

fn remove(path: &Path, about: &Metadata) {
    if !about.is_dir() {
        return fs::remove_file(path).unwrap();
    }
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(path).unwrap().flatten() {
        remove(&entry.path(), &entry.metadata().unwrap());
    }
    fs::remove_dir(path).unwrap();
}

/// Leaves a file as long as it was, or shorter, with zeros where the disk has nothing.
fn spoil(path: &Path, about: &Metadata, chance: &mut Chance) -> String {
    let mut bytes = fs::read(path).unwrap();
    let from = usize::try_from(chance.below(about.len() + 1)).unwrap();
    let how = match chance.below(3) {
        0 => {
            bytes.clear();
            "emptied"
        }
        1 => {
            bytes.truncate(from);
            "cut"
        }
        _ => {
            bytes[from..].fill(0);
            "zeros in"
        }
    };
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(about.modified().unwrap()).unwrap();
    file.set_permissions(about.permissions()).unwrap();
    format!("{how} {}", path.display())
}

#[test]
fn what_a_loss_of_power_takes_is_made_again_and_what_a_run_has_told_stays() {
    let expected = expected();
    let mut chance = Chance::new();
    let clean = project();
    let begin = Instant::now();
    assert!(Disk::command(&clean, &["run", "p.toml"]).status().unwrap().success());
    let whole = u64::try_from(begin.elapsed().as_micros()).unwrap();
    let (mut harm, mut finished) = (0, 0);
    for trial in 0..trials() {
        let hurt = project();
        let before = chance.below(2) == 0;
        if before {
            assert!(Disk::command(&hurt, &["run", "p.toml"]).status().unwrap().success());
        }
        let now = chance.below(2) as usize;
        hurt.write("in/a.txt", INPUTS[now]);
        let mut run = Disk::command(&hurt, &["run", "p.toml"]).spawn().unwrap();
        let finishes = chance.below(2) == 0;
        if finishes {
            assert!(run.wait().unwrap().success());
        } else {
            std::thread::sleep(Duration::from_micros(chance.below(whole)));
            run.kill().unwrap();
            run.wait().unwrap();
            hurt.wait_until_quiet();
        }
        let mut lost = Vec::new();
        if hurt.path(".pipe").exists() {
            Disk::of(&hurt).lose(&hurt.path(".pipe"), &mut chance, &mut lost);
        }
        harm += lost.len();
        finished += u64::from(finishes);
        let about = format!("trial {trial} of seed {}: {lost:#?}", chance.seed);
        let ran = hurt.ran();
        assert!(results(&hurt) == expected[now], "after {ran:?} of {about}");
        assert!(!finishes || ran.is_empty(), "{ran:?} were told to be made: {about}");
        assert_eq!(hurt.ran(), [""; 0], "{about}");
        // The files of results that were not looked at are made anew when they are.
        hurt.pipe(&["store", "verify"]);
        let verified = hurt.pipe(&["store", "verify"]);
        assert_eq!(verified.code, Some(0), "{about}{verified}");
        if before && now != 0 {
            hurt.write("in/a.txt", INPUTS[0]);
            assert_eq!(hurt.ran(), [""; 0], "told before: {about}");
        }
    }
    println!("{} losses of power, {finished} after a run: {harm} things lost", trials());
    assert!(harm as u64 > trials(), "hardly anything was lost");
}
