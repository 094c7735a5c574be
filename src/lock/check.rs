//! Whether a lock file still describes a pipeline file and the data it reads.

use std::collections::BTreeSet;
use std::path::Path;

use cache::{Fingerprint, Listing, Store};

use super::{Lock, Locked, written};
use crate::freshness::{declared, stated};
use crate::pipeline::Step;
use crate::plan::{Plan, StepId};
use crate::problem::{Problem, Problems};
use crate::reason::{Reason, changes};
use crate::suggest::quoted;

/// Where the outside data is that a pipeline reads, and the store that knows its digests.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    /// The store; what it knows of the locked results tells what exactly differs.
    pub store: &'a Store,
    /// Relative paths start here.
    pub root: &'a Path,
}

impl Lock {
    /// Makes sure that the selected steps are what they were when the lock was written; without
    /// `data` only as far as the pipeline file decides that.
    ///
    /// No result has to be there: what a step gets from others is taken to be what the lock says.
    ///
    /// # Errors
    ///
    /// Each step that is not, at its line, and what is different.
    pub fn check(
        &self,
        plan: &Plan,
        selected: &BTreeSet<StepId>,
        data: Option<Data<'_>>,
    ) -> Result<(), Problems> {
        let help = format!("`pipe lock {}` writes it anew", plan.pipeline.path.display());
        let mut problems = Vec::new();
        for &id in plan.order().iter().filter(|id| selected.contains(id)) {
            let step = plan.step(id);
            let Some(locked) = self.get(&step.name) else {
                let message = format!("the lock file has no step {}", quoted(&step.name));
                problems.push(Problem::new(message).help(&help));
                continue;
            };
            if let Some(why) = self.differs(step, locked, data) {
                let message = format!("step {} is not as it was locked: {why}", quoted(&step.name));
                problems.push(locked.problem(message).help(&help));
            }
        }
        for (name, locked) in self.iter().filter(|(name, _)| plan.find(name).is_none()) {
            let message = format!("the pipeline has no step {} any more", quoted(name));
            problems.push(locked.problem(message).help(&help));
        }
        Problems::check(problems)
    }

    /// Tells what is different about a step; none when nothing is.
    fn differs(&self, step: &Step, locked: &Locked, data: Option<Data<'_>>) -> Option<String> {
        let (now, listings) = match self.fingerprint(step, locked, data) {
            Ok(Some(now)) => now,
            // A step it needs is not in the lock file, which is told.
            Ok(None) => return None,
            Err(problem) => return Some(problem),
        };
        let is_same = written(step) == locked.declared;
        if is_same && now.key() == locked.key {
            return None;
        }
        let told = data.and_then(|data| {
            let manifest = data.store.manifest(&locked.key).ok().flatten()?;
            let reasons = changes(data.store, &now, &listings, &manifest);
            let told: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            (!told.is_empty()).then(|| told.join(", "))
        });
        Some(told.unwrap_or_else(|| {
            let other: Vec<String> = locked
                .depends
                .iter()
                .filter(|(name, text)| now.get(name) != Some(text))
                .map(|(name, text)| match now.get(name) {
                    Some(now) if name.starts_with("tool.") || name.starts_with("environment.") => {
                        Reason::changed(name, text, now).to_string()
                    }
                    _ => format!("{name} changed"),
                })
                .collect();
            match (is_same, other.as_slice()) {
                (false, _) => "the pipeline file says something else of it".to_owned(),
                (true, []) => "its inputs give something else".to_owned(),
                (true, some) => some.join(", "),
            }
        }))
    }

    /// Returns what the step depends on now, and what the digests of outside data stand for.
    fn fingerprint(
        &self,
        step: &Step,
        locked: &Locked,
        data: Option<Data<'_>>,
    ) -> Result<Option<(Fingerprint, Vec<Listing>)>, String> {
        // Without data it is also without the tools of the machine: they are as they were locked.
        let mut now = if data.is_some() { declared(step) } else { stated(step) };
        let asked: BTreeSet<String> = step.environment.names().collect();
        for (input, steps) in &step.inputs {
            for (index, name) in steps.iter().enumerate() {
                let Some(need) = self.get(name) else { return Ok(None) };
                let entry = match steps.len() {
                    1 => format!("input.{input}"),
                    _ => format!("input.{input}.{index}"),
                };
                now.insert(entry, need.result.to_string());
            }
        }
        for (name, text) in &locked.depends {
            let parameter = name.strip_prefix("read.");
            let gone =
                parameter.is_some_and(|name| step.reads.iter().all(|read| read.parameter != name));
            // An old lock file has what a tool answered in the digest of what is declared.
            let of_machine = name.starts_with("tool.") || name.starts_with("environment.");
            if !gone && (!of_machine || data.is_none() && asked.contains(name)) {
                now.insert(name, text);
            }
        }
        let mut listings = Vec::new();
        let Some(data) = data else { return Ok(Some((now, listings))) };
        for read in step.reads.iter().filter(|read| read.source.step().is_none()) {
            let listing = data
                .store
                .scan_once(&data.root.join(read.source.as_path()))
                .map_err(|error| error.to_string())?;
            now.insert(format!("read.{}", read.parameter), listing.digest().to_string());
            listings.push(listing);
        }
        Ok(Some((now, listings)))
    }
}

impl Locked {
    fn problem(&self, message: String) -> Problem {
        let problem = Problem::new(message);
        match &self.at {
            Some(at) => problem.at(at.clone()),
            None => problem,
        }
    }
}
