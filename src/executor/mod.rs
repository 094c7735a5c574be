//! Runs what is out of date: asks the scheduler what may run, and starts, watches and stores it.

mod crew;
mod options;
mod turns;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use cache::Store;
use crew::Crew;
pub use options::{Options, Summary, Unavailable};
use stages::{DeviceChoice, Pool};

use crate::attempt::{Attempt, Ended, Failed, Ran};
use crate::check::{Checked, Made, Results, Stale, Surroundings};
use crate::environment::missing_secrets;
use crate::estimate::Estimates;
use crate::event::{Event, Observer, StepResult};
use crate::freshness::Unknown;
use crate::plan::{Plan, StepId};
use crate::pools::{self, Machine, Shares};
use crate::process::{GRACE, Workers};
use crate::remote::{Load, Remote};
use crate::sandbox;
use crate::scheduler::{Limits, Node, Outcome, Scheduler, Task};
use crate::sharing::{Looked, look, push_made};
use crate::slurm::{self, Order};

/// How often the keyboard and the clock are looked at while steps run.
const TICK: Duration = Duration::from_millis(50);

/// How many results may be looked for in a remote at once.
const REMOTE_CHECKS: usize = 16;
/// How many results may be on their way into the store at once: together they wait for the disk once.
const STORES: usize = 32;
/// How many steps may take of what another lacks before its turn is kept for it.
const PATIENCE: u32 = 16;

/// Brings the selected steps up to date.
///
/// # Errors
///
/// When a GPU or a sandbox is asked for and there is none, or more of something than there is. A step that fails is no error here: it is
/// told to the observer and counted.
pub fn run(
    plan: &Plan,
    store: &Store,
    options: &Options<'_>,
    observer: &mut dyn Observer,
) -> Result<Summary, Unavailable> {
    let notice =
        sandbox::require(plan, &options.selected, options.sandbox).map_err(Unavailable::Missing)?;
    let machine = Machine::look(options.cores);
    pools::check(plan, &options.selected, machine, options.jobs)?;
    let shares = pools::shares(plan, machine, options.jobs, options.device);
    let around = Surroundings { plan, store, root: options.root, forced: &options.forced };
    let shared = Shared { workers: Workers::default(), cancelled: AtomicBool::new(false) };
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        if slurm::any(store) {
            scope.spawn(|| slurm::sweep(store, slurm::PATIENCE));
        }
        let steps = plan.pipeline.steps.len();
        Executor {
            around,
            options,
            observer,
            crew: Crew::new(scope),
            shared: &shared,
            sender,
            scheduler: scheduler(plan, options, shares),
            results: Results::new(),
            stale: (0..steps).map(|_| None).collect(),
            begun: vec![None; steps],
            tries: vec![0; steps],
            paused: BTreeSet::new(),
            estimates: None,
            notice,
            device: None,
            stop: Stop::No,
            begin: Instant::now(),
            summary: Summary::default(),
        }
        .run(&receiver)
    })
}

fn scheduler(plan: &Plan, options: &Options<'_>, shares: Shares) -> Scheduler {
    let node = |(index, uses)| Node {
        needs: plan.upstream(StepId(index)).into_iter().map(|need| need.0).collect(),
        wanted: options.selected.contains(&StepId(index)),
        uses,
        priority: plan.step(StepId(index)).policy.priority,
    };
    let nodes = shares.uses.into_iter().enumerate().map(node).collect();
    let checks = options.jobs.max(2) * 2;
    // A remote is mostly waited for.
    let checks = if options.remote.is_some() { checks.max(REMOTE_CHECKS) } else { checks };
    // Whoever asks for one job wants one step after the other.
    let stores = if options.jobs > 1 { STORES } else { 1 };
    let limits = Limits { pools: shares.capacities, checks, stores, patience: PATIENCE };
    Scheduler::new(nodes, limits, options.keep_going)
}

fn needs_gpu_here(plan: &Plan, id: StepId) -> bool {
    let step = plan.step(id);
    step.kind.pool == Pool::Gpu && step.placement.is_here()
}

/// What the threads of a run share.
struct Shared {
    workers: Workers,
    /// Set when the run was asked to stop.
    cancelled: AtomicBool,
}

/// What a thread tells the executor.
enum Told {
    Event(Event),
    Checked(StepId, Result<Checked, Unknown>),
    Fetched(StepId, Made, Load, f64),
    Worked(StepId),
    Ended(StepId, Ended),
    Panicked(Box<dyn Any + Send>),
}

enum Stop {
    No,
    Gently(Instant),
    AtOnce,
}

