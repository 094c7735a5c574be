//! The JSON Schema of a pipeline file, by which an editor completes, explains and checks it.
//!
//! It says what can be said of one file without reading another or looking at the disk. The rest
//! (whether an input is there, what a file that is extended adds) is told by `pipe check`.

use serde_json::{Map, Value, json};
use stages::{Arity, Input, Kind};

use crate::schema::{Field, Schema, Shape};

/// A key that a step of any kind, or of one kind, may have besides its parameters.
struct Key {
    name: &'static str,
    about: &'static str,
    /// What its value may be.
    value: fn() -> Value,
}

/// The keys of a step that are not parameters of its kind.
const STEP: &[Key] = &[
    Key {
        name: "remove",
        about: "Take the step out of the file that this one extends.",
        value: || json!({"type": "boolean"}),
    },
    Key {
        name: "replace",
        about: "Take nothing over from the step of the same name in the file that this one extends.",
        value: || json!({"type": "boolean"}),
    },
    Key {
        name: "matrix",
        about: "Makes a step for every combination of the values of these axes, called NAME@LABEL.",
        value: || {
            let entries = json!({"type": "array", "items": {"type": "object"}});
            json!({
                "type": ["object", "string"],
                "properties": {"exclude": entries, "include": entries},
                "additionalProperties": {"type": ["array", "object", "string"]},
            })
        },
    },
    Key {
        name: "foreach",
        about: "Makes a step for each of these values, called NAME@LABEL.",
        value: || json!({"type": ["array", "object", "string"]}),
    },
    Key {
        name: "executor",
        about: "Where the step runs: on this machine, or as a Slurm job.",
        value: crate::placement::schema,
    },
    Key {
        name: "retry",
        about: "How often the step is tried again when it failed, and after what pause.",
        value: crate::policy::retry_schema,
    },
    Key {
        name: "timeout",
        about: "How long one try may take, such as 10m.",
        value: crate::policy::timeout_schema,
    },
    Key {
        name: "resources",
        about: "What the step takes out of the pools while it runs.",
        value: crate::pools::resources_schema,
    },
    Key {
        name: "priority",
        about: "How urgent the step is: of those that could run now, the largest goes first.",
        value: crate::policy::priority_schema,
    },
];

/// The keys that steps of kind `command` have besides.
const COMMAND: &[Key] = &[
    Key {
        name: "sandbox",
        about: "What the program may read besides what the step declares, and whether it is held to that.",
        value: || {
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "mode": {"enum": crate::sandbox::Mode::NAMES},
                    "read": {"type": "array", "items": {"type": "string"}},
                },
            })
        },
    },
    Key {
        name: "tools",
        about: "Programs whose answers are part of the key, such as \"python3 --version\".",
        value: || json!({"type": "array", "items": {"type": ["string", "array"]}}),
    },
    Key {
        name: "inherit",
        about: "Environment variables of the caller that the program sees; their values are part of the key.",
        value: || json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
    },
    Key {
        name: "secrets",
        about: "Environment variables of the caller that the program sees, and that are written nowhere.",
        value: || json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
    },
];

/// Returns the keys that a step of a kind may have besides its inputs and parameters, each with what it is for.
pub fn other_keys(kind: &Kind) -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = if kind.name == crate::sandbox::CONFINED { COMMAND } else { &[] };
    own.iter().chain(STEP).map(|key| (key.name, key.about))
}

/// The keys at the top of a file, `stage` apart.
const TOP: &[Key] = &[
    Key {
        name: "extends",
        about: "The file whose steps this one takes over, merged key by key.",
        value: || json!({"type": "string", "minLength": 1}),
    },
    Key {
        name: "include",
        about: "Files whose steps and parameters stand beside those of this file.",
        value: || json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
    },
    Key {
        name: "params-files",
        about: "TOML or JSON files with values for `params`; a later file wins, and `params` over all.",
        value: || json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
    },
    Key {
        name: "params",
        about: "Values that steps use as \"${params.NAME}\".",
        value: || json!({"type": "object"}),
    },
    Key {
        name: "remote",
        about: "Where results are shared: looked for before a step runs, and sent with `push`.",
        value: || {
            json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["url"],
                "properties": {
                    "url": {"type": "string", "pattern": "^(s3|gs|az|file)://"},
                    "push": {"type": "boolean"},
                },
            })
        },
    },
    Key {
        name: "executor",
        about: "Where the steps run that do not say it: on this machine, or as Slurm jobs.",
        value: crate::placement::schema,
    },
    Key {
        name: "pools",
        about: "How much there is of what steps share.",
        value: crate::pools::pools_schema,
    },
];

