//! The lines that a run leaves behind, on a terminal as in a log.

use std::collections::BTreeMap;

use pipe::event::{Event, StepResult};

use crate::cli::paint::Paint;
use crate::cli::quantity;

/// More reasons are counted, not told, unless asked for.
const REASONS: usize = 2;
/// Of more results it is told only where they are.
const GOALS: usize = 8;
/// More figures of one step are left to `pipe show`.
const FIGURES: usize = 6;

/// Turns events into lines, and remembers what the closing lines need.
pub(crate) struct Lines {
    paint: Paint,
    /// How to write the pipeline file in an advice.
    file: String,
    /// The steps whose results nothing else needs.
    goals: Vec<String>,
    verbose: bool,
    quiet: bool,
    width: usize,
    order: Vec<String>,
    results: BTreeMap<String, StepResult>,
    failed: Vec<String>,
    interrupted: bool,
}

impl Lines {
    /// Makes the lines of a run of `file` whose last steps are `goals`.
    pub(crate) fn new(paint: Paint, file: String, goals: Vec<String>) -> Self {
        Self {
            paint,
            file,
            goals,
            verbose: false,
            quiet: false,
            width: 0,
            order: Vec::new(),
            results: BTreeMap::new(),
            failed: Vec::new(),
            interrupted: false,
        }
    }

    /// Tells everything, or only what went wrong.
    pub(crate) fn volume(mut self, verbose: bool, quiet: bool) -> Self {
        (self.verbose, self.quiet) = (verbose, quiet);
        self
    }

    /// The colours.
    pub(super) fn paint(&self) -> Paint {
        self.paint
    }

    /// Whether only what went wrong is told.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A name, padded to the longest.
    pub(super) fn padded(&self, step: &str) -> String {
        format!("{step:width$}", width = self.width)
    }

