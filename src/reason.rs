//! Why a step runs: what changed since its last result, down to the file.

use std::fmt;
use std::path::PathBuf;

use cache::{Change, Difference, Digest, Fingerprint, Listing, Manifest, Store};

/// Longer values are cut in the middle.
const LONGEST_VALUE: usize = 60;
/// More changed files are counted, not named.
const NAMED_FILES: usize = 3;

/// One cause of a step not being fresh.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// There never was a result.
    NeverRun,
    /// The user wants it run.
    Forced,
    /// Stored files were not what they were when stored.
    Damaged(Vec<PathBuf>),
    /// The result was removed from the store.
    Removed,
    /// Something it depends on is different.
    Changed {
        /// The entry of the fingerprint, e.g. `param.epochs`.
        name: String,
        /// Its text before; none when it is new.
        before: Option<String>,
        /// Its text now; none when it is gone.
        after: Option<String>,
        /// For data: which files changed, where that is known.
        files: Vec<(String, Change)>,
    },
    /// A step it needs runs, and may give other files.
    MayChange {
        /// The step it needs.
        step: String,
    },
}

/// Lists what differs between what a step depends on now and what its last result did.
#[must_use]
///
/// `listings` are what the digests of `now` stand for, as far as they are known.
pub(crate) fn changes(
    store: &Store,
    now: &Fingerprint,
    listings: &[Listing],
    last: &Manifest,
) -> Vec<Reason> {
    between(store, now, listings, &last.fingerprint)
}

/// As [`changes`], of two fingerprints.
pub(crate) fn between(
    store: &Store,
    now: &Fingerprint,
    listings: &[Listing],
    before: &Fingerprint,
) -> Vec<Reason> {
    let mut differences = now.differences(before);
    // Another kind has other parameters; to list those as well would tell nothing.
    if let Some(kind) = differences.iter().position(|difference| difference.name == "kind") {
        differences = vec![differences.swap_remove(kind)];
    }
    differences.into_iter().map(|difference| changed(store, listings, difference)).collect()
}

fn changed(
    store: &Store,
    listings: &[Listing],
    Difference { name, before, after }: Difference,
) -> Reason {
    // Where a listing was collected or damaged, that something changed is still worth telling.
    let listing = |text: &Option<String>| {
        let digest: Digest = text.as_deref()?.parse().ok()?;
        let known = listings.iter().find(|listing| listing.digest() == digest);
        known.cloned().or_else(|| store.get_listing(&digest).ok().flatten())
    };
    let is_data = name.starts_with("input.") || name.starts_with("read.");
    let files = match (is_data, &before, &after) {
        (true, Some(_), Some(_)) => listing(&before)
            .zip(listing(&after))
            .map_or_else(Vec::new, |(before, after)| after.differences(&before)),
        _ => Vec::new(),
    };
    Reason::Changed { name, before, after, files }
}

impl Reason {
    /// What it depends on was one thing and is another.
    pub(crate) fn changed(name: &str, before: &str, after: &str) -> Self {
        let (before, after) = (Some(before.to_owned()), Some(after.to_owned()));
        Self::Changed { name: name.to_owned(), before, after, files: Vec::new() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRun => f.write_str("never run"),
            Self::Forced => f.write_str("forced"),
            Self::Damaged(paths) => match paths.as_slice() {
                [path] => write!(f, "result damaged: {}", path.display()),
                _ => write!(f, "result damaged: {} files", paths.len()),
            },
            Self::Removed => f.write_str("result no longer in the store"),
            Self::MayChange { step } => write!(f, "depends on {step}"),
            Self::Changed { name, before, after, files } => {
                let is_data = name.starts_with("input.") || name.starts_with("read.");
                match (before, after) {
                    (Some(_), Some(_)) if is_data => write_files(f, name, files),
                    (Some(before), Some(after)) => {
                        let (before, after) = first_difference(before, after);
                        write!(f, "{name}: {} → {}", short(before), short(after))
                    }
                    (None, _) if is_data => write!(f, "{name} is new"),
                    (None, Some(after)) => write!(f, "{name}: (none) → {}", short(after)),
                    (_, None) if is_data => write!(f, "{name} is gone"),
                    (before, None) => {
                        write!(f, "{name}: {} → (none)", short(before.as_deref().unwrap_or("")))
                    }
                }
            }
        }
    }
}

