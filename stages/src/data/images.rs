//! The pixels of an image set, read in any order.

use std::borrow::Cow;

use anyhow::ensure;

use super::picture::Picture;
use super::shard_file::ShardFile;

/// All images of a set, in memory or left on disk.
#[derive(Debug)]
pub(crate) struct Images {
    height: usize,
    width: usize,
    /// The number of the first image of each shard, and the count of all at the end.
    starts: Vec<usize>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// `[images, 3, height, width]` of each shard.
    Memory(Vec<Vec<u8>>),
    Disk(Vec<ShardFile>),
}

impl Images {
    /// Reads everything when it takes at most `budget` bytes, else keeps the files open.
    pub(super) fn open(
        height: usize,
        width: usize,
        files: Vec<ShardFile>,
        budget: u64,
    ) -> anyhow::Result<Self> {
        let mut starts = vec![0];
        starts.extend(files.iter().scan(0, |seen, file| {
            *seen += file.count();
            Some(*seen)
        }));
        let image_bytes = 3 * height * width;
        let needed = starts[files.len()] as u64 * image_bytes as u64;
        let held = if needed <= budget {
            let read = |file: &ShardFile| {
                let mut bytes = vec![0; file.count() * image_bytes];
                file.read(0, &mut bytes).map(|()| bytes)
            };
            Held::Memory(files.iter().map(read).collect::<anyhow::Result<_>>()?)
        } else {
            Held::Disk(files)
        };
        Ok(Self { height, width, starts, held })
    }

    /// Makes a set of the planes of its shards.
    pub(crate) fn in_memory([height, width]: [usize; 2], shards: Vec<Vec<u8>>) -> Self {
        let mut starts = vec![0];
        for shard in &shards {
            starts.push(starts[starts.len() - 1] + shard.len() / (3 * height * width));
        }
        Self { height, width, starts, held: Held::Memory(shards) }
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Returns the three planes of an image, `[3, height, width]`.
    ///
    /// # Errors
    ///
    /// When there is no such image, or its file cannot be read.
    pub(crate) fn planes(&self, index: usize) -> anyhow::Result<Cow<'_, [u8]>> {
        ensure!(index < self.len(), "no image {index} in a set of {}", self.len());
        let shard = self.starts.partition_point(|&start| start <= index) - 1;
        let row = index - self.starts[shard];
        let size = 3 * self.height * self.width;
        match &self.held {
            Held::Memory(blocks) => Ok(Cow::Borrowed(&blocks[shard][row * size..][..size])),
            Held::Disk(files) => {
                let mut bytes = vec![0; size];
                files[shard].read(row, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Returns an image as numbers.
    ///
    /// # Errors
    ///
    /// As [`Images::planes`].
    pub(crate) fn picture(&self, index: usize) -> anyhow::Result<Picture> {
        Ok(Picture::from_planes(self.height, self.width, &self.planes(index)?))
    }
}
