//! Gradients against central differences, of our kernels and of the compositions.

use super::{Path, close, draw, numbers, operators, run, run_back};
use candle_core::{Device, Tensor};

#[test]
fn gradients_are_the_slopes() {
    for (name, tensors, operator) in operators() {
        for path in [Path::Kernels, Path::Composed] {
            let (_, gradients) = run_back(&operator, &tensors, path);
            for (index, (input, tensor)) in tensors.iter().enumerate() {
                let at = numbers(tensor);
                let value = |place: usize, step: f32| {
                    let mut moved = at.clone();
                    moved[place] += step;
                    let mut tensors = tensors.clone();
                    tensors[index].1 =
                        Tensor::from_vec(moved, tensor.shape(), &Device::Cpu).unwrap();
                    let (_, output) = run(&operator, &tensors, path);
                    let direction = numbers(&draw("direction", output.dims()));
                    let output = numbers(output.tensor());
                    let product = |(y, d): (&f32, &f32)| f64::from(*y) * f64::from(*d);
                    output.iter().zip(&direction).map(product).sum::<f64>()
                };
                // every seventh number: neighbours go through the same code
                let mut expected = numbers(&gradients[*input]);
                for place in (0..at.len()).step_by(7) {
                    let slope = |step: f32| {
                        let (before, after) = (at[place] - step, at[place] + step);
                        (value(place, step) - value(place, -step)) / f64::from(after - before)
                    };
                    let (coarse, fine) = (slope(4e-3), slope(2e-3));
                    // a rectifier or maximum that switches in between has no slope to compare
                    if (coarse - fine).abs() < 2e-2 {
                        expected[place] = fine as f32;
                    }
                }
                let expected = Tensor::from_vec(expected, tensor.shape(), &Device::Cpu).unwrap();
                let what = format!("{name}, {path:?}, by {input}");
                close(&what, &gradients[*input], &expected, 1e-2);
            }
        }
    }
}

#[test]
fn compositions_agree_with_kernels() {
    for (name, tensors, operator) in operators() {
        let (value, gradients) = run_back(&operator, &tensors, Path::Kernels);
        let (composed, composed_gradients) = run_back(&operator, &tensors, Path::Composed);
        close(&name, &composed, &value, 1e-5);
        assert_eq!(gradients.len(), tensors.len(), "{name}");
        for (input, gradient) in &gradients {
            close(&format!("{name}, by {input}"), &composed_gradients[input], gradient, 1e-5);
        }
    }
}
