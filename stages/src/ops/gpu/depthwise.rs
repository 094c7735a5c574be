//! Convolution of each channel on its own on a GPU: which kernel takes a shape, and what it is told.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::launch::{Argument, Argument::Count, address, filled, launch, name_of};
use super::tiles::folded;
use super::weights::{by_taps, from_taps};
use crate::ops::convolution::Geometry;

/// About how many threads make a large GPU busy. It decides the bytes of sums, so it is the same on every GPU.
const BUSY: usize = 1 << 17;
/// The most parts that lines are cut into.
const MOST_LANES: usize = 4096;

/// By what a gradient is.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum Direction<'a> {
    /// The images, given the weight.
    Images(&'a Tensor),
    /// The weight, given the images.
    Weight(&'a Tensor),
}

/// Returns the side and stride of a window for which there is a kernel of fixed size.
fn fixed(geometry: &Geometry) -> Option<[usize; 2]> {
    let Geometry { kernel: [side, broad], stride: [stride, right], dilation, .. } = *geometry;
    let known = matches!((side, stride), (3, 1 | 2) | (7, 1));
    (known && side == broad && stride == right && dilation == [1; 2]).then_some([side, stride])
}

/// Returns how many numbers of a row a thread of such a kernel computes.
fn width_of(side: usize) -> usize {
    if side == 7 { 7 } else { 4 }
}

/// Returns the geometry whose convolution by the turned weight is the gradient by the images, if there is one:
/// where the window moves by single pixels and is no smaller than what lies around the images.
fn turned(geometry: &Geometry) -> Option<Geometry> {
    let [side, _] = fixed(geometry).filter(|[_, stride]| *stride == 1)?;
    let Geometry { height, width, rows, columns, padding, .. } = *geometry;
    let around = [side.checked_sub(1 + padding[0])?, side.checked_sub(1 + padding[1])?];
    Some(Geometry {
        height: rows,
        width: columns,
        rows: height,
        columns: width,
        padding: around,
        ..*geometry
    })
}

/// Returns the first parameters of every kernel.
pub(super) fn sizes(geometry: &Geometry) -> Vec<Argument> {
    let Geometry { images, height, width, inputs, rows, columns, padding, .. } = *geometry;
    [images, height, width, inputs, rows, columns, padding[0], padding[1]].map(Count).to_vec()
}

/// Returns those and the window, for the kernels that take any.
pub(super) fn sizes_and_window(geometry: &Geometry) -> Vec<Argument> {
    let Geometry { kernel, stride, dilation, .. } = *geometry;
    let window = [kernel, stride, dilation].concat().into_iter().map(Count);
    sizes(geometry).into_iter().chain(window).collect()
}

/// Convolves each channel, and adds a bias.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn forward(
    geometry: &Geometry,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, by_taps(geometry, weight)?);
    let bias = bias.map(|bias| bias.detach().to_dtype(DType::F32)?.contiguous()).transpose()?;
    let bias = bias.as_ref();
    match fixed(geometry) {
        Some(_) => apply(geometry, false, &x, &weight, bias),
        None => {
            let y = filled(x.device(), x.dtype(), &geometry.output())?;
            let mut arguments = sizes_and_window(geometry);
            arguments.extend([
                address(&x)?,
                address(&weight)?,
                Argument::Flag(bias.is_some()),
                address(bias.unwrap_or(&weight))?,
                address(&y)?,
            ]);
            let name = name_of("depthwise_any", x.dtype())?;
            launch(x.device(), &name, y.elem_count(), &arguments)?;
            Ok(y)
        }
    }
}

/// Launches the kernel of a window of fixed size.
fn apply(
    geometry: &Geometry,
    turned: bool,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let [side, stride] = [geometry.kernel[0], geometry.stride[0]];
    let y = filled(x.device(), x.dtype(), &geometry.output())?;
    let mut arguments = sizes(geometry);
    arguments.extend([
        Argument::Flag(turned),
        address(x)?,
        address(weight)?,
        Argument::Flag(bias.is_some()),
        address(bias.unwrap_or(weight))?,
        address(&y)?,
    ]);
    let [images, rows, columns, channels] = geometry.output();
    let threads = images * rows * columns.div_ceil(width_of(side)) * channels;
    launch(
        x.device(),
        &name_of(&format!("depthwise_{side}_{stride}"), x.dtype())?,
        threads,
        &arguments,
    )?;
    Ok(y)
}

