//! `pipe show`: the results of a pipeline, or one of them in full.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anyhow::Context as _;
use cache::Manifest;
use pipe::preview::{Preview, preview};
use pipe::{Reason, StepId};
use serde_json::Value;

use super::paint::Paint;
use super::target::{Opened, Target};
use super::{FAILED, Failure, Global, SUCCESS, quantity, visible};

/// More files of a result are counted, not named, unless asked for with `-v`.
const FILES: usize = 20;

/// Shows the results of a pipeline, or everything about one
///
/// For a step: key, inputs and parameters, files, measures, time, memory.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe show pipelines/verify.toml         one line a step
  pipe show pipelines/verify.toml train   everything about train")]
pub(crate) struct Show {
    #[command(flatten)]
    target: Target,
    /// The step; of several an overview [default: all]
    #[arg(value_name = "STEP")]
    step: Option<String>,
}

/// The last result of a step, and whether it is still what a run would give.
struct Shown {
    manifest: Option<Manifest>,
    state: String,
}

impl Show {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let asked = opened.plan.named(self.step.as_slice())?;
        let selected = opened.select(self.step.as_slice())?;
        let Opened { plan, store, project } = &opened;
        let previews = preview(plan, store, &project.root, &selected, &BTreeSet::new());
        if asked.len() != 1 {
            let is_asked = |(id, _): &(StepId, Preview)| asked.is_empty() || asked.contains(id);
            return overview(&opened, &previews.into_iter().filter(is_asked).collect::<Vec<_>>());
        }
        let (id, preview) = previews.last().expect("the step itself was selected");
        let step = &plan.step(*id).name;
        let shown = look(&opened, *id, preview)?;
        let Some(manifest) = &shown.manifest else {
            return Err(Failure::Failed(anyhow::anyhow!("step {step} has no result yet")));
        };
        let paint = Paint::of(&io::stdout());
        let mut out = visible::stdout();
        let mut line =
            |name: &str, text: &str| writeln!(out, "  {}  {text}", paint.dim(&format!("{name:9}")));
        let facts = &manifest.facts;
        let seconds = |name: &str| facts[name].as_f64().map(quantity::seconds).unwrap_or_default();
        line("step", &format!("{} ({})", paint.bold(step), plan.step(*id).kind.name))?;
        line("state", &shown.state)?;
        line("key", &manifest.key.to_string())?;
        line("made", &format!("{} in {}", text(&facts["started"]), seconds("seconds")))?;
        let place = format!("{}, {}", text(&facts["host"]), text(&facts["device"]));
        line("where", &format!("{place}, {} threads", facts["threads"]))?;
        line("processor", &format!("{} of processor time", seconds("cpu-seconds")))?;
        let peak = facts["peak-memory-bytes"].as_u64().unwrap_or(0);
        line("memory", &format!("{} at most", quantity::bytes(peak)))?;
        for reason in facts["why"].as_array().into_iter().flatten() {
            line("because", &text(reason))?;
        }
        writeln!(out, "\n  depends on")?;
        for (name, value) in manifest.fingerprint.iter() {
            writeln!(out, "    {name} = {}", value.replace('\n', "; "))?;
        }
        if !manifest.measures.is_empty() {
            writeln!(out, "\n  measures")?;
            for (name, value) in &manifest.measures {
                writeln!(out, "    {name} {}", quantity::figure(*value))?;
            }
        }
        let outputs = &manifest.outputs;
        let size = quantity::bytes(outputs.size());
        writeln!(out, "\n  {}, {size}", quantity::count(outputs.len(), "file"))?;
        let limit = if global.verbose > 0 { outputs.len() } else { FILES };
        for (path, entry) in outputs.iter().take(limit) {
            writeln!(out, "    {:>9}  {path}", quantity::bytes(entry.size))?;
        }
        if outputs.len() > limit {
            writeln!(out, "    and {} more (-v shows them)", outputs.len() - limit)?;
        }
        let place = store.root().join("latest").join(&plan.pipeline.name).join(step);
        writeln!(out, "\n  in {}/", paint.bold(&quantity::path(&place)))?;
        Ok(SUCCESS)
    }
}

fn overview(opened: &Opened, previews: &[(StepId, Preview)]) -> Result<u8, Failure> {
    let paint = Paint::of(&io::stdout());
    let mut out = visible::stdout();
    let name = |id: &StepId| opened.plan.step(*id).name.clone();
    let width = previews.iter().map(|(id, _)| name(id).chars().count()).max().unwrap_or(0);
    let mut code = SUCCESS;
    for (id, preview) in previews {
        let shown = look(opened, *id, preview)?;
        let about = match &shown.manifest {
            None => String::new(),
            Some(manifest) => {
                let measures = manifest.measures.iter().take(3);
                let measures =
                    measures.map(|(name, value)| format!("  {name} {}", quantity::figure(*value)));
                let seconds = manifest.facts["seconds"].as_f64().unwrap_or(0.0);
                format!(
                    "{}  {:>9}  {:>9}{}",
                    manifest.key.short(),
                    quantity::seconds(seconds),
                    quantity::bytes(manifest.outputs.size()),
                    measures.collect::<String>()
                )
            }
        };
        if matches!(preview, Preview::Fails(_)) {
            code = FAILED;
        }
        let state = match preview {
            Preview::Fresh(_) => paint.good("fresh      "),
            Preview::Fails(_) => paint.bad("cannot run "),
            _ if shown.manifest.is_none() => paint.dim("no result  "),
            _ => paint.odd("out of date"),
        };
        writeln!(out, "{}", format!("  {:width$}  {state}  {about}", name(id)).trim_end())?;
    }
    Ok(code)
}

fn look(opened: &Opened, id: StepId, preview: &Preview) -> Result<Shown, Failure> {
    let told =
        |reasons: &[Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let state = match preview {
        Preview::Fresh(manifest) => {
            let manifest = Some(Manifest::clone(manifest));
            return Ok(Shown { manifest, state: "fresh".to_owned() });
        }
        Preview::Runs { reasons, .. } => format!("out of date: {}", told(reasons)),
        Preview::MayRun { reasons } => format!("may be out of date: {}", told(reasons)),
        Preview::Fails(message) => format!("cannot run: {message}"),
    };
    let (pipeline, step) = (&opened.plan.pipeline.name, &opened.plan.step(id).name);
    let last = opened.store.latest(pipeline, step).context("cannot read the last result")?;
    Ok(Shown { manifest: last, state })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("unknown").to_owned()
}
