//! The numbers of arrays on the CPU: f32, or bf16, which takes half the memory.

use std::fmt::Debug;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use candle_core::WithDType;
use half::bf16;
use rayon::prelude::*;

use super::add::CHUNK;
use super::floats::{Block, Floats, Pool};
use super::instructions::vectorized;
use super::value::{Array, Host};

/// A number as arrays store it; all that is computed with it is computed in f32.
pub(super) trait Number: WithDType + Default + Debug {
    /// Returns it as f32, which is exact.
    fn wide(self) -> f32;
    /// Returns the nearest to an f32; of two the even one.
    fn narrow(value: f32) -> Self;
    /// Returns where blocks of such numbers rest.
    fn pool() -> &'static Mutex<Pool<Self>>;
    /// Wraps an array of such numbers.
    fn array(host: Host<Self>) -> Array;
    /// Unwraps one.
    fn host(array: &Array) -> Option<&Host<Self>>;
    /// Takes one out, such as a gradient.
    ///
    /// # Errors
    ///
    /// When it is an array of others.
    fn taken(array: Array) -> Result<Host<Self>> {
        let host = Self::host(&array).cloned();
        // what is left must be the only one, to be written on
        drop(array);
        host.context("an array of other numbers was given")
    }
    /// Returns numbers that are f32 already.
    fn singles(numbers: &[Self]) -> Option<&[f32]>;
    /// Returns the nearest of f32s, which are its own where it is one.
    fn nearest(singles: Floats) -> Block<Self>;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
    fn pool() -> &'static Mutex<Pool<Self>> {
        static POOL: Mutex<Pool<f32>> = Mutex::new(Pool::empty());
        &POOL
    }
    fn array(host: Host<Self>) -> Array {
        Array::Host(host)
    }
    fn host(array: &Array) -> Option<&Host<Self>> {
        if let Array::Host(host) = array { Some(host) } else { None }
    }
    #[inline(always)]
    fn singles(numbers: &[Self]) -> Option<&[f32]> {
        Some(numbers)
    }
    fn nearest(singles: Floats) -> Block<Self> {
        singles
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    // without a branch, so that loops become vectors
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        let bits = value.to_bits();
        let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let kept = if value.is_nan() { (bits >> 16) | 0x40 } else { nearest };
        Self::from_bits(kept as u16)
    }
    fn pool() -> &'static Mutex<Pool<Self>> {
        static POOL: Mutex<Pool<bf16>> = Mutex::new(Pool::empty());
        &POOL
    }
    fn array(host: Host<Self>) -> Array {
        Array::Half(host)
    }
    fn host(array: &Array) -> Option<&Host<Self>> {
        if let Array::Half(host) = array { Some(host) } else { None }
    }
    #[inline(always)]
    fn singles(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn nearest(singles: Floats) -> Block<Self> {
        converted(&singles)
    }
}

vectorized! {
    pub(super) fn convert<N: Number, M: Number>(to: &mut [N], from: &[M]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = N::narrow(from.wide());
        }
    }
}

/// Returns numbers of one kind as the nearest of another.
pub(super) fn converted<N: Number, M: Number>(from: &[M]) -> Block<N> {
    let mut to = Block::stale(from.len());
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| convert(to, from));
    to
}

/// Returns numbers as f32.
pub(super) fn widened<N: Number>(from: &[N]) -> Floats {
    converted(from)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::{Number, converted};

    #[test]
    fn every_bf16_comes_back_and_the_nearest_is_taken() {
        let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        for (number, wide) in all.iter().zip(&*super::widened(&all)) {
            if number.is_nan() {
                assert!(wide.is_nan() && bf16::narrow(*wide).is_nan());
            } else {
                assert_eq!(wide.to_bits(), number.to_f32().to_bits());
                assert_eq!(bf16::narrow(*wide).to_bits(), number.to_bits());
            }
        }
        // neighbours, the middle between them, and what lies next to it
        let low = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
        let between = |high: u32| low.map(|low| f32::from_bits((high << 16) | low));
        let wide: Vec<f32> = (0..=u32::from(u16::MAX)).flat_map(between).collect();
        for (number, wide) in converted::<bf16, f32>(&wide).iter().zip(&wide) {
            let expected = bf16::from_f32(*wide);
            let same = number.to_bits() == expected.to_bits() || wide.is_nan() && number.is_nan();
            assert!(same, "{wide}: {number}, not {expected}");
        }
    }
}
