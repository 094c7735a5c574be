//! The thread that starts workers.
//!
//! A worker asks the kernel to be told when its parent dies, and takes the thread that started it for its
//! parent. So the thread of a step, which ends with the step, cannot start a worker that outlives the step.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A process to start, and where to say how that went.
type Order = (Command, Sender<io::Result<Child>>);

/// Starts processes from one thread, which lives as long as this.
pub(crate) struct Nursery {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Nursery {
    /// Starts the thread.
    pub(crate) fn open() -> io::Result<Self> {
        let (orders, received) = channel::<Order>();
        let thread = std::thread::Builder::new().name("nursery".to_owned()).spawn(move || {
            for (mut command, answer) in received {
                // Whoever asked waits for the answer.
                answer.send(command.spawn()).ok();
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Starts a process.
    pub(crate) fn start(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes has gone");
        let (answer, answered) = channel();
        let orders = self.orders.as_ref().expect("open until dropped");
        orders.send((command, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.orders = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that starts processes panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_started_and_one_that_cannot_be_is_told() {
        let nursery = Nursery::open().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let status = nursery.start(command).unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(3));
        let missing = nursery.start(Command::new("/no/such/program"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
