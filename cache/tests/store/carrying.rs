//! Results are carried from one store to another, and what is not what its name says stays out.

use std::fs;

use cache::{Content, Digest, Held, Lookup, NotReceived, Parcel, Record, Store, StoreError};

use crate::making::{begin, count, fingerprint, make, owned, read, record, write};

/// Two stores, the first with one result.
struct Pair {
    from: Store,
    to: Store,
    _root: tempfile::TempDir,
}

const FILES: [(&str, &str); 3] = [("a", "one"), ("b/c", "two"), ("b/d", "one")];

impl Pair {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| Store::open(&root.path().join(name)).unwrap());
        make(&from, "x", &FILES);
        Self { from, to, _root: root }
    }

    fn parcel(&self) -> Parcel {
        self.from.parcel(&fingerprint("x").key()).unwrap().unwrap()
    }

    /// Carries a file, two bytes at a time.
    fn carry(&self, content: &Content) -> Result<Held, NotReceived> {
        let mut outgoing = self.from.send(&content.digest).unwrap().unwrap();
        let mut incoming = self.to.receive(content).unwrap();
        loop {
            let piece = outgoing.next(2).unwrap();
            if piece.is_empty() {
                return incoming.finish();
            }
            incoming.write(&piece)?;
        }
    }

    fn receive(&self, content: &Content, bytes: &[u8]) -> Result<Held, NotReceived> {
        let mut incoming = self.to.receive(content).unwrap();
        incoming.write(bytes)?;
        incoming.finish()
    }
}

#[test]
fn a_carried_result_is_the_same_result() {
    let pair = Pair::new();
    let parcel = pair.parcel();
    let parcel = Parcel::open(parcel.bytes().to_vec(), &fingerprint("x").key()).unwrap();
    let contents = parcel.contents();
    assert_eq!(contents.len(), 2, "of the same content there is one file");
    assert!(contents.iter().all(|content| content.needed && content.size == Some(3)));
    let held: Vec<Held> = contents.iter().map(|content| pair.carry(content).unwrap()).collect();
    assert_eq!(pair.to.lookup(&fingerprint("x").key()).unwrap(), Lookup::Missing);
    let manifest = pair.to.admit(&parcel, &held).unwrap();
    assert_eq!(pair.to.lookup(&fingerprint("x").key()).unwrap().found().as_ref(), Some(&manifest));
    assert_eq!(read(&pair.to.tree(&manifest).unwrap()), owned(&FILES));
    assert_eq!(pair.to.verify(&|_| ()).unwrap(), []);
    // The names are those of the layout that the crate documents.
    for name in contents.iter().map(Content::name).chain([Parcel::name(&manifest.key)]) {
        let [from, to] = [&pair.from, &pair.to].map(|s| fs::read(s.root().join(&name)).unwrap());
        assert_eq!(from, to, "{name}");
    }
}

#[test]
fn log_and_listings_belong_to_a_result() {
    let pair = Pair::new();
    let pending = begin(&pair.from, "y");
    write(pending.out(), &[("a", "1")]);
    fs::write(pending.log_path(), "said").unwrap();
    let listing = pair.from.put(b"listing").unwrap();
    let facts = serde_json::json!({ "of": [listing.to_string()] });
    let manifest = pair.from.commit(pending, Record { facts, ..record("y") }).unwrap();
    let contents = pair.from.parcel(&manifest.key).unwrap().unwrap().contents();
    let mut told: Vec<_> =
        contents.iter().map(|c| (c.digest == listing, c.size, c.needed)).collect();
    told.sort();
    assert_eq!(told, [(false, None, true), (false, Some(1), true), (true, None, false)]);
}

#[test]
fn what_is_something_else_stays_out() {
    let pair = Pair::new();
    let content = Content { digest: Digest::of(b"one"), size: Some(3), needed: true };
    for bytes in [&b"onf"[..], b"on", b"", b"onee", b"one\0"] {
        assert!(pair.receive(&content, bytes).is_err(), "{bytes:?}");
    }
    let unknown = Content { size: None, ..content };
    assert!(matches!(pair.receive(&unknown, b"two"), Err(NotReceived::OtherContent)));
    assert_eq!(count(&pair.to, "objects"), 0);
    assert!(pair.to.hold(&content).unwrap().is_none());
    assert!(pair.receive(&unknown, b"one").is_ok());
    assert!(pair.to.hold(&content).unwrap().is_some());
    let wrong = Content { size: Some(4), ..content };
    assert!(pair.to.hold(&wrong).unwrap().is_none(), "the manifest lies of its size");
}

#[test]
fn a_manifest_that_differs_in_a_bit_is_refused() {
    let pair = Pair::new();
    let (bytes, key) = (pair.parcel().bytes().to_vec(), fingerprint("x").key());
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        assert!(Parcel::open(bytes, &key).is_err(), "byte {at}");
        assert!(Parcel::open(pair.parcel().bytes()[..at].to_vec(), &key).is_err(), "byte {at}");
    }
    assert!(Parcel::open(bytes, &fingerprint("y").key()).is_err(), "of another key");
}

#[test]
fn a_result_without_all_its_files_is_not_admitted() {
    let pair = Pair::new();
    let parcel = pair.parcel();
    let contents = parcel.contents();
    let held = [pair.carry(&contents[0]).unwrap()];
    let Err(StoreError::Damaged { paths }) = pair.to.admit(&parcel, &held) else {
        panic!("admitted");
    };
    assert_eq!(paths, [pair.to.root().join(contents[1].name())]);
    assert_eq!(count(&pair.to, "results"), 0);
    // What arrived whole stays.
    assert!(pair.to.hold(&contents[0]).unwrap().is_some());
}

#[test]
fn nothing_damaged_is_sent() {
    let pair = Pair::new();
    let contents = pair.parcel().contents();
    let path = pair.from.root().join(contents[0].name());
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&path, "0ne").unwrap();
    let mut outgoing = pair.from.send(&contents[0].digest).unwrap().unwrap();
    assert_eq!((outgoing.size(), outgoing.next(9).unwrap()), (3, b"0ne".to_vec()));
    assert!(matches!(outgoing.next(9), Err(StoreError::Damaged { .. })));
    assert!(pair.from.send(&contents[0].digest).unwrap().is_none(), "it is removed");
    assert!(pair.from.parcel(&fingerprint("x").key()).unwrap().is_none());
}
