//! Text to [`Pipeline`], or every problem in it.

mod absent;
mod confinement;
mod environment;
mod files;
mod findings;
#[cfg(test)]
mod fuzz;
mod inputs;
mod instances;
mod json;
mod merge;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod outcomes;
mod parameters;
mod params;
mod placement;
mod policy;
mod read;
#[cfg(test)]
mod sample;
mod setting;
mod shared;
mod step;
mod substitute;
#[cfg(test)]
mod sweeps;
mod template;
mod tree;
mod validate;
mod wiring;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use stages::{DynStage, Kind, Read};

use crate::environment::Environment;
use crate::placement::Placement;
use crate::policy::Policy;
use crate::problem::{Place, Problems};
use crate::sandbox::Sandbox;
use findings::Findings;
use merge::Schemas;
pub use shared::SharedAt;
use tree::{Entry, Node, Table, Value};

/// What a pipeline file says: named steps.
#[derive(Debug)]
pub struct Pipeline {
    /// The name of the file without its extension.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The steps, in the order of the file (those of the file it extends first).
    pub steps: Vec<Step>,
    /// Where its results are shared; no part of any key.
    pub shared: Option<SharedAt>,
    /// How much there is of each pool that the file names; of memory, bytes. No part of any key.
    pub pools: BTreeMap<String, u64>,
}

/// One stage of a pipeline: a kind, its parameters, its inputs.
pub struct Step {
    /// The name after `stage.`; of an instance of a `matrix` or `foreach` with `@` and its label.
    pub name: String,
    /// What it does.
    pub kind: &'static Kind,
    /// Its parameters.
    pub stage: Box<dyn DynStage>,
    /// Input name → the steps wired to it, in order.
    pub inputs: BTreeMap<String, Vec<String>>,
    /// What it reads besides its inputs.
    pub reads: Vec<Read>,
    /// What its program may read besides, and whether it is held to that; no part of the key.
    pub sandbox: Sandbox,
    /// What its program takes from the machine; secrets are no part of the key.
    pub environment: Environment,
    /// Where it runs; no part of the key.
    pub placement: Placement,
    /// How it is run; no part of the key.
    pub policy: Policy,
    /// Each mention of another step, as input or inside a [`stages::Source`].
    pub needs: Vec<Need>,
}

/// A mention of another step.
#[derive(Clone, Debug)]
pub struct Need {
    /// The step that must come before.
    pub step: String,
    /// Where it is mentioned.
    pub place: Place,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("kind", &self.kind.name)
            .field("parameters", &self.stage.parameters())
            .field("inputs", &self.inputs)
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

/// What the command line changes of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Files of parameters that are put over those of the pipeline, in this order.
    pub params: Vec<PathBuf>,
    /// Values such as `stage.train.epochs=3`, put over all.
    pub settings: Vec<String>,
}

impl Pipeline {
    /// Reads a pipeline file with all that it names, and puts the changes over it. Relative paths in
    /// parameters start at `root`.
    ///
    /// # Errors
    ///
    /// Every problem that can be told before anything runs.
    pub fn load(path: &Path, root: &Path, changes: &Changes) -> Result<Self, Problems> {
        Self::load_with(
            path,
            changes,
            &Surroundings { kinds: stages::kinds::KINDS, root: Some(root) },
        )
    }

    /// As [`Pipeline::load`], but does not look whether the files and directories that steps read
    /// are there.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::load`].
    pub fn load_without_data(path: &Path, changes: &Changes) -> Result<Self, Problems> {
        Self::load_with(path, changes, &Surroundings { kinds: stages::kinds::KINDS, root: None })
    }

    /// Lists the files that a pipeline file is made of, itself first, as far as they can be read.
    #[must_use]
    pub fn files(path: &Path) -> Vec<PathBuf> {
        let mut findings = Findings::default();
        // What is wrong with them is told when the pipeline is loaded.
        files::read_all(path, &mut findings).ok();
        let names = findings.sources.names().map(PathBuf::from);
        let others = names.filter(|name| name != path && name.is_file());
        std::iter::once(path.to_owned()).chain(others).collect()
    }

    fn load_with(
        path: &Path,
        changes: &Changes,
        around: &Surroundings<'_>,
    ) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let mut schemas = Schemas::new(around.kinds);
        let source = files::read_all(path, &mut findings)?;
        let mut pipeline = merge::merge_files(source, &mut schemas, &mut findings);
        let mut slots = files::MOST_FILES..;
        for (file, slot) in changes.params.iter().zip(&mut slots) {
            if let Some((start, params)) = files::read_params(file, slot, &mut findings) {
                setting::known_parameters(&params, &pipeline, &mut findings);
                let node = Node { span: start.clone(), value: Value::Table(params) };
                let entry = Entry { key: start, order: 0, node };
                let layer = Table::from([("params".to_owned(), entry)]);
                merge::put_over(&mut pipeline, layer, false, &mut schemas, &mut findings);
            }
        }
        for (text, slot) in changes.settings.iter().zip(slots) {
            if let Some(layer) = setting::read_setting(slot, text, &pipeline, &mut findings) {
                merge::put_over(&mut pipeline, layer, false, &mut schemas, &mut findings);
            }
        }
        params::resolve(&mut pipeline, &mut findings);
        let shared = shared::take_remote(&mut pipeline, &mut findings);
        let pools = policy::read_pools(&pipeline, &mut findings);
        let steps = step::read_steps(pipeline, &pools, around, &mut schemas, &mut findings);
        for problem in crate::plan::loops_of(&steps) {
            findings.add_placed(problem);
        }
        findings.finish()?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, path: path.to_owned(), steps, shared, pools })
    }
}

/// What a pipeline file is read against.
struct Surroundings<'a> {
    kinds: &'static [Kind],
    /// Where relative paths start; `None` when nothing is looked for.
    root: Option<&'a Path>,
}
