//! All numbers of an image as one row, in PyTorch's order: [N, H, W, C] → [N, C · H · W].

use anyhow::Result;
use rayon::prelude::*;

use super::floats::Block;
#[cfg(any(feature = "cuda", test))]
use super::gpu;
use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value};

/// Lays out each image channel by channel, as `torch.flatten` does an [N, C, H, W].
///
/// # Errors
///
/// When `x` is not [N, H, W, C].
pub(crate) fn flatten(tape: &mut Tape, x: &Value) -> Result<Value> {
    let [images, height, width, channels] = x.array().lengths("flattening")?;
    let length = height * width * channels;
    let output = match x.array() {
        Array::Host(x) => Array::Host(turned(x, [height * width, channels], &[images, length])),
        Array::Half(x) => Array::Half(turned(x, [height * width, channels], &[images, length])),
        #[cfg(any(feature = "cuda", test))]
        Array::Device(x) if gpu::takes(x) => {
            Array::Device(gpu::transposed(x, [height * width, channels], (images, length))?)
        }
        Array::Device(x) => Array::Device(x.permute((0, 3, 1, 2))?.reshape((images, length))?),
    };
    let node = x.node;
    Ok(tape.record(Work::new("flatten"), output, move |gradient, sink| {
        let (size, shape) = ([channels, height * width], [images, height, width, channels]);
        let back = match gradient {
            Array::Host(gradient) => Array::Host(turned(&gradient, size, &shape)),
            Array::Half(gradient) => Array::Half(turned(&gradient, size, &shape)),
            #[cfg(any(feature = "cuda", test))]
            Array::Device(gradient) if gpu::takes(&gradient) => {
                Array::Device(gpu::transposed(&gradient, size, &shape)?)
            }
            Array::Device(gradient) => {
                let planes = gradient.reshape((images, channels, height, width))?;
                Array::Device(planes.permute((0, 2, 3, 1))?.contiguous()?)
            }
        };
        sink.give(node, back)
    }))
}

/// Exchanges the rows and columns of every matrix of this size, and gives the array a shape.
fn turned<N: Number>(
    Host { numbers: x, .. }: &Host<N>,
    [rows, columns]: [usize; 2],
    shape: &[usize],
) -> Host<N> {
    let mut y = Block::stale(x.len());
    let size = rows * columns;
    y.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(|(y, x)| {
        for (column, y) in y.chunks_exact_mut(rows).enumerate() {
            for (y, x) in y.iter_mut().zip(x[column..].iter().step_by(columns)) {
                *y = *x;
            }
        }
    });
    Host::new(shape.to_vec(), y)
}
