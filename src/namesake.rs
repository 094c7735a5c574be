//! Pipelines in different files that have the same name, and so share what is known of their last results.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the file of another pipeline of this name that ran last in this store, and notes that `file` does now.
///
/// `file` and `root`, the directory of the project, are absolute.
#[must_use]
pub fn namesake(store: &Path, root: &Path, name: &str, file: &Path) -> Option<PathBuf> {
    let file = file.strip_prefix(root).unwrap_or(file);
    let names = store.join("names");
    let note = names.join(name);
    let before = fs::read_to_string(&note).ok().map(PathBuf::from);
    if before.as_deref() == Some(file) {
        return None;
    }
    // Nothing but a hint is lost with it, as in a store that may not be written to.
    if let Some(text) = file.to_str()
        && let Err(error) = fs::create_dir_all(&names).and_then(|()| fs::write(&note, text))
    {
        tracing::debug!("cannot write {}: {error}", note.display());
    }
    before.filter(|other| root.join(other).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_of_the_same_name_is_known() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        fs::create_dir(&store).unwrap();
        let run = |file: &str| {
            let file = std::path::absolute(root.path().join(file)).unwrap();
            namesake(&store, root.path(), "p", &file)
        };
        for file in ["one/p.toml", "two/p.toml"] {
            fs::create_dir(root.path().join(file).parent().unwrap()).unwrap();
            fs::write(root.path().join(file), "").unwrap();
        }
        assert_eq!(run("one/p.toml"), None);
        assert_eq!(run("./one/p.toml"), None);
        assert_eq!(run("two/p.toml"), Some("one/p.toml".into()));
        assert_eq!(run("two/p.toml"), None);
        // One that was renamed is no other.
        fs::rename(root.path().join("two"), root.path().join("three")).unwrap();
        assert_eq!(run("three/p.toml"), None);
    }
}
