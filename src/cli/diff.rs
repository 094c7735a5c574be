//! `pipe diff`: what differs between two runs, or a run and now.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use cache::Change;
use pipe::Reason;
use pipe::diff::{Side, StepDiff, diff};
use pipe::history::{History, Run};
use pipe::preview::preview;
use serde_json::{Value, json};

use super::paint::Paint;
use super::runs::{find, open, shell, when};
use super::target::{Opened, Overrides, Target};
use super::{Failure, Global, SUCCESS, quantity, visible};

/// Tells what differs between two runs, or between a run and now
///
/// For each step whose result is another: the parameters, inputs, files and versions it depends on,
/// and its measures, from what to what. A pipeline file stands for what a run of it would do now. With
/// one run alone, it is compared with the run of the same pipeline before it; with a pipeline file
/// alone, its last run with now. With `-v` every changed file is named.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe diff 12 15                      run 15 compared with run 12
  pipe diff 15                         run 15 compared with the one before
  pipe diff 12 pipelines/verify.toml   now compared with run 12
  pipe diff pipelines/verify.toml      now compared with the last run")]
pub(crate) struct Diff {
    /// The older side: the number of a run, or a pipeline file
    #[arg(value_name = "A")]
    a: String,
    /// The newer side
    #[arg(value_name = "B")]
    b: Option<String>,
    #[command(flatten)]
    changes: Overrides,
    /// One line of JSON a step that differs
    #[arg(long)]
    json: bool,
}

/// One side, and what it is called.
struct Told {
    side: Side,
    label: String,
}

impl Diff {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let (store, history) = open(global)?;
        let number = |text: &String| text.parse::<i64>().ok();
        let [before, after] = match (number(&self.a), &self.b) {
            (Some(a), Some(b)) => {
                [of_run(&history, &find(&history, a)?)?, self.side(global, &history, b)?]
            }
            (None, Some(b)) => [self.now(global, &self.a)?.0, self.side(global, &history, b)?],
            (Some(a), None) => {
                let run = find(&history, a)?;
                let Some(earlier) = history.before(&run)? else {
                    let message =
                        format!("run {a} is the first of `{}` that is remembered", run.pipeline);
                    return Err(Failure::Usage(message));
                };
                [of_run(&history, &earlier)?, of_run(&history, &run)?]
            }
            (None, None) => {
                let (now, pipeline) = self.now(global, &self.a)?;
                let Some(last) = history.runs(Some(&pipeline), 1)?.pop() else {
                    let message = format!("no run of `{pipeline}` is remembered");
                    return Err(Failure::Usage(message));
                };
                [of_run(&history, &last)?, now]
            }
        };
        let differences = diff(&store, &before.side, &after.side);
        if self.json {
            json(&differences)
        } else {
            self.show(&before, &after, &differences, global.verbose > 0)
        }
    }

    fn side(&self, global: &Global, history: &History, text: &str) -> Result<Told, Failure> {
        match text.parse() {
            Ok(number) => of_run(history, &find(history, number)?),
            Err(_) => Ok(self.now(global, text)?.0),
        }
    }

    /// What a run would do now, and the name of the pipeline.
    fn now(&self, global: &Global, file: &str) -> Result<(Told, String), Failure> {
        let target = Target { file: PathBuf::from(file), changes: self.changes.clone() };
        let opened = target.open(global)?;
        let selected = opened.select(&[])?;
        let Opened { plan, store, project } = &opened;
        let previews = preview(plan, store, &project.root, &selected, &BTreeSet::new());
        let side = Side::of_now(plan, &previews);
        let label = format!("now     {file}{}", self.changes.shown());
        Ok((Told { side, label }, plan.pipeline.name.clone()))
    }

    fn show(
        &self,
        before: &Told,
        after: &Told,
        differences: &[(String, StepDiff)],
        verbose: bool,
    ) -> Result<u8, Failure> {
        let paint = Paint::of(&io::stdout());
        let mut out = visible::stdout();
        writeln!(out, "{} {}", paint.bad("-"), before.label)?;
        writeln!(out, "{} {}", paint.good("+"), after.label)?;
        writeln!(out)?;
        let mut same = 0;
        for (step, difference) in differences {
            if *difference == StepDiff::Same {
                same += 1;
                continue;
            }
            let rows = rows(paint, difference, verbose);
            writeln!(out, "  {}{}", paint.bold(step), about(difference))?;
            let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            for (name, text) in &rows {
                let mut lines = text.lines();
                let first = lines.next().unwrap_or_default();
                writeln!(out, "{}", format!("    {name:width$}  {first}").trim_end())?;
                for line in lines {
                    writeln!(out, "    {:width$}    {line}", "")?;
                }
            }
        }
        let counted = quantity::count(same, "step");
        match (same, differences.len()) {
            (0, _) => {}
            (same, all) if same == all => writeln!(out, "  nothing differs: {counted}")?,
            _ => writeln!(out, "\n  {counted} the same")?,
        }
        Ok(SUCCESS)
    }
}