/// Returns a gradient, given that by the result.
///
/// # Errors
///
/// When the driver refuses it.
pub(in crate::ops) fn gradient(
    geometry: &Geometry,
    gradient: &Tensor,
    by: Direction<'_>,
) -> Result<Tensor> {
    let gradient = gradient.contiguous()?;
    match by {
        Direction::Images(weight) => {
            let weight = by_taps(geometry, weight)?;
            if let Some(turned) = turned(geometry) {
                return apply(&turned, true, &gradient, &weight, None);
            }
            let back = filled(gradient.device(), gradient.dtype(), &geometry.input())?;
            let mut arguments = sizes_and_window(geometry);
            arguments.extend([address(&gradient)?, address(&weight)?, address(&back)?]);
            let name = name_of("depthwise_back_any", gradient.dtype())?;
            launch(gradient.device(), &name, back.elem_count(), &arguments)?;
            Ok(back)
        }
        Direction::Weight(x) => weight_gradient(geometry, &x.contiguous()?, &gradient),
    }
}

fn weight_gradient(geometry: &Geometry, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let [channels, taps] = [geometry.outputs, geometry.taps()];
    let (name, mut arguments, at_once) = match fixed(geometry) {
        Some([side, stride]) => {
            (format!("depthwise_weight_{side}_{stride}"), sizes(geometry), side)
        }
        None => ("depthwise_weight_any".to_owned(), sizes_and_window(geometry), taps),
    };
    let lanes = lanes(geometry.images * geometry.rows, at_once * channels);
    let partial = filled(x.device(), DType::F32, (lanes, taps * channels))?;
    arguments.extend([Count(lanes), address(x)?, address(gradient)?, address(&partial)?]);
    let threads = lanes * at_once * channels;
    launch(x.device(), &name_of(&name, x.dtype())?, threads, &arguments)?;
    from_taps(geometry, &folded(&partial, taps * channels)?)
}

/// Returns how many parts lines are cut into, each of which has so many threads: a large GPU is busy, and each thread
/// has some lines to add up.
fn lanes(lines: usize, threads: usize) -> usize {
    (BUSY / threads.max(1)).min(lines.div_ceil(4)).clamp(1, MOST_LANES)
}

#[cfg(test)]
mod tests {
    use super::{fixed, turned};
    use crate::ops::convolution::{Geometry, Moves};

    fn geometry(kernel: [usize; 2], moves: Moves) -> Geometry {
        Geometry::new([2, 9, 8, 5], 5, kernel, moves.grouped(5)).unwrap()
    }

    #[test]
    fn shapes_find_their_kernel() {
        let plain = |side, stride, padding| geometry([side; 2], Moves::new(stride, padding));
        assert_eq!(fixed(&plain(3, 1, 1)), Some([3, 1]));
        assert_eq!(fixed(&plain(3, 2, 1)), Some([3, 2]));
        assert_eq!(fixed(&plain(7, 1, 3)), Some([7, 1]));
        for other in [
            plain(7, 2, 3),
            plain(5, 1, 2),
            geometry([3, 1], Moves::new(1, 0)),
            geometry([3, 3], Moves { stride: [1, 2], ..Moves::new(1, 1) }),
            geometry([3, 3], Moves { dilation: [2, 2], ..Moves::new(1, 1) }),
        ] {
            assert_eq!(fixed(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_gradient_is_a_convolution_where_the_window_moves_by_one() {
        let back = turned(&geometry([7; 2], Moves::new(1, 2))).unwrap();
        assert_eq!((back.input(), back.output()), ([2, 7, 6, 5], [2, 9, 8, 5]));
        assert_eq!(back.padding, [4, 4]);
        assert_eq!(turned(&geometry([3; 2], Moves::new(2, 1))), None);
        assert_eq!(turned(&geometry([3; 2], Moves::new(1, 3))), None);
    }
}
