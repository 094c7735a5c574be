//! What is said of steps among each other, of paths, parameters, other files and settings.

use insta::assert_snapshot;

use super::super::sample::Project;
use super::{RIGHT, over, with};

#[test]
fn inputs() {
    assert_snapshot!(with("weights = \"net\"", "weights = \"faces\""), @r#"
    x.toml:19:40: input `weights` takes weights, but `faces` gives images
       |
    19 | inputs = { images = "faces", weights = "faces" }
       |                                        ^^^^^^^
       = help: kinds that give weights: train
               steps that give weights: net
    "#);
    assert_snapshot!(with("train = \"faces\"", "train = [\"faces\", \"faces\"]"), @r#"
    x.toml:12:20: input `train` takes one step, not 2
       |
    12 | inputs = { train = ["faces", "faces"] }
       |                    ^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(with("train = \"faces\"", "train = 3"), @r#"
    x.toml:12:20: input `train` must be the name of a step, not the integer 3
       |
    12 | inputs = { train = 3 }
       |                    ^
       = help: a string or an array of strings
    "#);
    assert_snapshot!(with("inputs = { train = \"faces\" }", "inputs = \"faces\""), @r#"
    x.toml:12:10: `inputs` must be a table, not the string "faces"
       |
    12 | inputs = "faces"
       |          ^^^^^^^
       = help: `inputs = { train = "STEP" }`
    "#);
    assert_snapshot!(with("train = \"faces\"", "train = \"${stage.faces}\""), @r#"
    x.toml:12:20: input `train` must be the name of a step
       |
    12 | inputs = { train = "${stage.faces}" }
       |                    ^^^^^^^^^^^^^^^^
       = help: write "faces"
    "#);
    assert_snapshot!(with(
        "images = \"faces\"\nsize",
        "inputs.x = \"net\"\nimages = \"faces\"\nsize"
    ), @r#"
    x.toml:7:8: unknown input `x`
      |
    7 | inputs.x = "net"
      |        ^
      = help: kind `gather` has no inputs
    "#);
}

#[test]
fn loops() {
    assert_snapshot!(with("train = \"faces\"", "train = \"faces\", initial = \"net\""), @r#"
    x.toml:12:39: steps wait for each other in a loop: net → net
       |
    12 | inputs = { train = "faces", initial = "net" }
       |                                       ^^^^^
       = help: `net` needs `net` at x.toml:12:39
    "#);
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"${stage.verdict}/x\"\nsize"), @r#"
    x.toml:7:10: steps wait for each other in a loop: faces → verdict → faces
      |
    7 | images = "${stage.verdict}/x"
      |          ^^^^^^^^^^^^^^^^^^^^
      = help: `faces` needs `verdict` at x.toml:7:10
              `verdict` needs `faces` at x.toml:19:21
    "#);
}

#[test]
fn paths() {
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"facse\"\nsize"), @r#"
    x.toml:7:10: there is no file or directory `facse`
      |
    7 | images = "facse"
      |          ^^^^^^^
      = help: looked for facse; ROOT has `faces`
    "#);
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"data/train\"\nsize"), @r#"
    x.toml:7:10: there is no file or directory `data/train`
      |
    7 | images = "data/train"
      |          ^^^^^^^^^^^^
      = help: looked for data/train; there is no data
    "#);
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"~/faces\"\nsize"), @r#"
    x.toml:7:10: there is no file or directory `~/faces`
      |
    7 | images = "~/faces"
      |          ^^^^^^^^^
      = help: `~` is not expanded; write the whole path
    "#);
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"${stage.nett}/x\"\nsize"), @r#"
    x.toml:7:10: no step `nett`, did you mean `net`?
      |
    7 | images = "${stage.nett}/x"
      |          ^^^^^^^^^^^^^^^^^
      = help: steps: faces, net, verdict
    "#);
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"${stage.net}/../x\"\nsize"), @r#"
    x.toml:7:10: `${stage.net}/../x` leads out of the result of the step
      |
    7 | images = "${stage.net}/../x"
      |          ^^^^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(with("images = \"faces\"\nsize", "images = \"a/${stage.net}\"\nsize"), @r#"
    x.toml:7:10: `${stage.NAME}` can stand only at the beginning of a path
      |
    7 | images = "a/${stage.net}"
      |          ^^^^^^^^^^^^^^^^
      = help: for example `"${stage.shards}/index.jsonl"`
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\nwords = [\"${stage.faces}/x\"]"), @r#"
    x.toml:14:10: `${stage.NAME}` can stand only in a parameter that is a path
       |
    14 | words = ["${stage.faces}/x"]
       |          ^^^^^^^^^^^^^^^^^^
       = help: for example `"${stage.shards}/index.jsonl"`
    "#);
}

#[test]
fn parameters() {
    assert_snapshot!(with("${params.size}", "${params.sise}"), @r#"
    x.toml:8:9: unknown parameter `sise`, did you mean `size`?
      |
    8 | size = "${params.sise}"
      |         ^^^^^^^^^^^^^
      = help: parameters: size
    "#);
    assert_snapshot!(with("${params.size}", "${param.size}"), @r#"
    x.toml:8:9: unknown reference `${param.`, did you mean `${params.`?
      |
    8 | size = "${param.size}"
      |         ^^^^^^^
    "#);
    assert_snapshot!(with("${params.size}", "${params.size"), @r#"
    x.toml:8:9: `${params.size` lacks its `}`
      |
    8 | size = "${params.size"
      |         ^^^^^^^^^^^^^
    "#);
    assert_snapshot!(with("${params.size}", "${params.size} pixels"), @r#"
    x.toml:8:8: `size` must be an integer, not the string "32 pixels"
      |
    8 | size = "${params.size} pixels"
      |        ^^^^^^^^^^^^^^^^^^^^^^^
      = help: `size`: Height and width in pixels
    "#);
    assert_snapshot!(with("size = 32", "size = \"${params.b}\"\nb = \"${params.size}\""), @r#"
    x.toml:4:5: parameters refer to each other in a loop: b → size → b
      |
    4 | b = "${params.size}"
      |     ^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(with("size = 32", "size = \"${params.b}x\"\nb = [1]"), @r#"
    x.toml:3:9: `params.b` is an array and cannot be part of a string
      |
    3 | size = "${params.b}x"
      |         ^^^^^^^^^^^
      = help: alone it can: `"${params.b}"`
    "#);
}

#[test]
fn extending() {
    assert_snapshot!(over("[stage.nett]\nepochs = 3", &[]), @r#"
    x.toml:2:8: step `nett` has no `kind`
      |
    2 | [stage.nett]
      |        ^^^^
      = help: there is a step `net`
              kinds: gather, train, judge, command
    "#);
    assert_snapshot!(over("[stage.faces]\nremove = true", &[]), @r#"
    base.toml:12:20: no step `faces`
       |
    12 | inputs = { train = "faces" }
       |                    ^^^^^^^
       = help: it is removed at x.toml:3:1
               steps: net, verdict

    base.toml:19:21: no step `faces`
       |
    19 | inputs = { images = "faces", weights = "net" }
       |                     ^^^^^^^
       = help: it is removed at x.toml:3:1
               steps: net, verdict
    "#);
    assert_snapshot!(over("[stage.face]\nremove = true", &[]), @r#"
    x.toml:3:1: there is no step `face` to remove, did you mean `faces`?
      |
    3 | remove = true
      | ^^^^^^
    "#);
    assert_snapshot!(over("[stage.net]\nremove = 1\nepochs = 0", &[]), @r#"
    x.toml:3:10: `remove` must be true or false, not the integer 1
      |
    3 | remove = 1
      |          ^

    x.toml:4:10: `epochs` must be at least 1, not 0
      |
    4 | epochs = 0
      |          ^
      = help: `epochs`: How often all images are seen
    "#);
    assert_snapshot!(over("[stage.net]\nmodel.plain = { width = 3 }", &[]), @r#"
    x.toml:3:17: unknown key `width`, did you mean `widths`?
      |
    3 | model.plain = { width = 3 }
      |                 ^^^^^
      = help: keys of `model.plain`: widths
    "#);
    assert_snapshot!(Project::new(&[("x.toml", "extends = \"y.tml\""), ("y.toml", "")]).told(&[]), @r#"
    x.toml:1:11: there is no file y.tml
      |
    1 | extends = "y.tml"
      |           ^^^^^^^
      = help: looked for y.tml; ROOT has `y.toml`
    "#);
    let files = [("x.toml", "extends = \"y.toml\""), ("y.toml", "\nextends = \"./x.toml\"")];
    assert_snapshot!(Project::new(&files).told(&[]), @r#"
    y.toml:2:11: files extend each other in a loop: x.toml → y.toml → x.toml
      |
    2 | extends = "./x.toml"
      |           ^^^^^^^^^^
    "#);
    assert_snapshot!(Project::new(&[("x.toml", "extends = 3")]).told(&[]), @r#"
    x.toml:1:11: `extends` must be the path of a pipeline file, not the integer 3
      |
    1 | extends = 3
      |           ^
      = help: for example `extends = "verify.toml"`
    "#);
}

#[test]
fn settings() {
    assert_snapshot!(over("", &["stage.trian.epochs=3"]), @r#"
    --set:1:7: there is no step `trian` to set
      |
    1 | stage.trian.epochs=3
      |       ^^^^^
      = help: steps: faces, net, verdict
    "#);
    assert_snapshot!(over("", &["stage.net.epohcs=3", "stage.net.epochs=many"]), @r#"
    --set:1:11: unknown key `epohcs`, did you mean `epochs`?
      |
    1 | stage.net.epohcs=3
      |           ^^^^^^
      = help: keys of step `net`: epochs, seed, learning-rate, model, loss, augment, stop, words

    --set:1:18: `epochs` must be an integer, not the string "many"
      |
    1 | stage.net.epochs=many
      |                  ^^^^
      = help: `epochs`: How often all images are seen
    "#);
    assert_snapshot!(over("", &["params.sise=3"]), @r#"
    --set:1:8: there is no parameter `sise` to set, did you mean `size`?
      |
    1 | params.sise=3
      |        ^^^^
      = help: parameters: size
    "#);
    assert_snapshot!(over("", &["params.size=3"]), @r#"
    base.toml:8:8: `size` must be from 8 to 1024, not 3
      |
    8 | size = "${params.size}"
      |        ^^^^^^^^^^^^^^^^
      = help: `size`: Height and width in pixels
              the value is that of `params.size`, from --set:1:13
    "#);
    assert_snapshot!(over("", &["epochs", "stage..x=1", "net.epochs=3", "params=3"]), @r#"
    --set:1:1: setting `epochs` has no `=`
      |
    1 | epochs
      | ^^^^^^
      = help: for example `--set stage.train.epochs=3` or `--set params.data=../faces`

    --set:1:1: `stage..x` is no dotted key: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
      |
    1 | stage..x=1
      | ^^^^^^^^
      = help: for example `--set stage.train.epochs=3` or `--set params.data=../faces`

    --set:1:1: `net` cannot be set
      |
    1 | net.epochs=3
      | ^^^
      = help: for example `--set stage.train.epochs=3` or `--set params.data=../faces`

    --set:1:1: `params` cannot be set as a whole
      |
    1 | params=3
      | ^^^^^^
      = help: for example `--set stage.train.epochs=3` or `--set params.data=../faces`
    "#);
}

#[test]
fn several_at_once() {
    let text = RIGHT
        .replace("epochs = 3", "epohcs = 3\nseed = true")
        .replace("images = \"faces\"\nsize", "images = \"nowhere\"\nsize")
        .replace("weights = \"net\"", "weights = \"nett\"");
    assert_snapshot!(Project::new(&[("x.toml", &text)]).told(&[]), @r#"
    x.toml:7:10: there is no file or directory `nowhere`
      |
    7 | images = "nowhere"
      |          ^^^^^^^^^
      = help: looked for nowhere

    x.toml:13:1: unknown key `epohcs`, did you mean `epochs`?
       |
    13 | epohcs = 3
       | ^^^^^^
       = help: keys of step `net`: epochs, seed, learning-rate, model, loss, augment, stop, words

    x.toml:14:8: `seed` must be an integer, not the boolean true
       |
    14 | seed = true
       |        ^^^^
       = help: `seed`: Makes everything random

    x.toml:20:40: no step `nett`, did you mean `net`?
       |
    20 | inputs = { images = "faces", weights = "nett" }
       |                                        ^^^^^^
       = help: steps: faces, net, verdict
    "#);
}
