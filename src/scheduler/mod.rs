//! What may run next: the state of every step, and nothing else.

mod queue;
mod rank;
mod rest;
#[cfg(test)]
mod trials;

use std::collections::BTreeSet;

pub(crate) use queue::Use;

use queue::Queue;
use rank::{Rank, ranks};

/// The position of a step in its pipeline.
type Step = usize;

/// How much may happen at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How much there is of each pool.
    pub(crate) pools: Vec<u64>,
    /// How many steps may be compared with the store at once.
    pub(crate) checks: usize,
    /// How many results may be on their way into the store at once.
    pub(crate) stores: usize,
    /// How many others may take of what a step lacks before its turn is kept for it.
    pub(crate) patience: u32,
}

/// One step as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The steps whose results it needs.
    pub(crate) needs: Vec<Step>,
    /// Whether it was asked for, or something that was needs it.
    pub(crate) wanted: bool,
    /// What it takes out of the pools while it runs.
    pub(crate) uses: Vec<Use>,
    /// How urgent it is.
    pub(crate) priority: i64,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its result was there.
    Fresh,
    /// It ran, and its result is there now.
    Ran,
    /// It ran or was to be run, and has no result.
    Failed,
    /// It did not run because this step failed.
    Skipped(Step),
    /// It did not run, or not to its end, because the run was stopped.
    Cancelled,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Find out whether the result of a step is there; answered by [`Scheduler::checked`].
    Check(Step),
    /// Run a step; answered by [`Scheduler::worked`], if it gets so far, and then by
    /// [`Scheduler::finished`] or [`Scheduler::paused`].
    Run(Step),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not asked for.
    Unwanted,
    /// So many of the steps it needs have no result yet.
    Waiting(usize),
    /// Everything it needs is there: ready to be compared with the store.
    Ready,
    /// Being compared with the store.
    Checking,
    /// Out of date; waits for a place to run in.
    Queued,
    /// Running.
    Running,
    /// Its work is done, and its result is on its way into the store: others have its place.
    Storing,
    /// Its last try failed; it waits for the next one.
    Paused,
    /// Over.
    Done(Outcome),
}

/// The state of every step of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    nodes: Vec<Node>,
    needed_by: Vec<Vec<Step>>,
    ranks: Vec<Rank>,
    states: Vec<State>,
    ready: BTreeSet<Step>,
    /// Those in [`State::Queued`], and the pools.
    queue: Queue,
    /// Those in [`State::Running`].
    running: BTreeSet<Step>,
    /// How many are in [`State::Checking`].
    checking: usize,
    /// How many may be.
    checks: usize,
    /// How many are in [`State::Storing`].
    storing: usize,
    /// How many may be before nothing more is started.
    stores: usize,
    /// How many wanted steps have not ended.
    unfinished: usize,
    keep_going: bool,
    /// Why nothing new is started.
    stopped: Option<Outcome>,
    /// Steps that ended without being asked to, to be told by [`Scheduler::settled`].
    settled: Vec<(Step, Outcome)>,
}

impl Scheduler {
    /// Makes the state before anything has run. `nodes` has no cycle, and whatever a wanted step
    /// needs is wanted.
    pub(crate) fn new(nodes: Vec<Node>, limits: Limits, keep_going: bool) -> Self {
        let mut needed_by = vec![Vec::new(); nodes.len()];
        for (step, node) in nodes.iter().enumerate() {
            node.needs.iter().for_each(|&needed| needed_by[needed].push(step));
        }
        let state = |node: &Node| match node.needs.len() {
            _ if !node.wanted => State::Unwanted,
            0 => State::Ready,
            missing => State::Waiting(missing),
        };
        let states: Vec<State> = nodes.iter().map(state).collect();
        let is_ready = |step: &Step| states[*step] == State::Ready;
        let uses = nodes.iter().map(|node| node.uses.as_slice());
        Self {
            ranks: ranks(&nodes, &vec![1; nodes.len()]),
            ready: (0..nodes.len()).filter(is_ready).collect(),
            queue: Queue::new(uses, limits.pools.into_iter(), limits.patience),
            running: BTreeSet::new(),
            checking: 0,
            checks: limits.checks.max(1),
            storing: 0,
            stores: limits.stores.max(1),
            unfinished: nodes.iter().filter(|node| node.wanted).count(),
            needed_by,
            states,
            nodes,
            keep_going,
            stopped: None,
            settled: Vec::new(),
        }
    }

    /// Returns what can be done now, if anything; each task is given once.
    pub(crate) fn next(&mut self) -> Option<Task> {
        if self.checking < self.checks
            && let Some(step) = self.ready.pop_first()
        {
            self.states[step] = State::Checking;
            self.checking += 1;
            return Some(Task::Check(step));
        }
        if self.storing >= self.stores {
            return None;
        }
        let step = self.queue.pop()?;
        self.states[step] = State::Running;
        self.running.insert(step);
        Some(Task::Run(step))
    }

    /// Learns how long each step will probably take, in any unit: of steps that could run now, the
    /// one with the longest path after it goes first. Before, each counts the same.
    pub(crate) fn learn(&mut self, weights: &[u64]) {
        self.ranks = ranks(&self.nodes, weights);
        for step in self.queue.clear() {
            self.queue.push(step, self.ranks[step]);
        }
    }

