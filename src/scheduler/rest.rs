//! How long the rest of a run will take, by playing it to its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Outcome, Scheduler, State, Step, Task};

impl Scheduler {
    /// Whether it is known of every step that could run now whether it has to.
    pub(crate) fn is_settled(&self) -> bool {
        self.checking == 0 && self.ready.is_empty()
    }

    /// The steps that run or will, as far as is known now: of one that waits for others it is not yet
    /// known, so it is counted.
    pub(crate) fn remaining(&self) -> impl Iterator<Item = Step> {
        let counts = |state: &State| {
            matches!(
                state,
                State::Waiting(_) | State::Queued | State::Running | State::Storing | State::Paused
            )
        };
        (0..self.states.len()).filter(move |&step| counts(&self.states[step]))
    }

    /// The steps that run now.
    pub(crate) fn running(&self) -> impl Iterator<Item = Step> {
        self.running.iter().copied()
    }

    /// Plays the run to its end, all going well, and returns when that is, in the unit of `left`:
    /// what each step still takes.
    pub(crate) fn rest(&self, left: impl Fn(Step) -> u64) -> u64 {
        let mut played = self.clone();
        let mut now = 0;
        let mut ends: BinaryHeap<Reverse<(u64, Step)>> = BinaryHeap::new();
        ends.extend(played.running.iter().map(|&step| Reverse((left(step), step))));
        for step in 0..played.states.len() {
            played.resume(step);
            if played.states[step] == State::Storing {
                ends.push(Reverse((0, step)));
            }
        }
        loop {
            while let Some(task) = played.next() {
                match task {
                    Task::Check(step) => played.checked(step, false),
                    Task::Run(step) => {
                        ends.push(Reverse((left(step).saturating_add(now), step)));
                    }
                }
            }
            let Some(Reverse((end, step))) = ends.pop() else { return now };
            now = end;
            played.finished(step, Outcome::Ran);
        }
    }
}
