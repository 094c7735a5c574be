//! The training loop, from the first epoch to the last, or on from where a killed one was.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candle_core::Tensor;

use super::answers::{Answer, Answered, Answers};
use super::checkpoint::{Checkpoints, Timer};
use super::clip::Clip;
use super::description::Precision;
use super::divergence::Moment;
use super::exhausted::advised;
use super::inference::{embed, normalize};
use super::learning::learn;
use super::loader::Loader;
use super::metrics::{EpochMetrics, Sums};
use super::network::Network;
use super::set::LabelledSet;
use super::state::{Best, State};
use super::supply::Supply;
use crate::context::Context;
use crate::kinds::train::{Select, Train};
use crate::metric::accuracy::{Accuracy, ClosedSet};
use crate::metric::retrieval::{Retrieval, retrieval};
use crate::ops::Tape;
use crate::optim::Optimizer;
use crate::rng::Random;
use crate::tensorboard::EventFile;
use crate::weights::Parameter;

/// Steps between two events of the loss of a batch; part of the result, so not a parameter.
const EVENT_INTERVAL: u64 = 10;

/// What a training reads.
pub(crate) struct Data {
    /// Learnt from.
    pub(crate) train: LabelledSet,
    /// Judged by.
    pub(crate) dev: LabelledSet,
    /// Of both.
    pub(crate) loader: Loader,
}

/// A training under way.
pub(crate) struct Trainer<'a> {
    cx: &'a Context,
    settings: &'a Train,
    network: Network,
    parameters: Vec<Parameter>,
    optimizer: Box<dyn Optimizer>,
    clip: Option<Clip>,
    checkpoints: Checkpoints,
    timer: Timer,
    state: State,
    batches: u64,
    answers: Answers,
    unread: Option<Unread>,
}

/// A step whose answer no figure knows of yet.
struct Unread {
    answer: Answer,
    at: Moment,
    /// Steps before it.
    step: u64,
}

/// What a training leaves, besides the network with its last weights.
pub(crate) struct Trained {
    /// With the weights of the last epoch.
    pub(crate) network: Network,
    /// The weights of the best one.
    pub(crate) best: BTreeMap<String, Tensor>,
    /// `metrics.jsonl`.
    pub(crate) metrics: String,
    /// The TensorBoard file.
    pub(crate) events: EventFile,
}

impl<'a> Trainer<'a> {
    /// Prepares a training, and goes on with the newest checkpoint where there is one.
    ///
    /// # Errors
    ///
    /// When the parameters do not fit the data, or a checkpoint does not fit either.
    pub(crate) fn new(
        cx: &'a Context,
        settings: &'a Train,
        network: Network,
        data: &Data,
    ) -> anyhow::Result<Self> {
        let (images, batch) = (data.train.labels.len(), settings.batch.get() as usize);
        ensure!(images >= batch, "a batch of {batch} is more than the {images} training images");
        let parameters = network.weights.trainable();
        let mut optimizer = settings.optimizer.build(parameters.clone())?;
        let checkpoints = Checkpoints::open(cx.scratch()?.join("checkpoints"))?;
        let mut state = State::new();
        if let Some(checkpoint) = checkpoints.latest()? {
            match State::thaw(checkpoint, &network.weights, optimizer.as_mut())? {
                Some(found) => state = found,
                None => tracing::warn!("the checkpoint is of another version: starting over"),
            }
        }
        if state.position.step > 0 {
            let (epoch, batch) = (state.position.epoch + 1, state.position.batch);
            tracing::info!(epoch, batch, "going on from a checkpoint");
        }
        let minutes = settings.checkpoint.minutes.get();
        let interval = (minutes > 0.0).then(|| Duration::from_secs_f64(60.0 * minutes));
        Ok(Self {
            cx,
            settings,
            network,
            parameters,
            optimizer,
            clip: settings.gradient_clip.map(|limit| Clip::to(limit.get())),
            checkpoints,
            timer: Timer::start(interval),
            state,
            batches: (images / batch) as u64,
            answers: Answers::new(),
            unread: None,
        })
    }

