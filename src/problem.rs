//! Something wrong with a pipeline file, where it stands, and what would be right.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::source_map::SourceFile;

/// Something wrong with a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: a lower-case fragment without a full stop.
    pub message: String,
    /// Where it stands, unless it stands nowhere (a file that cannot be read, a name on the command
    /// line).
    pub at: Option<Place>,
    /// What would be right.
    pub help: Option<String>,
}

/// A stretch of a pipeline file, or of a `--set` of the command line.
#[derive(Clone)]
pub struct Place {
    source: Arc<SourceFile>,
    /// Where the source begins when all sources of a pipeline are laid end to end.
    base: usize,
    span: Range<usize>,
}

/// Every problem of a pipeline, in file order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problem {
    /// Makes a problem that stands nowhere.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: visible(message.into()), at: None, help: None }
    }

    /// Says where it stands.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.at = Some(place);
        self
    }

    /// Says what would be right; a second help follows on a line of its own.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        let help = visible(help.into());
        self.help = Some(match self.help {
            Some(first) => format!("{first}\n{help}"),
            None => help,
        });
        self
    }
}

/// So many problems of a file are looked for; there may be more.
pub(crate) const MANY: usize = 1_000;

/// Shows control characters as `\u{fffd}`: text of a file must not steer the terminal.
pub(crate) fn visible(text: String) -> String {
    if !text.contains(|c: char| c.is_control() && c != '\n') {
        return text;
    }
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

impl Place {
    /// Names `span` (bytes) of `source`, which begins at `base` among all sources of the pipeline.
    pub(crate) fn new(source: Arc<SourceFile>, base: usize, span: Range<usize>) -> Self {
        let end = source.text().len();
        let start = span.start.min(end);
        Self { source, base, span: start..span.end.clamp(start, end) }
    }

    /// The name of the file as a user would write it, or `--set`.
    #[must_use]
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// The bytes it covers.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The number of its line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.source.line_number(self.span.start)
    }

    /// The number of its first character in its line, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        let line = self.source.line(self.line());
        self.source.text()[line.start..self.source.floor(self.span.start)].chars().count() + 1
    }

    /// Its whole (first) line.
    #[must_use]
    pub fn source_line(&self) -> &str {
        &self.source.text()[self.source.line(self.line())]
    }

    /// How many characters of its first line it covers; at least one.
    #[must_use]
    pub fn width(&self) -> usize {
        let line = self.source.line(self.line());
        let start = self.source.floor(self.span.start);
        let end = self.source.floor(self.span.end).clamp(start, line.end.max(start));
        self.source.text()[start..end].chars().count().max(1)
    }

    /// Where it stands among all sources of its pipeline.
    fn order(&self) -> usize {
        self.base + self.span.start
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.file() == other.file() && self.base == other.base && self.span == other.span
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

/// The longest part of a source line that is shown.
const SHOWN: usize = 120;

impl Place {
    /// Returns the part of its line that is worth showing, the characters in it before the place,
    /// and how many of it the place covers. Control characters are shown as `\u{fffd}`.
    #[must_use]
    pub fn excerpt(&self) -> (String, usize, usize) {
        let before = self.column() - 1;
        let skip = if before >= SHOWN { before - SHOWN / 4 } else { 0 };
        let visible = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
        let text: String = self.source_line().chars().skip(skip).take(SHOWN).map(visible).collect();
        let left = text.chars().count().saturating_sub(before - skip).max(1);
        (text, before - skip, self.width().min(left))
    }
}

/// Shows the problem as compilers do: `file:line:column: message`, the line, a caret, the help.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gutter = String::new();
        if let Some(at) = &self.at {
            writeln!(f, "{at}: {}", self.message)?;
            let number = at.line().to_string();
            gutter = " ".repeat(number.len());
            let (text, before, width) = at.excerpt();
            let pad: String =
                text.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{number} | {}", text.trim_end())?;
            write!(f, "{gutter} | {pad}{}", "^".repeat(width))?;
        } else {
            write!(f, "{}", self.message)?;
        }
        for (index, line) in self.help.iter().flat_map(|help| help.lines()).enumerate() {
            let label = if index == 0 { "= help:" } else { "       " };
            write!(f, "\n{gutter} {label} {line}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// Puts problems in file order, each once; those that stand nowhere come first.
    ///
    /// Returns `Ok` when there are none.
    pub(crate) fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| problem.at.as_ref().map(Place::order));
        let mut seen = std::collections::BTreeSet::new();
        problems.retain(|problem| {
            seen.insert((problem.at.as_ref().map(Place::order), problem.message.clone()))
        });
        Err(Self(problems))
    }

    /// Puts problems in file order; `None` when there are none.
    pub fn collect(problems: impl IntoIterator<Item = Problem>) -> Option<Self> {
        Self::check(problems.into_iter().collect()).err()
    }

    /// Whether there may be more, since looking was ended.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.len() >= MANY
    }

    /// The problems, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        Place::new(Arc::new(SourceFile::new("x.toml".to_owned(), text.to_owned())), 0, span)
    }

    #[test]
    fn a_place_counts_characters_from_one() {
        let at = place("a = 1\r\nbär = 2\n", 13..14);
        assert_eq!((at.line(), at.column(), at.source_line()), (2, 6, "bär = 2"));
    }

    #[test]
    fn a_place_off_the_text_or_inside_a_character_is_moved_to_its_border() {
        assert_eq!(place("", 7..90).to_string(), "x.toml:1:1");
        assert_eq!(place("ä = 1", 1..1).column(), 1);
        assert_eq!(place("a\n", 2..2).to_string(), "x.toml:2:1");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}x{}", "-".repeat(9_000), "-".repeat(9_000));
        let (shown, before, width) = place(&text, 9_000..9_001).excerpt();
        assert_eq!((shown.len(), before, width), (SHOWN, 30, 1));
        assert_eq!(&shown[before..=before], "x");
    }

    #[test]
    fn problems_come_in_file_order_each_once() {
        let at = |offset| Problem::new("m").at(place("abc", offset..offset + 1));
        let problems =
            Problems::check(vec![at(2), at(0), at(2), Problem::new("no file")]).unwrap_err();
        let order: Vec<_> = problems.iter().map(|p| p.at.as_ref().map(Place::column)).collect();
        assert_eq!(order, [None, Some(1), Some(3)]);
        assert_eq!(Problems::check(Vec::new()), Ok(()));
    }
}