    /// The lines that an event leaves behind.
    pub(super) fn of(&mut self, event: &Event) -> Vec<String> {
        let paint = self.paint;
        match event {
            Event::Begin { steps, .. } => {
                self.width = steps.iter().map(|step| step.chars().count()).max().unwrap_or(0);
                self.order.clone_from(steps);
                Vec::new()
            }
            Event::Notice { message } => vec![format!("  {} {message}", paint.odd("!"))],
            Event::Fresh { step, result } => {
                self.results.insert(step.clone(), result.clone());
                self.unless_quiet(vec![self.step(&paint.dim("·"), step, &paint.dim("fresh"), None)])
            }
            Event::Fetched { step, result, carried_bytes, seconds, .. } => {
                self.results.insert(step.clone(), result.clone());
                self.unless_quiet(vec![self.carried(
                    "↓",
                    step,
                    "fetched",
                    *carried_bytes,
                    *seconds,
                )])
            }
            Event::Sent { step, carried_bytes, seconds, .. } => {
                self.unless_quiet(vec![self.carried("↑", step, "sent", *carried_bytes, *seconds)])
            }
            Event::Present { step, .. } => {
                let there = paint.dim("there already");
                self.unless_quiet(vec![self.step(&paint.dim("·"), step, &there, None)])
            }
            Event::Repeated { step, same: true, .. } => self.unless_quiet(vec![self.step(
                &paint.good("="),
                step,
                "the same bytes again",
                None,
            )]),
            Event::Repeated { step, differences, .. } => {
                let mut lines =
                    vec![self.step(&paint.bad("✗"), step, &paint.bad("other bytes"), None)];
                lines.extend(differences.iter().map(|line| format!("      {line}")));
                lines
            }
            Event::NotShared { step, message } => {
                let mut lines =
                    vec![self.step(&paint.bad("✗"), step, &paint.bad("left out"), None)];
                lines.extend(message.lines().map(|line| format!("      {line}")));
                lines
            }
            Event::Shared { remote, fetched, sent, present, left, bytes, seconds } => {
                let counts = [
                    (*fetched, "fetched"),
                    (*sent, "sent"),
                    (*present, "there already"),
                    (*left, "left out"),
                ];
                let counts = counts.iter().filter(|(count, _)| *count > 0);
                let counts: Vec<_> =
                    counts.map(|(count, word)| format!("{count} {word}")).collect();
                let counts =
                    if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
                let counts = if *left > 0 { paint.bad(&counts) } else { paint.good(&counts) };
                let (size, time) = (quantity::bytes(*bytes), quantity::seconds(*seconds));
                let lines = vec![String::new(), format!("  {counts}; {size} in {time}, {remote}")];
                self.unless_quiet(lines)
            }
            Event::Waiting { step } => {
                let note = format!("{step} is being made by another step or run; waiting for it");
                self.unless_quiet(vec![format!("  {} {note}", paint.dim("·"))])
            }
            Event::Ran {
                step, why, result, unchanged, unrepeatable, seconds, attempts, ..
            } => {
                self.results.insert(step.clone(), result.clone());
                let mut lines = self.ran(step, why, *unchanged, *seconds, *attempts);
                if *unrepeatable {
                    let note = "made other files than before from the same inputs and parameters";
                    lines.push(self.below(&paint.odd(note)));
                }
                self.unless_quiet(lines)
            }
            Event::Retrying { step, message, log_tail, log, seconds, attempt, attempts, pause } => {
                let note = match *pause {
                    0.0 => format!("try {attempt} of {attempts}, again at once"),
                    pause => {
                        format!(
                            "try {attempt} of {attempts}, again in {}",
                            quantity::seconds(pause)
                        )
                    }
                };
                let symbol = (paint.odd("!"), paint.odd("failed"));
                let time = Some(*seconds).filter(|_| log.is_some());
                let lines = self.failure(symbol, step, message, log_tail, time, &note);
                self.unless_quiet(lines)
            }
            Event::Failed { step, message, log_tail, log, seconds, attempts } => {
                // Without a log there may be one of an earlier time, which says nothing of this.
                self.failed.extend(log.is_some().then(|| step.clone()));
                let note = match attempts {
                    0 | 1 => String::new(),
                    _ => format!("try {attempts} of {attempts}"),
                };
                let symbol = (paint.bad("✗"), paint.bad("failed"));
                let time = Some(*seconds).filter(|_| log.is_some());
                self.failure(symbol, step, message, log_tail, time, &note)
            }
            Event::Skipped { step, because } => {
                let needs = format!("because {because} failed");
                let line = self.step(&paint.dim("-"), step, &paint.dim("skipped"), None);
                self.unless_quiet(vec![format!("{line}  {}", paint.dim(&needs))])
            }
            Event::Cancelled { step } => {
                let line = self.step(&paint.odd("-"), step, &paint.odd("stopped"), None);
                self.unless_quiet(vec![line])
            }
            Event::Stopping { at_once } => {
                self.interrupted = true;
                let note = if *at_once {
                    "killing what runs"
                } else {
                    "stopping; running steps save what they can (Ctrl-C again kills them)"
                };
                vec![format!("  {} {note}", paint.odd("!"))]
            }
            Event::End { fresh, fetched, ran, failed, skipped, cancelled, retried, seconds } => {
                let counts = [*failed, *ran, *fetched, *fresh, *skipped, *cancelled];
                let lines = self.closing(counts, *retried, *seconds);
                self.unless_quiet(lines)
            }
            Event::Started { .. }
            | Event::Queued { .. }
            | Event::Begun { .. }
            | Event::Remaining { .. }
            | Event::Progress { .. }
            | Event::Measure { .. }
            | Event::Fetching { .. }
            | Event::Sending { .. } => Vec::new(),
        }
    }

    /// Says where the Slurm job of a step waits, and why.
    pub(super) fn queued(job: &str, state: &str, reason: &str) -> String {
        let state = match state {
            "PENDING" => "waits in the queue".to_owned(),
            state => format!("is {}", state.to_lowercase().replace('_', " ")),
        };
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        format!("Slurm job {job} {state}{reason}")
    }

    fn unless_quiet(&self, lines: Vec<String>) -> Vec<String> {
        if self.quiet { Vec::new() } else { lines }
    }

    fn step(&self, symbol: &str, step: &str, status: &str, seconds: Option<f64>) -> String {
        let line = format!("  {symbol} {}  {status}", self.padded(step));
        match seconds {
            Some(time) => format!("{line} {}", quantity::seconds(time)),
            None => line,
        }
    }

    fn carried(&self, symbol: &str, step: &str, status: &str, bytes: u64, seconds: f64) -> String {
        let paint = self.paint;
        let line = self.step(&paint.good(symbol), step, &paint.good(status), Some(seconds));
        format!("{line}  {}", paint.dim(&quantity::bytes(bytes)))
    }

    fn below(&self, text: &str) -> String {
        format!("    {:width$}  {text}", "", width = self.width)
    }

