//! Which files of a folder are images, in which order, and of which class.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use walkdir::{DirEntry, WalkDir};

use super::shards::Entry;

/// How a folder tells the class of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    /// `folder-per-class` where all images lie in sub-folders, `flat` where none does; else an error.
    #[default]
    Auto,
    /// As torchvision's `ImageFolder`: each sub-folder is a class with all images below it; its label
    /// is its position among the sub-folders sorted by name.
    FolderPerClass,
    /// Images without labels, at any depth.
    Flat,
}

/// The images of a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The class folders by name; empty for a flat folder.
    pub(crate) classes: Vec<String>,
    /// Sorted by path, folder by folder (bytes of UTF-8, as Python sorts names).
    pub(crate) entries: Vec<Entry>,
    /// How many files were passed over for their ending.
    pub(crate) ignored: usize,
}

/// Lists the images below a folder: files with one of these endings (without the dot, in any case).
/// What starts with a dot is passed over; links are followed.
///
/// # Errors
///
/// When the folder cannot be read, does not have the layout, holds no image, has a class without
/// one, or has a name that is not UTF-8.
pub(crate) fn list(root: &Path, layout: Layout, extensions: &[String]) -> anyhow::Result<Listing> {
    let shown = root.display();
    ensure!(root.is_dir(), "{shown} is not a folder of images");
    let mut paths: Vec<Vec<String>> = Vec::new();
    let mut folders = Vec::new();
    let mut ignored = 0;
    let visible = |entry: &DirEntry| {
        entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let walk = WalkDir::new(root).follow_links(true).into_iter().filter_entry(visible);
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot list {shown}"))?;
        if entry.file_type().is_dir() {
            if entry.depth() == 1 {
                folders.push(names(root, &entry)?.concat());
            }
        } else if wanted(entry.path(), extensions) {
            paths.push(names(root, &entry)?);
        } else {
            ignored += 1;
        }
    }
    ensure!(
        !paths.is_empty(),
        "no image in {shown}: none of its {ignored} files ends in .{}",
        extensions.join(", .")
    );
    paths.sort_unstable();
    folders.sort_unstable();

    let loose = paths.iter().find(|path| path.len() == 1);
    let deep = paths.iter().find(|path| path.len() > 1);
    let classes = match (layout, loose, deep) {
        (Layout::Flat, _, _) | (Layout::Auto, Some(_), None) => Vec::new(),
        (Layout::FolderPerClass | Layout::Auto, None, _) => folders,
        (Layout::FolderPerClass, Some(loose), _) => {
            bail!("{shown}/{} lies in no class folder", loose.concat())
        }
        (Layout::Auto, Some(loose), Some(deep)) => bail!(
            "{shown} has images both in folders ({}) and outside ({}): say which layout is meant, \
             \"folder-per-class\" or \"flat\"",
            deep.join("/"),
            loose.concat()
        ),
    };
    let mut labels = Vec::with_capacity(paths.len());
    if classes.is_empty() {
        labels.resize(paths.len(), None);
    } else {
        let mut filled = vec![false; classes.len()];
        for path in &paths {
            let label = classes.binary_search(&path[0]).expect("the folder of a listed file");
            filled[label] = true;
            labels.push(Some(label as u32));
        }
        let empty: Vec<_> = (0..classes.len()).filter(|&label| !filled[label]).collect();
        ensure!(
            empty.is_empty(),
            "{} class folders of {shown} hold no image, the first is `{}`: remove them or add images",
            empty.len(),
            classes[empty[0]]
        );
    }
    let entries = paths.iter().zip(labels).map(|(path, label)| Entry {
        path: path.join("/"),
        label,
        class: label.map(|label| classes[label as usize].clone()),
    });
    Ok(Listing { entries: entries.collect(), classes, ignored })
}

fn wanted(path: &Path, extensions: &[String]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|ours| extensions.iter().any(|one| one.eq_ignore_ascii_case(ours)))
}

/// The names from the root down to an entry.
fn names(root: &Path, entry: &DirEntry) -> anyhow::Result<Vec<String>> {
    let below = entry.path().strip_prefix(root).expect("a walk stays below its root");
    let name = |part: std::path::Component<'_>| {
        let name = part.as_os_str().to_str().map(str::to_owned);
        name.with_context(|| format!("the name of {} is not UTF-8", entry.path().display()))
    };
    below.components().map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Layout, list};

    fn make(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        root
    }

    fn listed(root: &Path, layout: Layout) -> Result<Vec<(String, Option<u32>)>, String> {
        let listing = list(root, layout, &["jpg".to_owned(), "png".to_owned()])
            .map_err(|error| format!("{error:#}"))?;
        for entry in &listing.entries {
            let class = entry.label.map(|label| listing.classes[label as usize].clone());
            assert_eq!(class, entry.class);
        }
        Ok(listing.entries.into_iter().map(|entry| (entry.path, entry.label)).collect())
    }

    #[test]
    fn classes_are_folders_in_order_of_name() {
        let root = make(&[
            "b/2.jpg",
            "b/10.JPG",
            "a-b/1.png",
            "a/z.jpg",
            "a/deep/y.jpg",
            "a/notes.txt",
            ".hidden/1.jpg",
            "b/.thumb.jpg",
        ]);
        let want = [
            ("a/deep/y.jpg", 0),
            ("a/z.jpg", 0),
            ("a-b/1.png", 1),
            ("b/10.JPG", 2),
            ("b/2.jpg", 2),
        ];
        let want: Vec<_> = want.map(|(path, label)| (path.to_owned(), Some(label))).into();
        assert_eq!(listed(root.path(), Layout::Auto).unwrap(), want);
        assert_eq!(listed(root.path(), Layout::FolderPerClass).unwrap(), want);
        let flat = listed(root.path(), Layout::Flat).unwrap();
        assert!(flat.iter().all(|(_, label)| label.is_none()) && flat.len() == 5);
    }

    #[test]
    fn a_flat_folder_has_no_labels() {
        let root = make(&["2.jpg", "1.jpg", "10.jpg"]);
        let want: Vec<_> = ["1.jpg", "10.jpg", "2.jpg"].map(|one| (one.to_owned(), None)).into();
        assert_eq!(listed(root.path(), Layout::Auto).unwrap(), want);
        let error = listed(root.path(), Layout::FolderPerClass).unwrap_err();
        assert!(error.contains("1.jpg lies in no class folder"), "{error}");
    }

    #[test]
    fn what_is_unclear_is_an_error() {
        let says = |files: &[&str], part: &str| {
            let root = make(files);
            let error = listed(root.path(), Layout::Auto).unwrap_err();
            let named = error.contains(&root.path().display().to_string());
            assert!(named && error.contains(part), "{error}");
        };
        says(&["a/1.jpg", "2.jpg"], "both in folders (a/1.jpg) and outside (2.jpg)");
        says(&["a/1.jpg", "b/1.txt"], "1 class folders");
        says(&["a/1.txt"], "none of its 1 files ends in .jpg, .png");
        says(&[], "no image");
        let error = listed(Path::new("no/such"), Layout::Auto).unwrap_err();
        assert_eq!(error, "no/such is not a folder of images");
    }
}
