//! Every operator on bf16 beside itself on f32.

use candle_core::{DType, Tensor};

use super::{Path, numbers, operators, run_back};

/// Returns how far two arrays are apart, as a share of the second's length.
fn apart(found: &Tensor, expected: &Tensor) -> f64 {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len());
    let square = |number: f32| f64::from(number) * f64::from(number);
    let length: f64 = expected.iter().map(|e| square(*e)).sum();
    let apart: f64 = found.iter().zip(&expected).map(|(f, e)| square(f - e)).sum();
    (apart / length.max(1e-6)).sqrt()
}

#[test]
fn operators_on_bf16_agree_with_those_on_f32() {
    for (name, tensors, operator) in operators() {
        // what is rounded before it starts is no error of an operator
        let rounded = |tensor: &Tensor| tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32);
        let tensors: Vec<_> =
            tensors.iter().map(|(name, tensor)| (*name, rounded(tensor).unwrap())).collect();
        let (value, gradients) = run_back(&operator, &tensors, Path::Kernels);
        let (half, half_gradients) = run_back(&operator, &tensors, Path::Halves);
        assert_eq!(half.dtype(), DType::BF16, "{name} left the kernels");
        let error = apart(&half, &value);
        assert!(error < 5e-3, "{name}: {error}");
        assert_eq!(half_gradients.len(), tensors.len(), "{name}");
        for (input, gradient) in &gradients {
            let error = apart(&half_gradients[input], gradient);
            assert!(error < 1e-2, "{name}, by {input}: {error}");
        }
    }
}
