//! The bf16 copy of a weight that a GPU computes with, kept current by the optimizer.

use std::sync::{Arc, Mutex, PoisonError};

#[cfg(any(feature = "cuda", test))]
use anyhow::Result;
use candle_core::Tensor;

/// A place for the copy, shared by all handles of a parameter; empty until a GPU first asks for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounded(Arc<Mutex<Option<Tensor>>>);

impl Rounded {
    /// Returns the copy, which is made first where there is none: [outputs, taps, inputs] in any shape.
    ///
    /// # Errors
    ///
    /// The error of `make`.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn of(&self, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let mut copy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = &*copy {
            return Ok(copy.clone());
        }
        Ok(copy.insert(make()?).clone())
    }

    /// Returns the copy where there is one.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn current(&self) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the copy, because the weight has other numbers now.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
