//! Adam with decoupled weight decay (Loshchilov and Hutter 2019).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, OptimizerConfig};
use crate::moment::{
    CHUNK, Decayed, Kept, Moment, all_in_place, gradient_of, nothing_left, put, take,
};
use crate::number::{Fraction, NonNegative, Positive};
#[cfg(any(feature = "cuda", test))]
use crate::ops;
use crate::ops::{AdamFactors, Gradients, adapt};
use crate::weights::Parameter;

/// For weight w with gradient g at step t: w −= rate · decay · w; m += (1 − beta1)(g − m);
/// v = beta2 · v + (1 − beta2) g²; w −= rate / (1 − beta1ᵗ) · m / (√(v / (1 − beta2ᵗ)) + epsilon); as
/// `torch.optim.AdamW`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Adamw {
    /// Learning rate before the schedule.
    rate: Positive,
    /// Share of the running mean of gradients that is kept at each step.
    beta1: Fraction,
    /// Share of the running mean of squared gradients that is kept at each step.
    beta2: Fraction,
    /// Added to the divisor, so that it is never 0.
    epsilon: Positive,
    /// How strongly weights are drawn to 0, in units of the learning rate.
    weight_decay: NonNegative,
    /// Which parameters weight decay applies to.
    decayed: Decayed,
}

impl Default for Adamw {
    fn default() -> Self {
        Self {
            rate: Positive::new(1e-3),
            beta1: Fraction::new(0.9),
            beta2: Fraction::new(0.999),
            epsilon: Positive::new(1e-8),
            weight_decay: NonNegative::new(0.05),
            decayed: Decayed::Weights,
        }
    }
}

impl OptimizerConfig for Adamw {
    fn build_with(&self, parameters: Vec<Parameter>, kept: Kept) -> Result<Box<dyn Optimizer>> {
        let slots = parameters.into_iter().map(|parameter| {
            Ok(Slot {
                first: kept.zeros(&parameter.variable)?,
                second: kept.zeros(&parameter.variable)?,
                decay: self.decayed.decay(&parameter, self.weight_decay),
                parameter,
            })
        });
        Ok(Box::new(Adam {
            betas: [self.beta1.get(), self.beta2.get()],
            epsilon: self.epsilon.get(),
            steps: 0,
            slots: slots.collect::<Result<_>>()?,
            #[cfg(any(feature = "cuda", test))]
            table: ops::Table::default(),
        }))
    }

    fn rate(&self) -> f64 {
        self.rate.get()
    }
}

struct Adam {
    betas: [f64; 2],
    epsilon: f64,
    steps: u32,
    slots: Vec<Slot>,
    /// Of all slots, for a GPU.
    #[cfg(any(feature = "cuda", test))]
    table: ops::Table,
}

struct Slot {
    parameter: Parameter,
    first: Moment,
    second: Moment,
    decay: f64,
}

/// The numbers of one step that are the same for every weight of a tensor.
struct Factors {
    /// 1 − rate · decay.
    shrink: f64,
    beta1: f64,
    beta2: f64,
    /// rate / (1 − beta1ᵗ).
    rate: f64,
    /// √(1 − beta2ᵗ).
    correction: f64,
    epsilon: f64,
}

