//! `pipe kinds`: every kind of stage, its inputs and its parameters, from the types themselves.

use std::io::{self, Write as _};

use pipe::schema::{Choice, Field, Schema, Shape};
use pipe::suggest::did_you_mean;
use stages::kinds::KINDS;
use stages::{Arity, Kind};

use super::{Failure, SUCCESS};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Tell all of this kind
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let width = terminal_size::terminal_size_of(io::stdout());
    let width = width.map_or(100, |(width, _)| usize::from(width.0)).clamp(40, 120);
    let text = match &arguments.kind {
        None => overview(KINDS, width),
        Some(name) => {
            let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
                let names = || KINDS.iter().map(|kind| kind.name);
                let near = did_you_mean(name, names());
                let list = names().collect::<Vec<_>>().join(", ");
                Failure::Usage(format!("unknown kind `{name}`{near}; kinds: {list}"))
            })?;
            describe(kind, width)
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(SUCCESS)
}

/// One line for each kind, in the order in which a pipeline usually has them.
fn overview(kinds: &[Kind], width: usize) -> String {
    let longest = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or_default();
    let mut page = Page { width, text: String::new() };
    for kind in kinds {
        let schema = (kind.schema)().to_value();
        let about = one_line(schema["description"].as_str().unwrap_or_default());
        let start = format!("{:longest$}  ", kind.name);
        page.paragraph(&start, longest + 2, &about);
    }
    page.text.push('\n');
    page.paragraph("", 0, "`pipe kinds KIND` tells the inputs and parameters of one.");
    page.text
}

/// Everything about one kind.
fn describe(kind: &Kind, width: usize) -> String {
    let root = (kind.schema)().to_value();
    let schema = Schema::new(&root);
    let mut page = Page { width, text: String::new() };
    page.paragraph("", 0, &format!("kind = \"{}\"", kind.name));
    page.text.push('\n');
    for part in schema.about().unwrap_or_default().split("\n\n") {
        page.paragraph("", 0, part);
        page.text.push('\n');
    }
    page.paragraph("", 0, &format!("output: {}", kind.output));
    page.text.push('\n');
    if kind.inputs.is_empty() {
        page.paragraph("", 0, "inputs: none");
    } else {
        page.paragraph("", 0, "inputs:");
    }
    for input in kind.inputs {
        let name = if input.name == "*" { "NAME (any)" } else { input.name };
        let what = if input.accepts.is_empty() || input.accepts.contains(&"*") {
            "anything".to_owned()
        } else {
            pipe::suggest::one_of(input.accepts.iter().copied())
        };
        let arity = match input.arity {
            Arity::One => "one step",
            Arity::Optional => "one step or none",
            Arity::Many => "any number of steps",
        };
        page.paragraph("  ", 4, &format!("{name} = {what}, {arity}"));
        page.paragraph("      ", 6, input.about);
    }
    page.text.push('\n');
    match schema.shape() {
        Shape::Table(fields) if !fields.is_empty() => {
            page.paragraph("", 0, "parameters:");
            page.fields(&fields, 2, &mut vec![root["title"].as_str().unwrap_or_default()]);
        }
        _ => page.paragraph("", 0, "parameters: none"),
    }
    page.text.push('\n');
    page.paragraph("", 0, "and, as to how and when it runs:");
    for (name, about) in pipe::editor_schema::other_keys(kind) {
        page.paragraph("  ", 4, name);
        page.paragraph("      ", 6, about);
    }
    page.text
}

/// Text of a certain width.
struct Page {
    width: usize,
    text: String,
}

