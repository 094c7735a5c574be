//! Batch normalization (Ioffe and Szegedy 2015), in one with a residual and a rectifier.

mod composed;
mod host;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

use super::tape::Tape;
use super::value::{Array, Host, Value, read};
use crate::weights::{Buffer, Parameter};

/// The weights and running statistics of one normalization, each of length C.
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    /// γ.
    pub(crate) weight: Parameter,
    /// β.
    pub(crate) bias: Parameter,
    /// Mean over batches, for inference.
    pub(crate) running_mean: Buffer,
    /// Unbiased variance over batches, for inference.
    pub(crate) running_var: Buffer,
    /// How much of each batch goes into the running statistics; 0.1 in PyTorch.
    pub(crate) momentum: f64,
    /// Added to the variance; 1e-5 in PyTorch.
    pub(crate) eps: f64,
}

/// What a normalization does after its affine map.
#[derive(Clone, Copy, Debug)]
struct After<'a> {
    residual: Option<&'a Array>,
    relu: bool,
}

/// Mean and biased variance of each channel.
struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

/// Computes relu?((x - mean) / √(var + eps) · weight + bias + residual?) over [N, H, W, C] or
/// [N, C]. Training takes the statistics of the batch and moves the running ones.
///
/// # Errors
///
/// When shapes differ, or training sees a single value of each channel.
pub(crate) fn batch_norm(
    tape: &mut Tape,
    x: &Value,
    norm: &BatchNorm,
    residual: Option<&Value>,
    relu: bool,
) -> Result<Value> {
    let channels = *x.dims().last().unwrap_or(&0);
    let name = &norm.weight.name;
    ensure!(
        channels == norm.weight.variable.elem_count(),
        "`{name}` is for {} channels, and was given {:?}",
        norm.weight.variable.elem_count(),
        x.dims()
    );
    if let Some(residual) = residual {
        ensure!(residual.dims() == x.dims(), "`{name}`: the residual is {:?}", residual.dims());
    }
    let count = x.dims().iter().product::<usize>() / channels.max(1);
    ensure!(
        count > 1 || !tape.is_training(),
        "`{name}`: training needs more than one value of each channel"
    );
    let after = After { residual: residual.map(Value::array), relu };
    match x.array() {
        Array::Host(array) => on_host(tape, x, array, norm, after, residual),
        Array::Device(array) => composed::batch_norm(tape, x, array, norm, after, residual),
    }
}

fn on_host(
    tape: &mut Tape,
    x: &Value,
    array: &Host,
    norm: &BatchNorm,
    after: After<'_>,
    residual: Option<&Value>,
) -> Result<Value> {
    let numbers = |variable: &Tensor| read(variable, <[f32]>::to_vec);
    let (weight, bias) = (numbers(&norm.weight.variable)?, numbers(&norm.bias.variable)?);
    let statistics = if tape.is_training() {
        let statistics = host::statistics(&array.floats, weight.len());
        let device = Device::Cpu;
        let mean = Tensor::from_slice(&statistics.mean, weight.len(), &device)?;
        let variance = Tensor::from_slice(&statistics.variance, weight.len(), &device)?;
        norm.observe(&mean, &variance, array.floats.len() / weight.len())?;
        statistics
    } else {
        let mean = numbers(&norm.running_mean.variable)?;
        Statistics { mean, variance: numbers(&norm.running_var.variable)? }
    };
    let map = host::Map::new(&statistics, &weight, &bias, norm.eps);
    let added = match after.residual {
        None => None,
        Some(Array::Host(added)) => Some(&added.floats[..]),
        Some(Array::Device(_)) => anyhow::bail!("the residual is not on the CPU"),
    };
    let y = host::forward(&array.floats, &map, added, after.relu);
    let output = Array::Host(Host::new(array.shape.clone(), y));
    let (node, x) = (x.node, array.clone());
    // without a residual the sign of the output follows from x, and the output is not read again
    let kept = (after.relu && residual.is_some()).then(|| output.clone());
    let residual_node = residual.map(|residual| residual.node);
    let (relu, norm) = (after.relu, norm.clone());
    Ok(tape.record(output, move |gradient, sink| {
        let Array::Host(gradient) = gradient else {
            anyhow::bail!("a gradient on the CPU was expected")
        };
        let (shape, mut gradient) = gradient.into_owned();
        match (&kept, relu) {
            (Some(Array::Host(output)), _) => host::mask(&mut gradient, &output.floats),
            (_, true) => host::mask_by_input(&mut gradient, &x.floats, &map),
            _ => {}
        }
        drop(kept);
        let sums = host::sums(&x.floats, &gradient, &map);
        let channels = map.channels();
        let device = Device::Cpu;
        let by_weight = Tensor::from_slice(&sums.by_weight, channels, &device)?;
        sink.give_parameter(&norm.weight, by_weight)?;
        let by_bias = Tensor::from_slice(&sums.by_bias, channels, &device)?;
        sink.give_parameter(&norm.bias, by_bias)?;
        let Some(residual_node) = residual_node else {
            host::backward_in_place(&x.floats, &mut gradient, &map, &sums);
            return sink.give(node, Array::Host(Host::new(shape, gradient)));
        };
        if node.is_some() {
            let back = host::backward(&x.floats, &gradient, &map, &sums);
            sink.give(node, Array::Host(Host::new(shape.clone(), back)))?;
        }
        sink.give(residual_node, Array::Host(Host::new(shape, gradient)))
    }))
}

impl BatchNorm {
    /// Moves the running statistics towards those of a batch of `count` values per channel.
    fn observe(&self, mean: &Tensor, variance: &Tensor, count: usize) -> Result<()> {
        let unbiased = (variance * (count as f64 / (count as f64 - 1.0)))?;
        for (running, now) in [(&self.running_mean, mean), (&self.running_var, &unbiased)] {
            let before = (running.variable.as_tensor() * (1.0 - self.momentum))?;
            running.variable.set(&(before + (now * self.momentum)?)?)?;
        }
        Ok(())
    }
}
