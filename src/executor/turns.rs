//! What a step gets when its turn comes, and when its turn comes again.

use std::time::Instant;

use stages::{DeviceChoice, Pool};

use super::{Executor, Unavailable, needs_gpu_here};
use crate::attempt::Failed;
use crate::estimate::Estimates;
use crate::event::Event;
use crate::plan::StepId;
use crate::pools::{self, DEVICE};

impl Executor<'_, '_, '_> {
    /// Has a step wait for another try; returns what failed when there is to be none.
    pub(super) fn pause(&mut self, id: StepId, mut failed: Failed) -> Option<Failed> {
        let step = self.around.plan.step(id);
        let retry = step.policy.retry;
        let tried = self.tries[id.0];
        let Some(pause) = retry.pause(tried).filter(|_| failed.may_pass) else {
            return Some(failed);
        };
        // When the run is being stopped there is no other try.
        if !self.scheduler.paused(id.0) {
            return Some(failed);
        }
        if let Some(stale) = &self.stale[id.0] {
            let kept = self.around.store.set_log_aside(&stale.basis.fingerprint.key(), tried);
            match kept {
                Ok(log) => failed.log = Some(log),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        self.summary.retried += 1;
        self.paused.insert((Instant::now() + pause, id));
        self.observer.event(&Event::Retrying {
            step: step.name.clone(),
            message: failed.message,
            log_tail: failed.log_tail,
            log: failed.log,
            seconds: self.seconds(id),
            attempt: tried,
            attempts: retry.times.saturating_add(1),
            pause: pause.as_secs_f64(),
        });
        None
    }

    /// Lets the steps go on whose pause is over.
    pub(super) fn resume(&mut self) {
        while let Some(&(due, id)) = self.paused.first() {
            if due > Instant::now() {
                return;
            }
            self.paused.pop_first();
            self.scheduler.resume(id.0);
        }
    }

    /// Learns how long steps took before.
    pub(super) fn learn(&mut self) {
        if self.estimates.is_none() {
            let estimates = Estimates::learn(self.around, &self.options.selected);
            self.scheduler.learn(&estimates.weights());
            self.estimates = Some(estimates);
        }
    }

    pub(super) fn tell_rest(&mut self) {
        let rest =
            self.estimates.as_mut().and_then(|known| known.rest(&self.scheduler, &self.begun));
        if let Some((steps, seconds)) = rest {
            self.observer.event(&Event::Remaining { steps, seconds });
        }
    }

    /// Shares the cores among the steps that run or could run now.
    ///
    /// A share is for as long as the step runs. Those that train or embed run long, so they share
    /// with their like alone: the others are over in a moment, and their cores would lie idle. One that
    /// says how many it takes gets those.
    pub(super) fn threads(&self, id: StepId) -> usize {
        if let Some(cores @ 1..) = self.around.plan.step(id).policy.amount(pools::CPU) {
            return usize::try_from(cores).unwrap_or(usize::MAX).min(self.options.cores);
        }
        let step = |step: usize| self.around.plan.step(StepId(step));
        let is_long = |index: usize| step(index).kind.pool == Pool::Gpu;
        let is_here = |index: usize| step(index).placement.is_here();
        let alike = |index: usize| is_here(index) && (!is_long(id.0) || is_long(index));
        let most = self.options.jobs.max(1);
        let sharing = self.scheduler.load(most, alike).clamp(1, most);
        (self.options.cores / sharing).max(1)
    }

    pub(super) fn find_device(&mut self) -> Result<DeviceChoice, Unavailable> {
        if let Some(device) = self.device {
            return Ok(device);
        }
        let wants_gpu = |id: &StepId| needs_gpu_here(self.around.plan, *id);
        let device = if self.options.selected.iter().any(wants_gpu) {
            let probed =
                stages::device::probe(self.options.device).map_err(Unavailable::Missing)?;
            if let Some(message) = probed.notice {
                self.observer.event(&Event::Notice { message });
            }
            probed.device
        } else {
            DeviceChoice::Cpu
        };
        if matches!(device, DeviceChoice::Cuda(_)) {
            self.scheduler.limit(DEVICE, 1);
        }
        self.device = Some(device);
        Ok(device)
    }
}
