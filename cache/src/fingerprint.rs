//! Everything a result depends on, as text; hashed it is the key, compared it is the reason.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, NotADigest};

/// Starts the bytes that are hashed, so that another layout can never give the same key.
const MAGIC: &[u8] = b"pipe fingerprint 1\n";

/// Names a result: the digest of its [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Digest);

impl Key {
    pub(crate) const fn of(digest: Digest) -> Self {
        Self(digest)
    }

    /// Returns the first 12 hexadecimal digits, enough to tell results apart on a screen.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{:.12}", self.0)
    }

    /// Returns the digest that the key is.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Key {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        text.parse().map(Self)
    }
}

/// A sorted map, dotted name → text.
///
/// The key is the BLAKE3 digest of `"pipe fingerprint 1\n"` followed, for each entry in the order
/// of names, by the length of the name, the name, the length of the text and the text; lengths are
/// 64-bit little-endian counts of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// Returns one without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets the text of `name`.
    pub fn insert(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    /// Returns the text of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the entries in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Returns the key of the result that depends on exactly this.
    #[must_use]
    pub fn key(&self) -> Key {
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC);
        for part in self.0.iter().flat_map(|(name, text)| [name, text]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Key(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Returns what differs from `older`, in the order of names.
    #[must_use]
    pub fn differences(&self, older: &Self) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> =
            self.0.keys().chain(older.0.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != older.0.get(*name))
            .map(|name| Difference {
                name: name.clone(),
                before: older.0.get(name).cloned(),
                after: self.0.get(name).cloned(),
            })
            .collect()
    }
}

/// An entry that two fingerprints do not share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The dotted name.
    pub name: String,
    /// The older text; none when the entry is new.
    pub before: Option<String>,
    /// The newer text; none when the entry is gone.
    pub after: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(entries: &[(&str, &str)]) -> Fingerprint {
        Fingerprint(entries.iter().map(|(n, t)| ((*n).into(), (*t).into())).collect())
    }

    /// Whoever changes these loses every result of every user.
    #[test]
    fn keys_are_pinned() {
        assert_eq!(
            of(&[]).key().to_string(),
            "f357603558f30d0e90169a743caaff7b9002c5a34e8737ac074fac2f1d17bbb0"
        );
        let margin = [("kind", "train"), ("version", "1"), ("param.loss.arcface.margin", "0.5")];
        assert_eq!(
            of(&margin).key().to_string(),
            "746ce423314ad23dac87e9a8a106dc09b917ddfcd45aa72b99e577b376291974"
        );
        assert_eq!(of(&margin).key().short(), "746ce423314a");
    }

    #[test]
    fn the_key_is_the_digest_of_the_documented_bytes() {
        let mut bytes = MAGIC.to_vec();
        for part in ["a", "é", "b.c", ""] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        assert_eq!(of(&[("b.c", ""), ("a", "é")]).key().digest(), Digest::of(&bytes));
    }

    #[test]
    fn differences_name_what_changed_came_and_went() {
        let older = of(&[("same", "1"), ("changed", "0.5"), ("gone", "x")]);
        let newer = of(&[("same", "1"), ("changed", "0.3"), ("new", "y")]);
        let told: Vec<String> = newer
            .differences(&older)
            .into_iter()
            .map(|d| format!("{}: {:?} → {:?}", d.name, d.before, d.after))
            .collect();
        assert_eq!(
            told,
            [
                r#"changed: Some("0.5") → Some("0.3")"#,
                r#"gone: Some("x") → None"#,
                r#"new: None → Some("y")"#,
            ]
        );
        assert_eq!(newer.differences(&newer), []);
    }

    proptest! {
        #[test]
        fn equal_keys_mean_equal_entries(
            a in prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3),
            b in prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3),
        ) {
            let (a, b) = (Fingerprint(a), Fingerprint(b));
            prop_assert_eq!(a.key() == b.key(), a == b);
            prop_assert_eq!(a.differences(&b).is_empty(), a == b);
        }
    }
}
