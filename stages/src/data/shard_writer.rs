//! The making of a shard directory, one shard after another.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::early_sync::EarlySync;
use super::shard_file::{path_of, write};
use super::shards::{Entry, Facts, Row, Skipped};

/// Writes a shard directory; nothing in it depends on anything but the calls.
#[derive(Debug)]
pub(crate) struct ShardWriter {
    directory: PathBuf,
    facts: Facts,
    shards: usize,
    index: BufWriter<File>,
    sync: EarlySync,
}

impl ShardWriter {
    /// Starts a shard directory of images of this size in an existing directory.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
    pub(crate) fn create(
        directory: &Path,
        height: usize,
        width: usize,
        classes: Vec<String>,
    ) -> anyhow::Result<Self> {
        let folder = directory.join("shards");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = directory.join("index.jsonl");
        let index =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            facts: Facts { height, width, count: 0, classes, skipped: Vec::new() },
            shards: 0,
            index: BufWriter::new(index),
            sync: EarlySync::start(),
        })
    }

    /// Writes the next shard: what its images are, and their bytes, `[images, 3, height, width]`.
    /// Without images it writes nothing.
    ///
    /// # Errors
    ///
    /// When the bytes are not those of so many images, or the files cannot be written.
    pub(crate) fn write(&mut self, entries: &[Entry], images: &[u8]) -> anyhow::Result<()> {
        let Facts { height, width, .. } = self.facts;
        ensure!(
            images.len() == entries.len() * 3 * height * width,
            "{} bytes are not {} images of {height}x{width}",
            images.len(),
            entries.len()
        );
        if entries.is_empty() {
            return Ok(());
        }
        self.sync.take(write(&path_of(&self.directory, self.shards), height, width, images)?);
        self.list(entries)
    }

    /// Takes a file that holds just these images as the next shard, by a link to it.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub(crate) fn take_over(&mut self, entries: &[Entry], shard: &Path) -> anyhow::Result<()> {
        let path = path_of(&self.directory, self.shards);
        std::os::unix::fs::symlink(shard, &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.list(entries)
    }

    fn list(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        for (row, entry) in entries.iter().enumerate() {
            let row = Row {
                path: entry.path.clone(),
                label: entry.label,
                class: entry.class.clone(),
                shard: self.shards,
                row,
            };
            let mut line = serde_json::to_vec(&row).context("a row is plain data")?;
            line.push(b'\n');
            self.index.write_all(&line).with_context(|| self.index_failed())?;
        }
        self.facts.count += entries.len();
        self.shards += 1;
        Ok(())
    }

    /// Notes an image that was left out.
    pub(crate) fn skip(&mut self, path: String, error: String) {
        self.facts.skipped.push(Skipped { path, error });
    }

    /// How many images were left out so far.
    pub(crate) fn skipped(&self) -> usize {
        self.facts.skipped.len()
    }

    /// Completes the directory.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.index.flush().with_context(|| self.index_failed())?;
        let shards = self.directory.join("shards");
        self.sync.finish().with_context(|| format!("cannot write {}", shards.display()))?;
        let path = self.directory.join("shards.json");
        let mut text = serde_json::to_vec_pretty(&self.facts).context("facts are plain data")?;
        text.push(b'\n');
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn index_failed(&self) -> String {
        format!("cannot write {}", self.directory.join("index.jsonl").display())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::shards::{Entry, Shards};
    use super::ShardWriter;

    fn entry(path: &str, label: u32) -> Entry {
        let class = ["ann", "bob"][label as usize].to_owned();
        Entry { path: path.to_owned(), label: Some(label), class: Some(class) }
    }

    /// Two shards of two and one image of 1x2.
    fn make(directory: &Path) -> Vec<Entry> {
        let classes = vec!["ann".to_owned(), "bob".to_owned()];
        let mut writer = ShardWriter::create(directory, 1, 2, classes).unwrap();
        let entries = vec![entry("ann/1.png", 0), entry("ann/2.png", 0), entry("bob/1.png", 1)];
        let bytes: Vec<u8> = (0..18).collect();
        writer.write(&entries[..2], &bytes[..12]).unwrap();
        writer.skip("bob/0.png".to_owned(), "empty".to_owned());
        writer.write(&[], &[]).unwrap();
        writer.write(&entries[2..], &bytes[12..]).unwrap();
        assert!(writer.write(&entries, &bytes[..6]).is_err());
        writer.finish().unwrap();
        entries
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let entries = make(folder.path());
        let shards = Shards::open(folder.path()).unwrap();
        assert_eq!(shards.entries(), entries);
        assert_eq!((shards.len(), shards.height(), shards.width()), (3, 1, 2));
        assert_eq!(shards.classes(), ["ann", "bob"]);
        assert_eq!(shards.labels().unwrap(), [0, 0, 1]);
        assert_eq!(shards.skipped()[0].path, "bob/0.png");
        let blocks: Vec<_> = shards.blocks().map(Result::unwrap).collect();
        assert_eq!(blocks, [(0, (0..12).collect()), (2, (12..18).collect())]);
        for budget in [0, 17, 18, 1 << 20] {
            let images = shards.images(budget).unwrap();
            let planes: Vec<_> = (0..3).map(|i| images.planes(i).unwrap().to_vec()).collect();
            assert_eq!(planes.concat(), (0..18).collect::<Vec<u8>>());
            assert_eq!(images.picture(2).unwrap().pixels[1], 14.0 / 255.0);
            assert!(images.planes(3).is_err());
        }
    }

    #[test]
    fn a_directory_that_disagrees_with_itself_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.jsonl");
        make(folder.path());
        let whole = std::fs::read_to_string(&index).unwrap();
        let refused = |text: &str, part: &str| {
            std::fs::write(&index, text).unwrap();
            let error = format!("{:#}", Shards::open(folder.path()).unwrap_err());
            assert!(error.contains("index.jsonl") && error.contains(part), "{error}");
        };
        refused(&whole.replace("\"label\":1", "\"label\":2"), "label Some(2) is not class");
        refused(&whole.replace("\"row\":1", "\"row\":2"), "line 2: shard 0 row 2 is out of order");
        refused(&whole.replace("\"shard\":1", "\"shard\":5"), "out of order");
        refused(&whole[..whole.len() / 2], "line 2");
        refused(whole.split_inclusive('\n').next().unwrap(), "has 1 images");
        std::fs::write(&index, &whole).unwrap();
        std::fs::remove_file(folder.path().join("shards/00001.safetensors")).unwrap();
        let shards = Shards::open(folder.path()).unwrap();
        let error = format!("{:#}", shards.images(0).unwrap_err());
        assert!(error.contains("00001.safetensors"), "{error}");
    }
}
