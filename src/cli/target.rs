//! The pipeline file that a command works on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use cache::Store;
use pipe::{Changes, Pipeline, Plan, StepId};

use super::{Failure, Global, Project};

/// Which pipeline.
#[derive(clap::Args)]
pub(crate) struct Target {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Overrides,
}

/// What is changed of a pipeline for this time.
#[derive(Clone, clap::Args)]
pub(crate) struct Overrides {
    /// Take values of `[params]` from this TOML or JSON file; a later file wins
    #[arg(long, value_name = "FILE")]
    params: Vec<PathBuf>,
    /// Change a value of the file, e.g. `stage.train.epochs=3` or `params.seed=9`; may be repeated, and wins
    /// over `--params`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) settings: Vec<String>,
}

impl Overrides {
    pub(crate) fn changes(&self) -> Changes {
        Changes { params: self.params.clone(), settings: self.settings.clone() }
    }

    /// As they were written on the command line, each with a blank before it.
    pub(crate) fn shown(&self) -> String {
        let params = self.params.iter().map(|file| format!(" --params {}", file.display()));
        params.chain(self.settings.iter().map(|setting| format!(" --set {setting}"))).collect()
    }
}

/// A planned pipeline, its project and its store.
pub(crate) struct Opened {
    pub(crate) project: Project,
    pub(crate) plan: Plan,
    pub(crate) store: Store,
}

impl Target {
    /// Reads the pipeline and opens the store of its project.
    pub(crate) fn open(&self, global: &Global) -> Result<Opened, Failure> {
        let project = global.project()?;
        let pipeline = Pipeline::load(&self.file, &project.root, &self.changes.changes())?;
        self.open_in(project, pipeline)
    }

    /// As [`Target::open`], but does not look whether the data is there that the pipeline reads.
    pub(crate) fn open_without_data(&self, global: &Global) -> Result<Opened, Failure> {
        let pipeline = Pipeline::load_without_data(&self.file, &self.changes.changes())?;
        self.open_in(global.project()?, pipeline)
    }

    fn open_in(&self, project: Project, pipeline: Pipeline) -> Result<Opened, Failure> {
        let plan = Plan::new(pipeline)?;
        let store = Store::open(&project.store)
            .with_context(|| format!("cannot use the store {}", project.store.display()))?;
        Ok(Opened { project, plan, store })
    }

    /// The file as it was written on the command line.
    pub(crate) fn shown(&self) -> String {
        self.file.display().to_string()
    }
}

impl Opened {
    /// The named steps with everything they need.
    pub(crate) fn select(&self, names: &[String]) -> Result<BTreeSet<StepId>, Failure> {
        let selected = self.plan.select(names)?;
        // From now on keys are made of them, and what the machine says of their tools is part of a key.
        pipe::environment::look(&self.plan, &selected, &self.project.root)?;
        Ok(selected)
    }

    /// One step, by its name or a pattern that no other has.
    pub(crate) fn step(&self, name: &str) -> Result<StepId, Failure> {
        Ok(self.plan.one(name).map_err(pipe::Problems::from)?)
    }

    /// One step with everything it needs.
    pub(crate) fn step_and_needs(&self, name: &str) -> Result<(StepId, BTreeSet<StepId>), Failure> {
        let step = self.step(name)?;
        let selected = self.select(std::slice::from_ref(&self.plan.step(step).name))?;
        Ok((step, selected))
    }
}
