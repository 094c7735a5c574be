//! Reads one file: its text, and the TOML in it, with every syntax error.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use toml::de::DeTable;

use super::findings::Findings;
use super::tree::{Table, from_document};
use super::{absent, files, tree};
use crate::problem::Problem;
use crate::source_map::{SLOT, SourceFile, Span};
use crate::suggest::quoted;

/// The largest pipeline file, in bytes.
const LARGEST: usize = SLOT - 1;

/// Reads the text of a file.
pub(super) fn read_text(path: &Path) -> Result<String, Problem> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        let problem = Problem::new(match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no file {shown}"),
            std::io::ErrorKind::IsADirectory => format!("{shown} is a directory, not a file"),
            _ => format!("cannot read {shown}: {error}"),
        });
        if error.kind() == std::io::ErrorKind::NotFound {
            return problem.help(absent::describe(path));
        }
        problem
    };
    // To open one nobody writes to would be to wait for ever.
    if std::fs::metadata(path).map_err(failed)?.file_type().is_fifo() {
        let problem = Problem::new(format!("{shown} is a named pipe, not a file"));
        return Err(problem.help("write the text to a file and name that"));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > LARGEST {
        let message = format!("{shown} is larger than {} MiB", SLOT >> 20);
        return Err(Problem::new(message).help("a pipeline file is a few kilobytes of text"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = bytes[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = format!("{shown} is not UTF-8: byte {:#04x} in line {line}", bytes[valid]);
        Problem::new(message).help("TOML and JSON files are UTF-8; save the file in that encoding")
    })
}

/// Parses a source, telling every syntax error; what is on a faulty line is left out. Where a header was
/// lost, only the keys at the top that name other files are kept.
pub(super) fn parse(source: &SourceFile, base: usize, findings: &mut Findings) -> Table {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    let mut faulty_lines = BTreeSet::new();
    let mut lost = false;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        lost |= error.span().is_none();
        let line = source.line_number(span.start);
        // What follows on the same line is an echo of its first error.
        if !faulty_lines.insert(line) {
            continue;
        }
        // With its header lost, a table's keys are read as those of the table above.
        lost |= source.text()[source.line(line)].trim_start().starts_with('[');
        let shifted = span.start + base..span.end + base;
        findings
            .add(&shifted, syntax_problem(error.message(), &source.text()[clip(source, &span)]));
        findings.set_damaged();
    }
    let mut too_deep = Vec::new();
    let keep = |span: &Span| {
        let lines = source.line_number(span.start)..=source.line_number(span.end);
        faulty_lines.range(lines).next().is_none()
    };
    let table = from_document(document.into_inner(), base, &keep, &mut too_deep);
    for span in too_deep {
        let message = format!("tables and arrays lie more than {} deep", tree::DEEPEST);
        findings.add(&span, Problem::new(message));
    }
    if lost {
        return table
            .into_iter()
            .filter(|(name, _)| files::NAMING.contains(&name.as_str()))
            .collect();
    }
    table
}

fn clip(source: &SourceFile, span: &Span) -> Span {
    let start = source.floor(span.start);
    start..source.floor(span.end).max(start)
}

/// Says a syntax error of the TOML parser so that it names what would be right.
fn syntax_problem(message: &str, text: &str) -> Problem {
    // The parser says `expected nothing` where it only means what it said before.
    let message = message.trim_end_matches(", expected nothing");
    let cause = message.split(", expected").next().unwrap_or(message);
    match cause {
        // What it expects is a guess by the first letter.
        "invalid boolean" | "string values must be quoted" => {
            let text = quoted(text);
            let bare = text.trim_matches('`');
            Problem::new(format!("{text} is no value; a string stands in quotes"))
                .help(format!("\"{bare}\""))
        }
        "recursion limit" | "cannot recurse further; max recursion depth met" => {
            Problem::new("tables or arrays lie too deep in each other")
        }
        "duplicate key" => {
            Problem::new(message).help("a table has each key once; remove one of the two")
        }
        _ => Problem::new(message),
    }
}
