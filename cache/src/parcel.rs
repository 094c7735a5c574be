//! What belongs to a result when it is carried to another store.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::fingerprint::Key;
use crate::manifest::Manifest;

/// A result to be carried: its manifest, and what that says of its files.
#[derive(Clone, Debug)]
pub struct Parcel {
    manifest: Manifest,
    bytes: Vec<u8>,
}

/// A file that belongs to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The digest of its content, which names it.
    pub digest: Digest,
    /// How long it is; none where the manifest does not say.
    pub size: Option<u64>,
    /// Whether the result is nothing without it.
    pub needed: bool,
}

/// Bytes that are not the manifest of the key they are named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the manifest of the key that it is named by")]
pub struct BrokenManifest;

impl Parcel {
    /// Reads the bytes of a manifest of `key`, from wherever they came.
    ///
    /// # Errors
    ///
    /// When a bit of them is not what was written, or they belong to another key.
    pub fn open(bytes: Vec<u8>, key: &Key) -> Result<Self, BrokenManifest> {
        let manifest = Manifest::decode(&bytes, key).ok_or(BrokenManifest)?;
        Ok(Self { manifest, bytes })
    }

    /// Returns the manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the bytes of the manifest, to be carried as they are.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the files that belong to the result, each once: its outputs and its log, which are
    /// needed, and what its digests stand for (the listings that `pipe why` compares), if it is there.
    #[must_use]
    pub fn contents(&self) -> Vec<Content> {
        let mut contents = BTreeMap::new();
        for digest in self.manifest.mentions() {
            contents.insert(digest, Content { digest, size: None, needed: false });
        }
        if let Some(digest) = self.manifest.log {
            contents.insert(digest, Content { digest, size: None, needed: true });
        }
        for (_, entry) in self.manifest.outputs.iter() {
            let (digest, size) = (entry.digest, Some(entry.size));
            contents.insert(digest, Content { digest, size, needed: true });
        }
        contents.into_values().collect()
    }

    /// Returns the name of the manifest of `key` in a store or a remote, with `/` between its parts.
    #[must_use]
    pub fn name(key: &Key) -> String {
        format!("v1/results/{key}.json")
    }
}

impl Content {
    /// Returns its name in a store or a remote, with `/` between its parts.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.digest.to_string();
        format!("v1/objects/{}/{}", &name[..2], &name[2..])
    }
}
