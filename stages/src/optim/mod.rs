//! What turns gradients into better weights, one file each.

mod adamw;
mod sgd;

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::choices::choices;
use crate::kind::Complaint;
use crate::moment::Kept;
use crate::ops::Gradients;
use crate::weights::Parameter;

/// The parameters of an optimizer.
pub(crate) trait OptimizerConfig {
    /// Makes the optimizer of these parameters.
    fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>> {
        let device = parameters.first().map_or(&Device::Cpu, |first| first.variable.device());
        let kept = Kept::on(device);
        self.build_with(parameters, kept)
    }

    /// As [`Self::build`], with a choice of where the state is kept.
    fn build_with(&self, parameters: Vec<Parameter>, kept: Kept) -> Result<Box<dyn Optimizer>>;

    /// Returns the learning rate that the schedule multiplies.
    fn rate(&self) -> f64;

    /// Returns what is wrong with the parameters, named from the family on, e.g. `sgd.nesterov`.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

/// An optimizer with its running state.
pub(crate) trait Optimizer: Send {
    /// Changes every parameter by its gradient at this learning rate.
    ///
    /// # Errors
    ///
    /// When a parameter has no gradient, or one of another shape.
    fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<()>;

    /// Returns what a later [`Self::restore`] needs to go on bit for bit.
    fn state(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Takes up a state that [`Self::state`] gave.
    ///
    /// # Errors
    ///
    /// When it is the state of other parameters.
    fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<()>;
}

choices! {
    /// What turns gradients into better weights.
    pub(crate) enum AnyOptimizer: OptimizerConfig {
        /// Stochastic gradient descent with momentum.
        Sgd(sgd::Sgd),
        /// Adam with decoupled weight decay.
        Adamw(adamw::Adamw),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::golden::{assert_close, tensors};
    use crate::rng::Random;

    #[derive(serde::Deserialize)]
    struct Table {
        optimizer: AnyOptimizer,
    }

    fn parse(text: &str) -> AnyOptimizer {
        toml::from_str::<Table>(&format!("optimizer.{text}")).unwrap().optimizer
    }

    const FILE: &str = "optimizers.safetensors";

    fn parameters() -> Vec<Parameter> {
        let first = tensors(FILE, "first/").into_iter().map(|(name, tensor)| {
            let decay = name.ends_with("weight");
            Parameter::new(name, Var::from_tensor(&tensor).unwrap(), decay)
        });
        first.collect()
    }

    /// Compares the weights after every step with those of `optimizers.safetensors`, with the state
    /// moved into a new optimizer halfway.
    fn check_golden(case: &str, config: &str) {
        let rates: Vec<f64> = tensors(FILE, "rates")[""].to_vec1().unwrap();
        for kind in [Kept::Host, Kept::Device] {
            check_golden_on(case, config, kind, &rates);
        }
        #[cfg(not(feature = "cuda"))]
        crate::ops::emulating(|| check_golden_on(case, config, Kept::Device, &rates));
    }

    fn check_golden_on(case: &str, config: &str, kind: Kept, rates: &[f64]) {
        let parameters = parameters();
        // as a GPU keeps it, taps before inputs
        let turned = |weight: &Tensor| {
            let [outputs, inputs, taps] = crate::ops::layout(weight);
            let weight = weight.detach().reshape((outputs, inputs, taps)).unwrap();
            let turned = weight.transpose(1, 2).unwrap().contiguous().unwrap();
            turned.to_dtype(candle_core::DType::BF16).unwrap()
        };
        for parameter in &parameters {
            parameter.rounded.of(|| Ok(turned(&parameter.variable))).unwrap();
        }
        let build = || parse(config).build_with(parameters.clone(), kind).unwrap();
        let mut optimizer = build();
        for (step, &rate) in rates.iter().enumerate() {
            if step == 3 {
                let state = optimizer.state().unwrap();
                optimizer = build();
                optimizer.restore(state).unwrap();
            }
            let gradients = tensors(FILE, &format!("gradient/{step}/"));
            optimizer.step(&gradients, rate).unwrap();
            let expected = tensors(FILE, &format!("{case}/{step}/"));
            for Parameter { name, variable, rounded, .. } in &parameters {
                let what = format!("{case}, step {step}, {name}, {kind:?}");
                assert_close(&what, variable, &expected[name], 1e-6);
                if crate::ops::takes(variable) {
                    let copy = rounded.current().unwrap();
                    let wide = |tensor: &Tensor| -> Vec<half::bf16> {
                        tensor.flatten_all().unwrap().to_vec1().unwrap()
                    };
                    assert_eq!(wide(&copy), wide(&turned(variable)), "{what}");
                }
            }
        }
    }

    #[test]
    fn sgd_agrees_with_torch() {
        let rest = "decayed = \"all\"";
        check_golden("sgd-plain", "sgd = { momentum = 0, weight-decay = 0 }");
        check_golden("sgd", &format!("sgd = {{ weight-decay = 0.01, {rest} }}"));
        check_golden("sgd-weights", "sgd = { weight-decay = 0.3 }");
        let nesterov = "nesterov = true, momentum = 0.8, weight-decay = 0.01";
        check_golden("sgd-nesterov", &format!("sgd = {{ {nesterov}, {rest} }}"));
    }

    #[test]
    fn adamw_agrees_with_torch() {
        check_golden("adamw", "adamw = { weight-decay = 0.3, decayed = \"all\" }");
        let other = "beta1 = 0.8, beta2 = 0.9, epsilon = 1e-3, weight-decay = 0.3";
        check_golden("adamw-weights", &format!("adamw = {{ {other} }}"));
    }

    /// Takes three steps from one start on this many threads.
    fn large(config: &str, kept: Kept, threads: usize) -> Tensor {
        let random = |index: u64| {
            let mut random = Random::new(2, "large", &[index]);
            let values: Vec<f32> = (0..50_001).map(|_| random.normal() as f32).collect();
            Tensor::new(values, &Device::Cpu).unwrap()
        };
        let variable = Var::from_tensor(&random(0)).unwrap();
        let parameter = Parameter::new("w".to_owned(), variable, true);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut optimizer = parse(config).build_with(vec![parameter.clone()], kept).unwrap();
            for step in 1..4 {
                let gradients = [("w".to_owned(), random(step))].into();
                optimizer.step(&gradients, 0.1).unwrap();
            }
        });
        parameter.variable.detach()
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for config in ["sgd = { nesterov = true }", "adamw = {}"] {
            let bits = |threads| -> Vec<u32> {
                let values: Vec<f32> = large(config, Kept::Host, threads).to_vec1().unwrap();
                values.into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(1), bits(3));
            let (host, device) = (large(config, Kept::Host, 2), large(config, Kept::Device, 2));
            assert_close(config, &host, &device, 1e-6);
            #[cfg(not(feature = "cuda"))]
            {
                let kernels = crate::ops::emulating(|| large(config, Kept::Device, 1));
                assert_close(config, &host, &kernels, 1e-6);
            }
        }
    }

    #[test]
    fn errors_name_the_parameter() {
        let mut optimizer = parse("sgd = {}").build(parameters()).unwrap();
        let error = optimizer.step(&Gradients::new(), 0.1).unwrap_err();
        assert_eq!(error.to_string(), "parameter `layer.bias` has no gradient");
        let mut gradients = tensors(FILE, "gradient/0/");
        gradients.insert("layer.bias".to_owned(), gradients["layer.weight"].clone());
        let error = optimizer.step(&gradients, 0.1).unwrap_err();
        assert_eq!(error.to_string(), "the gradient of `layer.bias` is [4, 3], expected [5]");
        let state = parse("adamw = {}").build(parameters()).unwrap().state().unwrap();
        let error = optimizer.restore(state).unwrap_err();
        assert_eq!(error.to_string(), "the optimizer's state has no `velocity.layer.bias`");
    }

    #[test]
    fn nesterov_without_momentum_is_a_complaint() {
        let complaints = parse("sgd = { nesterov = true, momentum = 0 }").check();
        assert_eq!(complaints[0].parameter, "sgd.nesterov");
        assert!(parse("sgd = { nesterov = true }").check().is_empty());
    }
}
