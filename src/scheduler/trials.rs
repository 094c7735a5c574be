//! The scheduler played to the end on random graphs, failures and cancellations.

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
    let step = (vec(any::<bool>(), 12), any::<bool>(), 0..4, 0..10, 0..10);
    let cancel = prop_oneof![3 => Just(None), 1 => (0_usize..20).prop_map(Some)];
    (vec(step, 0..12), 1_usize..5, 1_usize..3, any::<bool>(), vec(0_usize..97, 64), cancel)
        .prop_map(|(steps, jobs, gpu, keep_going, order, cancel_after)| {
            let mut nodes = Vec::new();
            for (index, (edges, wanted, place, _, _)) in steps.iter().enumerate() {
                let needs = (0..index).filter(|&earlier| edges[earlier]).collect();
                nodes.push(Node {
                    needs,
                    wanted: *wanted,
                    gpu: *place == 1,
                    elsewhere: *place > 1,
                });
            }
            for step in (0..nodes.len()).rev().filter(|&step| steps[step].1) {
                want(step, &mut nodes);
            }
            World {
                nodes,
                fresh: steps.iter().map(|step| step.3 < 4).collect(),
                fails: steps.iter().map(|step| step.4 < 2).collect(),
                limits: Limits { jobs, gpu, elsewhere: jobs + 1, checks: jobs },
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
            let done =
                |&needed: &Step| matches!(outcomes[needed], Some(Outcome::Fresh | Outcome::Ran));
            assert!(world.nodes[step].needs.iter().all(done), "{step} started too early");
            outstanding.push(task);
        }
        let runs = outstanding.iter().filter_map(|task| match task {
            Task::Run(step) => Some(*step),
            Task::Check(_) => None,
        });
        let on_gpu = runs.clone().filter(|&step| world.nodes[step].gpu).count();
        let elsewhere = runs.clone().filter(|&step| world.nodes[step].elsewhere).count();
        let runs = runs.count();
        assert!(runs - elsewhere <= world.limits.jobs && on_gpu <= world.limits.gpu);
        assert!(elsewhere <= world.limits.elsewhere);
        assert!(outstanding.len() - runs <= world.limits.checks);
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
    let needs = |needs: &[Step]| Node { needs: needs.to_vec(), wanted: true, ..Node::default() };
    let nodes = vec![needs(&[]), needs(&[]), needs(&[1]), needs(&[2])];
    let mut scheduler =
        Scheduler::new(nodes, Limits { jobs: 1, gpu: 1, elsewhere: 9, checks: 2 }, false);
    while let Some(Task::Check(step)) = scheduler.next() {
        scheduler.checked(step, false);
        if scheduler.queued.len() == 2 {
            break;
        }
    }
    assert_eq!(scheduler.next(), Some(Task::Run(1)));
    assert_eq!(scheduler.next(), None);
    assert_eq!(scheduler.load(|_| true), 1, "no more than may run share");
    assert_eq!(scheduler.load(|step| step > 2), 0);
}

/// Work that grows with the square of the steps would not end here, nor would calls as deep as
/// the longest chain.
#[test]
fn a_hundred_thousand_steps_are_no_burden() {
    const STEPS: usize = 100_000;
    for chain in [true, false] {
        let needs = |step: usize| if chain { step.checked_sub(1) } else { (step > 0).then_some(0) };
        let node = |step| Node {
            needs: needs(step).into_iter().collect(),
            wanted: true,
            ..Node::default()
        };
        let limits = Limits { jobs: 4, gpu: 1, elsewhere: 9, checks: 8 };
        let mut scheduler = Scheduler::new((0..STEPS).map(node).collect(), limits, false);
        let mut ran = 0;
        while let Some(task) = scheduler.next() {
            match task {
                Task::Check(step) => scheduler.checked(step, false),
                Task::Run(step) => {
                    assert_eq!(scheduler.load(|_| true).clamp(1, 4), scheduler.load(|_| true));
                    scheduler.finished(step, Outcome::Ran);
                    ran += 1;
                }
            }
        }
        assert!(scheduler.is_done() && ran == STEPS);
    }
}

#[test]
fn what_runs_elsewhere_takes_no_room_here() {
    let node = |elsewhere| Node { wanted: true, elsewhere, ..Node::default() };
    let nodes = [true, false, true, false, true].map(node).to_vec();
    let limits = Limits { jobs: 1, gpu: 1, elsewhere: 2, checks: 8 };
    let mut scheduler = Scheduler::new(nodes, limits, false);
    while let Some(Task::Check(_)) = scheduler.next() {}
    (0..5).for_each(|step| scheduler.checked(step, false));
    let started: Vec<_> = std::iter::from_fn(|| scheduler.next()).collect();
    assert_eq!(started, [Task::Run(0), Task::Run(2), Task::Run(1)]);
    assert_eq!(scheduler.load(|_| true), 1);
    scheduler.finished(2, Outcome::Ran);
    assert_eq!(scheduler.next(), Some(Task::Run(4)));
    assert_eq!(scheduler.next(), None);
}