/// Returns the schema of a pipeline file whose steps are of these kinds (draft 7, which every
/// editor's TOML extension reads).
#[must_use]
pub fn schema_of_file(kinds: &[Kind]) -> Value {
    let mut definitions = Map::new();
    for kind in kinds {
        definitions.insert(kind.name.to_owned(), schema_of_kind(kind));
    }
    definitions.insert("step".to_owned(), schema_of_step(kinds));
    let mut top = keys(TOP);
    top.insert(
        "stage".to_owned(),
        json!({
            "description": "The steps: a table [stage.NAME] for each.",
            "type": "object",
            "additionalProperties": {"$ref": "#/definitions/step"},
        }),
    );
    // Without a file to take it over from, a step says its kind itself.
    let whole = json!({"properties": {"stage": {"additionalProperties": {"required": ["kind"]}}}});
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of pipe",
        "type": "object",
        "properties": top,
        "additionalProperties": false,
        "anyOf": [{"required": ["extends"]}, whole],
        "definitions": definitions,
    })
}

/// A step of any kind: checked as its kind says, completed with the keys of all.
fn schema_of_step(kinds: &[Kind]) -> Value {
    let reference = |kind: &Kind| json!({"$ref": format!("#/definitions/{}", kind.name)});
    let checks = kinds.iter().map(|kind| {
        let named = json!({"properties": {"kind": {"const": kind.name}}, "required": ["kind"]});
        json!({"if": named, "then": reference(kind)})
    });
    // Editors complete from the branches of `anyOf` and pass over `if`; the last branch lets all by.
    let offers = kinds.iter().map(reference).chain([json!({})]);
    let names = kinds.iter().map(|kind| kind.name);
    json!({
        "type": "object",
        "properties": {"kind": {"enum": names.collect::<Vec<_>>()}},
        "allOf": checks.collect::<Vec<_>>(),
        "anyOf": offers.collect::<Vec<_>>(),
    })
}

