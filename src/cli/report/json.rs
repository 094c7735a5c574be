//! Events as JSON lines, for programs.

use std::io::{self, Write};

use pipe::event::{Event, Observer};

/// Writes each event as one line of JSON; see [`Event`] for what stands in it.
pub(crate) struct Json<W> {
    out: W,
    closed: bool,
    broken: Option<String>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, closed: false, broken: None }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

impl<W: Write> Observer for Json<W> {
    fn event(&mut self, event: &Event) {
        if self.closed {
            return;
        }
        if let Err(error) = self.write(event) {
            self.closed = true;
            // A reader that has gone has read enough; one that is told a part must know.
            let is_gone = error.kind() == io::ErrorKind::BrokenPipe;
            self.broken = Some(format!("cannot write the events: {error}")).filter(|_| !is_gone);
        }
    }

    fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}
