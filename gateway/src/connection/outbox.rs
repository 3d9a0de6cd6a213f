//! Connections of a worker that have something to write.

use std::task::{Context, Poll};

use super::{Buffers, ConnectionId};
use crate::io::Signal;

/// Whose output is to be written, and the buffers that it stands in.
///
/// One task writes for all connections of a worker. It is woken when the first one has something to
/// say, and runs after all readers that the same wake-up made ready: so one write per connection
/// carries what all of them had to say.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Buffers for output.
    pub buffers: Buffers,
    queue: Vec<ConnectionId>,
    task: Signal,
}

impl Outbox {
    /// A connection has something to write.
    pub fn add(&mut self, id: ConnectionId) {
        self.queue.push(id);
        self.task.notify();
    }

    /// Whether somebody has something to write; wakes the task that asks when somebody has.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        if !self.queue.is_empty() {
            return Poll::Ready(());
        }
        self.task.wait(context);
        Poll::Pending
    }

    /// Wakes the task that waits, though there is nothing to write, and forgets it.
    pub fn dismiss(&mut self) {
        self.task.dismiss();
    }

    /// Moves all that have something to write into `batch`, which is empty.
    pub fn take(&mut self, batch: &mut Vec<ConnectionId>) {
        std::mem::swap(&mut self.queue, batch);
    }
}
