//! What the steps of kind `command` take from the machine they run on, and the key takes with them:
//! versions of tools, and variables of the environment. Secrets are passed on and in no key.

pub mod secret;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use crate::plan::{Plan, StepId};
use crate::problem::{Place, Problem, Problems};
use crate::suggest::quoted;

pub(crate) use secret::give;
pub use tool::Tool;

/// What a step declares of its environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The programs whose answers are part of the key.
    pub tools: Vec<Tool>,
    /// Variables that are passed on, their values part of the key.
    pub inherit: Vec<Variable>,
    /// Variables that are passed on and appear nowhere.
    pub secrets: Vec<Variable>,
    /// What was found of tools and inherited variables; entries of the fingerprint.
    found: OnceLock<BTreeMap<String, String>>,
}

/// The name of a variable, and where it is declared.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where the pipeline file names it.
    pub place: Place,
}

impl Environment {
    /// Makes an environment that has not been looked at.
    pub(crate) fn new(tools: Vec<Tool>, inherit: Vec<Variable>, secrets: Vec<Variable>) -> Self {
        Self { tools, inherit, secrets, found: OnceLock::new() }
    }

    /// The entries of the fingerprint; [`look`] comes before.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &String)> {
        let found = self.found.get();
        // A key without them would be that of another result.
        assert!(found.is_some() || self.is_bare(), "tools are asked before a key is made");
        found.into_iter().flatten()
    }

    /// The names of those entries, which the pipeline file alone decides.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let tools = self.tools.iter().map(|tool| format!("tool.{}", tool.name()));
        tools.chain(self.inherit.iter().map(|variable| format!("environment.{}", variable.name)))
    }

    /// The inherited variables that are set, with their values.
    pub(crate) fn inherited(&self) -> BTreeMap<String, String> {
        let set = |variable: &Variable| {
            Some((variable.name.clone(), std::env::var(&variable.name).ok()?))
        };
        self.inherit.iter().filter_map(set).collect()
    }

    /// Whether nothing of the machine is part of the key.
    fn is_bare(&self) -> bool {
        self.tools.is_empty() && self.inherit.is_empty()
    }
}

/// Asks the tools of steps, each once and all at the same time, and reads the variables they inherit.
///
/// # Errors
///
/// Each tool that is not there, fails or does not answer, and each variable that is not UTF-8.
pub fn look(plan: &Plan, steps: &BTreeSet<StepId>, root: &Path) -> Result<(), Problems> {
    let declared = || steps.iter().map(|id| &plan.step(*id).environment);
    let new = || {
        declared().filter(|environment| !environment.is_bare() && environment.found.get().is_none())
    };
    let tools: BTreeMap<&[String], &Tool> = new()
        .flat_map(|environment| &environment.tools)
        .map(|tool| (tool.words.as_slice(), tool))
        .collect();
    let answers = tool::ask_all(tools.values().copied(), root);
    let mut problems = Vec::new();
    for (tool, answer) in tools.values().zip(&answers) {
        if let Err(problem) = answer {
            problems.push(problem.clone().at(tool.place.clone()));
        }
    }
    let answers: BTreeMap<&[String], &String> = tools
        .into_keys()
        .zip(&answers)
        .filter_map(|(words, answer)| Some((words, answer.as_ref().ok()?)))
        .collect();
    for environment in new() {
        let mut found = BTreeMap::new();
        for tool in &environment.tools {
            if let Some(answer) = answers.get(tool.words.as_slice()) {
                found.insert(format!("tool.{}", tool.name()), (*answer).clone());
            }
        }
        for variable in &environment.inherit {
            match value_of(variable) {
                Ok(value) => drop(found.insert(format!("environment.{}", variable.name), value)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            // Only this function sets it, and it skips what is set.
            environment.found.set(found).ok();
        }
    }
    Problems::collect(problems).map_or(Ok(()), Err)
}

/// The value of a variable as JSON: a string, or null when it is not set.
fn value_of(variable: &Variable) -> Result<String, Problem> {
    match std::env::var(&variable.name) {
        Ok(value) => Ok(serde_json::Value::String(value).to_string()),
        Err(std::env::VarError::NotPresent) => Ok("null".to_owned()),
        Err(std::env::VarError::NotUnicode(_)) => {
            let message = format!(
                "the value of the environment variable {} is not UTF-8",
                quoted(&variable.name)
            );
            Err(Problem::new(message).at(variable.place.clone()))
        }
    }
}

/// The secrets of steps that are not set, each once.
#[must_use]
pub fn missing_secrets(plan: &Plan, steps: &BTreeSet<StepId>) -> BTreeSet<String> {
    let secrets = steps.iter().flat_map(|id| &plan.step(*id).environment.secrets);
    let missing = secrets
        .filter(|secret| std::env::var_os(&secret.name).is_none_or(|value| value.is_empty()));
    missing.map(|secret| secret.name.clone()).collect()
}
