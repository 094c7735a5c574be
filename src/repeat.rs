//! Makes results a second time, in a store of its own, and compares them byte for byte.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use cache::{Change, Manifest, Store};

use crate::event::{Event, Observer};
use crate::executor::{self, Options, Summary};
use crate::plan::{Plan, StepId};
use crate::remote::{Address, Remote};

/// How many files that differ are told of a step.
const TOLD: usize = 10;

/// Makes the results of `steps` again, which must be in `store`, and tells of each whether it has the
/// same bytes. Their inputs come from `store`, which stays as it is; nothing of the first time is used,
/// no checkpoint and no earlier result. Returns how the second run went, and how many steps did not
/// give the same bytes.
///
/// # Errors
///
/// When another process compares in this store, the directory for it cannot be used, or the run
/// cannot begin.
pub fn repeat(
    plan: &Plan,
    store: &Store,
    options: Options<'_>,
    steps: &BTreeSet<StepId>,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Summary, usize)> {
    let directory = store.root().join("check");
    let failed = || format!("cannot use {}", directory.display());
    fs::create_dir_all(&directory).with_context(failed)?;
    let lock = File::create(directory.join("lock")).with_context(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another run compares results in this store")
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    let private = directory.join("store");
    // One is left where a comparison was killed.
    remove(&private).with_context(failed)?;
    let result = repeat_in(&private, plan, store, options, steps, observer);
    let removed = remove(&private).with_context(failed);
    // Why the comparison failed says more than that its store is left.
    let result = result?;
    removed?;
    Ok(result)
}

fn repeat_in(
    private: &Path,
    plan: &Plan,
    store: &Store,
    options: Options<'_>,
    steps: &BTreeSet<StepId>,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Summary, usize)> {
    let again = Store::open(private)?;
    // A store has the layout of a remote, and what comes from there is digested on its way.
    let address = Address::of_directory(store.root()).context("the store has no absolute path")?;
    let remote = Remote::open(&address)?;
    let options = Options {
        forced: steps.clone(),
        keep_going: true,
        remote: Some(&remote),
        push: false,
        ..options
    };
    let summary = executor::run(plan, &again, &options, observer)?;
    let mut others = 0;
    for id in plan.order().iter().filter(|id| steps.contains(id)) {
        let (pipeline, step) = (&plan.pipeline.name, &plan.step(*id).name);
        // That it failed, or was stopped, has been told.
        let Some(second) = again.latest(pipeline, step)? else { continue };
        let first = store.latest(pipeline, step)?;
        let first = first.with_context(|| format!("the result of {step} is gone"))?;
        let differences = compare(store, &first, &again, &second)?;
        others += usize::from(!differences.is_empty());
        let (step, same) = (step.clone(), differences.is_empty());
        observer.event(&Event::Repeated { step, same, differences });
    }
    Ok((summary, others))
}

/// What differs, one line each; empty when nothing does.
fn compare(
    store: &Store,
    first: &Manifest,
    again: &Store,
    second: &Manifest,
) -> anyhow::Result<Vec<String>> {
    if first.key != second.key {
        return Ok(vec!["what it depends on came out otherwise".to_owned()]);
    }
    let changes = second.outputs.differences(&first.outputs);
    let more = changes.len().saturating_sub(TOLD);
    let (before, after) = (store.tree(first)?, again.tree(second)?);
    let line = |(name, change): &(String, Change)| {
        Ok(match change {
            Change::Added => format!("{name}: only the second time"),
            Change::Removed => format!("{name}: only the first time"),
            Change::Mode => format!("{name}: executable only one of the two times"),
            Change::Content => {
                let at = first_difference(&before.join(name), &after.join(name))?;
                format!("{name}: differs from byte {at} on")
            }
        })
    };
    let mut lines = changes.iter().take(TOLD).map(line).collect::<anyhow::Result<Vec<_>>>()?;
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Ok(lines)
}

/// The position of the first byte that differs, from 0; the length of the shorter file where that is
/// how the other begins.
fn first_difference(one: &Path, other: &Path) -> anyhow::Result<u64> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(BufReader::new(file).bytes())
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let mut position = 0;
    loop {
        let (a, b) = (one.next().transpose()?, other.next().transpose()?);
        if a != b {
            return Ok(position);
        }
        ensure!(
            a.is_some(),
            "two files with other digests have the same bytes: a store is damaged"
        );
        position += 1;
    }
}

fn remove(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_byte_that_differs_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let at = |one: &[u8], other: &[u8]| {
            let paths = ["one", "other"].map(|name| directory.path().join(name));
            std::fs::write(&paths[0], one).unwrap();
            std::fs::write(&paths[1], other).unwrap();
            first_difference(&paths[0], &paths[1]).ok()
        };
        assert_eq!(at(b"abc", b"abd"), Some(2));
        assert_eq!(at(b"abc", b"ab"), Some(2));
        assert_eq!(at(b"", b"x"), Some(0));
        assert_eq!(at(b"same", b"same"), None);
    }
}
