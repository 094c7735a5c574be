//! Convolution of [N, H, W, C] by a weight [out, in of a group, rows, columns].

mod composed;
mod depthwise;
mod device;
mod field;
mod geometry;
mod host;
#[cfg(any(feature = "cuda", test))]
mod library;
#[cfg(any(feature = "cuda", test))]
mod patches;
#[cfg(test)]
mod plain_sums;
#[cfg(any(feature = "cuda", test))]
mod pointwise;
mod winograd;

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor, Var};

use self::device::Weight;
pub(super) use self::geometry::Geometry;
pub(crate) use self::geometry::Moves;
use self::host::Finish;
use super::batch_norm::{BatchNorm, batch_norm};
use super::columns::column_sums;
use super::matrix::{Factor, Kernels};
use super::rectifier::Rectifier;
use super::sink::Sink;
use super::tape::Tape;
use super::value::{Array, Host, Value, read};
use crate::weights::Parameter;

/// Convolves images by a weight in PyTorch's layout, with zeros around the edges, and adds a bias.
///
/// # Errors
///
/// When the shapes do not fit.
pub(crate) fn convolution(
    tape: &mut Tape,
    x: &Value,
    weight: &Parameter,
    bias: Option<&Parameter>,
    moves: Moves,
) -> Result<Value> {
    let geometry = geometry(x, weight, moves)?;
    let numbers = bias.map(|bias| bias.variable.as_tensor());
    let output = convolve(&geometry, x.array(), weight.into(), numbers, None, Rectifier::None)?;
    let (kept, weight, bias) = (x.kept(), weight.clone(), bias.cloned());
    let work = geometry.work(x.node.is_some());
    Ok(tape.record(work, output, move |gradient, sink| {
        let x = kept.value()?;
        if let Some(bias) = &bias {
            sink.give_parameter(bias, column_sums(&gradient)?)?;
        }
        match (gradient, x.array()) {
            (Array::Host(gradient), Array::Host(input)) => {
                back_on_host(&geometry, &gradient, input, &weight, x.node, sink)?;
            }
            (Array::Half(gradient), Array::Half(input)) => {
                back_on_host(&geometry, &gradient, input, &weight, x.node, sink)?;
            }
            (gradient, _) => {
                let gradient = Value::new(gradient, None);
                let (gradient, input) = (gradient.tensor(), x.tensor());
                let sums = device::weight_gradient(&geometry, input, gradient)?;
                sink.give_parameter(&weight, sums)?;
                let node = x.node;
                drop(x);
                if node.is_some() {
                    #[cfg(any(feature = "cuda", test))]
                    if let Some(seen) = device::seen(&geometry, gradient, (&weight).into())? {
                        return sink.give_seen(node, seen);
                    }
                    let back = device::input_gradient(&geometry, gradient, (&weight).into())?;
                    sink.give(node, Array::Device(back))?;
                }
            }
        }
        Ok(())
    }))
}

/// Gives the gradients by a weight and by the images that were convolved.
pub(super) fn back_on_host<N: Factor>(
    geometry: &Geometry,
    gradient: &Host<N>,
    input: &Host<N>,
    weight: &Parameter,
    node: Option<usize>,
    sink: &mut Sink,
) -> Result<()> {
    let (kernels, given) = (Kernels::best(), &gradient.numbers);
    let sums = host::weight_gradient(kernels, geometry, &input.numbers, given);
    let sums = Tensor::from_vec(sums, weight.variable.shape(), &Device::Cpu)?;
    sink.give_parameter(weight, sums)?;
    if node.is_some() {
        let back = |w: &[f32]| host::input_gradient(kernels, geometry, given, w);
        let back = read(&weight.variable, back)?;
        sink.give(node, N::array(Host::new(input.shape.clone(), back)))?;
    }
    Ok(())
}

