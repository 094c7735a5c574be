//! A run on a terminal: what is over scrolls up, what runs has one living line each.

use std::collections::BTreeMap;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pipe::event::{Event, Observer};

use super::lines::Lines;
use super::pace::Pace;
use super::{amount, speed};
use crate::cli::quantity;
use crate::cli::visible::visible;

/// How many characters a bar has.
const BAR: u64 = 20;

/// Draws on the terminal behind standard error.
pub(crate) struct Terminal {
    screen: MultiProgress,
    lines: Lines,
    running: BTreeMap<String, Running>,
    rest: Option<Rest>,
}

/// The last line: how long the rest of the run will take.
struct Rest {
    bar: ProgressBar,
    told: Instant,
    steps: usize,
    seconds: f64,
}

struct Running {
    bar: ProgressBar,
    since: Instant,
    pace: Pace,
    /// Done, total, unit, note.
    progress: Option<(u64, u64, String, String)>,
    /// Where it waits, or runs when that is not here.
    place: Option<String>,
}

impl Terminal {
    /// Draws what `lines` and the running steps say.
    pub(crate) fn new(lines: Lines) -> Self {
        Self { screen: MultiProgress::new(), lines, running: BTreeMap::new(), rest: None }
    }

    fn start(&mut self, step: &str, message: &'static str) {
        // What was being fetched may have to run after all.
        self.stop(step);
        let style = ProgressStyle::with_template("  {spinner:.cyan} {prefix}  {wide_msg}");
        let bar = match &self.rest {
            Some(rest) => self.screen.insert_before(&rest.bar, ProgressBar::no_length()),
            None => self.screen.add(ProgressBar::no_length()),
        };
        bar.set_style(style.expect("the template is well formed").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        bar.set_prefix(self.lines.padded(step));
        bar.set_message(message);
        let running = Running {
            bar,
            since: Instant::now(),
            pace: Pace::default(),
            progress: None,
            place: None,
        };
        self.running.insert(step.to_owned(), running);
    }

    fn rest(&mut self, steps: usize, seconds: f64) {
        let bar = self.rest.take().map(|rest| rest.bar).unwrap_or_else(|| {
            let style = ProgressStyle::with_template("  {wide_msg}");
            let bar = self.screen.add(ProgressBar::no_length());
            bar.set_style(style.expect("the template is well formed"));
            bar
        });
        self.rest = Some(Rest { bar, told: Instant::now(), steps, seconds });
    }

    fn stop(&mut self, step: &str) {
        if let Some(running) = self.running.remove(step) {
            running.bar.finish_and_clear();
            self.screen.remove(&running.bar);
        }
    }
}

impl Running {
    fn message(&self, lines: &Lines) -> String {
        let paint = lines.paint();
        let now = Instant::now();
        let Some((done, total, unit, note)) = &self.progress else {
            let elapsed = (now - self.since).as_secs_f64();
            let elapsed = quantity::whole_seconds(elapsed.floor());
            return paint.dim(&match &self.place {
                Some(place) => format!("{elapsed}  {place}"),
                None => elapsed,
            });
        };
        let mut parts = Vec::new();
        if *total > 0 {
            let filled = (done.saturating_mul(BAR) / total).min(BAR) as usize;
            let rest = paint.dim(&"─".repeat(BAR as usize - filled));
            parts.push(format!("{}{rest}", "━".repeat(filled)));
        }
        parts.push(amount(*done, *total, unit));
        if let Some(rate) = self.pace.rate() {
            parts.push(paint.dim(&speed(rate, unit)));
        }
        if let Some(left) = self.pace.left(*total, now) {
            parts.push(paint.dim(&format!("{} left", quantity::whole_seconds(left.round()))));
        }
        if !note.is_empty() {
            parts.push(note.clone());
        }
        parts.join("  ")
    }
}

impl Observer for Terminal {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started { step, resumes, .. } if !self.lines.is_quiet() => {
                self.start(step, if *resumes { "going on where it stopped" } else { "starting" });
            }
            Event::Fetching { step, .. } if !self.lines.is_quiet() => self.start(step, "fetching"),
            Event::Sending { step, .. } if !self.lines.is_quiet() => self.start(step, "sending"),
            Event::Progress { step, done, total, unit, note } => {
                if let Some(running) = self.running.get_mut(step) {
                    running.pace.note(Instant::now(), *done, unit);
                    running.progress = Some((*done, *total, unit.clone(), note.clone()));
                }
            }
            Event::Queued { step, job, state, reason } => {
                if let Some(running) = self.running.get_mut(step) {
                    running.progress = None;
                    running.place = Some(Lines::queued(job, state, reason));
                }
            }
            Event::Begun { step, node, .. } => {
                if let Some(running) = self.running.get_mut(step) {
                    running.place = Some(format!("on {node}"));
                }
            }
            Event::Remaining { steps, seconds } if !self.lines.is_quiet() => {
                self.rest(*steps, *seconds);
            }
            Event::End { .. } => {
                if let Some(rest) = self.rest.take() {
                    rest.bar.finish_and_clear();
                    self.screen.remove(&rest.bar);
                }
            }
            Event::Fresh { step, .. }
            | Event::Retrying { step, .. }
            | Event::Ran { step, .. }
            | Event::Failed { step, .. }
            | Event::Fetched { step, .. }
            | Event::Sent { step, .. }
            | Event::NotShared { step, .. }
            | Event::Cancelled { step } => self.stop(step),
            _ => {}
        }
        for line in self.lines.of(event) {
            // A terminal that has gone does not end the run.
            self.screen.println(visible(&line)).ok();
        }
    }

    fn tick(&mut self) {
        for running in self.running.values() {
            running.bar.set_message(running.message(&self.lines));
            running.bar.tick();
        }
        if let Some(rest) = &self.rest {
            let left = (rest.seconds - rest.told.elapsed().as_secs_f64()).max(0.0);
            let left = quantity::whole_seconds(left.round());
            let steps = quantity::count(rest.steps, "step");
            rest.bar.set_message(self.lines.paint().dim(&format!("{steps}, about {left} left")));
        }
    }
}
