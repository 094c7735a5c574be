//! `matrix` and `foreach` from outside: run, ask about, and select instances; the documented examples.

use insta::assert_snapshot;

use crate::project::Project;

const SWEEP: &str = r#"
[stage.word]
kind = "command"
foreach = ["pear", "fig"]
run = ["sh", "-c", "echo ${each.value} > {out}/word; echo said ${each.value}"]
outputs = ["word"]

[stage.times]
kind = "command"
matrix = { word = ["pear", "fig"], count = [1, 2] }
inputs.word = "word@${matrix.word}"
run = ["sh", "-c", "for n in $(seq ${matrix.count}); do cat {input.word}/word; done > {out}/words"]
outputs = ["words"]

[stage.all]
kind = "command"
inputs.times = "times@*"
run = ["sh", "-c", "for one; do cat $one/words; done > {out}/all", "sh", "{input.times.*}"]
outputs = ["all"]
"#;

fn project() -> Project {
    let project = Project::new();
    project.write("p.toml", SWEEP);
    project
}

#[test]
fn instances_are_steps_everywhere() {
    let project = project();
    let ran = project.ran();
    assert_eq!(ran.len(), 7, "{ran:?}");
    assert_eq!(project.read(".pipe/latest/p/times@fig-2/words"), "fig\nfig\n");
    assert_eq!(project.read(".pipe/latest/p/all/all"), "pear\npear\npear\nfig\nfig\nfig\n");
    assert_snapshot!(project.pipe(&["plan", "p.toml", "times@fig-*"]), @r#"
    exit code 0
      fresh    word@fig
      fresh    times@fig-1
      fresh    times@fig-2

      3 steps: 3 fresh
    "#);
    assert_snapshot!(project.pipe(&["why", "p.toml", "times@fig-2", "--set", "stage.times.run=[\"true\"]"]), @r#"
    exit code 0
    times@fig-2 would run:
      param.run.0: "sh" → "true"
      param.run.1: "-c" → (none)
      param.run.2: "for n in $(seq 2); do cat {i..rd}/word; done > {out}/words" → (none)
    compared with result [KEY] of [WHEN] [WHEN], made in [TIME] s
    "#);
    assert!(project.pipe(&["log", "p.toml", "word@fig"]).stdout.contains("said fig"));
    let shown = project.pipe(&["show", "p.toml", "times@pear-1"]);
    assert!(shown.stdout.contains("times@pear-1 (command)"), "{shown}");
    assert_eq!(project.pipe(&["show", "p.toml", "times"]).stdout.lines().count(), 4);
    let graph = project.pipe(&["graph", "p.toml", "--format", "dot"]);
    assert!(graph.stdout.contains("\"word@fig\" -> \"times@fig-1\""), "{graph}");
    // One more value runs the new instances, and what sees the whole sweep.
    let more = SWEEP.replace("[\"pear\", \"fig\"]", "[\"pear\", \"kiwi\", \"fig\"]");
    project.write("p.toml", &more);
    let mut ran = project.ran();
    ran.sort_unstable();
    assert_eq!(ran, ["all", "times@kiwi-1", "times@kiwi-2", "word@kiwi"]);
}

#[test]
fn instances_are_selected_by_name_and_pattern() {
    let project = project();
    let ran = |arguments: &[&str]| {
        let shown = project.pipe(&[&["run", "p.toml", "-j1"], arguments].concat());
        assert_eq!(shown.code, Some(0), "{shown}");
        let lines = shown.stderr.lines().filter(|line| line.contains('✓'));
        lines
            .map(|line| line.split_whitespace().nth(1).expect("a step").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ran(&["times@fig-1"]), ["word@fig", "times@fig-1"]);
    assert_eq!(ran(&["times@*-1"]), ["word@pear", "times@pear-1"]);
    assert_eq!(ran(&["times"]), ["times@pear-2", "times@fig-2"]);
    assert_eq!(ran(&["times@fig-1", "--force=word"]), ["word@fig"]);
    assert_snapshot!(project.pipe(&["why", "p.toml", "times"]), @r#"
    exit code 2
    `times` means 4 steps, not one
     = help: one of: times@pear-1, times@pear-2, times@fig-1, times@fig-2
    "#);
    assert_snapshot!(project.pipe(&["run", "p.toml", "times@fig-3", "tims"]), @r#"
    exit code 2
    no step `times@fig-3` in p.toml, did you mean `times@fig-1`?
     = help: steps: times@pear-1, times@pear-2, times@fig-1, times@fig-2

    no step `tims` in p.toml, did you mean `times`?
     = help: steps: word, times, all
    "#);
}

/// Every TOML block of the reference is a whole file; a first line `# NAME.toml` names it for the others.
#[test]
fn the_documented_examples_are_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipeline-file.md");
    let text = std::fs::read_to_string(path).expect("the reference is there");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or(rest))
        .collect();
    assert!(blocks.len() > 3, "the examples have gone");
    let project = Project::new();
    let mut checked = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let first = block.lines().next().unwrap_or_default();
        let named = first.strip_prefix("# ").filter(|name| name.ends_with(".toml"));
        let name = named.map_or_else(|| format!("example-{index}.toml"), str::to_owned);
        project.write(&name, block);
        if !block.contains("# not a pipeline") {
            checked.push(name);
        }
    }
    let mut arguments = vec!["check", "--without-data"];
    arguments.extend(checked.iter().map(String::as_str));
    let shown = project.pipe(&arguments);
    assert_eq!(shown.code, Some(0), "{shown}");
}