impl Optimizer for Adam {
    fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<()> {
        self.steps += 1;
        let given = self.slots.iter().map(|slot| gradient_of(&slot.parameter, gradients));
        let given: Vec<Tensor> = given.collect::<Result<_>>()?;
        let factors: Vec<Factors> =
            self.slots.iter().map(|slot| self.factors(slot, rate)).collect();
        if self.slots.iter().all(|slot| matches!(slot.first, Moment::Host(_))) {
            return self.step_on_host(&given, &factors);
        }
        #[cfg(any(feature = "cuda", test))]
        if self.slots.iter().all(|slot| ops::takes(&slot.parameter.variable)) {
            return self.step_on_gpu(&given, &factors);
        }
        for ((slot, gradient), factors) in self.slots.iter_mut().zip(&given).zip(&factors) {
            slot.step_on_device(gradient, factors)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let steps = Tensor::new(self.steps, &Device::Cpu)?;
        let mut state = BTreeMap::from([("steps".to_owned(), steps)]);
        for Slot { parameter, first, second, .. } in &self.slots {
            put(&mut state, "first", parameter, first)?;
            put(&mut state, "second", parameter, second)?;
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let steps = state.remove("steps").context("the optimizer's state has no `steps`")?;
        self.steps = steps.to_scalar::<u32>().context("`steps` of the optimizer's state")?;
        for Slot { parameter, first, second, .. } in &mut self.slots {
            take(&mut state, "first", parameter, first)?;
            take(&mut state, "second", parameter, second)?;
        }
        nothing_left(&state)
    }
}

impl Adam {
    fn factors(&self, slot: &Slot, rate: f64) -> Factors {
        let ([beta1, beta2], taken) = (self.betas, f64::from(self.steps));
        Factors {
            shrink: 1.0 - rate * slot.decay,
            beta1,
            beta2,
            rate: rate / (1.0 - beta1.powf(taken)),
            correction: (1.0 - beta2.powf(taken)).sqrt(),
            epsilon: self.epsilon,
        }
    }

    /// Changes all weights in one pass: chunks of every tensor are one list of tasks.
    fn step_on_host(&mut self, gradients: &[Tensor], factors: &[Factors]) -> Result<()> {
        let variables: Vec<Var> =
            self.slots.iter().map(|slot| slot.parameter.variable.clone()).collect();
        let pairs: Vec<(&Var, &Tensor)> = variables.iter().zip(gradients).collect();
        let slots = &mut self.slots;
        all_in_place(&pairs, &mut |lent| {
            let mut tasks = Vec::new();
            for ((slot, (weights, gradient)), factors) in slots.iter_mut().zip(lent).zip(factors) {
                let (Moment::Host(first), Moment::Host(second)) =
                    (&mut slot.first, &mut slot.second)
                else {
                    continue;
                };
                let by = factors.rounded();
                let chunks = weights.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK));
                let moments = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
                tasks.extend(chunks.zip(moments).map(|chunk| (chunk, by)));
            }
            tasks.into_par_iter().for_each(|(((w, g), (m, v)), by)| adapt(w, m, v, g, by));
        })
    }
}

#[cfg(any(feature = "cuda", test))]
impl Adam {
    /// Changes all weights in place, in one launch.
    fn step_on_gpu(&mut self, gradients: &[Tensor], factors: &[Factors]) -> Result<()> {
        let copies: Vec<Option<Tensor>> =
            self.slots.iter().map(|slot| slot.parameter.rounded.current()).collect();
        let mut changed = Vec::with_capacity(gradients.len());
        for ((slot, gradient), copy) in self.slots.iter().zip(gradients).zip(&copies) {
            let moments = [Some(slot.first.on_device()?), Some(slot.second.on_device()?)];
            let weights = slot.parameter.variable.as_tensor();
            changed.push(ops::Changed { weights, gradient, moments, copy: copy.as_ref() });
        }
        let factors: Vec<AdamFactors> = factors.iter().map(Factors::rounded).collect();
        self.table.adapt(&changed, &factors)
    }
}

impl Slot {
    /// Takes a step by candle's own operators.
    fn step_on_device(&mut self, gradient: &Tensor, factors: &Factors) -> Result<()> {
        let weights = &self.parameter.variable;
        let (Moment::Device(first), Moment::Device(second)) = (&mut self.first, &mut self.second)
        else {
            anyhow::bail!("`{}` is kept elsewhere than others", self.parameter.name)
        };
        let Factors { shrink, beta1, beta2, rate, correction, epsilon } = *factors;
        *first = ((&*first * beta1)? + (gradient * (1.0 - beta1))?)?;
        *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let divisor = second.sqrt()?.affine(1.0 / correction, epsilon)?;
        let change = (first.div(&divisor)? * rate)?;
        let kept = (weights.detach() * shrink)?;
        Ok(weights.set(&(kept - change)?)?)
    }
}

impl Factors {
    fn rounded(&self) -> AdamFactors {
        AdamFactors {
            shrink: self.shrink as f32,
            keep: [self.beta1, self.beta2].map(|beta| beta as f32),
            take: [self.beta1, self.beta2].map(|beta| (1.0 - beta) as f32),
            rate: self.rate as f32,
            scale: (1.0 / self.correction) as f32,
            epsilon: self.epsilon as f32,
        }
    }
}
