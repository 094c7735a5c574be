//! Convolutions in inference, with the norm folded into their weights.

use candle_core::{DType, Device};

use super::cases::{batch_norm, draw, parameter};
use super::{Other, numbers};
use crate::ops::value::{Array, Value};
use crate::ops::{Moves, Rectifier, Tape, convolution_norm};

/// Returns dense and depthwise ones, with and without what follows.
pub(super) fn cases() -> Vec<Other> {
    let dense = ([2, 7, 6, 5], [9, 5, 3, 3], Moves::new(2, 1));
    let pointwise = ([2, 5, 4, 6], [6, 6, 1, 1], Moves::new(1, 0));
    let by_channel = ([2, 6, 7, 5], [5, 1, 3, 3], Moves::new(1, 1).grouped(5));
    let by_eights = ([2, 6, 7, 16], [16, 1, 3, 3], Moves::new(1, 1).grouped(16));
    [
        one(dense, false, Rectifier::Relu),
        one(dense, true, Rectifier::Relu),
        one(pointwise, true, Rectifier::None),
        one(by_channel, false, Rectifier::Relu6),
        one(by_channel, true, Rectifier::Relu),
        one(by_eights, true, Rectifier::Relu),
    ]
    .into()
}

fn one(
    (shape, weight, moves): ([usize; 4], [usize; 4], Moves),
    residual: bool,
    rectifier: Rectifier,
) -> Other {
    let kind = if moves.groups > 1 { "convolution by channel" } else { "convolution" };
    let with = if residual { " with a residual" } else { "" };
    let name = format!(
        "{kind} {shape:?} by {weight:?} in inference, norm folded,{with} rectifier {rectifier:?}"
    );
    let run = move |device: &Device, dtype: Option<DType>| {
        let there = |purpose: &str, shape: &[usize]| draw(purpose, shape).to_device(device);
        let value = |purpose: &str, shape: &[usize]| -> anyhow::Result<Value> {
            let tensor = draw(purpose, shape);
            let array = match dtype {
                None => Array::of(tensor),
                Some(dtype) => Array::Device(tensor.to_dtype(dtype)?.to_device(device)?),
            };
            Ok(Value::new(array, None))
        };
        let channels = [weight[0]];
        let variance = there("variance", &channels)?.sqr()?;
        let norm = batch_norm(
            &there("scale", &channels)?,
            &there("shift", &channels)?,
            &there("mean", &channels)?,
            &(variance + 0.5)?,
        )?;
        let filter = parameter("filter", &there("filter", &weight)?)?;
        let x = value("x", &shape)?;
        let plain = |residual: Option<&Value>, rectifier| {
            let mut tape = Tape::inference();
            convolution_norm(&mut tape, &x, &filter, moves, &norm, residual, rectifier)
        };
        let added = if residual {
            Some(value("residual", plain(None, Rectifier::None)?.dims())?)
        } else {
            None
        };
        let y = plain(added.as_ref(), rectifier)?;
        Ok(vec![("value".to_owned(), numbers(y.tensor())?)])
    };
    (name, Box::new(run))
}
