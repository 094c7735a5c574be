//! Removing what nobody needs.
//!
//! Kept are the results that `latest/` leads to, those made lately and those that living processes rely
//! on, with the objects that they or their fingerprints and facts mention. Results go first and objects last, so that being killed in
//! between leaves no result without its objects.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::file_table::FileTable;
use crate::fingerprint::Key;
use crate::in_use::is_held;
use crate::manifest::Manifest;
use crate::session::{self, Session};
use crate::size::{Class, Sizes, bytes_below, entries};
use crate::store::Store;

/// What [`Store::gc`] keeps.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Results, scratch directories and logs of failed tries younger than this are kept.
    pub keep: Duration,
    /// Only tell what would be removed.
    pub dry_run: bool,
}

/// What [`Store::gc`] removed, or would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The results.
    pub results: Vec<Key>,
    /// Counts and bytes of everything removed.
    pub removed: Sizes,
    /// How many results are left.
    pub kept: usize,
}

/// What is left after a collection.
struct Live {
    keys: BTreeSet<Key>,
    listings: HashSet<Digest>,
    objects: HashSet<Digest>,
}

impl Store {
    /// Removes results that no `latest` link leads to and that are older than `options.keep`, and
    /// everything that only they needed.
    ///
    /// No operation of another process goes on meanwhile, and none begins; as long as one does,
    /// `waiting` is asked whether to wait. Results that are being made, with what they are made from,
    /// and all else that living processes rely on stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] when `waiting` gave up; otherwise when something cannot be removed.
    pub fn gc(
        &self,
        options: &GcOptions,
        waiting: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<GcReport, StoreError> {
        while !self.try_alone()? {
            if waiting().is_break() {
                self.enter()?;
                return Err(StoreError::InUse(self.root().to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let report = self.collect(options);
        self.no_longer_alone()?;
        report
    }

    fn collect(&self, options: &GcOptions) -> Result<GcReport, StoreError> {
        let oldest = SystemTime::now().checked_sub(options.keep);
        let old = |path: &Path| -> bool {
            let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
            matches!((modified, oldest), (Ok(modified), Some(oldest)) if modified < oldest)
        };
        let mut sweep = Sweep { dry_run: options.dry_run, report: GcReport::default() };
        let pins = self.pins()?;
        let live = self.mark(&old, &pins, &mut sweep)?;
        sweep.report.kept = live.keys.len();

        for path in entries(&self.trees())? {
            if name_of(&path).is_none_or(|digest| !live.listings.contains(&digest)) {
                sweep.remove(&path, |sizes| &mut sizes.trees)?;
            }
        }
        for directory in entries(&self.objects())? {
            for path in entries(&directory)? {
                if self.digest_of(&path).is_none_or(|digest| !live.objects.contains(&digest)) {
                    sweep.remove(&path, |sizes| &mut sizes.objects)?;
                }
            }
        }
        for path in entries(&self.scratches())?.into_iter().chain(entries(&self.logs())?) {
            let name = path.file_name().and_then(|name| name.to_str()?.split('.').next());
            let key = name.and_then(|name| name.parse::<Key>().ok());
            // Where somebody makes it, it is in use, whatever its age.
            if let Some(key) = &key
                && is_held(&self.locks().join(key.to_string()), true)?
            {
                continue;
            }
            let done = key.is_none_or(|key| self.result(&key).exists());
            if done || old(&path) {
                sweep.remove(&path, |sizes| &mut sizes.scratch)?;
            }
        }
        for path in entries(&self.tables())? {
            if !self.table_is_live(&path, &live) {
                sweep.remove(&path, |sizes| &mut sizes.tables)?;
            }
        }
        if !options.dry_run {
            Session::clean(&self.tmp())?;
            // What locks nobody holds are those of the dead.
            for path in entries(&self.locks())? {
                is_held(&path, false)?;
            }
        }
        Ok(sweep.report)
    }

    /// Removes old results and returns what the others need.
    fn mark(
        &self,
        old: &dyn Fn(&Path) -> bool,
        pins: &HashSet<Digest>,
        sweep: &mut Sweep,
    ) -> Result<Live, StoreError> {
        let latest: BTreeSet<Key> = self.latest_of_all()?.into_iter().map(|l| l.key).collect();
        let mut live =
            Live { keys: BTreeSet::new(), listings: HashSet::new(), objects: pins.clone() };
        for path in entries(&self.results())? {
            let key = path.file_stem().and_then(|name| name.to_str()?.parse::<Key>().ok());
            let manifest = match &key {
                Some(key) => self.read_manifest(key)?.ok().flatten(),
                None => None,
            };
            let Some(manifest) = manifest else {
                sweep.remove(&path, |sizes| &mut sizes.results)?;
                continue;
            };
            let needed = latest.contains(&manifest.key) || pins.contains(&manifest.key.digest());
            if !needed && old(&path) {
                sweep.remove(&path, |sizes| &mut sizes.results)?;
                sweep.report.results.push(manifest.key);
                continue;
            }
            live.add(&manifest);
        }
        Ok(live)
    }

    /// A table is of use as long as its listing, its pipeline, or the directory it was read from, is there.
    fn table_is_live(&self, path: &Path, live: &Live) -> bool {
        let Some((kind, rest)) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('-'))
        else {
            return false;
        };
        match kind {
            "objects" | "tree" => rest.parse().is_ok_and(|digest| live.listings.contains(&digest)),
            "scan" => Path::new(&FileTable::read(path).root).exists(),
            "results" => self.links_of(rest).exists(),
            _ => false,
        }
    }

    /// Returns the digest that the path of an object says.
    pub(crate) fn digest_of(&self, object: &Path) -> Option<Digest> {
        let name = object.file_name()?.to_str()?;
        let directory = object.parent()?.file_name()?.to_str()?;
        let digest = [directory, name].concat().parse().ok()?;
        (self.object(&digest) == object).then_some(digest)
    }
}

impl Live {
    fn add(&mut self, manifest: &Manifest) {
        self.keys.insert(manifest.key);
        self.listings.insert(manifest.outputs.digest());
        self.objects.extend(manifest.outputs.iter().map(|(_, entry)| entry.digest));
        self.objects.extend(manifest.log);
        self.objects.extend(manifest.mentions());
    }
}

/// Removes, or counts what it would remove.
struct Sweep {
    dry_run: bool,
    report: GcReport,
}

impl Sweep {
    fn remove(
        &mut self,
        path: &Path,
        class: impl Fn(&mut Sizes) -> &mut Class,
    ) -> Result<(), StoreError> {
        let class = class(&mut self.report.removed);
        class.count += 1;
        class.bytes += bytes_below(path)?;
        if self.dry_run { Ok(()) } else { session::remove(path) }
    }
}

fn name_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}
