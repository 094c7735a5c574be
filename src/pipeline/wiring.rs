//! The steps of a pipeline by name: one, those a glob means, or what to say when there is none.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use stages::{Arity, Kind};

use super::findings::Findings;
use super::instances::Made;
use super::step::stage_entries;
use super::tree::{Entry, Table};
use crate::glob;
use crate::problem::Problem;
use crate::source_map::Span;
use crate::suggest::{did_you_mean, list, nearest, quoted};

/// How many steps all globs of a pipeline may name.
const MOST_LINKS: usize = 2_000_000;

/// The steps that can be wired, and what they give.
pub(super) struct Steps<'a> {
    /// Step → its position in the file and its kind, where it has one.
    by_name: BTreeMap<String, (usize, Option<&'static Kind>)>,
    /// Steps that have instances, and those of which it is not known.
    families: BTreeMap<&'a str, &'a Made>,
    /// The names as they are written in the file.
    bases: BTreeSet<&'a str>,
    pub(super) kinds: &'static [Kind],
    /// How many steps globs may still name.
    links: Cell<usize>,
}

impl<'a> Steps<'a> {
    pub(super) fn of(
        pipeline: &'a Table,
        made: &'a BTreeMap<String, Made>,
        kinds: &'static [Kind],
    ) -> Self {
        let kind_of = |entry: &Entry| {
            let name = entry.node.as_table()?.get("kind")?.node.as_str()?;
            kinds.iter().find(|kind| kind.name == name)
        };
        let mut by_name = BTreeMap::new();
        let mut families = BTreeMap::new();
        for (name, entry) in stage_entries(pipeline) {
            let kind = kind_of(entry);
            match made.get(name) {
                None | Some(Made::One) => {
                    by_name.insert(name.clone(), (by_name.len(), kind));
                }
                Some(unknown @ Made::Unknown) => {
                    families.insert(name.as_str(), unknown);
                }
                Some(many @ Made::Many(family)) => {
                    families.insert(name.as_str(), many);
                    for instance in &family.instances {
                        let full = format!("{name}@{}", instance.label);
                        by_name.insert(full, (by_name.len(), kind));
                    }
                }
            }
        }
        let bases = stage_entries(pipeline).into_iter().map(|(name, _)| name.as_str()).collect();
        Self { by_name, families, bases, kinds, links: Cell::new(MOST_LINKS) }
    }

    /// The kind of a step, where it has one.
    pub(super) fn kind_of(&self, name: &str) -> Option<&'static Kind> {
        self.by_name.get(name).and_then(|(_, kind)| *kind)
    }

    /// The step whose name is nearest to another, unless there are more than `most` to look through.
    pub(super) fn near(&self, name: &str, most: usize) -> Option<&str> {
        if self.bases.len() > most {
            return None;
        }
        nearest(name, self.bases.iter().copied())
    }

    /// Checks that a step of this name exists. `arity` is that of the input that names it.
    pub(super) fn check(
        &self,
        name: &str,
        arity: Arity,
        span: &Span,
        findings: &mut Findings,
    ) -> bool {
        if self.by_name.contains_key(name) {
            return true;
        }
        let base = name.split('@').next().unwrap_or(name);
        let problem = match self.families.get(base) {
            Some(Made::Many(_)) if base == name => self.ambiguous(name, arity),
            Some(Made::Many(_)) => self.no_such_instance(name, base, findings),
            // It has been told that its instances are not known.
            Some(_) => return true,
            None => self.no_such_step(name, findings),
        };
        findings.add_absence(span, problem);
        false
    }

    /// The steps that a glob means, in file order; `None` when that is told to be at fault.
    pub(super) fn matching(
        &self,
        pattern: &str,
        span: &Span,
        findings: &mut Findings,
    ) -> Option<Vec<&str>> {
        let start = glob::literal(pattern);
        let from = (Bound::Included(start), Bound::Unbounded);
        let near = self.by_name.range::<str, _>(from);
        let near = near.take_while(|(name, _)| name.starts_with(start));
        let mut found: Vec<(usize, &str)> = near
            .filter(|(name, _)| glob::matches(pattern, name))
            .map(|(name, (index, _))| (*index, name.as_str()))
            .collect();
        found.sort_unstable();
        if found.len() > self.links.get() {
            let message = format!("inputs name more than {MOST_LINKS} steps");
            findings.add(span, Problem::new(message));
            return None;
        }
        self.links.set(self.links.get() - found.len());
        if !found.is_empty() {
            return Some(found.into_iter().map(|(_, name)| name).collect());
        }
        let base = pattern.split('@').next().unwrap_or(pattern);
        let problem = match self.families.get(base) {
            Some(Made::Unknown) => return Some(Vec::new()),
            Some(_) => self.no_such_instance(pattern, base, findings),
            None => self.no_such_step(pattern, findings),
        };
        findings.add_absence(span, problem);
        None
    }

    fn no_such_step(&self, name: &str, findings: &Findings) -> Problem {
        if self.bases.len() > findings.room() {
            return Problem::new(format!("no step {}", quoted(name)));
        }
        if let Some((base, _)) = name.split_once('@')
            && self.by_name.contains_key(base)
        {
            return Problem::new(format!("step {} has no instances", quoted(base)))
                .help(format!("write `\"{base}\"`"));
        }
        let bases = || self.bases.iter().copied();
        // What stands after the `@` is looked at once there is such a step.
        let base = name.split('@').next().unwrap_or(name);
        let message = format!("no step {}{}", quoted(base), did_you_mean(base, bases()));
        let mut problem = Problem::new(message);
        if let Some(removed) = findings.removed(name) {
            problem = problem.help(format!("it is removed at {removed}"));
        }
        problem.help(format!("steps: {}", list(bases())))
    }

    /// The names of the instances of a step, in file order.
    fn instances(&self, base: &str) -> Vec<String> {
        let Some(Made::Many(family)) = self.families.get(base) else { return Vec::new() };
        family.instances.iter().map(|one| format!("{base}@{}", one.label)).collect()
    }

    fn no_such_instance(&self, name: &str, base: &str, findings: &Findings) -> Problem {
        let problem = |near| Problem::new(format!("no step {}{near}", quoted(name)));
        let instances = self.instances(base);
        if instances.len() > findings.room() {
            return problem(String::new());
        }
        let names = || instances.iter().map(String::as_str);
        problem(did_you_mean(name, names())).help(format!(
            "instances of {}: {}",
            quoted(base),
            list(names())
        ))
    }

    /// What is said when the name of a step stands for all its instances where one is wanted.
    fn ambiguous(&self, name: &str, arity: Arity) -> Problem {
        let instances = self.instances(name);
        let message = match instances.len() {
            1 => format!("step {} is made by a matrix or `foreach`", quoted(name)),
            count => format!("step {} has {count} instances", quoted(name)),
        };
        let all = format!("all of them: \"{name}@*\"");
        let help = format!("one of them: {}", list(instances.iter().map(String::as_str)));
        let problem = Problem::new(message).help(help);
        if arity == Arity::Many { problem.help(all) } else { problem }
    }

    /// The names of the steps that give one of `outputs`.
    pub(super) fn giving(&self, outputs: &[&str]) -> Vec<&str> {
        let gives = |kind: &Option<&Kind>| kind.is_some_and(|kind| outputs.contains(&kind.output));
        let steps = self.by_name.iter().filter(|(_, (_, kind))| gives(kind));
        steps.map(|(name, _)| name.as_str()).collect()
    }
}