    /// Trains to the end.
    ///
    /// # Errors
    ///
    /// When it is cancelled, after a checkpoint; when it diverges; when data or device fail.
    pub(crate) fn run(mut self, data: &Data) -> anyhow::Result<Trained> {
        let settings = self.settings;
        let (device, batch) = (self.network.weights.device(), settings.batch.get() as usize);
        let (loader, dtype) = (&data.loader, self.network.dtype);
        let supply = Supply::open(&data.train.images, loader, batch, device, dtype)?;
        let dev = Supply::sparing(&data.dev.images, loader, batch, device, dtype)?;
        while self.state.position.epoch < self.epochs() {
            let epoch = self.state.position.epoch;
            let mut order: Vec<usize> = (0..data.train.labels.len()).collect();
            Random::new(settings.seed, "shuffle", &[epoch]).shuffle(&mut order);
            let random = |image| Random::new(settings.seed, "augment", &[epoch, image as u64]);
            let batches = order.chunks_exact(batch);
            let left = batches.skip(self.state.position.batch as usize);
            let learnt = supply.each(left, &settings.augment, &random, |images, pixels| {
                let labels: Vec<u32> = images.iter().map(|&i| data.train.labels[i]).collect();
                self.step(&pixels, &labels)?;
                self.after_step()
            });
            learnt.map_err(|error| self.advised(error))?;
            self.finish_epoch(data, &dev)?;
            let every = u64::from(settings.checkpoint.epochs);
            let done = self.state.position.epoch;
            if every > 0 && done.is_multiple_of(every) && done < self.epochs() {
                self.save()?;
            }
        }
        self.finish()
    }

    /// Learns from one batch: images `[N, H, W, 3]` and their classes.
    fn step(&mut self, pixels: &Tensor, labels: &[u32]) -> anyhow::Result<()> {
        let at = self.moment();
        let step = self.state.position.step;
        let network = &self.network;
        let mut tape = Tape::training().recomputing(self.settings.recompute);
        let mut random = Random::new(self.settings.seed, "dropout", &[step]);
        let mut lesson = learn(network, &self.parameters, &mut tape, pixels, labels, &mut random)?;
        if let Some(clip) = &mut self.clip {
            clip.clip(&mut lesson.gradients)?;
        }
        self.optimizer.step(&lesson.gradients, at.rate)?;
        // the device computes this step while the one before is looked at
        let answer = self.answers.begin(&lesson, labels)?;
        match self.unread.replace(Unread { answer, at, step }) {
            Some(before) => self.note(before),
            None => Ok(()),
        }
    }

    /// Adds what would take less memory, if that is what an error is of.
    fn advised(&self, error: anyhow::Error) -> anyhow::Error {
        let Train { batch, recompute, precision, .. } = self.settings;
        let mut ways = vec!["a smaller `batch`"];
        if *precision == Precision::F32 {
            ways.push("`precision = \"bf16\"`");
        }
        if !recompute {
            ways.push("`recompute = true`, which goes on from the last checkpoint");
        }
        advised(error, batch.get() as usize, &ways)
    }

    /// Takes note of what the network answered in a step.
    fn note(&mut self, unread: Unread) -> anyhow::Result<()> {
        let Unread { answer, at, step } = unread;
        let Answered { loss, images, right } = answer.finish()?;
        let State { position, events, .. } = &mut self.state;
        position.divergence.watch(loss, at)?;
        position.sums.add(images, loss, right);
        if step.is_multiple_of(EVENT_INTERVAL) {
            events.scalars(step, &[("loss/batch", loss), ("learning-rate", at.rate)]);
        }
        if (step + 1).is_multiple_of(u64::from(self.settings.log_interval.get())) {
            let (Moment { epoch, batch, rate }, loss) = (at, position.sums.loss());
            tracing::info!(epoch, batch, loss, rate, "step");
        }
        Ok(())
    }

    /// Takes note of every step so far, before figures or weights are used.
    fn catch_up(&mut self) -> anyhow::Result<()> {
        self.unread.take().map_or(Ok(()), |last| self.note(last))
    }

    /// Counts the step, tells of it, and keeps what is worth keeping.
    fn after_step(&mut self) -> anyhow::Result<()> {
        let position = &mut self.state.position;
        position.step += 1;
        position.batch += 1;
        let (epoch, step) = (position.epoch + 1, position.step);
        let sums = &position.sums;
        // the first answer of an epoch comes with its second step
        let loss = if sums.is_empty() { "".into() } else { format!(", loss {:.3}", sums.loss()) };
        let batch = u64::from(self.settings.batch.get());
        let note = format!("epoch {epoch}/{}{loss}{}", self.epochs(), self.last_dev());
        self.cx.progress(step * batch, self.epochs() * self.batches * batch, "images", note);
        if self.cx.check_cancelled().is_err() {
            self.save()?;
            bail!("cancelled at epoch {epoch}, step {step}; the next run goes on from there");
        }
        if self.timer.due() {
            self.save()?;
        }
        Ok(())
    }

