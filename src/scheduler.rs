//! What may run next: the state of every step, and nothing else.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The position of a step in its pipeline.
type Step = usize;

/// How many steps may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) jobs: usize,
    /// Of those that need the GPU, which count towards `jobs` as well.
    pub(crate) gpu: usize,
}

/// One step as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The steps whose results it needs.
    pub(crate) needs: Vec<Step>,
    /// Whether it was asked for, or something that was needs it.
    pub(crate) wanted: bool,
    /// Whether it needs the GPU.
    pub(crate) gpu: bool,
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
            height: heights(&needed_by),
            ready: (0..nodes.len()).filter(is_ready).collect(),
            queued: BTreeSet::new(),
            needed_by,
            states,
            nodes,
            limits: Limits { jobs: limits.jobs.max(1), gpu: limits.gpu.max(1) },
            keep_going,
            stopped: None,
            settled: Vec::new(),
        }
    }

    /// Returns what can be done now, if anything; each task is given once.
    pub(crate) fn next(&mut self) -> Option<Task> {
        if let Some(step) = self.ready.pop_first() {
            self.states[step] = State::Checking;
            return Some(Task::Check(step));
        }
        let running = |gpu_only: bool| {
            let counts = |step: &Step| !gpu_only || self.nodes[*step].gpu;
            self.in_state(State::Running).filter(counts).count()
        };
        if running(false) >= self.limits.jobs {
            return None;
        }
        let gpu_is_free = running(true) < self.limits.gpu;
        let may_run = |&&(_, step): &&(_, Step)| gpu_is_free || !self.nodes[step].gpu;
        let &place = self.queued.iter().find(may_run)?;
        self.queued.remove(&place);
        self.states[place.1] = State::Running;
        Some(Task::Run(place.1))
    }

    /// Takes the answer to [`Task::Check`].
    pub(crate) fn checked(&mut self, step: Step, fresh: bool) {
        debug_assert_eq!(self.states[step], State::Checking);
        match (fresh, self.stopped) {
            (true, _) => self.finish(step, Outcome::Fresh),
            (false, None) => {
                self.states[step] = State::Queued;
                self.queued.insert((Reverse(self.height[step]), step));
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
        self.states.iter().all(|state| matches!(state, State::Unwanted | State::Done(_)))
    }

    /// Changes how many steps that need the GPU may run at once.
    pub(crate) fn limit_gpu(&mut self, limit: usize) {
        self.limits.gpu = limit.max(1);
    }

    /// How many steps that count run now or would if there were room.
    pub(crate) fn load(&self, counts: impl Fn(Step) -> bool) -> usize {
        let running = self.in_state(State::Running).filter(|&step| counts(step)).count();
        running + self.queued.iter().filter(|&&(_, step)| counts(step)).count()
    }

    fn in_state(&self, wanted: State) -> impl Iterator<Item = Step> {
        (0..self.states.len()).filter(move |&step| self.states[step] == wanted)
    }

    fn finish(&mut self, step: Step, outcome: Outcome) {
        self.states[step] = State::Done(outcome);
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
        for after in self.needed_by[step].clone() {
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
    }

    fn settle(&mut self, step: Step, outcome: Outcome) {
        self.states[step] = State::Done(outcome);
        self.settled.push((step, outcome));
    }
}

/// The number of steps on the longest chain after each step.
fn heights(needed_by: &[Vec<Step>]) -> Vec<usize> {
    fn height(step: Step, needed_by: &[Vec<Step>], known: &mut [Option<usize>]) -> usize {
        if let Some(height) = known[step] {
            return height;
        }
        let after = needed_by[step].iter().map(|&after| height(after, needed_by, known) + 1);
        let result = after.max().unwrap_or(0);
        known[step] = Some(result);
        result
    }
    let mut known = vec![None; needed_by.len()];
    (0..needed_by.len()).map(|step| height(step, needed_by, &mut known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A random graph (steps need earlier ones only), what is asked for, and what will happen.
    #[derive(Clone, Debug)]
    struct World {
        nodes: Vec<Node>,
        fresh: Vec<bool>,
        fails: Vec<bool>,
        limits: Limits,
        keep_going: bool,
        /// Which of the outstanding tasks answers next.
        order: Vec<usize>,
        cancel_after: Option<usize>,
    }

    fn worlds() -> impl Strategy<Value = World> {
        let step = (vec(any::<bool>(), 12), any::<bool>(), any::<bool>(), 0..10, 0..10);
        let cancel = prop_oneof![3 => Just(None), 1 => (0_usize..20).prop_map(Some)];
        (vec(step, 0..12), 1_usize..5, 1_usize..3, any::<bool>(), vec(0_usize..97, 64), cancel)
            .prop_map(|(steps, jobs, gpu, keep_going, order, cancel_after)| {
                let mut nodes = Vec::new();
                for (index, (edges, wanted, gpu, _, _)) in steps.iter().enumerate() {
                    let needs = (0..index).filter(|&earlier| edges[earlier]).collect();
                    nodes.push(Node { needs, wanted: *wanted, gpu: *gpu });
                }
                for step in (0..nodes.len()).rev().filter(|&step| steps[step].1) {
                    want(step, &mut nodes);
                }
                World {
                    nodes,
                    fresh: steps.iter().map(|step| step.3 < 4).collect(),
                    fails: steps.iter().map(|step| step.4 < 2).collect(),
                    limits: Limits { jobs, gpu },
                    keep_going,
                    order,
                    cancel_after,
                }
            })
    }

    fn want(step: Step, nodes: &mut [Node]) {
        nodes[step].wanted = true;
        for needed in nodes[step].needs.clone() {
            want(needed, nodes);
        }
    }

    /// Plays a world to its end, checking every rule on the way, and returns the outcomes.
    fn play(world: &World) -> Vec<Option<Outcome>> {
        let mut scheduler = Scheduler::new(world.nodes.clone(), world.limits, world.keep_going);
        let mut outcomes: Vec<Option<Outcome>> = vec![None; world.nodes.len()];
        let mut outstanding = Vec::new();
        let end = |step: Step, outcome, outcomes: &mut Vec<Option<Outcome>>| {
            assert!(world.nodes[step].wanted, "{step} was not asked for");
            assert_eq!(outcomes[step].replace(outcome), None, "{step} ended twice");
        };
        for turn in 0.. {
            while let Some(task) = scheduler.next() {
                let (Task::Check(step) | Task::Run(step)) = task;
                let done = |&needed: &Step| {
                    matches!(outcomes[needed], Some(Outcome::Fresh | Outcome::Ran))
                };
                assert!(world.nodes[step].needs.iter().all(done), "{step} started too early");
                outstanding.push(task);
            }
            let runs = outstanding.iter().filter_map(|task| match task {
                Task::Run(step) => Some(*step),
                Task::Check(_) => None,
            });
            let on_gpu = runs.clone().filter(|&step| world.nodes[step].gpu).count();
            assert!(runs.count() <= world.limits.jobs && on_gpu <= world.limits.gpu);
            if world.cancel_after == Some(turn) {
                scheduler.cancel();
                assert_eq!(scheduler.next(), None);
            }
            if outstanding.is_empty() {
                break;
            }
            let chosen = world.order[turn % world.order.len()] % outstanding.len();
            match outstanding.swap_remove(chosen) {
                Task::Check(step) if world.fresh[step] => {
                    scheduler.checked(step, true);
                    end(step, Outcome::Fresh, &mut outcomes);
                }
                Task::Check(step) => scheduler.checked(step, false),
                Task::Run(step) => {
                    let fails = world.fails[step];
                    let outcome = if fails { Outcome::Failed } else { Outcome::Ran };
                    scheduler.finished(step, outcome);
                    end(step, outcome, &mut outcomes);
                }
            }
            for (step, outcome) in scheduler.settled() {
                end(step, outcome, &mut outcomes);
            }
        }
        for (step, outcome) in scheduler.settled() {
            end(step, outcome, &mut outcomes);
        }
        assert!(scheduler.is_done(), "{scheduler:?}");
        outcomes
    }

    proptest! {
        #[test]
        fn every_wanted_step_ends_once(world in worlds()) {
            let outcomes = play(&world);
            for (step, node) in world.nodes.iter().enumerate() {
                prop_assert_eq!(outcomes[step].is_some(), node.wanted);
                if let Some(Outcome::Skipped(cause)) = outcomes[step] {
                    prop_assert_eq!(outcomes[cause], Some(Outcome::Failed));
                }
            }
        }

        #[test]
        fn with_keep_going_only_what_needs_a_failure_is_skipped(world in worlds()) {
            let world = World { keep_going: true, cancel_after: None, ..world };
            let outcomes = play(&world);
            for (step, node) in world.nodes.iter().enumerate().filter(|(_, node)| node.wanted) {
                let lost = |&needed: &Step| {
                    matches!(outcomes[needed], Some(Outcome::Failed | Outcome::Skipped(_)))
                };
                let skipped = matches!(outcomes[step], Some(Outcome::Skipped(_)));
                prop_assert_eq!(skipped, node.needs.iter().any(lost));
            }
        }

        #[test]
        fn without_a_failure_everything_wanted_is_made(world in worlds()) {
            let fails = vec![false; world.nodes.len()];
            let world = World { fails, cancel_after: None, ..world };
            for (step, outcome) in play(&world).into_iter().enumerate() {
                let made = if world.fresh[step] { Outcome::Fresh } else { Outcome::Ran };
                prop_assert_eq!(outcome, world.nodes[step].wanted.then_some(made));
            }
        }
    }

    #[test]
    fn long_chains_go_first() {
        let needs = |needs: &[Step]| Node { needs: needs.to_vec(), wanted: true, gpu: false };
        let nodes = vec![needs(&[]), needs(&[]), needs(&[1]), needs(&[2])];
        let mut scheduler = Scheduler::new(nodes, Limits { jobs: 1, gpu: 1 }, false);
        while let Some(Task::Check(step)) = scheduler.next() {
            scheduler.checked(step, false);
            if scheduler.load(|_| true) == 2 {
                break;
            }
        }
        assert_eq!(scheduler.next(), Some(Task::Run(1)));
        assert_eq!(scheduler.next(), None);
        assert_eq!((scheduler.load(|_| true), scheduler.load(|step| step == 1)), (2, 1));
    }
}
