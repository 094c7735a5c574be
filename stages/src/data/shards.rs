//! A prepared image set on disk: what `preprocess` writes and every later stage reads.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::images::Images;
use super::shard_file::{ShardFile, path_of};

/// A directory of shards: `shards/00000.safetensors` and so on, `index.jsonl`, `shards.json`.
#[derive(Debug)]
pub(crate) struct Shards {
    directory: PathBuf,
    facts: Facts,
    entries: Vec<Entry>,
    /// How many images each shard holds.
    counts: Vec<usize>,
}

/// What is known of one image besides its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative to the folder that was read, with `/`.
    pub(crate) path: String,
    /// The class, a position in [`Shards::classes`]; none in a flat folder.
    pub(crate) label: Option<u32>,
    /// The name of the class.
    pub(crate) class: Option<String>,
}

/// An image that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Skipped {
    /// Relative to the folder that was read, with `/`.
    pub(crate) path: String,
    /// Why.
    pub(crate) error: String,
}

/// The contents of `shards.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Facts {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) count: usize,
    pub(super) classes: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
}

/// A line of `index.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Row {
    pub(super) path: String,
    pub(super) label: Option<u32>,
    pub(super) class: Option<String>,
    pub(super) shard: usize,
    pub(super) row: usize,
}

impl Shards {
    /// Reads the index of a shard directory, and nothing of the images yet.
    ///
    /// # Errors
    ///
    /// When a file is missing or does not fit the others.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("shards.json");
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let facts: Facts = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what preprocess writes", path.display()))?;
        ensure!(facts.height > 0 && facts.width > 0, "{}: images have no pixels", path.display());

        let path = directory.join("index.jsonl");
        let shown = path.display();
        let file = File::open(&path).with_context(|| format!("cannot read {shown}"))?;
        let mut entries = Vec::with_capacity(facts.count);
        let mut counts: Vec<usize> = Vec::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.with_context(|| format!("cannot read {shown}"))?;
            let place = || format!("{shown}, line {}", number + 1);
            let row: Row = serde_json::from_str(&line).with_context(place)?;
            if row.shard == counts.len() {
                counts.push(0);
            }
            let next = counts.len().checked_sub(1).map(|shard| (shard, counts[shard]));
            ensure!(
                next == Some((row.shard, row.row)),
                "{}: shard {} row {} is out of order",
                place(),
                row.shard,
                row.row
            );
            counts[row.shard] += 1;
            let named = row.label.map(|label| facts.classes.get(label as usize));
            ensure!(
                named.map(|class| class.map(String::as_str)) == row.class.as_deref().map(Some),
                "{}: label {:?} is not class {:?} of shards.json",
                place(),
                row.label,
                row.class
            );
            entries.push(Entry { path: row.path, label: row.label, class: row.class });
        }
        ensure!(
            entries.len() == facts.count,
            "{shown} has {} images where shards.json says {}",
            entries.len(),
            facts.count
        );
        Ok(Self { directory: directory.to_owned(), facts, entries, counts })
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Rows of every image.
    pub(crate) fn height(&self) -> usize {
        self.facts.height
    }

    /// Pixels in a row of every image.
    pub(crate) fn width(&self) -> usize {
        self.facts.width
    }

    /// Every image, in the order of [`Shards::blocks`] and [`Images::read`].
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many images each shard holds.
    pub(crate) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The names of the classes by label; empty when nothing is labelled.
    pub(crate) fn classes(&self) -> &[String] {
        &self.facts.classes
    }

    /// What was left out, and why.
    #[cfg(test)]
    pub(crate) fn skipped(&self) -> &[Skipped] {
        &self.facts.skipped
    }

    /// The label of every image.
    ///
    /// # Errors
    ///
    /// When an image has none; its path is in the message.
    pub(crate) fn labels(&self) -> anyhow::Result<Vec<u32>> {
        let label = |entry: &Entry| {
            entry.label.with_context(|| {
                format!(
                    "{} of {} has no label: the images must lie in one folder for each class",
                    entry.path,
                    self.directory.display()
                )
            })
        };
        self.entries.iter().map(label).collect()
    }

    /// Opens the images for reading in any order: in memory when they take at most `budget` bytes,
    /// else each from its file when it is asked for.
    ///
    /// # Errors
    ///
    /// When a shard cannot be read.
    pub(crate) fn images(&self, budget: u64) -> anyhow::Result<Images> {
        let files = (0..self.counts.len()).map(|shard| self.file(shard));
        Images::open(self.height(), self.width(), files.collect::<anyhow::Result<_>>()?, budget)
    }

    /// Reads the images in order, one shard at a time: the number of the first image of the shard,
    /// and its bytes, `[images, 3, height, width]`.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = anyhow::Result<(usize, Vec<u8>)>> {
        let mut first = 0;
        self.counts.iter().enumerate().map(move |(shard, &count)| {
            let mut bytes = vec![0; count * 3 * self.height() * self.width()];
            self.file(shard)?.read(0, &mut bytes)?;
            first += count;
            Ok((first - count, bytes))
        })
    }

    fn file(&self, shard: usize) -> anyhow::Result<ShardFile> {
        let path = path_of(&self.directory, shard);
        let shown = path.display().to_string();
        let file = ShardFile::open(path, self.height(), self.width())?;
        ensure!(
            file.count() == self.counts[shard],
            "{shown} holds {} images where index.jsonl says {}",
            file.count(),
            self.counts[shard]
        );
        Ok(file)
    }
}
