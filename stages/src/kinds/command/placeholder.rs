//! The placeholders in a command's words, and the paths put in their place.

use std::ffi::OsString;
use std::path::PathBuf;

/// A place in a text where a path goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// `{out}`
    Out,
    /// `{scratch}`
    Scratch,
    /// `{input.NAME}` or `{input.NAME.INDEX}`
    Input(String, Option<usize>),
    /// `{input.NAME.*}`, a word of its own for each result
    All(String),
    /// `{files.INDEX}`
    File(usize),
}

/// A text cut into literal parts and placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Path(Placeholder),
}

impl Template {
    /// Cuts a text at its placeholders.
    ///
    /// Braces around anything but a dotted word are text, so that JSON and awk programs need no escape.
    ///
    /// # Errors
    ///
    /// The dotted word in braces that is no placeholder.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((word, after)) = rest.strip_prefix('{').and_then(braced)
                && let Some(after) = after.strip_prefix('}')
            {
                literal.push_str(&format!("{{{word}}}"));
                rest = after;
            } else if let Some((word, after)) = braced(rest) {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Path(Placeholder::parse(word).ok_or(word)?));
                rest = after;
            } else {
                literal.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// Returns the placeholders, in their order.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Path(placeholder) => Some(placeholder),
            Piece::Text(_) => None,
        })
    }

    /// The input whose results become a word each, when the text is nothing but that.
    pub(super) fn all(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Path(Placeholder::All(name))] => Some(name),
            _ => None,
        }
    }

    /// Whether any part stands for several words.
    pub(super) fn is_several(&self) -> bool {
        self.placeholders().any(|one| matches!(one, Placeholder::All(_)))
    }

    /// Joins the parts, with a path for each placeholder; paths need not be UTF-8.
    pub(super) fn fill(
        &self,
        path: impl Fn(&Placeholder) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<OsString> {
        let mut filled = OsString::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push(text),
                Piece::Path(placeholder) => filled.push(path(placeholder)?),
            }
        }
        Ok(filled)
    }
}

impl Placeholder {
    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split('.');
        let placeholder = match (parts.next()?, parts.next()) {
            ("out", None) => Self::Out,
            ("scratch", None) => Self::Scratch,
            ("input", Some(name)) if !name.is_empty() && word.ends_with(".*") => {
                parts.next();
                Self::All(name.to_owned())
            }
            ("input", Some(name)) if !name.is_empty() => {
                let index = parts.next().map(str::parse).transpose().ok()?;
                Self::Input(name.to_owned(), index)
            }
            ("files", Some(index)) => Self::File(index.parse().ok()?),
            _ => return None,
        };
        parts.next().is_none().then_some(placeholder)
    }
}

/// Returns a text that a command takes for this one, whatever braces are in it: `{word}` becomes `{{word}}`.
#[must_use]
pub fn literal(text: &str) -> String {
    let mut literal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((word, after)) = braced(rest) {
            literal.push_str(&format!("{{{{{word}}}}}"));
            rest = after;
        } else {
            literal.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    literal
}

/// Splits `{word}rest` into the word and the rest.
///
/// A word starts with a small letter, which leaves `{}`, `{4}`, `${HOME}` and `{"a": 1}` alone.
fn braced(text: &str) -> Option<(&str, &str)> {
    let (word, after) = text.strip_prefix('{')?.split_once('}')?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    // `{x.*}` is a regular expression more often than not.
    let ours = |name: &&str| name.starts_with("input.") || *name == "files";
    let plain = word.strip_suffix(".*").filter(ours).unwrap_or(word);
    (plain.starts_with(|c: char| c.is_ascii_lowercase()) && plain.chars().all(is_part))
        .then_some((word, after))
}

#[cfg(test)]
mod tests {
    use super::{Piece, Placeholder, Template, literal};

    #[track_caller]
    fn check(text: &str, expected: Result<Vec<Piece>, &str>) {
        assert_eq!(Template::parse(text), expected.map(Template).map_err(str::to_owned), "{text}");
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    #[test]
    fn placeholders_are_found() {
        let input = |index| Piece::Path(Placeholder::Input("a-b".into(), index));
        check("", Ok(vec![]));
        check("plain", Ok(vec![text("plain")]));
        check("--to={out}/x", Ok(vec![text("--to="), Piece::Path(Placeholder::Out), text("/x")]));
        check("{input.a-b}{input.a-b.1}", Ok(vec![input(None), input(Some(1))]));
        check("{input.a-b.*}", Ok(vec![Piece::Path(Placeholder::All("a-b".into()))]));
        check(
            "{files.12}{scratch}",
            Ok(vec![Piece::Path(Placeholder::File(12)), Piece::Path(Placeholder::Scratch)]),
        );
    }

    #[test]
    fn other_braces_are_text() {
        for plain in [
            "{",
            "}",
            "{}",
            "{4}",
            "${HOME}",
            "{ print $1 }",
            "{\"a\":{\"b\":1}}",
            "{a,b}",
            "{a.*}",
            "{é}",
            "é{",
        ] {
            check(plain, Ok(vec![text(plain)]));
        }
        check("{{out}} ${{name}}", Ok(vec![text("{out} ${name}")]));
        check("{{{out}}}", Ok(vec![text("{{out}}")]));
    }

    #[test]
    fn a_literal_is_taken_for_the_text_that_it_was_made_of() {
        for (text, expected) in [
            ("plain", "plain"),
            ("{out}", "{{out}}"),
            ("a{out}b{input.x}", "a{{out}}b{{input.x}}"),
            ("{{out}}", "{{{out}}}"),
            ("{ a } {A} {a.*} {input.x.*}", "{ a } {A} {a.*} {{input.x.*}}"),
            ("{", "{"),
            ("}{é", "}{é"),
        ] {
            assert_eq!(literal(text), expected);
            check(expected, Ok(vec![Piece::Text(text.to_owned())]));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for word in [
            "outt",
            "out.x",
            "input",
            "input.",
            "input.a.b",
            "input.a.1.2",
            "input.a.1.*",
            "files",
            "files.x",
            "files.*",
            "files.1.2",
        ] {
            check(&format!("a{{{word}}}"), Err(word));
        }
    }
}
