//! Reads journals into the database: those of runs that go on for now, the others for good.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use cache::{Key, Store};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde_json::{Map, Value, json};

use super::database::{begin, prune};
use super::journal::{JOURNAL, Line, NEW};
use super::{Outcome, Remembered};

/// A journal that was begun and could not be seen for this long will never be.
const LOST: Duration = Duration::from_secs(24 * 60 * 60);

/// A journal as it is now.
struct Found {
    name: String,
    path: PathBuf,
    lives: bool,
    lines: Vec<Line>,
    /// Held, so that it stays what it is until it is removed.
    _file: File,
}

/// What the lines say of a step.
struct Step {
    position: usize,
    outcome: String,
    key: Option<String>,
    seconds: Option<f64>,
    why: Vec<String>,
}

/// Reads in every journal in `new/` below `directory`.
pub(super) fn read_in(
    connection: &mut Connection,
    directory: &Path,
    store: &Store,
) -> anyhow::Result<()> {
    let directory = directory.join(NEW);
    if !has_news(&directory, connection)? {
        return Ok(());
    }
    let transaction = begin(connection)?;
    // Looked for by one process at a time, so that none is taken in after it was removed.
    let found = journals(&directory)?;
    for journal in &found {
        take_in(&transaction, journal, store)
            .with_context(|| format!("cannot read in {}", journal.path.display()))?;
    }
    settle(&transaction, &found)?;
    prune(&transaction)?;
    transaction.commit()?;
    for journal in found.iter().filter(|journal| !journal.lives) {
        match fs::remove_file(&journal.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", journal.path.display());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Looking at a history to which nothing was added writes nothing.
fn has_news(directory: &Path, connection: &Connection) -> anyhow::Result<bool> {
    let waiting = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    let running = "SELECT EXISTS (SELECT 1 FROM run WHERE outcome = 'running')";
    Ok(waiting || connection.query_row(running, [], |row| row.get(0))?)
}

fn journals(directory: &Path) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(name) = name.strip_suffix(JOURNAL).map(str::to_owned) else {
            remove_lost(&path);
            continue;
        };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // Shared, since others may read at the same time; where there are no locks it is taken to
        // live, and stays.
        let locked = file.try_lock_shared();
        let lives = match locked {
            Ok(()) => false,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = lines(&bytes);
        let ended = matches!(lines.last(), Some(Line::End { .. }));
        found.push(Found { name, path, lives: lives && !ended, lines, _file: file });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Removes what was begun aside and never renamed.
fn remove_lost(path: &Path) {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age > LOST) {
        fs::remove_file(path).ok();
    }
}

/// Reads the lines up to the first that is not whole.
fn lines(bytes: &[u8]) -> Vec<Line> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map_while(|line| serde_json::from_slice(line).ok()).collect()
}

fn take_in(transaction: &Transaction<'_>, journal: &Found, store: &Store) -> anyhow::Result<()> {
    let mut lines = journal.lines.iter();
    let Some(Line::Begin { started, pipeline, file, command, host, pipe, steps: names }) =
        lines.next()
    else {
        return Ok(());
    };
    let (mut outcome, mut seconds, mut message) = match journal.lives {
        true => (Outcome::Running, 0.0_f64, None),
        false => (Outcome::Interrupted, 0.0, None),
    };
    let mut steps: HashMap<&str, Step> = HashMap::new();
    for (position, name) in names.iter().enumerate() {
        let outcome = "waiting".to_owned();
        let step = Step { position, outcome, key: None, seconds: None, why: Vec::new() };
        steps.insert(name, step);
    }
    for line in lines {
        match line {
            Line::Step { step, outcome, key, seconds: took, why, at } => {
                seconds = seconds.max(*at);
                let Some(known) = steps.get_mut(step.as_str()) else { continue };
                known.outcome.clone_from(outcome);
                known.key = key.clone().or(known.key.take());
                known.seconds = took.or(known.seconds);
                known.why.clone_from(why);
            }
            Line::End { outcome: how, seconds: took, message: why } => {
                (outcome, seconds, message) = (*how, *took, why.as_deref());
            }
            Line::Begin { .. } => {}
        }
    }
    let mut find = transaction.prepare("SELECT number FROM run WHERE journal = ?")?;
    let known = find.query_row(params![journal.name], |row| row.get(0)).optional()?;
    let number: i64 = match known {
        Some(number) => {
            let update = "UPDATE run SET seconds = ?, outcome = ?, message = ? WHERE number = ?";
            transaction.execute(update, params![seconds, outcome.word(), message, number])?;
            number
        }
        None => {
            let command = serde_json::to_string(command)?;
            transaction.execute(
                "INSERT INTO run (journal, pipeline, file, command, started, seconds, outcome, message,
                    host, pipe)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    journal.name,
                    pipeline,
                    file,
                    command,
                    started,
                    seconds,
                    outcome.word(),
                    message,
                    host,
                    pipe
                ],
            )?;
            transaction.last_insert_rowid()
        }
    };
    transaction.execute("DELETE FROM step WHERE run = ?", params![number])?;
    let mut insert = transaction.prepare("INSERT INTO step VALUES (?, ?, ?, ?, ?, ?, ?)")?;
    for (name, mut step) in steps {
        if step.outcome == "running" && outcome != Outcome::Running {
            "interrupted".clone_into(&mut step.outcome);
        }
        let name = name_id(transaction, name)?;
        let result = match &step.key {
            Some(key) => Some(result_id(transaction, key, store)?),
            None => None,
        };
        let why = (!step.why.is_empty()).then(|| Value::from(step.why).to_string());
        let position = i64::try_from(step.position)?;
        insert.execute(params![number, position, name, step.outcome, result, step.seconds, why])?;
    }
    Ok(())
}

