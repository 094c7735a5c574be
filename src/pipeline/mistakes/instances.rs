//! What is said of `matrix` and `foreach`, and of what names their instances.

use insta::assert_snapshot;

use super::super::sample::Project;

/// A sweep without a mistake, to make mistakes in.
const SWEEP: &str = r#"
[stage.faces]
kind = "gather"
images = "faces"

[stage.net]
kind = "train"
matrix = { margin = [0.3, 0.5], depth = [18, 34] }
inputs = { train = "faces" }
epochs = 3
model.resnet = { depth = "${matrix.depth}" }
loss.arcface = { margin = "${matrix.margin}" }

[stage.verdict]
kind = "judge"
matrix = "${params.same}"
inputs = { images = "faces", weights = "net@${each.key}" }

[stage.all]
kind = "command"
run = ["cat"]
inputs.verdicts = "verdict@*"

[params]
same = { margin = [0.3, 0.5], depth = [18, 34] }
"#;

/// What is said when `from` is replaced by `to` in [`SWEEP`].
fn with(from: &str, to: &str) -> String {
    assert_eq!(SWEEP.matches(from).count(), 1, "{from} is not there once");
    Project::new(&[("x.toml", &SWEEP.replace(from, to))]).told(&[])
}

/// What is said when the matrix of the net is another one.
fn matrix(text: &str) -> String {
    with("matrix = { margin = [0.3, 0.5], depth = [18, 34] }\ninputs", &format!("{text}\ninputs"))
}

#[test]
fn a_right_sweep() {
    assert_eq!(with("epochs = 3", "epochs = 4"), "");
}

