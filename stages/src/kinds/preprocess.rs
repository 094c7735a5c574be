//! A folder of images to shards of one size.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::data::{EarlierShards, Entry, Filter, Fit, Layout, Scaler, ShardWriter, decode, list};
use crate::kind::{Complaint, Read, Source, Stage};

/// Decodes a folder of images (JPEG, PNG, BMP, PGM, PPM; upright by EXIF, in RGB), scales them to
/// one size and packs them, in order of path, into `shards/00000.safetensors` and so on (tensor
/// `images`, uint8, `[count, 3, height, width]`), with `index.jsonl` (`path`, `label`, `class`,
/// `shard`, `row` of each image) and `shards.json` (`height`, `width`, `count`, `classes`, `skipped`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Preprocess {
    /// The folder of images.
    images: Source,
    /// The side to which images are scaled, in pixels.
    size: NonZeroU32,
    /// Whether the shorter side becomes `size` or both do.
    #[serde(default)]
    resize: Fit,
    /// The side of the square cut from the middle after scaling; `size` where it is not given.
    #[serde(default)]
    crop: Option<NonZeroU32>,
    /// How pixels are weighed.
    #[serde(default)]
    filter: Filter,
    /// How the folder tells classes.
    #[serde(default)]
    layout: Layout,
    /// The endings of image files, in any case; other files are passed over.
    #[serde(default = "default_extensions")]
    extensions: Vec<String>,
    /// What happens when an image cannot be decoded.
    #[serde(default)]
    on_error: OnError,
    /// The most images in a shard.
    #[serde(default = "default_shard_size")]
    shard_size: NonZeroU32,
}

/// What happens when an image cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnError {
    /// The step fails and names it.
    #[default]
    Fail,
    /// It is left out, and `skipped` in `shards.json` says which and why.
    Skip,
}

fn default_extensions() -> Vec<String> {
    ["jpg", "jpeg", "png", "bmp", "pgm", "ppm"].map(str::to_owned).into()
}

fn default_shard_size() -> NonZeroU32 {
    NonZeroU32::new(512).expect("512 is not 0")
}

impl Stage for Preprocess {
    const KIND: &'static str = "preprocess";
    const VERSION: u32 = 1;
    const OUTPUT: &'static str = "shards";
    const TAKES_OVER: bool = true;

    fn reads(&self) -> Vec<Read> {
        let images = self.images.clone();
        vec![Read { parameter: "images".to_owned(), source: images, path_matters: false }]
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let mut complain = |parameter: &str, message: String, help: String| {
            let parameter = parameter.to_owned();
            complaints.push(Complaint { parameter, message, help: Some(help) });
        };
        let size = self.size.get();
        if self.side() > size {
            let message = format!("a crop of {} is larger than the image", self.side());
            complain("crop", message, format!("at most `size`, {size}"));
        }
        if size > LARGEST_SIDE {
            let message = format!("{size} pixels a side is out of range");
            complain("size", message, format!("a number from 1 to {LARGEST_SIDE}"));
        }
        if self.extensions.is_empty() {
            complain(
                "extensions",
                "no file is an image".to_owned(),
                "endings, as \"jpg\"".to_owned(),
            );
        }
        for (position, one) in self.extensions.iter().enumerate() {
            if one.is_empty() || one.contains(['.', '/']) {
                complain(
                    &format!("extensions.{position}"),
                    format!("`{one}` is not an ending"),
                    "the letters after the last dot, as \"jpg\"".to_owned(),
                );
            }
        }
        complaints
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let root = cx.path(&self.images)?;
        let listing = list(&root, self.layout, &self.extensions)?;
        let (entries, total) = (&listing.entries, listing.entries.len() as u64);
        tracing::info!(
            images = total,
            classes = listing.classes.len(),
            ignored = listing.ignored,
            "listed"
        );
        let side = self.side() as usize;
        let mut writer = ShardWriter::create(cx.out(), side, side, listing.classes.clone())?;
        let earlier = cx.earlier.as_ref().and_then(|earlier| {
            // Nothing but time is lost without it.
            EarlierShards::open(earlier, "images")
                .inspect_err(|error| tracing::warn!("all images are made anew: {error:#}"))
                .ok()
        });
        let from = From { root: &root, earlier: earlier.as_ref() };
        let (done, decoded) = (AtomicU64::new(0), AtomicU64::new(0));
        let make = |chunk, memory| self.make(cx, from, chunk, memory, [&done, &decoded], total);
        // One shard is written while the next is made, in the memory of the one before: never are more
        // than two there.
        let mut chunks = entries.chunks(self.shard_size.get() as usize);
        let mut memory = Vec::new();
        let mut next = chunks.next().map(|chunk| make(chunk, Vec::new())).transpose()?;
        while let Some(shard) = next {
            let free = std::mem::take(&mut memory);
            let (written, made) = rayon::join(
                || self.write(&mut writer, shard),
                || chunks.next().map(|chunk| make(chunk, free)).transpose(),
            );
            memory = written?;
            next = made?;
        }
        tracing::info!(decoded = decoded.into_inner(), "the others were taken over");
        let skipped = writer.skipped();
        ensure!(
            skipped < entries.len(),
            "none of the {total} images in {} can be used: see the log",
            root.display()
        );
        if skipped > 0 {
            cx.measure("skipped-images", skipped as f64);
        }
        writer.finish()
    }
}

