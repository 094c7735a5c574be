//! Threads of a run, each of which waits for another task when it has done one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

type Task<'scope> = Box<dyn FnOnce() + Send + 'scope>;

/// As many threads as there were tasks at once; they end when this is dropped.
pub(super) struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    board: Arc<Board<'scope>>,
}

#[derive(Default)]
struct Board<'scope> {
    state: Mutex<State<'scope>>,
    changed: Condvar,
}

#[derive(Default)]
struct State<'scope> {
    tasks: VecDeque<Task<'scope>>,
    /// How many threads wait for a task.
    idle: usize,
    over: bool,
}

impl<'scope, 'env> Crew<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { scope, board: Arc::default() }
    }

    /// Has a thread do a task at once; it must not panic.
    pub(super) fn give(&self, task: impl FnOnce() + Send + 'scope) {
        let mut state = self.board.lock();
        state.tasks.push_back(Box::new(task));
        if state.idle >= state.tasks.len() {
            self.board.changed.notify_one();
        } else {
            let board = Arc::clone(&self.board);
            self.scope.spawn(move || board.work());
        }
    }
}

impl Drop for Crew<'_, '_> {
    fn drop(&mut self) {
        self.board.lock().over = true;
        self.board.changed.notify_all();
    }
}

impl<'scope> Board<'scope> {
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                task();
                state = self.lock();
            } else if state.over {
                return;
            } else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'scope>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};

    #[test]
    fn no_task_waits_for_another_and_threads_are_kept() {
        let done = AtomicUsize::new(0);
        let (sender, threads) = mpsc::channel();
        std::thread::scope(|scope| {
            let crew = Crew::new(scope);
            // All at once, or the barrier is never passed.
            for size in [1, 8, 3] {
                let barrier = Arc::new(Barrier::new(size + 1));
                for _ in 0..size {
                    let (barrier, sender, done) = (barrier.clone(), sender.clone(), &done);
                    crew.give(move || {
                        barrier.wait();
                        done.fetch_add(1, Ordering::SeqCst);
                        sender.send(std::thread::current().id()).unwrap();
                    });
                }
                barrier.wait();
            }
            for _ in 0..50 {
                let (answer, heard) = mpsc::channel();
                let sender = sender.clone();
                crew.give(move || {
                    sender.send(std::thread::current().id()).unwrap();
                    answer.send(()).unwrap();
                });
                heard.recv().unwrap();
            }
        });
        drop(sender);
        assert_eq!(done.into_inner(), 12);
        let threads = threads.iter().collect::<Vec<_>>();
        assert_eq!(threads.len(), 62);
        let kept = threads.iter().collect::<std::collections::HashSet<_>>().len();
        assert!(kept <= 12, "{kept} threads");
    }
}
