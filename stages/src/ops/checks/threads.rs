//! The same bytes whatever the number of threads, and from run to run.

use candle_core::Tensor;

use super::{batch_norm, draw, numbers, parameter};
use crate::ops::{self, Tape, Value};

/// Runs a small network with every operator and returns the bits of its output and gradients.
fn bits() -> Vec<(String, Vec<u32>)> {
    let images = draw("images", &[5, 34, 33, 3]);
    let stem = parameter("stem", &draw("stem", &[40, 3, 7, 7]));
    let first = parameter("first", &draw("first", &[40, 40, 3, 3]));
    let second = parameter("second", &draw("second", &[70, 40, 3, 3]));
    let head = parameter("head", &draw("head", &[9, 70]));
    let ones = |channels: usize| draw("ones", &[channels]).ones_like().unwrap();
    let norm = |name: &str, channels: usize| {
        let mut norm =
            batch_norm(&ones(channels), &ones(channels), &ones(channels), &ones(channels));
        norm.weight.name = format!("{name}.weight");
        norm.bias.name = format!("{name}.bias");
        norm
    };
    let norms = [norm("a", 40), norm("b", 40), norm("c", 70)];
    let mut tape = Tape::training();
    let tape = &mut tape;
    let mut x = Value::constant(images);
    x = ops::convolution(tape, &x, &stem, 1, 3).unwrap();
    x = ops::batch_norm(tape, &x, &norms[0], None, true).unwrap();
    x = ops::max_pool(tape, &x, 3, 2, 1).unwrap();
    let y = ops::convolution(tape, &x, &first, 1, 1).unwrap();
    x = ops::batch_norm(tape, &y, &norms[1], Some(&x), true).unwrap();
    x = ops::convolution(tape, &x, &second, 2, 1).unwrap();
    x = ops::batch_norm(tape, &x, &norms[2], None, true).unwrap();
    x = ops::average_pool(tape, &x).unwrap();
    x = ops::linear(tape, &x, &head, None).unwrap();
    let output = x.tensor().clone();
    let gradients = tape.backward(&x, draw("direction", output.dims())).unwrap();
    let running = norms.iter().map(|norm| norm.running_var.variable.as_tensor().clone());
    let all = [output].into_iter().chain(gradients.values().cloned()).chain(running);
    let word = |tensor: Tensor| numbers(&tensor).into_iter().map(f32::to_bits).collect();
    all.enumerate().map(|(index, tensor)| (index.to_string(), word(tensor))).collect()
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(bits)
    };
    let one = with(1);
    assert!(one.iter().all(|(_, words)| words.iter().any(|&word| word != 0)));
    for threads in [1, 2, 3] {
        assert!(with(threads) == one, "{threads} threads give other bytes");
    }
}
