//! What every operator is checked with: shapes, odd ones among them, and how it runs.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};

use super::norms::{around, bent, halved, joined, layer, norm, norms};
use crate::ops::{self, BatchNorm, Moves, Rectifier, Tape, Value};
use crate::rng::Random;
use crate::weights::{Buffer, Parameter};

/// What is checked, the tensors it is checked with, and how it runs.
pub(in crate::ops) type Check = (String, Vec<(&'static str, Tensor)>, Operator);

pub(in crate::ops) type Operator = Box<dyn Fn(&mut Tape, &Inputs<'_>) -> Result<Value>>;

/// What an operator of [`operators`] is given: named tensors, on the tape where it reads values.
pub(in crate::ops) struct Inputs<'a> {
    pub(in crate::ops) tensors: &'a [(&'static str, Tensor)],
    pub(in crate::ops) values: Vec<Value>,
}

impl Inputs<'_> {
    pub(in crate::ops) fn value(&self, index: usize) -> &Value {
        &self.values[index]
    }
    pub(in crate::ops) fn tensor(&self, index: usize) -> &Tensor {
        &self.tensors[index].1
    }
}

/// Returns numbers of a shape, drawn from a seed.
pub(in crate::ops) fn draw(purpose: &str, shape: &[usize]) -> Tensor {
    let mut random = Random::new(11, purpose, &[]);
    let numbers = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).expect("as many numbers as the shape says")
}

pub(super) fn draw_wide(purpose: &str, length: usize, factor: f64) -> Tensor {
    (draw(purpose, &[length]) * factor).expect("a product on the CPU")
}

/// Makes a parameter of a tensor.
pub(in crate::ops) fn parameter(name: &str, tensor: &Tensor) -> Result<Parameter> {
    let variable = Var::from_tensor(tensor)?;
    Ok(Parameter::new(name.to_owned(), variable, true))
}

/// Makes a batch norm of its tensors.
pub(in crate::ops) fn batch_norm(
    weight: &Tensor,
    bias: &Tensor,
    mean: &Tensor,
    var: &Tensor,
) -> Result<BatchNorm> {
    let buffer = |name: &str, tensor: &Tensor| -> Result<Buffer> {
        Ok(Buffer { name: name.to_owned(), variable: Var::from_tensor(tensor)? })
    };
    Ok(BatchNorm {
        weight: parameter("weight", weight)?,
        scales: true,
        bias: parameter("bias", bias)?,
        running_mean: buffer("mean", mean)?,
        running_var: buffer("var", var)?,
        momentum: 0.1,
        eps: 1e-5,
        feeds_norm: false,
        spares: false,
    })
}

/// Returns every operator, as a function of named tensors, all of which get a gradient.
pub(in crate::ops) fn operators() -> Vec<Check> {
    [convolutions(), norms(), others()].into_iter().flatten().collect()
}

fn convolutions() -> Vec<Check> {
    let plain = Moves::new;
    let grouped = |stride, padding, groups| plain(stride, padding).grouped(groups);
    let cases = [
        ([2, 5, 7, 9], 6, [1, 1], plain(1, 0)),
        ([2, 5, 4, 11], 3, [1, 1], plain(2, 0)),
        ([2, 5, 6, 10], 17, [3, 3], plain(1, 1)),
        ([1, 9, 6, 2], 5, [3, 3], plain(2, 1)),
        ([1, 6, 5, 12], 5, [3, 3], plain(2, 1)),
        ([1, 9, 10, 3], 4, [7, 7], plain(2, 3)),
        ([1, 8, 7, 9], 2, [7, 7], plain(1, 3)),
        // by Winograd's tiles, of which some reach over the edge
        ([2, 5, 4, 17], 18, [3, 3], plain(1, 1)),
        ([1, 5, 6, 16], 17, [3, 3], plain(1, 0)),
        ([2, 6, 7, 8], 16, [1, 1], plain(1, 0)),
        ([2, 6, 7, 8], 16, [1, 1], plain(2, 0)),
        ([1, 3, 4, 17], 16, [3, 3], plain(1, 2)),
        // channel by channel
        ([2, 6, 5, 7], 7, [3, 3], grouped(1, 1, 7)),
        ([1, 7, 6, 5], 5, [3, 3], grouped(2, 1, 5)),
        ([1, 3, 4, 35], 35, [7, 7], grouped(1, 3, 35)),
        ([2, 9, 15, 3], 3, [7, 7], grouped(1, 1, 3)),
        ([1, 5, 4, 6], 6, [3, 3], grouped(1, 3, 6)),
        ([2, 9, 10, 4], 4, [7, 7], grouped(2, 3, 4)),
        ([1, 9, 8, 4], 4, [3, 2], Moves { stride: [2, 1], dilation: [2, 3], ..grouped(1, 2, 4) }),
        // in groups, with gaps, and not square
        ([1, 6, 5, 6], 9, [3, 3], grouped(1, 1, 3)),
        ([2, 4, 5, 3], 6, [3, 1], Moves { dilation: [2, 1], ..grouped(1, 2, 3) }),
        ([1, 7, 8, 4], 3, [2, 3], Moves { stride: [2, 3], padding: [1, 0], ..plain(1, 0) }),
    ];
    let both = [plain(1, 0), plain(2, 0)].map(convolutions_of_one);
    cases.into_iter().map(convolution).chain(both).collect()
}

