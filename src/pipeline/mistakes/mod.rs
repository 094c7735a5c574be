//! Every mistake a pipeline file can have, and what is said of it.

mod files;
mod instances;
mod placement;
mod policy;
mod values;
mod wiring;

use super::sample::Project;

/// A pipeline without a mistake, to make mistakes in.
const RIGHT: &str = r#"
[params]
size = 32

[stage.faces]
kind = "gather"
images = "faces"
size = "${params.size}"

[stage.net]
kind = "train"
inputs = { train = "faces" }
epochs = 3
model.resnet = { depth = 18 }
loss.arcface = { margin = 0.5 }

[stage.verdict]
kind = "judge"
inputs = { images = "faces", weights = "net" }
"#;

/// What is said when `from` is replaced by `to` in [`RIGHT`].
fn with(from: &str, to: &str) -> String {
    assert_eq!(RIGHT.matches(from).count(), 1, "{from} is not there once");
    Project::new(&[("x.toml", &RIGHT.replace(from, to))]).told(&[])
}

/// What is said of a file that extends [`RIGHT`].
fn over(text: &str, settings: &[&str]) -> String {
    let text = format!("extends = \"base.toml\"\n{text}");
    Project::new(&[("base.toml", RIGHT), ("x.toml", &text)]).told(settings)
}

#[test]
fn a_right_pipeline() {
    assert_eq!(with("epochs = 3", "epochs = 4"), "");
    assert_eq!(over("[stage.net]\nepochs = 9", &["stage.net.seed=7"]), "");
}
