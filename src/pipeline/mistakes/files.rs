//! What is said of files that are included, and of files of parameters.

use insta::assert_snapshot;

use super::super::sample::Project;
use super::RIGHT;

/// What is said of a project of these files; `x.toml` is read.
fn told(files: &[(&str, &str)], params: &[&str]) -> String {
    Project::new(files).told_over(params, &[])
}

const MORE: &str = "[stage.more]\nkind = \"gather\"\nimages = \"faces\"\n";

#[test]
fn right_files() {
    let own = format!("include = [\"shared.toml\"]\n{MORE}");
    assert_eq!(told(&[("x.toml", &own), ("shared.toml", RIGHT)], &[]), "");
    let own = format!("params-files = [\"a.toml\", \"b.json\"]\n{RIGHT}");
    let files = [("x.toml", own.as_str()), ("a.toml", "size = 3"), ("b.json", "{\"size\": 5}")];
    assert_eq!(told(&files, &[]), "");
    assert_eq!(told(&[("x.toml", RIGHT), ("a.toml", "size = 64")], &["a.toml"]), "");
}

#[test]
fn included() {
    let own = format!(
        "include = [\"shared.toml\"]\n\n[params]\nsize = 8\n\n{}",
        MORE.replace("more", "net")
    );
    assert_snapshot!(told(&[("x.toml", &own), ("shared.toml", RIGHT)], &[]), @r#"
    x.toml:4:1: parameter `size` is there already
      |
    4 | size = 8
      | ^^^^
      = help: the first is at shared.toml:3:1

    x.toml:6:8: step `net` is there already
      |
    6 | [stage.net]
      |        ^^^
      = help: the first is at shared.toml:10:8
    "#);
    let own = "include = [\"shared.toml\", \"other.toml\"]\n";
    assert_snapshot!(told(&[("x.toml", own), ("shared.toml", MORE), ("other.toml", MORE)], &[]), @r#"
    other.toml:1:8: step `more` is there already
      |
    1 | [stage.more]
      |        ^^^^
      = help: the first is at shared.toml:1:8
    "#);
    assert_snapshot!(told(&[("x.toml", own), ("shared.toml", "[stage.a]\nkind = \"gather\"\nimages = \"facse\"\n")], &[]), @r#"
    shared.toml:3:10: there is no file or directory `facse`
      |
    3 | images = "facse"
      |          ^^^^^^^
      = help: looked for facse; ROOT has `faces`

    x.toml:1:27: there is no file other.toml
      |
    1 | include = ["shared.toml", "other.toml"]
      |                           ^^^^^^^^^^^^
      = help: looked for other.toml
    "#);
    assert_snapshot!(told(&[("x.toml", "include = \"shared.toml\""), ("shared.toml", MORE)], &[]), @r#"
    x.toml:1:11: `include` must be an array of paths
      |
    1 | include = "shared.toml"
      |           ^^^^^^^^^^^^^
      = help: in brackets: `include = ["shared.toml"]`
    "#);
    assert_snapshot!(told(&[("x.toml", "include = [3]")], &[]), @r#"
    x.toml:1:12: `include` must be the path of a pipeline file, not the integer 3
      |
    1 | include = [3]
      |            ^
      = help: for example `include = ["shared.toml"]`
    "#);
    let files = [
        ("x.toml", "include = [\"y.toml\"]"),
        ("y.toml", "extends = \"z.toml\""),
        ("z.toml", "include = [\"x.toml\"]"),
    ];
    assert_snapshot!(told(&files, &[]), @r#"
    z.toml:1:12: files include each other in a loop: x.toml → y.toml → z.toml → x.toml
      |
    1 | include = ["x.toml"]
      |            ^^^^^^^^
    "#);
    let many =
        format!("include = [{}]", (0..300).map(|n| format!("\"{n}.toml\", ")).collect::<String>());
    let names: Vec<String> = (0..300).map(|n| format!("{n}.toml")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    files.push(("x.toml", &many));
    let told = told(&files, &[]);
    assert!(told.contains("the pipeline is made of more than 256 files"), "{told}");
}

#[test]
fn parameters_of_files() {
    let own = format!("params-files = [\"p.json\"]\n{RIGHT}").replace("[params]\nsize = 32", "");
    let json = |text: &str| told(&[("x.toml", &own), ("p.json", text)], &[]);
    assert_snapshot!(json("{\"ä\": 1,\n \"size\": 3}"), @r#"
    x.toml:8:8: `size` must be from 8 to 1024, not 3
      |
    8 | size = "${params.size}"
      |        ^^^^^^^^^^^^^^^^
      = help: `size`: Height and width in pixels
              the value is that of `params.size`, from p.json:2:10
    "#);
    assert_snapshot!(json("{\"size\": 32,}"), @r#"
    p.json:1:12: trailing commas are not allowed
      |
    1 | {"size": 32,}
      |            ^
    "#);
    assert_snapshot!(json("{\"ä\": nul, \"size\": 32}"), @r#"
    p.json:1:7: unexpected token
      |
    1 | {"ä": nul, "size": 32}
      |       ^^^
    "#);
    assert_snapshot!(json("{\"size\": null, \"size\": 01}"), @r#"
    p.json:1:25: expected comma
      |
    1 | {"size": null, "size": 01}
      |                         ^
    "#);
    assert_snapshot!(json("[32]"), @r#"
    p.json:1:1: a file of parameters holds one JSON object
      |
    1 | [32]
      | ^^^^
    "#);
    assert_snapshot!(json(&format!("{{\"size\": {}1{}}}", "[".repeat(70), "]".repeat(70))), @r#"
    p.json:1:74: objects and arrays lie more than 64 deep
      |
    1 | {"size": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
      |                                                                          ^^^^^^^^^^^^^

    x.toml:8:8: tables and arrays lie more than 64 deep
      |
    8 | size = "${params.size}"
      |        ^^^^^^^^^^^^^^^^
    "#);
    assert!(json(&"[".repeat(100_000)).contains("nesting depth"));
    assert_snapshot!(told(&[("x.toml", &own.replace("p.json", "p.yaml")), ("p.yaml", "size: 3")], &[]), @r#"
    p.yaml:1:1: `p.yaml` is neither a `.toml` nor a `.json` file
      |
    1 | size: 3
      | ^
    "#);
    assert_snapshot!(told(&[("x.toml", &own.replace("p.json", "p.tml")), ("p.toml", "size = 3")], &[]), @r#"
    x.toml:1:17: there is no file p.tml
      |
    1 | params-files = ["p.tml"]
      |                 ^^^^^^^
      = help: looked for p.tml; ROOT has `p.toml`
    "#);
    assert_snapshot!(told(&[("x.toml", &own.replace("p.json", "p.toml")), ("p.toml", "[params]\nsize = 32")], &[]), @r#"
    p.toml:1:2: a file of parameters has them at its top, not in `params`
      |
    1 | [params]
      |  ^^^^^^
    "#);
}

#[test]
fn parameters_of_the_command_line() {
    assert_snapshot!(told(&[("x.toml", RIGHT), ("a.toml", "sise = 3\nsize = \"x\"")], &["a.toml", "b.json"]), @r#"
    there is no file b.json
     = help: looked for b.json

    x.toml:8:8: `size` must be an integer, not the string "x"
      |
    8 | size = "${params.size}"
      |        ^^^^^^^^^^^^^^^^
      = help: `size`: Height and width in pixels
              the value is that of `params.size`, from a.toml:2:8
    "#);
}
