//! Steps of one table that become ready together, submitted as one job array.
//!
//! Each step has a thread of its own. The first of a table opens an array and the others join it; when
//! no more come for a moment, one of them submits it for all.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait for another step after one has joined.
const QUIET: Duration = Duration::from_millis(300);
/// How long an array may gather steps.
const LONGEST: Duration = Duration::from_secs(5);
/// How many tasks an array may have where the cluster does not allow fewer.
const MOST_TASKS: usize = 500;

/// What a task of an array runs with that is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// The number of the task.
    pub(super) index: u32,
    /// Holds its description and its reports.
    pub(super) directory: PathBuf,
    pub(super) log: PathBuf,
}

/// The arrays of a run that still gather steps, by what their steps have in common.
#[derive(Default)]
pub(crate) struct Arrays {
    open: Mutex<BTreeMap<String, Arc<Array>>>,
    /// How many tasks an array may have, once it was asked.
    most: OnceLock<usize>,
}

/// What became of a submission: the number of the job, or nothing when the run was stopped.
type Submitted = Result<Option<String>, (io::ErrorKind, String)>;

struct Array {
    name: String,
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    opened: Instant,
    joined: Instant,
    seats: Vec<Seated>,
    closed: bool,
    /// Whether one of its steps submits it.
    led: bool,
    submitted: Option<Submitted>,
}

enum Seated {
    Preparing,
    Ready(Task),
    Gone,
}

/// The place of a step in an array.
pub(super) struct Seat {
    array: Arc<Array>,
    index: u32,
}

impl Arrays {
    /// Joins the open array of `family`, or opens one, whose name is then `name`; `allowed` says how many
    /// tasks the cluster lets an array have, if that is known.
    pub(super) fn join(
        &self,
        family: &str,
        name: impl FnOnce() -> String,
        allowed: impl FnOnce() -> Option<usize>,
    ) -> Seat {
        let most = || allowed().map_or(MOST_TASKS, |most| most.clamp(1, MOST_TASKS));
        let most = *self.most.get_or_init(most);
        let mut open = lock(&self.open);
        if let Some(array) = open.get(family)
            && let Some(index) = array.sit()
        {
            return Seat { array: Arc::clone(array), index };
        }
        let now = Instant::now();
        let state = State {
            opened: now,
            joined: now,
            seats: vec![Seated::Preparing],
            closed: false,
            led: false,
            submitted: None,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let array = Array { name: name(), most, state, changed };
        let array = Arc::new(array);
        open.insert(family.to_owned(), Arc::clone(&array));
        Seat { array, index: 0 }
    }
}

impl Array {
    fn sit(&self) -> Option<u32> {
        let mut state = lock(&self.state);
        let index = state.seats.len();
        if state.closed || index >= self.most {
            return None;
        }
        state.seats.push(Seated::Preparing);
        state.joined = Instant::now();
        drop(state);
        self.changed.notify_all();
        u32::try_from(index).ok()
    }

    /// Waits until no more steps come, and returns those that are ready.
    fn close(&self) -> Vec<Task> {
        let mut state = lock(&self.state);
        loop {
            let full = state.seats.len() >= self.most;
            let ends = (state.joined + QUIET).min(state.opened + LONGEST);
            let left = ends.saturating_duration_since(Instant::now());
            state.closed |= full || left.is_zero();
            let preparing = state.seats.iter().any(|seat| matches!(seat, Seated::Preparing));
            if state.closed && !preparing {
                break;
            }
            let wait = if left.is_zero() { QUIET } else { left };
            state =
                self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        let ready = state.seats.iter().filter_map(|seat| match seat {
            Seated::Ready(task) => Some(task.clone()),
            Seated::Preparing | Seated::Gone => None,
        });
        ready.collect()
    }
}

impl Seat {
    /// The name of the array.
    pub(super) fn name(&self) -> &str {
        &self.array.name
    }

