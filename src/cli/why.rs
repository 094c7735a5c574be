//! `pipe why`: what changed since the last result of a step.

use std::collections::BTreeSet;
use std::io::{self, Write};

use cache::Manifest;
use pipe::preview::{Preview, preview};
use pipe::{Reason, StepId};

use super::paint::Paint;
use super::target::{Opened, Target};
use super::{FAILED, Failure, Global, SUCCESS, quantity, visible};

/// Tells why a step would run, or why it ran last
///
/// Names every parameter, input file and version that changed since the last result: from what, to
/// what.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pipe why pipelines/verify.toml train")]
pub(crate) struct Why {
    #[command(flatten)]
    target: Target,
    /// The step
    #[arg(value_name = "STEP")]
    step: String,
}

impl Why {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let (step, selected) = opened.step_and_needs(&self.step)?;
        let Opened { plan, store, project } = &opened;
        let previews = preview(plan, store, &project.root, &selected, &BTreeSet::new());
        let mut out = visible::stdout();
        let paint = Paint::of(&io::stdout());
        let (_, preview) = previews.last().expect("the step itself was selected");
        let name = paint.bold(&plan.step(step).name);
        let mut code = SUCCESS;
        match preview {
            Preview::Fresh(manifest) => {
                writeln!(out, "{name} is fresh: {}", made(manifest))?;
                let why = manifest.facts["why"].as_array();
                let why = why.into_iter().flatten().filter_map(|reason| reason.as_str());
                let why: Vec<&str> = why.collect();
                if !why.is_empty() {
                    writeln!(out, "it was made because of:")?;
                    why.iter().try_for_each(|reason| writeln!(out, "  {reason}"))?;
                }
            }
            Preview::Runs { reasons, .. } => {
                writeln!(out, "{name} would run:")?;
                list(&mut out, reasons)?;
                if let Some(last) =
                    store.latest(&plan.pipeline.name, &plan.step(step).name).unwrap_or(None)
                {
                    writeln!(out, "{}", paint.dim(&format!("compared with {}", made(&last))))?;
                }
            }
            Preview::MayRun { .. } => {
                writeln!(out, "{name} runs if one of these makes other files:")?;
                upstream(&mut out, &opened, &previews, step)?;
            }
            Preview::Fails(message) => {
                writeln!(out, "{name} cannot run: {message}")?;
                code = FAILED;
            }
        }
        Ok(code)
    }
}

fn list(out: &mut impl Write, reasons: &[Reason]) -> io::Result<()> {
    for reason in reasons {
        for line in format!("{reason:#}").lines() {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

/// Tells of every step before this one that would run.
fn upstream(
    out: &mut impl Write,
    opened: &Opened,
    previews: &[(StepId, Preview)],
    step: StepId,
) -> io::Result<()> {
    for (id, preview) in previews.iter().filter(|(id, _)| *id != step) {
        let name = &opened.plan.step(*id).name;
        match preview {
            Preview::Runs { reasons, .. } => {
                writeln!(out, "  {name} would run:")?;
                for line in reasons.iter().map(|reason| format!("{reason:#}")) {
                    line.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
                }
            }
            Preview::Fails(message) => writeln!(out, "  {name} cannot run: {message}")?,
            Preview::Fresh(_) | Preview::MayRun { .. } => {}
        }
    }
    Ok(())
}

fn made(manifest: &Manifest) -> String {
    let facts = &manifest.facts;
    let mut text = format!("result {}", manifest.key.short());
    if let Some(when) = facts["started"].as_str().and_then(|text| text.parse().ok()) {
        let when: jiff::Timestamp = when;
        let when = when.to_zoned(jiff::tz::TimeZone::system());
        text.push_str(&when.strftime(" of %Y-%m-%d %H:%M:%S").to_string());
    }
    if let Some(seconds) = facts["seconds"].as_f64() {
        text.push_str(&format!(", made in {}", quantity::seconds(seconds)));
    }
    text
}
