//! Files brought to the disk while others are made, so that whoever waits for all of them at the end waits less.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Files that may wait; with a slow disk further ones are left to the end.
const WAITING: usize = 4;

/// A thread that waits for files to arrive on the disk, for all but the last.
///
/// An error of the disk is told once, to the first who asks, so it must not be lost here: [`Self::finish`] has it.
#[derive(Debug)]
pub(super) struct EarlySync {
    /// Handed over when another follows: at the end there is nothing to do meanwhile.
    last: Option<File>,
    files: SyncSender<File>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl EarlySync {
    /// Starts it. Where the system has no thread to give, all files are left to the end.
    pub(super) fn start() -> Self {
        let (files, waiting) = sync_channel(WAITING);
        let arrive =
            |waiting: Receiver<File>| waiting.into_iter().try_for_each(|file| file.sync_data());
        let thread = Builder::new().name("early sync".to_owned()).spawn(move || arrive(waiting));
        Self { last: None, files, thread: thread.ok() }
    }

    /// Hands over a file that is complete; never waits.
    pub(super) fn take(&mut self, file: File) {
        if let Some(before) = self.last.replace(file) {
            // where too many wait, or the thread has ended, it is left to the end
            let _ = self.files.try_send(before);
        }
    }

    /// Waits for what was handed over.
    ///
    /// # Errors
    ///
    /// When a file did not arrive.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.files);
        let ended = self.thread.map(|thread| thread.join().expect("it only waits for files"));
        ended.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::EarlySync;

    #[test]
    fn more_files_than_may_wait_are_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let mut sync = EarlySync::start();
        for number in 0..50_u8 {
            let mut file = File::create(folder.path().join(number.to_string())).unwrap();
            file.write_all(&[number; 1000]).unwrap();
            sync.take(file);
        }
        sync.finish().unwrap();
        for number in 0..50_u8 {
            let bytes = std::fs::read(folder.path().join(number.to_string())).unwrap();
            assert_eq!(bytes, [number; 1000]);
        }
    }

    /// A device has nothing to bring to a disk, and says so.
    #[test]
    fn what_does_not_arrive_is_told() {
        let mut sync = EarlySync::start();
        for _ in 0..2 {
            sync.take(File::options().write(true).open("/dev/null").unwrap());
        }
        assert_eq!(sync.finish().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}
