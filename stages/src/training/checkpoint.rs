//! Files from which a killed training goes on as if nothing had happened.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use crate::crc32c::crc32c;

/// The metadata entry that holds everything but the tensors.
const STATE: &str = "state";
/// After the safetensors bytes: their length and CRC-32C.
const TRAILER: usize = 12;
/// Older files are removed: one is enough unless it turns out damaged.
const KEPT: usize = 2;

/// What a training needs to go on: tensors by name, and the rest as JSON.
pub(crate) struct Checkpoint {
    /// Weights, the optimizer's state, and so on.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Whatever the loop keeps besides.
    pub(crate) state: String,
}

/// A folder of checkpoints.
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn open(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Writes the checkpoint of a step: whole, or not at all, whenever the process is killed.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; earlier checkpoints stay.
    pub(crate) fn save(&self, step: u64, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let path = self.folder.join(format!("{step:012}.checkpoint"));
        let metadata = HashMap::from([(STATE.to_owned(), checkpoint.state.clone())]);
        let mut bytes = safetensors::serialize(&checkpoint.tensors, Some(metadata))
            .with_context(|| format!("cannot encode {}", path.display()))?;
        let (length, sum) = (bytes.len() as u64, crc32c(&bytes));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&sum.to_le_bytes());
        self.put(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        for old in self.newest_first()?.into_iter().skip(KEPT) {
            fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(())
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let aside = path.with_extension("unfinished");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // The new name is on disk only once its folder is.
        File::open(&self.folder)?.sync_all()
    }

    /// Reads the newest checkpoint that is whole, its tensors on the CPU.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read; a damaged file is passed over with a warning.
    pub(crate) fn latest(&self) -> anyhow::Result<Option<Checkpoint>> {
        for path in self.newest_first()? {
            match read(&path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => tracing::warn!("passing over {}: {error:#}", path.display()),
            }
        }
        Ok(None)
    }

    fn newest_first(&self) -> anyhow::Result<Vec<PathBuf>> {
        let shown = self.folder.display();
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder).with_context(|| format!("cannot list {shown}"))? {
            let path = entry.with_context(|| format!("cannot list {shown}"))?.path();
            if path.extension().is_some_and(|extension| extension == "checkpoint") {
                paths.push(path);
            }
        }
        paths.sort_unstable_by(|a, b| b.cmp(a));
        Ok(paths)
    }
}

fn read(path: &Path) -> anyhow::Result<Checkpoint> {
    let bytes = fs::read(path)?;
    ensure!(bytes.len() > TRAILER, "it is cut short");
    let (bytes, trailer) = bytes.split_at(bytes.len() - TRAILER);
    let mut expected = (bytes.len() as u64).to_le_bytes().to_vec();
    expected.extend_from_slice(&crc32c(bytes).to_le_bytes());
    ensure!(trailer == expected, "it is cut short or damaged");
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let state = metadata.metadata().as_ref().and_then(|entries| entries.get(STATE));
    let state = state.context("it holds no state")?.clone();
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
    Ok(Checkpoint { tensors: tensors.into_iter().collect(), state })
}

/// Tells when a checkpoint is due because time has passed; what a checkpoint holds, and so every
/// result, does not depend on it.
pub(crate) struct Timer {
    interval: Option<Duration>,
    last: Instant,
}

impl Timer {
    /// Starts now; without an interval it is never due.
    pub(crate) fn start(interval: Option<Duration>) -> Self {
        Self { interval, last: now() }
    }

    /// Returns whether the interval has passed since the last time it was due.
    pub(crate) fn due(&mut self) -> bool {
        let Some(interval) = self.interval else { return false };
        let now = now();
        let due = now.duration_since(self.last) >= interval;
        if due {
            self.last = now;
        }
        due
    }
}

#[expect(clippy::disallowed_methods, reason = "when a checkpoint is made cannot change a result")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use candle_core::{Device, Tensor};

    use super::{Checkpoint, Checkpoints, Timer};

    fn checkpoint(number: f32) -> Checkpoint {
        let tensor = Tensor::new(&[number, 0.5], &Device::Cpu).unwrap();
        let count = Tensor::new(7_i64, &Device::Cpu).unwrap();
        let tensors =
            [("weights.a".to_owned(), tensor), ("weights.count".to_owned(), count)].into();
        Checkpoint { tensors, state: format!("state {number}") }
    }

    #[test]
    fn the_newest_whole_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(folder.path().join("checkpoints")).unwrap();
        assert!(checkpoints.latest().unwrap().is_none());
        for step in [8, 9, 10] {
            checkpoints.save(step, &checkpoint(step as f32)).unwrap();
        }
        let names = checkpoints.newest_first().unwrap();
        assert_eq!(names.len(), 2, "older ones go");
        let state = || checkpoints.latest().unwrap().map(|found| found.state);
        assert_eq!(state().as_deref(), Some("state 10"));
        let found = checkpoints.latest().unwrap().unwrap();
        assert_eq!(found.tensors["weights.a"].to_vec1::<f32>().unwrap(), [10.0, 0.5]);
        assert_eq!(found.tensors["weights.count"].to_scalar::<i64>().unwrap(), 7);

        let whole = fs::read(&names[0]).unwrap();
        for length in [0, 5, 12, whole.len() / 2, whole.len() - 1] {
            fs::write(&names[0], &whole[..length]).unwrap();
            assert_eq!(state().as_deref(), Some("state 9"), "cut to {length} bytes");
        }
        for place in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            fs::write(&names[0], damaged).unwrap();
            assert_eq!(state().as_deref(), Some("state 9"), "byte {place} changed");
        }
        fs::write(&names[0], whole).unwrap();
        assert_eq!(state().as_deref(), Some("state 10"));
    }

    #[test]
    fn a_timer_without_interval_never_rings() {
        assert!(!Timer::start(None).due());
        assert!(!Timer::start(Some(Duration::from_secs(3600))).due());
        assert!(Timer::start(Some(Duration::ZERO)).due());
    }
}
