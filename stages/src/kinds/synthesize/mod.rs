//! `synthesize`: pictures of people who do not exist, in the layout of HW2P2.

mod layout;

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::kind::{Complaint, Stage};
use crate::number::{NonNegative, Probability};
use crate::synthesis::{Variation, World};

use layout::Layout;

/// Draws pictures of people who do not exist, in the layout of HW2P2, so that everything can be tried
/// without any data. What makes a person (the shape of the head, skin, eyes, brows, nose, mouth, hair,
/// beard, glasses, moles) is apart from what makes a picture (pose, light, expression, background, things in
/// the way, blur, noise, compression), so that telling people apart takes learning: neighbours in
/// pixels are seldom the same person.
///
/// Writes `classification/` with `train` and `dev` (a folder a person), `test` (flat) and
/// `classification_sample_submission.csv`; `verification/` with `known` (a folder a person), `unknown_dev`
/// and `unknown_test` (flat), `verification_dev.csv` and `verification_sample_submission.csv`; and, where
/// no stage looks unless told to, `truth/classification_test.csv` and `truth/verification_test.csv`. No
/// person of one task is in the other.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Synthesize {
    /// Another seed gives other people in other pictures.
    #[serde(default)]
    seed: u64,
    /// The side of the square pictures, in pixels, at most 1024.
    #[serde(default = "default_size")]
    size: NonZeroU32,
    /// How many people there are to classify.
    #[serde(default = "default_identities")]
    identities: NonZeroU32,
    /// Training pictures of each of them.
    #[serde(default = "default_train_images")]
    train_images: NonZeroU32,
    /// Development pictures of each of them.
    #[serde(default = "default_five")]
    dev_images: NonZeroU32,
    /// Test pictures of each of them.
    #[serde(default = "default_five")]
    test_images: NonZeroU32,
    /// How many people are known for verification.
    #[serde(default = "default_known")]
    known: NonZeroU32,
    /// Pictures of each of them in `known`.
    #[serde(default = "default_known_images")]
    known_images: NonZeroU32,
    /// Pictures in `unknown_dev`.
    #[serde(default = "default_unknown_dev")]
    unknown_dev: NonZeroU32,
    /// Pictures in `unknown_test`.
    #[serde(default = "default_unknown_test")]
    unknown_test: NonZeroU32,
    /// The share of unknown pictures that show nobody known, each somebody else.
    #[serde(default = "default_unknown_share")]
    unknown_share: Probability,
    /// How much people differ: 1 as usual; near 0 all have one shape of face.
    #[serde(default = "default_diversity")]
    diversity: NonNegative,
    /// How much the pictures of one person differ.
    #[serde(default)]
    variation: Variation,
}

const fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect("defaults are not 0")
}

fn default_size() -> NonZeroU32 {
    number(64)
}
fn default_identities() -> NonZeroU32 {
    number(100)
}
fn default_train_images() -> NonZeroU32 {
    number(20)
}
fn default_five() -> NonZeroU32 {
    number(5)
}
fn default_known() -> NonZeroU32 {
    number(96)
}
fn default_known_images() -> NonZeroU32 {
    number(1)
}
fn default_unknown_dev() -> NonZeroU32 {
    number(180)
}
fn default_unknown_test() -> NonZeroU32 {
    number(360)
}
fn default_unknown_share() -> Probability {
    Probability::new(1.0 / 9.0)
}
fn default_diversity() -> NonNegative {
    NonNegative::new(1.0)
}

/// The largest side of a picture, in pixels.
const LARGEST: u32 = 1024;
/// How many people can have a name of six digits that is not that of nobody.
const MOST_PEOPLE: u64 = 999_999;

