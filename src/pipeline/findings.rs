//! The problems of a pipeline while they are being collected.

use std::collections::BTreeMap;

use crate::problem::{Place, Problem, Problems};
use crate::source_map::{SourceMap, Span};
use crate::suggest::quoted;

/// Collects problems so that all of a pipeline are told together.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) sources: SourceMap,
    problems: Vec<Problem>,
    absences: Vec<Problem>,
    /// Whether every source could be read to its end.
    damaged: bool,
    /// Where the value of a reference was put, and where it came from.
    substitutions: BTreeMap<usize, (String, Span)>,
    /// Steps taken out by a later file, and where it says so.
    removals: BTreeMap<String, Span>,
}

/// How many of the instances that have a problem in common are named.
const NAMED_INSTANCES: usize = 3;

/// How much had been found at some time.
pub(super) struct Mark {
    problems: usize,
    absences: usize,
}

/// What is found in the instances of one step: by whether something is absent, and by what is said.
#[derive(Default)]
pub(super) struct Alike {
    found: BTreeMap<(bool, String), Found>,
    /// How many instances were looked at.
    instances: usize,
}

struct Found {
    problem: Problem,
    /// The first of the instances that have it.
    instances: Vec<String>,
    count: usize,
}

impl Findings {
    /// Records a problem at a place.
    pub(super) fn add(&mut self, span: &Span, problem: Problem) {
        let problem = self.explain(span, problem.at(self.sources.place(span)));
        self.problems.push(problem);
    }

    /// Records a problem at the first `part` of what stands at a place.
    pub(super) fn add_part(&mut self, span: &Span, part: &str, problem: Problem) {
        self.problems.push(problem.at(self.sources.place_of(span, part)));
    }

    /// Records that what a `part` of a place names is not there; see [`Findings::add_absence`].
    pub(super) fn add_absent_part(&mut self, span: &Span, part: &str, problem: Problem) {
        self.absences.push(problem.at(self.sources.place_of(span, part)));
    }

    /// Records a problem that needs no place, or has one.
    pub(super) fn add_placed(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Records that something is not there. It is told only when every source could be read, since
    /// it may stand where the reader stumbled.
    pub(super) fn add_absence(&mut self, span: &Span, problem: Problem) {
        let problem = self.explain(span, problem.at(self.sources.place(span)));
        self.absences.push(problem);
    }

    /// Records that a part of a source could not be read.
    pub(super) fn set_damaged(&mut self) {
        self.damaged = true;
    }

    /// Records that the value at `used` is that of `name` (such as `params.size`) at `defined`.
    pub(super) fn substituted(&mut self, used: &Span, name: String, defined: Span) {
        self.substitutions.insert(used.start, (name, defined));
    }

    /// Whether the value at a place is that of a reference.
    pub(super) fn is_substituted(&self, used: &Span) -> bool {
        self.substitutions.contains_key(&used.start)
    }

    /// Records that a step was taken out.
    pub(super) fn remove(&mut self, step: &str, span: &Span) {
        self.removals.insert(step.to_owned(), span.clone());
    }

    /// Where a step was taken out.
    pub(super) fn removed(&self, step: &str) -> Option<Place> {
        self.removals.get(step).map(|span| self.sources.place(span))
    }

    /// Returns the place that a span names.
    pub(super) fn place(&self, span: &Span) -> Place {
        self.sources.place(span)
    }

    /// The beginning of the last file that was put over the others.
    pub(super) fn file(&self) -> Span {
        self.sources.file(super::files::MOST_FILES)
    }

    /// How many problems there are.
    pub(super) fn count(&self) -> usize {
        self.problems.len() + self.absences.len()
    }

    /// Whether so much has been found that nobody is helped by more: whoever looks through many things
    /// of one sort ends then.
    pub(super) fn is_full(&self) -> bool {
        self.count() >= crate::problem::MANY
    }

    /// How many names may be looked through for what was meant, once more. Whoever makes a slip in every
    /// one of a hundred thousand steps is not told of each what it might be called.
    pub(super) fn room(&self) -> usize {
        const MANY: usize = 100;
        const SOME: usize = 1_000;
        if self.count() > MANY { SOME } else { usize::MAX }
    }

    /// How much has been found up to now.
    pub(super) fn mark(&self) -> Mark {
        Mark { problems: self.problems.len(), absences: self.absences.len() }
    }

    /// Moves what was found since `mark` in an instance to what is found in all of them. False when so
    /// much has been found that the other instances need not be looked at.
    pub(super) fn hold(&mut self, mark: Mark, instance: &str, alike: &mut Alike) -> bool {
        const ENOUGH: usize = 50;
        let problems = self.problems.drain(mark.problems..).map(|problem| (false, problem));
        let absences = self.absences.drain(mark.absences..).map(|problem| (true, problem));
        for (is_absence, problem) in problems.chain(absences) {
            let found = alike
                .found
                .entry((is_absence, problem.to_string()))
                .or_insert_with(|| Found { problem, instances: Vec::new(), count: 0 });
            found.count += 1;
            if found.instances.len() < NAMED_INSTANCES {
                found.instances.push(instance.to_owned());
            }
        }
        alike.instances += 1;
        alike.found.values().map(|found| found.count).sum::<usize>() < ENOUGH
    }

    /// Records what was found in the instances of a step; of what is not in all of them it is told in
    /// which it is.
    /// `key` is where the step stands, `all` how many instances it has.
    pub(super) fn release(&mut self, Alike { found, instances }: Alike, key: &Span, all: usize) {
        /// Where what was found is this varied, the other instances have more of it.
        const VARIED: usize = 10;
        if instances < all && found.len() > VARIED {
            let message = format!("{} more instances were not looked at", all - instances);
            self.add(key, Problem::new(message));
        }
        for ((is_absence, _), found) in found {
            let problem = match found.count {
                count if count >= instances => found.problem,
                count => {
                    let names = found.instances.iter().map(|name| quoted(name));
                    let mut help = format!("in {}", names.collect::<Vec<_>>().join(", "));
                    if count > found.instances.len() {
                        help.push_str(&format!(" and {} more", count - found.instances.len()));
                    }
                    found.problem.help(help)
                }
            };
            if is_absence { self.absences.push(problem) } else { self.problems.push(problem) }
        }
    }

    /// Ends the collection: an error when there is any problem.
    pub(super) fn finish(mut self) -> Result<(), Problems> {
        if !self.damaged {
            self.problems.append(&mut self.absences);
        }
        Problems::check(self.problems)
    }

    fn explain(&self, span: &Span, problem: Problem) -> Problem {
        match self.substitutions.get(&span.start) {
            Some((name, defined)) => problem.help(format!(
                "the value is that of `{name}`, from {}",
                self.sources.place(defined)
            )),
            None => problem,
        }
    }
}
