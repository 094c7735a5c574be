//! `pipe metrics`: the measures of results, side by side.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use anyhow::Context as _;
use cache::{Key, Manifest};
use pipe::history::{FirstSeen, History, Remembered};
use pipe::preview::{Preview, preview};
use pipe::{StepId, suggest};
use serde_json::{Map, Value};

use super::paint::Paint;
use super::target::{Opened, Target};
use super::{Failure, Global, SUCCESS, quantity, visible};

/// Compares the measures of the steps' last results
///
/// A result that a run would or may replace is marked; a step without measures is left out. Figures
/// are rounded in the table and whole in `--json` and `--csv`. With `--all`, those of every result that
/// the steps had in any run that is remembered, each with the first run that had it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe metrics pipelines/verify.toml
  pipe metrics pipelines/verify.toml --sort dev-accuracy
  pipe metrics pipelines/verify.toml train --csv
  pipe metrics pipelines/verify.toml net --all --sort dev-accuracy")]
pub(crate) struct Metrics {
    #[command(flatten)]
    target: Target,
    /// The steps [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Of every result that the steps had, the latest first (see `pipe runs`)
    #[arg(long)]
    all: bool,
    /// Put the largest value of this measure first; steps without it come last
    #[arg(long, value_name = "MEASURE")]
    sort: Option<String>,
    /// One line of JSON a step
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// A table for other programs
    #[arg(long)]
    csv: bool,
}

/// The state of a result that a run would leave as it is.
const FRESH: &str = "fresh";

/// The measures of one step's last result.
#[derive(Debug)]
struct Row {
    step: String,
    key: Key,
    state: &'static str,
    /// With `--all`, the first run that had it, and when that began.
    run: Option<(i64, String)>,
    measures: BTreeMap<String, f64>,
}

impl Metrics {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let selected = opened.select(&self.steps)?;
        let mut rows = match self.all {
            true => self.every_result(&opened, &selected)?,
            false => self.last_results(&opened, &selected)?,
        };
        let names: BTreeSet<&str> =
            rows.iter().flat_map(|row| row.measures.keys().map(String::as_str)).collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if let Some(measure) = &self.sort {
            if !names.is_empty() && !names.contains(measure) {
                return Err(Failure::Usage(unknown(measure, &names)));
            }
            sort(&mut rows, measure);
        }
        if self.json {
            return json(&rows);
        }
        if self.csv {
            return csv(&rows, &names, self.all);
        }
        if rows.is_empty() {
            return Err(Failure::Failed(anyhow::anyhow!("no result of these steps has measures")));
        }
        table(&rows, &names)
    }

    /// The results that the steps had in any run.
    fn every_result(
        &self,
        opened: &Opened,
        selected: &BTreeSet<StepId>,
    ) -> Result<Vec<Row>, Failure> {
        let history = History::open(&opened.store)?;
        if let Some(notice) = history.notice() {
            tracing::warn!("{notice}");
        }
        let plan = &opened.plan;
        let asked = plan.named(&self.steps)?;
        let mut rows = Vec::new();
        for id in plan.order().iter().filter(|id| selected.contains(id)) {
            if !self.steps.is_empty() && !asked.contains(id) {
                continue;
            }
            let step = &plan.step(*id).name;
            for FirstSeen { run, started, step, result } in
                history.results_of(&plan.pipeline.name, step)?
            {
                let Remembered { key, measures, .. } = result;
                if !measures.is_empty() {
                    let run = Some((run, started));
                    rows.push(Row { step, key, state: FRESH, run, measures });
                }
            }
        }
        Ok(rows)
    }

    /// The last results of the steps, and whether a run would leave them.
    fn last_results(
        &self,
        opened: &Opened,
        selected: &BTreeSet<StepId>,
    ) -> Result<Vec<Row>, Failure> {
        let (plan, store) = (&opened.plan, &opened.store);
        let asked = plan.named(&self.steps)?;
        let previews = preview(plan, store, &opened.project.root, selected, &BTreeSet::new());
        let mut rows = Vec::new();
        for (id, preview) in previews {
            let step = &plan.step(id).name;
            if !self.steps.is_empty() && !asked.contains(&id) {
                continue;
            }
            let (state, now) = match preview {
                Preview::Fresh(manifest) => (FRESH, Some(Manifest::clone(&manifest))),
                Preview::Runs { .. } => ("out of date", None),
                Preview::MayRun { .. } => ("may be out of date", None),
                Preview::Fails(_) => ("cannot run", None),
            };
            let manifest = match now {
                Some(manifest) => Some(manifest),
                None => {
                    let last = store.latest(&plan.pipeline.name, step);
                    last.context("cannot read the last result")?
                }
            };
            let Some(manifest) = manifest.filter(|manifest| !manifest.measures.is_empty()) else {
                continue;
            };
            let (key, measures) = (manifest.key, manifest.measures);
            rows.push(Row { step: step.clone(), key, state, run: None, measures });
        }
        Ok(rows)
    }
}

fn unknown(measure: &str, names: &[String]) -> String {
    let names = || names.iter().map(String::as_str);
    format!(
        "no result has a measure {}{}\n  there are {}",
        suggest::quoted(measure),
        suggest::did_you_mean(measure, names()),
        suggest::list(names())
    )
}

