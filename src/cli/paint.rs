//! Colours, where they are wanted.

/// The codes of all that is written in colour, and of its end.
pub(super) const CODES: [&str; 6] = ["32", "1;31", "33", "2", "1", "0"];

/// Writes text in colour, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours for a stream, if it shows them ([`super::colour_wanted`]).
    pub(crate) fn of(stream: &impl std::io::IsTerminal) -> Self {
        Self { on: super::colour_wanted(stream) }
    }

    /// What is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What deserves a second look.
    pub(crate) fn odd(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What stands back.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// What stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
