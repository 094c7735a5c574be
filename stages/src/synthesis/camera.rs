//! From light to the bytes of a picture: blur, noise, exposure, and the curve of sRGB.

use image::RgbImage;

use crate::rng::Random;

use super::scene::Camera;
use super::space::{Vector, vector};

/// How many samples a pixel has along each side.
pub(super) const SAMPLES: usize = 2;

/// Takes the picture of `side` pixels from [`SAMPLES`] times as many samples a side.
pub(super) fn expose(
    light: &[Vector],
    side: usize,
    camera: &Camera,
    random: &mut Random,
) -> RgbImage {
    let mut pixels = shrink(light, side);
    let sigma = camera.blur * side as f32;
    if sigma > 0.2 {
        pixels = blur(&pixels, side, sigma);
    }
    let mut image = RgbImage::new(side as u32, side as u32);
    for (pixel, light) in image.pixels_mut().zip(pixels) {
        let light = light.times(camera.balance) * (1.35 * camera.exposure);
        let light = if camera.grey {
            let grey = light.dot(vector(0.2126, 0.7152, 0.0722));
            vector(grey, grey, grey)
        } else {
            light
        };
        pixel.0 = [light.x, light.y, light.z].map(|channel| {
            let noisy = curve(channel) + camera.noise * bell(random);
            (noisy.clamp(0.0, 1.0) * 255.0).round() as u8
        });
    }
    image
}

/// Averages the samples of each pixel.
fn shrink(light: &[Vector], side: usize) -> Vec<Vector> {
    let wide = side * SAMPLES;
    let share = 1.0 / (SAMPLES * SAMPLES) as f32;
    let pixel = |index: usize| {
        let (row, column) = (index / side * SAMPLES, index % side * SAMPLES);
        let samples = (0..SAMPLES * SAMPLES)
            .map(|sample| light[(row + sample / SAMPLES) * wide + column + sample % SAMPLES]);
        samples.fold(Vector::default(), |sum, sample| sum + sample) * share
    };
    (0..side * side).map(pixel).collect()
}

/// Blurs by a Gaussian, along rows and then along columns; the edge pixels go on outside.
fn blur(pixels: &[Vector], side: usize, sigma: f32) -> Vec<Vector> {
    let reach = (2.5 * sigma).ceil() as isize;
    let weight = |offset: isize| (-0.5 * (offset as f32 / sigma).powi(2)).exp();
    let weights: Vec<f32> = (-reach..=reach).map(weight).collect();
    let total: f32 = weights.iter().sum();
    let pass = |from: &[Vector], index: &dyn Fn(usize, usize) -> usize| {
        let mut to = vec![Vector::default(); from.len()];
        for line in 0..side {
            for place in 0..side {
                let mut sum = Vector::default();
                for (offset, weight) in (-reach..).zip(&weights) {
                    let other = place.saturating_add_signed(offset).min(side - 1);
                    sum = sum + from[index(line, other)] * *weight;
                }
                to[index(line, place)] = sum * (1.0 / total);
            }
        }
        to
    };
    let rows = pass(pixels, &|line, place| line * side + place);
    pass(&rows, &|line, place| place * side + line)
}

/// The transfer curve of sRGB (IEC 61966-2-1), with highlights rolled off.
fn curve(light: f32) -> f32 {
    let light = light.max(0.0);
    let light = if light > 0.75 { 1.0 - 0.25 * (-(light - 0.75) * 4.0).exp() } else { light };
    if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// Returns a number of mean 0 and deviation 1, nearly normal: cheaper than a logarithm a pixel.
fn bell(random: &mut Random) -> f32 {
    let word = random.below(1 << 60);
    let quarter = |shift: u32| ((word >> shift) & 0x7FFF) as f32;
    let sum = quarter(0) + quarter(15) + quarter(30) + quarter(45);
    // Four uniform numbers of 15 bits: mean 4 * 16383.5, variance 4 * 2^30 / 12.
    (sum - 65534.0) / 18918.6
}

#[cfg(test)]
mod tests {
    use super::{bell, blur, curve, shrink};
    use crate::rng::Random;
    use crate::synthesis::space::{Vector, vector};

    #[test]
    fn blurring_keeps_the_mean_and_spreads() {
        let mut pixels = vec![Vector::default(); 31 * 31];
        pixels[15 * 31 + 15] = vector(1.0, 2.0, 3.0);
        let blurred = blur(&pixels, 31, 2.0);
        let sum = blurred.iter().fold(Vector::default(), |sum, &pixel| sum + pixel);
        assert!((sum - vector(1.0, 2.0, 3.0)).length() < 1e-4, "{sum:?}");
        let middle = blurred[15 * 31 + 15].x;
        assert!((middle - 1.0 / (std::f32::consts::TAU * 4.0)).abs() < 2e-3, "{middle}");
    }

    #[test]
    fn shrinking_averages() {
        let light: Vec<Vector> = (0..16).map(|i| vector(i as f32, 0.0, 0.0)).collect();
        let xs: Vec<f32> = shrink(&light, 2).into_iter().map(|pixel| pixel.x).collect();
        assert_eq!(xs, [2.5, 4.5, 10.5, 12.5]);
    }

    #[test]
    fn the_curve_rises_from_black_to_white() {
        let values: Vec<f32> = (0..200).map(|i| curve(i as f32 / 100.0)).collect();
        assert!(values[0] == 0.0 && values.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(values[199] < 1.0 && (curve(0.5) - 0.7354).abs() < 1e-3);
    }

    #[test]
    fn noise_has_the_deviation_it_says() {
        let mut random = Random::new(1, "bell", &[]);
        let drawn: Vec<f32> = (0..100_000).map(|_| bell(&mut random)).collect();
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        let variance = drawn.iter().map(|x| x * x).sum::<f32>() / drawn.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
