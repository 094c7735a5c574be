//! How images reach the device of a network: made on the CPU, or their bytes on the GPU and changed there.
//!
//! A GPU that has room keeps the bytes of all images; else those of each batch are copied while it computes. The
//! random numbers are the same in every way, and the two ways of a GPU give the same bytes.

use anyhow::Result;
#[cfg(any(feature = "cuda", test))]
use anyhow::ensure;
use candle_core::{DType, Device, Tensor};

#[cfg(any(feature = "cuda", test))]
use super::loader::AHEAD;
use super::loader::Loader;
#[cfg(any(feature = "cuda", test))]
use crate::augment::draw_all;
use crate::augment::{AnyAugmentation, apply_all};
#[cfg(any(feature = "cuda", test))]
use crate::change::Change;
use crate::data::Images;
#[cfg(any(feature = "cuda", test))]
use crate::ops;
use crate::rng::Random;

/// Where the bytes of images are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(any(feature = "cuda", test))]
enum Way {
    /// All of them on the GPU.
    Resident,
    /// Each batch on its way there.
    Streamed,
}

/// Decides for a set of so many bytes on a GPU with so many free, once the weights are there: a set may take half of
/// them, because what a step takes is known only after one.
#[cfg(any(feature = "cuda", test))]
fn way(set: u64, free: u64) -> Way {
    if set <= free / 2 { Way::Resident } else { Way::Streamed }
}

/// Bytes that one block of a resident set has at most: kernels count no further than 2^31.
#[cfg(any(feature = "cuda", test))]
const BLOCK: usize = 1 << 30;

/// The images of a set, on their way to one device.
pub(crate) struct Supply<'a> {
    images: &'a Images,
    loader: &'a Loader,
    device: Device,
    held: Held,
}

enum Held {
    /// Pictures are made on the CPU.
    Host,
    #[cfg(any(feature = "cuda", test))]
    Resident {
        blocks: Vec<Tensor>,
        /// Images of a block.
        each: usize,
        dtype: DType,
    },
    #[cfg(any(feature = "cuda", test))]
    Streamed { uploads: ops::Uploads, dtype: DType },
}

/// What a batch needs of the CPU: for each augmentation what it drew for each image, and where they are not on the GPU
/// the images themselves.
#[cfg(any(feature = "cuda", test))]
struct Made {
    changes: Vec<Vec<Change>>,
    staged: Option<ops::Staged>,
}

impl<'a> Supply<'a> {
    /// Chooses the way to a device, for batches of `batch` images in `dtype`; where it leads over the CPU they are f32.
    ///
    /// # Errors
    ///
    /// When images cannot be read, or the device fails.
    pub(crate) fn open(
        images: &'a Images,
        loader: &'a Loader,
        batch: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        Self::chosen(images, loader, batch, device, dtype, true)
    }

