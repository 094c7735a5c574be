//! `pipe plan`: what would run, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use pipe::preview::{Preview, preview};
use pipe::remote::Remote;
use pipe::sharing::Whereabouts;
use pipe::{Reason, StepId};

use super::paint::Paint;
use super::target::{Opened, Target};
use super::{FAILED, Failure, Global, SUCCESS, quantity, remote, visible};

/// Tells what a run would do, and why
///
/// A step after one that would run "may run": if the files it gets turn out the same, it stays fresh.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pipe plan pipelines/verify.toml --set stage.train.epochs=3
  pipe plan pipelines/verify.toml --remote   also asks the remote, which needs the network")]
pub(crate) struct Plan {
    #[command(flatten)]
    target: Target,
    /// The steps to look at, with all they need [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Refuse when the lock file no longer describes the pipeline file and its data
    #[arg(long)]
    locked: bool,
    /// Look which results a run would fetch from the remote, that of the file or URL
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    remote: Option<Option<String>>,
}

impl Plan {
    /// Runs the command.
    pub(crate) fn run(&self, global: &Global) -> Result<u8, Failure> {
        let opened = self.target.open(global)?;
        let selected = opened.select(&self.steps)?;
        if self.locked {
            super::lock::hold(&opened, &selected)?;
        }
        let there = match &self.remote {
            None => BTreeMap::new(),
            Some(url) => {
                let address = remote::require(&opened, url.as_deref())?;
                let remote = Remote::open(&address).map_err(remote::failed)?;
                remote::look(&opened, &remote, selected.clone())?
            }
        };
        print_with(&opened, &selected, &BTreeSet::new(), &there)
    }
}

/// Writes what a run of these steps would do.
pub(crate) fn print(
    opened: &Opened,
    selected: &BTreeSet<StepId>,
    forced: &BTreeSet<StepId>,
) -> Result<u8, Failure> {
    print_with(opened, selected, forced, &BTreeMap::new())
}

fn print_with(
    opened: &Opened,
    selected: &BTreeSet<StepId>,
    forced: &BTreeSet<StepId>,
    there: &BTreeMap<StepId, Whereabouts>,
) -> Result<u8, Failure> {
    let Opened { plan, store, project } = opened;
    let previews = preview(plan, store, &project.root, selected, forced);
    let mut out = visible::stdout();
    let paint = Paint::of(&io::stdout());
    let name = |id: &StepId| plan.step(*id).name.as_str();
    let width = previews.iter().map(|(id, _)| name(id).chars().count()).max().unwrap_or(0);
    let [mut fresh, mut fetched, mut runs, mut may, mut fails] = [0; 5];
    for (id, preview) in &previews {
        let (status, why) = match (preview, there.get(id)) {
            (Preview::Fresh(_), _) => {
                fresh += 1;
                (paint.dim("fresh  "), String::new())
            }
            // After a result that would be fetched.
            (_, Some(Whereabouts::Here)) => {
                fresh += 1;
                (paint.dim("fresh  "), String::new())
            }
            (_, Some(Whereabouts::There { bytes })) => {
                fetched += 1;
                (paint.good("fetch  "), quantity::bytes(*bytes))
            }
            (Preview::MayRun { reasons }, Some(Whereabouts::Nowhere)) => {
                runs += 1;
                (paint.good("run    "), told(reasons))
            }
            (Preview::Runs { reasons, .. }, _) => {
                runs += 1;
                (paint.good("run    "), told(reasons))
            }
            (Preview::MayRun { reasons }, _) => {
                may += 1;
                (paint.odd("may run"), told(reasons))
            }
            (Preview::Fails(message), _) => {
                fails += 1;
                (paint.bad("fails  "), message.clone())
            }
        };
        let line = format!("  {status}  {:width$}  {}", name(id), paint.dim(&why));
        writeln!(out, "{}", line.trim_end())?;
    }
    let parts = [
        (fetched, "would be fetched"),
        (runs, "would run"),
        (may, "may run"),
        (fresh, "fresh"),
        (fails, "cannot run"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    writeln!(out, "\n  {}: {}", quantity::count(previews.len(), "step"), parts.join(", "))?;
    let unasked = there.is_empty() && runs + may > 0;
    if let Some(shared) = plan.pipeline.shared.as_ref().filter(|_| unasked) {
        let hint = "was not asked; `pipe plan --remote` tells what would be fetched";
        writeln!(out, "  {}", paint.dim(&format!("{} {hint}", shared.address)))?;
    }
    Ok(if fails > 0 { FAILED } else { SUCCESS })
}

fn told(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
