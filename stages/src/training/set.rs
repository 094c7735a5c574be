//! The two labelled image sets of a training, and what may not differ between them.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::data::{Images, Shards};

/// Sets up to this many bytes are read into memory; larger ones image by image from their files,
/// which the system keeps in memory as far as it has any.
const IN_MEMORY: u64 = 8 << 30;

/// A labelled image set, open for reading in any order.
pub(crate) struct LabelledSet {
    /// Height and width of every image.
    pub(crate) size: [usize; 2],
    /// The name of each class.
    pub(crate) classes: Vec<String>,
    /// The class of each image.
    pub(crate) labels: Vec<u32>,
    /// The pixels.
    pub(crate) images: Images,
}

impl LabelledSet {
    /// Opens a shard directory.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is empty, or an image has no label.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let shards = Shards::open(directory)?;
        ensure!(shards.len() > 0, "{} holds no image", directory.display());
        Ok(Self {
            size: [shards.height(), shards.width()],
            classes: shards.classes().to_vec(),
            labels: shards.labels()?,
            images: open_images(&shards)?,
        })
    }

    /// Fails unless this set, which judges a training on `train`, has the same classes and size.
    ///
    /// # Errors
    ///
    /// With the first class that only one of them has.
    pub(crate) fn check_against(&self, train: &Self) -> anyhow::Result<()> {
        if let Some(class) = self.classes.iter().find(|class| !train.classes.contains(class)) {
            bail!("class `{class}` of dev is not in train: both need the same classes");
        }
        if let Some(class) = train.classes.iter().find(|class| !self.classes.contains(class)) {
            bail!("class `{class}` of train is not in dev: both need the same classes");
        }
        ensure!(
            self.classes == train.classes,
            "train and dev have the same classes in another order: preprocess both alike"
        );
        ensure!(
            self.size == train.size,
            "the images of train are {}x{} and those of dev {}x{}: preprocess both alike",
            train.size[0],
            train.size[1],
            self.size[0],
            self.size[1]
        );
        Ok(())
    }
}

/// Opens the pixels of a shard set, in memory where they are few enough.
///
/// # Errors
///
/// When a shard cannot be read.
pub(crate) fn open_images(shards: &Shards) -> anyhow::Result<Images> {
    shards.images(IN_MEMORY).context("cannot open the images")
}