    /// As [`Self::open`], for images that are seldom wanted: a GPU keeps no more than some batches.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) fn sparing(
        images: &'a Images,
        loader: &'a Loader,
        batch: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        Self::chosen(images, loader, batch, device, dtype, false)
    }

    /// Chooses the way; a GPU may keep the images where it has room and `keeps`.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(unused_variables, reason = "for a GPU"))]
    fn chosen(
        images: &'a Images,
        loader: &'a Loader,
        batch: usize,
        device: &Device,
        dtype: DType,
        keeps: bool,
    ) -> Result<Self> {
        #[cfg(any(feature = "cuda", test))]
        if let Some(free) = ops::free_bytes(device)? {
            if !keeps {
                return Self::on_gpu(images, loader, batch, device, dtype, Way::Streamed);
            }
            let image = 3 * loader.size[0] * loader.size[1];
            let set = (images.len() * image) as u64;
            let way = way(set, free);
            tracing::info!(set, free, ?way, "images for the GPU");
            return Self::on_gpu(images, loader, batch, device, dtype, way);
        }
        Ok(Self { images, loader, device: device.clone(), held: Held::Host })
    }

    /// Opens every way to a device: of a GPU both, and over the CPU for others.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    #[cfg_attr(not(any(feature = "cuda", test)), expect(unused_variables, reason = "for a GPU"))]
    pub(crate) fn ways(
        images: &'a Images,
        loader: &'a Loader,
        batch: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Vec<Self>> {
        #[cfg(any(feature = "cuda", test))]
        if ops::takes(&Tensor::zeros(1, DType::F32, device)?) {
            let open = |way| Self::on_gpu(images, loader, batch, device, dtype, way);
            return [Way::Resident, Way::Streamed].map(open).into_iter().collect();
        }
        Ok(vec![Self { images, loader, device: device.clone(), held: Held::Host }])
    }

    #[cfg(any(feature = "cuda", test))]
    fn on_gpu(
        images: &'a Images,
        loader: &'a Loader,
        batch: usize,
        device: &Device,
        dtype: DType,
        way: Way,
    ) -> Result<Self> {
        let image = 3 * loader.size[0] * loader.size[1];
        let held = match way {
            Way::Streamed => {
                // those that wait, one that is made, and one that is copied
                let uploads = ops::Uploads::new(device, batch * image, AHEAD + 2)?;
                Held::Streamed { uploads, dtype }
            }
            Way::Resident => {
                let each = (BLOCK / image).max(1);
                let mut blocks = Vec::new();
                for first in (0..images.len()).step_by(each) {
                    let mut bytes = Vec::with_capacity(each.min(images.len() - first) * image);
                    for index in first..(first + each).min(images.len()) {
                        bytes.extend_from_slice(&images.planes(index)?);
                    }
                    let length = bytes.len();
                    blocks.push(Tensor::from_vec(bytes, length, &Device::Cpu)?.to_device(device)?);
                }
                Held::Resident { blocks, each, dtype }
            }
        };
        Ok(Self { images, loader, device: device.clone(), held })
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// Calls `consume` with each batch in turn, `[batch, height, width, 3]`, while the next ones are being made.
    /// `random` is what the augmentations of an image draw from.
    ///
    /// # Errors
    ///
    /// When an image cannot be read, the device fails, or the first error of `consume`.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(unused_mut, reason = "for a GPU"))]
    pub(crate) fn each<'b>(
        &self,
        batches: impl Iterator<Item = &'b [usize]> + Send,
        augment: &[AnyAugmentation],
        random: &(dyn Fn(usize) -> Random + Sync),
        mut consume: impl FnMut(&'b [usize], Tensor) -> Result<()>,
    ) -> Result<()> {
        match &self.held {
            Held::Host => {
                let prepare = |image: usize| {
                    Ok(apply_all(augment, self.images.picture(image)?, &mut random(image)))
                };
                self.loader.each(batches, &prepare, &self.device, consume)
            }
            #[cfg(any(feature = "cuda", test))]
            Held::Resident { blocks, each, dtype } => {
                let image = 3 * self.loader.size[0] * self.loader.size[1];
                let starts: Vec<i64> = blocks.iter().map(ops::planes_at).collect::<Result<_>>()?;
                let make = |images: &[usize]| {
                    let changes = self.draw(images, augment, random);
                    Ok(Made { changes, staged: None })
                };
                self.loader.ahead(batches, &make, |images, made: Made| {
                    let place =
                        |index: &usize| starts[index / each] + (index % each * image) as i64;
                    let places = images.iter().map(place).collect();
                    consume(images, self.batch(places, &made.changes, *dtype)?)
                })
            }
            #[cfg(any(feature = "cuda", test))]
            Held::Streamed { uploads, dtype } => {
                let image = 3 * self.loader.size[0] * self.loader.size[1];
                let make = |images: &[usize]| {
                    let changes = self.draw(images, augment, random);
                    let mut staged = uploads.stage()?;
                    let room = staged.bytes()?.len() / image;
                    ensure!(images.len() <= room, "{} images and room for {room}", images.len());
                    for (bytes, &index) in staged.bytes()?.chunks_exact_mut(image).zip(images) {
                        bytes.copy_from_slice(&self.images.planes(index)?);
                    }
                    Ok(Made { changes, staged: Some(staged) })
                };
                self.loader.ahead(batches, &make, |images, made: Made| {
                    let Some(staged) = made.staged else { anyhow::bail!("a batch has no bytes") };
                    let pixels = uploads.send(staged, |first| {
                        let places = (0..images.len()).map(|at| first + (at * image) as i64);
                        self.batch(places.collect(), &made.changes, *dtype)
                    })?;
                    consume(images, pixels)
                })
            }
        }
    }

    /// Draws what each augmentation does to each image.
    #[cfg(any(feature = "cuda", test))]
    fn draw(
        &self,
        images: &[usize],
        augment: &[AnyAugmentation],
        random: &(dyn Fn(usize) -> Random + Sync),
    ) -> Vec<Vec<Change>> {
        let size = self.loader.size;
        let drawn = self.loader.all(images, |image| draw_all(augment, size, &mut random(image)));
        let mut changes: Vec<Vec<Change>> = augment.iter().map(|_| Vec::new()).collect();
        for image in drawn {
            for (changes, change) in changes.iter_mut().zip(image) {
                changes.push(change);
            }
        }
        changes
    }

    #[cfg(any(feature = "cuda", test))]
    fn batch(&self, places: Vec<i64>, changes: &[Vec<Change>], dtype: DType) -> Result<Tensor> {
        let Loader { size, mean, std, .. } = *self.loader;
        ops::Pictures { places, size, mean, std, changes }.batch(dtype, &self.device)
    }
}

#[cfg(test)]
#[cfg(not(feature = "cuda"))]
mod tests {
    use candle_core::{DType, Device};

    use super::{Supply, Way, way};
    use crate::augment::AnyAugmentation;
    use crate::data::Images;
    use crate::rng::Random;
    use crate::training::loader::Loader;

    #[test]
    fn a_set_may_take_half_of_what_is_free() {
        assert_eq!(way(5 << 30, 10 << 30), Way::Resident);
        assert_eq!(way((5 << 30) + 1, 10 << 30), Way::Streamed);
        assert_eq!(way(1, 0), Way::Streamed);
    }

    fn images() -> Images {
        let mut random = Random::new(1, "noise", &[]);
        let block = |count: usize| (0..count * 60).map(|_| random.below(256) as u8).collect();
        Images::in_memory([4, 5], [3, 4, 2].map(block).into())
    }

    /// Returns the batches of one way, and of the CPU where none is named.
    fn batches(way: Option<Way>) -> Vec<(Vec<usize>, Vec<f32>)> {
        let (images, order) = (images(), [4, 1, 7, 0, 2, 5, 8, 3, 6]);
        let loader = Loader::new([4, 5], [0.5, 0.4, 0.3], [0.3, 0.2, 0.1], 2).unwrap();
        let augment: Vec<AnyAugmentation> = [
            "flip = {}",
            "random-resized-crop = {}",
            "color-jitter = { brightness = 0.4, contrast = 0.4 }",
            "erasing = {}",
        ]
        .map(|text| toml::from_str(text).unwrap())
        .into();
        let random = |image: usize| Random::new(3, "augment", &[image as u64]);
        let (device, dtype) = (Device::Cpu, DType::F32);
        let supply = match way {
            None => Supply::open(&images, &loader, 3, &device, dtype).unwrap(),
            Some(way) => Supply::on_gpu(&images, &loader, 3, &device, dtype, way).unwrap(),
        };
        let mut seen = Vec::new();
        let keep = |images: &[usize], batch: candle_core::Tensor| {
            assert_eq!(batch.dims(), [images.len(), 4, 5, 3]);
            seen.push((images.to_vec(), batch.flatten_all()?.to_vec1()?));
            Ok(())
        };
        supply.each(order.chunks_exact(3), &augment, &random, keep).unwrap();
        seen
    }

    #[test]
    fn every_way_leads_to_the_same_batches() {
        let (resident, streamed) = (batches(Some(Way::Resident)), batches(Some(Way::Streamed)));
        assert_eq!(resident, streamed);
        let expected = batches(None);
        assert_eq!(expected.len(), 3);
        for ((images, found), (same, expected)) in resident.iter().zip(&expected) {
            assert_eq!(images, same);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-5, "{images:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn an_error_of_who_learns_ends_it() {
        let (images, order) = (images(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let loader = Loader::new([4, 5], [0.5; 3], [0.3; 3], 2).unwrap();
        for way in [Way::Resident, Way::Streamed] {
            let supply =
                Supply::on_gpu(&images, &loader, 1, &Device::Cpu, DType::F32, way).unwrap();
            let random = |image: usize| Random::new(3, "augment", &[image as u64]);
            let mut left = 4;
            let error = supply.each(order.chunks(1), &[], &random, |_, _| {
                left -= 1;
                anyhow::ensure!(left > 0, "enough");
                Ok(())
            });
            assert_eq!(error.unwrap_err().to_string(), "enough");
        }
    }
}