fn of_run(history: &History, run: &Run) -> Result<Told, Failure> {
    let label = format!("run {:<3} {}  {}", run.run, when(&run.started), shell(&run.command));
    Ok(Told { side: Side::of_run(history, run)?, label })
}

/// What follows the name of a step.
fn about(difference: &StepDiff) -> String {
    match difference {
        StepDiff::Same | StepDiff::Changed { same_files: Some(false), .. } => String::new(),
        StepDiff::Changed { same_files: Some(true), .. } => ": the same files".to_owned(),
        StepDiff::Changed { same_files: None, .. } => ": would run".to_owned(),
        StepDiff::Added => ": new".to_owned(),
        StepDiff::Removed => ": gone".to_owned(),
        StepDiff::Unknown([None, Some(after)]) => format!(": {after}"),
        StepDiff::Unknown([Some(before), None]) => format!(": was {before}"),
        StepDiff::Unknown([before, after]) => {
            let word = |why: &Option<String>| why.clone().unwrap_or_default();
            format!(": was {}, now {}", word(before), word(after))
        }
    }
}

/// Names and what became of them, to be aligned.
fn rows(paint: Paint, difference: &StepDiff, verbose: bool) -> Vec<(String, String)> {
    let StepDiff::Changed { reasons, measures, same_files } = difference else { return Vec::new() };
    let mut rows = Vec::new();
    for reason in reasons {
        // In full it names every file.
        let text = if verbose { format!("{reason:#}") } else { reason.to_string() };
        let Reason::Changed { name, .. } = reason else { continue };
        let rest = text.strip_prefix(name.as_str()).unwrap_or(&text);
        let rest = rest.trim_start_matches(':').trim_start();
        let lines: Vec<&str> = rest.lines().map(str::trim_start).collect();
        rows.push((name.clone(), lines.join("\n")));
    }
    if reasons.is_empty() && *same_files == Some(false) {
        let text = paint.odd("other files from the same inputs and parameters");
        rows.push(("files".to_owned(), text));
    }
    for (name, before, after) in measures {
        let figure =
            |value: &Option<f64>| value.map_or_else(|| "(none)".to_owned(), quantity::figure);
        let change = match (before, after) {
            (Some(before), Some(after)) if after > before => {
                format!("  (+{})", quantity::figure(after - before))
            }
            (Some(before), Some(after)) if after < before => {
                format!("  ({})", quantity::figure(after - before))
            }
            _ => String::new(),
        };
        let text = format!("{} → {}{}", figure(before), figure(after), paint.dim(&change));
        rows.push((name.clone(), text));
    }
    rows
}

fn json(differences: &[(String, StepDiff)]) -> Result<u8, Failure> {
    let mut out = visible::stdout();
    for (step, difference) in differences {
        let line = match difference {
            StepDiff::Same => continue,
            StepDiff::Added => json!({ "step": step, "change": "added" }),
            StepDiff::Removed => json!({ "step": step, "change": "removed" }),
            StepDiff::Unknown([before, after]) => {
                json!({ "step": step, "change": "unknown", "before": before, "after": after })
            }
            StepDiff::Changed { reasons, measures, same_files } => {
                let depends: Vec<Value> = reasons.iter().filter_map(dependency).collect();
                let figure = |value: &Option<f64>| match value {
                    // JSON has no number for some; they are told as in manifests.
                    Some(value) => serde_json::Number::from_f64(*value)
                        .map_or_else(|| Value::String(value.to_string()), Value::Number),
                    None => Value::Null,
                };
                let measures = measures.iter().map(|(name, before, after)| {
                    json!({ "name": name, "before": figure(before), "after": figure(after) })
                });
                json!({
                    "step": step, "change": "changed", "depends": depends,
                    "measures": measures.collect::<Vec<_>>(), "same-files": same_files,
                })
            }
        };
        writeln!(out, "{line}")?;
    }
    Ok(SUCCESS)
}

fn dependency(reason: &Reason) -> Option<Value> {
    let Reason::Changed { name, before, after, files } = reason else { return None };
    let files = files.iter().map(|(path, change)| {
        let word = match change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Content => "content",
            Change::Mode => "mode",
        };
        json!({ "path": path, "change": word })
    });
    let files: Vec<Value> = files.collect();
    Some(json!({ "name": name, "before": before, "after": after, "files": files }))
}
