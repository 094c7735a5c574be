//! Compares the parameters of a step with the schema of its kind, so that every mistake is told at
//! once, in the words of a pipeline file.

use serde_json::Value as Json;

use super::findings::Findings;
use super::policy::KEYS as POLICY;
use super::tree::{Entry, Node, Table, Value, in_order};
use crate::problem::Problem;
use crate::schema::{Choice, Field, Schema, Shape};
use crate::source_map::Span;
use crate::suggest::{did_you_mean, nearest, quoted};

/// The keys of a step that are no parameters of its kind, those of `command` steps alone included last.
const WORDS: [&str; 9] =
    ["kind", "inputs", "matrix", "foreach", "executor", "sandbox", "tools", "inherit", "secrets"];

/// What the comparison saw besides problems.
#[derive(Default)]
pub(super) struct Seen {
    /// Every path ([`stages::Source`]) that is written.
    pub(super) sources: Vec<(Span, String)>,
}

/// Compares the parameters of a step with their schema; what is at fault is told and made
/// [`Value::Faulty`].
pub(super) fn validate(
    step: &str,
    own: &mut Entry,
    schema: &Json,
    findings: &mut Findings,
) -> Seen {
    let schema = Schema::new(schema);
    let mut validation =
        Validation { step, top: schema, path: Vec::new(), seen: Seen::default(), findings };
    match schema.shape() {
        Shape::Table(fields) => validation.table(&mut own.node, &own.key, &fields),
        // A kind without parameters.
        _ => validation.table(&mut own.node, &own.key, &[]),
    }
    validation.seen
}

struct Validation<'a> {
    step: &'a str,
    top: Schema<'a>,
    /// The keys that lead to where it is.
    path: Vec<String>,
    seen: Seen,
    findings: &'a mut Findings,
}

