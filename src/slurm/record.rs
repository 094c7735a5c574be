//! What is kept of a job from before it is submitted until Slurm says that it has ended.
//!
//! It lies in the directory of the store, `slurm/KEY/NAME/`, so that whoever comes after a run that
//! was killed finds the job: its guard, or the next run.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cache::{Key, Store};
use serde::{Deserialize, Serialize};

use super::{controller, start};

/// The record itself, in the directory of the job.
const RECORD: &str = "record.json";
/// How often Slurm is asked whether a job that is being ended is still there.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A job, as whoever must end it knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Record {
    /// Holds its description and its reports.
    pub(super) directory: PathBuf,
    /// Its name, of which there is no other but those of the same array.
    pub(super) name: String,
    /// Which task of an array it is.
    #[serde(default)]
    pub(super) task: Option<u32>,
    /// Where the scratch directory belongs that the job has taken.
    pub(super) scratch: Option<PathBuf>,
}

impl Record {
    /// Writes the record of a job that is about to be submitted.
    pub(super) fn write(self) -> io::Result<Self> {
        fs::create_dir_all(&self.directory)?;
        fs::write(self.directory.join(RECORD), serde_json::to_vec(&self)?)?;
        Ok(self)
    }

    /// Reads what is known of the job in a directory: nothing but its name, when the run was killed
    /// before it wrote more, and so before it submitted anything.
    fn read(directory: PathBuf) -> Self {
        let read = fs::read(directory.join(RECORD)).ok();
        read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_else(|| {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Self { directory, name, task: None, scratch: None }
        })
    }

    /// Lets no start of the job begin any more.
    pub(super) fn close(&self) -> io::Result<()> {
        gone(fs::remove_file(self.directory.join(start::DESCRIPTION)))
    }

    /// Kills the job of a run that has gone. One that is still being submitted will find no
    /// description and end by itself.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.close()?;
        controller::kill_named(&self.name, self.task)
    }

    /// Kills the jobs of a run that has gone, an array by one order.
    pub(crate) fn kill_all<'a>(records: impl IntoIterator<Item = &'a Self>) {
        let mut names = BTreeSet::new();
        for record in records {
            record.close().ok();
            names.insert(&record.name);
        }
        for name in names {
            controller::kill_named(name, None).ok();
        }
    }

    /// Waits until Slurm says that the job has ended, then removes the record.
    pub(crate) fn bury(&self, patience: Duration) -> io::Result<()> {
        let begin = Instant::now();
        while controller::is_there(&self.name, self.task)? {
            if begin.elapsed() > patience {
                let message = format!("the Slurm job {} does not end", self.name);
                return Err(io::Error::other(message));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.remove()
    }

    /// Removes the record of a job that has ended, and gives back what it had taken.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.close()?;
        if let Some(scratch) = &self.scratch {
            gone(start::take_scratch_back(&self.directory, scratch))?;
        }
        gone(fs::remove_dir_all(&self.directory))?;
        // Others of the same key may be there that could not be ended.
        if let Some(key) = self.directory.parent() {
            fs::remove_dir(key).ok();
        }
        Ok(())
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Where the records of the jobs of a key lie.
pub(crate) fn records_of(store: &Store, key: &Key) -> PathBuf {
    records(store).join(key.to_string())
}

fn records(store: &Store) -> PathBuf {
    store.root().join("slurm")
}

/// Ends the jobs of a key that a run left behind that went away together with its guard; whoever
/// calls it has the right to make the result of the key.
pub(crate) fn end_left(records: &Path, patience: Duration) -> io::Result<()> {
    let entries = match fs::read_dir(records) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let record = Record::read(entry?.path());
        tracing::debug!("ending the Slurm job {} of an earlier run", record.name);
        record.kill()?;
        record.bury(patience)?;
    }
    gone(fs::remove_dir(records))
}

/// Ends the jobs that runs left behind, whatever their key, but those of a run that lives.
pub(crate) fn sweep(store: &Store, patience: Duration) {
    for entry in fs::read_dir(records(store)).into_iter().flatten().flatten() {
        let Some(key) = entry.file_name().to_str().and_then(|name| name.parse::<Key>().ok()) else {
            continue;
        };
        match store.lock(&key, &mut || std::ops::ControlFlow::Break(())) {
            Ok(Some(_ours)) => {
                if let Err(error) = end_left(&entry.path(), patience) {
                    tracing::warn!("a Slurm job of an earlier run may still run: {error}");
                }
            }
            // A run that lives looks after its own.
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// Whether runs have left jobs behind, or are just running some.
pub(crate) fn any(store: &Store) -> bool {
    fs::read_dir(records(store)).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_even_when_it_is_torn() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("key/pipe-train-1");
        let scratch = Some(root.path().join("scratch"));
        let name = "pipe-train-1".to_owned();
        let record = Record { directory: directory.clone(), name, task: Some(3), scratch };
        let record = record.write().unwrap();
        assert_eq!(Record::read(directory.clone()), record);
        fs::write(directory.join(RECORD), "{\"na").unwrap();
        assert_eq!(Record::read(directory).name, "pipe-train-1");
    }

    #[test]
    fn removing_gives_the_scratch_directory_back() {
        let root = tempfile::tempdir().unwrap();
        let scratch = root.path().join("scratch");
        let directory = root.path().join("key/pipe-train-1");
        let name = "pipe-train-1".to_owned();
        let record = Record {
            directory: directory.clone(),
            name,
            task: None,
            scratch: Some(scratch.clone()),
        };
        let record = record.write().unwrap();
        fs::create_dir(directory.join("scratch.2")).unwrap();
        fs::write(directory.join("scratch.2/checkpoint"), "7").unwrap();
        record.remove().unwrap();
        assert_eq!(fs::read_to_string(scratch.join("checkpoint")).unwrap(), "7");
        assert!(!root.path().join("key").exists());
        record.remove().unwrap();
    }
}
