//! Waits until files or directories hold something else.
//!
//! The kernel tells when to look (inotify and its kin), or a clock does where the kernel cannot:
//! on file systems of other machines, or when it has no room for more watches. What counts is
//! content: a file that is only touched is not a change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use cache::{Listing, Store, StoreError};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// How long nothing may happen before a change is taken to be over.
const QUIET: Duration = Duration::from_millis(200);
/// A change that goes on is taken to be over after this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the keyboard is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often to look where the kernel does not tell.
const POLL: Duration = Duration::from_secs(2);

/// What is at a place; none when nothing can be read there.
type Content = Option<Listing>;

/// Files and directories that are looked at for changes.
pub struct Watch {
    store: PathBuf,
    /// What is there, as it was when it was last looked at.
    seen: BTreeMap<PathBuf, Content>,
    watcher: Option<RecommendedWatcher>,
    /// How often to look, when that is not left to the kernel.
    poll: Option<Duration>,
    /// Whether the user wants it so.
    always_poll: bool,
    sender: Sender<notify::Result<notify::Event>>,
    receiver: Receiver<notify::Result<notify::Event>>,
}

impl Watch {
    /// Watches nothing yet; the store in the directory `store` knows the digests of files. With
    /// `poll` the kernel is not asked.
    #[must_use]
    pub fn new(store: &Path, poll: Option<Duration>) -> Self {
        let (sender, receiver) = channel();
        Self {
            store: store.to_owned(),
            seen: BTreeMap::new(),
            watcher: None,
            poll,
            always_poll: poll.is_some(),
            sender,
            receiver,
        }
    }

    /// Watches these, and no others.
    ///
    /// # Errors
    ///
    /// When the store cannot be used.
    pub fn set(&mut self, places: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
        if !self.always_poll {
            // Asked before the look, so that what comes after it is told.
            self.poll = None;
            if let Err(error) = self.ask_kernel(places) {
                tracing::debug!("looking every {} s: {error}", POLL.as_secs());
                self.poll = Some(POLL);
            }
        }
        self.seen = look(&self.store, places.iter())?;
        // As the kernel tells of it, now that it is there.
        self.store = self.store.canonicalize().unwrap_or_else(|_| self.store.clone());
        Ok(())
    }

    /// How often it looks, where the kernel does not tell.
    #[must_use]
    pub const fn polls(&self) -> Option<Duration> {
        self.poll
    }

    /// Waits for a change and returns the paths that changed; none when it was interrupted.
    ///
    /// # Errors
    ///
    /// When the store cannot be used.
    pub fn wait(&mut self, interrupt: &AtomicBool) -> Result<Option<Vec<PathBuf>>, StoreError> {
        loop {
            if !self.wait_for_sign(interrupt) {
                return Ok(None);
            }
            let now = look(&self.store, self.seen.keys())?;
            let changed = self.changed(&now);
            self.seen = now;
            if !changed.is_empty() {
                return Ok(Some(changed));
            }
        }
    }

    /// Waits until it is worth looking; false when interrupted.
    fn wait_for_sign(&self, interrupt: &AtomicBool) -> bool {
        let begin = Instant::now();
        let mut first: Option<Instant> = None;
        let mut last = begin;
        loop {
            if interrupt.load(Ordering::SeqCst) {
                return false;
            }
            let now = Instant::now();
            let is_over = first.is_some_and(|at| now - last >= QUIET || now - at >= PATIENCE);
            if is_over || self.poll.is_some_and(|poll| now - begin >= poll) {
                return true;
            }
            match self.receiver.recv_timeout(TICK) {
                Ok(sign) if self.counts(&sign) => {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
            }
        }
    }

    /// Whether a sign may mean a change of what is watched. That something was lost may.
    fn counts(&self, sign: &notify::Result<notify::Event>) -> bool {
        let Ok(event) = sign else { return true };
        if event.kind.is_access() {
            return false;
        }
        let near = |path: &PathBuf| {
            let watched = |place: &PathBuf| path.starts_with(place) || place.starts_with(path);
            !path.starts_with(&self.store) && self.seen.keys().any(watched)
        };
        event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(near)
    }

    fn changed(&self, now: &BTreeMap<PathBuf, Content>) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (place, content) in now {
            match (self.seen.get(place).unwrap_or(&None), content) {
                (None, None) => {}
                (Some(before), Some(after)) => {
                    let names = after.differences(before).into_iter();
                    changed.extend(names.map(|(name, _)| match name.as_str() {
                        Listing::ITSELF => place.clone(),
                        name => place.join(name),
                    }));
                }
                _ => changed.push(place.clone()),
            }
        }
        changed.sort();
        changed.dedup();
        changed
    }

