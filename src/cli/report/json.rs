//! Events as JSON lines, for programs.

use std::io::{self, Write};

use pipe::event::{Event, Observer};

/// Writes each event as one line of JSON; see [`Event`] for what stands in it.
pub(crate) struct Json<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, closed: false }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

impl<W: Write> Observer for Json<W> {
    fn event(&mut self, event: &Event) {
        // A reader that has gone does not end the run.
        self.closed = self.closed || self.write(event).is_err();
    }
}
