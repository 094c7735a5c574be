//! The files below a directory, by relative path, with their content's digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The first line of the text form.
const HEADER: &str = "pipe listing 1";

/// One file of a [`Listing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// Relative path, with `/` between names, → file. Directories without files are not part of it.
///
/// Its text, which [`Listing::digest`] digests, is the line `pipe listing 1` and then one line for
/// each file in the order of the paths' bytes: digest, size, `x` or `-`, path, with one space between
/// them. In a path, a backslash is written `\\`, a line feed `\n` and a carriage return `\r`.
///
/// A clone shares the files, and the digest is computed once.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sorted by path; no path comes twice.
    files: Arc<Vec<(String, FileEntry)>>,
    digest: OnceLock<Digest>,
}

/// How a file differs between two listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only in the newer one.
    Added,
    /// Only in the older one.
    Removed,
    /// In both, with other content.
    Content,
    /// In both with the same content; whether it is executable differs.
    Mode,
}

/// A text or a path that cannot be part of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListing {
    /// Absolute, empty, or with an empty, `.` or `..` part.
    #[error("`{0}` is not a relative path of plain names")]
    Path(String),
    /// The text form was broken.
    #[error("line {line} of the listing should be {expected}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What would be right.
        expected: &'static str,
    },
}

impl Listing {
    /// The path under which a listing of a single file names that file.
    pub const ITSELF: &str = ".";

    /// Returns one without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file.
    ///
    /// # Errors
    ///
    /// When `path` is not a relative path of plain names.
    pub fn insert(&mut self, path: String, entry: FileEntry) -> Result<(), InvalidListing> {
        check(&path)?;
        let files = Arc::make_mut(&mut self.files);
        match files.binary_search_by(|(other, _)| other.cmp(&path)) {
            Ok(at) => files[at].1 = entry,
            Err(at) => files.insert(at, (path, entry)),
        }
        self.digest = OnceLock::new();
        Ok(())
    }

    /// Makes one of paths that are known to be plain.
    pub(crate) fn of(files: impl IntoIterator<Item = (String, FileEntry)>) -> Self {
        let mut files = Vec::from_iter(files);
        if !files.is_sorted_by(|(a, _), (b, _)| a < b) {
            files.sort_by(|(a, _), (b, _)| a.cmp(b));
            // Of the same path the last counts, as with `insert`.
            files.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Self { files: Arc::new(files), digest: OnceLock::new() }
    }

    /// Makes one of files in the order of their plain paths, whose digest is known.
    pub(crate) fn of_digest(files: Vec<(String, FileEntry)>, digest: Digest) -> Self {
        Self { files: Arc::new(files), digest: OnceLock::from(digest) }
    }

    /// Returns the file at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        let at = self.files.binary_search_by(|(other, _)| other.as_str().cmp(path)).ok()?;
        Some(&self.files[at].1)
    }

