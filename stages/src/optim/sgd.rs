//! Stochastic gradient descent with momentum.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{Tensor, Var};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, OptimizerConfig};
use crate::kind::Complaint;
use crate::moment::{
    CHUNK, Decayed, Kept, Moment, all_in_place, gradient_of, nothing_left, put, take,
};
use crate::number::{Fraction, NonNegative, Positive};
#[cfg(any(feature = "cuda", test))]
use crate::ops;
use crate::ops::{DescentFactors, Gradients, descend};
use crate::weights::Parameter;

/// For weight w with gradient g: g += decay · w; v = momentum · v + g; w −= rate · v, or with Nesterov's
/// momentum w −= rate · (g + momentum · v); as `torch.optim.SGD` (Sutskever et al. 2013).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Sgd {
    /// Learning rate before the schedule.
    rate: Positive,
    /// Share of the last direction that is kept.
    momentum: Fraction,
    /// Whether to look ahead along the momentum (Nesterov).
    nesterov: bool,
    /// How strongly weights are drawn to 0.
    weight_decay: NonNegative,
    /// Which parameters weight decay applies to.
    decayed: Decayed,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            rate: Positive::new(0.1),
            momentum: Fraction::new(0.9),
            nesterov: false,
            weight_decay: NonNegative::new(5e-4),
            decayed: Decayed::Weights,
        }
    }
}

impl OptimizerConfig for Sgd {
    fn build_with(&self, parameters: Vec<Parameter>, kept: Kept) -> Result<Box<dyn Optimizer>> {
        let slots = parameters.into_iter().map(|parameter| {
            Ok(Slot {
                velocity: kept.zeros(&parameter.variable)?,
                decay: self.decayed.decay(&parameter, self.weight_decay),
                parameter,
            })
        });
        Ok(Box::new(Descent {
            momentum: self.momentum.get(),
            nesterov: self.nesterov,
            slots: slots.collect::<Result<_>>()?,
            #[cfg(any(feature = "cuda", test))]
            table: ops::Table::default(),
        }))
    }

    fn rate(&self) -> f64 {
        self.rate.get()
    }

    fn check(&self) -> Vec<Complaint> {
        if !self.nesterov || self.momentum.get() > 0.0 {
            return Vec::new();
        }
        vec![Complaint {
            parameter: "sgd.nesterov".to_owned(),
            message: "nesterov needs momentum".to_owned(),
            help: Some("set momentum above 0, or nesterov = false".to_owned()),
        }]
    }
}

struct Descent {
    momentum: f64,
    nesterov: bool,
    slots: Vec<Slot>,
    /// Of all slots, for a GPU.
    #[cfg(any(feature = "cuda", test))]
    table: ops::Table,
}

struct Slot {
    parameter: Parameter,
    velocity: Moment,
    decay: f64,
}

impl Optimizer for Descent {
    fn step(&mut self, gradients: &Gradients, rate: f64) -> Result<()> {
        let (momentum, nesterov) = (self.momentum, self.nesterov);
        let given = self.slots.iter().map(|slot| gradient_of(&slot.parameter, gradients));
        let given: Vec<Tensor> = given.collect::<Result<_>>()?;
        if self.slots.iter().all(|slot| matches!(slot.velocity, Moment::Host(_))) {
            return self.step_on_host(&given, rate);
        }
        #[cfg(any(feature = "cuda", test))]
        if self.slots.iter().all(|slot| ops::takes(&slot.parameter.variable)) {
            return self.step_on_gpu(&given, rate);
        }
        for (slot, gradient) in self.slots.iter_mut().zip(&given) {
            let Slot { parameter, velocity, decay } = slot;
            let Moment::Device(velocity) = velocity else {
                anyhow::bail!("`{}` is kept elsewhere than others", parameter.name)
            };
            let weights = &parameter.variable;
            *velocity = on_device(weights, velocity, gradient, momentum, nesterov, *decay, rate)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for Slot { parameter, velocity, .. } in &self.slots {
            put(&mut state, "velocity", parameter, velocity)?;
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        for Slot { parameter, velocity, .. } in &mut self.slots {
            take(&mut state, "velocity", parameter, velocity)?;
        }
        nothing_left(&state)
    }
}

impl Descent {
    /// Changes all weights in one pass: chunks of every tensor are one list of tasks.
    fn step_on_host(&mut self, gradients: &[Tensor], rate: f64) -> Result<()> {
        let variables: Vec<Var> =
            self.slots.iter().map(|slot| slot.parameter.variable.clone()).collect();
        let pairs: Vec<(&Var, &Tensor)> = variables.iter().zip(gradients).collect();
        let (momentum, nesterov, slots) = (self.momentum as f32, self.nesterov, &mut self.slots);
        all_in_place(&pairs, &mut |lent| {
            let mut tasks = Vec::new();
            for (slot, (weights, gradient)) in slots.iter_mut().zip(lent) {
                let Moment::Host(velocity) = &mut slot.velocity else { continue };
                let (rate, decay) = (rate as f32, slot.decay as f32);
                let by = DescentFactors { momentum, rate, decay, nesterov };
                let chunks = weights.chunks_mut(CHUNK).zip(velocity.chunks_mut(CHUNK));
                tasks.extend(chunks.zip(gradient.chunks(CHUNK)).map(|chunk| (chunk, by)));
            }
            tasks.into_par_iter().for_each(|(((w, v), g), by)| descend(w, v, g, by));
        })
    }
}

#[cfg(any(feature = "cuda", test))]
impl Descent {
    /// Changes all weights in place, in one launch.
    fn step_on_gpu(&mut self, gradients: &[Tensor], rate: f64) -> Result<()> {
        let (momentum, rate, nesterov) = (self.momentum as f32, rate as f32, self.nesterov);
        let copies: Vec<Option<Tensor>> =
            self.slots.iter().map(|slot| slot.parameter.rounded.current()).collect();
        let mut changed = Vec::with_capacity(gradients.len());
        for ((slot, gradient), copy) in self.slots.iter().zip(gradients).zip(&copies) {
            let moments = [Some(slot.velocity.on_device()?), None];
            let weights = slot.parameter.variable.as_tensor();
            changed.push(ops::Changed { weights, gradient, moments, copy: copy.as_ref() });
        }
        let factors = self.slots.iter().map(|slot| {
            let decay = slot.decay as f32;
            DescentFactors { momentum, rate, decay, nesterov }
        });
        self.table.descend(&changed, &factors.collect::<Vec<_>>())
    }
}

/// Takes the same step by candle's own operators and returns the new velocity.
fn on_device(
    weights: &Var,
    velocity: &Tensor,
    gradient: &Tensor,
    momentum: f64,
    nesterov: bool,
    decay: f64,
    rate: f64,
) -> Result<Tensor> {
    let gradient = match decay {
        0.0 => gradient.clone(),
        _ => (gradient + (weights.detach() * decay)?)?,
    };
    let velocity = ((velocity * momentum)? + &gradient)?;
    let direction = if nesterov { (gradient + (&velocity * momentum)?)? } else { velocity.clone() };
    weights.set(&(weights.detach() - (direction * rate)?)?)?;
    Ok(velocity)
}
