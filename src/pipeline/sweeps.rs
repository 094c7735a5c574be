//! What right pipelines with `matrix` and `foreach` come out as.

use serde_json::{Value, json};

use super::sample::Project;

/// The steps of `x.toml` over `base.toml`: name, inputs, and one parameter.
fn steps(base: &str, text: &str, settings: &[&str], parameter: &str) -> Value {
    let text = format!("extends = \"base.toml\"\n{text}");
    let pipeline = Project::new(&[("base.toml", base), ("x.toml", &text)]).load(settings);
    let steps = pipeline.unwrap_or_else(|problems| panic!("{problems}")).steps;
    let told = |step: &super::Step| {
        let inputs: Vec<&String> = step.inputs.values().flatten().collect();
        json!([step.name, inputs, step.stage.parameters().pointer(parameter)])
    };
    steps.iter().map(told).collect()
}

const SWEEP: &str = r#"
[stage.faces]
kind = "gather"
images = "faces"

[stage.net]
kind = "train"
inputs.train = "faces"
epochs = "${matrix.epochs}"
model = "${matrix.model}"
loss.arcface.margin = 0.1
words = ["${matrix.epochs}", "e${matrix.epochs}", "${each.key}", "$${matrix.epochs}"]

[stage.net.matrix]
epochs = [3, 5]
model.small.plain.widths = [8]
model.large.resnet.depth = 18
"#;

#[test]
fn a_matrix_crosses_its_axes() {
    let made = steps(SWEEP, "", &[], "/words");
    let words =
        |epochs: &str, key: &str| json!([epochs, format!("e{epochs}"), key, "${matrix.epochs}"]);
    let expected = json!([
        ["faces", [], null],
        ["net@3-small", ["faces"], words("3", "3-small")],
        ["net@3-large", ["faces"], words("3", "3-large")],
        ["net@5-small", ["faces"], words("5", "5-small")],
        ["net@5-large", ["faces"], words("5", "5-large")],
    ]);
    assert_eq!(made, expected);
    let models = steps(SWEEP, "", &[], "/model");
    assert_eq!(models[1][2], json!({"plain": {"widths": [8]}}));
    assert_eq!(models[2][2], json!({"resnet": {"depth": 18, "dropout": null}}));
    assert_eq!(steps(SWEEP, "", &[], "/epochs")[3][2], json!(5));
}

#[test]
fn combinations_are_excluded_and_included() {
    let text = r#"
[stage.net.matrix]
exclude = [{ epochs = 3.0, model = "large" }, { epochs = 5, model = "small" }]
include = [{ epochs = 9, model = "small" }]
"#;
    let made = steps(SWEEP, text, &[], "/epochs");
    let names: Vec<_> = made.as_array().unwrap()[1..].iter().map(|step| &step[0]).collect();
    assert_eq!(names, ["net@3-small", "net@5-large", "net@9-small"]);
}

#[test]
fn a_later_file_and_settings_change_axes_and_all_instances() {
    let text =
        "[stage.net]\nmatrix.epochs = [7]\n[stage.net.matrix.model.other]\nplain.widths = [1]";
    let made = steps(SWEEP, text, &["stage.net.loss.arcface.margin=1"], "/loss/arcface/margin");
    let expected = json!([
        ["faces", [], null],
        ["net@7-small", ["faces"], 1.0],
        ["net@7-large", ["faces"], 1.0],
        ["net@7-other", ["faces"], 1.0],
    ]);
    assert_eq!(made, expected);
    let one = steps(SWEEP, "", &["stage.net.matrix.epochs=[1]"], "/epochs");
    assert_eq!(one.as_array().unwrap().len(), 3);
}

#[test]
fn foreach_takes_a_list_or_a_table() {
    let text = r#"
[params]
names = ["a/b.json", "c d"]

[stage.list]
kind = "command"
foreach = "${params.names}"
run = ["${each.value}", "${each.key}"]

[stage.table]
kind = "gather"
foreach = { small = { size = 8, of = "faces" }, large = { size = 64, of = "faces" } }
images = "${each.value.of}"
size = "${each.value.size}"
"#;
    let made = steps("", text, &[], "/run");
    assert_eq!(made[0], json!(["list@a-b-json", [], ["a/b.json", "a-b-json"]]));
    assert_eq!(made[1], json!(["list@c-d", [], ["c d", "c-d"]]));
    let made = steps("", text, &[], "/size");
    assert_eq!(made[2], json!(["table@small", [], 8]));
    assert_eq!(made[3], json!(["table@large", [], 64]));
}

#[test]
fn instances_are_linked_one_by_one_or_all_together() {
    let text = r#"
[stage.verdict]
kind = "judge"
matrix = { model = { large = 1, small = 2 }, epochs = [3] }
inputs = { images = "faces", weights = "net@${matrix.epochs}-${matrix.model}" }

[stage.one]
kind = "judge"
inputs = { images = "faces", weights = "net@5-small" }

[stage.all]
kind = "command"
run = ["cat"]
files = ["${stage.net@5-small}/x"]
inputs = { some = ["net@3-*", "one"], verdicts = "verdict@*" }

[stage.more]
kind = "command"
foreach = [3, 5]
run = ["cat"]
files = ["${stage.net@${each.value}-small}/x"]
"#;
    let made = steps(SWEEP, text, &[], "/files");
    let expected = json!([
        ["verdict@large-3", ["faces", "net@3-large"], null],
        ["verdict@small-3", ["faces", "net@3-small"], null],
        ["one", ["faces", "net@5-small"], null],
        [
            "all",
            ["net@3-small", "net@3-large", "one", "verdict@large-3", "verdict@small-3"],
            ["${stage.net@5-small}/x"]
        ],
        ["more@3", [], ["${stage.net@3-small}/x"]],
        ["more@5", [], ["${stage.net@5-small}/x"]],
    ]);
    assert_eq!(made.as_array().unwrap()[5..], *expected.as_array().unwrap());
}

/// A hundred thousand steps are read in seconds, also when every one of them has a mistake.
#[test]
fn many_instances() {
    let list = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let text = |count: usize| {
        format!(
            "[stage.a]\nkind = \"command\"\nforeach = [{0}]\nrun = [\"${{each.value}}\"]\n\
         [stage.b]\nkind = \"command\"\nforeach = [{0}]\nrun = []\ninputs.x = \"a@${{each.key}}\"\n",
            list(count)
        )
    };
    let plan = |text: &str| Project::new(&[("x.toml", text)]).load(&[]).and_then(crate::Plan::new);
    assert_eq!(plan(&text(50_000)).unwrap().order().len(), 100_000);
    let problems = plan(&text(10_000).replace("a@${each.key}", "a@x${each.key}")).err().unwrap();
    assert!(problems.to_string().contains("9950 more instances were not looked at"), "{problems}");
    assert!(problems.len() < 60, "{}", problems.len());
    let problems =
        plan(&text(10_000).replace("inputs.x = ", "inputs.x = \"b\"\nrnu = ")).err().unwrap();
    assert!(problems.to_string().contains("step `b` has 10000 instances"), "{problems}");
}