/// Returns two convolutions of the same images, whose gradients meet there.
fn convolutions_of_one(moves: Moves) -> Check {
    let tensors = vec![
        ("x", draw("x", &[2, 6, 5, 8])),
        ("w", draw("w", &[4, 8, 1, 1])),
        ("v", draw("v", &[4, 8, 1, 1])),
        ("s", draw("s", &[4])),
    ];
    let run: Operator = Box::new(move |tape, x| {
        let (w, v) = (parameter("w", x.tensor(1))?, parameter("v", x.tensor(2))?);
        let one = ops::convolution(tape, x.value(0), &w, None, moves)?;
        let other = ops::convolution(tape, x.value(0), &v, None, moves)?;
        let (scale, mut random) = (parameter("s", x.tensor(3))?, Random::new(6, "depth", &[]));
        ops::scaled_sum(tape, &one, &other, &scale, 0.0, &mut random)
    });
    (format!("convolution twice of the same, stride {:?}", moves.stride), tensors, run)
}

/// How a convolution is asked for: images, results, kernel, moves.
type Asked = ([usize; 4], usize, [usize; 2], Moves);

fn convolution((shape, outputs, [rows, columns], moves): Asked) -> Check {
    let weight = [outputs, shape[3] / moves.groups, rows, columns];
    let tensors =
        vec![("x", draw("x", &shape)), ("w", draw("w", &weight)), ("b", draw("b", &[outputs]))];
    let Moves { stride, padding, dilation, groups } = moves;
    let depthwise = groups > 1 && groups == shape[3] && groups == outputs;
    let kind = if depthwise { "convolution by channel" } else { "convolution" };
    let name = format!(
        "{kind} {shape:?} by {weight:?}, stride {stride:?}, padding {padding:?}, dilation \
         {dilation:?}, groups {groups}"
    );
    let run: Operator = Box::new(move |tape, x| {
        let (weight, bias) = (parameter("w", x.tensor(1))?, parameter("b", x.tensor(2))?);
        ops::convolution(tape, x.value(0), &weight, Some(&bias), moves)
    });
    (name, tensors, run)
}

/// Returns convolutions, norms and poolings of shapes drawn from a seed, up to those of a small network.
pub(super) fn drawn(seed: u64, count: u64) -> Vec<Check> {
    let one = |number: u64| {
        let mut random = Random::new(seed, "shapes", &[number]);
        let mut from = |low: usize, high: usize| low + random.below((high - low) as u64) as usize;
        let [images, height, width] = [from(1, 5), from(7, 30), from(7, 30)];
        let depthwise = number.is_multiple_of(3);
        let groups = if depthwise { from(2, 100) } else { [1, 1, 2, 4][from(0, 4)] };
        let inputs = if depthwise { groups } else { groups * from(1, 33) };
        let outputs = if depthwise { groups } else { groups * from(1, 33) };
        let kernel = [[1, 1], [3, 3], [3, 3], [5, 5], [7, 7], [3, 1]][from(0, 6)];
        let moves = Moves {
            stride: [from(1, 3), from(1, 3)],
            padding: [from(0, 1 + kernel[0] / 2), from(0, 1 + kernel[1] / 2)],
            dilation: [1; 2],
            groups,
        };
        let rows = images * height * width;
        [
            convolution(([images, height, width, inputs], outputs, kernel, moves)),
            norm([images, height, width, inputs], number.is_multiple_of(2), Rectifier::Relu),
            layer([1, 1, rows, outputs]),
        ]
    };
    (0..count).flat_map(one).collect()
}