/// The largest `size`: an image and its scaled copy stay below a gigabyte.
const LARGEST_SIDE: u32 = 16_384;

/// Where images come from.
#[derive(Clone, Copy)]
struct From<'a> {
    root: &'a Path,
    earlier: Option<&'a EarlierShards>,
}

/// A shard in memory: images that could be used, and the others.
struct Made<'a> {
    entries: Vec<Entry>,
    /// Their bytes; of no meaning where there is a file.
    images: Vec<u8>,
    /// A file that holds just these images.
    file: Option<PathBuf>,
    failed: Vec<(&'a Entry, anyhow::Error)>,
}

impl Preprocess {
    fn side(&self) -> u32 {
        self.crop.unwrap_or(self.size).get()
    }

    /// Decodes and scales the images of a shard, into memory that held another; the order is that of the
    /// entries.
    fn make<'a>(
        &self,
        cx: &Context,
        From { root, earlier }: From<'_>,
        chunk: &'a [Entry],
        mut images: Vec<u8>,
        [done, decoded]: [&AtomicU64; 2],
        total: u64,
    ) -> anyhow::Result<Made<'a>> {
        cx.check_cancelled()?;
        if let Some(file) = earlier.and_then(|earlier| earlier.whole(chunk)) {
            done.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            let (entries, file) = (chunk.to_vec(), Some(file));
            return Ok(Made { entries, images, file, failed: Vec::new() });
        }
        let image_bytes = 3 * (self.side() as usize).pow(2);
        let bytes = chunk.len() * image_bytes;
        if images.is_empty() {
            // zeros that the system gives at first sight, on the threads that write there
            images = vec![0; bytes];
        } else {
            images.resize(bytes, 0);
        }
        let scaler = Scaler::new(self.size.get(), self.side(), self.resize, self.filter);
        let one = |tools: &mut (Scaler, Vec<u8>), (entry, out): (&Entry, &mut [u8])| {
            let (scaler, memory) = tools;
            if cx.check_cancelled().is_err() {
                return Ok(());
            }
            let taken =
                earlier.map_or(Ok(false), |earlier| earlier.planes_into(&entry.path, out))?;
            let result = if taken {
                Ok(())
            } else {
                decoded.fetch_add(1, Ordering::Relaxed);
                std::fs::read(root.join(&entry.path))
                    .context("cannot read the file")
                    .and_then(|bytes| decode(&bytes, std::mem::take(memory)))
                    .and_then(|image| {
                        let scaled = scaler.planes_into(&image, out);
                        *memory = image.into_raw();
                        scaled
                    })
            };
            let number = done.fetch_add(1, Ordering::Relaxed) + 1;
            if number.is_multiple_of(64) || number == total {
                cx.progress(number, total, "images", "decoding and scaling");
            }
            result
        };
        let results: Vec<anyhow::Result<()>> = chunk
            .par_iter()
            .zip(images.par_chunks_exact_mut(image_bytes))
            .map_init(|| (scaler.clone(), Vec::new()), one)
            .collect();
        cx.check_cancelled()?;

        let mut made = Made {
            entries: Vec::with_capacity(chunk.len()),
            images,
            file: None,
            failed: Vec::new(),
        };
        for (position, (entry, result)) in chunk.iter().zip(results).enumerate() {
            match result {
                Ok(()) => {
                    let (from, to) = (position * image_bytes, made.entries.len() * image_bytes);
                    if from != to {
                        made.images.copy_within(from..from + image_bytes, to);
                    }
                    made.entries.push(entry.clone());
                }
                Err(error) => made.failed.push((entry, error)),
            }
        }
        made.images.truncate(made.entries.len() * image_bytes);
        if let (OnError::Fail, Some((entry, error))) = (self.on_error, made.failed.first()) {
            let path = root.join(&entry.path);
            let more = match made.failed.len() - 1 {
                0 => String::new(),
                more => format!("; {more} more of the {} images in this shard fail", chunk.len()),
            };
            bail!(
                "{}: {error:#}{more} (on-error = \"skip\" leaves such images out)",
                path.display()
            );
        }
        Ok(made)
    }

    /// Writes a shard and returns its memory.
    fn write(&self, writer: &mut ShardWriter, made: Made<'_>) -> anyhow::Result<Vec<u8>> {
        for (entry, error) in made.failed {
            tracing::warn!(path = entry.path, "skipped: {error:#}");
            writer.skip(entry.path.clone(), format!("{error:#}"));
        }
        match made.file {
            Some(file) => writer.take_over(&made.entries, &file)?,
            None => writer.write(&made.entries, &made.images)?,
        }
        Ok(made.images)
    }
}

