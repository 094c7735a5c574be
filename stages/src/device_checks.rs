//! What of a training, beside the operators of its network, a device is checked with: losses, optimizers, the limit of
//! gradients, images on their way, and embeddings on theirs.

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor, Var};
use serde::Deserialize;

use crate::augment::AnyAugmentation;
use crate::data::Images;
use crate::loss::AnyLoss;
use crate::moment::Kept;
use crate::ops::{Gradients, Numbers, Other, numbers};
use crate::optim::AnyOptimizer;
use crate::rng::Random;
use crate::training::clip::Clip;
use crate::training::inference::embed;
use crate::training::loader::Loader;
use crate::training::network::Network;
use crate::training::supply::Supply;
use crate::weights::{Parameter, Weights};

/// Lengths of the parameters that are stepped: in one piece, in several, and of all layouts.
const SHAPES: [&[usize]; 4] = [&[5], &[70, 61], &[9, 4, 3, 3], &[6, 1, 7, 7]];

/// Returns every check.
pub(crate) fn all() -> Vec<Other> {
    let losses = [
        "cross-entropy = {}",
        "cross-entropy = { smoothing = 0.1 }",
        "arcface = {}",
        "arcface = { margin = 0.8, scale = 16, easy-margin = true }",
        "arcface = { gradient = \"detached\" }",
    ];
    let optimizers = [
        "sgd = { weight-decay = 0.01 }",
        "sgd = { nesterov = true, momentum = 0.8 }",
        "adamw = { weight-decay = 0.3 }",
    ];
    let named = |family: &str, text: &str| format!("{family} {text}");
    let mut all: Vec<Other> = Vec::new();
    for text in losses {
        all.push((named("loss", text), Box::new(move |device, _| loss(text, device))));
    }
    for text in optimizers {
        all.push((
            named("optimizer", text),
            Box::new(move |device, dtype| steps(text, device, dtype)),
        ));
    }
    for limit in [1e6, 2.5] {
        let run = move |device: &Device, _| limited(limit, device);
        all.push((format!("norm of the gradients at most {limit}"), Box::new(run)));
    }
    all.push(("images on their way, augmented".to_owned(), Box::new(images)));
    all.push((
        "embeddings of unequal batches".to_owned(),
        Box::new(|device, _| embeddings(device)),
    ));
    all
}

fn table<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Table<T> {
        value: T,
    }
    let table: Table<T> = toml::from_str(&format!("value.{text}")).context("a configuration")?;
    Ok(table.value)
}

fn draw(seed: u64, purpose: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
    let mut random = Random::new(seed, purpose, &[]);
    let drawn: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Ok(Tensor::from_vec(drawn, shape, &Device::Cpu)?.to_device(device)?)
}

/// Returns a loss and its gradients, over more classes than a row has lanes.
fn loss(text: &str, device: &Device) -> Result<Numbers> {
    let (rows, width, classes) = (13, 24, 300);
    let weights = Weights::new(3, device);
    let loss = table::<AnyLoss>(text)?.build(&weights, width, classes)?;
    let embeddings = Var::from_tensor(&draw(4, "embeddings", &[rows, width], device)?)?;
    let labels: Vec<u32> = (0..rows).map(|row| (row * 23) as u32).collect();
    let value = loss.forward(&embeddings, &labels)?.loss;
    let gradients = value.backward()?;
    let mut all = vec![("value".to_owned(), numbers(&value)?)];
    let head = weights.trainable().into_iter().map(|one| (one.name, one.variable));
    for (name, variable) in head.chain([("embeddings".to_owned(), embeddings)]) {
        let gradient = gradients.get(&variable).context("the loss depends on it")?;
        all.push((format!("gradient by {name}"), numbers(gradient)?));
    }
    Ok(all)
}

/// Returns the gradients of one step for parameters of all shapes.
fn gradients(step: u64, device: &Device) -> Result<Gradients> {
    let one = |(number, shape): (usize, &&[usize])| {
        Ok((format!("w{number}"), draw(step, &format!("gradient {number}"), shape, device)?))
    };
    SHAPES.iter().enumerate().map(one).collect()
}

