//! Patches of images with few channels, and weights laid out for them: plain loops in the place of the CPU's operators.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::cases::draw;
use super::{Numbers, Other, named, numbers};
use crate::ops::Moves;
use crate::ops::convolution::Geometry;
#[cfg(any(feature = "cuda", test))]
use crate::ops::gpu;

/// Returns stems of networks, and windows that are not square and have gaps.
pub(super) fn cases() -> Vec<Other> {
    let plain = Moves::new;
    let uneven = Moves { stride: [2, 3], padding: [1, 2], dilation: [2, 1], groups: 1 };
    let all = [
        ([2, 9, 10, 3], [7, 7], plain(2, 3)),
        ([1, 8, 9, 3], [4, 4], plain(4, 0)),
        ([2, 5, 7, 3], [3, 3], plain(1, 1)),
        ([1, 3, 4, 5], [1, 1], plain(1, 0)),
        ([1, 4, 5, 1], [2, 4], plain(1, 2)),
        ([1, 9, 8, 4], [2, 3], uneven),
        ([1, 7, 6, 7], [3, 2], uneven),
    ];
    let one = |(shape, kernel, moves): ([usize; 4], [usize; 2], Moves)| -> Other {
        let name = format!("patches {kernel:?} of {shape:?}, {moves:?}");
        let run = move |device: &Device, dtype: Option<DType>| {
            check(&Geometry::new(shape, 6, kernel, moves)?, device, dtype)
        };
        (name, Box::new(run))
    };
    all.into_iter().map(one).collect()
}

/// Returns patches, and the weight's rows with and without zeros at their ends, there and back.
fn check(geometry: &Geometry, device: &Device, dtype: Option<DType>) -> Result<Numbers> {
    let [down, across] = geometry.kernel;
    let x = draw("x", &geometry.input());
    let weight = draw("w", &[geometry.outputs, geometry.inputs, down, across]);
    // numbers that every type has, so that all are the same to the last bit
    let [x, weight] = [x, weight].map(|drawn| drawn.to_dtype(DType::BF16)?.to_dtype(DType::F32));
    let (x, weight): (Tensor, Tensor) = (x?, weight?);
    #[cfg(any(feature = "cuda", test))]
    if let Some(dtype) = dtype {
        let [x, weight] = [x.to_dtype(dtype)?.to_device(device)?, weight.to_device(device)?];
        if gpu::takes(&x) {
            let full = gpu::turned(geometry, &weight, dtype, gpu::patch_length(geometry))?;
            let bare = gpu::turned(geometry, &weight, dtype, geometry.taps() * geometry.inputs)?;
            let back = [&full, &bare].map(|rows| numbers(&gpu::unturned(geometry, rows)?));
            let [full_back, bare_back] = back;
            return Ok(named(
                NAMES,
                [
                    numbers(&gpu::patches(geometry, &x)?)?,
                    numbers(&full)?,
                    numbers(&bare)?,
                    full_back?,
                    bare_back?,
                ],
            ));
        }
    }
    let _ = (device, dtype);
    let (x, weight) = (numbers(&x)?, numbers(&weight)?);
    let bare = geometry.taps() * geometry.inputs;
    let full = bare.next_multiple_of(8);
    let rows = |length| rows(geometry, &weight, length);
    Ok(named(
        NAMES,
        [unfolded(geometry, &x, full), rows(full), rows(bare), weight.clone(), weight.clone()],
    ))
}

/// What the numbers of a check are.
const NAMES: [&str; 5] = ["patches", "full rows", "rows", "weight of full rows", "weight of rows"];

/// Returns what the window sees, by plain loops.
fn unfolded(geometry: &Geometry, x: &[f32], length: usize) -> Vec<f32> {
    let Geometry { images, height, width, inputs, rows, columns, stride, padding, .. } = *geometry;
    let mut all = Vec::with_capacity(images * rows * columns * length);
    for place in 0..images * rows * columns {
        let (image, row, column) =
            (place / columns / rows, place / columns % rows, place % columns);
        let end = all.len() + length;
        for tap in 0..geometry.taps() {
            let [down, right] = geometry.tap(tap);
            let line = (row * stride[0] + down).checked_sub(padding[0]).filter(|at| *at < height);
            let spot =
                (column * stride[1] + right).checked_sub(padding[1]).filter(|at| *at < width);
            for channel in 0..inputs {
                let seen = line.zip(spot).map(|(line, spot)| {
                    x[((image * height + line) * width + spot) * inputs + channel]
                });
                all.push(seen.unwrap_or(0.0));
            }
        }
        all.resize(end, 0.0);
    }
    all
}

/// Returns a weight in rows of so many numbers, by plain loops.
fn rows(geometry: &Geometry, weight: &[f32], length: usize) -> Vec<f32> {
    let (inputs, taps) = (geometry.inputs, geometry.taps());
    let mut all = Vec::with_capacity(geometry.outputs * length);
    for output in 0..geometry.outputs {
        let end = all.len() + length;
        for (tap, input) in (0..taps).flat_map(|tap| (0..inputs).map(move |input| (tap, input))) {
            all.push(weight[(output * inputs + input) * taps + tap]);
        }
        all.resize(end, 0.0);
    }
    all
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use candle_core::{DType, Device};

    use super::cases;

    #[test]
    fn kernels_unfold_and_turn_to_the_last_bit() {
        for (name, run) in cases() {
            let expected = run(&Device::Cpu, None).unwrap();
            for dtype in [DType::F32, DType::BF16] {
                let found = crate::ops::emulating(|| run(&Device::Cpu, Some(dtype))).unwrap();
                assert_eq!(found, expected, "{name} in {dtype:?}");
            }
        }
    }
}