struct Executor<'scope, 'env, 'a> {
    around: Surroundings<'env>,
    options: &'env Options<'a>,
    observer: &'env mut dyn Observer,
    crew: Crew<'scope, 'env>,
    shared: &'env Shared,
    sender: Sender<Told>,
    scheduler: Scheduler,
    results: Results,
    /// What the checks found of steps that have not ended.
    stale: Vec<Option<Arc<Stale>>>,
    begun: Vec<Option<Instant>>,
    /// How often each step was tried.
    tries: Vec<u32>,
    /// When the next try of a step is due.
    paused: BTreeSet<(Instant, StepId)>,
    /// Made when the first step has to run; a run with nothing to do needs none.
    estimates: Option<Estimates>,
    /// What is told once when the run begins.
    notice: Option<String>,
    /// Looked for when the first step runs, because looking for it takes longer than a fresh run.
    device: Option<DeviceChoice>,
    stop: Stop,
    begin: Instant,
    summary: Summary,
}

impl<'scope, 'env> Executor<'scope, 'env, '_> {
    fn run(mut self, receiver: &Receiver<Told>) -> Result<Summary, Unavailable> {
        let selected = self.around.plan.order().iter().copied();
        let steps = selected.filter(|id| self.options.selected.contains(id));
        self.observer.event(&Event::Begin {
            pipeline: self.around.plan.pipeline.name.clone(),
            steps: steps.map(|id| self.name(id)).collect(),
            jobs: self.options.jobs,
            store: self.around.store.root().to_owned(),
        });
        let notices = self.notice.take().into_iter().chain(self.options.notices.iter().cloned());
        let secrets = missing_secrets(self.around.plan, &self.options.selected).into_iter();
        let secrets = secrets
            .map(|name| format!("the secret `{name}` is not set: steps that need it will fail"));
        let notices = notices.chain(secrets);
        notices.for_each(|message| self.observer.event(&Event::Notice { message }));
        self.around.store.recall(&self.around.plan.pipeline.name);
        while !self.scheduler.is_done() {
            self.resume();
            if let Some(task) = self.scheduler.next() {
                match task {
                    Task::Check(step) => self.check(StepId(step)),
                    Task::Run(step) => self.start(StepId(step))?,
                }
            } else {
                match receiver.recv_timeout(TICK) {
                    Ok(told) => self.hear(told),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
                }
                self.observer.tick();
            }
            self.look_at_keyboard();
            self.shared.workers.end_overdue();
            self.tell_settled();
            self.tell_rest();
        }
        if let Err(error) = self.around.store.flush() {
            self.summary.lost = true;
            let message =
                format!("{error}; results of short steps are lost and will be made again");
            self.observer.event(&Event::Notice { message });
        }
        let whole = self.options.selected.len() == self.around.plan.order().len();
        self.around.store.keep_recall(&self.around.plan.pipeline.name, whole);
        // What a thread said before its last word has been heard; nothing can be left.
        self.push();
        let Summary { fresh, fetched, ran, failed, skipped, cancelled, retried, .. } = self.summary;
        let seconds = self.begin.elapsed().as_secs_f64();
        self.observer.event(&Event::End {
            fresh,
            fetched,
            ran,
            failed,
            skipped,
            cancelled,
            retried,
            seconds,
        });
        Ok(self.summary)
    }

    fn name(&self, id: StepId) -> String {
        self.around.plan.step(id).name.clone()
    }

    /// Looks whether a result is there; in a thread when much may have to be read.
    fn check(&mut self, id: StepId) {
        let reads = &self.around.plan.step(id).reads;
        let outside = reads.iter().any(|read| read.source.step().is_none());
        let remote = self.options.remote.filter(|_| !self.options.forced.contains(&id));
        if outside || remote.is_some() {
            // Of a hundred thousand results it takes along the few that it looks at.
            let needs = self.around.plan.upstream(id);
            let made = |need: StepId| Some((need, self.results.get(&need)?.clone()));
            let results: Results = needs.into_iter().filter_map(made).collect();
            let (around, shared) = (self.around, self.shared);
            self.spawn(move |sender| {
                let checked = around.check(id, &results);
                match remote {
                    Some(remote) => look_far(around, id, checked, remote, shared, sender),
                    None => Told::Checked(id, checked),
                }
            });
        } else {
            let checked = self.around.check(id, &self.results);
            self.hear(Told::Checked(id, checked));
        }
    }

    fn spawn(&self, work: impl FnOnce(&Sender<Told>) -> Told + Send + 'scope) {
        let sender = self.sender.clone();
        self.crew.give(move || {
            let told = catch_unwind(AssertUnwindSafe(|| work(&sender)));
            // The receiver is gone only when the run is already failing.
            sender.send(told.unwrap_or_else(Told::Panicked)).ok();
        });
    }

    fn start(&mut self, id: StepId) -> Result<(), Unavailable> {
        let slurm = self.around.plan.step(id).placement.slurm();
        let device = match slurm {
            Some(order) => order.device(self.options.device),
            None => self.find_device()?,
        };
        let stale = self.stale[id.0].clone().expect("a step is checked before it runs");
        self.begun[id.0] = Some(Instant::now());
        self.tries[id.0] += 1;
        let number = self.tries[id.0];
        let mut needs = BTreeMap::new();
        let mut made = |name: &String| {
            let need = self.around.plan.find(name).expect("a plan has every step mentioned");
            let made = self.results.get(&need).expect("a step runs after those it needs");
            needs.insert(name.clone(), Arc::clone(made));
            made.tree.clone()
        };
        let step = self.around.plan.step(id);
        let inputs = step.inputs.iter();
        let inputs =
            inputs.map(|(input, steps)| (input.clone(), steps.iter().map(&mut made).collect()));
        let inputs = inputs.collect();
        let mentioned = step.reads.iter().filter_map(|read| Some(read.source.step()?.0.to_owned()));
        let steps = mentioned
            .map(|name| {
                let tree = made(&name);
                (name, tree)
            })
            .collect();
        let threads = slurm.map_or_else(|| self.threads(id), Order::threads);
        let sandbox = step.sandbox.mode(self.options.sandbox);
        let (around, shared) = (self.around, self.shared);
        self.spawn(move |sender| {
            let tell = |event| drop(sender.send(Told::Event(event)));
            let attempt = Attempt {
                around,
                id,
                stale,
                number,
                inputs,
                steps,
                needs,
                device,
                threads,
                sandbox,
                workers: &shared.workers,
                cancelled: &shared.cancelled,
                tell: &tell,
                worked: &|| drop(sender.send(Told::Worked(id))),
            };
            Told::Ended(id, attempt.run())
        });
        Ok(())
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Event(event) => self.observer.event(&event),
            Told::Checked(id, Ok(Checked::Fresh(made))) => {
                if self.is_fresh(id, made) {
                    self.scheduler.checked(id.0, true);
                }
            }
            Told::Checked(id, Ok(Checked::Stale(stale))) => {
                self.stale[id.0] = Some(Arc::from(stale));
                self.learn();
                self.scheduler.checked(id.0, false);
            }
            Told::Fetched(id, made, load, seconds) => {
                if self.take(id, &made) {
                    self.fetched(id, &made, load, seconds);
                    self.scheduler.checked(id.0, true);
                }
            }
            Told::Checked(id, Err(unknown)) => {
                self.failed(id, Failed { message: unknown.to_string(), ..Failed::default() });
            }
            Told::Worked(id) => self.scheduler.worked(id.0),
            Told::Ended(id, Ended::Fresh(made)) => {
                if self.is_fresh(id, made) {
                    self.scheduler.finished(id.0, Outcome::Fresh);
                }
            }
            Told::Ended(id, Ended::Ran(ran)) => self.ran(id, *ran),
            Told::Ended(id, Ended::Failed(failed)) => {
                if let Some(failed) = self.pause(id, failed) {
                    self.failed(id, failed);
                }
            }
            Told::Ended(id, Ended::Cancelled) => {
                self.settled(id, Outcome::Cancelled);
                self.scheduler.finished(id.0, Outcome::Cancelled);
            }
            Told::Panicked(panic) => {
                // Other threads wait for their workers, and we for the threads.
                self.shared.cancelled.store(true, Ordering::SeqCst);
                self.shared.workers.kill();
                resume_unwind(panic);
            }
        }
    }

    /// Takes a result; false when it is not the one in the lock file, or the link to it cannot be
    /// made.
    fn take(&mut self, id: StepId, made: &Made) -> bool {
        if let Some(message) = self.refused(id, made) {
            self.failed(id, Failed { message, ..Failed::default() });
            return false;
        }
        if let Err(error) = self.around.set_latest(id, made) {
            self.failed(id, Failed { message: error.to_string(), ..Failed::default() });
            return false;
        }
        self.results.insert(id, made.clone());
        true
    }

    /// Why a result is not the one in the lock file.
    fn refused(&self, id: StepId, made: &Made) -> Option<String> {
        let locked = self.options.locked?.get(&self.around.plan.step(id).name)?;
        let outputs = &made.outputs;
        // That of another machine may be unknown here.
        let known = self.around.store.get_listing(&locked.result).ok().flatten();
        locked.refuses(outputs, known.as_ref())
    }

    fn is_fresh(&mut self, id: StepId, made: Made) -> bool {
        if !self.take(id, &made) {
            return false;
        }
        self.summary.fresh += 1;
        let (step, result) = (self.name(id), self.result(id, &made));
        self.observer.event(&Event::Fresh { step, result });
        true
    }

    fn fetched(&mut self, id: StepId, made: &Made, load: Load, seconds: f64) {
        self.summary.fetched += 1;
        let (step, result) = (self.name(id), self.result(id, made));
        let Load { files: carried_files, bytes: carried_bytes } = load;
        let event = Event::Fetched { step, result, carried_files, carried_bytes, seconds };
        self.observer.event(&event);
    }

    fn ran(&mut self, id: StepId, ran: Ran) {
        if !self.take(id, &ran.made) {
            return;
        }
        self.summary.ran += 1;
        self.observer.event(&Event::Ran {
            step: self.name(id),
            why: ran.why,
            result: self.result(id, &ran.made),
            unchanged: ran.unchanged,
            unrepeatable: ran.unrepeatable,
            seconds: self.seconds(id),
            attempts: self.tries[id.0],
            cpu_seconds: ran.usage.cpu_seconds,
            peak_memory_bytes: ran.usage.peak_memory_bytes,
        });
        self.stale[id.0] = None;
        self.scheduler.finished(id.0, Outcome::Ran);
    }

    fn failed(&mut self, id: StepId, failed: Failed) {
        self.summary.failed += 1;
        self.stale[id.0] = None;
        let Failed { message, log_tail, log, .. } = failed;
        let (step, seconds, attempts) = (self.name(id), self.seconds(id), self.tries[id.0]);
        self.observer.event(&Event::Failed { step, message, log_tail, log, seconds, attempts });
        self.scheduler.finished(id.0, Outcome::Failed);
    }

    fn settled(&mut self, id: StepId, outcome: Outcome) {
        let step = self.name(id);
        if let Outcome::Skipped(because) = outcome {
            self.summary.skipped += 1;
            let because = self.name(StepId(because));
            self.observer.event(&Event::Skipped { step, because });
        } else {
            self.summary.cancelled += 1;
            self.observer.event(&Event::Cancelled { step });
        }
    }

    /// Sends what was made to the remote, if that was asked for.
    fn push(&mut self) {
        let wanted = self.options.push && !self.summary.interrupted;
        let Some(remote) = self.options.remote.filter(|_| wanted) else { return };
        let interrupt = self.options.interrupt;
        let ids = self.around.plan.order().iter();
        let made = ids.filter_map(|id| Some((*id, self.results.get(id)?.key)));
        let made: Vec<_> = made.collect();
        let interrupted = push_made(&self.around, &made, remote, interrupt, self.observer);
        self.summary.interrupted |= interrupted;
    }

    fn tell_settled(&mut self) {
        for (step, outcome) in self.scheduler.settled() {
            self.settled(StepId(step), outcome);
        }
    }

    fn seconds(&self, id: StepId) -> f64 {
        self.begun[id.0].map_or(0.0, |begun| begun.elapsed().as_secs_f64())
    }

    fn result(&self, id: StepId, made: &Made) -> StepResult {
        StepResult {
            key: made.key.to_string(),
            measures: made.measures.clone(),
            files: made.outputs.len(),
            bytes: made.outputs.size(),
            path: self.around.latest_link(id),
        }
    }

    fn look_at_keyboard(&mut self) {
        let asked = self.options.interrupt.swap(false, Ordering::SeqCst);
        let at_once = match &self.stop {
            Stop::No if !asked => return,
            Stop::No => false,
            Stop::Gently(since) if asked || since.elapsed() > GRACE => true,
            Stop::Gently(_) => return,
            // Workers that were just being started when the others were killed.
            Stop::AtOnce => return self.shared.workers.kill(),
        };
        self.summary.interrupted = true;
        self.shared.cancelled.store(true, Ordering::SeqCst);
        if let Some(remote) = self.options.remote {
            remote.stop();
        }
        self.scheduler.cancel();
        self.observer.event(&Event::Stopping { at_once });
        if at_once {
            self.stop = Stop::AtOnce;
            self.shared.workers.kill();
        } else {
            self.stop = Stop::Gently(Instant::now());
            self.shared.workers.stop();
        }
    }
}

/// Looks in the remote for a result that is not here.
fn look_far(
    around: Surroundings<'_>,
    id: StepId,
    checked: Result<Checked, Unknown>,
    remote: &Remote,
    shared: &Shared,
    sender: &Sender<Told>,
) -> Told {
    let Ok(Checked::Stale(stale)) = checked else { return Told::Checked(id, checked) };
    let begun = Instant::now();
    let tell = |event| drop(sender.send(Told::Event(event)));
    match look(&around, id, &stale.basis, remote, &shared.cancelled, &tell) {
        Ok(Looked::Fetched(made, load)) => {
            Told::Fetched(id, made, load, begun.elapsed().as_secs_f64())
        }
        Ok(Looked::Fresh(made)) => Told::Checked(id, Ok(Checked::Fresh(made))),
        Ok(Looked::Nothing) => Told::Checked(id, Ok(Checked::Stale(stale))),
        Err(error) => Told::Checked(id, Err(error.into())),
    }
}