    /// Returns the files in the order of their paths.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &FileEntry)> {
        self.files.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Returns the number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the bytes of all files together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().map(|(_, entry)| entry.size).sum()
    }

    /// Returns the digest of the text form, which names the listing.
    #[must_use]
    pub fn digest(&self) -> Digest {
        if let Some(digest) = self.digest.get() {
            return *digest;
        }
        // Not inside the cell, which must not be waited for by a thread that rayon lends out.
        let digest = Digest::of(self.to_text().as_bytes());
        *self.digest.get_or_init(|| digest)
    }

    /// Returns the part below the directory `prefix`, without the prefix; all of it when `prefix` is
    /// empty; a single file as [`Listing::ITSELF`]; empty when there is nothing of that name.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() || prefix == Self::ITSELF {
            return self.clone();
        }
        if let Some(entry) = self.get(prefix) {
            return Self::of([(Self::ITSELF.to_owned(), *entry)]);
        }
        let start = format!("{prefix}/");
        let first = self.files.partition_point(|(path, _)| *path < start);
        Self::of(
            self.files[first..]
                .iter()
                .map_while(|(path, entry)| Some((path.strip_prefix(&start)?.to_owned(), *entry))),
        )
    }

    /// Returns the text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(16 + self.files.len() * 112);
        text.push_str(HEADER);
        text.push('\n');
        for (path, FileEntry { digest, size, executable }) in &*self.files {
            let mode = if *executable { 'x' } else { '-' };
            write!(text, "{digest} {size} {mode} ").expect("a String takes all text");
            if path.contains(['\\', '\n', '\r']) {
                let path = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
                text.push_str(&path);
            } else {
                text.push_str(path);
            }
            text.push('\n');
        }
        text
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// When `text` is not exactly what [`Listing::to_text`] writes.
    pub fn parse(text: &str) -> Result<Self, InvalidListing> {
        let wrong = |line, expected| InvalidListing::Line { line, expected };
        let body = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n'));
        let body = body.ok_or(wrong(1, "`pipe listing 1`"))?;
        if !body.is_empty() && !body.ends_with('\n') {
            return Err(wrong(text.lines().count(), "ended by a line feed"));
        }
        let mut files: Vec<(String, FileEntry)> = Vec::new();
        for (line, text) in body.split_terminator('\n').enumerate() {
            let line = line + 2;
            let (path, entry) =
                parse_line(text).ok_or(wrong(line, "digest, size, `x` or `-`, path"))?;
            check(&path)?;
            if files.last().is_some_and(|(last, _)| *last >= path) {
                return Err(wrong(line, "after the line before it in the order of paths"));
            }
            files.push((path, entry));
        }
        Ok(Self::of(files))
    }

    /// Returns what differs from `older`, in the order of paths.
    #[must_use]
    pub fn differences(&self, older: &Self) -> Vec<(String, Change)> {
        let mut changes: Vec<(String, Change)> = Vec::new();
        if Arc::ptr_eq(&self.files, &older.files) {
            return changes;
        }
        for (path, entry) in self.iter() {
            let change = match older.get(path) {
                None => Change::Added,
                Some(old) if old.digest != entry.digest => Change::Content,
                Some(old) if old.executable != entry.executable => Change::Mode,
                Some(_) => continue,
            };
            changes.push((path.to_owned(), change));
        }
        let gone = older.iter().filter(|(path, _)| self.get(path).is_none());
        changes.extend(gone.map(|(path, _)| (path.to_owned(), Change::Removed)));
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes
    }
}

impl PartialEq for Listing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.files, &other.files) || self.files == other.files
    }
}

impl Eq for Listing {}

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let files = BTreeMap::<String, FileEntry>::deserialize(deserializer)?;
        files.keys().try_for_each(|path| check(path)).map_err(serde::de::Error::custom)?;
        Ok(Self::of(files))
    }
}

fn parse_line(line: &str) -> Option<(String, FileEntry)> {
    let mut parts = line.splitn(4, ' ');
    let digest = parts.next()?.parse().ok()?;
    let digits = parts.next()?;
    let size: u64 = digits.parse().ok()?;
    let executable = match parts.next()? {
        "x" => true,
        "-" => false,
        _ => return None,
    };
    let mut path = String::new();
    let mut written = parts.next()?.chars();
    while let Some(char) = written.next() {
        path.push(match char {
            '\\' => match written.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            '\r' => return None,
            plain => plain,
        });
    }
    (size.to_string() == digits).then_some((path, FileEntry { digest, size, executable }))
}

