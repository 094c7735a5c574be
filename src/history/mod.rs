//! What was run in a project: every run, its steps, and what their results depended on.
//!
//! A run writes a journal of its own below `history/new/` in the store's directory, so that nothing
//! it does waits for a database or for another run, and being killed loses nothing but the end.
//! Whoever asks for the history has the journals read into `history/history.sqlite` first, a journal
//! that nobody holds any more for good. There a result is remembered with what it depended on, also
//! when it has been removed from the store.

mod database;
mod intake;
mod journal;
mod mask;
mod query;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cache::{Digest, Fingerprint, Key, Manifest, Store};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

pub use journal::{Begun, Journal};
pub use mask::masked;

/// How many runs are kept unless told otherwise.
pub const KEPT: usize = 1000;

/// More journals than this are read in at the end of a run.
const MANY: usize = 100;

/// The runs of a project.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    notice: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// Counts up; never used twice.
    pub run: i64,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The pipeline file, as it was written on the command line.
    pub file: String,
    /// The command line, without what may be secret in it.
    pub command: Vec<String>,
    /// When it began, as RFC 3339 has it.
    pub started: String,
    /// From begin to end; to the last that was heard of it, if it did not end by itself.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why nothing could run, where that was so.
    pub message: Option<String>,
    /// Steps by what became of them.
    pub steps: BTreeMap<String, i64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything is up to date.
    Succeeded,
    /// A step failed, or nothing could run at all.
    Failed,
    /// It was asked to stop.
    Stopped,
    /// It was killed, or the machine went down.
    Interrupted,
    /// It has not ended.
    Running,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunStep {
    /// Its name.
    pub step: String,
    /// What became of it: fresh, fetched, ran, failed, skipped, stopped, running, interrupted or waiting.
    pub outcome: String,
    /// The key of its result, or of what it was to make.
    pub key: Option<String>,
    /// How long it ran.
    pub seconds: Option<f64>,
    /// Why it ran, or why it failed or was skipped.
    pub why: Vec<String>,
}

/// What is remembered of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// Its key.
    pub key: Key,
    /// Everything it depends on.
    pub fingerprint: Fingerprint,
    /// The digest of the listing of its files; none when it has not been made.
    pub result: Option<Digest>,
    /// Its figures.
    pub measures: BTreeMap<String, f64>,
}

/// A result of a step, and the first run that had it.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstSeen {
    /// The run.
    pub run: i64,
    /// When the run began.
    pub started: String,
    /// The step.
    pub step: String,
    /// The result.
    pub result: Remembered,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
        }
    }

    fn of(word: &str) -> Self {
        let all = [Self::Succeeded, Self::Failed, Self::Stopped, Self::Running];
        all.into_iter().find(|outcome| outcome.word() == word).unwrap_or(Self::Interrupted)
    }
}

impl Remembered {
    /// What a manifest says.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            key: manifest.key,
            fingerprint: manifest.fingerprint.clone(),
            result: Some(manifest.outputs.digest()),
            measures: manifest.measures.clone(),
        }
    }
}

impl History {
    /// Opens the history of the project whose store this is, with all that was run until now.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn open(store: &Store) -> anyhow::Result<Self> {
        let directory = directory(store.root());
        let (mut connection, writable) = database::open(&directory.join("history.sqlite"))?;
        let mut notice = None;
        if writable && let Err(error) = intake::read_in(&mut connection, &directory, store) {
            notice = Some(format!("the latest runs could not be read in: {error:#}"));
        } else if !writable {
            notice =
                Some("the store is read-only: runs since it became so are not shown".to_owned());
        }
        Ok(Self { connection, notice })
    }

    /// What keeps the history from being complete.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Reads the journals in when there are many of them; to be called when a run has ended.
    ///
    /// # Errors
    ///
    /// When the database cannot be written.
    pub fn tidy(store: &Store) -> anyhow::Result<()> {
        let waiting = journal::waiting(&directory(store.root()));
        if waiting > MANY {
            Self::open(store)?;
        }
        Ok(())
    }

    /// Keeps this many runs, the latest, from now on; returns how many were removed.
    ///
    /// # Errors
    ///
    /// When the database cannot be written.
    pub fn keep(&mut self, runs: usize) -> anyhow::Result<usize> {
        database::keep(&mut self.connection, runs)
    }
}

/// Where the history of the project with this store is.
fn directory(store: &Path) -> PathBuf {
    store.join("history")
}
