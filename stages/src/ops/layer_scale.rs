//! The end of a residual branch: layer scale (Touvron et al. 2021), stochastic depth (Huang et al.
//! 2016) and the sum, in one pass.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::columns::add_parts;
use super::floats::Block;
use super::instructions::vectorized;
use super::number::Number;
use super::profile::Work;
use super::tape::Tape;
use super::value::{Array, Host, Value, read};
use crate::rng::Random;
use crate::weights::Parameter;

/// Computes straight + keep · scale · branch over [N, H, W, C], with a scale for each channel.
///
/// In training, `keep` of each image is 0 with probability `drop`, and otherwise 1 / (1 - drop);
/// in inference it is 1.
///
/// # Errors
///
/// When shapes differ, or `drop` is not in [0, 1).
pub(crate) fn scaled_sum(
    tape: &mut Tape,
    straight: &Value,
    branch: &Value,
    scale: &Parameter,
    drop: f64,
    random: &mut Random,
) -> Result<Value> {
    let name = &scale.name;
    ensure!((0.0..1.0).contains(&drop), "`{name}`: a probability of {drop} is not in [0, 1)");
    ensure!(
        straight.dims() == branch.dims(),
        "`{name}`: {:?} and {:?} differ",
        straight.dims(),
        branch.dims()
    );
    let [images, _, _, channels] = branch.array().lengths("a residual branch")?;
    ensure!(
        channels == scale.variable.elem_count(),
        "`{name}` is for {} channels, and was given {channels}",
        scale.variable.elem_count()
    );
    let keep: Vec<f32> = if tape.is_training() && drop > 0.0 {
        let kept = (1.0 / (1.0 - drop)) as f32;
        (0..images).map(|_| if random.chance(drop) { 0.0 } else { kept }).collect()
    } else {
        vec![1.0; images]
    };
    let (nodes, scale) = ((straight.node, branch.node), scale.clone());
    match (straight.array(), branch.array()) {
        (Array::Host(straight), Array::Host(branch)) => {
            on_host(tape, nodes, (straight, branch), scale, keep)
        }
        (Array::Half(straight), Array::Half(branch)) => {
            on_host(tape, nodes, (straight, branch), scale, keep)
        }
        #[cfg(any(feature = "cuda", test))]
        (Array::Device(straight), Array::Device(branch)) if super::gpu::takes(branch) => {
            super::gpu::scaled_sum(tape, nodes, (straight, branch), &scale, keep)
        }
        (Array::Device(straight), Array::Device(branch)) => {
            let keep = Tensor::from_vec(keep, (images, 1, 1, 1), &Device::Cpu)?;
            let keep = keep.to_device(branch.device())?.to_dtype(branch.dtype())?;
            let factors = scale.variable.to_dtype(branch.dtype())?;
            let kept = branch.broadcast_mul(&keep)?;
            let y = (straight + kept.broadcast_mul(&factors)?)?;
            Ok(tape.record(
                Work::new("layer scale and sum"),
                Array::Device(y),
                move |gradient, sink| {
                    let gradient = Value::new(gradient, None);
                    let gradient = gradient.tensor();
                    let sums = (gradient * &kept)?.to_dtype(DType::F32)?;
                    sink.give_parameter(&scale, sums.reshape(((), channels))?.sum(0)?)?;
                    let back = gradient.broadcast_mul(&keep)?.broadcast_mul(&factors)?;
                    sink.give(nodes.1, Array::Device(back))?;
                    sink.give(nodes.0, Array::Device(gradient.clone()))
                },
            ))
        }
        _ => anyhow::bail!("`{}`: two sides of different kinds", scale.name),
    }
}

