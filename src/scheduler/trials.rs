//! The scheduler played to the end on random graphs, failures, retries and cancellations.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// How many pools there are; each step uses one of the first.
const POOLS: usize = 3;

/// A random graph (steps need earlier ones only), what is asked for, and what will happen.
#[derive(Clone, Debug)]
struct World {
    nodes: Vec<Node>,
    fresh: Vec<bool>,
    fails: Vec<bool>,
    /// Whether a step gets so far that it has a result to store.
    works: Vec<bool>,
    /// How often a step is paused before it ends.
    pauses: Vec<usize>,
    weights: Vec<u64>,
    limits: Limits,
    keep_going: bool,
    /// Which of the outstanding tasks answers next.
    order: Vec<usize>,
    cancel_after: Option<usize>,
}

fn worlds() -> impl Strategy<Value = World> {
    let uses = (vec(0_u64..5, POOLS - 1), -1_i64..2, 0_u64..9);
    let step = (vec(0..4, 12), any::<bool>(), uses, (0..10, 0..10, 0_usize..12, any::<bool>()));
    let cancel = prop_oneof![3 => Just(None), 1 => (0_usize..20).prop_map(Some)];
    let pools = (1_u64..5, vec(1_u64..5, POOLS - 1), 0_u32..4, 1_usize..4);
    (vec(step, 0..12), pools, any::<bool>(), vec(0_usize..97, 64), cancel).prop_map(
        |(steps, (jobs, pools, patience, stores), keep_going, order, cancel_after)| {
            let capacities: Vec<u64> = [jobs].into_iter().chain(pools).collect();
            let checks = |jobs| usize::try_from(jobs).unwrap_or(1);
            let mut nodes = Vec::new();
            for (index, (edges, wanted, (amounts, priority, _), _)) in steps.iter().enumerate() {
                let needs = (0..index).filter(|&earlier| edges[earlier] == 0).collect();
                let amounts = [1].into_iter().chain(amounts.iter().copied());
                let uses =
                    amounts.enumerate().map(|(pool, most)| (pool, most.min(capacities[pool])));
                let uses = uses.collect();
                nodes.push(Node { needs, wanted: *wanted, uses, priority: *priority });
            }
            for step in (0..nodes.len()).rev().filter(|&step| steps[step].1) {
                want(step, &mut nodes);
            }
            World {
                nodes,
                fresh: steps.iter().map(|step| step.3.0 < 4).collect(),
                fails: steps.iter().map(|step| step.3.1 < 2).collect(),
                pauses: steps.iter().map(|step| step.3.2.saturating_sub(8)).collect(),
                weights: steps.iter().map(|step| step.2.2).collect(),
                works: steps.iter().map(|step| step.3.3).collect(),
                limits: Limits { pools: capacities, checks: checks(jobs), stores, patience },
                keep_going,
                order,
                cancel_after,
            }
        },
    )
}

fn want(step: Step, nodes: &mut [Node]) {
    nodes[step].wanted = true;
    for needed in nodes[step].needs.clone() {
        want(needed, nodes);
    }
}

/// What is outstanding in a play.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    Task(Task),
    Store(Step),
    Pause(Step),
}

/// A play so far.
struct Play<'a> {
    world: &'a World,
    scheduler: Scheduler,
    outcomes: Vec<Option<Outcome>>,
    open: Vec<Open>,
    pauses: Vec<usize>,
    /// How often others took of what the first in the queue lacks.
    passed: (Option<Step>, u32),
}

