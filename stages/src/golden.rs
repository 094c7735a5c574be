//! Expected numbers from other programs, for tests: the files of `stages/golden/`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};

/// Returns the path of a file in `stages/golden/`.
pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")).join(file)
}

/// Reads a safetensors file, keeping the tensors below `prefix`, which is cut off their names.
pub(crate) fn tensors(file: &str, prefix: &str) -> BTreeMap<String, Tensor> {
    let all = candle_core::safetensors::load(path(file), &Device::Cpu).unwrap();
    let below =
        |(name, tensor): (String, Tensor)| Some((name.strip_prefix(prefix)?.into(), tensor));
    let found: BTreeMap<_, _> = all.into_iter().filter_map(below).collect();
    assert!(!found.is_empty(), "nothing in {file} starts with {prefix}");
    found
}

/// Asserts equal shapes, and values that differ by at most `tolerance` times the largest expected
/// value (or times 1, if that is larger).
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "shape of {what}");
    let values = |tensor: &Tensor| -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= tolerance * scale,
            "{what}, number {index}: {found} but expected {expected}, off by {difference:e}"
        );
    }
}
