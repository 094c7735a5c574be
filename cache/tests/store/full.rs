//! A full disk is a clear error and loses nothing.
//!
//! The disk is a small file system in memory, mounted in a namespace of its own by `unshare`. Where
//! the system allows neither, there is nothing to test on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use cache::{Store, StoreError};

use crate::making::{begin, make, owned, read, record, write};

/// Names the small file system to the child.
const DISK: &str = "STORE_TEST_FULL_DISK";

fn in_a_namespace(mount: &Path, command: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-ec"]);
    unshare.arg(format!("mount -t tmpfs -o size=1m,nr_inodes=400 tmpfs \"$DISK\"; {command}"));
    unshare.env("DISK", mount).stdin(Stdio::null()).stdout(Stdio::null());
    unshare
}

#[test]
fn a_full_disk_loses_nothing() {
    let disk = tempfile::tempdir().unwrap();
    if !in_a_namespace(disk.path(), "true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        return;
    }
    let output = in_a_namespace(disk.path(), "exec \"$TEST\" --exact full::fill --nocapture")
        .env("TEST", std::env::current_exe().unwrap())
        .env(DISK, disk.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Fills the disk in every way; does nothing unless started by [`a_full_disk_loses_nothing`].
#[test]
fn fill() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let disk = Path::new(&disk);
    let outside = tempfile::tempdir().unwrap();
    let large = "x".repeat(2 << 20);
    write(outside.path(), &[("large", &large)]);
    let store = Store::open(&disk.join("store")).unwrap();
    let files = [("a", "1"), ("b/c", "2")];
    let before = make(&store, "before", &files);
    store.tree(&before).unwrap();

    let told = |error: StoreError| {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Full { .. }), "{text}");
        assert!(text.starts_with(&format!("cannot write {}", disk.display())), "{text}");
        assert!(text.contains("the disk is full; nothing stored is lost"), "{text}");
    };
    let whole = || {
        let found = store.lookup(&before.key).unwrap().found().unwrap();
        assert_eq!(read(&store.tree(&found).unwrap()), owned(&files));
        assert_eq!(store.verify(&|_| ()).unwrap(), []);
    };

    // A copy of a file from outside does not fit.
    let pending = begin(&store, "large");
    write(pending.scratch(), &[("checkpoint", "7")]);
    symlink(outside.path().join("large"), pending.out().join("a")).unwrap();
    told(store.commit(pending, record("large")).unwrap_err());
    whole();
    // Bytes do not fit.
    told(store.put(large.as_bytes()).unwrap_err());
    whole();
    // The manifest does not fit, because the outputs have taken all room.
    let pending = begin(&store, "manifest");
    fs::write(pending.out().join("a"), "x").unwrap();
    let filler = disk.join("filler");
    let _ = fs::write(&filler, &large);
    let error = store.commit(pending, record("manifest")).unwrap_err();
    told(error);
    // Even now, with no room at all, what is there can be used.
    whole();
    fs::remove_file(&filler).unwrap();
    // No room for names, whatever their files hold.
    let mut made = 0;
    while fs::write(disk.join(format!("name{made}")), "").is_ok() {
        made += 1;
    }
    let key = crate::making::fingerprint("large").key();
    told(
        store
            .lock(&key, &mut || std::ops::ControlFlow::Break(()))
            .map(drop)
            .expect_err("no name is left for the lock"),
    );
    whole();
    (0..made).for_each(|number| fs::remove_file(disk.join(format!("name{number}"))).unwrap());

    // With room again, it goes on where it was.
    let pending = begin(&store, "large");
    assert_eq!(read(pending.scratch()), owned(&[("checkpoint", "7")]));
    write(pending.out(), &[("a", "smaller")]);
    store.commit(pending, record("large")).unwrap();
    whole();
}
