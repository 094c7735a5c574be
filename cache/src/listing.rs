//! The files below a directory, by relative path, with their content's digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listing(#[serde(deserialize_with = "checked")] BTreeMap<String, FileEntry>);

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
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds or replaces a file.
    ///
    /// # Errors
    ///
    /// When `path` is not a relative path of plain names.
    pub fn insert(&mut self, path: String, entry: FileEntry) -> Result<(), InvalidListing> {
        check(&path)?;
        self.0.insert(path, entry);
        Ok(())
    }

    /// Makes one of paths that are known to be plain.
    pub(crate) fn of(files: impl IntoIterator<Item = (String, FileEntry)>) -> Self {
        Self(files.into_iter().collect())
    }

    /// Returns the file at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        self.0.get(path)
    }

    /// Returns the files in the order of their paths.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &FileEntry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Returns the number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes of all files together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.values().map(|entry| entry.size).sum()
    }

    /// Returns the digest of the text form, which names the listing.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }

    /// Returns the part below the directory `prefix`, without the prefix; all of it when `prefix` is
    /// empty; a single file as [`Listing::ITSELF`]; empty when there is nothing of that name.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() || prefix == Self::ITSELF {
            return self.clone();
        }
        if let Some(entry) = self.0.get(prefix) {
            return Self::of([(Self::ITSELF.to_owned(), *entry)]);
        }
        let start = format!("{prefix}/");
        Self(
            self.0
                .range(start.clone()..)
                .map_while(|(path, entry)| Some((path.strip_prefix(&start)?.to_owned(), *entry)))
                .collect(),
        )
    }

    /// Returns the text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(16 + self.0.len() * 112);
        text.push_str(HEADER);
        text.push('\n');
        for (path, FileEntry { digest, size, executable }) in &self.0 {
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
        let mut files = BTreeMap::new();
        for (line, text) in body.split_terminator('\n').enumerate() {
            let line = line + 2;
            let (path, entry) =
                parse_line(text).ok_or(wrong(line, "digest, size, `x` or `-`, path"))?;
            check(&path)?;
            if files.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(wrong(line, "after the line before it in the order of paths"));
            }
            files.insert(path, entry);
        }
        Ok(Self(files))
    }

    /// Returns what differs from `older`, in the order of paths.
    #[must_use]
    pub fn differences(&self, older: &Self) -> Vec<(String, Change)> {
        let mut changes: Vec<(String, Change)> = Vec::new();
        for (path, entry) in &self.0 {
            let change = match older.0.get(path) {
                None => Change::Added,
                Some(old) if old.digest != entry.digest => Change::Content,
                Some(old) if old.executable != entry.executable => Change::Mode,
                Some(_) => continue,
            };
            changes.push((path.clone(), change));
        }
        let gone = older.0.keys().filter(|path| !self.0.contains_key(*path));
        changes.extend(gone.map(|path| (path.clone(), Change::Removed)));
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes
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

fn checked<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, FileEntry>, D::Error> {
    let files = BTreeMap::<String, FileEntry>::deserialize(deserializer)?;
    files.keys().try_for_each(|path| check(path)).map_err(serde::de::Error::custom)?;
    Ok(files)
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