#[test]
fn axes() {
    assert_snapshot!(matrix("matrix = [1]"), @r#"
    x.toml:8:10: `matrix` must be a table, not an array
      |
    8 | matrix = [1]
      |          ^^^
      = help: for example `matrix = { depth = [18, 34] }`
    "#);
    assert_snapshot!(matrix("matrix = {}"), @r#"
    x.toml:8:1: `matrix` has no axes
      |
    8 | matrix = {}
      | ^^^^^^
      = help: for example `matrix = { depth = [18, 34] }`
    "#);
    assert_snapshot!(matrix("matrix = { margin = 0.3, depth = [] }"), @r#"
    x.toml:8:21: `matrix.margin` must be an array or a table, not the float 0.3
      |
    8 | matrix = { margin = 0.3, depth = [] }
      |                     ^^^
      = help: for example `matrix.margin = [1, 2]` or `matrix.margin = { LABEL = … }`

    x.toml:8:34: `matrix.depth` has no values
      |
    8 | matrix = { margin = 0.3, depth = [] }
      |                                  ^^
      = help: for example `matrix.depth = [1, 2]` or `matrix.depth = { LABEL = … }`
    "#);
    assert_snapshot!(matrix("matrix = { margin = [0.3, [1], { a = 1 }], depth = { \"a b\" = 3 } }"), @r#"
    x.toml:8:27: an array in `matrix.margin` needs a label
      |
    8 | matrix = { margin = [0.3, [1], { a = 1 }], depth = { "a b" = 3 } }
      |                           ^^^
      = help: write `matrix.margin = { LABEL = … }`

    x.toml:8:32: a table in `matrix.margin` needs a label
      |
    8 | matrix = { margin = [0.3, [1], { a = 1 }], depth = { "a b" = 3 } }
      |                                ^^^^^^^^^
      = help: write `matrix.margin = { LABEL = … }`

    x.toml:8:54: `a b` cannot be a label
      |
    8 | matrix = { margin = [0.3, [1], { a = 1 }], depth = { "a b" = 3 } }
      |                                                      ^^^^^
      = help: a label is made of a to z, A to Z, 0 to 9, `.`, `_`, `+` and `-`, and does not end in `.json`
    "#);
    assert_snapshot!(matrix("matrix = { margin = [0.3, 0.3], depth = [\"a b\", \"a/b\"] }"), @r#"
    x.toml:8:27: `0.3` stands in `matrix.margin` twice
      |
    8 | matrix = { margin = [0.3, 0.3], depth = ["a b", "a/b"] }
      |                           ^^^
      = help: with labels of your own: `matrix.margin = { LABEL = … }`

    x.toml:8:49: two values of `matrix.depth` make the label `a-b`
      |
    8 | matrix = { margin = [0.3, 0.3], depth = ["a b", "a/b"] }
      |                                                 ^^^^^
      = help: with labels of your own: `matrix.depth = { LABEL = … }`
    "#);
    assert_snapshot!(matrix("matrix = { \"a.b\" = [1] }"), @r#"
    x.toml:8:12: axis `a.b` must be a word of a to z, 0 to 9, `-` and `_`
      |
    8 | matrix = { "a.b" = [1] }
      |            ^^^^^
    "#);
    assert_snapshot!(matrix("matrix.a = [1]\nforeach = [1]"), @r#"
    x.toml:9:1: step `net` has both `matrix` and `foreach`
      |
    9 | foreach = [1]
      | ^^^^^^^
      = help: one more axis of the `matrix` does the same
    "#);
    assert_snapshot!(matrix("matrix = { a = [\"x\", \"x-y\"], b = [\"y-z\", \"z\"] }"), @r#"
    x.toml:8:1: two instances would be called `net@x-y-z`
      |
    8 | matrix = { a = ["x", "x-y"], b = ["y-z", "z"] }
      | ^^^^^^
      = help: one has a = `x`, b = `y-z`, the other a = `x-y`, b = `z`
              with labels of your own: `AXIS = { LABEL = VALUE, … }`
    "#);
    assert_snapshot!(matrix("foreach = 3"), @r#"
    x.toml:8:11: `foreach` must be an array or a table, not the integer 3
      |
    8 | foreach = 3
      |           ^
      = help: for example `foreach = [1, 2]` or `foreach = { LABEL = … }`
    "#);
}

#[test]
fn slips_of_the_keys() {
    let told = matrix("matirx = { depth = [18, 34], margin = [0.3] }");
    assert!(told.contains("unknown key `matirx`, did you mean `matrix`?"), "{told}");
    let told = matrix("for-each = [1]");
    assert!(told.contains("unknown key `for-each`, did you mean `foreach`?"), "{told}");
}

#[test]
fn excluded_and_included() {
    assert_snapshot!(matrix("matrix = { margin = [0.3], depth = [18], exclude = [{ margin = 0.4 }, { dept = 18 }, {}, 7] }"), @r#"
    x.toml:8:64: `margin` is never the float 0.4
      |
    8 | matrix = { margin = [0.3], depth = [18], exclude = [{ margin = 0.4 }, { dept = 18 }, {}, 7] }
      |                                                                ^^^
      = help: values of `margin`: 0.3

    x.toml:8:73: unknown axis `dept`, did you mean `depth`?
      |
    8 | matrix = { margin = [0.3], depth = [18], exclude = [{ margin = 0.4 }, { dept = 18 }, {}, 7] }
      |                                                                         ^^^^
      = help: axes: margin, depth

    x.toml:8:86: this would exclude every combination
      |
    8 | matrix = { margin = [0.3], depth = [18], exclude = [{ margin = 0.4 }, { dept = 18 }, {}, 7] }
      |                                                                                      ^^

    x.toml:8:90: `matrix.exclude` holds tables, not the integer 7
      |
    8 | matrix = { margin = [0.3], depth = [18], exclude = [{ margin = 0.4 }, { dept = 18 }, {}, 7] }
      |                                                                                          ^
      = help: for example `{ depth = 18 }`
    "#);
    assert_snapshot!(matrix("matrix = { margin = [0.3], depth = [18], include = [{ margin = 0.4 }, { margin = 0.30, depth = 18 }] }"), @r#"
    x.toml:8:53: an included combination lacks `depth`
      |
    8 | matrix = { margin = [0.3], depth = [18], include = [{ margin = 0.4 }, { margin = 0.30, depth = 18 }] }
      |                                                     ^^^^^^^^^^^^^^^^
      = help: it has a value for every axis

    x.toml:8:71: the matrix has this combination already
      |
    8 | matrix = { margin = [0.3], depth = [18], include = [{ margin = 0.4 }, { margin = 0.30, depth = 18 }] }
      |                                                                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(matrix("matrix = { margin = [0.3], depth = { small = 18 }, include = [{ margin = 0.4, depth = \"smal\" }], exclude = 3 }"), @r#"
    x.toml:8:87: `depth` is never the string "smal", did you mean `small`?
      |
    8 | matrix = { margin = [0.3], depth = { small = 18 }, include = [{ margin = 0.4, depth = "smal" }], exclude = 3 }
      |                                                                                       ^^^^^^
      = help: labels of `depth`: small

    x.toml:8:108: `matrix.exclude` must be an array of tables, not the integer 3
      |
    8 | matrix = { margin = [0.3], depth = { small = 18 }, include = [{ margin = 0.4, depth = "smal" }], exclude = 3 }
      |                                                                                                            ^
      = help: for example `exclude = [{ depth = 18 }]`
    "#);
    assert_snapshot!(matrix("matrix = { margin = [0.3, 0.5], exclude = [{ margin = 0.3 }, { margin = 0.5 }] }"), @r#"
    x.toml:8:1: `matrix` of step `net` makes no step
      |
    8 | matrix = { margin = [0.3, 0.5], exclude = [{ margin = 0.3 }, { margin = 0.5 }] }
      | ^^^^^^
      = help: every combination is excluded
    "#);
}

#[test]
fn limits() {
    let axis = |name: &str| {
        format!("{name} = [{}]", (0..700).map(|n| n.to_string()).collect::<Vec<_>>().join(", "))
    };
    let text = format!("matrix = {{ {}, {} }}", axis("margin"), axis("depth"));
    let told = matrix(&text);
    assert!(
        told.contains("`matrix` makes 490000 steps; a pipeline has at most 200000 in all"),
        "{told}"
    );
}

#[test]
fn references() {
    assert_snapshot!(with("${matrix.depth}", "${matrix.dept}"), @r#"
    x.toml:11:27: unknown axis `dept`, did you mean `depth`?
       |
    11 | model.resnet = { depth = "${matrix.dept}" }
       |                           ^^^^^^^^^^^^^
       = help: axes: depth, margin
    "#);
    assert_snapshot!(with("${matrix.depth}", "${each.value}"), @r#"
    x.toml:11:27: unknown reference `each.value`
       |
    11 | model.resnet = { depth = "${each.value}" }
       |                           ^^^^^^^^^^^^
       = help: known below `each`: key
    "#);
    assert_snapshot!(with("${matrix.depth}", "${matrix.depth.x}"), @r#"
    x.toml:11:27: `matrix.depth` is the integer 18 and has no `x`
       |
    11 | model.resnet = { depth = "${matrix.depth.x}" }
       |                           ^^^^^^^^^^^^^^
       = help: in `net@0.3-18`, `net@0.5-18`

    x.toml:11:27: `matrix.depth` is the integer 34 and has no `x`
       |
    11 | model.resnet = { depth = "${matrix.depth.x}" }
       |                           ^^^^^^^^^^^^^^
       = help: in `net@0.3-34`, `net@0.5-34`
    "#);
    assert_snapshot!(with("images = \"faces\"\n\n", "images = \"${matrix.depth}\"\nexcept = \"${each.key}\"\n"), @r#"
    x.toml:4:11: step `faces` has no `matrix`
      |
    4 | images = "${matrix.depth}"
      |           ^^^^^^^^^^^^^^
      = help: for example `matrix = { depth = [18, 34] }`
              `$${matrix.depth}` stands for the text `${matrix.depth}`

    x.toml:5:11: step `faces` has neither `foreach` nor `matrix`
      |
    5 | except = "${each.key}"
      |           ^^^^^^^^^^
      = help: for example `foreach = ["a", "b"]`
              `$${each.key}` stands for the text `${each.key}`
    "#);
    assert_snapshot!(with("kind = \"train\"", "kind = \"${matrix.depth}\""), @r#"
    x.toml:7:8: `kind` is the same for every instance of a step
      |
    7 | kind = "${matrix.depth}"
      |        ^^^^^^^^^^^^^^^^^
      = help: kinds: gather, train, judge, command
    "#);
}

#[test]
fn values_of_some_instances() {
    assert_snapshot!(matrix("matrix = { margin = [0.3, 9], depth = [18, 50] }"), @r#"
    x.toml:11:26: `model.resnet.depth`: there is no ResNet-50
       |
    11 | model.resnet = { depth = "${matrix.depth}" }
       |                          ^^^^^^^^^^^^^^^^^
       = help: 18 or 34
               the value is that of `matrix.depth`, from x.toml:8:44
               in `net@0.3-50`

    x.toml:12:27: `loss.arcface.margin` must be from 0 to 1.5, not 9
       |
    12 | loss.arcface = { margin = "${matrix.margin}" }
       |                           ^^^^^^^^^^^^^^^^^^
       = help: `loss.arcface.margin`: The margin in radians
               the value is that of `matrix.margin`, from x.toml:8:27
               in `net@9-18`, `net@9-50`

    x.toml:17:40: no step `net@0.3-34`, did you mean `net@0.3-18`?
       |
    17 | inputs = { images = "faces", weights = "net@${each.key}" }
       |                                        ^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-50, net@9-18, net@9-50
               in `verdict@0.3-34`

    x.toml:17:40: no step `net@0.5-18`, did you mean `net@0.3-18`?
       |
    17 | inputs = { images = "faces", weights = "net@${each.key}" }
       |                                        ^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-50, net@9-18, net@9-50
               in `verdict@0.5-18`

    x.toml:17:40: no step `net@0.5-34`, did you mean `net@0.3-50`?
       |
    17 | inputs = { images = "faces", weights = "net@${each.key}" }
       |                                        ^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-50, net@9-18, net@9-50
               in `verdict@0.5-34`
    "#);
    assert_snapshot!(with("epochs = 3", "epohcs = 3"), @r#"
    x.toml:10:1: unknown key `epohcs`, did you mean `epochs`?
       |
    10 | epohcs = 3
       | ^^^^^^
       = help: keys of step `net`: epochs, seed, learning-rate, model, loss, augment, stop, words
    "#);
}

#[test]
fn names_of_instances() {
    assert_snapshot!(with("net@${each.key}", "net"), @r#"
    x.toml:17:40: step `net` has 4 instances
       |
    17 | inputs = { images = "faces", weights = "net" }
       |                                        ^^^^^
       = help: one of them: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34
    "#);
    assert_snapshot!(with("net@${each.key}", "net@${matrix.depth}-${matrix.margin}"), @r#"
    x.toml:17:40: no step `net@18-0.3`
       |
    17 | inputs = { images = "faces", weights = "net@${matrix.depth}-${matrix.margin}" }
       |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34
               in `verdict@0.3-18`

    x.toml:17:40: no step `net@18-0.5`
       |
    17 | inputs = { images = "faces", weights = "net@${matrix.depth}-${matrix.margin}" }
       |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34
               in `verdict@0.5-18`

    x.toml:17:40: no step `net@34-0.3`
       |
    17 | inputs = { images = "faces", weights = "net@${matrix.depth}-${matrix.margin}" }
       |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34
               in `verdict@0.3-34`

    x.toml:17:40: no step `net@34-0.5`
       |
    17 | inputs = { images = "faces", weights = "net@${matrix.depth}-${matrix.margin}" }
       |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: instances of `net`: net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34
               in `verdict@0.5-34`
    "#);
    assert_snapshot!(with("net@${each.key}", "net@*"), @r#"
    x.toml:17:40: input `weights` takes one step, not 4
       |
    17 | inputs = { images = "faces", weights = "net@*" }
       |                                        ^^^^^^^
       = help: `net@*` means net@0.3-18, net@0.3-34, net@0.5-18, net@0.5-34
    "#);
    assert_snapshot!(with("net@${each.key}", "nte@${each.key}"), @r#"
    x.toml:17:40: no step `nte`, did you mean `net`?
       |
    17 | inputs = { images = "faces", weights = "nte@${each.key}" }
       |                                        ^^^^^^^^^^^^^^^^^
       = help: steps: all, faces, net, verdict
    "#);
    assert_snapshot!(with("net@${each.key}", "faces@${each.key}"), @r#"
    x.toml:17:40: step `faces` has no instances
       |
    17 | inputs = { images = "faces", weights = "faces@${each.key}" }
       |                                        ^^^^^^^^^^^^^^^^^^^
       = help: write `"faces"`
    "#);
    assert_snapshot!(with("verdict@*", "verdict"), @r#"
    x.toml:22:19: step `verdict` has 4 instances
       |
    22 | inputs.verdicts = "verdict"
       |                   ^^^^^^^^^
       = help: one of them: verdict@0.3-18, verdict@0.3-34, verdict@0.5-18, verdict@0.5-34
               all of them: "verdict@*"
    "#);
    assert_snapshot!(with("verdict@*", "verdict@1*"), @r#"
    x.toml:22:19: no step `verdict@1*`
       |
    22 | inputs.verdicts = "verdict@1*"
       |                   ^^^^^^^^^^^^
       = help: instances of `verdict`: verdict@0.3-18, verdict@0.3-34, verdict@0.5-18, verdict@0.5-34
    "#);
    let settings = &["stage.net.epochs=0", "stage.\"net@0.3-18\".epochs=3"];
    assert_snapshot!(Project::new(&[("x.toml", SWEEP)]).told(settings), @r#"
    --set:1:18: `epochs` must be at least 1, not 0
      |
    1 | stage.net.epochs=0
      |                  ^
      = help: `epochs`: How often all images are seen

    --set:1:7: one instance of step `net` cannot be set alone
      |
    1 | stage."net@0.3-18".epochs=3
      |       ^^^^^^^^^^^^
      = help: `stage.net` sets all of them
    "#);
}