fn schema_of_kind(kind: &Kind) -> Value {
    let root = (kind.schema)().to_value();
    let schema = Schema::new(&root);
    let mut properties = Map::new();
    let about = schema.about().unwrap_or_default();
    properties.insert("kind".to_owned(), json!({"description": about, "const": kind.name}));
    properties.insert("inputs".to_owned(), schema_of_inputs(kind.inputs));
    if let Shape::Table(fields) = schema.shape() {
        properties.extend(fields.iter().map(schema_of_field));
    }
    properties.extend(keys(STEP));
    if kind.name == crate::sandbox::CONFINED {
        properties.extend(keys(COMMAND));
    }
    json!({
        "description": about,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn schema_of_inputs(inputs: &[Input]) -> Value {
    let mut properties = Map::new();
    let mut others = json!(false);
    for input in inputs {
        let most = if input.arity == Arity::Many { json!({}) } else { json!({"maxItems": 1}) };
        let mut several = json!({"type": "array", "items": {"type": "string"}});
        merge(&mut several, most);
        let value = json!({"description": input.about, "anyOf": [{"type": "string"}, several]});
        match input.name {
            "*" => others = value,
            name => drop(properties.insert(name.to_owned(), value)),
        }
    }
    json!({
        "description": "Which steps' results it works on.",
        "type": "object",
        "properties": properties,
        "additionalProperties": others,
    })
}

fn schema_of_field(field: &Field<'_>) -> (String, Value) {
    let mut value = schema_of_value(field.schema);
    if let Some(about) = field.about {
        value["description"] = json!(about);
    }
    if let Some(default) = field.default.filter(|default| !default.is_null()) {
        value["default"] = default.clone();
    }
    (field.name.to_owned(), value)
}

/// What a value may be, or a string that stands for it (`"${params.size}"`).
fn schema_of_value(schema: Schema<'_>) -> Value {
    let mut written = match schema.shape() {
        Shape::Table(fields) => {
            let properties: Map<_, _> = fields.iter().map(schema_of_field).collect();
            json!({"type": "object", "properties": properties, "additionalProperties": false})
        }
        Shape::Map(values) => {
            json!({"type": "object", "additionalProperties": schema_of_value(values)})
        }
        Shape::Choice(choices) => {
            let names: Vec<_> = choices.iter().map(|choice| choice.name).collect();
            let tables = choices.iter().filter_map(|choice| Some((choice, choice.body?)));
            let tables = tables.map(|(choice, body)| {
                let mut body = schema_of_value(body);
                if let Some(about) = choice.about {
                    body["description"] = json!(about);
                }
                let mut properties = Map::new();
                properties.insert(choice.name.to_owned(), body);
                json!({"type": "object", "properties": properties, "additionalProperties": false})
            });
            let mut any = vec![json!({"enum": names})];
            any.extend(tables);
            json!({"anyOf": any})
        }
        Shape::Array { items, length: (fewest, most) } => {
            let mut array = json!({"type": "array"});
            let bounds = [("minItems", fewest), ("maxItems", most)];
            for (word, bound) in bounds.into_iter().filter_map(|(word, n)| Some((word, n?))) {
                array[word] = json!(bound);
            }
            if let Some(items) = items {
                array["items"] = schema_of_value(items);
            }
            array
        }
        Shape::String => return json!({"type": "string"}),
        Shape::Any => return json!({}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Integer(bounds) => {
            let mut integer = json!({"type": "integer"});
            let inside = |bound: &i128| i64::try_from(*bound).ok();
            let bounds = [("minimum", bounds.minimum), ("maximum", bounds.maximum)];
            for (word, bound) in bounds {
                if let Some(bound) = bound.as_ref().and_then(inside) {
                    integer[word] = json!(bound);
                }
            }
            integer
        }
        Shape::Number(bounds) => {
            let mut number = json!({"type": "number"});
            let lowest = if bounds.above { "exclusiveMinimum" } else { "minimum" };
            let highest = if bounds.below { "exclusiveMaximum" } else { "maximum" };
            for (word, bound) in [(lowest, bounds.minimum), (highest, bounds.maximum)] {
                if let Some(bound) = bound {
                    number[word] = json!(bound);
                }
            }
            number
        }
    };
    let reference = json!({"type": "string", "pattern": "^\\$\\{[^}]*\\}$"});
    match written.get_mut("anyOf").and_then(Value::as_array_mut) {
        Some(any) => any.push(reference),
        None => written = json!({"anyOf": [written, reference]}),
    }
    written
}

fn keys(keys: &[Key]) -> Map<String, Value> {
    let schema = |key: &Key| {
        let mut value = (key.value)();
        value["description"] = json!(key.about);
        (key.name.to_owned(), value)
    };
    keys.iter().map(schema).collect()
}

fn merge(into: &mut Value, other: Value) {
    if let (Value::Object(into), Value::Object(other)) = (into, other) {
        into.extend(other);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What is wrong with a file by the schema; empty when nothing is.
    fn faults(text: &str) -> String {
        let file: Value = toml::from_str(text).unwrap();
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("pipe.json", schema_of_file(stages::kinds::KINDS)).unwrap();
        let index = compiler.compile("pipe.json", &mut schemas).unwrap();
        schemas.validate(&file, index).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn the_pipelines_of_the_project_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let told = faults(&std::fs::read_to_string(&path).unwrap());
            assert_eq!(told, "", "{}", path.display());
            seen += 1;
        }
        assert!(seen > 1);
    }

    #[test]
    fn mistakes_are_refused() {
        let right = "[stage.s]\nkind = \"stats\"\ninputs.shards = [\"a\"]\n";
        assert_eq!(faults(right), "");
        let sweep = "include = [\"a.toml\"]\n[stage.s]\nkind = \"stats\"\nmatrix = { a = [1], b.c = 2, exclude = [{ a = 1 }] }\n\
                     [stage.t]\nkind = \"stats\"\nforeach = [1, 2]\ninputs.shards = \"s@*\"";
        assert_eq!(faults(sweep), "");
        let cases = [
            ("extend = \"x.toml\"", "extend"),
            ("include = \"x.toml\"", "/include"),
            ("[stage.s]\nkind = \"stats\"\nmatrix.a = 3", "/stage/s/matrix/a"),
            ("[stage.s]\nkind = \"stats\"\nforeach = 3", "/stage/s/foreach"),
            ("[stage.s]\ninputs.shards = \"a\"", "kind"),
            ("[stage.s]\nkind = \"stat\"", "/stage/s/kind"),
            ("[stage.s]\nkind = \"stats\"\nsize = 8", "size"),
            ("[stage.s]\nkind = \"stats\"\ninputs.images = \"a\"", "images"),
            ("[stage.s]\nkind = \"stats\"\nremove = 1", "/stage/s/remove"),
            ("[stage.s]\nkind = \"train\"\nepochs = \"x\"", "/stage/s/epochs"),
            ("[stage.s]\nkind = \"train\"\nepochs = 0", "/stage/s/epochs"),
            ("[stage.s]\nkind = \"train\"\nloss.arcfac = {}", "/stage/s/loss"),
            ("[stage.s]\nkind = \"train\"\nloss.arcface.margn = 1", "margn"),
            ("executor = \"slrum\"", "/executor"),
            ("[stage.s]\nkind = \"stats\"\nexecutor.slurm.cpu = 2", "cpu"),
            ("[stage.s]\nkind = \"stats\"\nsandbox.mode = \"off\"", "sandbox"),
            ("[stage.s]\nkind = \"command\"\nrun = [\"x\"]\nsandbox.mode = \"of\"", "mode"),
        ];
        for (text, place) in cases {
            let told = faults(text);
            assert!(told.contains(place), "{text}\n{told}");
        }
    }

    #[test]
    fn a_reference_may_stand_for_any_value() {
        let text = "[stage.s]\nkind = \"train\"\nepochs = \"${params.epochs}\"\n\
                    loss = \"${params.loss}\"\naugment = \"${params.augment}\"";
        assert_eq!(faults(text), "");
    }

    #[test]
    fn a_step_without_a_kind_takes_over_that_of_a_file() {
        assert_eq!(faults("extends = \"verify.toml\"\n[stage.net]\nepochs = 3"), "");
    }
}
