//! Strings with references: `"${params.size}"`, `"${params.data}/train"`.

use crate::problem::Problem;
use crate::suggest::{nearest, quoted};

/// The first words of references to parameters.
pub(super) const PARAMETERS: &[&str] = &["params"];

/// The first words of references to what tells the instances of a step apart.
pub(super) const INSTANCES: &[&str] = &["matrix", "each"];

/// A piece of a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that stands for itself.
    Text(String),
    /// The value of this dotted name, such as `params.size`.
    Reference(String),
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

/// Splits a string into pieces at the references that begin with one of `words`; `$${params.x}` stands
/// for the text `${params.x}`. Other uses of `${`, such as the variables of a shell, are text.
pub(super) fn pieces(text: &str, words: &[&str]) -> Result<Vec<Piece>, Slip> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let opens =
            |word: &&&str| from[2..].strip_prefix(**word).is_some_and(|rest| rest.starts_with('.'));
        let Some(word) = words.iter().find(opens) else {
            misspelled(from)?;
            plain.push_str("${");
            rest = &from[2..];
            continue;
        };
        if before.ends_with('$') {
            let open = "${".len() + word.len() + ".".len();
            plain.push_str(&from["$".len()..open]);
            rest = &from[open..];
            continue;
        }
        let Some(end) = from.find('}') else {
            let message = format!("{} lacks its `}}`", quoted(from));
            return Err(Slip { part: from.to_owned(), problem: Problem::new(message) });
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Reference(from[2..end].to_owned()));
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
    const WORDS: [&str; 4] = ["params", "stage", "matrix", "each"];
    match nearest(word, WORDS) {
        Some(near) if from[end..].starts_with('.') && !WORDS.contains(&word) => {
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
        let pieces = pieces(text, PARAMETERS).unwrap();
        let shown: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => format!("text {text}"),
                Piece::Reference(name) => format!("value {name}"),
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn strings_are_split_at_their_references() {
        check("", &["text "]);
        check("plain", &["text plain"]);
        check("${params.a}", &["value params.a"]);
        check("${params.a.b}/x${params.c}", &["value params.a.b", "text /x", "value params.c"]);
        check("$${params.a}", &["text ${params.a}"]);
        check("echo $HOME ${HOME} ${stage.x}/y", &["text echo $HOME ${HOME} ${stage.x}/y"]);
        check("$${matrix.a} ${each.key}", &["text $${matrix.a} ${each.key}"]);
        let later = pieces("${stage.n@${matrix.a}}/$${each.b}", INSTANCES).unwrap();
        let expected = [
            Piece::Text("${stage.n@".to_owned()),
            Piece::Reference("matrix.a".to_owned()),
            Piece::Text("}/${each.b}".to_owned()),
        ];
        assert_eq!(later, expected);
    }

    #[test]
    fn slips_are_told() {
        for (text, expected) in [
            ("a${params.b", "`${params.b` lacks its `}`"),
            ("${param.b}", "unknown reference `${param.`, did you mean `${params.`?"),
            ("${stages.b}", "unknown reference `${stages.`, did you mean `${stage.`?"),
            ("${matrx.b}", "unknown reference `${matrx.`, did you mean `${matrix.`?"),
        ] {
            assert_eq!(pieces(text, PARAMETERS).unwrap_err().problem.message, expected, "{text}");
        }
    }
}
