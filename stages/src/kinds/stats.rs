//! Mean and standard deviation of the channels of an image set.

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::data::{Shards, Sums};
use crate::kind::{Arity, Input, Stage};

/// Computes mean and population standard deviation of each channel over all pixels of all shards,
/// exactly, as `stats.json`: `images`, `pixels`, `mean` and `std` (of numbers in 0..1; red, green,
/// blue). Wire it to the training images alone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Stats {}

impl Stage for Stats {
    const KIND: &'static str = "stats";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Input] = &[Input {
        name: "shards",
        accepts: &["shards"],
        arity: Arity::Many,
        about: "the images to count, from one step or several",
    }];
    const OUTPUT: &'static str = "stats";

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let sets = cx.input_list("shards").iter().map(|directory| Shards::open(directory));
        let sets: Vec<Shards> = sets.collect::<anyhow::Result<_>>()?;
        let total = sets.iter().map(|shards| shards.len() as u64).sum();
        let mut sums = Sums::default();
        let mut before = 0;
        for shards in &sets {
            for block in shards.blocks() {
                cx.check_cancelled()?;
                let (first, images) = block?;
                sums.add(shards.height() * shards.width(), &images);
                let count = images.len() / (3 * shards.height() * shards.width());
                cx.progress(before + (first + count) as u64, total, "images", "summing");
            }
            before += shards.len() as u64;
        }
        let statistics = sums.finish().context("there is no image in input `shards`")?;
        let [red, green, blue] = statistics.mean;
        tracing::info!(images = total, red, green, blue, "mean of each channel");
        statistics.write(cx.out())
    }
}

#[cfg(test)]
mod tests {
    use super::Stats;
    use crate::context::Trial;
    use crate::data::{Entry, ShardWriter, Statistics};
    use crate::kind::Stage as _;

    #[test]
    fn two_sets_count_as_one() {
        let mut trial = Trial::new();
        let sets = [("a", [[10_u8; 4], [20; 4], [30; 4]]), ("b", [[50; 4], [20; 4], [90; 4]])];
        for (name, planes) in sets {
            let folder = trial.directory.path().join(name);
            let mut writer = ShardWriter::create(&folder, 2, 2, Vec::new()).unwrap();
            let entry = Entry { path: "1.png".to_owned(), label: None, class: None };
            writer.write(&[entry], &planes.concat()).unwrap();
            writer.finish().unwrap();
            trial.wire("shards", name);
        }
        Stats {}.run(&trial.context).unwrap();
        let text = std::fs::read(trial.context.out().join("stats.json")).unwrap();
        let stats: Statistics = serde_json::from_slice(&text).unwrap();
        let near = |got: [f64; 3], want: [f64; 3]| {
            got.iter().zip(want).all(|(got, want)| (got - want / 255.0).abs() < 1e-15)
        };
        assert!(near(stats.mean, [30.0, 20.0, 60.0]) && near(stats.std, [20.0, 0.0, 30.0]));
        assert_eq!((stats.images, stats.pixels), (2, 8));
    }

    #[test]
    fn without_images_there_is_nothing_to_say() {
        let mut trial = Trial::new();
        let folder = trial.directory.path().join("none");
        ShardWriter::create(&folder, 2, 2, Vec::new()).unwrap().finish().unwrap();
        trial.wire("shards", "none");
        let error = Stats {}.run(&trial.context).unwrap_err();
        assert!(error.to_string().contains("no image"), "{error}");
    }
}