    /// Takes the answer to [`Task::Check`].
    pub(crate) fn checked(&mut self, step: Step, fresh: bool) {
        debug_assert_eq!(self.states[step], State::Checking);
        match (fresh, self.stopped) {
            (true, _) => self.finish(step, Outcome::Fresh),
            (false, None) => {
                self.checking -= 1;
                self.enqueue(step);
            }
            (false, Some(outcome)) => self.settle(step, outcome),
        }
    }

    /// Gives the place of a step that runs to others: what is left to do is to store its result.
    pub(crate) fn worked(&mut self, step: Step) {
        debug_assert_eq!(self.states[step], State::Running);
        self.leave(step);
        self.states[step] = State::Storing;
        self.storing += 1;
    }

    /// Takes the answer to [`Task::Run`]; also ends a check that failed.
    pub(crate) fn finished(&mut self, step: Step, outcome: Outcome) {
        debug_assert!(matches!(
            self.states[step],
            State::Running | State::Storing | State::Checking
        ));
        self.finish(step, outcome);
    }

    /// Takes the answer to [`Task::Run`] of a step that is to be tried again; until
    /// [`Scheduler::resume`] others may have its place. False when the run is being stopped: then the
    /// step has to be finished.
    pub(crate) fn paused(&mut self, step: Step) -> bool {
        debug_assert!(matches!(self.states[step], State::Running | State::Storing));
        if self.stopped.is_some() {
            return false;
        }
        self.leave(step);
        self.states[step] = State::Paused;
        true
    }

    /// Lets a paused step wait for its turn; one that has been settled meanwhile stays so.
    pub(crate) fn resume(&mut self, step: Step) {
        if self.states[step] == State::Paused {
            self.enqueue(step);
        }
    }

    /// Starts nothing more; what runs is waited for.
    pub(crate) fn cancel(&mut self) {
        self.stop(Outcome::Cancelled);
    }

    /// Returns the steps that ended since the last call although nobody ran them: those skipped or
    /// cancelled.
    pub(crate) fn settled(&mut self) -> Vec<(Step, Outcome)> {
        std::mem::take(&mut self.settled)
    }

    /// Whether every wanted step has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.unfinished == 0
    }

    /// Changes how much there is of a pool.
    pub(crate) fn limit(&mut self, pool: usize, capacity: u64) {
        self.queue.limit(pool, capacity);
    }

    /// How many steps that count run now or would if there were room, up to `most`.
    pub(crate) fn load(&self, most: usize, counts: impl Fn(Step) -> bool) -> usize {
        let all = self.running.iter().copied().chain(self.queue.waiting());
        all.filter(|&step| counts(step)).take(most).count()
    }

    fn enqueue(&mut self, step: Step) {
        self.states[step] = State::Queued;
        self.queue.push(step, self.ranks[step]);
    }

    /// Puts back what a step has while it runs or stores.
    fn leave(&mut self, step: Step) {
        if self.running.remove(&step) {
            self.queue.release(step);
        }
        self.storing -= usize::from(self.states[step] == State::Storing);
    }

    fn finish(&mut self, step: Step, outcome: Outcome) {
        self.leave(step);
        self.end(step, outcome);
        match outcome {
            Outcome::Fresh | Outcome::Ran => self.release(step),
            Outcome::Failed if self.keep_going => self.skip_after(step),
            Outcome::Failed => {
                self.skip_after(step);
                self.stop(Outcome::Skipped(step));
            }
            Outcome::Skipped(_) | Outcome::Cancelled => self.stop(Outcome::Cancelled),
        }
    }

    fn release(&mut self, step: Step) {
        for after in std::mem::take(&mut self.needed_by[step]) {
            let State::Waiting(missing) = &mut self.states[after] else { continue };
            *missing -= 1;
            if *missing == 0 {
                self.states[after] = State::Ready;
                self.ready.insert(after);
            }
        }
    }

    fn skip_after(&mut self, failed: Step) {
        let mut follow = self.needed_by[failed].clone();
        while let Some(step) = follow.pop() {
            if matches!(self.states[step], State::Waiting(_)) {
                self.settle(step, Outcome::Skipped(failed));
                follow.extend(&self.needed_by[step]);
            }
        }
    }

    fn stop(&mut self, outcome: Outcome) {
        // The first reason stays the one that is told, but for Ctrl-C, which ends all.
        if self.stopped.is_none() || outcome == Outcome::Cancelled {
            self.stopped = Some(outcome);
        }
        self.settle_idle(self.stopped.unwrap_or(outcome));
    }

    fn settle_idle(&mut self, outcome: Outcome) {
        for step in 0..self.states.len() {
            let state = self.states[step];
            if matches!(state, State::Waiting(_) | State::Ready | State::Queued | State::Paused) {
                self.settle(step, outcome);
            }
        }
        self.ready.clear();
        self.queue.clear();
    }

    fn settle(&mut self, step: Step, outcome: Outcome) {
        self.end(step, outcome);
        self.settled.push((step, outcome));
    }

    fn end(&mut self, step: Step, outcome: Outcome) {
        self.checking -= usize::from(self.states[step] == State::Checking);
        self.states[step] = State::Done(outcome);
        self.unfinished -= 1;
    }
}