fn check(path: &str) -> Result<(), InvalidListing> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if path == Listing::ITSELF || path.split('/').all(plain) {
        Ok(())
    } else {
        Err(InvalidListing::Path(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(content: &str) -> FileEntry {
        let executable = content.starts_with("#!");
        FileEntry { digest: Digest::of(content.as_bytes()), size: content.len() as u64, executable }
    }

    fn of(files: &[(&str, &str)]) -> Listing {
        Listing::of(files.iter().map(|(path, content)| ((*path).to_owned(), entry(content))))
    }

    #[test]
    fn the_text_is_pinned() {
        let listing = of(&[("a/b", "#!x"), ("a-b", ""), ("line\nfeed\\", "")]);
        let empty = Digest::of(b"");
        let script = Digest::of(b"#!x");
        assert_eq!(
            listing.to_text(),
            format!(
                "pipe listing 1\n{empty} 0 - a-b\n{script} 3 x a/b\n{empty} 0 - line\\nfeed\\\\\n"
            )
        );
        assert_eq!(
            Listing::new().digest().to_string(),
            "4555932fdbb8a648d640b19f5c3b2493d63c656ff01264098ba6dc9ddd681dac"
        );
    }

    #[test]
    fn under_takes_a_directory_or_a_file() {
        let all = of(&[("a/b", "1"), ("a/c/d", "2"), ("a-b", "3"), ("ab", "4")]);
        assert_eq!(all.under("a"), of(&[("b", "1"), ("c/d", "2")]));
        assert_eq!(all.under("a/c/"), of(&[("d", "2")]));
        assert_eq!(all.under("ab"), of(&[(".", "4")]));
        assert_eq!(all.under(""), all);
        assert!(all.under("missing").is_empty());
    }

    #[test]
    fn differences_are_told_by_file() {
        let older = of(&[("gone", "1"), ("same", "2"), ("edited", "3"), ("mode", "#!")]);
        let mut newer = of(&[("new", "1"), ("same", "2"), ("edited", "4"), ("mode", "#!")]);
        newer.insert("mode".to_owned(), FileEntry { executable: false, ..entry("#!") }).unwrap();
        let told = newer.differences(&older);
        let told: Vec<_> = told.iter().map(|(path, change)| (path.as_str(), *change)).collect();
        assert_eq!(
            told,
            [
                ("edited", Change::Content),
                ("gone", Change::Removed),
                ("mode", Change::Mode),
                ("new", Change::Added)
            ]
        );
    }

    #[test]
    fn paths_that_leave_the_directory_are_refused() {
        for path in ["", "/a", "a/../b", "..", "a//b", "a/", "./a", "a\0b"] {
            assert_eq!(
                Listing::new().insert(path.to_owned(), entry("")),
                Err(InvalidListing::Path(path.to_owned()))
            );
            let json = serde_json::json!({ path: entry("") }).to_string();
            assert!(serde_json::from_str::<Listing>(&json).is_err(), "{path:?}");
        }
    }

    #[test]
    fn broken_text_is_refused() {
        let good = of(&[("a", "1"), ("b", "2")]).to_text();
        assert!(Listing::parse(&good).is_ok());
        let broken = [
            good.replace("listing 1", "listing 2"),
            good.trim_end().to_owned(),
            good.replace(" a\n", " b\n"),
            good.replace(" 1 -", " 01 -"),
            good.replace(" - ", " y "),
            good.replace(" b\n", " b\\q\n"),
        ];
        for text in broken {
            assert!(Listing::parse(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_digest_follows_every_insertion() {
        let mut one = of(&[("a", "1"), ("c", "2")]);
        let shared = one.clone();
        let before = one.digest();
        one.insert("b".to_owned(), entry("3")).unwrap();
        assert_eq!(one, of(&[("a", "1"), ("b", "3"), ("c", "2")]));
        assert_eq!(one.digest(), Digest::of(one.to_text().as_bytes()));
        assert_ne!(one.digest(), before);
        one.insert("b".to_owned(), entry("4")).unwrap();
        assert_eq!(one, of(&[("c", "2"), ("b", "3"), ("a", "1"), ("b", "4")]), "the last counts");
        assert_eq!((shared.len(), shared.digest()), (2, before), "a clone stays as it was");
    }

    proptest! {
        #[test]
        fn text_and_json_come_back(
            files in prop::collection::btree_map(
                r"[a-z \\\n\r\u{e9}]{1,4}(/[a-z.]{3}){0,2}",
                (any::<[u8; 32]>(), any::<u64>(), any::<bool>()),
                0..8,
            )
        ) {
            let listing = Listing::of(files.into_iter().map(|(path, (digest, size, executable))| {
                (path, FileEntry { digest: Digest::from_bytes(digest), size, executable })
            }));
            let text = listing.to_text();
            prop_assert_eq!(&Listing::parse(&text).unwrap(), &listing);
            let json = serde_json::to_string(&listing).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Listing>(&json).unwrap(), &listing);
        }

        #[test]
        fn parsing_never_panics(text in "pipe listing 1\n[0-9a-f x.\\\\\n-]{0,200}") {
            if let Ok(listing) = Listing::parse(&text) {
                prop_assert_eq!(listing.to_text(), text);
            }
        }
    }
}