    fn ran(
        &self,
        step: &str,
        why: &[String],
        unchanged: bool,
        seconds: f64,
        attempts: u32,
    ) -> Vec<String> {
        let paint = self.paint;
        let mut line = self.step(&paint.good("✓"), step, &paint.good("ran"), Some(seconds));
        let shown = if self.verbose { why.len() } else { REASONS.min(why.len()) };
        let mut told = why[..shown].join(", ");
        if shown < why.len() {
            told.push_str(&format!(", and {} more", why.len() - shown));
        }
        if unchanged && !why.iter().any(|reason| reason == "forced") {
            told.push_str("; same result as before");
        }
        if attempts > 1 {
            told.push_str(&format!("; try {attempts}"));
        }
        line.push_str(&paint.dim(&format!("  {told}")));
        vec![line]
    }

    fn failure(
        &self,
        (symbol, word): (String, String),
        step: &str,
        message: &str,
        log_tail: &[String],
        time: Option<f64>,
        note: &str,
    ) -> Vec<String> {
        let paint = self.paint;
        let mut first = self.step(&symbol, step, &word, time);
        if !note.is_empty() {
            first.push_str(&paint.dim(&format!("  {note}")));
        }
        let mut lines = vec![first];
        lines.extend(message.lines().map(|line| format!("      {line}")));
        if !log_tail.is_empty() {
            lines.push(paint.dim("      the end of its log:"));
            lines.extend(log_tail.iter().map(|line| paint.dim(&format!("      | {line}"))));
        }
        lines
    }

    fn closing(&self, counts: [usize; 6], retried: usize, seconds: f64) -> Vec<String> {
        let paint = self.paint;
        let [failed, ran, fetched, _, skipped, cancelled] = counts;
        let mut lines = vec![String::new()];
        let measured = self.order.iter().filter_map(|step| {
            let measures = &self.results.get(step)?.measures;
            (!measures.is_empty()).then(|| self.measures(step, measures))
        });
        lines.extend(measured);
        if lines.len() > 1 {
            lines.push(String::new());
        }
        let total: usize = counts.iter().sum();
        let time = quantity::seconds(seconds);
        let up_to_date = failed + skipped + cancelled == 0;
        if up_to_date && ran + fetched == 0 {
            let all = format!("{} up to date", quantity::count(total, "step"));
            lines.push(format!("  {} in {time}", paint.good(&all)));
        } else {
            let words = ["failed", "ran", "fetched", "fresh", "skipped", "stopped"];
            let parts: Vec<String> = counts
                .iter()
                .zip(words)
                .filter(|(count, _)| **count > 0)
                .map(|(count, word)| format!("{count} {word}"))
                .collect();
            let parts = parts.join(", ");
            let parts = if up_to_date { paint.good(&parts) } else { paint.bad(&parts) };
            lines.push(format!("  {parts} in {time}"));
        }
        if retried > 0 {
            let tries = if retried == 1 { "1 try".to_owned() } else { format!("{retried} tries") };
            lines
                .push(format!("  {}", paint.odd(&format!("{tries} failed and had another after"))));
        }
        let goals = || self.goals.iter().filter_map(|goal| self.results.get(goal));
        for goal in goals().take(GOALS) {
            lines.push(format!("  result in {}/", paint.bold(&quantity::path(&goal.path))));
        }
        if let Some(goal) = goals().nth(GOALS)
            && let Some(directory) = goal.path.parent()
        {
            let (more, directory) = (goals().count() - GOALS, quantity::path(directory));
            lines.push(format!("  and {more} more beside them in {}/", paint.bold(&directory)));
        }
        // A second run, without goals, leaves no logs.
        if let Some(step) = self.failed.first().filter(|_| !self.goals.is_empty()) {
            lines.push(paint.dim(&format!("  whole log: pipe log {} {step}", self.file)));
        }
        if self.interrupted {
            lines.push(paint.dim("  run it again to go on where it stopped"));
        }
        lines
    }

    fn measures(&self, step: &str, measures: &BTreeMap<String, f64>) -> String {
        let shown: Vec<String> = measures
            .iter()
            .take(FIGURES)
            .map(|(name, value)| format!("{} {}", self.paint.dim(name), quantity::figure(*value)))
            .collect();
        let more = if measures.len() > FIGURES { self.paint.dim("  ...") } else { String::new() };
        format!("    {}  {}{more}", self.padded(step), shown.join("  "))
    }
}
