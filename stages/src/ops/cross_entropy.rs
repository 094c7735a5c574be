//! The mean softmax cross-entropy of scores as one node of candle's graph, by kernels of ours where they run.

use anyhow::Result;
use candle_core::Tensor;
#[cfg(any(feature = "cuda", test))]
use candle_core::backend::BackendStorage as _;
#[cfg(any(feature = "cuda", test))]
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Shape, Storage};

/// What scores are before the softmax, and what their targets are.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "it is read on a GPU"))]
pub(crate) struct Rule {
    /// What scores are multiplied by.
    pub(crate) scale: f64,
    /// Share of the target that is spread evenly over all classes.
    pub(crate) smoothing: f64,
    /// What is done to the score of a row's own class before that; it is then a cosine.
    pub(crate) margin: Option<Margin>,
}

/// A margin on the angle whose cosine a score is, as in ArcFace.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "it is read on a GPU"))]
pub(crate) struct Margin {
    /// In radians.
    pub(crate) angle: f64,
    /// Whether only angles below π / 2 get it.
    pub(crate) easy: bool,
    /// Whether the gradient passes it as a constant shift.
    pub(crate) detached: bool,
}

/// Returns the mean cross-entropy of scores [N, K] of f32 and the class of each row, a scalar of candle's graph;
/// nothing where no kernels of ours run. Labels were found to be classes.
///
/// # Errors
///
/// When the device fails.
#[cfg(any(feature = "cuda", test))]
pub(crate) fn cross_entropy(scores: &Tensor, labels: &[u32], rule: Rule) -> Result<Option<Tensor>> {
    if !super::gpu::takes(scores) {
        return Ok(None);
    }
    let labels = Tensor::new(labels, scores.device())?;
    let (loss, gradient) = super::gpu::cross_entropy(scores, &labels, rule)?;
    // candle's graph joins what the op is applied to
    Ok(Some(scores.contiguous()?.apply_op1(Known { loss, gradient })?))
}

/// As above: there are none.
///
/// # Errors
///
/// Never.
#[cfg(not(any(feature = "cuda", test)))]
pub(crate) fn cross_entropy(_: &Tensor, _: &[u32], _: Rule) -> Result<Option<Tensor>> {
    Ok(None)
}

/// A loss whose gradient is known with it.
#[cfg(any(feature = "cuda", test))]
struct Known {
    loss: Tensor,
    gradient: Tensor,
}

#[cfg(any(feature = "cuda", test))]
impl CustomOp1 for Known {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.loss.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { candle_core::bail!("the loss is elsewhere") };
        Ok((storage.try_clone(layout)?, self.loss.shape().clone()))
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.loss.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { candle_core::bail!("the loss is elsewhere") };
        Ok((storage.try_clone(layout)?, self.loss.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, by: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.gradient.broadcast_mul(by).map(Some)
    }
}

#[cfg(test)]
#[cfg(not(feature = "cuda"))]
mod tests {
    use anyhow::Context as _;
    use candle_core::{D, Device, Tensor, Var};

    use super::{Rule, cross_entropy};
    use crate::ops::emulating;
    use crate::rng::Random;

    /// Rows of many classes, cut into lanes of unequal lengths, with scores far from 0.
    #[test]
    fn rows_of_many_classes_are_as_in_f64() -> anyhow::Result<()> {
        let (rows, classes, scale) = (7, 1003, 3.0);
        let mut random = Random::new(8, "scores", &[]);
        let scores: Vec<f32> =
            (0..rows * classes).map(|_| (200.0 + 5.0 * random.normal()) as f32).collect();
        let labels: Vec<u32> = (0..rows).map(|row| (row * 143) as u32).collect();
        let scores = Var::from_vec(scores, (rows, classes), &Device::Cpu)?;
        let rule = Rule { scale, smoothing: 0.2, margin: None };
        let loss =
            emulating(|| cross_entropy(&scores, &labels, rule))?.context("it is emulated")?;
        let wide = (scores.to_dtype(candle_core::DType::F64)? * scale)?;
        let shifted = wide.broadcast_sub(&wide.max_keepdim(D::Minus1)?)?;
        let logs = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
        let logs: Vec<Vec<f64>> = logs.to_vec2()?;
        let mut expected = 0.0;
        let gradient = loss.backward()?;
        let gradient: Vec<Vec<f32>> =
            gradient.get(&scores).context("it depends on the scores")?.to_vec2()?;
        for (row, logs) in logs.iter().enumerate() {
            for (class, log) in logs.iter().enumerate() {
                let own = if class == labels[row] as usize { 0.8 } else { 0.0 };
                let target = own + 0.2 / classes as f64;
                expected -= target * log / rows as f64;
                let wanted = (log.exp() - target) * scale / rows as f64;
                let found = f64::from(gradient[row][class]);
                assert!((found - wanted).abs() < 1e-5, "{row} {class}: {found} {wanted}");
            }
        }
        let found = f64::from(loss.to_scalar::<f32>()?);
        assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
        let none = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu)?;
        let lost = emulating(|| cross_entropy(&none, &[1], rule))?.context("it is emulated")?;
        assert!(lost.to_scalar::<f32>()?.is_nan());
        Ok(())
    }
}
