//! The texts a pipeline is made of, laid end to end so that one number names a byte of one of them.

use std::ops::Range;
use std::sync::Arc;

use crate::problem::Place;

/// A stretch of all sources laid end to end.
pub(crate) type Span = Range<usize>;

/// A text with the name users know it by.
#[derive(Debug)]
pub(crate) struct SourceFile {
    name: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl SourceFile {
    pub(crate) fn new(name: String, text: String) -> Self {
        let ends =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        Self { name: crate::problem::visible(name), text, lines }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The number of the line of a byte, from 1.
    pub(crate) fn line_number(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// The bytes of a line without its line end.
    pub(crate) fn line(&self, number: usize) -> Range<usize> {
        let start = self.lines[number - 1];
        let end = self.lines.get(number).copied().unwrap_or(self.text.len());
        start..start + self.text[start..end].trim_end_matches(['\n', '\r']).len()
    }

    /// The nearest border of a character at or before `offset`.
    pub(crate) fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

/// The room of every source, so that a source can be given its place before those in front of it
/// are known; longer texts are refused.
pub(crate) const SLOT: usize = 1 << 24;

/// The sources of one pipeline: what it extends first, then itself, then each `--set`.
#[derive(Default)]
pub(crate) struct SourceMap {
    /// In the order of their slots.
    sources: Vec<(usize, Arc<SourceFile>)>,
}

impl SourceMap {
    /// Adds a source, shorter than [`SLOT`], at a free slot and returns where it begins.
    pub(crate) fn add(&mut self, slot: usize, source: Arc<SourceFile>) -> usize {
        let base = slot * SLOT;
        let index = self.sources.partition_point(|(other, _)| *other < base);
        self.sources.insert(index, (base, source));
        base
    }

    /// Returns the place that `span` names.
    pub(crate) fn place(&self, span: &Span) -> Place {
        let (base, source) = self.source(span);
        Place::new(Arc::clone(source), base, span.start - base..span.end.saturating_sub(base))
    }

    /// Returns the beginning of the last source before a slot.
    pub(crate) fn file(&self, slot: usize) -> Span {
        let index = self.sources.partition_point(|(base, _)| *base < slot * SLOT);
        let base = index.checked_sub(1).map_or(0, |index| self.sources[index].0);
        base..base
    }

    /// The names of the sources.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(_, source)| source.name())
    }

    fn source(&self, span: &Span) -> (usize, &Arc<SourceFile>) {
        let index = self.sources.partition_point(|(base, _)| *base <= span.start);
        let (base, source) = &self.sources[index.saturating_sub(1)];
        (*base, source)
    }

    /// Returns the place of the first `part` inside `span`, or of all of `span` when the text does
    /// not have it (a string with escapes).
    pub(crate) fn place_of(&self, span: &Span, part: &str) -> Place {
        let whole = self.place(span);
        let (base, source) = self.source(span);
        match source.text.get(whole.span()).and_then(|text| text.find(part)) {
            Some(offset) => {
                let start = whole.span().start + offset;
                Place::new(Arc::clone(source), base, start..start + part.len())
            }
            None => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_names_a_byte_of_one_source() {
        let mut sources = SourceMap::default();
        let b = sources.add(3, Arc::new(SourceFile::new("b".to_owned(), "\ny = 2".to_owned())));
        let a = sources.add(1, Arc::new(SourceFile::new("a".to_owned(), "x = 1\n".to_owned())));
        assert_eq!(sources.place(&(a + 4..a + 5)).to_string(), "a:1:5");
        assert_eq!(sources.place(&(a + 6..a + 6)).to_string(), "a:2:1");
        assert_eq!(sources.place(&(b + 1..b + 2)).to_string(), "b:2:1");
        assert_eq!(sources.place_of(&(a..a + 5), "= 1").to_string(), "a:1:3");
    }
}
