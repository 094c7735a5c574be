//! Kernels of our own for GPUs: how much they are given to do, and how they are launched.
//!
//! What needs no GPU is here and tested everywhere; `launch` is compiled with the feature `cuda` alone.
//! `kernels.cu` and what it includes are the kernels; `emulation.c` runs them on the CPU.

#[cfg(feature = "cuda")]
mod launch;
#[cfg(feature = "cuda")]
mod operators;

#[cfg(feature = "cuda")]
pub(super) use self::launch::{Argument, address, filled, folded, launch, name_of};
#[cfg(feature = "cuda")]
pub(super) use self::operators::{column_sums, gelu, layer_norm, prelu, scaled_sum};

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
            .args(["-x", "c", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
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
