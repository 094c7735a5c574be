//! Which file a confined program was refused: what it said, checked against the rules and the disk.
//!
//! The kernel tells the program alone, and only that permission was denied. A name is believed when
//! the rules refuse it and this process, which is not confined, is not refused.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::rules::Rules;

/// What the systems, shells and languages print for EACCES.
const DENIED: &[&str] = &["permission denied", "eacces", "os error 13", "errno 13"];
/// How many names are told.
const MOST: usize = 8;

/// Something that the rules refuse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refused {
    Read(PathBuf),
    Write(PathBuf),
}

/// Adds to the error of a confined program what the sandbox had to do with it.
pub(crate) fn explain(error: &str, log: &str, rules: &Rules, root: &Path) -> String {
    let refused = find(log, rules, root);
    let shown = |path: &Path| match path.strip_prefix(root) {
        Ok(inside) if inside == Path::new("") => ".".to_owned(),
        inside => inside.unwrap_or(path).display().to_string(),
    };
    let mut lines = Vec::new();
    for one in refused.iter().take(MOST) {
        lines.push(match one {
            Refused::Read(path) => format!(
                "the sandbox refused to read `{}`, which the step does not declare: add it to `files`, or to \
                 `sandbox.read` if its content cannot change the result",
                shown(path)
            ),
            Refused::Write(path) => format!(
                "the sandbox refused to write `{}`: a program writes to {{out}}, {{scratch}} and TMPDIR",
                shown(path)
            ),
        });
    }
    if refused.len() > MOST {
        lines.push(format!("and {} more", refused.len() - MOST));
    }
    lines.push(error.to_owned());
    if refused.is_empty() {
        let note = "it ran in a sandbox, and may have been refused a file that it did not name; \
                    --sandbox off shows whether that is why";
        lines.push(note.to_owned());
    }
    lines.join("\n")
}

/// Finds what a log names in the same line as a denied permission, and the rules refuse.
fn find(log: &str, rules: &Rules, root: &Path) -> BTreeSet<Refused> {
    let denied = |line: &&str| {
        let line = line.to_lowercase();
        DENIED.iter().any(|words| line.contains(words))
    };
    let lines = log.lines().filter(denied);
    lines
        .flat_map(|line| names(line).into_iter().find_map(|name| name.judge(rules, root)))
        .collect()
}

/// What may be the name of a file in a line.
struct Name {
    text: String,
    /// Whether it stands where programs put the name: in quotes, or right before what went wrong.
    exact: bool,
}

/// Returns what may be a name in a line, the likeliest first.
fn names(line: &str) -> Vec<Name> {
    let mut names = Vec::new();
    for (open, close) in [('\'', '\''), ('"', '"'), ('`', '`'), ('\u{2018}', '\u{2019}')] {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once(open) {
            let Some((name, after)) = after.split_once(close) else { break };
            names.push(Name { text: name.to_owned(), exact: true });
            rest = after;
        }
    }
    // `cat: a file: Permission denied`, `sh: 1: cannot open a file: Permission denied`.
    let parts: Vec<&str> = line.split(": ").collect();
    for (index, part) in parts.iter().enumerate() {
        let words: Vec<&str> = part.split(' ').collect();
        let next = parts.get(index + 1).map(|next| next.to_lowercase()).unwrap_or_default();
        let before = DENIED.iter().any(|denied| next.starts_with(denied));
        names.extend((0..words.len()).map(|start| Name {
            text: words[start..].join(" "),
            exact: before && start + 1 == words.len(),
        }));
    }
    names.retain(|name| !name.text.is_empty());
    names
}

impl Name {
    /// Says whether the rules alone stand between a program and this file.
    fn judge(&self, rules: &Rules, root: &Path) -> Option<Refused> {
        let path = root.join(&self.text);
        let writable = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
        if let Ok(real) = path.canonicalize() {
            let is_around = root.starts_with(&real);
            if (is_around && !self.exact) || rules.may_write(&real) {
                return None;
            }
            if rules.may_read(&real) {
                return (self.exact && writable(&real)).then_some(Refused::Write(path));
            }
            return File::open(&real).is_ok().then_some(Refused::Read(path));
        }
        // A file that it wanted to make.
        let directory = path.parent()?.canonicalize().ok()?;
        let looks_right = self.exact && self.text.contains(['/', '.']);
        (looks_right && writable(&directory) && !rules.may_write(&directory))
            .then_some(Refused::Write(path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn project() -> (tempfile::TempDir, PathBuf, Rules) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for path in ["in", "out", "tmp"] {
            fs::create_dir(root.join(path)).unwrap();
        }
        for path in ["in/a.txt", "secret", "my file.txt"] {
            fs::write(root.join(path), "x").unwrap();
        }
        let rules = Rules::new(vec![root.join("in")], vec![root.join("out")], root.join("tmp"));
        (directory, root, rules)
    }

    #[test]
    fn the_file_is_found_in_what_programs_print() {
        let (_kept, root, rules) = project();
        let read = |name: &str| BTreeSet::from([Refused::Read(root.join(name))]);
        for (line, name) in [
            ("cat: secret: Permission denied", "secret"),
            ("cat: 'my file.txt': Permission denied", "my file.txt"),
            ("sh: 1: cannot open my file.txt: Permission denied", "my file.txt"),
            ("PermissionError: [Errno 13] Permission denied: 'secret'", "secret"),
            ("Error: EACCES: permission denied, open 'secret'", "secret"),
        ] {
            assert_eq!(find(line, &rules, &root), read(name), "{line}");
        }
        let written = BTreeSet::from([Refused::Write(root.join("stray.txt"))]);
        let line = "sh: 1: cannot create stray.txt: Permission denied";
        assert_eq!(find(line, &rules, &root), written);
    }

    #[test]
    fn a_line_of_a_log_holds_other_words_too() {
        let (_kept, root, rules) = project();
        let line = "2026-11-24T01:14:44.123Z  INFO sh: 1.5 of in failed: Permission denied";
        assert_eq!(find(line, &rules, &root), BTreeSet::new());
    }

    #[test]
    fn what_the_rules_allow_is_not_blamed_on_them() {
        let (_kept, root, rules) = project();
        for line in ["cat: out/x.txt: Permission denied", "cat: secret: No such file", "denied"] {
            assert_eq!(find(line, &rules, &root), BTreeSet::new(), "{line}");
        }
        let told = explain("`sh` failed", "", &rules, &root);
        assert!(told.starts_with("`sh` failed\nit ran in a sandbox"), "{told}");
    }
}
