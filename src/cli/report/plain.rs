//! A run as plain lines, for logs and for terminals that cannot move the cursor.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use pipe::event::{Event, Observer};

use super::lines::Lines;
use super::pace::Pace;
use super::{amount, speed};
use crate::cli::quantity;
use crate::cli::visible::visible;

/// How often a running step says how far it is.
const EVERY: Duration = Duration::from_secs(10);

/// Writes lines, and now and then how far the running steps are.
pub(crate) struct Plain<W> {
    out: W,
    lines: Lines,
    running: BTreeMap<String, Running>,
}

struct Running {
    told: Instant,
    pace: Pace,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W, lines: Lines) -> Self {
        Self { out, lines, running: BTreeMap::new() }
    }

    fn write(&mut self, line: &str) {
        // In one piece, so that what others write comes between lines. A reader that has gone does not end the run.
        self.out.write_all(format!("{}\n", visible(line)).as_bytes()).ok();
    }

    fn progress(&mut self, step: &str, done: u64, total: u64, unit: &str, note: &str) {
        let Some(running) = self.running.get_mut(step) else { return };
        let now = Instant::now();
        running.pace.note(now, done, unit);
        if now - running.told < EVERY {
            return;
        }
        running.told = now;
        let mut text = amount(done, total, unit);
        if let Some(rate) = running.pace.rate() {
            text.push_str(&format!(", {}", speed(rate, unit)));
        }
        if let Some(left) = running.pace.left(total, now) {
            text.push_str(&format!(", {} left", quantity::whole_seconds(left)));
        }
        if !note.is_empty() {
            text = format!("{note}, {text}");
        }
        let line = format!("    {}  {text}", self.lines.padded(step));
        self.write(&line);
    }
}

impl<W: Write> Observer for Plain<W> {
    fn event(&mut self, event: &Event) {
        for line in self.lines.of(event) {
            self.write(&line);
        }
        match event {
            Event::Started { step, resumes, attempt, .. } => {
                let running = Running { told: Instant::now(), pace: Pace::default() };
                self.running.insert(step.clone(), running);
                if !self.lines.is_quiet() {
                    let again = if *resumes { ", going on where it stopped" } else { "" };
                    let which =
                        if *attempt > 1 { format!(", try {attempt}") } else { String::new() };
                    let line = format!("    {}  started{which}{again}", self.lines.padded(step));
                    self.write(&line);
                }
            }
            Event::Fetching { step, .. } | Event::Sending { step, .. } => {
                let running = Running { told: Instant::now(), pace: Pace::default() };
                self.running.insert(step.clone(), running);
            }
            Event::Queued { step, job, state, reason } if !self.lines.is_quiet() => {
                let told = Lines::queued(job, state, reason);
                let line = format!("    {}  {told}", self.lines.padded(step));
                self.write(&line);
            }
            Event::Begun { step, node, device } if !self.lines.is_quiet() => {
                let line = format!("    {}  runs on {node} ({device})", self.lines.padded(step));
                self.write(&line);
            }
            Event::Progress { step, done, total, unit, note } if !self.lines.is_quiet() => {
                self.progress(step, *done, *total, unit, note);
            }
            _ => {}
        }
    }
}