    /// The number of this task.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Has this task submitted with the others, by one of them; returns the number of its job, or
    /// nothing when the run was stopped.
    pub(super) fn submit(
        self,
        directory: &Path,
        log: &Path,
        submit: impl FnOnce(&[Task]) -> io::Result<Option<String>>,
    ) -> io::Result<Option<String>> {
        let index = self.index;
        let task = Task { index, directory: directory.to_owned(), log: log.to_owned() };
        let leads = {
            let mut state = lock(&self.array.state);
            state.seats[index as usize] = Seated::Ready(task);
            !std::mem::replace(&mut state.led, true)
        };
        self.array.changed.notify_all();
        if leads {
            let tasks = self.array.close();
            let many = tasks.len() > 1;
            // Should it panic, the others must not wait for ever.
            let told = Telling(&self.array);
            let submitted = submit(&tasks).map_err(|error| (error.kind(), error.to_string()));
            lock(&self.array.state).submitted = Some(submitted.map(|id| {
                // Alone it is a job as others are.
                id.map(|id| if many { format!("{id}_") } else { id })
            }));
            drop(told);
        }
        let mut state = lock(&self.array.state);
        loop {
            if let Some(submitted) = &state.submitted {
                let id = match submitted {
                    Ok(id) => id.clone(),
                    Err((kind, text)) => return Err(io::Error::new(*kind, text.clone())),
                };
                return Ok(id.map(|id| if id.ends_with('_') { format!("{id}{index}") } else { id }));
            }
            state = self.array.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = lock(&self.array.state);
        let seat = &mut state.seats[self.index as usize];
        if matches!(seat, Seated::Preparing) {
            *seat = Seated::Gone;
            drop(state);
            self.array.changed.notify_all();
        }
    }
}

/// Says at its end that there is an outcome.
struct Telling<'a>(&'a Array);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let lost =
            || Err((io::ErrorKind::Other, "the submission of its array broke off".to_owned()));
        lock(&self.0.state).submitted.get_or_insert_with(lost);
        self.0.changed.notify_all();
    }
}

/// The tasks as sbatch has them, e.g. `0-3,5%2`.
pub(super) fn range(tasks: &[Task], at_once: Option<u64>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for task in tasks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == task.index => *last = task.index,
            _ => runs.push((task.index, task.index)),
        }
    }
    let runs = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let limit = at_once.map(|most| format!("%{most}")).unwrap_or_default();
    format!("{}{limit}", runs.collect::<Vec<_>>().join(","))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn steps_that_come_together_are_submitted_once_and_each_gets_its_own_number() {
        let (arrays, calls) = (Arrays::default(), AtomicUsize::new(0));
        let join = |name: &str| arrays.join("net", || name.to_owned(), || None);
        let mut seats: Vec<_> = (0..5).map(|_| join("pipe-net")).collect();
        // One that could not write its description.
        drop(seats.remove(2));
        let submit = |tasks: &[Task]| {
            calls.fetch_add(1, Ordering::SeqCst);
            assert_eq!(range(tasks, Some(2)), "0-1,3-4%2");
            Ok(Some("17".to_owned()))
        };
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = seats
                .into_iter()
                .map(|seat| {
                    scope.spawn(move || seat.submit(Path::new("d"), Path::new("l"), submit))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap().unwrap()).collect()
        });
        assert_eq!(ids, ["17_0", "17_1", "17_3", "17_4"]);
        assert_eq!(calls.into_inner(), 1);
        // Whoever comes later opens another.
        let late = join("pipe-late");
        assert_eq!((late.name(), late.index()), ("pipe-late", 0));
        let id = late.submit(Path::new("d"), Path::new("l"), |_| Ok(Some("18".to_owned())));
        assert_eq!(id.unwrap().unwrap(), "18");
    }

    #[test]
    fn no_array_is_larger_than_the_cluster_allows() {
        for (allowed, expected) in
            [(Some(2), [0, 1, 0, 1, 0]), (Some(0), [0; 5]), (None, [0, 1, 2, 3, 4])]
        {
            let arrays = Arrays::default();
            // All stay at once: who leaves makes no room.
            let seats: Vec<_> =
                (0..5).map(|_| arrays.join("net", || "pipe-net".into(), || allowed)).collect();
            assert_eq!(seats.iter().map(Seat::index).collect::<Vec<_>>(), expected, "{allowed:?}");
        }
    }

    #[test]
    fn what_goes_wrong_is_told_to_all() {
        let arrays = Arrays::default();
        let join = |_| arrays.join("net", || "pipe-net".into(), || None);
        let seats: Vec<_> = (0..2).map(join).collect();
        let submit = |_: &[Task]| Err(io::Error::other("no such partition"));
        std::thread::scope(|scope| {
            for seat in seats {
                scope.spawn(move || {
                    let error = seat.submit(Path::new("d"), Path::new("l"), submit).unwrap_err();
                    assert_eq!(error.to_string(), "no such partition");
                });
            }
        });
    }
}
