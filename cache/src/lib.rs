//! What has been done: results by the content they depend on.
//!
//! A result is named by the [`Key`] of its [`Fingerprint`], everything it depends on, and consists
//! of files named by the [`Digest`] of their content. On disk, below the directory of the
//! [`Store`]:
//!
//! | path | what |
//! |---|---|
//! | `v1/objects/ab/cdef…` | the content whose digest is `abcdef…`: read-only, stamped with a time that its digest decides |
//! | `v1/results/<key>.json` | a [`Manifest`] and the digest of its text; its rename into place is the commit |
//! | `v1/trees/<digest>/` | the files of the [`Listing`] of that digest: links to objects |
//! | `v1/tables/…` | states of files and their digests, so that unchanged files are not read; may be lost |
//! | `v1/tmp/<session>/`, `.alive` | what a living process is making, what else it relies on (`pins`), and the lock by which it is known to live |
//! | `v1/scratch/<key>/` | what outlives a failed try |
//! | `v1/logs/<key>.log` | the log of a try that failed or still runs; `<key>.1.log`, of the first of several |
//! | `v1/locks/<key>` | locked by the process that makes the result |
//! | `v1/lock` | locked, shared, by each operation; alone, to collect garbage |
//! | `latest/<pipeline>/<step>` | link to the tree of the last result; `<step>.json`, to its manifest |
//!
//! A remote has `v1/objects/` and `v1/results/` by the same names and with the same bytes; a
//! [`Parcel`] says what of them belongs to a result, [`Outgoing`] and [`Incoming`] carry a file.
//!
//! Another layout would be another `v2/`. Nothing is ever changed in place: a file is written aside,
//! brought to the disk, and renamed; the small results of short steps are renamed first.

mod commit;
mod digest;
mod durable;
mod error;
mod file_table;
mod fingerprint;
mod gc;
mod in_use;
mod incoming;
mod known;
mod large_file;
mod latest;
mod listing;
mod lock;
mod manifest;
mod object;
mod outgoing;
mod parcel;
mod pending;
mod present;
mod recall;
mod scan;
mod session;
mod size;
mod state;
mod store;
mod tree;
mod unwritten;
mod verify;
mod walk;

pub use digest::{Digest, NotADigest};
pub use error::StoreError;
pub use fingerprint::{Difference, Fingerprint, Key};
pub use gc::{GcOptions, GcReport};
pub use incoming::{Held, Incoming, NotReceived};
pub use latest::Latest;
pub use listing::{Change, FileEntry, InvalidListing, Listing};
pub use lock::KeyLock;
pub use manifest::{Manifest, Record};
pub use outgoing::Outgoing;
pub use parcel::{BrokenManifest, Content, Parcel};
pub use pending::Pending;
pub use present::{Presence, Present};
pub use size::{Class, Sizes};
pub use store::{Lookup, Store};
pub use verify::{Damage, Verified};
