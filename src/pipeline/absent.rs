//! What to say of a path that is not there.

use std::path::{Path, PathBuf};

use crate::suggest::{nearest, quoted};

/// Returns what was looked for, and what is there instead.
pub(super) fn describe(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let absolute = clean(&absolute);
    let mut help = format!("looked for {}", absolute.display());
    // The nearest directory that exists, and the name that is missing from it.
    let mut missing = absolute.as_path();
    while let Some(parent) = missing.parent() {
        if parent.is_dir() {
            if missing != absolute {
                help.push_str(&format!("; there is no {}", missing.display()));
            }
            let name = missing.file_name().unwrap_or_default().to_string_lossy();
            if let Some(near) = similar(parent, &name) {
                help.push_str(&format!("; {} has {}", parent.display(), quoted(&near)));
            }
            break;
        }
        missing = parent;
    }
    help
}

/// The name in a directory nearest to the one that is not there.
fn similar(directory: &Path, name: &str) -> Option<String> {
    const READ_AT_MOST: usize = 1_000;
    let entries = std::fs::read_dir(directory).ok()?.take(READ_AT_MOST).flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// Resolves `.` and `..` by the text alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(cleaned.components().next_back(), Some(Component::Normal(_))) =>
            {
                cleaned.pop();
            }
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_and_the_missing_directory_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("faces")).unwrap();
        let told = describe(&root.join("face")).replace(&root.display().to_string(), "ROOT");
        assert_eq!(told, "looked for ROOT/face; ROOT has `faces`");
        let told = describe(&root.join("fases/train")).replace(&root.display().to_string(), "ROOT");
        assert_eq!(told, "looked for ROOT/fases/train; there is no ROOT/fases; ROOT has `faces`");
    }

    #[test]
    fn paths_are_cleaned_by_text() {
        for (path, expected) in
            [("a/../b/./c", "b/c"), ("../x", "../x"), ("a/..", "."), ("/a/../../b", "/../b")]
        {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
