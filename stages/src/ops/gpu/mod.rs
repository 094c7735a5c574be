//! Kernels of our own for GPUs: how much they are given to do, and how they are launched.
//!
//! `kernels.cu` and what it includes are the kernels. `driver` runs them on a GPU and is compiled with the feature
//! `cuda` alone; `emulation` runs them in tests on the CPU, so that all that launches them is tested everywhere.

mod depthwise;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(not(feature = "cuda"))]
mod emulation;
mod launch;
mod losses;
mod operators;
mod patches;
mod pictures;
mod pools;
mod update;
mod uploads;
mod weights;

pub(super) use self::depthwise::{Direction, forward as depthwise, gradient as depthwise_gradient};
#[cfg(feature = "cuda")]
pub(crate) use self::driver::{free_bytes, takes};
#[cfg(all(test, not(feature = "cuda")))]
pub(super) use self::emulation::{apart, emulated};
#[cfg(not(feature = "cuda"))]
#[cfg(test)]
pub(crate) use self::emulation::{emulating, free_bytes, takes};
pub(super) use self::launch::{Argument, address, filled, folded, launch, name_of};
pub(super) use self::losses::cross_entropy;
pub(super) use self::operators::{column_sums, finish, gelu, layer_norm, prelu, scaled_sum};
pub(super) use self::patches::{patch_length, patches};
pub(crate) use self::pictures::{Pictures, planes_at};
pub(super) use self::pools::{average_pool, average_pool_gradient, max_pool, max_pool_gradient};
#[cfg(test)]
pub(crate) use self::update::layout;
pub(crate) use self::update::{Changed, adapt_all, descend_all, shorten};
pub(crate) use self::uploads::{Staged, Uploads};
pub(super) use self::weights::{turned, unturned};

use anyhow::{Result, ensure};

/// Threads of a block.
const BLOCK: usize = 256;
/// About how many threads make a large GPU busy.
const BUSY: usize = 1 << 17;
/// Lines that a thread of the first fold adds up.
const FOLD: usize = 32;

/// How sums over the rows of [rows, channels] are cut, whatever the GPU: it decides their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Each adds up every so many-th row.
    pub(super) lanes: usize,
    /// Lanes that are added up together at first.
    pub(super) take: usize,
    /// How many sums that leaves for the last fold.
    pub(super) folds: usize,
}

impl Cut {
    /// Cuts so that the lanes of all channels keep a GPU busy, and a lane has some rows to add up.
    pub(super) fn new(rows: usize, channels: usize) -> Self {
        let lanes = (BUSY / channels.max(1)).min(rows.div_ceil(4)).clamp(1, FOLD * FOLD * 4);
        Self::of_lanes(lanes)
    }

    /// Folds sums of so many lanes.
    pub(super) fn of_lanes(lanes: usize) -> Self {
        Self { lanes, take: FOLD, folds: lanes.div_ceil(FOLD) }
    }
}

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
    use std::path::Path;
    use std::process::Command;

    use super::{BUSY, Cut, blocks};

    #[test]
    fn every_row_has_a_lane() {
        for (rows, channels) in [(1, 1), (2, 512), (256, 512), (12_544, 256), (3_211_264, 64)] {
            let Cut { lanes, take, folds } = Cut::new(rows, channels);
            assert!((1..=rows).contains(&lanes) && folds * take >= lanes, "{rows} {channels}");
            assert!(lanes * channels <= BUSY.max(channels));
        }
        assert_eq!(Cut::new(3_211_264, 64), Cut { lanes: 2048, take: 32, folds: 64 });
    }

    #[test]
    fn threads_fall_into_blocks() {
        assert_eq!([1, 256, 257].map(|threads| blocks(threads).unwrap()), [1, 1, 2]);
        assert!(blocks(1 << 31).unwrap_err().to_string().ends_with("use a smaller batch"));
    }

    #[test]
    fn kernels_compute_what_plain_sums_do() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/gpu");
        let made = tempfile::tempdir().unwrap();
        let program = made.path().join("emulation");
        let compiled = Command::new("cc")
            .args(["-x", "c", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"])
            .args(["-Wno-unused-function", "-o"])
            .args([&program, &folder.join("emulation.c")])
            .arg("-lm")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        let run = Command::new(&program).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
}
