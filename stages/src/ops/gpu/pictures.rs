//! Training images made into batches on a GPU: decoded, changed as their augmentations drew, and normalized.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::launch::{Argument, Argument::Count, address, filled, launch, name_of};
use crate::change::{Change, Cover, Recolour, Rectangle};

/// Words that a change is told in, as the kernels have it.
const WORDS: usize = 8;
/// Lanes that the pixels of a picture are cut into for its mean grey.
const LANES: usize = 64;
/// What stands in the order of a [`Recolour`] for what there is not.
const NONE: u8 = 4;

/// Images as a GPU finds them, and how they are normalized.
#[derive(Clone, Debug)]
pub(crate) struct Pictures<'a> {
    /// Where the planes [3, height, width] of each image lie, as [`planes_at`] says.
    pub(crate) places: Vec<i64>,
    /// Height and width.
    pub(crate) size: [usize; 2],
    /// Subtracted from each channel.
    pub(crate) mean: [f32; 3],
    /// Then divided by.
    pub(crate) std: [f32; 3],
    /// For each augmentation, what it drew for each image.
    pub(crate) changes: &'a [Vec<Change>],
}

/// Returns where the bytes of a tensor of u8 begin.
///
/// # Errors
///
/// When it is not where kernels compute.
pub(crate) fn planes_at(bytes: &Tensor) -> Result<i64> {
    ensure!(bytes.dtype() == DType::U8, "images are bytes, not {:?}", bytes.dtype());
    match address(bytes)? {
        Argument::Address(place, _) => Ok(place.cast_signed()),
        other => anyhow::bail!("{other:?} is no address"),
    }
}

/// The kernel that makes the changes of one augmentation, and its words for each image.
struct Told {
    kernel: &'static str,
    words: Vec<i64>,
    noise: Vec<u8>,
}

/// Writes the changes of one augmentation down; nothing where it leaves all images as they are.
fn told(changes: &[Change], size: [usize; 2]) -> Result<Option<Told>> {
    let mut told =
        Told { kernel: "", words: Vec::with_capacity(changes.len() * WORDS), noise: Vec::new() };
    for change in changes {
        let (kernel, words) = match change {
            Change::Nothing => ("", Vec::new()),
            Change::Mirror => ("mirror", vec![1]),
            Change::Stretch(part) if [part.height, part.width] == size => ("", Vec::new()),
            Change::Stretch(part) => ("stretch", part_words(1, *part).to_vec()),
            Change::Turn { degrees, fill } => {
                let (sine, cosine) = degrees.to_radians().sin_cos();
                ("turn", vec![1, wide(sine), wide(cosine), narrow(*fill)])
            }
            Change::Recolour(by) => ("recolour", colour_words(*by)),
            Change::Cover(part, with) => {
                let (kind, last) = match with {
                    Cover::Grey(grey) => (1, narrow(*grey)),
                    Cover::Noise(noise) => {
                        let begin = told.noise.len() as i64;
                        told.noise.extend(noise);
                        (2, begin)
                    }
                };
                let mut words = part_words(kind, *part).to_vec();
                words.push(last);
                ("cover", words)
            }
        };
        ensure!(
            kernel.is_empty() || told.kernel.is_empty() || kernel == told.kernel,
            "one augmentation drew {kernel} and {}",
            told.kernel
        );
        if !kernel.is_empty() {
            told.kernel = kernel;
        }
        let end = told.words.len() + WORDS;
        told.words.extend(words);
        told.words.resize(end, 0);
    }
    Ok((!told.kernel.is_empty()).then_some(told))
}

fn wide(number: f64) -> i64 {
    number.to_bits().cast_signed()
}

fn narrow(number: f32) -> i64 {
    i64::from(number.to_bits())
}

fn part_words(kind: i64, part: Rectangle) -> [i64; 5] {
    let Rectangle { top, left, height, width } = part;
    [kind, top as i64, left as i64, height as i64, width as i64]
}

fn colour_words(Recolour { order, some, factors, shift }: Recolour) -> Vec<i64> {
    let order = order.map(|part| if some[usize::from(part)] { part } else { NONE });
    let mut words = vec![1, i64::from(u32::from_le_bytes(order))];
    words.extend(factors.map(narrow));
    words.push(narrow(shift));
    words
}

impl Pictures<'_> {
    /// Returns the batch [N, height, width, 3], f32 or bf16.
    ///
    /// # Errors
    ///
    /// When there are not as many changes as images, or the driver fails.
    pub(crate) fn batch(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let (images, [height, width]) = (self.places.len(), self.size);
        let pixels = images * height * width;
        let sizes = [Count(images), Count(height), Count(width)];
        let shape = (images, height, width, 3);
        let there = |tensor: candle_core::Result<Tensor>| tensor?.to_device(device);
        let places = there(Tensor::new(self.places.as_slice(), &Device::Cpu))?;
        let mut pictures = filled(device, DType::F32, shape)?;
        let [a, b, c] = sizes;
        launch(device, "decode", pixels, &[a, b, c, address(&places)?, address(&pictures)?])?;
        for changes in self.changes {
            ensure!(changes.len() == images, "{} changes for {images} images", changes.len());
            let Some(Told { kernel, words, noise }) = told(changes, self.size)? else { continue };
            let words = there(Tensor::new(words, &Device::Cpu))?;
            let mut arguments = vec![a, b, c, address(&words)?];
            let mut kept = Vec::new();
            if kernel == "recolour" {
                let partial = filled(device, DType::F32, (images, LANES))?;
                let means = filled(device, DType::F32, images)?;
                let mut of = arguments.clone();
                of.extend([Count(LANES), address(&pictures)?, address(&partial)?]);
                launch(device, "greys", images * LANES, &of)?;
                let area = Count(height * width);
                let of = [a, Count(LANES), area, address(&partial)?, address(&means)?];
                launch(device, "mean_greys", images, &of)?;
                arguments.push(address(&means)?);
                kept.extend([partial, means]);
            }
            if kernel == "cover" {
                // never empty, so that it has a place
                let noise = if noise.is_empty() { vec![0] } else { noise };
                let noise = there(Tensor::new(noise, &Device::Cpu))?;
                arguments.push(address(&noise)?);
                kept.push(noise);
            }
            let changed = filled(device, DType::F32, shape)?;
            arguments.extend([address(&pictures)?, address(&changed)?]);
            launch(device, kernel, pixels, &arguments)?;
            pictures = changed;
        }
        let scale = self.std.map(|one| 1.0 / one);
        let channels: Vec<f32> = self.mean.into_iter().chain(scale).collect();
        let channels = there(Tensor::new(channels, &Device::Cpu))?;
        let batch = filled(device, dtype, shape)?;
        let arguments =
            [Count(3 * pixels), address(&channels)?, address(&pictures)?, address(&batch)?];
        launch(device, &name_of("normalized", dtype)?, 3 * pixels, &arguments)?;
        Ok(batch)
    }
}

