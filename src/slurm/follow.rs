//! One job from its submission to its end, as the run sees it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::array::{Seat, Task};
use super::controller::{self, Answer, State};
use super::reports::Reports;
use super::submit::{name, submit};
use super::verdict::{Verdict, judge};
use super::{Order, PATIENCE, Record, start};
use crate::placement::Heard;
use crate::process::{End, Workers};
use crate::worker::Job;

/// How often reports and the keyboard are looked at, at first; later less often.
const TICK: Duration = Duration::from_millis(100);
/// How often when nothing was heard for a while.
const SLOWEST_TICK: Duration = Duration::from_secs(1);
/// How old a look at the queue may be that tells of a job that is about to end.
const SOON: Duration = Duration::from_millis(500);
/// Of a job of which something was heard of late.
const LOOK: Duration = Duration::from_secs(1);
/// Of one of which nothing new is to be expected.
const OLDEST_LOOK: Duration = Duration::from_secs(10);
/// How long a shared file system may take to show what a job wrote last.
const SETTLE: Duration = Duration::from_secs(5);
/// How long to wait before another try, when Slurm did not take an order.
const AGAIN: Duration = Duration::from_secs(1);

/// A job to submit.
pub(crate) struct Submission<'a> {
    pub(crate) order: &'a Order,
    pub(crate) step: &'a str,
    pub(crate) job: &'a Job,
    /// Where relative paths start.
    pub(crate) root: &'a Path,
    pub(crate) log: &'a Path,
    /// Where the records of the jobs of this key lie; its lock is ours.
    pub(crate) records: PathBuf,
}

impl Submission<'_> {
    /// What the steps have in common that can be tasks of one array; none when it is to be alone.
    fn family(&self) -> Option<String> {
        let (table, _) = self.step.split_once('@')?;
        let order = self.order;
        let alone = order.array == Some(false);
        (!alone).then(|| format!("{table} {:?} {:?}", order.at_once, order.options()))
    }
}

/// How a job ended.
struct Followed {
    /// Whether Slurm has said so.
    over: bool,
    /// The start whose result is good.
    made: Option<u64>,
    end: End,
}

impl Workers {
    /// Runs one job to its end on a node of the cluster.
    pub(crate) fn run_on_slurm(
        &self,
        submission: &Submission<'_>,
        mut hear: impl FnMut(Heard),
    ) -> io::Result<End> {
        let seat = submission.family().map(|family| {
            let table = submission.step.split('@').next().unwrap_or_default();
            self.controller.arrays.join(&family, || name(table), controller::largest_array)
        });
        let name = seat.as_ref().map_or_else(|| name(submission.step), |s| s.name().to_owned());
        let directory = submission.records.join(&name);
        let scratch = Some(submission.job.scratch.clone());
        let task = seat.as_ref().map(Seat::index);
        let record = Record { directory, name, task, scratch }.write()?;
        let guard = self.guard()?;
        guard.watch_job(&record)?;
        let followed = match self.submit(submission, &record, seat) {
            Ok(Some(id)) => self.follow(&record, id, &mut hear),
            Ok(None) => {
                let end = End::Lost("the run was stopped before it was submitted".to_owned());
                Ok(Followed { over: true, made: None, end })
            }
            Err(error) if controller::is_passing(&error) => Err(error),
            // Slurm did not take it.
            Err(error) => {
                record.remove()?;
                guard.release_job(&record)?;
                return Err(error);
            }
        };
        let over = match &followed {
            Ok(followed) => followed.over,
            Err(_) => record.kill().and_then(|()| record.bury(PATIENCE)).is_ok(),
        };
        if over {
            record.remove()?;
            guard.release_job(&record)?;
        } else {
            hear(Heard::Notice(format!(
                "the Slurm job {} may still run; the next run ends it",
                record.name
            )));
        }
        let followed = followed?;
        if let Some(start) = followed.made {
            start::take_result(&submission.job.out, start)?;
        }
        Ok(followed.end)
    }

    /// Submits the job, with others when it has a seat among them; `None` when the run was stopped
    /// meanwhile.
    fn submit(
        &self,
        submission: &Submission<'_>,
        record: &Record,
        seat: Option<Seat>,
    ) -> io::Result<Option<String>> {
        let description = serde_json::to_vec(submission.job)?;
        fs::write(record.directory.join(start::DESCRIPTION), description)?;
        let (directory, log) = (&record.directory, submission.log);
        let hand_in = |tasks: &[Task]| submit(self, submission, &record.name, tasks);
        match seat {
            Some(seat) => seat.submit(directory, log, hand_in),
            None => {
                hand_in(&[Task { index: 0, directory: directory.clone(), log: log.to_owned() }])
            }
        }
    }

    fn follow(
        &self,
        record: &Record,
        id: String,
        hear: &mut impl FnMut(Heard),
    ) -> io::Result<Followed> {
        let mut job = Following {
            workers: self,
            record,
            id,
            submitted: Instant::now(),
            reports: Reports::new(&record.directory),
            state: State::default(),
            changed: Instant::now(),
            over: None,
            cancelled: false,
            asked: None,
            killing_since: None,
        };
        loop {
            if let Some(followed) = job.look(hear)? {
                return Ok(followed);
            }
            std::thread::sleep((job.changed.elapsed() / 50).clamp(TICK, SLOWEST_TICK));
        }
    }
}

