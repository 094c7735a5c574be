//! Kinds of stage that the tests of this folder read pipelines with.

use std::num::NonZeroU32;
use std::path::Path;

use super::{Changes, Pipeline, Surroundings};
use crate::problem::Problems;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stages::{Arity, Complaint, Context, Input, Kind, Read, Source, Stage};

pub(super) const KINDS: &[Kind] =
    &[Kind::of::<Gather>(), Kind::of::<Train>(), Kind::of::<Judge>(), Kind::of::<Command>()];

/// A directory with pipeline files, and `faces` to read.
pub(super) struct Project(tempfile::TempDir);

impl Project {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("faces")).unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self(directory)
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Loads `x.toml`.
    pub(super) fn load(&self, settings: &[&str]) -> Result<Pipeline, Problems> {
        self.load_over(&[], settings)
    }

    /// Loads `x.toml` with files of parameters and settings put over it.
    pub(super) fn load_over(
        &self,
        params: &[&str],
        settings: &[&str],
    ) -> Result<Pipeline, Problems> {
        let params = params.iter().map(|name| self.root().join(name)).collect();
        let settings = settings.iter().map(|text| (*text).to_owned()).collect();
        let around = Surroundings { kinds: KINDS, root: Some(self.root()) };
        let changes = Changes { params, settings };
        Pipeline::load_with(&self.root().join("x.toml"), &changes, &around)
    }

    /// What is said of `x.toml`; nothing when it is right.
    pub(super) fn told(&self, settings: &[&str]) -> String {
        self.told_over(&[], settings)
    }

    /// What is said of `x.toml` with files of parameters and settings put over it.
    pub(super) fn told_over(&self, params: &[&str], settings: &[&str]) -> String {
        let told = self.load_over(params, settings).err().map(|problems| problems.to_string());
        let root = self.root().display().to_string();
        told.unwrap_or_default().replace(&format!("{root}/"), "").replace(&root, "ROOT")
    }
}

/// Gathers images from a directory.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Gather {
    /// The directory to read.
    images: Source,
    /// A list of files to leave out.
    #[serde(default)]
    except: Option<Source>,
    /// Height and width in pixels.
    #[serde(default = "size")]
    #[schemars(range(min = 8, max = 1024))]
    size: u32,
    /// What to do with a broken image.
    #[serde(default)]
    on_error: OnError,
}

fn size() -> u32 {
    64
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnError {
    /// Stop.
    #[default]
    Fail,
    /// Go on without it.
    Skip,
}

/// Trains a net.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Train {
    /// How often all images are seen.
    epochs: NonZeroU32,
    /// Makes everything random.
    #[serde(default)]
    seed: u64,
    /// The step of the optimizer.
    #[serde(default = "learning_rate")]
    learning_rate: f64,
    /// The net.
    model: Model,
    /// What is minimized.
    #[serde(default)]
    loss: Loss,
    /// Changes to every image, in this order.
    #[serde(default)]
    augment: Vec<Augmentation>,
    /// Where to stop early.
    #[serde(default)]
    stop: Option<Stop>,
    /// Words for the log.
    #[serde(default)]
    words: Vec<String>,
}

fn learning_rate() -> f64 {
    0.1
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Model {
    /// A residual net.
    Resnet(Resnet),
    /// A few plain layers.
    Plain(Plain),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Resnet {
    /// How many layers: 18 or 34.
    depth: u32,
    /// The share of features left out.
    #[serde(default)]
    dropout: Option<Probability>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Plain {
    /// Channels of each layer.
    widths: Vec<u32>,
}

/// A number from 0 to 1.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
struct Probability(f64);

impl TryFrom<f64> for Probability {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!("a probability is from 0 to 1, not {value}"))
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Loss {
    /// The plain one.
    #[default]
    CrossEntropy,
    /// With an angular margin.
    Arcface(Arcface),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Arcface {
    /// The margin in radians.
    #[schemars(range(min = 0.0, max = 1.5))]
    margin: f64,
    /// The scale.
    #[serde(default = "scale")]
    scale: f64,
}

fn scale() -> f64 {
    30.0
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Augmentation {
    Flip(Flip),
    Crop(Crop),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Flip {
    probability: Probability,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Crop {
    size: u32,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stop {
    /// Epochs without a gain.
    patience: u32,
}

/// Judges weights on images.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Judge {}

/// Runs a program.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Command {
    /// The program and its arguments.
    run: Vec<String>,
    /// Files it reads.
    #[serde(default)]
    files: Vec<Source>,
}

impl Stage for Gather {
    const KIND: &'static str = "gather";
    const VERSION: u32 = 1;
    const OUTPUT: &'static str = "images";

    fn reads(&self) -> Vec<Read> {
        let read = |parameter: &str, source: &Source| Read {
            parameter: parameter.to_owned(),
            source: source.clone(),
            path_matters: false,
        };
        let mut reads = vec![read("images", &self.images)];
        reads.extend(self.except.as_ref().map(|except| read("except", except)));
        reads
    }

    fn run(&self, _: &Context) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Stage for Train {
    const KIND: &'static str = "train";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Input] = &[
        Input {
            name: "train",
            accepts: &["images"],
            arity: Arity::One,
            about: "Seen in training.",
        },
        Input { name: "dev", accepts: &["images"], arity: Arity::Many, about: "Judged on." },
        Input { name: "initial", accepts: &["weights"], arity: Arity::Optional, about: "Start." },
    ];
    const OUTPUT: &'static str = "weights";

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        if let Model::Resnet(resnet) = &self.model
            && ![18, 34].contains(&resnet.depth)
        {
            complaints.push(Complaint {
                parameter: "model.resnet.depth".to_owned(),
                message: format!("there is no ResNet-{}", resnet.depth),
                help: Some("18 or 34".to_owned()),
            });
        }
        for (index, augmentation) in self.augment.iter().enumerate() {
            if matches!(augmentation, Augmentation::Crop(Crop { size: 0 })) {
                complaints.push(Complaint {
                    parameter: format!("augment.{index}.crop.size"),
                    message: "an empty crop".to_owned(),
                    help: None,
                });
            }
        }
        complaints
    }

    fn run(&self, _: &Context) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Stage for Judge {
    const KIND: &'static str = "judge";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Input] = &[
        Input { name: "images", accepts: &["images"], arity: Arity::One, about: "What to judge." },
        Input { name: "weights", accepts: &["weights"], arity: Arity::One, about: "The net." },
    ];
    const OUTPUT: &'static str = "predictions";

    fn run(&self, _: &Context) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Stage for Command {
    const KIND: &'static str = "command";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Input] =
        &[Input { name: "*", accepts: &[], arity: Arity::Many, about: "Anything." }];
    const OUTPUT: &'static str = "files";

    fn reads(&self) -> Vec<Read> {
        let files = self.files.iter().enumerate();
        files
            .map(|(index, source)| Read {
                parameter: format!("files.{index}"),
                source: source.clone(),
                path_matters: true,
            })
            .collect()
    }

    fn run(&self, _: &Context) -> anyhow::Result<()> {
        Ok(())
    }
}
