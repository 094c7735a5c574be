//! Blocks of numbers on the CPU that are used again from step to step.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use super::number::Number;

/// A block of numbers that goes back to the pool when it is dropped.
///
/// A training step asks for the same sizes in the same order as the one before, and fresh pages
/// from the operating system cost a fifth of its time.
#[derive(Debug)]
pub(super) struct Block<N: Number>(Vec<N>);

/// A block of f32.
pub(super) type Floats = Block<f32>;

/// What is at rest, in the order it came back, and what is out, in numbers.
pub(super) struct Pool<N> {
    resting: VecDeque<Vec<N>>,
    resting_total: usize,
    out_total: usize,
    out_most: usize,
}

/// Below this the allocator is as fast.
const SMALLEST: usize = 16 * 1024;

impl<N> Pool<N> {
    pub(super) const fn empty() -> Self {
        Self { resting: VecDeque::new(), resting_total: 0, out_total: 0, out_most: 0 }
    }

    /// Takes out the block that came back last and fits, if it wastes less than a quarter.
    fn take(&mut self, length: usize) -> Option<Vec<N>> {
        let fits = |block: &Vec<N>| (length..=length + length / 4).contains(&block.capacity());
        let place = self.resting.iter().rposition(fits)?;
        let block = self.resting.remove(place)?;
        self.resting_total -= block.capacity();
        Some(block)
    }

    /// Lets the oldest blocks go while more rests than the busiest moment so far could use.
    fn trim(&mut self) -> Vec<Vec<N>> {
        let mut gone = Vec::new();
        while self.resting_total + self.out_total > self.out_most + self.out_most / 4 {
            let Some(block) = self.resting.pop_front() else { break };
            self.resting_total -= block.capacity();
            gone.push(block);
        }
        gone
    }
}

impl<N: Number> Block<N> {
    /// Returns a block of unspecified content: zeros, or what an earlier user left.
    pub(super) fn stale(length: usize) -> Self {
        if length < SMALLEST {
            return Self(vec![N::default(); length]);
        }
        let taken = {
            let mut pool = N::pool().lock().unwrap_or_else(PoisonError::into_inner);
            let taken = pool.take(length);
            pool.out_total += taken.as_ref().map_or(length, Vec::capacity);
            pool.out_most = pool.out_most.max(pool.out_total);
            taken
        };
        let mut block = taken.unwrap_or_else(|| vec![N::default(); length]);
        block.resize(length, N::default());
        Self(block)
    }

    /// Returns a block of zeros.
    pub(super) fn zeros(length: usize) -> Self {
        let mut block = Self::stale(length);
        block.fill(N::default());
        block
    }

    /// Forgets all but the first numbers.
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Returns a copy of a slice.
    pub(super) fn copy(values: &[N]) -> Self {
        let mut block = Self::stale(values.len());
        block.copy_from_slice(values);
        block
    }
}

impl<N: Number> Deref for Block<N> {
    type Target = [N];
    fn deref(&self) -> &[N] {
        &self.0
    }
}

impl<N: Number> DerefMut for Block<N> {
    fn deref_mut(&mut self) -> &mut [N] {
        &mut self.0
    }
}

impl<N: Number> Drop for Block<N> {
    fn drop(&mut self) {
        if self.0.capacity() < SMALLEST {
            return;
        }
        let block = std::mem::take(&mut self.0);
        let gone = {
            let mut pool = N::pool().lock().unwrap_or_else(PoisonError::into_inner);
            pool.out_total -= block.capacity();
            pool.resting_total += block.capacity();
            pool.resting.push_back(block);
            pool.trim()
        };
        drop(gone); // outside the lock: giving pages back is slow
    }
}

#[cfg(test)]
mod tests {
    use super::Floats;

    #[test]
    fn a_block_comes_back_with_its_length() {
        for length in [0, 5, 40_000, 39_000, 40_000] {
            let mut block = Floats::zeros(length);
            assert_eq!((block.len(), block.iter().sum::<f32>()), (length, 0.0));
            block.fill(1.0);
        }
        assert_eq!(&*Floats::copy(&[1.0, 2.0]), [1.0, 2.0]);
    }
}
