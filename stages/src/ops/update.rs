//! What optimizers do to every weight, as plain loops over slices.

use super::instructions::vectorized;

/// The numbers of a step of gradient descent that are the same for every weight of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescentFactors {
    /// Share of the last direction that is kept.
    pub(crate) momentum: f32,
    /// The learning rate.
    pub(crate) rate: f32,
    /// How strongly weights are drawn to 0.
    pub(crate) decay: f32,
    /// Whether to look ahead along the momentum.
    pub(crate) nesterov: bool,
}

vectorized! {
    /// Moves weights against a gradient with momentum.
    pub(crate) fn descend(
        weights: &mut [f32], velocity: &mut [f32], gradient: &[f32], by: DescentFactors,
    ) {
        let DescentFactors { momentum, rate, decay, nesterov } = by;
        for ((w, v), g) in weights.iter_mut().zip(velocity).zip(gradient) {
            let g = g + decay * *w;
            *v = momentum * *v + g;
            *w -= rate * if nesterov { g + momentum * *v } else { *v };
        }
    }
}

/// The numbers of a step of Adam that are the same for every weight of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamFactors {
    /// 1 − rate · decay.
    pub(crate) shrink: f32,
    /// Shares of both running means that are kept, and what the new one gets.
    pub(crate) keep: [f32; 2],
    pub(crate) take: [f32; 2],
    /// The learning rate over 1 − beta1ᵗ.
    pub(crate) rate: f32,
    /// 1 / √(1 − beta2ᵗ).
    pub(crate) scale: f32,
    /// Added to the divisor.
    pub(crate) epsilon: f32,
}

vectorized! {
    /// Moves weights along their running mean gradient over the root of its running square.
    pub(crate) fn adapt(
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        by: AdamFactors,
    ) {
        let AdamFactors { shrink, keep, take, rate, scale, epsilon } = by;
        for (((w, m), v), g) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
            *m = keep[0] * *m + take[0] * g;
            *v = keep[1] * *v + take[1] * (g * g);
            *w = shrink * *w - rate * (*m / (v.sqrt() * scale + epsilon));
        }
    }
}