/// Returns norms and what works likewise on more numbers: more than a block of threads has, one at a time and by
/// eights, in several parts and side by side.
pub(super) fn wide() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    let shapes = [[3, 20, 21, 16], [3, 20, 21, 5], [1, 3, 2, 300], [1, 3, 2, 2056]];
    for shape in shapes {
        // a result that was rounded to its upper limit does not tell on which side it was
        for (residual, rectifier) in
            [(false, Rectifier::Relu6), (true, Rectifier::Relu), (true, Rectifier::None)]
        {
            all.push(norm(shape, residual, rectifier));
        }
        all.extend([around(shape), bent(shape), slopes(shape), layer(shape)]);
        all.push(joined(shape, false, true, true));
        all.push(convolution((shape, 8, [1, 1], Moves::new(1, 0))));
        all.push(branch(shape, 0.4));
    }
    all.extend([1, 16, 80, 640].map(|channels| layer([2, 13, 11, channels])));
    // of six rows a norm's gradient is too steep
    all.extend([shapes[0], shapes[1]].map(|shape| joined(shape, true, true, true)));
    for shape in [[2, 7, 6, 16], [2, 6, 9, 5]] {
        all.extend([false, true].map(|bent| halved(shape, bent)));
    }
    // so many rows that a thread comes around again
    let many = [2, 72, 64, 130];
    all.extend([norm(many, true, Rectifier::Relu), bent(many), joined(many, false, true, true)]);
    all.push(curve([1, 3, 5, 7]));
    all.push(pool([2, 9, 8, 16], (3, 2, 1)));
    all.push(rows([3, 7, 6, 67]));
    all
}

fn rows(shape: [usize; 4]) -> Check {
    let run: Operator = Box::new(|tape, x| ops::flatten(tape, x.value(0)));
    (format!("flatten {shape:?}"), vec![("x", draw("x", &shape))], run)
}

fn others() -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    let wide = || vec![("x", draw("x", &[2, 7, 8, 5]))];
    all.extend([(3, 2, 1), (2, 2, 0), (3, 1, 1)].map(|moves| pool([2, 7, 8, 5], moves)));
    all.push((
        "average pool".to_owned(),
        wide(),
        Box::new(|tape, x| ops::average_pool(tape, x.value(0))),
    ));
    all.push((
        "dropout".to_owned(),
        wide(),
        Box::new(|tape, x| {
            let random = &mut Random::new(5, "dropout", &[]);
            ops::dropout(tape, x.value(0), 0.3, random)
        }),
    ));
    all.push(curve([2, 7, 8, 5]));
    all.push(rows([2, 7, 8, 5]));
    all.push(slopes([2, 3, 4, 5]));
    all.extend([0.0, 0.4].map(|drop| branch([5, 2, 3, 4], drop)));
    for shape in [vec![4, 9], vec![2, 3, 2, 9], vec![5, 34], vec![9, 24]] {
        let inputs = shape[shape.len() - 1];
        all.push((
            format!("linear {shape:?}"),
            vec![
                ("x", draw("x", &shape)),
                ("w", draw("w", &[inputs / 3, inputs])),
                ("b", draw("b", &[inputs / 3])),
            ],
            Box::new(|tape, x| {
                let (weight, bias) = (parameter("w", x.tensor(1))?, parameter("b", x.tensor(2))?);
                ops::linear(tape, x.value(0), &weight, Some(&bias))
            }),
        ));
    }
    all
}

fn pool(shape: [usize; 4], (kernel, stride, padding): (usize, usize, usize)) -> Check {
    let run: Operator =
        Box::new(move |tape, x| ops::max_pool(tape, x.value(0), kernel, stride, padding));
    (
        format!("max pool {kernel} {stride} {padding} of {shape:?}"),
        vec![("x", draw("x", &shape))],
        run,
    )
}

fn curve(shape: [usize; 4]) -> Check {
    let run: Operator = Box::new(|tape, x| ops::gelu(tape, x.value(0)));
    (format!("gelu {shape:?}"), vec![("x", draw("x", &shape))], run)
}

fn slopes(shape: [usize; 4]) -> Check {
    let tensors = vec![("x", draw("x", &shape)), ("slope", draw("slope", &[shape[3]]))];
    let run: Operator =
        Box::new(|tape, x| ops::prelu(tape, x.value(0), &parameter("slope", x.tensor(1))?));
    (format!("prelu {shape:?}"), tensors, run)
}

/// Returns the end of a residual branch.
fn branch(shape: [usize; 4], drop: f64) -> Check {
    let tensors = vec![
        ("straight", draw("straight", &shape)),
        ("branch", draw("branch", &shape)),
        ("scale", draw("scale", &[shape[3]])),
    ];
    let run: Operator = Box::new(move |tape, x| {
        let (scale, random) = (parameter("scale", x.tensor(2))?, &mut Random::new(6, "depth", &[]));
        ops::scaled_sum(tape, x.value(0), x.value(1), &scale, drop, random)
    });
    (format!("scaled sum {shape:?} {drop}"), tensors, run)
}
