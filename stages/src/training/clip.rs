//! Keeps one bad batch from throwing the weights far away.

use candle_core::{DType, Tensor};

#[cfg(any(feature = "cuda", test))]
use crate::ops;
use crate::ops::Gradients;

/// The most that the common norm of all gradients may be.
pub(crate) struct Clip {
    limit: f64,
    /// Of all gradients, for a GPU.
    #[cfg(any(feature = "cuda", test))]
    table: ops::Table,
}

impl Clip {
    /// Limits the norm to this.
    pub(crate) fn to(limit: f64) -> Self {
        Self {
            limit,
            #[cfg(any(feature = "cuda", test))]
            table: ops::Table::default(),
        }
    }

    /// Shortens gradients to the limit where they are longer; on a GPU in place and without waiting for it.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) fn clip(&mut self, gradients: &mut Gradients) -> anyhow::Result<()> {
        #[cfg(any(feature = "cuda", test))]
        if gradients.values().all(ops::takes) {
            for gradient in gradients.values_mut() {
                *gradient = gradient.detach().contiguous()?;
            }
            return self.table.shorten(&gradients.values().collect::<Vec<_>>(), self.limit);
        }
        clip_composed(gradients, self.limit)?;
        Ok(())
    }
}

/// Scales all gradients so that their common Euclidean norm is at most `limit` (Pascanu, Mikolov and
/// Bengio 2013), as `torch.nn.utils.clip_grad_norm_`; returns the norm before.
///
/// # Errors
///
/// When the device fails.
fn clip_composed(gradients: &mut Gradients, limit: f64) -> candle_core::Result<f64> {
    let square =
        |gradient: &Tensor| gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>();
    let squares = gradients.values().map(square).collect::<candle_core::Result<Vec<_>>>()?;
    let norm = squares.iter().sum::<f64>().sqrt();
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 {
        for gradient in gradients.values_mut() {
            *gradient = (&*gradient * factor)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    #[cfg(not(feature = "cuda"))]
    use super::Clip;
    use super::clip_composed as clip;
    use crate::ops::Gradients;
    #[cfg(not(feature = "cuda"))]
    use crate::rng::Random;

    #[test]
    fn the_common_norm_is_limited() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let mut gradients: Gradients =
            [("a".to_owned(), tensor(&[3.0, 0.0])), ("b".to_owned(), tensor(&[0.0, 4.0]))].into();
        let value = |gradients: &Gradients| gradients["b"].to_vec1::<f32>().unwrap()[1];
        assert_eq!(clip(&mut gradients, 6.0).unwrap(), 5.0);
        assert_eq!(value(&gradients), 4.0);
        assert_eq!(clip(&mut gradients, 1.0).unwrap(), 5.0);
        assert!((value(&gradients) - 0.8).abs() < 1e-6);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn kernels_limit_the_same_norm() {
        let numbers = |count: usize, seed: u64| {
            let mut random = Random::new(seed, "gradient", &[]);
            let numbers: Vec<f32> = (0..count).map(|_| random.normal() as f32).collect();
            Tensor::new(numbers, &Device::Cpu).unwrap()
        };
        let gradients = || -> Gradients {
            [("a".to_owned(), numbers(200_001, 1)), ("b".to_owned(), numbers(7, 2))].into()
        };
        for limit in [1e6, 2.5] {
            let mut limited = Clip::to(limit);
            // the second time what is known of the first is used
            for _ in 0..2 {
                let (mut expected, mut found) = (gradients(), gradients());
                clip(&mut expected, limit).unwrap();
                crate::ops::emulating(|| limited.clip(&mut found)).unwrap();
                for (name, expected) in &expected {
                    crate::golden::assert_close(name, &found[name], expected, 1e-6);
                }
            }
        }
    }
}