/// A job that is being followed.
struct Following<'a> {
    workers: &'a Workers,
    record: &'a Record,
    id: String,
    submitted: Instant,
    reports: Reports,
    /// What was told of it last.
    state: State,
    /// When something new was heard.
    changed: Instant,
    /// When Slurm first said that it is over.
    over: Option<Instant>,
    /// Whether Slurm has taken the order to stop it.
    cancelled: bool,
    /// When such an order was last given, or one to kill it.
    asked: Option<Instant>,
    killing_since: Option<Instant>,
}

impl Following<'_> {
    /// Looks once; returns how it ended when it has.
    fn look(&mut self, hear: &mut impl FnMut(Heard)) -> io::Result<Option<Followed>> {
        let mut something = false;
        self.reports.read(&mut |heard| {
            something = true;
            hear(heard);
        })?;
        if something {
            self.changed = Instant::now();
        }
        if let (Some((None, usage)), Some(start)) = (&self.reports.end, self.reports.start) {
            let end = End::Returned { error: None, usage: *usage };
            let over = self.close()?;
            return Ok(Some(Followed { over, made: Some(start), end }));
        }
        self.stop();
        // What is about to change is looked at closely.
        let close = self.reports.end.is_some() || self.workers.is_stopping();
        let age = match close {
            true => SOON,
            false => (self.changed.elapsed() / 20).clamp(LOOK, OLDEST_LOOK),
        };
        let answer = self.workers.controller.ask(&self.id, self.submitted, age);
        let ended = match &answer {
            Answer::Silent => return Ok(self.given_up()),
            Answer::Unknown => Verdict::Ended("is not known to Slurm any more".to_owned()),
            Answer::Known(state) => judge(state),
        };
        let over = match (&ended, answer) {
            (Verdict::Lives | Verdict::Waits, Answer::Known(state)) => {
                if state != self.state {
                    self.changed = Instant::now();
                    self.state = state.clone();
                    if ended == Verdict::Waits {
                        let State { name: state, reason } = state;
                        hear(Heard::Queued { job: self.id.clone(), state, reason });
                    }
                }
                self.over = None;
                return Ok(self.given_up());
            }
            _ => *self.over.get_or_insert_with(Instant::now),
        };
        // Another start may have begun and ended while Slurm was asked: what was read before is then an earlier one's.
        let known = |reports: &Reports| (reports.start, reports.end.is_some());
        let before = known(&self.reports);
        self.reports.read(hear)?;
        if known(&self.reports) != before {
            return Ok(None);
        }
        Ok(self.judged(ended, over))
    }

    /// Says how it ended, once what it said last must have arrived.
    fn judged(&mut self, verdict: Verdict, over: Instant) -> Option<Followed> {
        let said = self.reports.end.take();
        let settled = self.workers.is_stopping()
            || over.elapsed() > SETTLE
            // One that never began has nothing to say.
            || matches!(verdict, Verdict::Ended(_)) && self.reports.start.is_none();
        let end = match (verdict, said) {
            (Verdict::Ended(because), said) if said.is_some() || settled => self.lost(&because),
            (_, Some((error, usage))) => End::Returned { error, usage },
            (_, None) if settled => self.lost("ended before the stage returned"),
            (_, None) => return None,
        };
        Some(Followed { over: true, made: None, end })
    }

    fn lost(&self, how: &str) -> End {
        End::Lost(format!("its Slurm job {} {how}", self.id))
    }

    /// Lets no other start of a job begin that has succeeded, and sees it end; returns whether it has.
    fn close(&self) -> io::Result<bool> {
        self.record.close()?;
        let begin = Instant::now();
        let mut cancelled = false;
        while begin.elapsed() < 2 * SETTLE {
            let answer = self.workers.controller.ask(&self.id, begin, SOON);
            match answer {
                Answer::Unknown => return Ok(true),
                Answer::Known(state) => match judge(&state) {
                    Verdict::Over | Verdict::Ended(_) => return Ok(true),
                    Verdict::Lives if state.name == "COMPLETING" => return Ok(true),
                    // Started anew though it was ready, or slow to go.
                    Verdict::Waits | Verdict::Lives => {
                        if !cancelled && begin.elapsed() > SETTLE {
                            cancelled = controller::kill(&self.id).is_ok();
                        }
                    }
                },
                Answer::Silent => {}
            }
            std::thread::sleep(TICK);
        }
        Ok(false)
    }

    /// Passes on that the run stops, until Slurm has taken the order.
    fn stop(&mut self) {
        let kill = self.workers.is_killing();
        let again = self.asked.is_some_and(|last| last.elapsed() < AGAIN);
        if kill {
            self.killing_since.get_or_insert_with(Instant::now);
        }
        // A signal that comes while a job is being started is lost, so a job is killed again; to ask
        // it to stop again would not hurry it.
        if !self.workers.is_stopping() || again || self.cancelled && !kill {
            return;
        }
        self.asked = Some(Instant::now());
        let taken = match kill {
            true => self.record.close().and_then(|()| controller::kill(&self.id)),
            false => controller::cancel(&self.id),
        };
        match taken {
            Ok(()) => self.cancelled = true,
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Gives up on a job that cannot be ended.
    fn given_up(&self) -> Option<Followed> {
        const ENOUGH: Duration = Duration::from_secs(30);
        let since = self.killing_since?;
        (since.elapsed() > ENOUGH).then(|| Followed {
            over: false,
            made: None,
            end: self.lost("could not be ended"),
        })
    }
}
