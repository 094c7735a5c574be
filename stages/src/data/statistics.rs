//! Mean and standard deviation of each channel, from exact integer sums.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ops::byte_sums;

/// What `stats` writes as `stats.json`; red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Statistics {
    /// Images that were counted.
    pub(crate) images: u64,
    /// Pixels that were counted.
    pub(crate) pixels: u64,
    /// The mean, of numbers in 0..=1.
    pub(crate) mean: [f64; 3],
    /// The population standard deviation, of numbers in 0..=1.
    pub(crate) std: [f64; 3],
}

/// Sums over pixels, exact up to 2^48 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    images: u64,
    pixels: u64,
    values: [u64; 3],
    squares: [u64; 3],
}

impl Sums {
    /// Adds images of `area` pixels, `[images, 3, area]` bytes.
    pub(crate) fn add(&mut self, area: usize, images: &[u8]) {
        let of_image = |image: &[u8]| {
            let mut sums = Self { images: 1, pixels: area as u64, ..Self::default() };
            for (channel, plane) in image.chunks_exact(area).enumerate() {
                let mut both = [0; 2];
                byte_sums(plane, &mut both);
                [sums.values[channel], sums.squares[channel]] = both;
            }
            sums
        };
        // The identity is taken as often as rayon splits the work, so it must be nothing.
        let sums =
            images.par_chunks_exact(3 * area).map(of_image).reduce(Self::default, Self::plus);
        *self = self.plus(sums);
    }

    fn plus(mut self, other: Self) -> Self {
        self.images += other.images;
        self.pixels += other.pixels;
        for channel in 0..3 {
            self.values[channel] += other.values[channel];
            self.squares[channel] += other.squares[channel];
        }
        self
    }

    /// Turns the sums into mean and deviation; none when nothing was added.
    pub(crate) fn finish(&self) -> Option<Statistics> {
        if self.pixels == 0 {
            return None;
        }
        let scale = self.pixels as f64 * 255.0;
        let mean = self.values.map(|sum| sum as f64 / scale);
        let mut std = [0.0; 3];
        for (channel, std) in std.iter_mut().enumerate() {
            // n Σx² - (Σx)² in integers: no cancellation.
            let all = u128::from(self.pixels) * u128::from(self.squares[channel]);
            let variance = all - u128::from(self.values[channel]).pow(2);
            *std = (variance as f64).sqrt() / scale;
        }
        Some(Statistics { images: self.images, pixels: self.pixels, mean, std })
    }
}

impl Statistics {
    /// Reads `stats.json` of a directory.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or a channel does not vary, so that nothing can be divided by it.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("stats.json");
        let shown = path.display();
        let text = std::fs::read(&path).with_context(|| format!("cannot read {shown}"))?;
        let statistics: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{shown} is not what stats writes"))?;
        for (name, std) in ["red", "green", "blue"].iter().zip(statistics.std) {
            ensure!(
                std.is_finite() && std > 0.0,
                "{shown}: the standard deviation of {name} is {std}, which nothing can be divided by"
            );
        }
        Ok(statistics)
    }

    /// Writes `stats.json` into a directory.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join("stats.json");
        let mut text = serde_json::to_vec_pretty(self).context("statistics are plain data")?;
        text.push(b'\n');
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Statistics, Sums};
    use crate::rng::Random;

    #[test]
    fn sums_agree_with_plain_loops_however_they_are_split() {
        let (area, count) = (40_000, 12);
        let mut random = Random::new(1, "statistics", &[]);
        let images: Vec<u8> = (0..3 * area * count).map(|_| random.below(256) as u8).collect();
        let mut whole = Sums::default();
        whole.add(area, &images);
        let mut split = Sums::default();
        images.chunks(3 * area).for_each(|image| split.add(area, image));
        assert_eq!(whole, split);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        for images_at_once in [5, 11] {
            let mut blocks = Sums::default();
            pool.install(|| {
                images.chunks(images_at_once * 3 * area).for_each(|block| blocks.add(area, block));
            });
            assert_eq!(whole, blocks);
        }

        let statistics = whole.finish().unwrap();
        assert_eq!((statistics.images, statistics.pixels), (12, 480_000));
        for channel in 0..3 {
            let values: Vec<f64> = images
                .chunks(area)
                .skip(channel)
                .step_by(3)
                .flatten()
                .map(|&byte| f64::from(byte) / 255.0)
                .collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let std = (variance / values.len() as f64).sqrt();
            assert!((statistics.mean[channel] - mean).abs() < 1e-12);
            assert!((statistics.std[channel] - std).abs() < 1e-12);
        }
    }

    #[test]
    fn white_is_one_and_does_not_vary() {
        let mut sums = Sums::default();
        assert_eq!(sums.finish(), None);
        sums.add(50_000, &vec![255; 150_000]);
        let statistics = sums.finish().unwrap();
        assert_eq!((statistics.mean, statistics.std), ([1.0; 3], [0.0; 3]));
        let folder = tempfile::tempdir().unwrap();
        statistics.write(folder.path()).unwrap();
        let error = format!("{:#}", Statistics::open(folder.path()).unwrap_err());
        assert!(error.contains("stats.json") && error.contains("red is 0"), "{error}");
    }
}