impl Validation<'_> {
    /// The parameter it is at, by dotted name.
    fn name(&self) -> String {
        quoted(&self.path.join("."))
    }

    /// What it is at, as the subject of a sentence.
    fn subject(&self) -> String {
        if self.path.is_empty() { format!("step {}", quoted(self.step)) } else { self.name() }
    }

    fn table(&mut self, node: &mut Node, key: &Span, fields: &[Field<'_>]) {
        let Value::Table(table) = &mut node.value else { return };
        let mut meant = Vec::new();
        for name in unknown(table, fields) {
            if self.findings.is_full() {
                break;
            }
            meant.extend(nearest(&name, fields.iter().map(|field| field.name)));
            if let Some(entry) = table.remove(&name) {
                let problem = self.unknown_key(&name, fields);
                self.findings.add(&entry.key, problem);
            }
        }
        for field in fields {
            match table.get_mut(field.name) {
                Some(entry) => {
                    self.path.push(field.name.to_owned());
                    self.node(&mut entry.node, &entry.key.clone(), field.schema, field.about);
                    self.path.pop();
                }
                None if field.required && !meant.contains(&field.name) => {
                    let problem = self.missing(field);
                    self.findings.add_absence(key, problem);
                }
                None => {}
            }
        }
    }

    fn node(&mut self, node: &mut Node, key: &Span, schema: Schema<'_>, about: Option<&str>) {
        if node.is_faulty() {
            return;
        }
        let shape = schema.shape();
        // `["--depth", "${matrix.depth}"]` is words, though the depth is a number.
        if matches!(shape, Shape::String)
            && self.findings.is_substituted(&node.span)
            && let Some(text) = node.text()
        {
            node.value = Value::String(text);
        }
        if let (true, Value::String(text)) = (schema.is_source(), &node.value) {
            self.seen.sources.push((node.span.clone(), text.clone()));
        }
        match (&shape, &mut node.value) {
            (Shape::Table(fields), Value::Table(_)) => return self.table(node, key, fields),
            (Shape::Map(values), Value::Table(table)) => {
                for (name, entry) in table {
                    self.path.push(name.clone());
                    self.node(&mut entry.node, &entry.key.clone(), *values, values.about());
                    self.path.pop();
                }
                return;
            }
            (Shape::Choice(choices), Value::Table(_) | Value::String(_)) => {
                return self.choice(node, key, choices);
            }
            (Shape::Array { items, .. }, Value::Array(nodes)) => {
                let count = nodes.len() as u64;
                if let Some(items) = items {
                    for (index, item) in nodes.iter_mut().enumerate() {
                        self.path.push(index.to_string());
                        let span = item.span.clone();
                        self.node(item, &span, *items, about);
                        self.path.pop();
                    }
                }
                let Shape::Array { length: (from, to), .. } = shape else { return };
                if from.is_none_or(|from| count >= from) && to.is_none_or(|to| count <= to) {
                    return;
                }
                let range = shape.range().unwrap_or_default();
                let message = format!("{} must have {range}, not {count}", self.name());
                return self.fault(node, Problem::new(message), about);
            }
            (Shape::Integer(bounds), Value::Integer(_, value)) => {
                if value.is_some_and(|value| bounds.hold(value)) {
                    return;
                }
                let limit = match (bounds.words(), value) {
                    (Some(words), _) if !words.starts_with("at least") => Some(words),
                    (Some(words), Some(value)) if *value < 0 => Some(words),
                    (_, Some(value)) if bounds.minimum.is_some_and(|minimum| *value < minimum) => {
                        bounds.minimum.map(|minimum| format!("at least {minimum}"))
                    }
                    _ => bounds.maximum.map(|maximum| format!("at most {maximum}")),
                };
                return self.out_of_range(node, &limit.unwrap_or_default(), about);
            }
            (Shape::Number(bounds), Value::Integer(text, _) | Value::Float(text)) => {
                let text = text.replace("0x", "").replace("0o", "").replace("0b", "");
                let value = text.parse::<f64>().unwrap_or(f64::NAN);
                if !value.is_finite() {
                    return self.out_of_range(node, "a finite number", about);
                }
                if bounds.hold(value) {
                    return;
                }
                return self.out_of_range(node, &bounds.words().unwrap_or_default(), about);
            }
            (Shape::String, Value::String(_))
            | (Shape::Boolean, Value::Boolean(_))
            | (Shape::Any, _) => return,
            _ => {}
        }
        self.wrong_type(node, &shape, about);
    }

    fn choice(&mut self, node: &mut Node, key: &Span, choices: &[Choice<'_>]) {
        let parameter = self.path.last().cloned().unwrap_or_default();
        let find = |name: &str| choices.iter().find(|choice| choice.name == name);
        if let Value::String(name) = &node.value {
            let problem = match find(name) {
                Some(Choice { body: None, .. }) => return,
                Some(Choice { body: Some(_), .. }) => {
                    Problem::new(format!("choice {} of {} is a table", quoted(name), self.name()))
                        .help(format!("write `{parameter}.{name} = {{ … }}`"))
                }
                None => self.unknown_choice(name, choices),
            };
            return self.fault(node, problem, None);
        }
        let Value::Table(table) = &mut node.value else { return };
        if table.len() != 1 {
            let entries = in_order(table);
            let names: Vec<_> = entries.iter().map(|(name, _)| quoted(name)).collect();
            let (place, message) = match entries.get(1) {
                Some((_, second)) => (
                    second.key.clone(),
                    format!("{} takes one choice, not {}", self.name(), names.join(" and ")),
                ),
                None => (key.clone(), format!("{} lacks its choice", self.name())),
            };
            self.findings.add(&place, Problem::new(message).help(choice_list(choices)));
            node.value = Value::Faulty;
            return;
        }
        let Some((name, entry)) = table.iter_mut().next() else { return };
        let Some(choice) = find(name) else {
            let problem = self.unknown_choice(name, choices);
            self.findings.add(&entry.key, problem);
            node.value = Value::Faulty;
            return;
        };
        self.path.push(name.clone());
        match choice.body {
            Some(body) => self.node(&mut entry.node, &entry.key.clone(), body, choice.about),
            None if entry.node.as_table().is_some_and(Table::is_empty) => {}
            None => {
                let message = format!("choice {} has no parameters", self.name());
                let help = format!("write `{parameter} = \"{name}\"`");
                self.findings.add(&entry.key, Problem::new(message).help(help));
                entry.node.value = Value::Faulty;
            }
        }
        self.path.pop();
    }

    fn unknown_choice(&self, name: &str, choices: &[Choice<'_>]) -> Problem {
        let names = choices.iter().map(|choice| choice.name);
        let near = did_you_mean(name, names);
        Problem::new(format!("unknown choice {} for {}{near}", quoted(name), self.name()))
            .help(choice_list(choices))
    }

    fn unknown_key(&self, name: &str, fields: &[Field<'_>]) -> Problem {
        let names = || fields.iter().map(|field| field.name);
        // What a step has besides the parameters of its kind was taken out before.
        let words = WORDS.iter().chain(&POLICY).copied();
        let words = words.take(if self.path.is_empty() { usize::MAX } else { 0 });
        let near = did_you_mean(name, names().chain(words));
        let problem = Problem::new(format!("unknown key {}{near}", quoted(name)));
        let elsewhere =
            if near.is_empty() { find_below(self.top, name, &mut Vec::new()) } else { None };
        let of = if self.path.is_empty() {
            format!("of step {}", quoted(self.step))
        } else {
            format!("of {}", self.name())
        };
        let problem = match elsewhere {
            Some(path) => problem.help(format!("there is a `{path}`")),
            None => problem,
        };
        if fields.is_empty() {
            return problem.help(format!("{} has no parameters", self.subject()));
        }
        problem.help(format!("keys {of}: {}", names().collect::<Vec<_>>().join(", ")))
    }

    fn missing(&self, field: &Field<'_>) -> Problem {
        let shape = field.schema.shape();
        let mut what = field.schema.words();
        if let Some(range) = shape.range() {
            what.push_str(&format!(", {range}"));
        }
        let about = field.about.map(|about| format!(": {}", one_line(about))).unwrap_or_default();
        Problem::new(format!("{} lacks `{}`", self.subject(), field.name))
            .help(format!("`{}` is {what}{about}", field.name))
    }

    fn out_of_range(&mut self, node: &mut Node, range: &str, about: Option<&str>) {
        let message = format!("{} must be {range}, not {}", self.name(), number(node));
        self.fault(node, Problem::new(message), about);
    }

    fn wrong_type(&mut self, node: &mut Node, shape: &Shape<'_>, about: Option<&str>) {
        let message = format!("{} must be {}, not {}", self.name(), shape.words(), node.describe());
        let key = self.path.last().cloned().unwrap_or_default();
        let mut problem = Problem::new(message);
        if let Value::String(text) = &node.value {
            let fits = match shape {
                Shape::Integer(_) => text.parse::<i64>().is_ok(),
                Shape::Number(_) => text.parse::<f64>().is_ok_and(f64::is_finite),
                Shape::Boolean => text == "true" || text == "false",
                _ => false,
            };
            if fits {
                problem = problem.help(format!("without quotes: `{key} = {text}`"));
            } else if let Shape::Array { items: Some(items), .. } = shape
                && matches!(items.shape(), Shape::String)
            {
                problem = problem.help(format!("in brackets: `{key} = [\"…\"]`"));
            }
        }
        self.fault(node, problem, about);
    }

    fn fault(&mut self, node: &mut Node, problem: Problem, about: Option<&str>) {
        let problem = match about {
            Some(about) => problem.help(format!("{}: {}", self.name(), one_line(about))),
            None => problem,
        };
        self.findings.add(&node.span, problem);
        node.value = Value::Faulty;
    }
}

/// The keys of a table that are no fields, in file order.
fn unknown(table: &Table, fields: &[Field<'_>]) -> Vec<String> {
    let known = |name: &str| fields.iter().any(|field| field.name == name);
    let entries = in_order(table).into_iter();
    entries.filter(|(name, _)| !known(name)).map(|(name, _)| name.clone()).collect()
}

/// The dotted name of a key somewhere below, when there is one.
fn find_below(schema: Schema<'_>, name: &str, path: &mut Vec<String>) -> Option<String> {
    const DEEPEST: usize = 4;
    if path.len() > DEEPEST {
        return None;
    }
    let below: Vec<(String, Schema<'_>)> = match schema.shape() {
        Shape::Table(fields) => {
            if !path.is_empty() && fields.iter().any(|field| field.name == name) {
                return Some(format!("{}.{name}", path.join(".")));
            }
            fields.into_iter().map(|field| (field.name.to_owned(), field.schema)).collect()
        }
        Shape::Choice(choices) => {
            let with_body = choices
                .into_iter()
                .filter_map(|choice| choice.body.map(|body| (choice.name.to_owned(), body)));
            with_body.collect()
        }
        _ => Vec::new(),
    };
    below.into_iter().find_map(|(key, schema)| {
        path.push(key);
        let found = find_below(schema, name, path);
        path.pop();
        found
    })
}

fn choice_list(choices: &[Choice<'_>]) -> String {
    let names: Vec<_> = choices.iter().map(|choice| choice.name).collect();
    format!("choices: {}", names.join(", "))
}

/// A number as it was written.
fn number(node: &Node) -> String {
    match &node.value {
        Value::Integer(text, _) | Value::Float(text) => quoted(text).trim_matches('`').to_owned(),
        _ => node.describe(),
    }
}

/// The first sentence or line of a documentation.
fn one_line(about: &str) -> String {
    about.split("\n\n").next().unwrap_or(about).replace('\n', " ").trim_end_matches('.').to_owned()
}
