//! What a batch norm remembers of its batches.

use candle_core::{DType, Device};

use super::cases::{batch_norm, draw};
use super::{Other, numbers};
use crate::ops::value::{Array, Value};
use crate::ops::{self, Rectifier, Tape};

/// Returns the running statistics after a batch, from others than 0, of channels one by one and by eights.
pub(super) fn cases() -> Vec<Other> {
    let one = |shape: [usize; 4]| -> Other {
        let run = move |device: &Device, dtype: Option<DType>| {
            let there = |purpose: &str| draw(purpose, &[shape[3]]).to_device(device);
            let variance = there("variance")?.sqr()?;
            let (weight, bias, mean) = (there("weight")?, there("bias")?, there("mean")?);
            let norm = batch_norm(&weight, &bias, &mean, &variance)?;
            // numbers that every type has
            let x = draw("x", &shape).to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
            let array = match dtype {
                None => Array::of(x),
                Some(dtype) => Array::Device(x.to_dtype(dtype)?.to_device(device)?),
            };
            let x = Value::new(array, None);
            ops::batch_norm(&mut Tape::training(), &x, &norm, None, Rectifier::None)?;
            let [mean, variance] = [&norm.running_mean, &norm.running_var];
            let named = [("mean", mean), ("variance", variance)].into_iter();
            named.map(|(name, now)| Ok((name.to_owned(), numbers(&now.variable)?))).collect()
        };
        (format!("running statistics of {shape:?}"), Box::new(run))
    };
    [[2, 3, 4, 5], [3, 20, 21, 16]].map(one).into()
}
