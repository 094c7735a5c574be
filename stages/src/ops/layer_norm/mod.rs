//! Layer normalization over the channels of each pixel (Ba, Kiros and Hinton 2016).

mod composed;
mod host;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Recipe, Value, read};
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
    match x.array() {
        #[cfg(any(feature = "cuda", test))]
        Array::Device(array) if super::gpu::takes(array) => {
            super::gpu::layer_norm(tape, x.node, array, norm)
        }
        Array::Device(array) => composed::layer_norm(tape, x, array, norm),
        Array::Host(array) => on_host(tape, x.node, array, norm),
        Array::Half(array) => on_host(tape, x.node, array, norm),
    }
}

fn on_host<N: Number>(
    tape: &mut Tape,
    node: Option<usize>,
    array: &Host<N>,
    norm: &LayerNorm,
) -> Result<Value> {
    let weight = read(&norm.weight.variable, <[f32]>::to_vec)?;
    let bias = read(&norm.bias.variable, <[f32]>::to_vec)?;
    let (y, rows) = host::forward(&array.numbers, &weight, &bias, norm.eps as f32);
    let output = N::array(Host::new(array.shape.clone(), y));
    let (array, norm, channels) = (array.clone(), norm.clone(), weight.len());
    let recipe = tape.is_recomputing().then(|| {
        let (x, weight, eps) = (array.clone(), weight.clone(), norm.eps as f32);
        Recipe::new(move || {
            let (y, _) = host::forward(&x.numbers, &weight, &bias, eps);
            Ok(N::array(Host::new(x.shape.clone(), y)))
        })
    });
    let value = tape.record(Work::new("layer norm"), output, move |gradient, sink| {
        let (shape, mut gradient) = N::taken(gradient)?.into_owned();
        let sums = host::backward(&array.numbers, &mut gradient, &rows, &weight);
        for (parameter, sums) in [(&norm.weight, sums.by_weight), (&norm.bias, sums.by_bias)] {
            sink.give_parameter(parameter, Tensor::from_vec(sums, channels, &Device::Cpu)?)?;
        }
        sink.give(node, N::array(Host::new(shape, gradient)))
    });
    Ok(value.made_by(recipe))
}
