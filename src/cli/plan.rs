//! `pipe plan`: what would run, and why.

use std::collections::BTreeSet;
use std::io::{self, Write};

use pipe::preview::{Preview, preview};
use pipe::{Reason, StepId};

use super::paint::Paint;
use super::target::{Opened, Target};
use super::{FAILED, Failure, Global, SUCCESS, quantity, visible};

/// Tells what a run would do, and why
///
/// A step after one that would run "may run": if the files it gets turn out the same, it stays fresh.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pipe plan pipelines/verify.toml --set stage.train.epochs=3")]
pub(crate) struct Plan {
    #[command(flatten)]
    target: Target,
    /// The steps to look at, with all they need [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Refuse when the lock file no longer describes the pipeline file and its data
    #[arg(long)]
    locked: bool,
}

impl Plan {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let selected = opened.select(&self.steps)?;
        if self.locked {
            super::lock::hold(&opened, &selected)?;
        }
        print(&opened, &selected, &BTreeSet::new())
    }
}

/// Writes what a run of these steps would do.
pub(crate) fn print(
    opened: &Opened,
    selected: &BTreeSet<StepId>,
    forced: &BTreeSet<StepId>,
) -> Result<u8, Failure> {
    let Opened { plan, store, project } = opened;
    let previews = preview(plan, store, &project.root, selected, forced);
    let mut out = visible::stdout();
    let paint = Paint::of(&io::stdout());
    let name = |id: &StepId| plan.step(*id).name.as_str();
    let width = previews.iter().map(|(id, _)| name(id).chars().count()).max().unwrap_or(0);
    let [mut fresh, mut runs, mut may, mut fails] = [0; 4];
    for (id, preview) in &previews {
        let (status, why) = match preview {
            Preview::Fresh(_) => {
                fresh += 1;
                (paint.dim("fresh  "), String::new())
            }
            Preview::Runs { reasons, .. } => {
                runs += 1;
                (paint.good("run    "), told(reasons))
            }
            Preview::MayRun { reasons } => {
                may += 1;
                (paint.odd("may run"), told(reasons))
            }
            Preview::Fails(message) => {
                fails += 1;
                (paint.bad("fails  "), message.clone())
            }
        };
        let line = format!("  {status}  {:width$}  {}", name(id), paint.dim(&why));
        writeln!(out, "{}", line.trim_end())?;
    }
    let parts = [(runs, "would run"), (may, "may run"), (fresh, "fresh"), (fails, "cannot run")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    writeln!(out, "\n  {}: {}", quantity::count(previews.len(), "step"), parts.join(", "))?;
    Ok(if fails > 0 { FAILED } else { SUCCESS })
}

fn told(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