/// Puts the largest first, then what is not a number, then what has no such measure; steps that are
/// alike in this keep their order.
fn sort(rows: &mut [Row], measure: &str) {
    rows.sort_by(|a, b| match (a.measures.get(measure), b.measures.get(measure)) {
        (Some(a), Some(b)) => match (a.is_nan(), b.is_nan()) {
            (false, false) => b.total_cmp(a),
            (a, b) => a.cmp(&b),
        },
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    });
}

fn json(rows: &[Row]) -> Result<u8, Failure> {
    let mut out = visible::stdout();
    for row in rows {
        let figure = |value: f64| {
            let number = serde_json::Number::from_f64(value);
            // JSON has no number for these; they are told as in manifests.
            number.map_or_else(|| Value::String(value.to_string()), Value::Number)
        };
        let measures: Map<String, Value> =
            row.measures.iter().map(|(name, value)| (name.clone(), figure(*value))).collect();
        let Row { step, key, state, run, .. } = row;
        let key = key.to_string();
        let line = match run {
            Some((run, started)) => serde_json::json!({
                "step": step, "key": key, "run": run, "started": started, "measures": measures,
            }),
            None => serde_json::json!({
                "step": step, "key": key, "state": state, "measures": measures,
            }),
        };
        writeln!(out, "{line}")?;
    }
    Ok(SUCCESS)
}

fn csv(rows: &[Row], names: &[String], all: bool) -> Result<u8, Failure> {
    let write = |out: io::StdoutLock<'_>| -> csv::Result<()> {
        let mut out = csv::Writer::from_writer(out);
        let head =
            if all { vec!["step", "key", "run", "started"] } else { vec!["step", "key", "state"] };
        out.write_record(head.into_iter().chain(names.iter().map(String::as_str)))?;
        for row in rows {
            let figure = |name| row.measures.get(name).map(f64::to_string).unwrap_or_default();
            let about = [row.step.clone(), row.key.to_string()].into_iter();
            let about = about.chain(match &row.run {
                Some((run, started)) => vec![run.to_string(), started.clone()],
                None => vec![row.state.to_owned()],
            });
            out.write_record(about.chain(names.iter().map(figure)))?;
        }
        Ok(out.flush()?)
    };
    match write(io::stdout().lock()).map_err(csv::Error::into_kind) {
        Ok(()) => Ok(SUCCESS),
        Err(csv::ErrorKind::Io(error)) => Err(error.into()),
        Err(other) => Err(Failure::Failed(anyhow::anyhow!("cannot write CSV: {other:?}"))),
    }
}

fn table(rows: &[Row], names: &[String]) -> Result<u8, Failure> {
    let paint = Paint::of(&io::stdout());
    let mut out = visible::stdout();
    let figure = |row: &Row, name| row.measures.get(name).map(|value| quantity::figure(*value));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| names.iter().map(|name| figure(row, name).unwrap_or_default()).collect())
        .collect();
    let first = rows.iter().map(|row| row.step.chars().count()).max().unwrap_or(0).max(4);
    let widths: Vec<usize> = (names.iter().enumerate())
        .map(|(at, name)| {
            let widest = cells.iter().map(|row| row[at].chars().count()).max();
            widest.unwrap_or(0).max(name.chars().count())
        })
        .collect();
    let aligned = |cells: &[String]| -> String {
        cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}")).collect()
    };
    // Run and time before the step, where there are any.
    let about = |row: Option<&Row>| match row.map_or(&rows[0].run, |row| &row.run) {
        Some((run, started)) => match row {
            Some(_) => format!("  {run:>4}  {}", super::runs::when(started)),
            None => format!("  {:>4}  {:19}", "run", "started"),
        },
        None => String::new(),
    };
    let head = format!("{}  {:first$}{}", about(None), "step", aligned(names));
    writeln!(out, "{}", paint.dim(&head))?;
    for (row, cells) in rows.iter().zip(&cells) {
        let line = format!("{}  {:first$}{}", about(Some(row)), row.step, aligned(cells));
        match row.state {
            FRESH => writeln!(out, "{}", line.trim_end())?,
            other => writeln!(out, "{line}  {}", paint.odd(other))?,
        }
    }
    Ok(SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_comes_first_and_what_is_no_number_late() {
        let row = |step: &str, value: Option<f64>| Row {
            step: step.to_owned(),
            key: cache::Fingerprint::new().key(),
            state: FRESH,
            run: None,
            measures: value.map(|value| ("accuracy".to_owned(), value)).into_iter().collect(),
        };
        let mut rows = vec![
            row("none", None),
            row("nan", Some(-f64::NAN)),
            row("low", Some(f64::NEG_INFINITY)),
            row("also-none", None),
            row("high", Some(0.9)),
            row("same", Some(0.9)),
        ];
        sort(&mut rows, "accuracy");
        let order: Vec<&str> = rows.iter().map(|row| row.step.as_str()).collect();
        assert_eq!(order, ["high", "same", "low", "nan", "none", "also-none"]);
    }
}
