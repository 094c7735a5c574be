//! Files outside are digested; what did not change is not read.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cache::{Change, Digest, Listing, Store};

use crate::making::write;

fn store_and_data() -> (tempfile::TempDir, Store, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("store")).unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    (root, store, data)
}

fn changes(new: &Listing, old: &Listing) -> Vec<(String, Change)> {
    new.differences(old)
}

#[test]
fn a_directory_is_its_files_whatever_their_times() {
    let (_root, store, data) = store_and_data();
    write(&data, &[("a", "1"), ("b/c", "2")]);
    fs::create_dir(data.join("empty")).unwrap();
    let listing = store.scan(&data).unwrap();
    let text = listing.iter().map(|(path, entry)| (path, entry.digest)).collect::<Vec<_>>();
    assert_eq!(text, [("a", Digest::of(b"1")), ("b/c", Digest::of(b"2"))]);

    let file = File::options().write(true).open(data.join("a")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    assert_eq!(store.scan(&data).unwrap(), listing, "touched");
    fs::rename(&data, data.with_file_name("moved")).unwrap();
    assert_eq!(store.scan(&data.with_file_name("moved")).unwrap(), listing, "moved");
}

#[test]
fn every_change_is_seen() {
    let (_root, store, data) = store_and_data();
    write(&data, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    let old = store.scan(&data).unwrap();
    write(&data, &[("b", "x"), ("new", "5")]);
    fs::remove_file(data.join("c")).unwrap();
    fs::set_permissions(data.join("d"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        changes(&store.scan(&data).unwrap(), &old),
        [
            ("b".to_owned(), Change::Content),
            ("c".to_owned(), Change::Removed),
            ("d".to_owned(), Change::Mode),
            ("new".to_owned(), Change::Added),
        ]
    );
}

#[test]
fn many_who_ask_at_once_look_once_until_something_is_begun() {
    let (_root, store, data) = store_and_data();
    write(&data, &[("a", "1")]);
    let first = store.scan_once(&data).unwrap();
    write(&data, &[("b", "2")]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(store.scan_once(&data).unwrap(), first));
        }
    });
    assert_eq!(store.scan(&data).unwrap().len(), 2, "who has to be sure looks again");
    let _pending = crate::making::begin(&store, "one");
    assert_eq!(store.scan_once(&data).unwrap().len(), 2);
}

/// Git's "racily clean": the same size, written within one tick of the clock of the file system.
#[test]
fn a_change_right_after_a_scan_is_seen() {
    let (_root, store, data) = store_and_data();
    for turn in 0..300 {
        let content = format!("{turn:04}");
        write(&data, &[("a", &content)]);
        let seen = store.scan(&data).unwrap();
        assert_eq!(seen.get("a").unwrap().digest, Digest::of(content.as_bytes()), "{turn}");
    }
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen() {
    let (_root, store, data) = store_and_data();
    write(&data, &[("a", "1")]);
    let modified = fs::metadata(data.join("a")).unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(80));
    let old = store.scan(&data).unwrap();
    assert_eq!(store.scan(&data).unwrap(), old);
    write(&data, &[("a", "2")]);
    File::options().write(true).open(data.join("a")).unwrap().set_modified(modified).unwrap();
    assert_eq!(changes(&store.scan(&data).unwrap(), &old), [("a".to_owned(), Change::Content)]);
}

#[test]
fn a_single_file_is_itself_by_whatever_name() {
    let (_root, store, data) = store_and_data();
    write(&data, &[("a.csv", "1")]);
    symlink("a.csv", data.join("link")).unwrap();
    let file = store.scan(&data.join("a.csv")).unwrap();
    assert_eq!(file.get(Listing::ITSELF).unwrap().digest, Digest::of(b"1"));
    assert_eq!(store.scan(&data.join("link")).unwrap(), file);
    assert_eq!(store.scan(&data).unwrap().under("a.csv"), file);
}

#[test]
fn a_broken_or_lost_table_costs_only_time() {
    let (root, store, data) = store_and_data();
    write(&data, &[("a", "1"), ("b", "2")]);
    std::thread::sleep(Duration::from_millis(80));
    let listing = store.scan(&data).unwrap();
    let tables: Vec<_> = fs::read_dir(root.path().join("store/v1/tables")).unwrap().collect();
    assert_eq!(tables.len(), 1);
    let table = tables[0].as_ref().unwrap().path();
    let bytes = fs::read(&table).unwrap();
    for broken in [&bytes[..bytes.len() / 2], b"", &[0; 200]] {
        fs::write(&table, broken).unwrap();
        assert_eq!(store.scan(&data).unwrap(), listing);
        assert_eq!(fs::read(&table).unwrap(), bytes, "written again");
    }
    fs::remove_file(&table).unwrap();
    assert_eq!(store.scan(&data).unwrap(), listing);
}

#[test]
fn what_cannot_be_digested_is_told_by_path() {
    let (root, store, data) = store_and_data();
    let check = |path: &Path, expected: &str| {
        let error = store.scan(path).unwrap_err().to_string();
        let error = error.replace(root.path().to_str().unwrap(), "ROOT");
        assert_eq!(error, expected);
    };
    check(&data.join("no"), "cannot read ROOT/data/no: No such file or directory (os error 2)");
    check(Path::new("/dev/null"), "/dev/null is neither a file nor a directory");
    let all = "ROOT/store/v1 is the store itself; read a directory narrower than ROOT";
    check(root.path(), all);
}
