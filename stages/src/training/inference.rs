//! Runs a network over a whole image set.

use anyhow::ensure;

use super::loader::Loader;
use super::network::Network;
use crate::data::Images;

/// Returns the embedding of each image, `[images, D]`, as if each were alone.
///
/// With `mirror`, of each image mirrored left to right. `seen` is told how many images are done and
/// may end it with an error.
///
/// # Errors
///
/// When an image cannot be read, the device fails, or an embedding is no finite number.
pub(crate) fn embed(
    network: &Network,
    loader: &Loader,
    images: &Images,
    mirror: bool,
    batch: usize,
    mut seen: impl FnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f32>> {
    let width = network.model.width();
    let order: Vec<usize> = (0..images.len()).collect();
    let mut embeddings = Vec::with_capacity(images.len() * width);
    let prepare = |image: usize| {
        let mut picture = images.picture(image)?;
        if mirror {
            picture.mirror();
        }
        Ok(picture)
    };
    loader.each(order.chunks(batch), &prepare, network.weights.device(), |_, pixels| {
        let made = network.embed(&pixels)?.flatten_all()?.to_vec1::<f32>()?;
        if let Some(bad) = made.iter().position(|number| !number.is_finite()) {
            let image = (embeddings.len() + bad) / width;
            ensure!(false, "the embedding of image {image} is not finite: the weights are broken");
        }
        embeddings.extend(made);
        seen((embeddings.len() / width) as u64)
    })?;
    Ok(embeddings)
}

/// Scales each embedding of `width` numbers to length 1; one of length 0 stays as it is.
pub(crate) fn normalize(embeddings: &mut [f32], width: usize) {
    for row in embeddings.chunks_exact_mut(width) {
        let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn rows_get_length_one() {
        let mut rows = [3.0, 4.0, 0.0, 0.0, -1e-30, 0.0];
        normalize(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0, -1.0, 0.0]);
    }
}
