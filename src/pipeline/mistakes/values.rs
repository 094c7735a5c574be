//! What is said of one step: its syntax, its keys, its values.

use insta::assert_snapshot;

use super::super::sample::Project;
use super::with;

#[test]
fn syntax() {
    assert_snapshot!(with("epochs = 3\n", "epochs = three\nseed = = 1\n"), @r#"
    x.toml:13:10: `three` is no value; a string stands in quotes
       |
    13 | epochs = three
       |          ^^^^^
       = help: "three"

    x.toml:14:8: extra `=`
       |
    14 | seed = = 1
       |        ^
    "#);
    assert_snapshot!(with("[stage.net]", "[stage.net"), @r#"
    x.toml:10:11: unclosed table, expected `]`
       |
    10 | [stage.net
       |           ^
    "#);
    assert_snapshot!(with("epochs = 3\n", "epochs = 3\nepochs = 4\nlerning-rate = 1\n"), @r#"
    x.toml:14:1: duplicate key
       |
    14 | epochs = 4
       | ^^^^^^
       = help: a table has each key once; remove one of the two

    x.toml:15:1: unknown key `lerning-rate`, did you mean `learning-rate`?
       |
    15 | lerning-rate = 1
       | ^^^^^^^^^^^^
       = help: keys of step `net`: epochs, seed, learning-rate, model, loss, augment, stop, words
    "#);
}

#[test]
fn unknown_names() {
    assert_snapshot!(with("kind = \"train\"", "kind = \"trian\""), @r#"
    x.toml:11:8: unknown kind `trian`, did you mean `train`?
       |
    11 | kind = "trian"
       |        ^^^^^^^
       = help: kinds: gather, train, judge, command
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\nlerning-rate = 0.1"), @r#"
    x.toml:14:1: unknown key `lerning-rate`, did you mean `learning-rate`?
       |
    14 | lerning-rate = 0.1
       | ^^^^^^^^^^^^
       = help: keys of step `net`: epochs, seed, learning-rate, model, loss, augment, stop, words
    "#);
    assert_snapshot!(with("depth = 18", "depth = 18, drop = 0.1"), @r#"
    x.toml:14:30: unknown key `drop`
       |
    14 | model.resnet = { depth = 18, drop = 0.1 }
       |                              ^^^^
       = help: keys of `model.resnet`: depth, dropout
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\ndepth = 3"), @r#"
    x.toml:14:1: unknown key `depth`
       |
    14 | depth = 3
       | ^^^^^
       = help: there is a `model.resnet.depth`
               keys of step `net`: epochs, seed, learning-rate, model, loss, augment, stop, words
    "#);
    assert_snapshot!(with("model.resnet", "model.resnett"), @r#"
    x.toml:14:7: unknown choice `resnett` for `model`, did you mean `resnet`?
       |
    14 | model.resnett = { depth = 18 }
       |       ^^^^^^^
       = help: choices: resnet, plain
    "#);
    assert_snapshot!(with("size = \"${params.size}\"", "on-error = \"skipp\""), @r#"
    x.toml:8:12: unknown choice `skipp` for `on-error`, did you mean `skip`?
      |
    8 | on-error = "skipp"
      |            ^^^^^^^
      = help: choices: fail, skip
    "#);
    assert_snapshot!(with("train = \"faces\"", "trian = \"faces\""), @r#"
    x.toml:12:12: unknown input `trian`, did you mean `train`?
       |
    12 | inputs = { trian = "faces" }
       |            ^^^^^
       = help: inputs of kind `train`: train, dev, initial
    "#);
    assert_snapshot!(with("train = \"faces\"", "train = \"face\""), @r#"
    x.toml:12:20: no step `face`, did you mean `faces`?
       |
    12 | inputs = { train = "face" }
       |                    ^^^^^^
       = help: steps: faces, net, verdict
    "#);
    assert_snapshot!(with("[params]\nsize = 32", "[parms]\nsize = 32"), @r#"
    x.toml:2:2: unknown key `parms`, did you mean `params`?
      |
    2 | [parms]
      |  ^^^^^
      = help: a pipeline has `[stage.NAME]` tables, `[params]`, `[pools]`, `[remote]`, `executor`, `extends`, `include` and `params-files`

    x.toml:8:9: unknown parameter `size`
      |
    8 | size = "${params.size}"
      |         ^^^^^^^^^^^^^
      = help: write `[params]` with `size = …`
    "#);
}

#[test]
fn missing() {
    assert_snapshot!(with("kind = \"train\"", ""), @r#"
    x.toml:10:8: step `net` has no `kind`
       |
    10 | [stage.net]
       |        ^^^
       = help: kinds: gather, train, judge, command
    "#);
    assert_snapshot!(with("epochs = 3", ""), @r#"
    x.toml:10:8: step `net` lacks `epochs`
       |
    10 | [stage.net]
       |        ^^^
       = help: `epochs` is an integer, at least 1: How often all images are seen
    "#);
    assert_snapshot!(with("margin = 0.5", ""), @r#"
    x.toml:15:6: `loss.arcface` lacks `margin`
       |
    15 | loss.arcface = {  }
       |      ^^^^^^^
       = help: `margin` is a number, from 0 to 1.5: The margin in radians
    "#);
    assert_snapshot!(with("train = \"faces\"", ""), @r#"
    x.toml:12:1: step `net` lacks input `train` (images)
       |
    12 | inputs = {  }
       | ^^^^^^
       = help: `train`: Seen in training.
               kinds that give images: gather
               steps that give images: faces
    "#);
    assert_snapshot!(Project::new(&[("x.toml", "# nothing\n")]).told(&[]), @r#"
    x.toml:1:1: the pipeline has no steps
      |
    1 | # nothing
      | ^
      = help: write `[stage.NAME]` for each step
    "#);
    assert_snapshot!(Project::new(&[("y.toml", "")]).told(&[]), @r#"
    there is no file x.toml
     = help: looked for x.toml; ROOT has `y.toml`
    "#);
}

#[test]
fn types_and_ranges() {
    assert_snapshot!(with("epochs = 3", "epochs = \"3\""), @r#"
    x.toml:13:10: `epochs` must be an integer, not the string "3"
       |
    13 | epochs = "3"
       |          ^^^
       = help: without quotes: `epochs = 3`
               `epochs`: How often all images are seen
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3.0"), @r#"
    x.toml:13:10: `epochs` must be an integer, not the float 3.0
       |
    13 | epochs = 3.0
       |          ^^^
       = help: `epochs`: How often all images are seen
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 0"), @r#"
    x.toml:13:10: `epochs` must be at least 1, not 0
       |
    13 | epochs = 0
       |          ^
       = help: `epochs`: How often all images are seen
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 99999999999999999999999999999999999999999999"), @r#"
    x.toml:13:10: `epochs` must be at most 4294967295, not 99999999999999999999999999999999999999999999
       |
    13 | epochs = 99999999999999999999999999999999999999999999
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: `epochs`: How often all images are seen
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\nseed = -1"), @r#"
    x.toml:14:8: `seed` must be at least 0, not -1
       |
    14 | seed = -1
       |        ^^
       = help: `seed`: Makes everything random
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\nlearning-rate = nan"), @r#"
    x.toml:14:17: `learning-rate` must be a finite number, not nan
       |
    14 | learning-rate = nan
       |                 ^^^
       = help: `learning-rate`: The step of the optimizer
    "#);
    assert_snapshot!(with("margin = 0.5", "margin = 2"), @r#"
    x.toml:15:27: `loss.arcface.margin` must be from 0 to 1.5, not 2
       |
    15 | loss.arcface = { margin = 2 }
       |                           ^
       = help: `loss.arcface.margin`: The margin in radians
    "#);
    assert_snapshot!(with("size = 32", "size = 4"), @r#"
    x.toml:8:8: `size` must be from 8 to 1024, not 4
      |
    8 | size = "${params.size}"
      |        ^^^^^^^^^^^^^^^^
      = help: `size`: Height and width in pixels
              the value is that of `params.size`, from x.toml:3:8
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\nwords = \"a\"\nstop = 1979-05-27"), @r#"
    x.toml:14:9: `words` must be an array of strings, not the string "a"
       |
    14 | words = "a"
       |         ^^^
       = help: in brackets: `words = ["…"]`
               `words`: Words for the log

    x.toml:15:8: `stop` must be a table, not the date 1979-05-27
       |
    15 | stop = 1979-05-27
       |        ^^^^^^^^^^
       = help: `stop`: Where to stop early
    "#);
    assert_snapshot!(with("depth = 18", "depth = 18, dropout = 1.5"), @r#"
    x.toml:14:40: `model.resnet.dropout`: a probability is from 0 to 1, not 1.5
       |
    14 | model.resnet = { depth = 18, dropout = 1.5 }
       |                                        ^^^
    "#);
    assert_snapshot!(with("model.resnet = { depth = 18 }", "model = \"resnet\""), @r#"
    x.toml:14:9: choice `resnet` of `model` is a table
       |
    14 | model = "resnet"
       |         ^^^^^^^^
       = help: write `model.resnet = { … }`
    "#);
    assert_snapshot!(with("model.resnet = { depth = 18 }", "model = {}"), @r#"
    x.toml:14:1: `model` lacks its choice
       |
    14 | model = {}
       | ^^^^^
       = help: choices: resnet, plain
    "#);
    assert_snapshot!(with("depth = 18 }", "depth = 18 }\nmodel.plain.widths = [1]"), @r#"
    x.toml:15:7: `model` takes one choice, not `resnet` and `plain`
       |
    15 | model.plain.widths = [1]
       |       ^^^^^
       = help: choices: resnet, plain
    "#);
    assert_snapshot!(with(
        "{ margin = 0.5 }",
        "{ margin = 0.5 }\naugment = [{ flip = 3 }, { crup = {} }]"
    ), @r#"
    x.toml:16:21: `augment.0.flip` must be a table, not the integer 3
       |
    16 | augment = [{ flip = 3 }, { crup = {} }]
       |                     ^

    x.toml:16:28: unknown choice `crup` for `augment.1`, did you mean `crop`?
       |
    16 | augment = [{ flip = 3 }, { crup = {} }]
       |                            ^^^^
       = help: choices: flip, crop
    "#);
}

#[test]
fn complaints_of_the_stage() {
    assert_snapshot!(with("depth = 18", "depth = 20"), @r#"
    x.toml:14:26: `model.resnet.depth`: there is no ResNet-20
       |
    14 | model.resnet = { depth = 20 }
       |                          ^^
       = help: 18 or 34
    "#);
    assert_snapshot!(with("epochs = 3", "epochs = 3\naugment = [{ crop = { size = 0 } }]"), @r#"
    x.toml:14:30: `augment.0.crop.size`: an empty crop
       |
    14 | augment = [{ crop = { size = 0 } }]
       |                              ^
    "#);
}

#[test]
fn step_names() {
    assert_snapshot!(with("[stage.verdict]", "[stage.\"My Verdict\"]"), @r#"
    x.toml:17:8: step name `My Verdict` must be lower-case words joined by `-` (a to z, 0 to 9)
       |
    17 | [stage."My Verdict"]
       |        ^^^^^^^^^^^^
       = help: `my-verdict`
    "#);
    assert_snapshot!(with("[stage.verdict]", "[[stage.verdict]]"), @r#"
    x.toml:17:1: step `verdict` must be a table, not an array
       |
    17 | [[stage.verdict]]
       | ^^^^^^^^^^^^^^^^^
       = help: write `[stage.verdict]` and its parameters below it
    "#);
}
