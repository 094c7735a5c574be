//! The tables of the history, and how many runs they keep.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use super::KEPT;

/// The version of the tables.
const VERSION: i64 = 1;
/// How long another process may write before this one gives up.
const PATIENCE: Duration = Duration::from_secs(10);

const TABLES: &str = "
CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE run (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    journal TEXT NOT NULL UNIQUE,
    pipeline TEXT NOT NULL,
    file TEXT NOT NULL,
    command TEXT NOT NULL,
    started TEXT NOT NULL,
    seconds REAL NOT NULL,
    outcome TEXT NOT NULL,
    message TEXT,
    host TEXT NOT NULL,
    pipe TEXT NOT NULL
);
CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE result (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, record TEXT);
CREATE TABLE step (
    run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name INTEGER NOT NULL REFERENCES name,
    outcome TEXT NOT NULL,
    result INTEGER REFERENCES result,
    seconds REAL,
    why TEXT,
    PRIMARY KEY (run, position)
) WITHOUT ROWID;
CREATE INDEX step_by_name ON step (name);
PRAGMA user_version = 1;
";

/// Opens the database, made when there is none; the second is false when it may only be read.
pub(super) fn open(path: &Path) -> anyhow::Result<(Connection, bool)> {
    let shown = path.display();
    let open = || -> anyhow::Result<(Connection, bool)> {
        if let Some(directory) = path.parent() {
            // What is wrong with it is told by opening the file.
            std::fs::create_dir_all(directory).ok();
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match Connection::open_with_flags(path, flags) {
            Ok(connection) => connection,
            Err(error) if !path.exists() => return Err(error.into()),
            Err(_) => Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?,
        };
        let writable = !connection.is_readonly("main")?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        if version(&connection)? == 0 && writable {
            let transaction = begin(&mut connection)?;
            // Another process may have been faster.
            if version(&transaction)? == 0 {
                transaction.execute_batch(TABLES)?;
            }
            transaction.commit()?;
        }
        let found = version(&connection)?;
        anyhow::ensure!(
            found == VERSION,
            "it has version {found}, and this pipe knows version {VERSION}; a later pipe wrote it"
        );
        Ok((connection, writable))
    };
    open().with_context(|| format!("cannot read the history {shown}"))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Begins to write, alone.
pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
}

/// Sets how many runs are kept, and removes the others.
pub(super) fn keep(connection: &mut Connection, runs: usize) -> anyhow::Result<usize> {
    let write = |connection: &mut Connection| -> rusqlite::Result<usize> {
        let transaction = begin(connection)?;
        let runs = i64::try_from(runs).unwrap_or(i64::MAX);
        transaction.execute("INSERT OR REPLACE INTO setting VALUES ('keep', ?)", params![runs])?;
        let removed = prune(&transaction)?;
        transaction.commit()?;
        if removed > 0 {
            connection.execute_batch("VACUUM")?;
        }
        Ok(removed)
    };
    write(connection).context("cannot write the history")
}

/// Removes runs beyond those to be kept, and what only they mention; returns how many runs.
pub(super) fn prune(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    let keep: Option<i64> = transaction
        .query_row("SELECT value FROM setting WHERE name = 'keep'", [], |row| row.get(0))
        .optional()?;
    let keep = keep.unwrap_or(KEPT as i64);
    let removed = transaction.execute(
        "DELETE FROM run WHERE outcome <> 'running' AND number NOT IN
            (SELECT number FROM run ORDER BY number DESC LIMIT ?)",
        params![keep],
    )?;
    if removed > 0 {
        transaction.execute_batch(
            "DELETE FROM result WHERE id NOT IN (SELECT result FROM step WHERE result IS NOT NULL);
             DELETE FROM name WHERE id NOT IN (SELECT name FROM step);",
        )?;
    }
    Ok(removed)
}
