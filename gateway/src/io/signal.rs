//! Waking one task of the same thread.

use std::task::{Context, Waker};

/// The waker of the one task that waits here. Setting it again replaces the former.
#[derive(Debug, Default)]
pub struct Signal {
    waker: Option<Waker>,
}

impl Signal {
    /// Remembers the task that is being polled; [`Signal::notify`] wakes it once.
    pub fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            slot => *slot = Some(context.waker().clone()),
        }
    }

    /// Wakes the task that waits, if one does. It runs after the tasks that are ready already, so
    /// that what they have to add is there too.
    pub fn notify(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
