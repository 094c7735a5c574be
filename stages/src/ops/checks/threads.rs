//! The same bytes whatever the number of threads, and from run to run.

use candle_core::{DType, Tensor};

use super::{batch_norm, draw, numbers, parameter};
use crate::ops::{self, LayerNorm, Moves, Rectifier, Tape, Value};
use crate::rng::Random;

/// Runs a small network with every operator and returns the bits of its output and gradients.
fn bits(dtype: DType) -> Vec<(String, Vec<u32>)> {
    let images = draw("images", &[5, 34, 33, 3]).to_dtype(dtype).unwrap();
    let weight = |name: &str, shape: &[usize]| parameter(name, &draw(name, shape));
    let (stem, first) = (weight("stem", &[40, 3, 7, 7]), weight("first", &[40, 40, 3, 3]));
    let (second, head) = (weight("second", &[70, 40, 3, 3]), weight("head", &[9, 70]));
    let (wide, strided) = (weight("wide", &[40, 1, 7, 7]), weight("strided", &[40, 1, 3, 3]));
    let (grouped, point) = (weight("grouped", &[70, 7, 3, 3]), weight("point", &[70, 70, 1, 1]));
    let (slope, scale, bias) = (weight("slope", &[40]), weight("scale", &[70]), weight("b", &[70]));
    let ones = |channels: usize| draw("ones", &[channels]).ones_like().unwrap();
    let norm = |name: &str, channels: usize| {
        let mut norm =
            batch_norm(&ones(channels), &ones(channels), &ones(channels), &ones(channels));
        norm.weight.name = format!("{name}.weight");
        norm.bias.name = format!("{name}.bias");
        norm
    };
    let norms = [norm("a", 40), norm("b", 40), norm("c", 70)];
    let layer = LayerNorm {
        weight: weight("layer.weight", &[70]),
        bias: weight("layer.bias", &[70]),
        eps: 1e-6,
    };
    let plain = Moves::new;
    let mut tape = Tape::training();
    let tape = &mut tape;
    let mut x = Value::constant(images);
    x = ops::convolution(tape, &x, &stem, None, plain(1, 3)).unwrap();
    x = ops::batch_norm(tape, &x, &norms[0], None, Rectifier::Relu6).unwrap();
    x = ops::convolution(tape, &x, &wide, None, plain(1, 3).grouped(40)).unwrap();
    x = ops::max_pool(tape, &x, 3, 2, 1).unwrap();
    let y = ops::convolution(tape, &x, &first, None, plain(1, 1)).unwrap();
    x = ops::batch_norm(tape, &y, &norms[1], Some(&x), Rectifier::Relu).unwrap();
    x = ops::convolution(tape, &x, &strided, None, plain(2, 1).grouped(40)).unwrap();
    x = ops::prelu(tape, &x, &slope).unwrap();
    x = ops::convolution(tape, &x, &second, None, plain(2, 1)).unwrap();
    x = ops::batch_norm(tape, &x, &norms[2], None, Rectifier::None).unwrap();
    let mut y = ops::convolution(tape, &x, &grouped, Some(&bias), plain(1, 1).grouped(10)).unwrap();
    y = ops::layer_norm(tape, &y, &layer).unwrap();
    y = ops::convolution(tape, &y, &point, None, plain(1, 0)).unwrap();
    y = ops::gelu(tape, &y).unwrap();
    let random = &mut Random::new(9, "depth", &[]);
    x = ops::scaled_sum(tape, &x, &y, &scale, 0.3, random).unwrap();
    x = ops::average_pool(tape, &x).unwrap();
    x = ops::linear(tape, &x, &head, None).unwrap();
    let output = x.tensor().clone();
    let gradients = tape.backward(&x, draw("direction", output.dims())).unwrap();
    let running = norms.iter().map(|norm| norm.running_var.variable.as_tensor().clone());
    let named = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.clone());
    let all = [("output".to_owned(), output)].into_iter().chain(gradients.iter().map(named));
    let all = all.chain(running.map(|tensor| ("running".to_owned(), tensor)));
    let word = |tensor: Tensor| numbers(&tensor).into_iter().map(f32::to_bits).collect();
    all.map(|(name, tensor)| (name, word(tensor))).collect()
}

#[test]
fn bytes_do_not_depend_on_threads() {
    check(DType::F32);
    check(DType::BF16);
}

fn check(dtype: DType) {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bits(dtype))
    };
    let one = with(1);
    let zero = |(name, words): &(String, Vec<u32>)| {
        words.iter().all(|&word| word == 0).then(|| name.clone())
    };
    let zeros: Vec<String> = one.iter().filter_map(zero).collect();
    assert!(zeros.is_empty(), "nothing reached {zeros:?}");
    for threads in [1, 2, 3] {
        assert!(with(threads) == one, "{dtype:?}: {threads} threads give other bytes");
    }
}
