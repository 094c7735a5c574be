//! Events as JSON lines, for programs.

use std::io::{self, Write};

use pipe::event::{Event, Observer};

/// Writes each event as one line of JSON; see [`Event`] for what stands in it.
pub(crate) struct Json<W> {
    out: W,
    /// What ended the writing.
    failed: Option<io::Error>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, failed: None }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

impl<W: Write> Observer for Json<W> {
    fn event(&mut self, event: &Event) {
        if self.failed.is_none() {
            self.failed = self.write(event).err();
        }
    }

    fn broken(&self) -> Option<String> {
        // A reader that has gone has read enough; one that is told a part must know.
        let failed = self.failed.as_ref().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        failed.map(|error| format!("cannot write the events: {error}"))
    }
}
