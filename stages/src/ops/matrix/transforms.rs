//! The transforms of Winograd's convolution F(2x2, 3x3) (Lavin and Gray 2016, arXiv:1509.09308).

use super::kernels::Kernels;
use super::simd::Simd;

/// Sixteen pixels to transform, 4x4, row by row.
#[derive(Clone, Copy)]
pub(super) struct SpreadTile {
    pixels: [*const f32; 16],
    channels: usize,
    /// Where the sixteen results go: the first, and the distance to the next.
    target: *mut f32,
    pitch: usize,
}

/// Sixteen products to transform into four pixels, 2x2, row by row.
#[derive(Clone, Copy)]
pub(super) struct JoinTile {
    source: *const f32,
    pitch: usize,
    columns: usize,
    pixels: [*mut f32; 4],
    /// Which of the pixels lie inside the result.
    inside: [bool; 4],
    /// Added to each pixel; null for nothing.
    bias: *const f32,
    /// The lowest and the highest that a pixel may be.
    limits: Option<[f32; 2]>,
}

/// Writes Bᵀ d B of 4x4 pixels d: result number i of channel c at `target[i * pitch + c]`.
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(in crate::ops) fn spread_pixels(
    kernels: &Kernels,
    pixels: [&[f32]; 16],
    target: &mut [f32],
    pitch: usize,
) {
    let channels = pixels[0].len();
    assert!(pixels.iter().all(|pixel| pixel.len() == channels), "pixels of one length");
    assert!(target.len() >= 15 * pitch + channels, "a target for sixteen results");
    let pixels = pixels.map(<[f32]>::as_ptr);
    let tile = SpreadTile { pixels, channels, target: target.as_mut_ptr(), pitch };
    // SAFETY: `Kernels` exist only for instructions that are there; lengths are checked above.
    unsafe { (kernels.spread)(&tile) }
}

/// Writes Aᵀ m A of 4x4 products m, of which number i of column c is at `source[i * pitch + c]`,
/// into the 2x2 pixels that there are, which start at these places of `image`: with a bias added, and
/// then held within limits.
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
#[expect(clippy::too_many_arguments, reason = "they describe one tile")]
pub(in crate::ops) fn join_pixels(
    kernels: &Kernels,
    source: &[f32],
    pitch: usize,
    columns: usize,
    image: &mut [f32],
    places: [Option<usize>; 4],
    bias: Option<&[f32]>,
    limits: Option<[f32; 2]>,
) {
    assert!(source.len() >= 15 * pitch + columns, "a source of sixteen products");
    let last = places.iter().flatten().max().map_or(0, |place| place + columns);
    assert!(last <= image.len(), "a pixel up to {last} of {}", image.len());
    assert!(bias.is_none_or(|bias| bias.len() == columns), "a bias for each column");
    let start = image.as_mut_ptr();
    let tile = JoinTile {
        source: source.as_ptr(),
        pitch,
        columns,
        pixels: places.map(|place| start.wrapping_add(place.unwrap_or(0))),
        inside: places.map(|place| place.is_some()),
        bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        limits,
    };
    // SAFETY: `Kernels` exist only for instructions that are there; lengths are checked above, and
    // pixels outside are not written.
    unsafe { (kernels.join)(&tile) }
}

/// # Safety
///
/// The instructions of `S` must be there, every pixel good for `channels` numbers and the target
/// for sixteen results.
#[inline(always)]
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(super) unsafe fn spread<S: Simd>(tile: &SpreadTile) {
    for channel in (0..tile.channels).step_by(S::LANES) {
        let count = S::LANES.min(tile.channels - channel);
        // SAFETY: by the contract, for the channels that are left.
        unsafe {
            let mut d = [S::zero(); 16];
            for (d, pixel) in d.iter_mut().zip(tile.pixels) {
                *d = load(pixel.add(channel), count);
            }
            for column in 0..4 {
                turn::<S>(&mut d, [column, column + 4, column + 8, column + 12]);
            }
            for row in 0..4 {
                turn::<S>(&mut d, [4 * row, 4 * row + 1, 4 * row + 2, 4 * row + 3]);
            }
            for (index, d) in d.into_iter().enumerate() {
                store(d, tile.target.add(index * tile.pitch + channel), count);
            }
        }
    }
}

/// Multiplies four vectors by Bᵀ.
///
/// # Safety
///
/// The instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
unsafe fn turn<S: Simd>(d: &mut [S; 16], places: [usize; 4]) {
    let [a, b, c, e] = places.map(|place| d[place]);
    // SAFETY: handed on.
    let turned = unsafe { [a.subtract(c), b.add(c), c.subtract(b), b.subtract(e)] };
    for (place, turned) in places.into_iter().zip(turned) {
        d[place] = turned;
    }
}

/// # Safety
///
/// The instructions of `S` must be there, the source good for sixteen products, and every pixel
/// inside, and the bias where there is one, for `columns` numbers.
#[inline(always)]
#[expect(unsafe_code, reason = "the inner loops read and write through pointers")]
pub(super) unsafe fn join<S: Simd>(tile: &JoinTile) {
    for column in (0..tile.columns).step_by(S::LANES) {
        let count = S::LANES.min(tile.columns - column);
        // SAFETY: by the contract, for the columns that are left.
        unsafe {
            let mut half = [S::zero(); 8];
            for side in 0..4 {
                let mut m = [S::zero(); 4];
                for (row, m) in m.iter_mut().enumerate() {
                    let index = 4 * row + side;
                    *m = load(tile.source.add(index * tile.pitch + column), count);
                }
                [half[side], half[side + 4]] = fold(m);
            }
            let [a, b] = fold([half[0], half[1], half[2], half[3]]);
            let [c, d] = fold([half[4], half[5], half[6], half[7]]);
            for ((y, pixel), inside) in [a, b, c, d].into_iter().zip(tile.pixels).zip(tile.inside) {
                if !inside {
                    continue;
                }
                let mut y = y;
                if !tile.bias.is_null() {
                    y = y.add(load(tile.bias.add(column), count));
                }
                if let Some([lowest, highest]) = tile.limits {
                    y = y.at_least(S::splat(lowest)).at_most(S::splat(highest));
                }
                store(y, pixel.add(column), count);
            }
        }
    }
}

/// Multiplies four vectors by Aᵀ.
///
/// # Safety
///
/// The instructions of `S` must be there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions need a processor that has them")]
unsafe fn fold<S: Simd>([a, b, c, d]: [S; 4]) -> [S; 2] {
    // SAFETY: handed on.
    unsafe { [a.add(b).add(c), b.subtract(c).subtract(d)] }
}

/// # Safety
///
/// As [`Simd::load_first`].
#[inline(always)]
#[expect(unsafe_code, reason = "reads through a pointer")]
unsafe fn load<S: Simd>(from: *const f32, count: usize) -> S {
    // SAFETY: handed on.
    unsafe { if count == S::LANES { S::load(from) } else { S::load_first(from, count) } }
}

/// # Safety
///
/// As [`Simd::store_first`].
#[inline(always)]
#[expect(unsafe_code, reason = "writes through a pointer")]
unsafe fn store<S: Simd>(value: S, to: *mut f32, count: usize) {
    // SAFETY: handed on.
    unsafe { if count == S::LANES { value.store(to) } else { value.store_first(to, count) } }
}
