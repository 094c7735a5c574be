//! What the starts of a job say, read from files while they grow.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::placement::{Heard, Returned, hear_line};

/// What the name of every file of reports begins with; the number of the start follows.
const PREFIX: &str = "reports.";

/// The reports of a job. A job that is started anew begins a new file, and what an earlier start
/// said last does not count any more.
pub(super) struct Reports {
    directory: PathBuf,
    /// The latest start, once there is one.
    pub(super) start: Option<u64>,
    offset: u64,
    torn: Vec<u8>,
    /// What the latest start said last.
    pub(super) end: Option<Returned>,
}

impl Reports {
    pub(super) fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, start: None, offset: 0, torn: Vec::new(), end: None }
    }

    /// Hands on what has come since the last time.
    pub(super) fn read(&mut self, hear: &mut impl FnMut(Heard)) -> io::Result<()> {
        let latest = latest(&self.directory)?;
        if latest > self.start {
            (self.start, self.offset, self.end) = (latest, 0, None);
            self.torn.clear();
        }
        let Some(start) = self.start else { return Ok(()) };
        let mut file = File::open(path(&self.directory, start))?;
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.torn)? as u64;
        let whole = self.torn.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.torn.split_off(whole);
        let lines = std::mem::replace(&mut self.torn, rest);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(end) = hear_line(line, hear) {
                self.end = Some(end);
            }
        }
        Ok(())
    }
}

/// Returns the number of the latest start of a job, found by its reports.
///
/// The directory is listed, not asked for a name: a shared file system may remember for a while that
/// a name was not there.
pub(super) fn latest(directory: &Path) -> io::Result<Option<u64>> {
    let mut latest = None;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        latest = latest.max(number);
    }
    Ok(latest)
}

/// Where a start writes its reports.
pub(super) fn path(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{start}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn lines_that_say_nothing_are_passed_over(
            noise in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()
        ) {
            let directory = tempfile::tempdir().unwrap();
            let file = path(directory.path(), 0);
            let mut heard = Vec::new();
            let mut reports = Reports::new(directory.path());
            let line = r#"{"report":{"measure":{"name":"a","value":1.0}}}"#;
            let whole = [noise.as_slice(), b"\n", line.as_bytes(), b"\n"].concat();
            // It grows while it is read.
            for part in [&whole[..cut.index(whole.len())], &whole] {
                fs::write(&file, part).unwrap();
                reports.read(&mut |what| heard.push(what)).unwrap();
            }
            prop_assert_eq!(heard.len(), 1);
        }
    }

    #[test]
    fn a_job_started_anew_is_heard_anew() {
        let directory = tempfile::tempdir().unwrap();
        let mut heard = Vec::new();
        let mut reports = Reports::new(directory.path());
        reports.read(&mut |what| heard.push(what)).unwrap();
        assert_eq!(reports.start, None);
        let end =
            r#"{"end":{"error":"stopped","usage":{"cpu-seconds":1.0,"peak-memory-bytes":1}}}"#;
        fs::write(path(directory.path(), 0), format!("{end}\n")).unwrap();
        reports.read(&mut |what| heard.push(what)).unwrap();
        assert!(reports.end.is_some());
        let line = r#"{"report":{"measure":{"name":"a","value":1.0}}}"#;
        let next = path(directory.path(), 10);
        fs::write(&next, &line[..9]).unwrap();
        reports.read(&mut |what| heard.push(what)).unwrap();
        assert!(reports.end.is_none() && heard.is_empty());
        assert_eq!(reports.start, Some(10));
        fs::write(&next, format!("{line}\n{line}\n{line}")).unwrap();
        reports.read(&mut |what| heard.push(what)).unwrap();
        assert_eq!(heard.len(), 2);
    }
}
