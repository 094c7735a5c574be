//! Shows what is wrong with pipeline files: drawn by miette on a terminal, as plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use pipe::{Problem, Problems};

use super::colour_wanted;

/// How many problems are shown; whoever has more starts with these.
const MOST_SHOWN: usize = 50;

/// Writes problems to stderr.
pub(crate) fn show(problems: &Problems) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    let drawn = stderr.is_terminal() && colour_wanted(&stderr);
    write(problems, drawn, &mut stderr)
}

/// Writes problems, drawn with colours or as plain lines.
fn write(problems: &Problems, drawn: bool, out: &mut dyn Write) -> io::Result<()> {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(100);
    for problem in problems.iter().take(MOST_SHOWN) {
        let text = if drawn { draw(&handler, problem) } else { format!("{problem}\n") };
        writeln!(out, "{text}")?;
    }
    if let Some(more @ 1..) = problems.len().checked_sub(MOST_SHOWN) {
        let least = if problems.is_cut() { "at least " } else { "" };
        writeln!(out, "and {least}{more} more problems")?;
    }
    Ok(())
}

fn draw(handler: &GraphicalReportHandler, problem: &Problem) -> String {
    let drawing = Drawing { problem, excerpt: problem.at.as_ref().map(Excerpt::of) };
    let mut text = String::new();
    match handler.render_report(&mut text, &drawing) {
        Ok(()) => text,
        Err(_) => format!("{problem}\n"),
    }
}

/// A problem in the shape miette draws.
#[derive(Debug)]
struct Drawing<'a> {
    problem: &'a Problem,
    excerpt: Option<Excerpt>,
}

impl std::fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Drawing<'_> {}

impl Diagnostic for Drawing<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let excerpt = self.excerpt.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, excerpt.marked))))
    }
}

/// The one line that is shown, cut where it is long.
#[derive(Debug)]
struct Excerpt {
    file: String,
    line: usize,
    column: usize,
    text: String,
    /// The bytes of `text` that are marked.
    marked: SourceSpan,
}

impl Excerpt {
    fn of(place: &pipe::Place) -> Self {
        let (text, before, width) = place.excerpt();
        let byte = |characters: usize| {
            text.char_indices().nth(characters).map_or(text.len(), |(offset, _)| offset)
        };
        let marked = byte(before)..byte(before + width);
        Self {
            file: place.file().to_owned(),
            line: place.line() - 1,
            column: place.column() - 1,
            marked: marked.into(),
            text,
        }
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        _: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without context miette asks for the place in the header, else for the line to draw.
        let column = if before + after == 0 { self.column } else { 0 };
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.clone(),
            self.text.as_bytes(),
            (0..self.text.len()).into(),
            self.line,
            column,
            1,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, drawn: bool) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let problems =
            pipe::Pipeline::load(&path, directory.path(), &pipe::Changes::default()).unwrap_err();
        let mut out = Vec::new();
        write(&problems, drawn, &mut out).unwrap();
        let name = format!("{}/", directory.path().display());
        String::from_utf8(out).unwrap().replace(&name, "")
    }

    /// Takes the colours out.
    fn plain(text: &str) -> String {
        let mut parts = text.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn a_terminal_gets_a_drawing() {
        insta::assert_snapshot!(plain(&told("\nstage = 3\n", true)), @r"
          × `stage` must be a table, not the integer 3
           ╭─[x.toml:2:9]
         2 │ stage = 3
           ·         ─
           ╰────
          help: write `[stage.NAME]` for each step
        ");
    }

    #[test]
    fn elsewhere_lines_are_plain() {
        insta::assert_snapshot!(told("stage = 3\n", false), @r"
        x.toml:1:9: `stage` must be a table, not the integer 3
          |
        1 | stage = 3
          |         ^
          = help: write `[stage.NAME]` for each step
        ");
    }

    #[test]
    fn many_problems_are_cut() {
        let text: String = (0..80).map(|index| format!("[stage.s{index}]\n")).collect();
        assert!(told(&text, false).ends_with("\nand 30 more problems\n"));
    }
}
