//! What right pipelines come out as: parameters, extended files and settings put together.

use serde_json::{Value, json};

use super::sample::Project;

const BASE: &str = r#"
[params]
size = 32
data = "faces"
net = { epochs = 3, sizes = ["${params.size}", 64] }
text = "${params.data}-${params.size}-${params.net.epochs}-$${params.size}"

[stage.faces]
kind = "gather"
images = "${params.data}"
size = "${params.size}"

[stage.net]
kind = "train"
inputs = { train = "faces", dev = ["faces"] }
epochs = "${params.net.epochs}"
model.plain.widths = "${params.net.sizes}"
loss.arcface = { margin = 0.5, scale = 20 }
words = ["${params.text}"]
"#;

/// The steps of `x.toml` over [`BASE`], as JSON.
fn steps(text: &str, settings: &[&str]) -> Value {
    let text = format!("extends = \"base.toml\"\n{text}");
    let pipeline = Project::new(&[("base.toml", BASE), ("x.toml", &text)]).load(settings);
    let steps = pipeline.unwrap_or_else(|problems| panic!("{problems}")).steps;
    steps
        .iter()
        .map(|step| {
            json!({
                "name": step.name, "kind": step.kind.name, "inputs": step.inputs,
                "parameters": step.stage.parameters(),
            })
        })
        .collect()
}

/// The parameters of the net.
fn net(text: &str, settings: &[&str]) -> Value {
    steps(text, settings)[1]["parameters"].clone()
}

#[test]
fn parameters_keep_their_type_and_become_text_in_strings() {
    let net = net("", &[]);
    assert_eq!(net["epochs"], json!(3));
    assert_eq!(net["model"], json!({"plain": {"widths": [32, 64]}}));
    assert_eq!(net["words"], json!(["faces-32-3-${params.size}"]));
}

#[test]
fn a_parameter_of_a_later_file_or_setting_wins_wherever_it_is_used() {
    let over = net("[params]\nsize = 16\nnet.epochs = 5", &["params.size=8"]);
    assert_eq!(over["words"], json!(["faces-8-5-${params.size}"]));
    assert_eq!(over["model"], json!({"plain": {"widths": [8, 64]}}));
}

#[test]
fn tables_merge_and_arrays_are_replaced() {
    let over = net("[stage.net]\nloss.arcface.margin = 0.3\nwords = [\"a\"]", &[]);
    assert_eq!(over["loss"], json!({"arcface": {"margin": 0.3, "scale": 20.0}}));
    assert_eq!(over["words"], json!(["a"]));
    assert_eq!(over["epochs"], json!(3));
}

#[test]
fn another_choice_takes_the_place_of_the_first() {
    let over = net("[stage.net]\nmodel.resnet.depth = 18", &["stage.net.loss=cross-entropy"]);
    assert_eq!(over["model"], json!({"resnet": {"depth": 18, "dropout": null}}));
    assert_eq!(over["loss"], json!("cross-entropy"));
    let back = net("[stage.net]\nloss = \"cross-entropy\"", &["stage.net.loss.arcface.margin=1"]);
    assert_eq!(back["loss"], json!({"arcface": {"margin": 1.0, "scale": 30.0}}));
}

#[test]
fn inputs_merge_and_an_empty_array_leaves_one_open() {
    let over = steps(
        "[stage.more]\nkind = \"gather\"\nimages = \"faces\"\n[stage.net]\ninputs.dev = []\ninputs.train = \"more\"",
        &[],
    );
    assert_eq!(over[1]["inputs"], json!({"train": ["more"]}));
    assert_eq!(over[2]["name"], "more");
}

#[test]
fn steps_are_removed_replaced_and_start_anew_with_another_kind() {
    let removed = steps("[stage.net]\nremove = true", &[]);
    assert_eq!(removed.as_array().unwrap().len(), 1);
    let replaced =
        steps("[stage.faces]\nreplace = true\nkind = \"gather\"\nimages = \"faces\"", &[]);
    assert_eq!(replaced[0]["parameters"]["size"], json!(64));
    let other = steps(
        "[stage.net]\nkind = \"judge\"\ninputs = { images = \"faces\", weights = \"w\" }\n[stage.w]\nkind = \"train\"\ninputs.train = \"faces\"\nepochs = 1\nmodel.resnet.depth = 34",
        &[],
    );
    assert_eq!(other[1]["kind"], "judge");
    assert_eq!(other[1]["parameters"], json!({}));
}

#[test]
fn settings_are_toml_or_else_text() {
    for (setting, expected) in [
        ("stage.net.words=['a', \"b=c\"]", json!(["a", "b=c"])),
        ("stage.net.words = [ 'a' ]", json!(["a"])),
        ("params.text=2023-01-01", json!(["2023-01-01"])),
        ("params.text=../a b=c", json!(["../a b=c"])),
        ("params.text=\"3\"", json!(["3"])),
        ("params.text=", json!([""])),
    ] {
        assert_eq!(net("", &[setting])["words"], expected, "{setting}");
    }
}

#[test]
fn files_extend_each_other_from_their_own_directories() {
    let project = Project::new(&[("x.toml", "extends = \"sub/middle.toml\"\n[params]\nsize = 8")]);
    std::fs::create_dir(project.root().join("sub")).unwrap();
    let middle = "extends = \"../base.toml\"\n[stage.net]\nremove = true";
    std::fs::write(project.root().join("sub/middle.toml"), middle).unwrap();
    std::fs::write(project.root().join("base.toml"), BASE).unwrap();
    let pipeline = project.load(&[]).unwrap();
    assert_eq!(pipeline.name, "x");
    assert_eq!(pipeline.steps.len(), 1);
    assert_eq!(pipeline.steps[0].stage.parameters()["size"], json!(8));
}