#[cfg(test)]
#[cfg(not(feature = "cuda"))]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::{Pictures, planes_at};
    use crate::augment::{AnyAugmentation, apply_all, draw_all};
    use crate::change::Change;
    use crate::data::Picture;
    use crate::rng::Random;

    const MEAN: [f32; 3] = [0.5, 0.4, 0.3];
    const STD: [f32; 3] = [0.3, 0.2, 0.1];
    const SIZE: [usize; 2] = [19, 23];

    fn parse(text: &str) -> Vec<AnyAugmentation> {
        #[derive(serde::Deserialize)]
        struct Document {
            augment: Vec<AnyAugmentation>,
        }
        toml::from_str::<Document>(&format!("augment = [{text}]")).unwrap().augment
    }

    /// Makes images by the kernels and by the CPU's augmentations from the same seed, and returns the largest
    /// difference.
    fn apart(augment: &str) -> f32 {
        let (augment, images) = (parse(augment), 60);
        let mut random = Random::new(4, "images", &[]);
        let numbers = 3 * SIZE[0] * SIZE[1];
        let planes: Vec<u8> = (0..images * numbers).map(|_| random.below(256) as u8).collect();
        let seed = |image: usize| Random::new(9, "augment", &[image as u64]);
        let drawn: Vec<Vec<Change>> =
            (0..images).map(|image| draw_all(&augment, SIZE, &mut seed(image))).collect();
        let changes: Vec<Vec<Change>> = (0..augment.len())
            .map(|one| drawn.iter().map(|image| image[one].clone()).collect())
            .collect();
        let bytes = Tensor::new(planes.as_slice(), &Device::Cpu).unwrap();
        let first = planes_at(&bytes).unwrap();
        let places = (0..images).map(|image| first + (image * numbers) as i64).collect();
        let pictures = Pictures { places, size: SIZE, mean: MEAN, std: STD, changes: &changes };
        let found = pictures.batch(DType::F32, &Device::Cpu).unwrap();
        let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
        let mut worst = 0.0_f32;
        for (image, found) in found.chunks_exact(numbers).enumerate() {
            let picture =
                Picture::from_planes(SIZE[0], SIZE[1], &planes[image * numbers..][..numbers]);
            let mut expected = vec![0.0; numbers];
            apply_all(&augment, picture, &mut seed(image)).normalize_into(MEAN, STD, &mut expected);
            for (found, expected) in found.iter().zip(&expected) {
                let apart = (found - expected).abs();
                worst = if apart > worst || apart.is_nan() { apart } else { worst };
            }
        }
        worst
    }

    #[test]
    fn kernels_make_the_pixels_of_the_cpu() {
        for (augment, allowed) in [
            ("", 0.0),
            ("{ flip = {} }", 0.0),
            ("{ random-resized-crop = {} }", 0.0),
            ("{ random-resized-crop = { scale = [1, 1], ratio = [1, 1] } }", 0.0),
            ("{ rotation = { degrees = 40, fill = 0.5 } }", 0.0),
            ("{ color-jitter = { brightness = 0.5, saturation = 0.7, hue = 0.4 } }", 0.0),
            ("{ color-jitter = { brightness = 0.4, contrast = 0.9, saturation = 0.4, hue = 0.1 } }", 1e-5),
            ("{ color-jitter = { contrast = 0.9 } }", 1e-5),
            ("{ erasing = {} }", 0.0),
            ("{ erasing = { probability = 1, fill = { grey = 0.3 } } }", 0.0),
            (
                "{ flip = {} }, { random-resized-crop = { scale = [0.5, 1] } }, { rotation = { degrees = 20 } },
                 { color-jitter = { brightness = 0.4, contrast = 0.4 } }, { erasing = {} }",
                1e-5,
            ),
        ] {
            let apart = apart(augment);
            assert!(apart <= allowed, "{augment}: {apart}");
        }
    }

    #[test]
    fn a_batch_in_bf16_is_rounded_once() {
        let bytes = Tensor::new(&[7_u8; 3], &Device::Cpu).unwrap();
        let places = vec![planes_at(&bytes).unwrap()];
        let pictures = Pictures { places, size: [1, 1], mean: MEAN, std: STD, changes: &[] };
        let batch = |dtype| pictures.batch(dtype, &Device::Cpu).unwrap();
        let rounded = batch(DType::F32).to_dtype(DType::BF16).unwrap();
        let numbers = |tensor: Tensor| -> Vec<half::bf16> {
            tensor.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(numbers(batch(DType::BF16)), numbers(rounded));
    }
}
