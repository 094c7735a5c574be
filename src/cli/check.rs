//! `pipe check`: every problem of pipeline files, before anything runs.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::PathBuf;

use pipe::{Pipeline, Plan, Problems};

use super::target::Overrides;
use super::{Failure, Global, SUCCESS, USAGE, problems, visible};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    changes: Overrides,
    /// Do not look whether the files and directories that steps read are there
    #[arg(long)]
    without_data: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<u8, Failure> {
    let root = global.project()?.root;
    let mut told = BTreeSet::new();
    let (mut faulty, mut cut) = (0, false);
    for file in &arguments.files {
        let pipeline = if arguments.without_data {
            Pipeline::load_without_data(file, &arguments.changes.changes())
        } else {
            Pipeline::load(file, &root, &arguments.changes.changes())
        };
        match pipeline.and_then(Plan::new) {
            Ok(plan) => {
                if !global.quiet {
                    let steps = plan.pipeline.steps.len();
                    let word = if steps == 1 { "step" } else { "steps" };
                    writeln!(visible::stdout(), "{}: ok, {steps} {word}", file.display())?;
                }
            }
            Err(found) => {
                faulty += 1;
                cut |= found.is_cut();
                // Files that extend the same one have its problems in common.
                let new = found.into_iter().filter(|problem| told.insert(problem.to_string()));
                if let Some(new) = Problems::collect(new) {
                    problems::show(&new)?;
                }
            }
        }
    }
    if faulty == 0 {
        return Ok(SUCCESS);
    }
    let problems = if told.len() == 1 { "problem" } else { "problems" };
    let least = if cut { "at least " } else { "" };
    let files = if arguments.files.len() == 1 { "file" } else { "files" };
    writeln!(
        io::stderr(),
        "{least}{} {problems}; {faulty} of {} {files} cannot run",
        told.len(),
        arguments.files.len()
    )?;
    Ok(USAGE)
}
