//! Images to one size: antialiased scaling and the central crop.

use anyhow::Context as _;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::split_pixels;

/// What an image is scaled to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fit {
    /// The shorter side becomes `size`; the shape stays.
    #[default]
    ShortSide,
    /// Both sides become `size`, whatever the shape was.
    Exact,
}

/// How pixels are weighed; each is antialiased when an image is made smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Filter {
    /// By a triangle.
    #[default]
    Bilinear,
    /// By a cubic (Catmull and Rom): sharper.
    Bicubic,
}

/// Makes images of one size, as torchvision's `Resize(size, antialias=True)` and then
/// `CenterCrop(crop)` would.
#[derive(Clone, Debug)]
pub(crate) struct Scaler {
    size: u32,
    crop: u32,
    fit: Fit,
    options: ResizeOptions,
    resizer: Resizer,
}

impl Scaler {
    /// Makes a scaler to squares of `crop` pixels a side.
    ///
    /// # Panics
    ///
    /// When `crop` is 0 or above `size`.
    pub(crate) fn new(size: u32, crop: u32, fit: Fit, filter: Filter) -> Self {
        assert!((1..=size).contains(&crop), "a crop of {crop} from {size}");
        let filter = match filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        Self { size, crop, fit, options, resizer: Resizer::new() }
    }

    /// Writes the image as three planes, `[3, crop, crop]`, into `out`.
    ///
    /// # Errors
    ///
    /// When the scaled image would be too large for the memory.
    ///
    /// # Panics
    ///
    /// When `out` has another length.
    pub(crate) fn planes_into(&mut self, image: &RgbImage, out: &mut [u8]) -> anyhow::Result<()> {
        let (width, height) = self.scaled(image.width(), image.height());
        let scaled = self.resize(image, width, height)?;
        let crop = self.crop as usize;
        let left = margin(width, self.crop);
        let top = margin(height, self.crop);
        assert_eq!(out.len(), 3 * crop * crop, "three planes");
        let (red, rest) = out.split_at_mut(crop * crop);
        let (green, blue) = rest.split_at_mut(crop * crop);
        let rows = scaled.chunks_exact(3 * width as usize).skip(top).take(crop);
        let planes = red
            .chunks_exact_mut(crop)
            .zip(green.chunks_exact_mut(crop))
            .zip(blue.chunks_exact_mut(crop));
        for (row, ((red, green), blue)) in rows.zip(planes) {
            split_pixels(&row[3 * left..3 * (left + crop)], red, green, blue);
        }
        Ok(())
    }

    /// Width and height after scaling; the longer side is rounded down, as torchvision does.
    fn scaled(&self, width: u32, height: u32) -> (u32, u32) {
        let longer = |long: u32, short: u32| {
            let exact = u64::from(self.size) * u64::from(long) / u64::from(short);
            u32::try_from(exact).unwrap_or(u32::MAX)
        };
        match self.fit {
            Fit::Exact => (self.size, self.size),
            Fit::ShortSide if width <= height => (self.size, longer(height, width)),
            Fit::ShortSide => (longer(width, height), self.size),
        }
    }

    /// Scales to interleaved pixels.
    fn resize(&mut self, image: &RgbImage, width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
        let bytes = 3 * u64::from(width) * u64::from(height);
        anyhow::ensure!(bytes <= 1 << 30, "scaled to {width}x{height} it is too large");
        let from = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3)
            .context("a decoded image has all its pixels")?;
        let mut to = Image::new(width, height, PixelType::U8x3);
        self.resizer.resize(&from, &mut to, &self.options).context("cannot scale")?;
        Ok(to.into_vec())
    }
}

/// The pixels left of a central crop: half of what is over, a half rounded to even as Python does.
fn margin(length: u32, crop: u32) -> usize {
    (f64::from(length - crop) / 2.0).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::super::golden::{array, starting_with};
    use super::{Filter, Fit, Scaler, margin};

    #[test]
    fn pixels_are_those_of_torchvision() {
        for (name, want) in starting_with("scaled.") {
            let parts: Vec<&str> = name.split('.').collect();
            let [photo, fit, size, crop, filter] = parts[..] else { panic!("{name}") };
            let (size, crop): (u32, u32) = (size.parse().unwrap(), crop.parse().unwrap());
            let fit: Fit = serde_json::from_str(&format!("\"{fit}\"")).unwrap();
            let filter: Filter = serde_json::from_str(&format!("\"{filter}\"")).unwrap();
            let photo = array(&format!("scale.{photo}"));
            let (height, width) = (photo.shape()[0] as u32, photo.shape()[1] as u32);
            let image = RgbImage::from_raw(width, height, photo.data().to_vec()).unwrap();
            let mut planes = vec![0; 3 * crop as usize * crop as usize];
            Scaler::new(size, crop, fit, filter).planes_into(&image, &mut planes).unwrap();
            assert_eq!(want.data().len(), planes.len(), "{name}");
            let most = planes.iter().zip(want.data()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // Pillow and torchvision differ by as much themselves.
            let highest = if filter == Filter::Bicubic { 2 } else { 1 };
            assert!(most <= highest, "{name}: {most} apart");
        }
    }

    #[test]
    fn sizes_and_margins_are_those_of_torchvision() {
        let scaler = Scaler::new(100, 100, Fit::ShortSide, Filter::Bilinear);
        let shapes = [(250, 250), (199, 100), (333, 200), (200, 333), (1, 3)];
        let scaled = shapes.map(|(width, height)| scaler.scaled(width, height));
        assert_eq!(scaled, [(100, 100), (199, 100), (166, 100), (100, 166), (100, 300)]);
        assert_eq!([0, 1, 2, 3, 5, 7].map(|over| margin(10 + over, 10)), [0, 0, 1, 2, 2, 4]);
    }
}