/// Returns weights and state after some steps.
fn steps(text: &str, device: &Device, dtype: Option<DType>) -> Result<Numbers> {
    let parameters = SHAPES.iter().enumerate().map(|(number, shape)| {
        let first = draw(0, &format!("weight {number}"), shape, device)?;
        Ok(Parameter::new(format!("w{number}"), Var::from_tensor(&first)?, number > 0))
    });
    let parameters: Vec<Parameter> = parameters.collect::<Result<_>>()?;
    let kept = if dtype.is_some() { Kept::Device } else { Kept::on(device) };
    let mut optimizer = table::<AnyOptimizer>(text)?.build_with(parameters.clone(), kept)?;
    for step in 1..4 {
        optimizer.step(&gradients(step, device)?, 0.03)?;
    }
    let mut all = Numbers::new();
    for parameter in &parameters {
        all.push((parameter.name.clone(), numbers(&parameter.variable)?));
    }
    for (name, tensor) in optimizer.state()? {
        all.push((name, numbers(&tensor)?));
    }
    Ok(all)
}

fn limited(limit: f64, device: &Device) -> Result<Numbers> {
    let mut gradients = gradients(1, device)?;
    Clip::to(limit).clip(&mut gradients)?;
    gradients.iter().map(|(name, tensor)| Ok((name.clone(), numbers(tensor)?))).collect()
}

/// Returns the same two batches by every way that leads to the device; over the CPU's own the same one twice.
fn images(device: &Device, dtype: Option<DType>) -> Result<Numbers> {
    let size = [17, 21];
    let mut random = Random::new(1, "noise", &[]);
    let bytes = 3 * size[0] * size[1];
    let mut shard = |count: usize| (0..count * bytes).map(|_| random.below(256) as u8).collect();
    let images = Images::in_memory(size, vec![shard(5), shard(4)]);
    let loader = Loader::new(size, [0.5, 0.4, 0.3], [0.3, 0.2, 0.1], 2)?;
    let augment = [
        "flip = {}",
        "random-resized-crop = {}",
        "rotation = { degrees = 20 }",
        "color-jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }",
        "erasing = {}",
    ];
    let augment: Vec<AnyAugmentation> = augment.into_iter().map(table).collect::<Result<_>>()?;
    let order = [4, 1, 7, 0, 2, 5, 8, 3];
    let dtype = dtype.unwrap_or(DType::F32);
    let mut all = Numbers::new();
    for supply in Supply::ways(&images, &loader, 4, device, dtype)? {
        let random = |image: usize| Random::new(3, "augment", &[image as u64]);
        supply.each(order.chunks_exact(4), &augment, &random, |_, batch| {
            all.push(("value".to_owned(), numbers(&batch)?));
            Ok(())
        })?;
    }
    if all.len() == 2 {
        all.extend_from_within(..);
    }
    Ok(all)
}

/// Returns the embeddings of images, plain and mirrored, whose last batch is a small one: what is read of it must be no
/// more than there is.
fn embeddings(device: &Device) -> Result<Numbers> {
    let size = [17, 21];
    let mut random = Random::new(1, "noise", &[]);
    let planes = (0..9 * 3 * size[0] * size[1]).map(|_| random.below(256) as u8).collect();
    let images = Images::in_memory(size, vec![planes]);
    let loader = Loader::new(size, [0.5, 0.4, 0.3], [0.3, 0.2, 0.1], 2)?;
    let model = table("resnet = { width = 8, stem = \"small\" }")?;
    let loss = table("cross-entropy = {}")?;
    let network = Network::new(5, device, DType::F32, &model, &loss, 3, None)?;
    let supply = Supply::sparing(&images, &loader, 4, device, DType::F32)?;
    let both = ["value", "value of mirrored"].into_iter().zip([false, true]);
    both.map(|(name, mirror)| {
        Ok((name.to_owned(), embed(&network, &supply, mirror, 4, |_| Ok(()))?))
    })
    .collect()
}
