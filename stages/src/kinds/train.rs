//! Trains a network from scratch, or on from given weights.

use std::num::NonZeroU32;

use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::augment::{AnyAugmentation, check_all};
use crate::context::Context;
use crate::data::Statistics;
use crate::kind::{Arity, Complaint, Input, Pool, Stage};
use crate::loss::AnyLoss;
use crate::model::AnyModel;
use crate::number::{NonNegative, Positive};
use crate::optim::AnyOptimizer;
use crate::schedule::AnySchedule;
use crate::training::description::{Description, Precision, Which};
use crate::training::loader::Loader;
use crate::training::network::Network;
use crate::training::set::LabelledSet;
use crate::training::size::Size;
use crate::training::trainer::{Data, Trained, Trainer};
use crate::{device, tensorboard};

/// Trains a network on labelled images and judges it on dev after every epoch, closed-set
/// (accuracy) and open-set (is the most similar other dev image of the same person?).
///
/// Each epoch sees the training images in a new random order, each changed anew by `augment`, in
/// batches; the last images of the order that do not fill a batch wait for another epoch. Writes
/// `best.safetensors` and `last.safetensors` (weights by the names of where the model is from, the
/// head of the loss with them), `model.json` (all one must know to use them), `metrics.jsonl` (a line for each epoch)
/// and `tensorboard/` (event files). A killed training goes on from its last checkpoint and ends
/// with the very same bytes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Train {
    /// What first weights, order, augmentation and dropout are drawn from.
    #[serde(default)]
    pub(crate) seed: u64,
    /// How many times to go through the training images.
    pub(crate) epochs: NonZeroU32,
    /// Images in a step.
    #[serde(default = "default_batch")]
    pub(crate) batch: NonZeroU32,
    /// Images to embeddings.
    pub(crate) model: AnyModel,
    /// What is minimized.
    pub(crate) loss: AnyLoss,
    /// How a gradient changes the weights.
    pub(crate) optimizer: AnyOptimizer,
    /// How the learning rate changes over the run.
    pub(crate) schedule: AnySchedule,
    /// Random changes to training images, in this order.
    #[serde(default)]
    pub(crate) augment: Vec<AnyAugmentation>,
    /// In what numbers activations are computed; with bf16 they take half the memory.
    #[serde(default)]
    pub(crate) precision: Precision,
    /// The highest Euclidean norm of all gradients together; longer ones are scaled down to it.
    #[serde(default)]
    pub(crate) gradient_clip: Option<Positive>,
    /// Which epoch's weights become `best.safetensors`.
    #[serde(default)]
    pub(crate) select: Select,
    /// The most numbers that may be trained, head included (HW2P2 allows 21,000,000).
    #[serde(default)]
    pub(crate) parameter_limit: Option<u64>,
    /// How many classes there are; given, `parameter-limit` counts the head before anything runs,
    /// and other data is an error.
    #[serde(default)]
    pub(crate) classes: Option<NonZeroU32>,
    /// With input `initial`: whether the head starts anew, as it must for other classes.
    #[serde(default)]
    pub(crate) new_head: bool,
    /// Whether what norms and activations give is computed again on the way back instead of kept: of what a batch
    /// takes, a sixth less memory (ResNet-50) to almost half (MobileNetV2), and some more time; cannot change the
    /// result.
    #[serde(default)]
    pub(crate) recompute: bool,
    /// When to write down what is needed to go on after a kill; cannot change the result.
    #[serde(default)]
    pub(crate) checkpoint: CheckpointInterval,
    /// Steps between two lines of the log; cannot change the result.
    #[serde(default = "default_log_interval")]
    pub(crate) log_interval: NonZeroU32,
    /// Threads that prepare images, as many as the stage has where not given; cannot change the
    /// result.
    #[serde(default)]
    pub(crate) workers: Option<NonZeroU32>,
}

/// What makes an epoch better than another; of equal ones the lower loss on dev, then the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Select {
    /// The share of dev images whose class is right.
    #[default]
    Accuracy,
    /// The share of dev images whose most similar other dev image is of the same class.
    Retrieval,
    /// That it is later.
    Last,
}

/// When to write a checkpoint, besides when the run is cancelled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CheckpointInterval {
    /// After so many epochs; 0 for never.
    pub(crate) epochs: u32,
    /// After so many minutes; 0 for never.
    pub(crate) minutes: NonNegative,
}

impl Default for CheckpointInterval {
    fn default() -> Self {
        Self { epochs: 1, minutes: NonNegative::new(10.0) }
    }
}

fn default_batch() -> NonZeroU32 {
    NonZeroU32::new(64).expect("64 is not 0")
}

fn default_log_interval() -> NonZeroU32 {
    NonZeroU32::new(50).expect("50 is not 0")
}

const SHARDS: &[&str] = &["shards"];

