//! Every so many-th pixel and the way back: plain loops in the place of the CPU's operators.

use anyhow::Result;
use candle_core::{DType, Device};

use super::cases::draw;
use super::{Numbers, Other, named, numbers};
use crate::ops::Moves;
use crate::ops::convolution::Geometry;
#[cfg(any(feature = "cuda", test))]
use crate::ops::gpu;

/// Returns strides that leave pixels over at the end and such that do not, for channels one by one and by eights.
pub(super) fn cases() -> Vec<Other> {
    let all = [
        ([2, 5, 7, 3], [2, 2]),
        ([2, 6, 4, 16], [2, 2]),
        ([1, 7, 5, 24], [3, 1]),
        ([1, 4, 5, 8], [1, 1]),
    ];
    let one = |(shape, stride): ([usize; 4], [usize; 2])| -> Other {
        let moves = Moves { stride, ..Moves::new(1, 0) };
        let run = move |device: &Device, dtype: Option<DType>| {
            check(&Geometry::new(shape, shape[3], [1, 1], moves)?, device, dtype)
        };
        (format!("pixels of {shape:?} by {stride:?}"), Box::new(run))
    };
    all.into_iter().map(one).collect()
}

fn check(geometry: &Geometry, device: &Device, dtype: Option<DType>) -> Result<Numbers> {
    let x = draw("x", &geometry.input()).to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
    #[cfg(any(feature = "cuda", test))]
    if let Some(dtype) = dtype {
        let x = x.to_dtype(dtype)?.to_device(device)?;
        if gpu::takes(&x) {
            let seen = gpu::gathered(geometry, &x)?;
            let by_seen = gpu::Seen::new(geometry, seen.clone());
            let (alone, added) = (by_seen.spread(None)?, by_seen.spread(Some(&x))?);
            return Ok(named(NAMES, [numbers(&seen)?, numbers(&alone)?, numbers(&added)?]));
        }
    }
    let _ = (device, dtype);
    let x = numbers(&x)?;
    let Geometry { width, inputs, stride, rows, columns, .. } = *geometry;
    let (mut seen, mut alone, mut added) = (Vec::new(), vec![0.0; x.len()], x.clone());
    for image in 0..geometry.images {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            let line = image * geometry.height + row * stride[0];
            for at in (0..inputs).map(|at| (line * width + column * stride[1]) * inputs + at) {
                seen.push(x[at]);
                alone[at] = x[at];
                added[at] += x[at];
            }
        }
    }
    Ok(named(NAMES, [seen, alone, added]))
}

/// What the numbers of a check are.
const NAMES: [&str; 3] = ["seen", "spread", "added"];