    /// Has the kernel tell of changes; asked anew for all, since a directory that was removed and
    /// made again is another.
    fn ask_kernel(&mut self, places: &BTreeSet<PathBuf>) -> notify::Result<()> {
        let mut wanted: BTreeMap<PathBuf, RecursiveMode> = BTreeMap::new();
        for place in places {
            let (path, mode) = match place.is_dir() {
                true => (place.as_path(), RecursiveMode::Recursive),
                // An editor writes another file and renames it; who watches the file misses that.
                false => (nearest(place), RecursiveMode::NonRecursive),
            };
            if is_remote(path) {
                let message = format!("{} may be changed by other machines", path.display());
                return Err(notify::Error::generic(&message));
            }
            let known = wanted.entry(path.to_owned()).or_insert(mode);
            if mode == RecursiveMode::Recursive {
                *known = mode;
            }
        }
        if self.watcher.is_none() {
            self.watcher = Some(notify::recommended_watcher(self.sender.clone())?);
        }
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        // Of what is watched no longer, signs are not counted.
        wanted.iter().try_for_each(|(path, mode)| watcher.watch(path, *mode))
    }
}

/// The nearest directory upwards that is there.
fn nearest(place: &Path) -> &Path {
    place.ancestors().skip(1).find(|directory| directory.is_dir()).unwrap_or(Path::new("/"))
}

/// Looks what is at each place.
fn look<'a>(
    store: &Path,
    places: impl Iterator<Item = &'a PathBuf>,
) -> Result<BTreeMap<PathBuf, Content>, StoreError> {
    // Not kept open: who waits must not keep others from cleaning up.
    let store = Store::open(store)?;
    Ok(places.map(|place| (place.clone(), store.scan(place).ok())).collect())
}

/// Whether other machines may change files here without this kernel noticing.
#[cfg(target_os = "linux")]
fn is_remote(path: &Path) -> bool {
    use nix::sys::statfs::{FsType, statfs};
    // From statfs(2): NFS, SMB in three versions, FUSE, 9p, AFS, Ceph, Lustre, GPFS.
    const REMOTE: [FsType; 10] = [
        FsType(0x6969),
        FsType(0x517b),
        FsType(0xff53_4d42),
        FsType(0xfe53_4d42),
        FsType(0x6573_5546),
        FsType(0x0102_1997),
        FsType(0x5346_414f),
        FsType(0x00c3_6400),
        FsType(0x0bd0_0bd0),
        FsType(0x4750_4653),
    ];
    statfs(path).is_ok_and(|system| REMOTE.contains(&system.filesystem_type()))
}

/// Elsewhere that is not known.
#[cfg(not(target_os = "linux"))]
fn is_remote(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Watches a directory and a file, does something and returns what is told, relative to the root.
    fn told(poll: Option<Duration>, act: impl Fn(&Path) + Sync) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("data/below")).unwrap();
        fs::write(root.join("data/below/a"), "a").unwrap();
        fs::write(root.join("p.toml"), "p").unwrap();
        let mut watch = Watch::new(&root.join("store"), poll);
        watch.set(&["data", "p.toml"].map(|name| root.join(name)).into()).unwrap();
        let interrupt = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                act(&root);
            });
            let changed = watch.wait(&interrupt).unwrap().unwrap();
            let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
            changed.iter().map(name).collect()
        })
    }

    fn renamed_over(root: &Path) {
        fs::write(root.join("new"), "other").unwrap();
        fs::rename(root.join("new"), root.join("p.toml")).unwrap();
    }

    #[test]
    fn a_change_of_content_is_told_by_name() {
        let fast = Some(Duration::from_millis(20));
        for poll in [None, fast] {
            let below = |root: &Path| fs::write(root.join("data/below/a"), "b").unwrap();
            assert_eq!(told(poll, below), ["data/below/a"]);
            assert_eq!(told(poll, renamed_over), ["p.toml"]);
            assert_eq!(
                told(poll, |root| fs::remove_file(root.join("p.toml")).unwrap()),
                ["p.toml"]
            );
            let new = |root: &Path| {
                // Neither of the first three is a change of what is watched.
                fs::write(root.join("beside"), "x").unwrap();
                fs::write(root.join("data/below/a"), "a").unwrap();
                fs::write(root.join("store/x"), "x").unwrap();
                std::thread::sleep(Duration::from_millis(300));
                fs::create_dir(root.join("data/new")).unwrap();
                fs::write(root.join("data/new/b"), "b").unwrap();
            };
            assert_eq!(told(poll, new), ["data/new/b"]);
        }
    }

    #[test]
    fn an_interrupt_ends_it() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(root.path(), None);
        watch.set(&BTreeSet::new()).unwrap();
        assert_eq!(watch.wait(&AtomicBool::new(true)).unwrap(), None);
    }
}