/// Convolves without bias, normalizes, adds a residual and rectifies. In inference the norm is folded
/// into the convolution, which gives the same but for rounding.
///
/// # Errors
///
/// When the shapes do not fit.
pub(crate) fn convolution_norm(
    tape: &mut Tape,
    x: &Value,
    weight: &Parameter,
    moves: Moves,
    norm: &BatchNorm,
    residual: Option<&Value>,
    rectifier: Rectifier,
) -> Result<Value> {
    if tape.is_training() {
        let y = convolution(tape, x, weight, None, moves)?;
        return batch_norm(tape, &y, norm, residual, rectifier);
    }
    let geometry = geometry(x, weight, moves)?;
    ensure!(
        norm.channels() == geometry.outputs,
        "`{}` is for {} channels, and was given {}",
        norm.weight.name,
        norm.channels(),
        geometry.outputs
    );
    if let Some(residual) = residual {
        let [shape, given] = [&geometry.output()[..], residual.dims()];
        ensure!(shape == given, "`{}`: the residual is {given:?}", norm.weight.name);
    }
    let folded = tape.folded(&weight.name, || fold(x.array(), weight, norm))?;
    let (weight, shift) = (Weight::from(&folded.weight), &folded.shift);
    let residual = residual.map(Value::array);
    let output = convolve(&geometry, x.array(), weight, Some(shift), residual, rectifier)?;
    // in inference the tape keeps no way back
    let work = geometry.work(false);
    Ok(tape.record(work, output, |_, _| Ok(())))
}

/// A convolution that norms as well.
pub(super) struct Folded {
    weight: Parameter,
    shift: Tensor,
}

/// Folds a norm into a weight, for images like these.
fn fold(x: &Array, weight: &Parameter, norm: &BatchNorm) -> Result<Folded> {
    let (scale, shift) = norm.folded()?;
    let numbers = &weight.variable;
    let scaled = match x {
        Array::Host(_) | Array::Half(_) => {
            let scale = read(&scale, <[f32]>::to_vec)?;
            let scaled = read(numbers, |w| host::scaled(w, &scale))?;
            Tensor::from_vec(scaled, numbers.shape(), &Device::Cpu)?
        }
        Array::Device(_) => {
            numbers.detach().broadcast_mul(&scale.reshape((norm.channels(), 1, 1, 1))?)?
        }
    };
    let weight = Parameter::new(weight.name.clone(), Var::from_tensor(&scaled)?, false);
    Ok(Folded { weight, shift })
}

/// Works out the lengths, and refuses what does not fit.
fn geometry(x: &Value, weight: &Parameter, moves: Moves) -> Result<Geometry> {
    let lengths: [usize; 4] = x.array().lengths("a convolution")?;
    let (outputs, inputs, rows, columns) = weight.variable.dims4()?;
    ensure!(
        inputs * moves.groups == lengths[3],
        "`{}` is [{outputs}, {inputs}, {rows}, {columns}] for {} groups, and the image has {} \
         channels",
        weight.name,
        moves.groups,
        lengths[3]
    );
    Geometry::new(lengths, outputs, [rows, columns], moves)
}

/// Convolves, adds bias and residual, and rectifies.
fn convolve(
    geometry: &Geometry,
    x: &Array,
    weight: Weight<'_>,
    bias: Option<&Tensor>,
    residual: Option<&Array>,
    rectifier: Rectifier,
) -> Result<Array> {
    let shape = geometry.output().to_vec();
    match x {
        Array::Host(x) => on_host(geometry, x, weight.numbers, bias, residual, rectifier, shape),
        Array::Half(x) => on_host(geometry, x, weight.numbers, bias, residual, rectifier, shape),
        Array::Device(x) => {
            let residual = residual.map(|residual| Value::new(residual.clone(), None));
            let residual = residual.as_ref().map(Value::tensor);
            let y = device::forward(geometry, x, weight, bias, residual, rectifier)?;
            Ok(Array::Device(y))
        }
    }
}

/// Convolves, adds bias and residual, and rectifies, into an array of a shape.
pub(super) fn on_host<N: Factor>(
    geometry: &Geometry,
    x: &Host<N>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Array>,
    rectifier: Rectifier,
    shape: Vec<usize>,
) -> Result<Array> {
    let bias = bias.map(|bias| read(bias, <[f32]>::to_vec)).transpose()?;
    let limits = rectifier.limits().filter(|_| residual.is_none());
    let finish = Finish { bias: bias.as_deref(), limits };
    let forward = |w: &[f32]| host::forward(Kernels::best(), geometry, &x.numbers, w, finish);
    let mut y = read(weight, forward)?;
    if let Some(residual) = residual {
        let residual = N::host(residual).context("the residual is of another kind")?;
        super::add::accumulate_within(&mut y, &residual.numbers, rectifier.limits());
    }
    Ok(N::array(Host::new(shape, y)))
}