fn write_files(f: &mut fmt::Formatter<'_>, name: &str, files: &[(String, Change)]) -> fmt::Result {
    let shown = if f.alternate() { files.len() } else { NAMED_FILES };
    write!(f, "{name} changed")?;
    // A single file is its own listing and has no name in it.
    let named = files.iter().filter(|(path, _)| path != Listing::ITSELF).take(shown);
    for (index, (path, change)) in named.enumerate() {
        let verb = match change {
            Change::Added => "new",
            Change::Removed => "gone",
            Change::Content => "changed",
            Change::Mode => "executable bit changed",
        };
        if f.alternate() {
            write!(f, "\n  {path} {verb}")?;
        } else {
            write!(f, "{} {path} {verb}", if index == 0 { ":" } else { "," })?;
        }
    }
    match files.len().saturating_sub(shown) {
        0 => Ok(()),
        more => write!(f, ", and {more} more"),
    }
}

/// Of texts of several lines, as tools print, the first that differ.
fn first_difference<'a>(before: &'a str, after: &'a str) -> (&'a str, &'a str) {
    let (mut befores, mut afters) = (before.lines(), after.lines());
    loop {
        match (befores.next(), afters.next()) {
            (Some(before), Some(after)) if before == after => {}
            (before, after) => return (before.unwrap_or_default(), after.unwrap_or_default()),
        }
    }
}

/// Cuts the middle out of a long value.
fn short(value: &str) -> String {
    let count = value.chars().count();
    if count <= LONGEST_VALUE {
        return value.to_owned();
    }
    let half = LONGEST_VALUE / 2 - 1;
    let start: String = value.chars().take(half).collect();
    let end: String = value.chars().skip(count - half).collect();
    format!("{start}..{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, before: Option<&str>, after: Option<&str>, files: &[&str]) -> Reason {
        let content = |path: &&str| ((*path).to_owned(), Change::Content);
        Reason::Changed {
            name: name.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            files: files.iter().map(content).collect(),
        }
    }

    #[test]
    fn reasons_read_well() {
        let check = |reason: Reason, expected: &str| assert_eq!(reason.to_string(), expected);
        check(changed("param.epochs", Some("3"), Some("5"), &[]), "param.epochs: 3 → 5");
        check(changed("param.seed", None, Some("5"), &[]), "param.seed: (none) → 5");
        check(changed("param.seed", Some("5"), None, &[]), "param.seed: 5 → (none)");
        check(
            changed("tool.cc --version", Some("cc 12\nfree"), Some("cc 13\nfree"), &[]),
            "tool.cc --version: cc 12 → cc 13",
        );
        check(changed("input.train", Some("a"), Some("b"), &[]), "input.train changed");
        check(changed("input.dev", None, Some("b"), &[]), "input.dev is new");
        let four = changed("read.images", Some("a"), Some("b"), &["a.jpg", "b.jpg", "c", "d"]);
        let expected = "read.images changed: a.jpg changed, b.jpg changed, c changed, and 1 more";
        assert_eq!(format!("{four:#}").lines().count(), 5);
        check(four, expected);
        check(changed("read.csv", Some("a"), Some("b"), &["."]), "read.csv changed");
        let long = "x".repeat(100);
        let text = changed("param.run.2", Some(&long), Some("y"), &[]).to_string();
        assert_eq!(text.chars().count(), "param.run.2:  → y".chars().count() + LONGEST_VALUE);
    }
}
