//! One file of a shard directory: a safetensors file that holds the tensor `images`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

/// The name of the one tensor: uint8 `[count, 3, height, width]`.
const TENSOR: &str = "images";
/// No header of one tensor is longer; a file that says so is not one of ours.
const LONGEST_HEADER: u64 = 1 << 20;

/// An open shard file whose header was checked.
#[derive(Debug)]
pub(super) struct ShardFile {
    path: PathBuf,
    file: File,
    count: usize,
    image_bytes: usize,
    /// Where the first image starts in the file.
    start: u64,
}

/// Returns where the shard of this number lies in a shard directory.
pub(super) fn path_of(directory: &Path, shard: usize) -> PathBuf {
    directory.join("shards").join(format!("{shard:05}.safetensors"))
}

/// Writes images, `[count, 3, height, width]` bytes, as a shard file, and returns that.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn write(
    path: &Path,
    height: usize,
    width: usize,
    images: &[u8],
) -> anyhow::Result<File> {
    let count = images.len() / (3 * height * width);
    let info = TensorInfo {
        dtype: Dtype::U8,
        shape: vec![count, 3, height, width],
        data_offsets: (0, images.len()),
    };
    let metadata = Metadata::new(None, vec![(TENSOR.to_owned(), info)])
        .with_context(|| format!("{} images of {height}x{width} do not fit a shard", count))?;
    let mut header = serde_json::to_vec(&metadata).context("a header is plain data")?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let put = || -> std::io::Result<File> {
        let mut file = File::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        file.write_all(images)?;
        Ok(file)
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

impl ShardFile {
    /// Opens a shard file of images of this size and checks its header and length.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is not such a file.
    pub(super) fn open(path: PathBuf, height: usize, width: usize) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let mut file = File::open(&path).with_context(|| format!("cannot open {shown}"))?;
        let mut length = [0; 8];
        file.read_exact(&mut length).with_context(|| format!("cannot read {shown}"))?;
        let length = u64::from_le_bytes(length);
        ensure!(length <= LONGEST_HEADER, "{shown} is not a shard: its header is too long");
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).with_context(|| format!("cannot read {shown}"))?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .with_context(|| format!("{shown} is not a safetensors file"))?;
        let Some(info) = metadata.info(TENSOR) else {
            bail!("{shown} is not a shard: it holds no tensor `{TENSOR}`");
        };
        let count = match info.shape[..] {
            [count, 3, h, w] if (h, w) == (height, width) && info.dtype == Dtype::U8 => count,
            _ => bail!(
                "{shown} holds {:?} numbers of shape {:?} where uint8 [count, 3, {height}, {width}] is meant",
                info.dtype,
                info.shape
            ),
        };
        let size = file.metadata().with_context(|| format!("cannot read {shown}"))?.len();
        let end = 8 + length + metadata.data_len() as u64;
        ensure!(size == end, "{shown} has {size} bytes where its header says {end}");
        let start = 8 + length + info.data_offsets.0 as u64;
        Ok(Self { path, file, count, image_bytes: 3 * height * width, start })
    }

    /// How many images it holds.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Reads consecutive images into `out`, `[images, 3, height, width]`; threads may share the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    ///
    /// # Panics
    ///
    /// When `out` is no whole number of images or reaches past the last.
    pub(super) fn read(&self, first: usize, out: &mut [u8]) -> anyhow::Result<()> {
        assert_eq!(out.len() % self.image_bytes, 0, "whole images");
        assert!(first + out.len() / self.image_bytes <= self.count, "within the shard");
        let at = self.start + (first * self.image_bytes) as u64;
        read_at(&self.file, out, at).with_context(|| format!("cannot read {}", self.path.display()))
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut out: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => (out, at) = (&mut out[read..], at + read as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ShardFile, write};

    #[test]
    fn images_come_back_and_others_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.safetensors");
        let images: Vec<u8> = (0..3 * 3 * 4 * 5).map(|x| x as u8).collect();
        write(&path, 4, 5, &images).unwrap();
        let shard = ShardFile::open(path.clone(), 4, 5).unwrap();
        let mut middle = vec![0; 2 * 60];
        shard.read(1, &mut middle).unwrap();
        assert_eq!((shard.count(), &middle[..]), (3, &images[60..]));

        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor("images").unwrap();
        assert_eq!((view.shape(), view.data()), (&[3, 3, 4, 5][..], &images[..]));
    }

    #[test]
    fn what_is_not_a_shard_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.safetensors");
        let refused = |part: &str| {
            let error = format!("{:#}", ShardFile::open(path.clone(), 2, 2).unwrap_err());
            assert!(error.contains("0.safetensors") && error.contains(part), "{error}");
        };
        refused("cannot open");
        std::fs::write(&path, b"abc").unwrap();
        refused("cannot read");
        std::fs::write(&path, [0xFF; 64]).unwrap();
        refused("header is too long");
        write(&path, 2, 3, &[0; 36]).unwrap();
        refused("[2, 3, 2, 3]");
        write(&path, 2, 2, &[0; 24]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        refused("where its header says");
    }
}
