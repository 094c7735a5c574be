//! The tape: what was computed, in order, so that gradients can be carried back.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::convolution::Folded;
use super::profile::{Clock, Profile, Stopwatch, Work};
use super::sink::Sink;
use super::value::{Array, Value};

/// Gradients of one step, f32: name of a parameter → what the loss gains by it, in its shape.
pub(crate) type Gradients = BTreeMap<String, Tensor>;

/// Carries the gradient of an operator's output back to its inputs and parameters.
type Backward = Box<dyn FnOnce(Array, &mut Sink) -> Result<()>>;

/// Records operators as they run; in inference it records nothing and keeps nothing.
pub(crate) struct Tape {
    training: bool,
    recomputing: bool,
    steps: Vec<(Work, Backward)>,
    stopwatch: Option<Stopwatch>,
    /// In inference, by the name of the weight.
    folded: BTreeMap<String, Rc<Folded>>,
}

impl Tape {
    /// Starts a tape for one training step.
    pub(crate) fn training() -> Self {
        Self::new(true)
    }

    /// Chooses whether what norms and activations give is computed again on the way back, where an operator would
    /// keep it: less memory, more time, the same bytes.
    pub(crate) fn recomputing(self, recomputing: bool) -> Self {
        Self { recomputing, ..self }
    }

    /// Starts a tape that only computes: running statistics, no dropout, no memory of the past. Norms are folded into
    /// convolutions once: no weight may change while it is used.
    pub(crate) fn inference() -> Self {
        Self::new(false)
    }

    fn new(training: bool) -> Self {
        let (steps, folded) = (Vec::new(), BTreeMap::new());
        Self { training, recomputing: false, steps, stopwatch: None, folded }
    }

    /// Returns a norm folded into the convolution of this name, which is made first where it is not known.
    pub(super) fn folded(
        &mut self,
        name: &str,
        make: impl FnOnce() -> Result<Folded>,
    ) -> Result<Rc<Folded>> {
        if let Some(known) = self.folded.get(name) {
            return Ok(known.clone());
        }
        let made = Rc::new(make()?);
        self.folded.insert(name.to_owned(), made.clone());
        Ok(made)
    }

    /// Measures every operator from now on, and the way back, on the device where they run.
    pub(crate) fn measured(self, clock: Clock, device: &Device) -> Self {
        Self { stopwatch: Some(Stopwatch::start(clock, device)), ..self }
    }

    /// Ends the measuring.
    pub(crate) fn profile(&mut self) -> Profile {
        self.stopwatch.take().map(Stopwatch::finish).unwrap_or_default()
    }

    /// Returns whether operators behave as in training.
    pub(crate) fn is_training(&self) -> bool {
        self.training
    }

    /// Returns whether operators that are cheap to compute again should say how.
    pub(super) fn is_recomputing(&self) -> bool {
        self.training && self.recomputing
    }

    /// Turns the output of an operator into a value, and in training remembers the way back.
    ///
    /// `work` says what it was, for [`Self::measured`]. `backward` must not hold more than it needs: it lives until the gradient comes by.
    pub(super) fn record(
        &mut self,
        work: Work,
        output: Array,
        backward: impl FnOnce(Array, &mut Sink) -> Result<()> + 'static,
    ) -> Value {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.lap(work, false);
        }
        if !self.training {
            return Value::new(output, None);
        }
        self.steps.push((work, Box::new(backward)));
        Value::new(output, Some(self.steps.len() - 1))
    }

    /// Returns the gradients of all parameters, given the gradient of the loss by `output`.
    /// The tape is empty afterwards, and can record another step.
    ///
    /// # Errors
    ///
    /// When the output is not of this tape, or shapes differ.
    pub(crate) fn backward(&mut self, output: &Value, gradient: Tensor) -> Result<Gradients> {
        ensure!(
            output.dims() == gradient.dims(),
            "the gradient has shape {:?} and the output {:?}",
            gradient.dims(),
            output.dims()
        );
        let last = output.node.context("the output was not recorded on a training tape")?;
        let steps = std::mem::take(&mut self.steps);
        ensure!(last < steps.len(), "the output belongs to another tape");
        let gradient = match output.array() {
            Array::Host(_) => Array::of(gradient),
            Array::Half(_) => Array::of(gradient.to_dtype(DType::BF16)?),
            Array::Device(output) => Array::Device(gradient.detach().to_dtype(output.dtype())?),
        };
        let mut sink = Sink::new(steps.len());
        sink.give(Some(last), gradient)?;
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.skip();
        }
        for (node, (work, backward)) in steps.into_iter().enumerate().rev() {
            if let Some(gradient) = sink.arrived(node)? {
                backward(gradient, &mut sink)?;
            }
            if let Some(stopwatch) = &mut self.stopwatch {
                stopwatch.lap(work, true);
            }
        }
        Ok(sink.into_parameters())
    }
}
