//! Moves the files of many results at once, each file once, and completes each result as soon as its
//! last file is there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache::{Content, Digest, Parcel};

use super::failure::Failure;

/// How many files are moved at once. Most are small, and wait for answers.
pub(super) const THREADS: usize = 16;

/// What is done with a file and with a result of which every file has been done.
pub(super) trait Carrier: Sync {
    /// What a moved file leaves behind.
    type Moved: Clone + Send;

    /// Moves a file, which belongs to the result of this index and perhaps to others.
    fn file(&self, content: &Content, parcel: usize) -> Result<Self::Moved, Failure>;

    /// Ends a result all of whose files have been moved.
    fn whole(&self, parcel: usize, moved: Vec<Self::Moved>) -> Result<(), Failure>;

    /// Hears how it went with a result.
    fn told(&self, parcel: usize, outcome: Result<(), Failure>);
}

/// A file that is to be moved, and the results it belongs to.
struct Task {
    content: Content,
    parcels: Vec<usize>,
}

/// What is left of a result.
struct Rest<M> {
    files: usize,
    moved: Vec<M>,
    /// Whether one of its files was refused.
    refused: bool,
}

struct State<M> {
    next: usize,
    rests: Vec<Rest<M>>,
    fatal: Option<Failure>,
}

/// Moves every file of `parcels`. A file that is refused takes its results with it; anything worse
/// ends the whole.
pub(super) fn carry<C: Carrier>(parcels: &[Parcel], carrier: &C) -> Result<(), Failure> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut rests = Vec::new();
    for (index, parcel) in parcels.iter().enumerate() {
        let contents = parcel.contents();
        rests.push(Rest { files: contents.len(), moved: Vec::new(), refused: false });
        for content in contents {
            let task = *known.entry(content.digest).or_insert_with(|| {
                tasks.push(Task { content, parcels: Vec::new() });
                tasks.len() - 1
            });
            let task: &mut Task = &mut tasks[task];
            task.parcels.push(index);
            // What one result only mentions may be what another consists of.
            task.content.size = task.content.size.or(content.size);
            task.content.needed |= content.needed;
        }
    }
    let empty: Vec<usize> = (0..rests.len()).filter(|&index| rests[index].files == 0).collect();
    let state = Mutex::new(State { next: 0, rests, fatal: None });
    for index in empty {
        end(carrier, &state, index, Vec::new());
    }
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(tasks.len()) {
            scope.spawn(|| while work(carrier, &tasks, &state) {});
        }
    });
    match state.into_inner().unwrap_or_else(PoisonError::into_inner).fatal {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn locked<M>(state: &Mutex<State<M>>) -> MutexGuard<'_, State<M>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves the next file; false when there is none, or no more shall be moved.
fn work<C: Carrier>(carrier: &C, tasks: &[Task], state: &Mutex<State<C::Moved>>) -> bool {
    let task = {
        let mut state = locked(state);
        // What belongs to refused results alone need not be moved.
        while tasks
            .get(state.next)
            .is_some_and(|task| task.parcels.iter().all(|&parcel| state.rests[parcel].refused))
        {
            state.next += 1;
        }
        let Some(task) = tasks.get(state.next).filter(|_| state.fatal.is_none()) else {
            return false;
        };
        state.next += 1;
        task
    };
    match carrier.file(&task.content, task.parcels[0]) {
        Ok(moved) => {
            let mut whole = Vec::new();
            {
                let mut state = locked(state);
                for &parcel in &task.parcels {
                    let rest = &mut state.rests[parcel];
                    rest.files -= 1;
                    rest.moved.push(moved.clone());
                    if rest.files == 0 && !rest.refused {
                        whole.push((parcel, std::mem::take(&mut rest.moved)));
                    }
                }
            }
            whole.into_iter().for_each(|(parcel, moved)| end(carrier, state, parcel, moved));
        }
        Err(failure) if failure.is_of_one_result() => {
            let refused = |parcel: &&usize| {
                !std::mem::replace(&mut locked(state).rests[**parcel].refused, true)
            };
            for parcel in task.parcels.iter().filter(refused) {
                carrier.told(*parcel, Err(Failure::Refused(failure.to_string())));
            }
        }
        Err(failure) => drop(locked(state).fatal.get_or_insert(failure)),
    }
    true
}

fn end<C: Carrier>(
    carrier: &C,
    state: &Mutex<State<C::Moved>>,
    parcel: usize,
    moved: Vec<C::Moved>,
) {
    match carrier.whole(parcel, moved) {
        Err(failure) if !failure.is_of_one_result() => {
            locked(state).fatal.get_or_insert(failure);
        }
        outcome => carrier.told(parcel, outcome),
    }
}