#[test]
fn an_included_file_stands_beside_and_is_taken_once() {
    let files = [
        (
            "x.toml",
            "extends = \"base.toml\"\ninclude = [\"a.toml\", \"b.toml\"]\n[stage.net]\nepochs = 4",
        ),
        ("base.toml", BASE),
        (
            "a.toml",
            "include = [\"c.toml\"]\n[params]\nof-a = 8\n[stage.a]\nkind = \"gather\"\nimages = \"faces\"\nsize = \"${params.of-c}\"",
        ),
        (
            "b.toml",
            "include = [\"c.toml\", \"b.toml/../c.toml\"]\n[stage.b]\nkind = \"gather\"\nimages = \"faces\"\nsize = \"${params.of-a}\"",
        ),
        ("c.toml", "[params]\nof-c = 16\n[stage.c]\nkind = \"gather\"\nimages = \"faces\""),
    ];
    let pipeline = Project::new(&files).load(&["params.of-a=9"]).unwrap();
    let told = |step: &super::Step| (step.name.clone(), step.stage.parameters()["size"].clone());
    let steps: Vec<_> = pipeline.steps.iter().map(told).collect();
    let size = |name: &str, size: Value| (name.to_owned(), size);
    let expected = [
        size("faces", json!(32)),
        size("net", Value::Null),
        size("a", json!(16)),
        size("c", json!(64)),
        size("b", json!(9)),
    ];
    assert_eq!(steps, expected);
    assert_eq!(pipeline.steps[1].stage.parameters()["epochs"], json!(4));
}

#[test]
fn the_nearest_value_of_a_parameter_wins() {
    // Each source sets one letter more than the one above it, so the text tells who won.
    let base = "params-files = [\"1.toml\", \"2.json\"]\n[params]\nc = 3\nt = { y = 3 }\n[stage.s]\nkind = \"command\"\n\
                run = [\"${params.a} ${params.b} ${params.c} ${params.d} ${params.e} ${params.f} ${params.g} ${params.t.x}${params.t.y}\"]";
    let files = [
        ("base.toml", base),
        ("1.toml", "a = 1\nb = 1\nc = 1\nd = 1\ne = 1\nf = 1\ng = 1\nt = { x = 1, y = 1 }"),
        (
            "2.json",
            "{\"b\": 2, \"c\": 2, \"d\": 2, \"e\": 2, \"f\": 2, \"g\": 2, \"t\": {\"y\": 2}}",
        ),
        (
            "x.toml",
            "extends = \"base.toml\"\nparams-files = [\"4.toml\"]\n[params]\ne = 5\nf = 5\ng = 5",
        ),
        ("4.toml", "d = 4\ne = 4\nf = 4\ng = 4"),
        ("6.json", "{\"f\": 6, \"g\": 6}"),
    ];
    let pipeline = Project::new(&files).load_over(&["6.json"], &["params.g=7"]).unwrap();
    assert_eq!(pipeline.steps[0].stage.parameters()["run"], json!(["1 2 3 4 5 6 7 13"]));
}

#[test]
fn json_and_toml_mean_the_same() {
    let text = |file: &str| {
        format!(
            "params-files = [\"{file}\"]\n[stage.s]\nkind = \"train\"\nepochs = \"${{params.n}}\"\n\
        learning-rate = \"${{params.f}}\"\nseed = \"${{params.big}}\"\nmodel = \"${{params.m}}\"\nwords = \"${{params.w}}\"\n\
        inputs.train = \"i\"\n[stage.i]\nkind = \"gather\"\nimages = \"faces\""
        )
    };
    let json = r#"{"n": 3, "f": 1.5E-3, "big": 12345678901, "m": {"plain": {"widths": [1, 2]}}, "w": ["ä", "\u00e4\n", "true"]}"#;
    let toml = "n = 3\nf = 1.5E-3\nbig = 12345678901\nm = {plain = {widths = [1, 2]}}\nw = ['ä', \"\\u00e4\\n\", 'true']";
    let parameters = |name: &str, written: &str| {
        let x = text(name);
        let project = Project::new(&[("x.toml", &x), (name, written)]);
        project.load(&[]).unwrap().steps[0].stage.parameters()
    };
    assert_eq!(parameters("p.json", json), parameters("p.toml", toml));
}

#[test]
fn needs_come_from_inputs_and_from_paths_into_results() {
    let text = "[stage.a]\nkind = \"command\"\nrun = []\n[stage.b]\nkind = \"command\"\nrun = []\n\
                files = [\"faces\", \"${stage.a}/x\", \"${stage.a}\"]\ninputs.y = \"a\"";
    let pipeline = Project::new(&[("x.toml", text)]).load(&[]).unwrap();
    let needs: Vec<_> = pipeline.steps[1].needs.iter().map(|need| need.step.as_str()).collect();
    assert_eq!(needs, ["a", "a", "a"]);
    assert_eq!(pipeline.steps[1].reads.len(), 3);
    let plan = crate::Plan::new(pipeline).unwrap();
    assert_eq!(plan.upstream(crate::StepId(1)), [crate::StepId(0)]);
}