impl Stage for Train {
    const KIND: &'static str = "train";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Input] = &[
        Input { name: "train", accepts: SHARDS, arity: Arity::One, about: "images to learn from" },
        Input {
            name: "dev",
            accepts: SHARDS,
            arity: Arity::One,
            about: "images of the same classes to judge by",
        },
        Input {
            name: "stats",
            accepts: &["stats"],
            arity: Arity::One,
            about: "mean and standard deviation of the channels of the training images",
        },
        Input {
            name: "initial",
            accepts: &["weights"],
            arity: Arity::Optional,
            about: "weights to start from (the best of that training) instead of random ones",
        },
    ];
    const OUTPUT: &'static str = "weights";
    const POOL: Pool = Pool::Gpu;
    const FREE: &'static [&'static str] =
        &["checkpoint.epochs", "checkpoint.minutes", "log-interval", "recompute", "workers"];

    fn check(&self) -> Vec<Complaint> {
        let below = |family: &str, complaints: Vec<Complaint>| {
            let name = |one: Complaint| Complaint {
                parameter: format!("{family}.{}", one.parameter),
                ..one
            };
            complaints.into_iter().map(name).collect::<Vec<_>>()
        };
        let mut complaints = below("model", self.model.check());
        complaints.extend(below("loss", self.loss.check()));
        complaints.extend(below("optimizer", self.optimizer.check()));
        complaints.extend(below("schedule", self.schedule.check()));
        complaints.extend(check_all("augment", &self.augment));
        if let (Some(limit), true) = (self.parameter_limit, complaints.is_empty()) {
            complaints.extend(self.check_size(limit));
        }
        complaints
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let device = device::open(cx.device)?;
        let dtype = self.precision.dtype();
        let train = LabelledSet::open(cx.input("train")?).context("input `train`")?;
        let dev = LabelledSet::open(cx.input("dev")?).context("input `dev`")?;
        dev.check_against(&train)?;
        self.check_data(&train, &dev)?;
        let stats = Statistics::open(cx.input("stats")?)?;
        let description = self.describe(&train, &stats)?;

        let classes = train.classes.len();
        let initial = cx.optional_input("initial");
        ensure!(
            initial.is_some() || !self.new_head,
            "new-head is for input `initial`, which is not wired"
        );
        let body = initial.filter(|_| self.new_head).map(|tree| tree.join(Which::Best.file()));
        let body = body.as_deref();
        let network =
            Network::new(self.seed, &device, dtype, &self.model, &self.loss, classes, body)?;
        let count = network.weights.count();
        tracing::info!(images = train.labels.len(), classes, parameters = count, "training");
        if let Some(limit) = self.parameter_limit {
            ensure!(count <= limit, "{count} parameters are more than parameter-limit {limit}");
        }
        self.start_from_initial(cx, &network, &train.classes)?;

        let workers = self.workers.map_or(cx.threads, |workers| workers.get() as usize);
        let [mean, std] = [stats.mean, stats.std].map(|channels| channels.map(|x| x as f32));
        let loader = Loader::new(train.size, mean, std, workers)?;
        let data = Data { train, dev, loader };
        let trained = Trainer::new(cx, self, network, &data)?.run(&data)?;
        description.write(cx.out())?;
        write(trained, cx)
    }
}

impl Train {
    /// Counts the declared model before anything runs.
    fn check_size(&self, limit: u64) -> Option<Complaint> {
        let classes = self.classes.map(|classes| classes.get() as usize);
        // What cannot be built is told by the check of the part, or when it runs.
        let size = Size::of(&self.model, &self.loss, classes).ok()?;
        (size.count > limit).then(|| Complaint {
            parameter: "model".to_owned(),
            message: format!("{size} where parameter-limit allows {limit}"),
            help: Some("a smaller depth, width or embedding, or a higher limit".to_owned()),
        })
    }

    fn check_data(&self, train: &LabelledSet, dev: &LabelledSet) -> anyhow::Result<()> {
        let classes = train.classes.len();
        ensure!(classes > 1, "there is nothing to tell apart: train has {classes} classes");
        if let Some(expected) = self.classes {
            ensure!(
                expected.get() as usize == classes,
                "the training images are of {classes} classes where `classes` says {expected}"
            );
        }
        let mut labels = dev.labels.clone();
        labels.sort_unstable();
        ensure!(
            self.select != Select::Retrieval || labels.windows(2).any(|pair| pair[0] == pair[1]),
            "select = \"retrieval\" needs two dev images of some class: use \"accuracy\""
        );
        Ok(())
    }

    fn describe(&self, train: &LabelledSet, stats: &Statistics) -> anyhow::Result<Description> {
        ensure!(
            stats.std.iter().all(|&std| std > 0.0),
            "a channel of the training images never changes (std {:?})",
            stats.std
        );
        Ok(Description {
            model: self.model.clone(),
            loss: self.loss.clone(),
            classes: train.classes.clone(),
            height: train.size[0],
            width: train.size[1],
            mean: stats.mean,
            std: stats.std,
            precision: self.precision,
        })
    }

    /// Loads the weights wired to `initial` with their head; without it, the network was made so.
    fn start_from_initial(
        &self,
        cx: &Context,
        network: &Network,
        classes: &[String],
    ) -> anyhow::Result<()> {
        let Some(directory) = cx.optional_input("initial").filter(|_| !self.new_head) else {
            return Ok(());
        };
        let given = Description::read(directory)?;
        ensure!(
            given.classes == classes,
            "the initial weights know {} classes and the training images are of {}{}: set \
             new-head = true to keep the model and start a new head",
            given.classes.len(),
            classes.len(),
            if given.classes.len() == classes.len() { " others" } else { "" }
        );
        network.weights.load(&directory.join(Which::Best.file())).context(
            "the initial weights are of another model, or of another loss: \
             new-head = true keeps the model and starts a new head",
        )
    }
}

fn write(trained: Trained, cx: &Context) -> anyhow::Result<()> {
    let Trained { network, best, metrics, events } = trained;
    let put = |name: &str, bytes: &[u8]| {
        let path = cx.out().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    network.weights.save(&cx.out().join(Which::Last.file()))?;
    network.weights.restore(best)?;
    network.weights.save(&cx.out().join(Which::Best.file()))?;
    put("metrics.jsonl", metrics.as_bytes())?;
    let folder = cx.out().join("tensorboard");
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    put(&format!("tensorboard/{}", tensorboard::FILE_NAME), events.bytes())
}
