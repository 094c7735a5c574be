//! The journal that a run writes of itself.
//!
//! One file for each run, which the run holds locked as long as it lives: begun aside and renamed,
//! so that a journal that can be seen is locked or dead. Each line is one JSON value; the last may
//! be cut short. Nothing is brought to the disk: a machine that goes down may lose the last runs.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Outcome, directory, mask};
use crate::event::{Event, Observer};

/// The name of the folder of journals, below that of the history.
pub(super) const NEW: &str = "new";
/// How the names of journals end.
pub(super) const JOURNAL: &str = ".jsonl";

/// What a run is called with.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The command line; what may be secret is taken out here.
    pub command: Vec<String>,
    /// The pipeline file, as it was written.
    pub file: PathBuf,
}

/// One line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    Begin {
        /// RFC 3339.
        started: String,
        pipeline: String,
        file: String,
        command: Vec<String>,
        host: String,
        pipe: String,
        steps: Vec<String>,
    },
    Step {
        step: String,
        outcome: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        why: Vec<String>,
        /// Seconds since the begin.
        at: f64,
    },
    End {
        outcome: Outcome,
        seconds: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

/// Writes down what an observer is told, and passes it on.
pub struct Journal<'a> {
    inner: &'a mut dyn Observer,
    begun: Begun,
    /// The directory of the store's history.
    directory: PathBuf,
    begin: Instant,
    file: Option<BufWriter<File>>,
    /// The keys of steps that run.
    keys: HashMap<String, String>,
    stopping: bool,
    /// Whether a comparison follows, with which alone the run ends.
    compares: bool,
}

impl<'a> Journal<'a> {
    /// Writes a journal for the store in the directory `store`.
    pub fn new(store: &Path, begun: Begun, inner: &'a mut dyn Observer) -> Self {
        Self {
            inner,
            begun,
            directory: directory(store),
            begin: Instant::now(),
            file: None,
            keys: HashMap::new(),
            stopping: false,
            compares: false,
        }
    }

    /// Says whether the results are made again and compared once they are there.
    #[must_use]
    pub fn comparing(self, compares: bool) -> Self {
        Self { compares, ..self }
    }

    /// Writes down how the comparison ended.
    pub fn compared(&mut self, outcome: Outcome) {
        self.end(outcome, None);
    }

    fn end(&mut self, outcome: Outcome, message: Option<String>) {
        let seconds = self.begin.elapsed().as_secs_f64();
        self.write(&Line::End { outcome, seconds, message }, true);
        self.file = None;
    }

    /// Writes down that nothing could run.
    pub fn refused(&mut self, message: &str) {
        self.end(Outcome::Failed, Some(message.to_owned()));
    }

    fn begin(&mut self, pipeline: &str, steps: &[String]) {
        let started = jiff::Timestamp::now();
        let line = Line::Begin {
            started: started.to_string(),
            pipeline: pipeline.to_owned(),
            file: self.begun.file.display().to_string(),
            command: self.begun.command.iter().map(|word| mask::masked(word)).collect(),
            host: nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
            pipe: env!("CARGO_PKG_VERSION").to_owned(),
            steps: steps.to_vec(),
        };
        match create(&self.directory.join(NEW), started, &line) {
            Ok(file) => self.file = Some(BufWriter::with_capacity(1 << 16, file)),
            Err(error) => self.complain(&error),
        }
    }

    /// Writes a line; those that can wait are written together.
    fn write(&mut self, line: &Line, now: bool) {
        let Some(file) = &mut self.file else { return };
        let written = line_of(line).and_then(|line| {
            file.write_all(&line)?;
            if now { file.flush() } else { Ok(()) }
        });
        if let Err(error) = written {
            self.complain(&error);
            // What the buffer still holds is not written either.
            if let Some(file) = self.file.take() {
                drop(file.into_parts());
            }
        }
    }

