//! The record of a result: what it depends on, and what it consists of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::fingerprint::{Fingerprint, Key};
use crate::listing::Listing;

/// What is written before and after the manifest in its file; the digest of the manifest's own text
/// stands between the first two, so that no flipped bit goes unnoticed.
const FRAME: [&str; 3] = ["{\"checksum\":\"", "\",\"manifest\":", "}\n"];

/// The record of a result, kept as `results/<key>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The key of `fingerprint`.
    pub key: Key,
    /// Everything the result depends on.
    pub fingerprint: Fingerprint,
    /// The files of the result.
    pub outputs: Listing,
    /// What was said while it was made; read it with [`crate::Store::get`].
    pub log: Option<Digest>,
    /// Figures by name, e.g. `dev-accuracy`.
    #[serde(with = "figures")]
    pub measures: BTreeMap<String, f64>,
    /// What is worth knowing but changes nothing: where, when and for how long it was made.
    pub facts: serde_json::Value,
}

/// What [`crate::Store::commit`] is told besides the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Everything the result depends on.
    pub fingerprint: Fingerprint,
    /// Figures by name.
    pub measures: BTreeMap<String, f64>,
    /// What is worth knowing but changes nothing.
    pub facts: serde_json::Value,
}

impl Manifest {
    /// Returns the bytes of the file: one line of JSON.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let text = serde_json::to_string(self).expect("keys are text and numbers are finite");
        let checksum = Digest::of(text.as_bytes()).to_string();
        let [start, middle, end] = FRAME;
        [start, &checksum, middle, &text, end].concat().into_bytes()
    }

    /// Reads what [`Manifest::encode`] wrote for `key`; none when a bit of it differs.
    pub(crate) fn decode(bytes: &[u8], key: &Key) -> Option<Self> {
        let [start, middle, end] = FRAME;
        let (checksum, rest) = bytes.strip_prefix(start.as_bytes())?.split_first_chunk::<64>()?;
        let text = rest.strip_prefix(middle.as_bytes())?.strip_suffix(end.as_bytes())?;
        if Digest::of(text).to_string().as_bytes() != checksum {
            return None;
        }
        let manifest: Self = serde_json::from_slice(text).ok()?;
        (manifest.key == *key && manifest.fingerprint.key() == *key).then_some(manifest)
    }

    /// Returns the digests that the fingerprint and the facts mention. What they are the digests of,
    /// a listing for example, may be stored or not.
    pub(crate) fn mentions(&self) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        for (_, text) in self.fingerprint.iter() {
            found.extend(text.parse::<Digest>());
        }
        mentioned(&self.facts, &mut found);
        found
    }
}

fn mentioned(value: &Value, found: &mut BTreeSet<Digest>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Digest>()),
        Value::Array(values) => values.iter().for_each(|value| mentioned(value, found)),
        Value::Object(map) => map.values().for_each(|value| mentioned(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Figures as JSON numbers, or as text where JSON has no number: `NaN`, `inf`, `-inf`.
mod figures {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(
        figures: &BTreeMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(figures.iter().map(|(name, figure)| {
            let number = serde_json::Number::from_f64(*figure).map(Value::Number);
            (name, number.unwrap_or_else(|| Value::String(figure.to_string())))
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let figure = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            number => number.as_f64(),
        };
        values
            .into_iter()
            .map(|(name, value)| match figure(&value) {
                Some(figure) => Ok((name, figure)),
                None => Err(D::Error::custom(format!("`{name}` is not a figure: {value}"))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::FileEntry;

    fn manifest() -> Manifest {
        let mut fingerprint = Fingerprint::new();
        fingerprint.insert("kind", "train");
        let entry = FileEntry { digest: Digest::of(b"x"), size: 1, executable: false };
        Manifest {
            key: fingerprint.key(),
            fingerprint,
            outputs: Listing::of([("a/b".to_owned(), entry)]),
            log: Some(Digest::of(b"log")),
            measures: BTreeMap::from([
                ("accuracy".to_owned(), 0.75),
                ("loss".to_owned(), f64::NEG_INFINITY),
            ]),
            facts: serde_json::json!({ "seconds": 1.5 }),
        }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let [x, log] = [Digest::of(b"x"), Digest::of(b"log")];
        let key = manifest().key;
        let text = format!(
            "{{\"key\":\"{key}\",\"fingerprint\":{{\"kind\":\"train\"}},\
             \"outputs\":{{\"a/b\":{{\"digest\":\"{x}\",\"size\":1}}}},\"log\":\"{log}\",\
             \"measures\":{{\"accuracy\":0.75,\"loss\":\"-inf\"}},\"facts\":{{\"seconds\":1.5}}}}"
        );
        let checksum = Digest::of(text.as_bytes());
        assert_eq!(
            String::from_utf8(manifest().encode()).unwrap(),
            format!("{{\"checksum\":\"{checksum}\",\"manifest\":{text}}}\n")
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let manifest = manifest();
        let bytes = manifest.encode();
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        assert_eq!(Manifest::decode(&bytes, &manifest.key).unwrap(), manifest);
        for place in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..place], &manifest.key), None);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                assert_eq!(Manifest::decode(&flipped, &manifest.key), None, "{place} {bit}");
            }
        }
    }

    #[test]
    fn a_manifest_under_another_key_is_refused() {
        let mut other = Fingerprint::new();
        other.insert("kind", "stats");
        assert_eq!(Manifest::decode(&manifest().encode(), &other.key()), None);
        let lying = Manifest { fingerprint: other, ..manifest() };
        assert_eq!(Manifest::decode(&lying.encode(), &lying.key), None);
    }

    #[test]
    fn not_a_number_is_a_figure_too() {
        let mut manifest = manifest();
        manifest.measures.insert("loss".to_owned(), f64::NAN);
        let back = Manifest::decode(&manifest.encode(), &manifest.key).unwrap();
        assert!(back.measures["loss"].is_nan());
    }
}
