//! `pipe store gc --remote`: takes out of a remote what no given pipeline keeps.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use cache::{Key, Store};
use pipe::lock::Lock;
use pipe::remote::Remote;
use pipe::{Changes, Pipeline, Plan, Problems};

use super::{Failure, SUCCESS, quantity, remote, visible};

/// Cleans up a remote: what the lock files of `files` and the last results of their steps here name
/// stays.
pub(super) fn clean(
    store: &Store,
    url: &str,
    files: &[PathBuf],
    keep_days: u32,
    delete: bool,
) -> Result<u8, Failure> {
    if files.is_empty() {
        let message = "no pipeline is named, so nothing would be kept\n  help: `pipe store gc --remote URL \
                       FILE...` keeps what the lock files of these and their last results here name";
        return Err(Failure::Usage(message.to_owned()));
    }
    let mut keep = BTreeSet::new();
    for file in files {
        let named = keys(store, file)?;
        if named.is_empty() {
            let shown = file.display();
            return Err(Failure::Usage(format!(
                "{shown} has no lock file and no results here, so nothing of it would be kept\n  help: \
                 `pipe lock {shown}` writes one"
            )));
        }
        keep.extend(named);
    }
    let address = remote::address(Some(url), None)?;
    let Some(address) = address else { return Err(Failure::Usage("no remote".to_owned())) };
    let there = Remote::open(&address).map_err(remote::failed)?;
    let grace = Duration::from_secs(u64::from(keep_days) * 24 * 60 * 60);
    let cleaned = there.clean(&keep, grace, delete).map_err(remote::failed)?;
    let mut out = visible::stdout();
    let (results, files) =
        (quantity::count(cleaned.results, "result"), quantity::count(cleaned.files, "file"));
    let (size, kept) = (quantity::bytes(cleaned.bytes), quantity::count(cleaned.kept, "result"));
    let verb = if delete { "removed from" } else { "would be removed from" };
    writeln!(out, "  {results} and {files} ({size}) {verb} {address}; {kept} kept")?;
    if !delete && cleaned.results + cleaned.files > 0 {
        writeln!(out, "  `--delete` removes them")?;
    }
    Ok(SUCCESS)
}

/// The keys that a pipeline file names: those of its lock file, and of the last results here.
fn keys(store: &Store, file: &std::path::Path) -> Result<BTreeSet<Key>, Failure> {
    let plan = Plan::new(Pipeline::load_without_data(file, &Changes::default())?)?;
    let mut keys = BTreeSet::new();
    if Lock::path_of(file).exists() {
        let lock = Lock::read(file).map_err(Problems::from)?;
        keys.extend(lock.iter().map(|(_, locked)| locked.key));
    }
    for step in &plan.pipeline.steps {
        let last = store.latest(&plan.pipeline.name, &step.name);
        keys.extend(last.map_err(anyhow::Error::from)?.map(|manifest| manifest.key));
    }
    Ok(keys)
}
