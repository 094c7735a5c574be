//! What may run next: the state of every step, and nothing else.

#[cfg(test)]
mod trials;

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The position of a step in its pipeline.
type Step = usize;

/// How many steps may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// On this machine.
    pub(crate) jobs: usize,
    /// Of those that need the GPU, which count towards `jobs` as well.
    pub(crate) gpu: usize,
    /// Of those that run elsewhere, which count towards nothing else.
    pub(crate) elsewhere: usize,
    /// How many may be compared with the store at once.
    pub(crate) checks: usize,
}

/// One step as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The steps whose results it needs.
    pub(crate) needs: Vec<Step>,
    /// Whether it was asked for, or something that was needs it.
    pub(crate) wanted: bool,
    /// Whether it needs the GPU of this machine.
    pub(crate) gpu: bool,
    /// Whether it runs on another machine.
    pub(crate) elsewhere: bool,
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
    /// Run a step; answered by [`Scheduler::finished`].
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
    /// Over.
    Done(Outcome),
}

/// The state of every step of a run.
#[derive(Debug)]
pub(crate) struct Scheduler {
    nodes: Vec<Node>,
    needed_by: Vec<Vec<Step>>,
    /// How many steps the longest chain after a step has; long chains go first.
    height: Vec<usize>,
    states: Vec<State>,
    ready: BTreeSet<Step>,
    queued: BTreeSet<(Reverse<usize>, Step)>,
    /// The same, of the steps that run elsewhere.
    queued_elsewhere: BTreeSet<(Reverse<usize>, Step)>,
    /// Those in [`State::Running`] on this machine.
    running: BTreeSet<Step>,
    /// How many are in [`State::Running`] elsewhere.
    running_elsewhere: usize,
    /// How many of those need the GPU.
    running_on_gpu: usize,
    /// How many are in [`State::Checking`].
    checking: usize,
    /// How many wanted steps have not ended.
    unfinished: usize,
    limits: Limits,
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
        Self {
            height: heights(&nodes, &needed_by),
            ready: (0..nodes.len()).filter(is_ready).collect(),
            queued: BTreeSet::new(),
            queued_elsewhere: BTreeSet::new(),
            running: BTreeSet::new(),
            running_elsewhere: 0,
            running_on_gpu: 0,
            checking: 0,
            unfinished: nodes.iter().filter(|node| node.wanted).count(),
            needed_by,
            states,
            nodes,
            limits: Limits {
                jobs: limits.jobs.max(1),
                gpu: limits.gpu.max(1),
                elsewhere: limits.elsewhere.max(1),
                checks: limits.checks.max(1),
            },
            keep_going,
            stopped: None,
            settled: Vec::new(),
        }
    }

    /// Returns what can be done now, if anything; each task is given once.
    pub(crate) fn next(&mut self) -> Option<Task> {
        if self.checking < self.limits.checks
            && let Some(step) = self.ready.pop_first()
        {
            self.states[step] = State::Checking;
            self.checking += 1;
            return Some(Task::Check(step));
        }
        if self.running_elsewhere < self.limits.elsewhere
            && let Some((_, step)) = self.queued_elsewhere.pop_first()
        {
            self.states[step] = State::Running;
            self.running_elsewhere += 1;
            return Some(Task::Run(step));
        }
        if self.running.len() >= self.limits.jobs {
            return None;
        }
        let gpu_is_free = self.running_on_gpu < self.limits.gpu;
        let may_run = |&&(_, step): &&(_, Step)| gpu_is_free || !self.nodes[step].gpu;
        let &place = self.queued.iter().find(may_run)?;
        self.queued.remove(&place);
        self.states[place.1] = State::Running;
        self.running.insert(place.1);
        self.running_on_gpu += usize::from(self.nodes[place.1].gpu);
        Some(Task::Run(place.1))
    }

    /// Takes the answer to [`Task::Check`].
    pub(crate) fn checked(&mut self, step: Step, fresh: bool) {
        debug_assert_eq!(self.states[step], State::Checking);
        match (fresh, self.stopped) {
            (true, _) => self.finish(step, Outcome::Fresh),
            (false, None) => {
                self.checking -= 1;
                self.states[step] = State::Queued;
                let queued = match self.nodes[step].elsewhere {
                    true => &mut self.queued_elsewhere,
                    false => &mut self.queued,
                };
                queued.insert((Reverse(self.height[step]), step));
            }
            (false, Some(outcome)) => self.settle(step, outcome),
        }
    }

    /// Takes the answer to [`Task::Run`]; also ends a check that failed.
    pub(crate) fn finished(&mut self, step: Step, outcome: Outcome) {
        debug_assert!(matches!(self.states[step], State::Running | State::Checking));
        self.finish(step, outcome);
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

    /// Changes how many steps that need the GPU may run at once.
    pub(crate) fn limit_gpu(&mut self, limit: usize) {
        self.limits.gpu = limit.max(1);
    }

    /// How many steps that count run on this machine now or would if there were room, up to as many
    /// as may run.
    pub(crate) fn load(&self, counts: impl Fn(Step) -> bool) -> usize {
        let queued = self.queued.iter().map(|&(_, step)| step);
        let all = self.running.iter().copied().chain(queued);
        all.filter(|&step| counts(step)).take(self.limits.jobs).count()
    }

    fn finish(&mut self, step: Step, outcome: Outcome) {
        if self.running.remove(&step) {
            self.running_on_gpu -= usize::from(self.nodes[step].gpu);
        } else if self.states[step] == State::Running {
            self.running_elsewhere -= 1;
        }
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
            if matches!(self.states[step], State::Waiting(_) | State::Ready | State::Queued) {
                self.settle(step, outcome);
            }
        }
        self.ready.clear();
        self.queued.clear();
        self.queued_elsewhere.clear();
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

/// The number of steps on the longest chain after each step; no step counts more than once, and
/// none calls another, so a chain may be of any length.
fn heights(nodes: &[Node], needed_by: &[Vec<Step>]) -> Vec<usize> {
    let mut after: Vec<usize> = needed_by.iter().map(Vec::len).collect();
    let mut heights = vec![0; nodes.len()];
    let mut known: Vec<Step> = (0..nodes.len()).filter(|&step| after[step] == 0).collect();
    while let Some(step) = known.pop() {
        for &needed in &nodes[step].needs {
            heights[needed] = heights[needed].max(heights[step] + 1);
            after[needed] -= 1;
            if after[needed] == 0 {
                known.push(needed);
            }
        }
    }
    heights
}
