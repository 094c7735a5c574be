//! All numbers of an image as one row, in PyTorch's order: [N, H, W, C] → [N, C · H · W].

use anyhow::Result;
use rayon::prelude::*;

use super::floats::Floats;
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
        Array::Host(x) => {
            let y = turned(&x.floats, [height * width, channels]);
            Array::Host(Host::new(vec![images, length], y))
        }
        Array::Device(x) => Array::Device(x.permute((0, 3, 1, 2))?.reshape((images, length))?),
    };
    let node = x.node;
    Ok(tape.record(Work::new("flatten"), output, move |gradient, sink| {
        let back = match gradient {
            Array::Host(gradient) => {
                let back = turned(&gradient.floats, [channels, height * width]);
                Array::Host(Host::new(vec![images, height, width, channels], back))
            }
            Array::Device(gradient) => {
                let planes = gradient.reshape((images, channels, height, width))?;
                Array::Device(planes.permute((0, 2, 3, 1))?.contiguous()?)
            }
        };
        sink.give(node, back)
    }))
}

/// Exchanges the rows and columns of every matrix of this size.
fn turned(x: &[f32], [rows, columns]: [usize; 2]) -> Floats {
    let mut y = Floats::stale(x.len());
    let size = rows * columns;
    y.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(|(y, x)| {
        for (column, y) in y.chunks_exact_mut(rows).enumerate() {
            for (y, x) in y.iter_mut().zip(x[column..].iter().step_by(columns)) {
                *y = *x;
            }
        }
    });
    y
}