impl Stage for Synthesize {
    const KIND: &'static str = "synthesize";
    const VERSION: u32 = 1;
    const OUTPUT: &'static str = "images";

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let mut complain = |parameter: &str, message: String, help: String| {
            let parameter = parameter.to_owned();
            complaints.push(Complaint { parameter, message, help: Some(help) });
        };
        let size = self.size.get();
        if size > LARGEST {
            let message = format!("{size} pixels a side is out of range");
            complain("size", message, format!("a number from 1 to {LARGEST}"));
        }
        let people = u64::from(self.identities.get()) + u64::from(self.known.get());
        let people = people + self.strangers(self.unknown_dev) + self.strangers(self.unknown_test);
        if people > MOST_PEOPLE {
            let message = format!("{people} people are more than there are names for");
            let help =
                format!("at most {MOST_PEOPLE} in `identities`, `known` and the unknown together");
            complain("identities", message, help);
        }
        complaints
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let Layout { shots, tables } = self.layout();
        let folders: std::collections::BTreeSet<&Path> =
            shots.iter().filter_map(|shot| Path::new(&shot.path).parent()).collect();
        for folder in folders.into_iter().chain([Path::new("truth")]) {
            let folder = cx.out().join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        for (path, text) in tables {
            write(&cx.out().join(path), text.as_bytes())?;
        }
        let world = World {
            seed: self.seed,
            diversity: self.diversity.get(),
            variation: self.variation,
            side: self.size.get() as usize,
        };
        let (taken, total) = (AtomicU64::new(0), shots.len() as u64);
        shots.par_iter().try_for_each(|shot| {
            cx.check_cancelled()?;
            let picture = world.picture(shot.person, shot.index);
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, picture.quality)
                .encode_image(&picture.image)
                .with_context(|| format!("cannot encode {}", shot.path))?;
            write(&cx.out().join(&shot.path), &bytes)?;
            let done = taken.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(64) || done == total {
                cx.progress(done, total, "images", "drawing faces");
            }
            anyhow::Ok(())
        })?;
        tracing::info!(images = total, size = self.size, "drawn");
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Synthesize;
    use crate::context::Trial;
    use crate::kind::Stage;

    pub(super) fn small(more: &str) -> Synthesize {
        let text = "size = 16\nidentities = 6\ntrain-images = 3\ndev-images = 2\ntest-images = 2\n\
                    known = 5\nunknown-dev = 18\nunknown-test = 9\n";
        toml::from_str(&format!("{text}{more}")).unwrap()
    }

    /// Every file below a directory, by path.
    fn files(root: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
        walkdir::WalkDir::new(root)
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                let path = entry.path().strip_prefix(root).unwrap().display().to_string();
                (path, std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    fn made(synthesize: &Synthesize, threads: usize) -> BTreeMap<String, Vec<u8>> {
        let trial = Trial::new();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| synthesize.run(&trial.context)).unwrap();
        files(trial.context.out())
    }

    #[test]
    fn the_layout_is_that_of_the_homework() {
        let made = made(&small(""), 2);
        let below = |folder: &str| made.keys().filter(|path| path.starts_with(folder)).count();
        assert_eq!(below("classification/train/"), 18);
        assert_eq!(below("classification/dev/"), 12);
        assert_eq!(below("classification/test/"), 12);
        assert_eq!(below("verification/known/"), 5);
        assert_eq!(below("verification/unknown_dev/"), 18);
        assert_eq!(below("verification/unknown_test/"), 9);
        assert_eq!(made.len(), 18 + 12 + 12 + 5 + 18 + 9 + 5);
        let text = |path: &str| String::from_utf8(made[path].clone()).unwrap();
        let sample = text("classification/classification_sample_submission.csv");
        assert!(sample.starts_with("id,label\n000000.jpg,0\n000001.jpg,0\n"));
        let sample = text("verification/verification_sample_submission.csv");
        assert!(sample.starts_with("id,label\n0,n000000\n1,n000000\n"));
        let nobody = |path: &str| text(path).matches(",n000000\n").count();
        assert_eq!(nobody("verification/verification_dev.csv"), 2);
        assert_eq!(nobody("truth/verification_test.csv"), 1);
        let image = image::load_from_memory(&made["classification/test/000000.jpg"]).unwrap();
        assert_eq!((image.width(), image.height()), (16, 16));
    }

    #[test]
    fn bytes_depend_on_the_parameters_alone() {
        let first = made(&small(""), 1);
        assert_eq!(made(&small(""), 3), first);
        assert!(made(&small("seed = 5"), 2) != first);
    }

    #[test]
    fn parameters_are_checked() {
        let told =
            |more| small(more).check().into_iter().map(|one| one.parameter).collect::<Vec<_>>();
        assert!(told("").is_empty());
        let text = "size = 2000\nidentities = 999999\n";
        let large: Synthesize = toml::from_str(text).unwrap();
        let told: Vec<String> = large.check().into_iter().map(|one| one.parameter).collect();
        assert_eq!(told, ["size", "identities"]);
    }
}