fn on_host<N: Number>(
    tape: &mut Tape,
    nodes: (Option<usize>, Option<usize>),
    (straight, branch): (&Host<N>, &Host<N>),
    scale: Parameter,
    keep: Vec<f32>,
) -> Result<Value> {
    let factors = read(&scale.variable, <[f32]>::to_vec)?;
    let channels = factors.len();
    let image = branch.numbers.len() / keep.len();
    let mut y = Block::stale(branch.numbers.len());
    y.par_chunks_mut(image)
        .zip(straight.numbers.par_chunks(image).zip(branch.numbers.par_chunks(image)))
        .zip(&keep)
        .for_each(|((y, (straight, branch)), &keep)| add(y, straight, branch, &factors, keep));
    let output = N::array(Host::new(branch.shape.clone(), y));
    let branch = branch.clone();
    Ok(tape.record(Work::new("layer scale and sum"), output, move |gradient, sink| {
        let gradient = N::taken(gradient)?;
        let mut back = Block::stale(gradient.numbers.len());
        let parts: Vec<Vec<f32>> = back
            .par_chunks_mut(image)
            .zip(gradient.numbers.par_chunks(image).zip(branch.numbers.par_chunks(image)))
            .zip(&keep)
            .map(|((back, (gradient, branch)), &keep)| {
                let mut sums = vec![0.0; channels];
                scale_back(back, gradient, branch, (&factors, &mut sums), keep);
                sums
            })
            .collect();
        let sums = add_parts(&parts, channels);
        sink.give_parameter(&scale, Tensor::from_vec(sums, channels, &Device::Cpu)?)?;
        sink.give(nodes.1, N::array(Host::new(gradient.shape.clone(), back)))?;
        sink.give(nodes.0, N::array(gradient))
    }))
}

vectorized! {
    fn add<N: Number>(y: &mut [N], straight: &[N], branch: &[N], factors: &[f32], keep: f32) {
        let channels = factors.len();
        for ((y, straight), branch) in y
            .chunks_exact_mut(channels)
            .zip(straight.chunks_exact(channels))
            .zip(branch.chunks_exact(channels))
        {
            for (((y, straight), branch), factor) in
                y.iter_mut().zip(straight).zip(branch).zip(factors)
            {
                *y = N::narrow(straight.wide() + branch.wide() * (factor * keep));
            }
        }
    }
}

vectorized! {
    fn scale_back<N: Number>(
        back: &mut [N],
        gradient: &[N],
        branch: &[N],
        by: (&[f32], &mut [f32]),
        keep: f32,
    ) {
        let (factors, sums) = by;
        let channels = factors.len();
        let sums = &mut sums[..channels];
        for ((back, gradient), branch) in back
            .chunks_exact_mut(channels)
            .zip(gradient.chunks_exact(channels))
            .zip(branch.chunks_exact(channels))
        {
            for ((((back, gradient), branch), factor), sum) in
                back.iter_mut().zip(gradient).zip(branch).zip(factors).zip(sums.iter_mut())
            {
                *sum += gradient.wide() * branch.wide() * keep;
                *back = N::narrow(gradient.wide() * (factor * keep));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::scaled_sum;
    use crate::ops::{Tape, Value};
    use crate::rng::Random;
    use crate::weights::Parameter;

    #[test]
    fn branches_are_left_out_as_often_as_asked() {
        let images = 4000;
        let ones = Tensor::ones((images, 1, 1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let variable = Var::from_tensor(&ones.get(0).unwrap().flatten_all().unwrap()).unwrap();
        let scale = Parameter::new("gamma".to_owned(), variable, false);
        let run = |tape: &mut Tape, seed: u64| -> Vec<f32> {
            let random = &mut Random::new(seed, "depth", &[]);
            let (straight, branch) = (Value::constant(ones.clone()), Value::constant(ones.clone()));
            let y = scaled_sum(tape, &straight, &branch, &scale, 0.3, random).unwrap();
            y.tensor().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert!(run(&mut Tape::inference(), 1).iter().all(|&y| y == 2.0));
        let trained = run(&mut Tape::training(), 1);
        // an image is left out whole
        assert!(trained.chunks(2).all(|image| image[0] == image[1]));
        let left_out = trained.iter().filter(|&&y| y == 1.0).count() as f64 / 2.0;
        assert!((left_out / images as f64 - 0.3).abs() < 0.03, "{left_out} of {images}");
        let kept = 1.0 + 1.0 / 0.7;
        assert!(trained.iter().all(|&y| y == 1.0 || (y - kept).abs() < 1e-6));
        assert_eq!(trained, run(&mut Tape::training(), 1));
        assert_ne!(trained, run(&mut Tape::training(), 2));
    }
}
