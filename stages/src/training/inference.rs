//! Runs a network over a whole image set.

use anyhow::bail;

use super::exhausted::advised;
use super::network::Network;
use super::supply::Supply;
use crate::augment::AnyAugmentation;
use crate::ops::{Reading, Readings, Tape};
use crate::rng::Random;

/// Returns the embedding of each image of a supply, `[images, D]`, as if each were alone; `batch` is at most what it
/// was opened for.
///
/// With `mirror`, of each image mirrored left to right. `seen` is told how many images are done and
/// may end it with an error.
///
/// # Errors
///
/// When an image cannot be read, the device fails, or an embedding is no finite number.
pub(crate) fn embed(
    network: &Network,
    supply: &Supply<'_>,
    mirror: bool,
    batch: usize,
    mut seen: impl FnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f32>> {
    let width = network.model.width();
    let order: Vec<usize> = (0..supply.len()).collect();
    let mut embeddings = Vec::with_capacity(order.len() * width);
    let mut take = |made: Reading<f32>| {
        let made = made.finish()?;
        if let Some(bad) = made.iter().position(|number| !number.is_finite()) {
            let image = (embeddings.len() + bad) / width;
            bail!("the embedding of image {image} is not finite: the weights are broken");
        }
        embeddings.extend(made);
        seen((embeddings.len() / width) as u64)
    };
    // a batch is read while the device computes the next
    let (readings, mut before, mut tape) = (Readings::new(), None, Tape::inference());
    let augment: Vec<AnyAugmentation> = mirror.then(AnyAugmentation::mirror).into_iter().collect();
    let unused = |_| Random::new(0, "inference", &[]);
    supply.each(order.chunks(batch), &augment, &unused, |_, pixels| {
        let ways = ["a smaller `batch`"];
        let made =
            network.embed(&mut tape, &pixels).map_err(|error| advised(error, batch, &ways))?;
        let made = readings.begin(&made)?;
        before.replace(made).map_or(Ok(()), &mut take)
    })?;
    before.map_or(Ok(()), take)?;
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
    use candle_core::{DType, Device};

    use super::{embed, normalize};
    use crate::data::Images;
    use crate::loss::AnyLoss;
    use crate::model::AnyModel;
    use crate::rng::Random;
    use crate::training::loader::Loader;
    use crate::training::network::Network;
    use crate::training::supply::Supply;

    #[derive(serde::Deserialize)]
    struct Table {
        model: AnyModel,
        loss: AnyLoss,
    }

    fn network() -> Network {
        let text = "model.resnet = { width = 8, stem = \"small\" }\nloss.cross-entropy = {}";
        let Table { model, loss } = toml::from_str(text).unwrap();
        Network::new(0, &Device::Cpu, DType::F32, &model, &loss, 3, None).unwrap()
    }

    /// Returns the embeddings of nine images by every way that leads to the device, as they are and mirrored.
    fn embeddings() -> Vec<[Vec<f32>; 2]> {
        let (device, dtype, network) = (Device::Cpu, DType::F32, network());
        let mut noise = Random::new(1, "noise", &[]);
        let planes = (0..9 * 3 * 16 * 12).map(|_| noise.below(256) as u8).collect();
        let images = Images::in_memory([16, 12], vec![planes]);
        let loader = Loader::new([16, 12], [0.5; 3], [0.2; 3], 2).unwrap();
        let ways = Supply::ways(&images, &loader, 4, &device, dtype).unwrap();
        let both = |supply: &Supply<'_>| {
            [false, true].map(|mirror| {
                let mut told = Vec::new();
                let mut seen = |done| {
                    told.push(done);
                    Ok(())
                };
                let found = embed(&network, supply, mirror, 4, &mut seen).unwrap();
                assert_eq!(told, [4, 8, 9]);
                found
            })
        };
        ways.iter().map(both).collect()
    }

    #[test]
    fn every_way_leads_to_the_same_embeddings() {
        let [expected] = embeddings().try_into().unwrap();
        assert_ne!(expected[0], expected[1]);
        #[cfg(not(feature = "cuda"))]
        {
            let found = crate::ops::emulating(embeddings);
            assert!(found.len() == 2 && found[0] == found[1]);
            for (found, expected) in found[0].iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 1e-3, "{found} {expected}");
            }
        }
    }

    #[test]
    fn an_embedding_that_is_no_number_is_told() {
        let (network, mut broken) = (network(), None);
        let images = Images::in_memory([8, 8], vec![vec![7; 5 * 192]]);
        let loader = Loader::new([8, 8], [0.5; 3], [0.2; 3], 1).unwrap();
        let supply = Supply::sparing(&images, &loader, 2, &Device::Cpu, DType::F32).unwrap();
        for parameter in network.weights.trainable() {
            parameter.variable.set(&(parameter.variable.as_tensor() * f64::NAN).unwrap()).unwrap();
        }
        let error = embed(&network, &supply, false, 2, |done| {
            broken = Some(done);
            Ok(())
        });
        let expected = "the embedding of image 0 is not finite: the weights are broken";
        assert_eq!((error.unwrap_err().to_string().as_str(), broken), (expected, None));
    }

    #[test]
    fn rows_get_length_one() {
        let mut rows = [3.0, 4.0, 0.0, 0.0, -1e-30, 0.0];
        normalize(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0, -1.0, 0.0]);
    }
}
