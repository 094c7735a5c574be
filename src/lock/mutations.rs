//! Lock files that something happened to: told as a problem, or read as what they say.

use proptest::prelude::*;

use super::{Lock, Locked};
use cache::{Digest, Fingerprint};

fn text() -> String {
    let locked = |depends: &[(&str, &str)]| Locked {
        key: Fingerprint::new().key(),
        result: Digest::of(b"a"),
        declared: Digest::of(b"b"),
        depends: depends.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
        at: None,
    };
    let steps = [
        ("plain", locked(&[])),
        ("net@0.5", locked(&[("read.images", "ab"), ("tool.sh -c \"x\"", "1.2\n\t\\ \u{7f}é")])),
    ];
    Lock { steps: steps.map(|(name, locked)| (name.to_owned(), locked)).into() }.to_text()
}

/// Pieces of lock files, and some that do not belong there.
const PIECES: [&str; 14] = [
    "\n",
    "\"",
    "=",
    "{",
    "}",
    ",",
    ".",
    "\\",
    "\0",
    "version = 2",
    "[step]",
    "key = \"",
    "'''",
    "\u{e9}",
];

proptest! {
    #[test]
    fn whatever_happened_to_it_it_is_answered(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, 0..PIECES.len()), 1..6)
    ) {
        let mut text = text();
        for (place, cut, piece) in edits {
            let at = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.floor_char_boundary((at + cut).min(text.len())).max(at);
            text.replace_range(at..end, PIECES[piece]);
        }
        match Lock::parse("p.toml.lock".to_owned(), text) {
            Err(problem) => prop_assert!(!problem.to_string().is_empty()),
            Ok(lock) => {
                let again = Lock::parse("p.toml.lock".to_owned(), lock.to_text());
                let again = again.map_err(|problem| TestCaseError::fail(problem.to_string()))?;
                prop_assert!(again.differences(&lock).is_empty());
            }
        }
    }
}