impl Page {
    /// Writes words behind `start`; further lines begin with `indent` blanks.
    fn paragraph(&mut self, start: &str, indent: usize, words: &str) {
        let mut line = start.to_owned();
        let mut empty = true;
        for word in words.split_whitespace() {
            let needed = line.chars().count() + usize::from(!empty) + word.chars().count();
            if !empty && needed > self.width {
                self.text.push_str(line.trim_end());
                self.text.push('\n');
                line = " ".repeat(indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn fields<'s>(&mut self, fields: &[Field<'s>], indent: usize, within: &mut Vec<&'s str>) {
        for field in fields {
            let shape = field.schema.shape();
            let mut words = format!("{} = {}", field.name, field.schema.words());
            if let Some(range) = shape.range() {
                words.push_str(&format!(", {range}"));
            }
            match field.default {
                Some(serde_json::Value::Null) => words.push_str(" (may be left out)"),
                Some(default) => words.push_str(&format!(" (default: {})", toml_text(default))),
                None if field.required => words.push_str(" (required)"),
                None => words.push_str(" (may be left out)"),
            }
            self.paragraph(&" ".repeat(indent), indent + 2, &words);
            if let Some(about) = field.about {
                self.paragraph(&" ".repeat(indent + 4), indent + 4, about);
            }
            self.below(&shape, indent + 4, within);
        }
    }

    /// Writes what stands below a parameter; `within` are the choices it is in, so that a choice
    /// that may hold itself is told once.
    fn below<'s>(&mut self, shape: &Shape<'s>, indent: usize, within: &mut Vec<&'s str>) {
        match shape {
            Shape::Table(fields) => self.fields(fields, indent, within),
            Shape::Choice(choices) => self.choices(choices, indent, within),
            Shape::Array { items: Some(items), .. } => self.below(&items.shape(), indent, within),
            Shape::Map(values) => self.below(&values.shape(), indent, within),
            _ => {}
        }
    }

    fn choices<'s>(&mut self, choices: &[Choice<'s>], indent: usize, within: &mut Vec<&'s str>) {
        for choice in choices {
            let about = choice.about.map(one_line).unwrap_or_default();
            let start = format!("{}{}", " ".repeat(indent), choice.name);
            if about.is_empty() {
                self.paragraph(&start, indent + 4, "");
            } else {
                self.paragraph(&format!("{start}: "), indent + 4, &about);
            }
            let again = within.iter().filter(|name| **name == choice.name).count() > 0;
            if let Some(body) = choice.body.filter(|_| !again) {
                within.push(choice.name);
                self.below(&body.shape(), indent + 4, within);
                within.pop();
            }
        }
    }
}

/// The first paragraph of a documentation.
fn one_line(about: &str) -> String {
    about.split("\n\n").next().unwrap_or(about).replace('\n', " ")
}

/// A default as a pipeline file would have it.
fn toml_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Object(table) => {
            let set = table.iter().filter(|(_, value)| !value.is_null());
            let entries: Vec<_> =
                set.map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that the schema of a kind has, at any depth.
    fn keys(shape: &Shape<'_>, depth: usize, found: &mut Vec<String>) {
        if depth > 6 {
            return;
        }
        match shape {
            Shape::Table(fields) => {
                for field in fields {
                    found.push(format!("{} = ", field.name));
                    keys(&field.schema.shape(), depth + 1, found);
                }
            }
            Shape::Choice(choices) => {
                for choice in choices {
                    found.push(choice.name.to_owned());
                    if let Some(body) = choice.body {
                        keys(&body.shape(), depth + 1, found);
                    }
                }
            }
            Shape::Array { items: Some(items), .. } => keys(&items.shape(), depth, found),
            _ => {}
        }
    }

    #[test]
    fn every_parameter_of_every_kind_is_told_within_the_width() {
        for kind in KINDS {
            let told = describe(kind, 80);
            let root = (kind.schema)().to_value();
            let mut found = Vec::new();
            keys(&Schema::new(&root).shape(), 0, &mut found);
            for key in found {
                assert!(told.contains(&key), "`pipe kinds {}` lacks {key}", kind.name);
            }
            for line in told.lines() {
                let long_word = line.split_whitespace().any(|word| word.chars().count() > 50);
                assert!(line.chars().count() <= 80 || long_word, "{line}");
            }
        }
    }

    #[test]
    fn the_overview_has_a_line_for_each_kind() {
        let told = overview(KINDS, 100);
        for kind in KINDS {
            assert!(told.lines().any(|line| line.starts_with(kind.name)), "{}", kind.name);
        }
    }

    #[test]
    fn no_kind_takes_the_words_of_the_file() {
        for kind in KINDS {
            let root = (kind.schema)().to_value();
            for word in [
                "kind", "inputs", "remove", "replace", "matrix", "foreach", "tools", "inherit",
                "secrets",
            ] {
                assert!(root["properties"].get(word).is_none(), "{} has {word}", kind.name);
            }
        }
    }

    #[test]
    fn defaults_are_written_as_in_a_file() {
        let value = serde_json::json!({"a": [1, 2.5], "b": "x", "c": null, "d": {}});
        assert_eq!(toml_text(&value), r#"{ a = [1, 2.5], b = "x", d = {} }"#);
    }
}