fn name_id(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    let mut find = transaction.prepare("SELECT id FROM name WHERE text = ?")?;
    if let Some(id) = find.query_row(params![name], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    transaction.execute("INSERT INTO name (text) VALUES (?)", params![name])?;
    Ok(transaction.last_insert_rowid())
}

/// Finds a result, and remembers what the store knows of it as long as it does.
fn result_id(transaction: &Transaction<'_>, key: &str, store: &Store) -> anyhow::Result<i64> {
    let mut find = transaction.prepare("SELECT id, record IS NULL FROM result WHERE key = ?")?;
    let known: Option<(i64, bool)> =
        find.query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let record = || -> Option<String> {
        let key: Key = key.parse().ok()?;
        let manifest = store.manifest(&key).ok().flatten()?;
        Some(record_of(&Remembered::of(&manifest)))
    };
    match known {
        Some((id, false)) => Ok(id),
        Some((id, true)) => {
            if let Some(record) = record() {
                let update = "UPDATE result SET record = ? WHERE id = ?";
                transaction.execute(update, params![record, id])?;
            }
            Ok(id)
        }
        None => {
            let insert = "INSERT INTO result (key, record) VALUES (?, ?)";
            transaction.execute(insert, params![key, record()])?;
            Ok(transaction.last_insert_rowid())
        }
    }
}

/// What is kept of a result, as JSON.
fn record_of(remembered: &Remembered) -> String {
    let figure = |value: f64| {
        let number = serde_json::Number::from_f64(value);
        // JSON has no number for these.
        number.map_or_else(|| Value::String(value.to_string()), Value::Number)
    };
    let measures: Map<String, Value> =
        remembered.measures.iter().map(|(name, value)| (name.clone(), figure(*value))).collect();
    json!({
        "fingerprint": remembered.fingerprint, "result": remembered.result, "measures": measures,
    })
    .to_string()
}

/// Runs that were going on and have no journal any more were interrupted.
fn settle(transaction: &Transaction<'_>, found: &[Found]) -> rusqlite::Result<()> {
    let seen: HashSet<&str> = found.iter().map(|journal| journal.name.as_str()).collect();
    let mut running =
        transaction.prepare("SELECT number, journal FROM run WHERE outcome = 'running'")?;
    let rows = running.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, String)> = rows.collect::<rusqlite::Result<_>>()?;
    for (number, _) in rows.iter().filter(|(_, journal)| !seen.contains(journal.as_str())) {
        transaction
            .execute("UPDATE run SET outcome = 'interrupted' WHERE number = ?", params![number])?;
        transaction.execute(
            "UPDATE step SET outcome = 'interrupted' WHERE run = ? AND outcome = 'running'",
            params![number],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_journal_is_read_up_to_where_it_is_torn(
            noise in prop::collection::vec(any::<u8>(), 0..100), whole in 0..4_usize
        ) {
            let line = serde_json::to_string(&Line::End { outcome: super::super::Outcome::Failed, seconds: 1.0, message: None });
            let good = (line.unwrap() + "\n").repeat(whole);
            let read = lines(&[good.as_bytes(), b"x", &noise].concat());
            prop_assert_eq!(read.len(), whole);
        }
    }
}
