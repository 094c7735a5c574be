//! Convolution of [N, H, W, C] by a weight [out, in, kernel, kernel], without bias.

mod composed;
mod geometry;
mod host;
mod winograd;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

pub(super) use self::geometry::Geometry;
use super::matrix::Kernels;
use super::tape::Tape;
use super::value::{Array, Host, Value, read};
use crate::weights::Parameter;

/// Convolves images by a weight in PyTorch's layout, with zeros around the edges.
///
/// # Errors
///
/// When the shapes do not fit.
pub(crate) fn convolution(
    tape: &mut Tape,
    x: &Value,
    weight: &Parameter,
    stride: usize,
    padding: usize,
) -> Result<Value> {
    let [images, height, width, channels] = x.array().lengths("a convolution")?;
    let (outputs, inputs, kernel, across) = weight.variable.dims4()?;
    ensure!(
        inputs == channels && kernel == across,
        "`{}` is [{outputs}, {inputs}, {kernel}, {across}], and the image has {channels} channels",
        weight.name
    );
    let geometry =
        Geometry::new([images, height, width, channels], outputs, kernel, stride, padding)?;
    let output = match x.array() {
        Array::Host(x) => {
            let forward = |w: &[f32]| host::forward(Kernels::best(), &geometry, &x.floats, w);
            let y = read(&weight.variable, forward)?;
            Array::Host(Host::new(geometry.output().to_vec(), y))
        }
        Array::Device(x) => Array::Device(composed::forward(&geometry, x, &weight.variable)?),
    };
    let (x, weight) = (x.clone(), weight.clone());
    Ok(tape.record(output, move |gradient, sink| match (gradient, x.array()) {
        (Array::Host(gradient), Array::Host(input)) => {
            let kernels = Kernels::best();
            let sums = host::weight_gradient(kernels, &geometry, &input.floats, &gradient.floats);
            let sums = Tensor::from_vec(sums, weight.variable.shape(), &Device::Cpu)?;
            sink.give_parameter(&weight, sums)?;
            if x.node.is_some() {
                let back =
                    |w: &[f32]| host::input_gradient(kernels, &geometry, &gradient.floats, w);
                let back = read(&weight.variable, back)?;
                sink.give(x.node, Array::Host(Host::new(input.shape.clone(), back)))?;
            }
            Ok(())
        }
        (gradient, _) => {
            let gradient = Value::new(gradient, None);
            let (gradient, input) = (gradient.tensor(), x.tensor());
            let sums = composed::weight_gradient(&geometry, input, gradient)?;
            sink.give_parameter(&weight, sums)?;
            if x.node.is_some() {
                let back = composed::input_gradient(&geometry, gradient, &weight.variable)?;
                sink.give(x.node, Array::Device(back))?;
            }
            Ok(())
        }
    }))
}
