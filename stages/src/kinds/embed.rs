//! Images to embeddings.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::data::{EmbeddingFacts, EmbeddingRow, Embeddings, Shards};
use crate::device;
use crate::kind::{Arity, Input, Pool, Stage};
use crate::training::description::{Description, Precision, Which};
use crate::training::inference::{embed, normalize};
use crate::training::loader::Loader;
use crate::training::set::open_images;
use crate::training::supply::Supply;

/// Computes the embedding of each image: `embeddings.safetensors` (tensor `embeddings`, f32,
/// `[images, dimension]`), `index.jsonl` (`path`, `label`, `class`, `row` of each) and
/// `embeddings.json` (`count`, `dimension`, `normalized`, `flip`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Embed {
    /// Which weights of the training.
    #[serde(default)]
    pub(crate) weights: Which,
    /// Whether embeddings are scaled to length 1, as cosine similarity needs them.
    #[serde(default = "yes")]
    pub(crate) normalize: bool,
    /// Whether the embedding of the image mirrored left to right is added (before scaling).
    #[serde(default = "yes")]
    pub(crate) flip: bool,
    /// In what numbers activations are computed; with bf16 they take half the memory.
    #[serde(default)]
    pub(crate) precision: Precision,
    /// Images computed together; on the CPU it cannot change the result.
    #[serde(default = "default_batch")]
    pub(crate) batch: NonZeroU32,
    /// Threads that prepare images, as many as the stage has where not given; cannot change the
    /// result.
    #[serde(default)]
    pub(crate) workers: Option<NonZeroU32>,
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn default_batch() -> NonZeroU32 {
    NonZeroU32::new(64).expect("64 is not 0")
}

/// What `embed` and `classify` take.
pub(super) const INPUTS: &[Input] = &[
    Input {
        name: "images",
        accepts: &["shards"],
        arity: Arity::One,
        about: "images of the size that the network was trained with",
    },
    Input {
        name: "weights",
        accepts: &["weights"],
        arity: Arity::One,
        about: "what a training left",
    },
];

impl Stage for Embed {
    const KIND: &'static str = "embed";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Input] = INPUTS;
    const OUTPUT: &'static str = "embeddings";
    const POOL: Pool = Pool::Gpu;
    const FREE: &'static [&'static str] = &["batch", "workers"];

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let shards = Shards::open(cx.input("images")?)?;
        let rows = shards.entries().iter().enumerate();
        let row = |(row, entry): (usize, &crate::data::Entry)| EmbeddingRow {
            path: entry.path.clone(),
            label: entry.label,
            class: entry.class.clone(),
            row,
        };
        let rows = rows.map(row).collect();
        let pass = Pass {
            cx,
            which: self.weights,
            precision: self.precision,
            flip: self.flip,
            batch: self.batch.get() as usize,
            workers: self.workers.map(|workers| workers.get() as usize),
        };
        let Passed { mut embeddings, mirrored, network, .. } = pass.run(&shards)?;
        let dimension = network.model.width();
        if let Some(mirrored) = mirrored {
            embeddings.iter_mut().zip(mirrored).for_each(|(x, mirrored)| *x += mirrored);
        }
        if self.normalize {
            normalize(&mut embeddings, dimension);
        }
        let facts = EmbeddingFacts {
            count: shards.len(),
            dimension,
            normalized: self.normalize,
            flip: self.flip,
        };
        Embeddings { facts, rows, values: embeddings }.write(cx.out())
    }
}

/// One pass of trained weights over a shard set.
pub(super) struct Pass<'a> {
    pub(super) cx: &'a Context,
    pub(super) which: Which,
    pub(super) precision: Precision,
    pub(super) flip: bool,
    pub(super) batch: usize,
    pub(super) workers: Option<usize>,
}

/// What a pass gives.
pub(super) struct Passed {
    /// `[images, dimension]`.
    pub(super) embeddings: Vec<f32>,
    /// Of the mirrored images, where these were wanted.
    pub(super) mirrored: Option<Vec<f32>>,
    pub(super) network: crate::training::network::Network,
    pub(super) description: Description,
}

impl Pass<'_> {
    /// Loads the weights and embeds every image, and where wanted every mirrored image.
    ///
    /// # Errors
    ///
    /// When the weights or the images cannot be used, or the run is cancelled.
    pub(super) fn run(self, shards: &Shards) -> anyhow::Result<Passed> {
        let Self { cx, which, precision, flip, batch, workers } = self;
        let directory = cx.input("weights")?;
        let description = Description::read(directory)?;
        description.check_size(shards.height(), shards.width())?;
        let device = device::open(cx.device)?;
        let network = description.load(directory, which, precision, &device)?;
        let size = [description.height, description.width];
        let [mean, std] =
            [description.mean, description.std].map(|channels| channels.map(|x| x as f32));
        let loader = Loader::new(size, mean, std, workers.unwrap_or(cx.threads))?;
        let images = open_images(shards)?;
        let supply = Supply::sparing(&images, &loader, batch, &device, network.dtype)?;
        let total = shards.len() as u64 * if flip { 2 } else { 1 };
        let pass = |mirror: bool, before: u64| {
            embed(&network, &supply, mirror, batch, |done| {
                cx.check_cancelled()?;
                let note = if mirror { "embedding mirror images" } else { "embedding" };
                cx.progress(before + done, total, "images", note);
                Ok(())
            })
        };
        let embeddings = pass(false, 0)?;
        let mirrored = flip.then(|| pass(true, shards.len() as u64)).transpose()?;
        Ok(Passed { embeddings, mirrored, network, description })
    }
}

#[cfg(test)]
mod tests {
    use super::Embed;
    use crate::context::Trial;
    use crate::data::Embeddings;
    use crate::kind::Stage as _;
    use crate::training::trials::{files, trial, undisturbed};

    /// Embeds the dev images of the small training; returns what it wrote, and read back.
    fn embed(parameters: &str) -> (std::collections::BTreeMap<String, Vec<u8>>, Embeddings) {
        let mut trial: Trial = trial();
        for (name, bytes) in undisturbed() {
            trial.write(&format!("weights/{name}"), bytes);
        }
        trial.wire("weights", "weights");
        trial.wire("images", "dev");
        toml::from_str::<Embed>(parameters).unwrap().run(&trial.context).unwrap();
        (files(trial.context.out()), Embeddings::read(trial.context.out()).unwrap())
    }

    #[test]
    fn the_batch_does_not_change_a_byte() {
        let (wanted, _) = embed("");
        for batch in [1, 3, 7, 24] {
            assert_eq!(embed(&format!("batch = {batch}\nworkers = 2")).0, wanted, "batch {batch}");
        }
    }

    #[test]
    fn options_do_what_they_say() {
        let (_, plain) = embed("flip = false\nnormalize = false");
        let (_, unit) = embed("flip = false");
        let (_, both) = embed("");
        assert_eq!((plain.facts.count, plain.facts.dimension), (24, 16));
        assert_eq!((unit.facts.normalized, unit.facts.flip), (true, false));
        assert_eq!(plain.rows[4].path, "n000001/0.png");
        assert_eq!(plain.rows[4].class.as_deref(), Some("n000001"));
        for (raw, scaled) in plain.iter().zip(unit.iter()) {
            let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(raw.iter().zip(scaled).all(|(raw, x)| (raw / length - x).abs() < 1e-6));
        }
        assert_ne!(unit.values, both.values);
        let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>();
        assert!(both.iter().all(|row| (length(row) - 1.0).abs() < 1e-5));
    }
}