impl Play<'_> {
    fn end(&mut self, step: Step, outcome: Outcome) {
        assert!(self.world.nodes[step].wanted, "{step} was not asked for");
        assert_eq!(self.outcomes[step].replace(outcome), None, "{step} ended twice");
    }

    fn settle(&mut self) {
        for (step, outcome) in self.scheduler.settled() {
            self.end(step, outcome);
        }
    }

    fn running(&self) -> impl Iterator<Item = Step> {
        self.open.iter().filter_map(|open| match open {
            Open::Task(Task::Run(step)) => Some(*step),
            _ => None,
        })
    }

    fn storing(&self) -> usize {
        self.open.iter().filter(|open| matches!(open, Open::Store(_))).count()
    }

    fn used(&self) -> [u64; POOLS] {
        let mut used = [0; POOLS];
        for step in self.running() {
            self.world.nodes[step].uses.iter().for_each(|&(pool, amount)| used[pool] += amount);
        }
        used
    }

    /// The pools that have too little left for a step.
    fn lacks(&self, step: Step, used: [u64; POOLS]) -> Vec<usize> {
        let lacking = |&&(pool, amount): &&Use| used[pool] + amount > self.world.limits.pools[pool];
        let uses = self.world.nodes[step].uses.iter().filter(|(_, amount)| *amount > 0);
        uses.filter(lacking).map(|(pool, _)| *pool).collect()
    }

    /// Those that wait for room, the first in turn first.
    fn queue(&self) -> Vec<Step> {
        let mut queue: Vec<Step> = self.scheduler.queue.waiting().collect();
        queue.sort_by_key(|&step| (self.scheduler.ranks[step], step));
        queue
    }

    /// Starts all that can be started.
    fn start(&mut self) {
        loop {
            let (queue, used) = (self.queue(), self.used());
            let Some(task) = self.scheduler.next() else { break };
            let (Task::Check(step) | Task::Run(step)) = task;
            let done = |&needed: &Step| {
                matches!(self.outcomes[needed], Some(Outcome::Fresh | Outcome::Ran))
            };
            assert!(self.world.nodes[step].needs.iter().all(done), "{step} started too early");
            if let Task::Run(step) = task {
                assert!(self.storing() < self.world.limits.stores);
                self.fair(step, &queue, used);
            }
            self.open.push(Open::Task(task));
        }
        let (queue, used) = (self.queue(), self.used());
        for pool in 0..POOLS {
            assert!(used[pool] <= self.world.limits.pools[pool], "{used:?}");
        }
        if self.storing() >= self.world.limits.stores {
            return;
        }
        // Nothing that fits waits, but for one that was passed over often enough.
        let mut kept: Vec<usize> = Vec::new();
        for &step in &queue {
            let lacks = self.lacks(step, used);
            let shares = |pools: &[usize]| {
                self.world.nodes[step]
                    .uses
                    .iter()
                    .any(|(pool, amount)| *amount > 0 && pools.contains(pool))
            };
            assert!(!lacks.is_empty() || shares(&kept), "{step} could run: {queue:?}");
            if self.scheduler.queue.is_kept(step) {
                kept.extend(lacks);
            }
        }
    }

    /// No step is passed over for ever.
    fn fair(&mut self, started: Step, queue: &[Step], used: [u64; POOLS]) {
        let Some(&first) = queue.first() else { return };
        if self.passed.0 != Some(first) {
            self.passed = (Some(first), 0);
        }
        if started == first {
            return;
        }
        let lacks = self.lacks(first, used);
        assert!(!lacks.is_empty(), "{started} went before {first}, which fits");
        let takes = |(pool, amount): &Use| *amount > 0 && lacks.contains(pool);
        if self.world.nodes[started].uses.iter().any(takes) {
            self.passed.1 += 1;
        }
        assert!(self.passed.1 <= self.world.limits.patience, "{first} starves");
    }

    fn answer(&mut self, open: Open) {
        match open {
            Open::Task(Task::Check(step)) if self.world.fresh[step] => {
                self.scheduler.checked(step, true);
                self.end(step, Outcome::Fresh);
            }
            Open::Task(Task::Check(step)) => self.scheduler.checked(step, false),
            Open::Task(Task::Run(step)) if self.world.works[step] => {
                self.scheduler.worked(step);
                self.open.push(Open::Store(step));
            }
            Open::Task(Task::Run(step)) | Open::Store(step) => {
                if self.pauses[step] > 0 && self.scheduler.paused(step) {
                    self.pauses[step] -= 1;
                    self.open.push(Open::Pause(step));
                    return;
                }
                let fails = self.world.fails[step];
                let outcome = if fails { Outcome::Failed } else { Outcome::Ran };
                self.scheduler.finished(step, outcome);
                self.end(step, outcome);
            }
            Open::Pause(step) => self.scheduler.resume(step),
        }
    }
}

