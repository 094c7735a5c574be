//! Makes batches ahead of the device: reads, changes and normalizes images on threads of its own.

use std::sync::mpsc::sync_channel;

use anyhow::{Context as _, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::data::Picture;

/// Batches that may wait, ready, for the device.
pub(super) const AHEAD: usize = 2;

/// Turns lists of image numbers into tensors.
pub(crate) struct Loader {
    /// Height and width of every image.
    pub(crate) size: [usize; 2],
    /// Subtracted from each channel.
    pub(crate) mean: [f32; 3],
    /// Then divided by.
    pub(crate) std: [f32; 3],
    pool: rayon::ThreadPool,
}

/// Makes the picture of an image number; called from many threads, so that all it draws at random
/// must come from a generator of that image alone.
pub(crate) type Prepare<'a> = dyn Fn(usize) -> anyhow::Result<Picture> + Sync + 'a;

impl Loader {
    /// Makes a loader with threads of its own.
    ///
    /// # Errors
    ///
    /// When the system gives no threads.
    pub(crate) fn new(
        size: [usize; 2],
        mean: [f32; 3],
        std: [f32; 3],
        workers: usize,
    ) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|number| format!("loader-{number}"))
            .build()
            .context("cannot start the threads of the loader")?;
        Ok(Self { size, mean, std, pool })
    }

    /// Calls `consume` with each batch in turn, `[batch, height, width, 3]` f32, while the next
    /// ones are being made. The bytes depend on neither the number of threads nor their timing.
    ///
    /// # Errors
    ///
    /// The first error of `prepare` or `consume`.
    pub(crate) fn each<'a>(
        &self,
        batches: impl Iterator<Item = &'a [usize]> + Send,
        prepare: &Prepare<'_>,
        device: &Device,
        mut consume: impl FnMut(&'a [usize], Tensor) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let make = |images: &[usize]| self.batch(images, prepare);
        self.ahead(batches, &make, |images, pixels| {
            let shape = (images.len(), self.size[0], self.size[1], 3);
            consume(images, Tensor::from_vec(pixels, shape, device)?)
        })
    }

    /// Calls `consume` with what `make` makes of each batch in turn, while the next ones are being made.
    ///
    /// # Errors
    ///
    /// The first error of either.
    pub(super) fn ahead<'a, Made: Send>(
        &self,
        batches: impl Iterator<Item = &'a [usize]> + Send,
        make: &(dyn Fn(&[usize]) -> anyhow::Result<Made> + Sync),
        mut consume: impl FnMut(&'a [usize], Made) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (sender, receiver) = sync_channel(AHEAD);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for images in batches {
                    let made = make(images).map(|made| (images, made));
                    let last = made.is_err();
                    // Nobody receives once `consume` has failed.
                    if sender.send(made).is_err() || last {
                        break;
                    }
                }
            });
            // Owned here, so that an early return lets the thread go before the scope waits for it.
            let receiver = receiver;
            for made in &receiver {
                let (images, made) = made?;
                consume(images, made)?;
            }
            Ok(())
        })
    }

    /// Returns what `work` gives for each image, in order; on the loader's threads.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn all<T: Send>(
        &self,
        images: &[usize],
        work: impl Fn(usize) -> T + Sync + Send,
    ) -> Vec<T> {
        self.pool.install(|| images.par_iter().map(|&image| work(image)).collect())
    }

    fn batch(&self, images: &[usize], prepare: &Prepare<'_>) -> anyhow::Result<Vec<f32>> {
        let [height, width] = self.size;
        let mut pixels = vec![0.0; images.len() * height * width * 3];
        self.pool.install(|| {
            let places = pixels.par_chunks_exact_mut(height * width * 3);
            places.zip(images).try_for_each(|(place, &image)| {
                let picture = prepare(image)?;
                ensure!(
                    [picture.height, picture.width] == self.size,
                    "image {image} is {}x{} where {height}x{width} is meant",
                    picture.height,
                    picture.width
                );
                picture.normalize_into(self.mean, self.std, place);
                Ok(())
            })
        })?;
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::Device;

    use super::{AHEAD, Loader};
    use crate::data::Picture;
    use crate::rng::Random;

    fn noise(image: usize) -> anyhow::Result<Picture> {
        let mut random = Random::new(1, "noise", &[image as u64]);
        let planes: Vec<u8> = (0..3 * 4 * 5).map(|_| random.below(256) as u8).collect();
        Ok(Picture::from_planes(4, 5, &planes))
    }

    fn loader(workers: usize) -> Loader {
        Loader::new([4, 5], [0.5, 0.4, 0.3], [0.3, 0.2, 0.1], workers).unwrap()
    }

    fn run(workers: usize) -> Vec<(Vec<usize>, Vec<f32>)> {
        let order = [4, 1, 7, 0, 2, 5, 3, 6];
        let mut seen = Vec::new();
        let keep = |images: &[usize], batch: candle_core::Tensor| {
            assert_eq!(batch.dims(), [images.len(), 4, 5, 3]);
            seen.push((images.to_vec(), batch.flatten_all()?.to_vec1()?));
            Ok(())
        };
        loader(workers).each(order.chunks(3), &noise, &Device::Cpu, keep).unwrap();
        seen
    }

    #[test]
    fn batches_are_the_same_with_any_number_of_threads() {
        let one = run(1);
        assert_eq!(one.iter().map(|(images, _)| images.len()).collect::<Vec<_>>(), [3, 3, 2]);
        let mut first = vec![0.0; 60];
        noise(4).unwrap().normalize_into([0.5, 0.4, 0.3], [0.3, 0.2, 0.1], &mut first);
        assert_eq!(one[0].1[..60], first);
        assert_eq!(run(2), one);
        assert_eq!(run(5), one);
    }

    #[test]
    fn errors_of_both_ends_end_it() {
        let order: Vec<usize> = (0..1000).collect();
        let made = AtomicUsize::new(0);
        let counted = |image: usize| {
            made.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(image < 500, "image {image} is broken");
            noise(image)
        };
        let each = |consume: &mut dyn FnMut(&[usize]) -> anyhow::Result<()>| {
            let batches = order.chunks(10);
            let error =
                loader(2).each(batches, &counted, &Device::Cpu, |images, _| consume(images));
            error.unwrap_err().to_string()
        };
        assert_eq!(each(&mut |_| anyhow::bail!("enough")), "enough");
        assert!(made.load(Ordering::Relaxed) <= 10 * (AHEAD + 3), "more was made than fits");
        let mut last = 0;
        let error = each(&mut |images| {
            last = images[images.len() - 1];
            Ok(())
        });
        assert!(error.starts_with("image 50") && error.ends_with("is broken"), "{error}");
        assert_eq!(last, 499);
    }
}
