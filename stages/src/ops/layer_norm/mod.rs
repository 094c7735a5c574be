//! Layer normalization over the channels of each pixel (Ba, Kiros and Hinton 2016).

mod composed;
mod host;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value, read};
use crate::weights::Parameter;

/// The weights of one normalization, each of length C.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    /// γ.
    pub(crate) weight: Parameter,
    /// β.
    pub(crate) bias: Parameter,
    /// Added to the variance; 1e-6 in ConvNeXt.
    pub(crate) eps: f64,
}

/// Computes (x - mean) / √(var + eps) · weight + bias of each row of [..., C].
///
/// # Errors
///
/// When there are not as many weights as channels.
pub(crate) fn layer_norm(tape: &mut Tape, x: &Value, norm: &LayerNorm) -> Result<Value> {
    let channels = norm.weight.variable.elem_count();
    ensure!(
        x.dims().last() == Some(&channels),
        "`{}` is for {channels} channels, and was given {:?}",
        norm.weight.name,
        x.dims()
    );
    let array = match x.array() {
        #[cfg(any(feature = "cuda", test))]
        Array::Device(array) if super::gpu::takes(array) => {
            return super::gpu::layer_norm(tape, x.node, array, norm);
        }
        Array::Device(array) => return composed::layer_norm(tape, x, array, norm),
        Array::Host(array) => array.clone(),
    };
    let weight = read(&norm.weight.variable, <[f32]>::to_vec)?;
    let bias = read(&norm.bias.variable, <[f32]>::to_vec)?;
    let (y, rows) = host::forward(&array.floats, &weight, &bias, norm.eps as f32);
    let output = Array::Host(Host::new(array.shape.clone(), y));
    let (node, norm) = (x.node, norm.clone());
    Ok(tape.record(Work::new("layer norm"), output, move |gradient, sink| {
        let Array::Host(gradient) = gradient else {
            anyhow::bail!("a gradient on the CPU was expected")
        };
        let (shape, mut gradient) = gradient.into_owned();
        let sums = host::backward(&array.floats, &mut gradient, &rows, &weight);
        for (parameter, sums) in [(&norm.weight, sums.by_weight), (&norm.bias, sums.by_bias)] {
            sink.give_parameter(parameter, Tensor::from_vec(sums, channels, &Device::Cpu)?)?;
        }
        sink.give(node, Array::Host(Host::new(shape, gradient)))
    }))
}
