//! Random choices that a seed repeats.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::hash::{BuildHasher, RandomState};

/// Random choices; `PIPE_CRASH_SEED` repeats those of an earlier test.
pub(crate) struct Chance {
    pub(crate) seed: u64,
    state: u64,
}

impl Chance {
    /// Starts from the given seed or a new one.
    pub(crate) fn new() -> Self {
        let seed = setting("PIPE_CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
        Self { seed, state: seed }
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        self.state = self.state.wrapping_mul(FACTOR).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % limit
    }

    /// Returns one of `many`.
    pub(crate) fn of<'a, T>(&mut self, many: &'a [T]) -> &'a T {
        &many[usize::try_from(self.below(many.len() as u64)).unwrap()]
    }
}

/// Reads a number from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
