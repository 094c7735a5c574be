//! Text of others on the terminal: it may be read there, but must not steer it.

use std::borrow::Cow;
use std::io::{self, Write};

use super::paint::CODES;

/// Shows control characters as `\u{fffd}`, as problems do: all but ends of lines, tabs, our own colours, and the
/// colours of others, which are left out.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_steering = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_steering) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_steering) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let colour = CODES.iter().map(|code| format!("\x1b[{code}m"));
        let length = match colour.into_iter().find(|colour| rest.starts_with(colour)) {
            Some(colour) => {
                shown.push_str(&colour);
                colour.len()
            }
            None if let Some(length) = colour_of_others(rest) => length,
            None => {
                shown.push('\u{fffd}');
                rest.chars().next().map_or(1, char::len_utf8)
            }
        };
        rest = &rest[length..];
    }
    shown.push_str(rest);
    shown.into()
}

/// The length of a sequence at the start of a text that does no more than change how letters look.
fn colour_of_others(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}

/// Standard output, for text in which names and words of others stand.
pub(crate) fn stdout() -> Visible<io::StdoutLock<'static>> {
    Visible { out: io::stdout().lock(), line: Vec::new() }
}

/// Hands on whole lines, made [`visible`].
pub(crate) struct Visible<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.out.write_all(visible(&String::from_utf8_lossy(&lines)).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.out.write_all(visible(&String::from_utf8_lossy(&line)).as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Visible<W> {
    fn drop(&mut self) {
        // Whoever wants to know whether it arrived flushes before.
        self.flush().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_our_colours_stay() {
        let ours = "\x1b[1;31m✗\x1b[0m a\tb\n";
        assert_eq!(visible(ours), ours);
        let theirs = "\x1b[2Jx\x1b]0;title\x07\r\0\u{9b}31m\x1b[8mhidden";
        assert_eq!(visible(theirs), "�[2Jx�]0;title����31mhidden");
    }

    #[test]
    fn lines_written_in_pieces_come_whole() {
        let mut bytes = Vec::new();
        let mut out = Visible { out: &mut bytes, line: Vec::new() };
        for piece in ["a\x1b", "[b\nc\x07"] {
            write!(out, "{piece}").unwrap();
        }
        drop(out);
        assert_eq!(bytes, "a�[b\nc�".as_bytes());
    }
}