/// Plays a world to its end, checking every rule on the way, and returns the outcomes.
fn play(world: &World) -> Vec<Option<Outcome>> {
    let scheduler = Scheduler::new(world.nodes.clone(), world.limits.clone(), world.keep_going);
    let mut play = Play {
        world,
        scheduler,
        outcomes: vec![None; world.nodes.len()],
        open: Vec::new(),
        pauses: world.pauses.clone(),
        passed: (None, 0),
    };
    for turn in 0.. {
        if turn == 2 {
            play.scheduler.learn(&world.weights);
            play.passed = (None, 0);
        }
        play.start();
        let runs = play.running().count();
        let pauses = play.open.iter().filter(|open| matches!(open, Open::Pause(_))).count();
        assert!(play.open.len() - runs - pauses - play.storing() <= world.limits.checks);
        if play.scheduler.is_settled() {
            let before = play.scheduler.clone();
            play.scheduler.rest(|step| world.weights[step]);
            assert_eq!(before.states, play.scheduler.states, "a look at the rest changes nothing");
        }
        if world.cancel_after == Some(turn) {
            play.scheduler.cancel();
            assert_eq!(play.scheduler.next(), None);
        }
        if play.open.is_empty() {
            break;
        }
        let chosen = world.order[turn % world.order.len()] % play.open.len();
        let open = play.open.swap_remove(chosen);
        play.answer(open);
        play.settle();
    }
    play.settle();
    assert!(play.scheduler.is_done(), "{:?}", play.scheduler);
    assert_eq!(play.used(), [0; POOLS]);
    play.outcomes
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

/// Limits of one pool.
fn one_pool(capacity: u64) -> Limits {
    Limits { pools: vec![capacity], checks: 8, stores: 8, patience: 3 }
}

/// Checks all steps that can be, each to find that it has to run.
fn queue_all(scheduler: &mut Scheduler) {
    let mut running = Vec::new();
    while let Some(task) = scheduler.next() {
        match task {
            Task::Check(step) => scheduler.checked(step, false),
            Task::Run(step) => running.push(step),
        }
    }
    assert!(running.is_empty(), "{running:?}");
}

fn needs(needs: &[Step]) -> Node {
    Node { needs: needs.to_vec(), wanted: true, uses: vec![(0, 1)], priority: 0 }
}

#[test]
fn the_start_of_the_longest_path_goes_first() {
    let nodes = || vec![needs(&[]), needs(&[]), needs(&[1]), needs(&[2]), needs(&[])];
    let first = |weights: Option<[u64; 5]>, urgent: Option<Step>| {
        let mut nodes = nodes();
        urgent.iter().for_each(|&step| nodes[step].priority = 1);
        let mut scheduler = Scheduler::new(nodes, one_pool(0), false);
        queue_all(&mut scheduler);
        scheduler.limit(0, 1);
        weights.iter().for_each(|weights| scheduler.learn(weights));
        scheduler.next()
    };
    assert_eq!(first(None, None), Some(Task::Run(1)));
    assert_eq!(first(Some([9, 2, 2, 2, 3]), None), Some(Task::Run(0)));
    assert_eq!(first(Some([9, 2, 2, 6, 3]), None), Some(Task::Run(1)));
    assert_eq!(first(Some([9, 2, 2, 2, 3]), Some(4)), Some(Task::Run(4)));
    assert_eq!(
        first(Some([9, 2, 2, 2, 3]), Some(3)),
        Some(Task::Run(1)),
        "what it needs is urgent"
    );
}

#[test]
fn a_large_step_among_small_ones_gets_its_turn() {
    let node = |amount| Node { wanted: true, uses: vec![(0, amount)], ..Node::default() };
    let nodes = [2, 1, 1, 1, 1, 1, 1, 1, 1, 1].map(node).to_vec();
    let mut scheduler = Scheduler::new(nodes, one_pool(2), false);
    scheduler.learn(&[5, 9, 1, 1, 1, 1, 1, 1, 1, 1]);
    let mut running = std::collections::VecDeque::new();
    let mut started = Vec::new();
    loop {
        while let Some(task) = scheduler.next() {
            match task {
                Task::Check(step) => scheduler.checked(step, false),
                Task::Run(step) => {
                    started.push(step);
                    running.push_back(step);
                }
            }
        }
        let Some(step) = running.pop_front() else { break };
        scheduler.finished(step, Outcome::Ran);
    }
    assert_eq!(started.len(), 10);
    let turn = started.iter().position(|&step| step == 0);
    assert!(turn.is_some_and(|turn| turn <= 4), "{started:?}");
}

#[test]
fn the_rest_is_played_with_the_pools_as_they_are() {
    let nodes = vec![needs(&[]), needs(&[]), needs(&[]), needs(&[1])];
    let mut scheduler = Scheduler::new(nodes, one_pool(0), false);
    queue_all(&mut scheduler);
    scheduler.limit(0, 2);
    scheduler.learn(&[4, 3, 2, 5]);
    assert_eq!(scheduler.remaining().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(scheduler.rest(|step| [4, 3, 2, 5][step]), 8);
    assert_eq!(scheduler.next(), Some(Task::Run(1)));
    assert_eq!(scheduler.rest(|step| [4, 1, 2, 5][step]), 6, "one has been running for a while");
    assert_eq!(scheduler.load(9, |_| true), 3);
    assert_eq!(scheduler.load(2, |_| true), 2, "no more than may run share");
    assert!(scheduler.paused(1));
    assert_eq!(scheduler.rest(|step| [4, 3, 2, 5][step]), 8, "it will be tried again");
}

/// Work that grows with the square of the steps would not end here, nor would calls as deep as
/// the longest chain.
#[test]
fn a_hundred_thousand_steps_are_no_burden() {
    const STEPS: usize = 100_000;
    for chain in [true, false] {
        let needed =
            |step: usize| if chain { step.checked_sub(1) } else { (step > 0).then_some(0) };
        let node = |step: usize| Node {
            needs: needed(step).into_iter().collect(),
            wanted: true,
            uses: vec![(0, 1), (1, u64::from(step.is_multiple_of(3)))],
            priority: 0,
        };
        let limits = Limits { pools: vec![4, 1], checks: 8, stores: 8, patience: 8 };
        let mut scheduler = Scheduler::new((0..STEPS).map(node).collect(), limits, false);
        let mut ran = 0;
        while let Some(task) = scheduler.next() {
            match task {
                Task::Check(step) => scheduler.checked(step, false),
                Task::Run(step) => {
                    assert!(scheduler.load(4, |_| true) > 0);
                    if ran == 0 {
                        assert!(scheduler.rest(|_| 1) >= STEPS as u64 / 4);
                    }
                    scheduler.finished(step, Outcome::Ran);
                    ran += 1;
                }
            }
        }
        assert!(scheduler.is_done() && ran == STEPS);
    }
}
