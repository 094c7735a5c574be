//! Questions to the history.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cache::{Digest, Fingerprint, Key};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Deserialize;
use serde_json::Value;

use super::{FirstSeen, History, Outcome, Remembered, Run, RunStep};

/// The columns that [`run_of`] reads.
const RUN: &str =
    "SELECT number, pipeline, file, command, started, seconds, outcome, message FROM run";

/// What is kept of a result.
#[derive(Deserialize)]
struct Record {
    fingerprint: Fingerprint,
    result: Option<Digest>,
    measures: BTreeMap<String, Value>,
}

impl History {
    /// Returns the runs, of one pipeline or of all, the latest first, this many at most.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn runs(&self, pipeline: Option<&str>, most: usize) -> anyhow::Result<Vec<Run>> {
        let sql = format!("{RUN} WHERE ?1 IS NULL OR pipeline = ?1 ORDER BY number DESC LIMIT ?2");
        let mut find = self.connection.prepare(&sql)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let runs = find.query_map(params![pipeline, most], run_of)?;
        let mut runs = runs.collect::<rusqlite::Result<Vec<Run>>>()?;
        runs.iter_mut().try_for_each(|run| self.count(run))?;
        Ok(runs)
    }

    /// Returns the run of this number.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn run(&self, number: i64) -> anyhow::Result<Option<Run>> {
        let mut find = self.connection.prepare(&format!("{RUN} WHERE number = ?"))?;
        let mut run = find.query_row(params![number], run_of).optional()?;
        run.iter_mut().try_for_each(|run| self.count(run))?;
        Ok(run)
    }

    /// Returns the run of a pipeline before another one.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn before(&self, run: &Run) -> anyhow::Result<Option<Run>> {
        let sql = format!("{RUN} WHERE number < ? AND pipeline = ? ORDER BY number DESC LIMIT 1");
        let mut find = self.connection.prepare(&sql)?;
        Ok(find.query_row(params![run.run, run.pipeline], run_of).optional()?)
    }

    /// Returns the numbers of the first and the last run that are remembered.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn bounds(&self) -> anyhow::Result<Option<(i64, i64)>> {
        let sql = "SELECT min(number), max(number) FROM run";
        let bounds = self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(match bounds {
            (Some(first), Some(last)) => Some((first, last)),
            _ => None,
        })
    }

    fn count(&self, run: &mut Run) -> rusqlite::Result<()> {
        let sql = "SELECT outcome, count(*) FROM step WHERE run = ? GROUP BY outcome";
        let mut find = self.connection.prepare(sql)?;
        let counts = find.query_map(params![run.run], |row| Ok((row.get(0)?, row.get(1)?)))?;
        run.steps = counts.collect::<rusqlite::Result<_>>()?;
        Ok(())
    }

    /// Returns the steps of a run, in the order in which they could run.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn steps(&self, run: i64) -> anyhow::Result<Vec<RunStep>> {
        let sql = "SELECT name.text, step.outcome, result.key, step.seconds, step.why
            FROM step JOIN name ON name.id = step.name LEFT JOIN result ON result.id = step.result
            WHERE run = ? ORDER BY position";
        let mut find = self.connection.prepare(sql)?;
        let steps = find.query_map(params![run], |row| {
            let why: Option<String> = row.get(4)?;
            Ok(RunStep {
                step: row.get(0)?,
                outcome: row.get(1)?,
                key: row.get(2)?,
                seconds: row.get(3)?,
                why: why.map(|why| strings(&why)).unwrap_or_default(),
            })
        })?;
        Ok(steps.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns what is remembered of a result; none when it was never made, or was removed before
    /// its run was read in.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn remembered(&self, key: &str) -> anyhow::Result<Option<Remembered>> {
        let sql = "SELECT record FROM result WHERE key = ? AND record IS NOT NULL";
        let mut find = self.connection.prepare(sql)?;
        let record: Option<String> = find.query_row(params![key], |row| row.get(0)).optional()?;
        record.map(|record| remembered(key, &record)).transpose()
    }

    /// Returns the results that a step of a pipeline had, each with the first run that had it, the
    /// latest first.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn results_of(&self, pipeline: &str, step: &str) -> anyhow::Result<Vec<FirstSeen>> {
        let sql = "SELECT min(run.number), run.started, result.key, result.record
            FROM step JOIN run ON run.number = step.run JOIN result ON result.id = step.result
            WHERE step.name = (SELECT id FROM name WHERE text = ?) AND run.pipeline = ?
                AND step.outcome IN ('ran', 'fetched', 'fresh') AND result.record IS NOT NULL
            GROUP BY result.id ORDER BY 1 DESC";
        let mut find = self.connection.prepare(sql)?;
        let rows = find.query_map(params![step, pipeline], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
        })?;
        rows.map(|row| {
            let (run, started, key, record) = row?;
            let result = remembered(&key, &record)?;
            Ok(FirstSeen { run, started, step: step.to_owned(), result })
        })
        .collect()
    }
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let outcome: String = row.get(6)?;
    let command: String = row.get(3)?;
    Ok(Run {
        run: row.get(0)?,
        pipeline: row.get(1)?,
        file: row.get(2)?,
        command: strings(&command),
        started: row.get(4)?,
        seconds: row.get(5)?,
        outcome: Outcome::of(&outcome),
        message: row.get(7)?,
        steps: BTreeMap::new(),
    })
}

/// A list of strings as it was written by us.
fn strings(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}

fn remembered(key: &str, record: &str) -> anyhow::Result<Remembered> {
    let read = || -> anyhow::Result<Remembered> {
        let key: Key = key.parse()?;
        let Record { fingerprint, result, measures } = serde_json::from_str(record)?;
        let figure = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            number => number.as_f64(),
        };
        let measures = measures
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), figure(value)?)))
            .collect();
        Ok(Remembered { key, fingerprint, result, measures })
    };
    read().with_context(|| format!("what the history says of result {key} is not understood"))
}
