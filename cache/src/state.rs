//! What the file system tells of a file without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Two equal states mean the same content, but for a write within the resolution of the clock of
/// the file system; see [`State::settled`].
///
/// The change time (`ctime`) cannot be set by programs, so an edit that restores size and
/// modification time still shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Bytes.
    pub(crate) size: u64,
    /// When the content was modified, in nanoseconds since 1970.
    pub(crate) modified: i64,
    /// When content or metadata were changed, in nanoseconds since 1970.
    pub(crate) changed: i64,
    /// The number of the file in its file system.
    pub(crate) inode: u64,
    /// The file system.
    pub(crate) device: u64,
}

impl State {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    /// Returns whether a write at or after `now` is bound to change the state.
    ///
    /// A file system stamps files with the time of the last tick, up to 10 ms ago, and some count
    /// only in seconds (FAT: in pairs of them). A file stamped later than that before `now` may be
    /// written once more without another stamp, so its state proves nothing ("racily clean" in
    /// git's words).
    pub(crate) fn settled(&self, now: SystemTime) -> bool {
        let coarse = self.modified % 1_000_000_000 == 0 || self.changed % 1_000_000_000 == 0;
        let resolution = Duration::from_millis(if coarse { 2_100 } else { 50 });
        let limit = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(resolution);
        i128::from(self.modified.max(self.changed)) < limit.as_nanos() as i128
    }
}

/// Returns whether the owner may execute the file.
pub(crate) fn executable(metadata: &Metadata) -> bool {
    metadata.mode() & 0o100 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_enough_stamps_are_settled() {
        let check = |modified_ms: i64, changed_ms: i64, extra: i64| {
            let stamp = |ms: i64| (100_000 + ms) * 1_000_000 + extra;
            let (modified, changed) = (stamp(modified_ms), stamp(changed_ms));
            State { size: 0, modified, changed, inode: 1, device: 1 }
                .settled(UNIX_EPOCH + Duration::from_secs(100))
        };
        assert!(check(-60, -60, 7));
        assert!(!check(-40, -60, 7));
        assert!(!check(-90_000, -40, 7), "the change time counts too");
        assert!(!check(5_000, -60, 7), "a time to come");
        assert!(check(-3_000, -3_000, 0));
        assert!(!check(-2_000, -2_000, 0), "full seconds may be a coarse clock");
    }
}
