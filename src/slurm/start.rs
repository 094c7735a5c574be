//! The node's side: one start of a job takes what is to be made away from the starts before it.
//!
//! A node that lost contact may go on computing while Slurm starts the job anew elsewhere. So every
//! start fills a directory of its own, and takes the scratch directory along under another name:
//! what an earlier start still writes goes to names that nobody reads any more, and only what the
//! latest start made is ever committed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::reports;
use crate::worker::{Job, Message, Server};

/// The description of a job, in its directory. Once it is gone, no start begins any more.
pub(super) const DESCRIPTION: &str = "job.json";
/// What the name of the scratch directory begins with while a start has it.
const SCRATCH: &str = "scratch.";

/// Does the work of the job in `directory`, under Slurm; returns whether the stage succeeded.
///
/// # Errors
///
/// When the directory cannot be used.
pub fn run(directory: &Path) -> anyhow::Result<bool> {
    let number = match std::env::var("SLURM_RESTART_COUNT") {
        Ok(text) if !text.is_empty() => text.parse().context("SLURM_RESTART_COUNT is no number")?,
        _ => 0,
    };
    let Some((job, channel)) = begin(directory, number)? else { return Ok(true) };
    let node = std::env::var("SLURMD_NODENAME").ok().or_else(|| {
        nix::unistd::gethostname().ok().map(|name| name.to_string_lossy().into_owned())
    });
    nix::unistd::dup2_stdout(io::stderr()).context("cannot redirect stdout to the log")?;
    Server::new(channel)?.serve(|send| {
        let job = job.context("the job is not understood")?;
        let device = stages::device::probe(job.device).map_err(anyhow::Error::msg)?.device;
        send(&Message::Begun { node: node.unwrap_or_default(), device })?;
        Ok(Job { device, ..job })
    })
}

/// Takes the job over from earlier starts; `None` when it is not to be done any more. What it does is
/// told where the reports are heard, a description that cannot be read included.
fn begin(directory: &Path, number: u64) -> anyhow::Result<Option<(anyhow::Result<Job>, File)>> {
    let text = match fs::read(directory.join(DESCRIPTION)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.context("cannot read the job")?,
    };
    if reports::latest(directory)?.is_some_and(|latest| latest >= number) {
        anyhow::bail!("a later start of this job has taken over");
    }
    // Two starts of one number, as when an order of Slurm comes twice: one of them gets it.
    let channel = File::create_new(reports::path(directory, number));
    let channel = channel.context("this start of the job has begun already")?;
    let job =
        serde_json::from_slice(&text).map_err(anyhow::Error::from).and_then(|mut job: Job| {
            job.out = out_of(&job.out, number);
            fs::create_dir(&job.out).context("the run has gone")?;
            job.scratch = take_scratch(directory, number, &job.scratch)?;
            Ok(job)
        });
    Ok(Some((job, channel)))
}

/// Where a start puts what it makes, beside the directory meant for the result.
pub(super) fn out_of(out: &Path, start: u64) -> PathBuf {
    out.with_extension(start.to_string())
}

/// Takes the scratch directory from the start that has it, or from `scratch`.
fn take_scratch(directory: &Path, number: u64, scratch: &Path) -> anyhow::Result<PathBuf> {
    let own = scratch_of(directory, number);
    // Another start may take it between the look and the rename; starts are few.
    for _ in 0..10 {
        let taken = taken_scratch(directory)?;
        anyhow::ensure!(taken <= Some(number), "a later start of this job has taken over");
        let from = taken.map_or_else(|| scratch.to_owned(), |taken| scratch_of(directory, taken));
        match fs::rename(&from, &own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|()| own).context("cannot take the scratch directory"),
        }
    }
    anyhow::bail!("there is no scratch directory: the run has gone")
}

/// Where a start has the scratch directory.
fn scratch_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{SCRATCH}{number}"))
}

/// Returns the number of the start that has the scratch directory.
fn taken_scratch(directory: &Path) -> io::Result<Option<u64>> {
    let mut taken = None;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse().ok());
        taken = taken.max(number);
    }
    Ok(taken)
}

/// Takes the scratch directory back from the starts of a job, to where a later try looks for it.
pub(super) fn take_scratch_back(directory: &Path, scratch: &Path) -> io::Result<()> {
    let Some(taken) = taken_scratch(directory)? else { return Ok(()) };
    match fs::rename(scratch_of(directory, taken), scratch) {
        // Another try has left something there since, which is newer.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

/// Takes the result of a start, which nobody else can name afterwards.
pub(super) fn take_result(out: &Path, start: u64) -> io::Result<()> {
    // The directory of the result is empty: a start fills another.
    fs::rename(out_of(out, start), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stages::DeviceChoice;

    struct Fixture {
        root: tempfile::TempDir,
        directory: PathBuf,
    }

    fn fixture() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("job");
        for name in ["job", "private/out", "scratch"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("scratch/checkpoint"), "7").unwrap();
        let job = Job {
            kind: "command".to_owned(),
            parameters: serde_json::Value::Null,
            inputs: [].into(),
            steps: [].into(),
            environment: [].into(),
            secrets: [].into(),
            out: root.path().join("private/out"),
            scratch: root.path().join("scratch"),
            earlier: None,
            device: DeviceChoice::Auto,
            threads: 1,
            sandbox: None,
            log: None,
            runner: 0,
        };
        fs::write(directory.join(DESCRIPTION), serde_json::to_vec(&job).unwrap()).unwrap();
        Fixture { root, directory }
    }

    #[test]
    fn what_an_earlier_start_still_writes_never_becomes_the_result() {
        let Fixture { root, directory } = fixture();
        let (first, _) = begin(&directory, 0).unwrap().unwrap();
        let first = first.unwrap();
        assert_eq!(fs::read_to_string(first.scratch.join("checkpoint")).unwrap(), "7");
        let (second, _) = begin(&directory, 1).unwrap().unwrap();
        let second = second.unwrap();
        assert_eq!(fs::read_to_string(second.scratch.join("checkpoint")).unwrap(), "7");
        // The first start did not hear that it is over.
        fs::write(first.out.join("x"), "stale").unwrap();
        assert!(fs::write(first.scratch.join("checkpoint"), "stale").is_err());
        fs::write(second.out.join("x"), "good").unwrap();
        let out = root.path().join("private/out");
        take_result(&out, 1).unwrap();
        assert!(fs::write(second.out.join("x"), "late").is_err());
        take_scratch_back(&directory, &root.path().join("scratch")).unwrap();
        assert_eq!(fs::read_to_string(out.join("x")).unwrap(), "good");
        assert_eq!(fs::read_to_string(root.path().join("scratch/checkpoint")).unwrap(), "7");
    }

    #[test]
    fn a_start_that_comes_late_or_twice_does_nothing() {
        let Fixture { directory, root: _root } = fixture();
        begin(&directory, 1).unwrap().unwrap().0.unwrap();
        assert!(begin(&directory, 1).is_err());
        assert!(begin(&directory, 0).is_err());
        fs::remove_file(directory.join(DESCRIPTION)).unwrap();
        assert!(begin(&directory, 2).unwrap().is_none());
    }

    #[test]
    fn a_scratch_directory_filled_meanwhile_stays() {
        let Fixture { root, directory } = fixture();
        begin(&directory, 0).unwrap().unwrap().0.unwrap();
        let scratch = root.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        fs::write(scratch.join("checkpoint"), "9").unwrap();
        take_scratch_back(&directory, &scratch).unwrap();
        assert_eq!(fs::read_to_string(scratch.join("checkpoint")).unwrap(), "9");
    }
}
