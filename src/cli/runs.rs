//! `pipe runs`: what was run in a project.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use anyhow::Context as _;
use cache::Store;
use pipe::history::{History, Outcome, Run, RunStep};

use super::paint::Paint;
use super::{Failure, Global, SUCCESS, quantity, visible};

/// Lists the runs of this project, or shows one
///
/// Each with when it began, how long it took, how it ended and the command line; a run that was killed
/// is `interrupted`. Credentials in URLs are not kept. A run is remembered with the keys of its results
/// and what they depended on, also when the results are removed from the store.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe runs              the latest runs
  pipe runs 12           run 12, step by step
  pipe runs --keep 200   forget all but the latest 200")]
pub(crate) struct Runs {
    /// The number of a run
    #[arg(value_name = "RUN")]
    run: Option<i64>,
    /// Only those of the pipeline of this name, such as verify
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    pipeline: Option<String>,
    /// How many runs to list
    #[arg(short = 'n', long, value_name = "N", default_value = "20", conflicts_with = "run")]
    last: NonZeroUsize,
    /// Keep this many runs, the latest, from now on, and remove the others [at first: 1000]
    #[arg(long, value_name = "N", conflicts_with_all = ["run", "pipeline", "last", "json"])]
    keep: Option<NonZeroUsize>,
    /// One line of JSON a run; of one run, a line a step after that
    #[arg(long)]
    json: bool,
}

/// The order in which counts of steps are told.
const OUTCOMES: [&str; 9] = [
    "failed",
    "ran",
    "fetched",
    "fresh",
    "skipped",
    "stopped",
    "interrupted",
    "running",
    "waiting",
];

impl Runs {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let (_, mut history) = open(global)?;
        if let Some(keep) = self.keep {
            let removed = quantity::count(history.keep(keep.get())?, "run");
            let keep = quantity::count(keep.get(), "run");
            writeln!(io::stdout().lock(), "  {removed} removed; the latest {keep} are kept")?;
            return Ok(SUCCESS);
        }
        match self.run {
            Some(number) => self.one(&history, &find(&history, number)?),
            None => self.list(&history),
        }
    }

    fn list(&self, history: &History) -> Result<u8, Failure> {
        let runs = history.runs(self.pipeline.as_deref(), self.last.get())?;
        let mut out = visible::stdout();
        if self.json {
            for run in &runs {
                writeln!(out, "{}", serde_json::to_string(run).context("cannot write JSON")?)?;
            }
            return Ok(SUCCESS);
        }
        if runs.is_empty() {
            let of = self.pipeline.as_ref().map(|name| format!(" of `{name}`")).unwrap_or_default();
            return Err(Failure::Failed(anyhow::anyhow!("no run{of} is remembered")));
        }
        let paint = Paint::of(&io::stdout());
        let rows: Vec<[String; 5]> = runs
            .iter()
            .map(|run| {
                let number = run.run.to_string();
                let took = quantity::seconds(run.seconds);
                [number, when(&run.started), took, run.outcome.word().to_owned(), counts(run)]
            })
            .collect();
        let head = ["run", "started", "took", "outcome", "steps"].map(str::to_owned);
        let width = |at: usize| {
            let all = rows.iter().chain([&head]);
            all.map(|row| row[at].chars().count()).max().unwrap_or(0)
        };
        let widths = [0, 1, 2, 3, 4].map(width);
        let line = |row: &[String; 5]| {
            let [number, when, took, outcome, steps] = row;
            let [a, b, c, d, e] = widths;
            let outcome = (outcome.clone(), format!("{outcome:d$}"));
            (format!("  {number:>a$}  {when:b$}  {took:>c$}"), outcome, format!("{steps:e$}"))
        };
        let (start, (_, outcome), steps) = line(&head);
        writeln!(out, "{}", paint.dim(&format!("{start}  {outcome}  {steps}  command")))?;
        for (run, row) in runs.iter().zip(&rows) {
            let (start, (_, outcome), steps) = line(row);
            let outcome = coloured(paint, run.outcome, &outcome);
            writeln!(out, "{start}  {outcome}  {steps}  {}", shell(&run.command))?;
        }
        Ok(SUCCESS)
    }

    fn one(&self, history: &History, run: &Run) -> Result<u8, Failure> {
        let steps = history.steps(run.run)?;
        let mut out = visible::stdout();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(run).context("cannot write JSON")?)?;
            for step in &steps {
                writeln!(out, "{}", serde_json::to_string(step).context("cannot write JSON")?)?;
            }
            return Ok(SUCCESS);
        }
        let paint = Paint::of(&io::stdout());
        let mut line =
            |name: &str, text: &str| writeln!(out, "  {}  {text}", paint.dim(&format!("{name:8}")));
        let outcome = coloured(paint, run.outcome, run.outcome.word());
        line("run", &format!("{} {outcome}", paint.bold(&run.run.to_string())))?;
        line("pipeline", &format!("{} ({})", run.pipeline, run.file))?;
        line("command", &shell(&run.command))?;
        let after = match run.outcome {
            Outcome::Interrupted => "last heard of after",
            Outcome::Running => "goes on after",
            _ => "took",
        };
        let took = quantity::seconds(run.seconds);
        line("started", &format!("{}, {after} {took}", when(&run.started)))?;
        if let Some(message) = &run.message {
            line("because", message)?;
        }
        line("steps", &counts(run))?;
        writeln!(out)?;
        let width = steps.iter().map(|step| step.step.chars().count()).max().unwrap_or(0);
        for step in &steps {
            writeln!(out, "{}", described(paint, step, width).trim_end())?;
        }
        Ok(SUCCESS)
    }
}

