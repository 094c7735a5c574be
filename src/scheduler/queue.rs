//! Steps that wait for room in the pools, and which of them starts next.

use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use super::rank::Rank;

/// So much of a pool, by its index.
pub(crate) type Use = (usize, u64);

#[derive(Clone, Debug)]
struct Pool {
    capacity: u64,
    used: u64,
}

/// Steps that use the same of the same pools: either all of them fit or none.
#[derive(Clone, Debug)]
struct Class {
    uses: Vec<Use>,
    waiting: BTreeSet<(Rank, Step)>,
    /// How many steps took of what its first one lacks, since one of this class started.
    passed: u32,
}

/// The pools, who uses them, and who waits for them.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pools: Vec<Pool>,
    classes: Vec<Class>,
    class_of: Vec<usize>,
    /// How many others may take of what a step lacks before its turn is kept for it.
    patience: u32,
}

impl Queue {
    /// Makes the empty queue of steps that use so much each, none more than there is.
    pub(super) fn new<'a>(
        uses: impl Iterator<Item = &'a [Use]>,
        capacities: impl Iterator<Item = u64>,
        patience: u32,
    ) -> Self {
        let pools: Vec<Pool> = capacities.map(|capacity| Pool { capacity, used: 0 }).collect();
        let mut known: BTreeMap<Vec<Use>, usize> = BTreeMap::new();
        let mut classes = Vec::new();
        let class_of = uses.map(|uses| {
            let uses: Vec<Use> = uses.iter().copied().filter(|(_, amount)| *amount > 0).collect();
            *known.entry(uses.clone()).or_insert_with(|| {
                classes.push(Class { uses, waiting: BTreeSet::new(), passed: 0 });
                classes.len() - 1
            })
        });
        let class_of = class_of.collect();
        Self { pools, classes, class_of, patience }
    }

    /// Lets a step wait.
    pub(super) fn push(&mut self, step: Step, rank: Rank) {
        self.classes[self.class_of[step]].waiting.insert((rank, step));
    }

    /// Takes out the step whose turn it is, and what it uses out of the pools.
    ///
    /// That is the first one that fits. One that was passed over too often has those after it wait
    /// that use what it lacks, so that it is not passed over for ever.
    pub(super) fn pop(&mut self) -> Option<Step> {
        let heads = self.classes.iter().enumerate();
        let mut heads: Vec<((Rank, Step), usize)> =
            heads.filter_map(|(at, class)| Some((*class.waiting.first()?, at))).collect();
        heads.sort_unstable();
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let mut passed = Vec::new();
        for (first, at) in heads {
            let uses = &self.classes[at].uses;
            if uses.iter().any(|(pool, _)| kept.contains(pool)) {
                continue;
            }
            let lacks = self.lacks(at);
            if !lacks.is_empty() {
                if self.classes[at].passed >= self.patience {
                    kept.extend(&lacks);
                }
                passed.push((at, lacks));
                continue;
            }
            for &(pool, amount) in uses {
                self.pools[pool].used += amount;
            }
            for (other, lacks) in passed {
                let takes = self.classes[at].uses.iter().any(|(pool, _)| lacks.contains(pool));
                self.classes[other].passed += u32::from(takes);
            }
            let class = &mut self.classes[at];
            class.passed = 0;
            class.waiting.remove(&first);
            return Some(first.1);
        }
        None
    }

    /// The pools that have too little left for a class.
    fn lacks(&self, class: usize) -> Vec<usize> {
        let lacking = |&&(pool, amount): &&Use| {
            let Pool { capacity, used } = self.pools[pool];
            used.saturating_add(amount) > capacity
        };
        self.classes[class].uses.iter().filter(lacking).map(|(pool, _)| *pool).collect()
    }

    /// Whether what the class of a step lacks is kept for it.
    #[cfg(test)]
    pub(super) fn is_kept(&self, step: Step) -> bool {
        self.classes[self.class_of[step]].passed >= self.patience
    }

    /// Puts back what a step used.
    pub(super) fn release(&mut self, step: Step) {
        for &(pool, amount) in &self.classes[self.class_of[step]].uses {
            self.pools[pool].used -= amount;
        }
    }

    /// Changes how much there is of a pool.
    pub(super) fn limit(&mut self, pool: usize, capacity: u64) {
        self.pools[pool].capacity = capacity;
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Step> {
        self.classes.iter().flat_map(|class| class.waiting.iter().map(|&(_, step)| step))
    }

    /// Takes out all that wait.
    pub(super) fn clear(&mut self) -> Vec<Step> {
        let waiting = self.waiting().collect();
        self.classes.iter_mut().for_each(|class| class.waiting.clear());
        waiting
    }
}
