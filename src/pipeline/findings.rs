//! The problems of a pipeline while they are being collected.

use std::collections::BTreeMap;

use crate::problem::{Place, Problem, Problems};
use crate::source_map::{SourceMap, Span};

/// Collects problems so that all of a pipeline are told together.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) sources: SourceMap,
    problems: Vec<Problem>,
    absences: Vec<Problem>,
    /// Whether every source could be read to its end.
    damaged: bool,
    /// Where a value of `[params]` was put, and where it came from.
    substitutions: BTreeMap<usize, (String, Span)>,
    /// Steps taken out by a later file, and where it says so.
    removals: BTreeMap<String, Span>,
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

    /// Records that the value at `used` is that of parameter `name` at `defined`.
    pub(super) fn substituted(&mut self, used: &Span, name: String, defined: Span) {
        self.substitutions.insert(used.start, (name, defined));
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
        self.sources.file(super::read::LONGEST_CHAIN)
    }

    /// How many problems there are.
    pub(super) fn count(&self) -> usize {
        self.problems.len() + self.absences.len()
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
                "the value is that of `params.{name}`, from {}",
                self.sources.place(defined)
            )),
            None => problem,
        }
    }
}