    /// Judges the weights, and keeps them when they are the best so far.
    fn finish_epoch(&mut self, data: &Data, dev: &Supply<'_>) -> anyhow::Result<()> {
        self.catch_up()?;
        let epoch = self.state.position.epoch + 1;
        let last = self.state.position.step - 1;
        let rate = self.rate(last);
        let (accuracy, retrieval) = match self.judge(&data.dev, dev) {
            Ok(figures) => figures,
            Err(error) => {
                if self.cx.check_cancelled().is_err() {
                    self.save()?;
                }
                return Err(error.context(format!("judging epoch {epoch} on dev")));
            }
        };
        let position = &mut self.state.position;
        let when = (epoch, position.step, rate);
        let metrics = EpochMetrics::new(when, &position.sums, &accuracy, &retrieval);
        metrics.record(&mut self.state.events);
        position.metrics.push(serde_json::to_string(&metrics).context("metrics are plain data")?);
        let score = match self.settings.select {
            Select::Accuracy => metrics.dev_accuracy,
            Select::Retrieval => metrics.dev_retrieval,
            Select::Last => epoch as f64,
        };
        let candidate = Best::new(epoch, score, metrics.dev_loss);
        if position.best.is_none_or(|best| candidate.beats(&best)) {
            position.best = Some(candidate);
            // The weights change in place: keep a copy.
            let tensors = self.network.weights.tensors().into_iter();
            let copy = |(name, tensor): (String, Tensor)| Ok((name, tensor.copy()?));
            self.state.best = tensors.map(copy).collect::<candle_core::Result<_>>()?;
        }
        position.epoch = epoch;
        position.batch = 0;
        position.sums = Sums::default();
        let EpochMetrics { loss, accuracy, dev_loss, dev_accuracy, dev_retrieval, .. } = metrics;
        tracing::info!(epoch, loss, accuracy, dev_loss, dev_accuracy, dev_retrieval, rate, "epoch");
        Ok(())
    }

    fn judge(
        &self,
        dev: &LabelledSet,
        supply: &Supply<'_>,
    ) -> anyhow::Result<(Accuracy, Retrieval)> {
        let network = &self.network;
        let batch = self.settings.batch.get() as usize;
        let seen = |_| self.cx.check_cancelled();
        let mut embeddings = embed(network, supply, false, batch, seen)?;
        let mut set = ClosedSet::new(dev.classes.len());
        network.logits(&[&embeddings], |image, logits| {
            set.add(logits, dev.labels[image]);
            Ok(())
        })?;
        let width = network.model.width();
        normalize(&mut embeddings, width);
        let shape = (dev.labels.len(), width);
        let embeddings = Tensor::from_vec(embeddings, shape, network.weights.device())?;
        Ok((set.accuracy(), retrieval(&embeddings, &dev.labels)?))
    }

    fn finish(mut self) -> anyhow::Result<Trained> {
        let State { position, best, events } = self.state;
        let epoch = position.best.context("there is at least one epoch")?.epoch;
        let line = &position.metrics[epoch as usize - 1];
        let metrics: EpochMetrics = serde_json::from_str(line).context("it was written above")?;
        self.cx.measure("best-epoch", epoch as f64);
        self.cx.measure("train-loss", metrics.loss);
        self.cx.measure("train-accuracy", metrics.accuracy);
        self.cx.measure("dev-loss", metrics.dev_loss);
        self.cx.measure("dev-accuracy", metrics.dev_accuracy);
        self.cx.measure("dev-retrieval", metrics.dev_retrieval);
        self.cx.measure("parameters", self.network.weights.count() as f64);
        self.parameters.clear();
        let metrics = position.metrics.iter().map(|line| format!("{line}\n")).collect();
        Ok(Trained { network: self.network, best, metrics, events })
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.catch_up()?;
        let checkpoint = self.state.freeze(&self.network.weights, self.optimizer.as_ref())?;
        self.checkpoints.save(self.state.position.step, &checkpoint)
    }

    fn epochs(&self) -> u64 {
        u64::from(self.settings.epochs.get())
    }

    fn rate(&self, step: u64) -> f64 {
        let total = self.epochs() * self.batches;
        self.settings.optimizer.rate() * self.settings.schedule.factor(step, total)
    }

    fn moment(&self) -> Moment {
        let position = &self.state.position;
        let rate = self.rate(position.step);
        Moment { epoch: position.epoch + 1, batch: position.batch + 1, rate }
    }

    fn last_dev(&self) -> String {
        let line = self.state.position.metrics.last();
        let metrics = line.and_then(|line| serde_json::from_str::<EpochMetrics>(line).ok());
        metrics.map_or_else(String::new, |metrics| {
            format!(", dev {:.1} %", 100.0 * metrics.dev_accuracy)
        })
    }
}