fn described(paint: Paint, step: &RunStep, width: usize) -> String {
    let RunStep { step: name, outcome, key, seconds, why } = step;
    let padded = format!("{outcome:11}");
    let padded = match outcome.as_str() {
        "ran" | "fetched" => paint.good(&padded),
        "failed" => paint.bad(&padded),
        "interrupted" | "running" | "stopped" => paint.odd(&padded),
        _ => paint.dim(&padded),
    };
    let key: String = key.iter().flat_map(|key| key.chars()).take(12).collect();
    let took = seconds.map(quantity::seconds).unwrap_or_default();
    let why = why.join(", ");
    let why = paint.dim(why.lines().next().unwrap_or_default());
    format!("  {name:width$}  {padded}  {key:12}  {took:>9}  {why}")
}

/// Opens the history of the project.
pub(super) fn open(global: &Global) -> Result<(Store, History), Failure> {
    let root = global.project()?.store;
    if !root.is_dir() {
        return Err(Failure::Usage(format!("there is no store at {}", root.display())));
    }
    let store =
        Store::open(&root).with_context(|| format!("cannot use the store {}", root.display()))?;
    let history = History::open(&store)?;
    if let Some(notice) = history.notice() {
        tracing::warn!("{notice}");
    }
    Ok((store, history))
}

/// Finds a run by its number.
pub(super) fn find(history: &History, number: i64) -> Result<Run, Failure> {
    if let Some(run) = history.run(number)? {
        return Ok(run);
    }
    let there = match history.bounds()? {
        Some((first, last)) if first == last => format!("there is run {first}"),
        Some((first, last)) => format!("there are runs {first} to {last}"),
        None => "none is".to_owned(),
    };
    Err(Failure::Usage(format!("run {number} is not remembered; {there}")))
}

/// `3 ran, 16 fresh`.
pub(super) fn counts(run: &Run) -> String {
    let told = OUTCOMES.iter().filter_map(|outcome| {
        let count = run.steps.get(*outcome)?;
        Some(format!("{count} {outcome}"))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// A time as people here read it.
pub(super) fn when(started: &str) -> String {
    let Ok(at) = started.parse::<jiff::Timestamp>() else { return started.to_owned() };
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn coloured(paint: Paint, outcome: Outcome, text: &str) -> String {
    match outcome {
        Outcome::Succeeded => paint.good(text),
        Outcome::Failed => paint.bad(text),
        Outcome::Stopped | Outcome::Interrupted | Outcome::Running => paint.odd(text),
    }
}

/// The command line of this process, with the program's own name for its path.
pub(super) fn command_line() -> Vec<String> {
    let arguments = std::env::args_os().skip(1);
    let words = arguments.map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("pipe".to_owned()).chain(words).collect()
}

/// A command line as it could be typed.
pub(super) fn shell(command: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@+%*".contains(c);
    let word = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let words = command.iter().map(word).collect::<Vec<_>>().join(" ");
    // What was typed must not steer the terminal.
    words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
