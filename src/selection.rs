//! Which steps the names of a command line mean.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::glob;
use crate::plan::{Plan, StepId};
use crate::problem::{Problem, Problems};
use crate::suggest::{did_you_mean, list, quoted};

impl Plan {
    /// The named steps with everything they need; every step when none is named.
    ///
    /// # Errors
    ///
    /// Names that no step has.
    pub fn select(&self, names: &[String]) -> Result<BTreeSet<StepId>, Problems> {
        match names.is_empty() {
            true => Ok(self.order().iter().copied().collect()),
            false => Ok(self.with_needs(self.named(names)?)),
        }
    }

    /// The steps that names mean: a step, all instances of a step, or whatever a glob matches.
    ///
    /// # Errors
    ///
    /// Names that no step has.
    pub fn named(&self, names: &[String]) -> Result<BTreeSet<StepId>, Problems> {
        let mut found = BTreeSet::new();
        let mut problems = Vec::new();
        for name in names {
            let steps = self.steps_called(name);
            if steps.is_empty() {
                problems.push(self.unknown_step(name));
            }
            found.extend(steps);
        }
        match Problems::collect(problems) {
            Some(problems) => Err(problems),
            None => Ok(found),
        }
    }

    /// The one step that a name means.
    ///
    /// # Errors
    ///
    /// A name that no step has, or that means several.
    pub fn one(&self, name: &str) -> Result<StepId, Problem> {
        let found = self.steps_called(name);
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(self.unknown_step(name)),
            several => {
                let message = format!("{} means {} steps, not one", quoted(name), several.len());
                let names = several.iter().map(|id| self.step(*id).name.as_str());
                Err(Problem::new(message).help(format!("one of: {}", list(names))))
            }
        }
    }

    fn steps_called(&self, name: &str) -> Vec<StepId> {
        if let Some(id) = self.find(name) {
            return vec![id];
        }
        let family = format!("{name}@");
        let (pattern, start) = match glob::is_pattern(name) {
            true => (Some(name), glob::literal(name)),
            false => (None, family.as_str()),
        };
        let near = self.by_name().range::<str, _>((Bound::Included(start), Bound::Unbounded));
        let near = near.take_while(|(name, _)| name.starts_with(start));
        let found = near.filter(|(name, _)| pattern.is_none_or(|it| glob::matches(it, name)));
        let mut found: Vec<StepId> = found.map(|(_, id)| *id).collect();
        found.sort_unstable();
        found
    }

    fn unknown_step(&self, name: &str) -> Problem {
        let names: Vec<&str> = match name.split_once('@') {
            Some((base, _)) if !self.steps_called(base).is_empty() => {
                let instances = self.steps_called(base);
                instances.into_iter().map(|id| self.step(id).name.as_str()).collect()
            }
            _ => {
                let mut names: Vec<&str> = self.pipeline.steps.iter().map(base_of).collect();
                names.dedup();
                names
            }
        };
        let file = self.pipeline.path.display();
        let near = did_you_mean(name, names.iter().copied());
        Problem::new(format!("no step {} in {file}{near}", quoted(name)))
            .help(format!("steps: {}", list(names)))
    }
}

/// The name of a step as it is written in the file.
fn base_of(step: &crate::Step) -> &str {
    step.name.split('@').next().unwrap_or(&step.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pipeline;

    const TEXT: &str = r#"
[stage.data]
kind = "command"
run = ["true"]
outputs = ["x"]

[stage.net]
kind = "command"
matrix = { margin = [0.3, 0.5], depth = [18, 34] }
run = ["true", "${matrix.depth}"]
outputs = ["x"]
inputs.data = "data"

[stage.net-old]
kind = "command"
run = ["true"]
outputs = ["x"]
"#;

    fn plan() -> Plan {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        std::fs::write(&path, TEXT).unwrap();
        Plan::new(Pipeline::load_without_data(&path, &crate::Changes::default()).unwrap()).unwrap()
    }

    fn names(plan: &Plan, found: impl IntoIterator<Item = StepId>) -> Vec<&str> {
        found.into_iter().map(|id| plan.step(id).name.as_str()).collect()
    }

    #[test]
    fn a_name_means_a_step_its_instances_or_what_a_glob_matches() {
        let plan = plan();
        for (name, expected) in [
            ("data", vec!["data"]),
            ("net", vec!["net@0.3-18", "net@0.3-34", "net@0.5-18", "net@0.5-34"]),
            ("net@0.5-18", vec!["net@0.5-18"]),
            ("net@*-18", vec!["net@0.3-18", "net@0.5-18"]),
            ("net*old", vec!["net-old"]),
            ("*a*", vec!["data"]),
        ] {
            let found = plan.named(&[name.to_owned()]).unwrap();
            assert_eq!(names(&plan, found), expected, "{name}");
        }
        let selected = plan.select(&["net@0.5-18".to_owned(), "net-old".to_owned()]).unwrap();
        assert_eq!(names(&plan, selected), ["data", "net@0.5-18", "net-old"]);
    }

    #[test]
    fn what_is_not_there_or_not_one_is_told() {
        let plan = plan();
        let told = |name: &str| {
            let problem = plan.one(name).unwrap_err();
            let message =
                problem.message.replace(&plan.pipeline.path.display().to_string(), "x.toml");
            format!("{message}; {}", problem.help.unwrap_or_default())
        };
        assert_eq!(
            told("dtaa"),
            "no step `dtaa` in x.toml, did you mean `data`?; steps: data, net, net-old"
        );
        assert_eq!(
            told("net"),
            "`net` means 4 steps, not one; one of: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34"
        );
        assert_eq!(
            told("net@0.5-19"),
            "no step `net@0.5-19` in x.toml, did you mean `net@0.5-18`?; \
             steps: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34"
        );
        assert!(plan.one("net@0.3-1*").is_ok());
    }
}
