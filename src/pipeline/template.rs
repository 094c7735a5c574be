//! Strings with references: `"${params.size}"`, `"${params.data}/train"`.

use crate::problem::Problem;
use crate::suggest::{nearest, quoted};

/// How a reference to a parameter begins.
const OPEN: &str = "${params.";

/// A piece of a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that stands for itself.
    Text(String),
    /// The parameter of this dotted name.
    Parameter(String),
}

/// What is wrong with a string, and the part of it that is.
#[derive(Debug)]
pub(super) struct Slip {
    pub(super) part: String,
    pub(super) problem: Problem,
}

/// Whether a string has anything to resolve.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains("${")
}

/// Splits a string into pieces; `$${params.x}` stands for the text `${params.x}`. Other uses of
/// `${`, such as the variables of a shell, are text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Slip> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        if !from.starts_with(OPEN) {
            misspelled(from)?;
            plain.push_str("${");
            rest = &from[2..];
            continue;
        }
        if before.ends_with('$') {
            plain.push_str(&OPEN[1..]);
            rest = &from[OPEN.len()..];
            continue;
        }
        let Some(end) = from.find('}') else {
            let message = format!("{} lacks its `}}`", quoted(from));
            return Err(Slip { part: from.to_owned(), problem: Problem::new(message) });
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Parameter(from[OPEN.len()..end].to_owned()));
        rest = &from[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// Refuses a reference whose first word is a slip: `${param.size}`.
fn misspelled(from: &str) -> Result<(), Slip> {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let end = from[2..].find(|c: char| !part_of_word(c)).map_or(from.len(), |end| end + 2);
    let word = &from[2..end];
    match nearest(word, ["params", "stage"]) {
        Some(near) if from[end..].starts_with('.') && word != "stage" => {
            let message = format!("unknown reference `${{{word}.`, did you mean `${{{near}.`?");
            Err(Slip { part: from[..end].to_owned(), problem: Problem::new(message) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let pieces = pieces(text).unwrap();
        let shown: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => format!("text {text}"),
                Piece::Parameter(name) => format!("parameter {name}"),
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn strings_are_split_at_their_references() {
        check("", &["text "]);
        check("plain", &["text plain"]);
        check("${params.a}", &["parameter a"]);
        check("${params.a.b}/x${params.c}", &["parameter a.b", "text /x", "parameter c"]);
        check("$${params.a}", &["text ${params.a}"]);
        check("echo $HOME ${HOME} ${stage.x}/y", &["text echo $HOME ${HOME} ${stage.x}/y"]);
    }

    #[test]
    fn slips_are_told() {
        for (text, expected) in [
            ("a${params.b", "`${params.b` lacks its `}`"),
            ("${param.b}", "unknown reference `${param.`, did you mean `${params.`?"),
            ("${stages.b}", "unknown reference `${stages.`, did you mean `${stage.`?"),
        ] {
            assert_eq!(pieces(text).unwrap_err().problem.message, expected, "{text}");
        }
    }
}
