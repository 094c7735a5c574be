//! The loops below matching, thresholds, statistics and decoding, without a pipeline.

use std::path::Path;

use anyhow::Context as _;

use crate::data::{EmbeddingFacts, EmbeddingRow, Embeddings, Sums, decode};
use crate::metric::open_set::{Faces, Gallery, Similarity};
use crate::metric::threshold_search::{Outcome, Probe, best, sort};
use crate::ops::{SquareProduct, multiply_adds};
use crate::rng::Random;

/// Embeddings of unknown images and of as many known people, to find the most alike by cosine.
pub struct Matching {
    gallery: Gallery,
    probes: Faces,
}

impl Matching {
    /// Draws so many embeddings of either.
    ///
    /// # Errors
    ///
    /// When there is none to compare with.
    pub fn new(known: usize, unknown: usize, dimension: usize) -> anyhow::Result<Self> {
        let draw = |count: usize, purpose: &str| {
            let mut random = Random::new(0, purpose, &[]);
            let row = |row| {
                let path = format!("n{row:07}/0");
                EmbeddingRow {
                    class: path.split('/').next().map(str::to_owned),
                    label: None,
                    path,
                    row,
                }
            };
            let rows = (0..count).map(row).collect();
            let facts = EmbeddingFacts { count, dimension, normalized: false, flip: false };
            // Uniform: a hundred million normal ones take longer than their products.
            let number = |_| random.uniform() as f32 - 0.5;
            let values = (0..count * dimension).map(number).collect();
            Faces::new(Embeddings { facts, rows, values })
        };
        let gallery = Gallery::new(&draw(known, "known")?, Similarity::Cosine)?;
        Ok(Self { gallery, probes: draw(unknown, "unknown")? })
    }

    /// Finds the most alike of each, and returns the mean of how much.
    ///
    /// # Errors
    ///
    /// When embeddings cannot be compared.
    pub fn run(&self) -> anyhow::Result<f64> {
        let nearest = self.gallery.nearest(&self.probes)?;
        Ok(nearest.iter().map(|one| one.score).sum::<f64>() / nearest.len().max(1) as f64)
    }
}

/// Scores of correct, wrong and unknown probes, to find the threshold with the most right answers.
pub struct Thresholds(Vec<Probe>);

impl Thresholds {
    /// Draws so many scores.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let mut random = Random::new(0, "scores", &[]);
        let mut draw = |_| {
            let (middle, outcome) = match random.below(3) {
                0 => (0.4, Outcome::Unknown),
                1 => (0.4, Outcome::Wrong),
                _ => (0.6, Outcome::Correct),
            };
            Probe { score: middle + 0.4 * (random.uniform() - 0.5), outcome }
        };
        Self((0..count).map(&mut draw).collect())
    }

    /// Puts them in order and returns the best threshold.
    #[must_use]
    pub fn run(&self) -> f64 {
        let mut probes = self.0.clone();
        sort(&mut probes);
        best(probes.iter().copied()).threshold
    }
}

/// Images in memory, to count the mean and the deviation of each channel.
pub struct Counting {
    side: usize,
    planes: Vec<u8>,
}

impl Counting {
    /// Makes so many square images.
    #[must_use]
    pub fn new(count: usize, side: usize) -> Self {
        let mut random = Random::new(0, "images", &[]);
        let image: Vec<u8> = (0..3 * side * side).map(|_| random.below(256) as u8).collect();
        Self { side, planes: image.repeat(count) }
    }

    /// Returns the mean deviation of the channels.
    #[must_use]
    pub fn run(&self) -> f64 {
        let mut sums = Sums::default();
        sums.add(self.side * self.side, &self.planes);
        sums.finish().map_or(0.0, |statistics| statistics.std.iter().sum::<f64>() / 3.0)
    }
}

/// Image files in memory, to decode one after the other on one thread.
pub struct Decoding(Vec<Vec<u8>>);

impl Decoding {
    /// Reads all files of a folder.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry?.path());
        let files = std::fs::read_dir(folder).and_then(|entries| entries.map(read).collect());
        Ok(Self(files.with_context(|| format!("cannot read {}", folder.display()))?))
    }

    /// Decodes them and returns how many bytes the pixels were.
    ///
    /// # Errors
    ///
    /// When one is no image.
    pub fn run(&self) -> anyhow::Result<usize> {
        let (mut count, mut memory) = (0, Vec::new());
        for bytes in &self.0 {
            memory = decode(bytes, memory)?.into_raw();
            count += memory.len();
        }
        Ok(count)
    }
}

/// What other figures are compared with.
pub struct Roof(SquareProduct);

impl Roof {
    /// Makes two square matrices to multiply.
    #[must_use]
    pub fn new(side: usize) -> Self {
        let mut random = Random::new(0, "matrices", &[]);
        let mut draw = || (0..side * side).map(|_| random.uniform() as f32).collect();
        Self(SquareProduct::new(side, draw(), draw()))
    }

    /// Multiplies the matrices and returns a number of the result.
    #[must_use]
    pub fn product(&self) -> f32 {
        self.0.run()
    }

    /// Multiplies and adds f32s, or bf16s into f32s, in registers, so often, on every thread; returns how
    /// many floating-point operations that was.
    #[must_use]
    pub fn registers(rounds: usize, halves: bool) -> u64 {
        multiply_adds(rounds, halves)
    }
}

#[cfg(test)]
mod tests {
    use super::{Counting, Decoding, Matching, Roof, Thresholds};

    #[test]
    fn each_does_its_work() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(folder.path().join(name), b"P6 2 1 255\n123456").unwrap();
        }
        assert_eq!(Decoding::new(folder.path()).unwrap().run().unwrap(), 12);
        assert!(Decoding::new(&folder.path().join("c")).is_err());
        let matching = Matching::new(50, 8, 4).unwrap();
        let mean = matching.run().unwrap();
        assert!((0.5..1.0).contains(&mean), "{mean}");
        // Correct scores lie from 0.4 on, those of nobody up to 0.6; between, either is as likely.
        let threshold = Thresholds::new(3000).run();
        assert!((0.38..0.62).contains(&threshold), "{threshold}");
        let deviation = Counting::new(5, 8).run();
        assert!((0.2..0.4).contains(&deviation), "{deviation}");
        assert!(Roof::new(8).product() > 0.0 && Roof::registers(10, true) > 0);
    }
}
