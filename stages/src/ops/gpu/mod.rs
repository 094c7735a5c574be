//! Kernels of our own for GPUs: how much they are given to do, and how they are launched.
//!
//! `kernels.cu` and what it includes are the kernels. `driver` runs them on a GPU and is compiled with the feature
//! `cuda` alone; `emulation` runs them in tests on the CPU, so that all that launches them is tested everywhere.

mod depthwise;
#[cfg(feature = "cuda")]
mod downloads;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(not(feature = "cuda"))]
mod emulation;
mod launch;
mod losses;
mod operators;
mod patches;
mod pictures;
#[cfg(feature = "cuda")]
mod pinned;
mod pools;
mod strides;
mod tiles;
mod transpose;
mod update;
mod uploads;
mod weights;

pub(super) use self::depthwise::{Direction, forward as depthwise, gradient as depthwise_gradient};
#[cfg(feature = "cuda")]
pub(crate) use self::downloads::{Download, Downloaded, Downloads};
#[cfg(feature = "cuda")]
pub(crate) use self::driver::{free_bytes, most_bytes, takes};
#[cfg(all(test, not(feature = "cuda")))]
pub(super) use self::emulation::{apart, emulated};
#[cfg(not(feature = "cuda"))]
#[cfg(test)]
pub(crate) use self::emulation::{emulating, free_bytes, takes};
pub(super) use self::launch::{Argument, address, filled, launch};
pub(super) use self::losses::cross_entropy;
pub(super) use self::operators::{column_sums, finish, gelu, layer_norm, like, prelu, scaled_sum};
pub(super) use self::patches::{patch_length, patches};
pub(crate) use self::pictures::{Pictures, planes_at};
pub(super) use self::pools::{average_pool, average_pool_gradient, max_pool, max_pool_gradient};
pub(super) use self::strides::{Seen, gathered};
pub(super) use self::tiles::{Tiles, are_aligned, folded, of_columns};
pub(super) use self::transpose::transposed;
#[cfg(test)]
pub(crate) use self::update::layout;
pub(crate) use self::update::{Changed, Table};
pub(crate) use self::uploads::{Staged, Uploads};
pub(super) use self::weights::{turned, unturned};

use anyhow::{Result, ensure};

/// Threads of a block.
const BLOCK: usize = 256;

/// Returns the blocks that so many threads fall into.
///
/// # Errors
///
/// When the kernels cannot count so far.
fn blocks(threads: usize) -> Result<u32> {
    ensure!(
        threads <= i32::MAX as usize,
        "{threads} numbers are more than a kernel counts: use a smaller batch"
    );
    Ok(threads.div_ceil(BLOCK) as u32)
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn threads_fall_into_blocks() {
        assert_eq!([1, 256, 257].map(|threads| blocks(threads).unwrap()), [1, 1, 2]);
        assert!(blocks(1 << 31).unwrap_err().to_string().ends_with("use a smaller batch"));
    }
}