#[cfg(test)]
mod tests {
    use super::Preprocess;
    use crate::context::{Earlier, Trial};
    use crate::data::Shards;
    use crate::kind::Stage as _;
    use crate::rng::Random;

    /// A PPM image of random pixels.
    fn ppm(width: u32, height: u32, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed, "ppm", &[]);
        let mut bytes = format!("P6 {width} {height} 255\n").into_bytes();
        bytes.extend((0..3 * width * height).map(|_| random.below(256) as u8));
        bytes
    }

    /// Five images of two classes, and one that is broken.
    fn trial() -> Trial {
        let trial = Trial::new();
        for (number, path) in
            ["b/1.ppm", "b/3.ppm", "a/1.ppm", "a/x/2.ppm", "b/4.PPM"].iter().enumerate()
        {
            let number = number as u32;
            trial.write(&format!("faces/{path}"), ppm(20 + 3 * number, 30 - number, number.into()));
        }
        let whole = ppm(9, 9, 9);
        trial.write("faces/b/2.ppm", &whole[..100]);
        trial.write("faces/about.txt", "faces");
        trial
    }

    fn stage(trial: &Trial, parameters: &str) -> Preprocess {
        let images = trial.directory.path().join("faces");
        toml::from_str(&format!("images = {images:?}\n{parameters}")).unwrap()
    }

    fn fnv(bytes: &[u8]) -> u64 {
        let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        bytes.iter().fold(0xCBF2_9CE4_8422_2325, mix)
    }

    /// Every output file with a hash of its content.
    fn output(trial: &Trial) -> Vec<(String, u64)> {
        let out = trial.context.out();
        let files = ["index.jsonl", "shards.json"].into_iter().map(|name| out.join(name));
        let shards = std::fs::read_dir(out.join("shards")).unwrap().map(|one| one.unwrap().path());
        let mut all: Vec<_> = files
            .chain(shards)
            .map(|path| {
                let name = path.strip_prefix(out).unwrap().display().to_string();
                (name, fnv(&std::fs::read(&path).unwrap()))
            })
            .collect();
        all.sort();
        all
    }

    /// If this fails and the change is meant, raise `VERSION` with it.
    #[test]
    fn output_is_pinned_and_independent_of_threads() {
        let run = |threads: usize| {
            let trial = trial();
            let stage = stage(&trial, "size = 16\ncrop = 12\nshard-size = 2\non-error = \"skip\"");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| stage.run(&trial.context)).unwrap();
            (output(&trial), trial)
        };
        let (alone, trial) = run(1);
        assert_eq!(alone, run(3).0);
        let want = [
            ("index.jsonl", 3_873_229_012_384_942_262),
            ("shards.json", 15_284_708_285_716_773_171),
            ("shards/00000.safetensors", 8_858_761_105_954_980_513),
            ("shards/00001.safetensors", 17_760_698_588_306_551_474),
            ("shards/00002.safetensors", 8_270_140_034_070_139_954),
        ];
        assert_eq!(alone, want.map(|(name, hash)| (name.to_owned(), hash)));

        let shards = Shards::open(trial.context.out()).unwrap();
        let index: Vec<_> =
            shards.entries().iter().map(|one| (one.path.as_str(), one.label)).collect();
        let want =
            [("a/1.ppm", 0), ("a/x/2.ppm", 0), ("b/1.ppm", 1), ("b/3.ppm", 1), ("b/4.PPM", 1)];
        assert_eq!(index, want.map(|(path, label)| (path, Some(label))));
        assert_eq!(
            (shards.height(), shards.width(), shards.classes()),
            (12, 12, &["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!(shards.skipped()[0].path, "b/2.ppm");
        assert_eq!(trial.measure("skipped-images"), Some(1.0));
    }

    /// Runs a stage over changed images, with what an earlier run made and without.
    fn after(change: impl Fn(&Trial) -> Vec<&'static str>) -> (Vec<(String, u64)>, usize) {
        let mut trial = trial();
        let stage = stage(&trial, "size = 16\nshard-size = 2\non-error = \"skip\"");
        stage.run(&trial.context).unwrap();
        let old = trial.directory.path().join("old");
        std::fs::rename(trial.context.out(), &old).unwrap();
        let changed = change(&trial).into_iter().map(str::to_owned).collect();
        let mut run = |earlier| {
            trial.context.earlier = earlier;
            std::fs::remove_dir_all(trial.context.out()).ok();
            std::fs::create_dir(trial.context.out()).unwrap();
            stage.run(&trial.context).unwrap();
            let shards = std::fs::read_dir(trial.context.out().join("shards")).unwrap();
            let links = shards.filter(|one| one.as_ref().unwrap().path().is_symlink()).count();
            (output(&trial), links)
        };
        let (anew, none) = run(None);
        assert_eq!(none, 0);
        let changed = [("images".to_owned(), changed)].into();
        let (with, links) = run(Some(Earlier { out: old, changed }));
        assert_eq!(with, anew, "the same bytes, whatever there was before");
        (with, links)
    }

    #[test]
    fn images_that_did_not_change_are_taken_over() {
        assert_eq!(after(|_| vec![]).1, 2, "the shard with the broken image is written again");
        let edited = |trial: &Trial| {
            trial.write("faces/b/4.PPM", ppm(8, 9, 77));
            vec!["b/4.PPM"]
        };
        assert_eq!(after(edited).1, 1);
        let added = |trial: &Trial| {
            trial.write("faces/a/0.ppm", ppm(8, 9, 78));
            vec!["a/0.ppm"]
        };
        assert_eq!(after(added).1, 0, "every image is in another place");
        let removed = |trial: &Trial| {
            std::fs::remove_file(trial.directory.path().join("faces/b/4.PPM")).unwrap();
            vec!["b/4.PPM"]
        };
        assert!(after(removed).1 > 0);
        // What is not said to have changed is not decoded.
        let unsaid = |trial: &Trial| {
            trial.write("faces/a/1.ppm", "no image");
            vec!["b/4.PPM"]
        };
        assert!(std::panic::catch_unwind(|| after(unsaid)).is_err());
    }

    #[test]
    fn a_broken_image_is_named() {
        let trial = trial();
        let error = format!("{:#}", stage(&trial, "size = 16").run(&trial.context).unwrap_err());
        assert!(error.contains("faces/b/2.ppm: broken PGM or PPM file"), "{error}");
    }

    #[test]
    fn nothing_usable_is_an_error_even_when_skipping() {
        let trial = Trial::new();
        trial.write("faces/1.jpg", "not a face");
        let stage = stage(&trial, "size = 16\non-error = \"skip\"");
        let error = stage.run(&trial.context).unwrap_err().to_string();
        assert!(error.contains("none of the 1 images"), "{error}");
    }

    #[test]
    fn cancelling_stops() {
        let trial = trial();
        trial.context.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = stage(&trial, "size = 16").run(&trial.context).unwrap_err().to_string();
        assert_eq!(error, "cancelled");
    }

    #[test]
    fn wrong_parameters_are_complained_of() {
        let trial = Trial::new();
        let wrong = |parameters: &str| -> Vec<String> {
            stage(&trial, parameters).check().into_iter().map(|one| one.parameter).collect()
        };
        assert!(wrong("size = 8").is_empty());
        assert_eq!(wrong("size = 8\ncrop = 9"), ["crop"]);
        assert_eq!(wrong("size = 20000"), ["size"]);
        assert_eq!(wrong("size = 8\nextensions = []"), ["extensions"]);
        assert_eq!(wrong("size = 8\nextensions = [\"jpg\", \".png\"]"), ["extensions.1"]);
    }
}
