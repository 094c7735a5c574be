//! What ARCHITECTURE.md promises of the source tree, checked on the tree itself.

use std::fs;
use std::path::{Path, PathBuf};

/// No file may grow past this; the seam is to be looked for from 400 on.
const MOST_LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the three packages and the tests, relative to the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> =
        ["src", "stages/src", "cache/src", "cache/tests", "tests"].map(|f| root().join(f)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let path = path.strip_prefix(root()).expect("it is below the root").to_owned();
                sources.push((path, text));
            }
        }
    }
    assert!(sources.len() > 50, "only {} files found: has the layout moved?", sources.len());
    sources.sort();
    sources
}

/// Fails with every path for which `wrong` says why.
fn check(wrong: impl Fn(&Path, &str) -> Option<String>) {
    let found: Vec<String> = sources()
        .iter()
        .filter_map(|(path, text)| Some(format!("{}: {}", path.display(), wrong(path, text)?)))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    check(|_, text| (!text.starts_with("//! ")).then(|| "does not begin with `//! `".to_owned()));
}

#[test]
fn no_file_is_too_long() {
    check(|_, text| {
        let lines = text.lines().count();
        (lines > MOST_LINES).then(|| format!("{lines} lines"))
    });
}

#[test]
fn names_say_what_is_inside() {
    const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "common", "manager"];
    check(|path, _| {
        let mut parts = path.iter().map(|part| part.to_string_lossy());
        parts
            .any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs")))
            .then(|| "the name says nothing".to_owned())
    });
}

#[test]
fn unsafe_code_stays_in_the_kernels() {
    check(|path, text| {
        if path.starts_with("stages/src/ops") || path.ends_with("structure.rs") {
            return None;
        }
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        text.lines()
            .filter(is_code)
            .any(|line| line.contains("unsafe {") || line.contains("unsafe fn"))
            .then(|| "unsafe outside stages/src/ops".to_owned())
    });
}

#[test]
fn futures_stay_in_the_client_of_remotes() {
    check(|path, text| {
        let allowed = path.ends_with("src/remote/client.rs") || path.ends_with("structure.rs");
        (!allowed && text.contains(".await")).then(|| "waits for a future".to_owned())
    });
}

#[test]
fn the_leaves_know_nothing_of_each_other() {
    let dependencies = |manifest: &str| {
        let text = fs::read_to_string(root().join(manifest)).expect("the manifest is readable");
        let table: toml::Table = text.parse().expect("the manifest is TOML");
        ["dependencies", "dev-dependencies"]
            .iter()
            .filter_map(|section| table.get(*section)?.as_table())
            .flat_map(|section| section.keys().cloned())
            .collect::<Vec<String>>()
    };
    let (root, stages, cache) = (
        dependencies("Cargo.toml"),
        dependencies("stages/Cargo.toml"),
        dependencies("cache/Cargo.toml"),
    );
    assert!(root.contains(&"stages".to_owned()) && root.contains(&"cache".to_owned()));
    assert!(!root.iter().any(|name| name.starts_with("candle")), "the engine can name a tensor");
    assert!(!stages.contains(&"cache".to_owned()) && !stages.contains(&"pipe".to_owned()));
    assert!(!cache.contains(&"stages".to_owned()) && !cache.contains(&"pipe".to_owned()));
}