    /// That a run is not remembered does not end it.
    fn complain(&mut self, error: &io::Error) {
        let place = self.directory.display();
        let message = format!("this run will not be in the history: cannot write {place}: {error}");
        self.inner.event(&Event::Notice { message });
    }

    fn step(&mut self, step: &str, outcome: &str, key: Option<String>, about: Told<'_>) {
        let Told { seconds, why, now } = about;
        let line = Line::Step {
            step: step.to_owned(),
            outcome: outcome.to_owned(),
            key,
            seconds,
            why: why.to_vec(),
            at: self.begin.elapsed().as_secs_f64(),
        };
        self.write(&line, now);
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Fresh { step, result } => {
                self.step(step, "fresh", Some(result.key.clone()), Told::default());
            }
            Event::Started { step, key, why, .. } => {
                self.keys.insert(step.clone(), key.clone());
                let about = Told { why, now: true, ..Told::default() };
                self.step(step, "running", Some(key.clone()), about);
            }
            Event::Ran { step, why, result, seconds, .. } => {
                let about = Told { seconds: Some(*seconds), why, now: true };
                self.step(step, "ran", Some(result.key.clone()), about);
            }
            Event::Fetched { step, result, seconds, .. } => {
                let about = Told { seconds: Some(*seconds), now: true, ..Told::default() };
                self.step(step, "fetched", Some(result.key.clone()), about);
            }
            Event::Failed { step, message, seconds, .. } => {
                let key = self.keys.remove(step);
                let why = [message.clone()];
                let about = Told { seconds: Some(*seconds), why: &why, now: true };
                self.step(step, "failed", key, about);
            }
            Event::Skipped { step, because } => {
                let why = [format!("{because} failed")];
                self.step(step, "skipped", None, Told { why: &why, ..Told::default() });
            }
            Event::Cancelled { step } => {
                let key = self.keys.remove(step);
                self.step(step, "stopped", key, Told::default());
            }
            Event::Stopping { .. } => self.stopping = true,
            Event::End { failed, seconds, .. } => {
                let outcome = match failed {
                    _ if self.stopping => Outcome::Stopped,
                    0 => Outcome::Succeeded,
                    _ => Outcome::Failed,
                };
                if self.compares && outcome == Outcome::Succeeded {
                    return;
                }
                let line = Line::End { outcome, seconds: *seconds, message: None };
                self.write(&line, true);
                self.file = None;
            }
            _ => {}
        }
    }
}

/// What is told of a step, and whether it may wait.
#[derive(Default)]
struct Told<'a> {
    seconds: Option<f64>,
    why: &'a [String],
    now: bool,
}

impl Observer for Journal<'_> {
    fn event(&mut self, event: &Event) {
        self.inner.event(event);
        match event {
            Event::Begin { pipeline, steps, .. } => self.begin(pipeline, steps),
            other if self.file.is_some() => self.note(other),
            _ => {}
        }
    }

    fn tick(&mut self) {
        self.inner.tick();
    }
}

/// Makes a journal that is locked from the moment it can be seen.
fn create(directory: &Path, started: jiff::Timestamp, line: &Line) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    // In the order of names runs are in that of their begins.
    let nanoseconds = started.as_nanosecond().max(0);
    let name = format!("{nanoseconds:020}-{}", std::process::id());
    let (aside, path) =
        (directory.join(format!(".{name}")), directory.join(format!("{name}{JOURNAL}")));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&aside)?;
    // Without locks a run that goes on looks like one that was killed, until it ends.
    file.try_lock().ok();
    let made = line_of(line)
        .and_then(|line| file.write_all(&line))
        .and_then(|()| fs::rename(&aside, &path));
    if let Err(error) = made {
        fs::remove_file(&aside).ok();
        return Err(error);
    }
    Ok(file)
}

fn line_of(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Counts the journals.
pub(super) fn waiting(directory: &Path) -> usize {
    fs::read_dir(directory.join(NEW)).map_or(0, |entries| entries.flatten().count())
}
