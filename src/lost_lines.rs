//! Lines of a log that could not be written, as on a full disk: the work goes on, and at its end it is told.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Why the first line was lost since that was last asked.
static LOST: Mutex<Option<String>> = Mutex::new(None);

/// A writer that notes what cannot be written and never fails: whoever logs cannot help it.
pub struct NeverFailing<W>(pub W);

impl<W: Write> Write for NeverFailing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(self.0.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        note(self.0.flush());
        Ok(())
    }
}

fn note(written: io::Result<()>) {
    if let Err(error) = written {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert_with(|| error.to_string());
    }
}

/// Returns why lines were lost since the last call, if any were.
pub(crate) fn take() -> Option<String> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}
