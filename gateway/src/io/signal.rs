//! Waking one task of the same thread.

use std::task::{Context, Waker};

/// The waker of the one task that waits here. Setting it again replaces the former.
#[derive(Debug, Default)]
pub struct Signal {
    waker: Option<Waker>,
    /// Whether the task waits for this, and not for something else.
    is_awaited: bool,
}

impl Signal {
    /// Remembers the task that is being polled; [`Signal::notify`] wakes it once.
    pub fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            slot => *slot = Some(context.waker().clone()),
        }
        self.is_awaited = true;
    }

    /// Remembers the task that is being polled, which waits for something else.
    pub fn remember(&mut self, context: &Context<'_>) {
        self.waker.get_or_insert_with(|| context.waker().clone());
    }

    /// Wakes the task that waits, if one does. It runs after the tasks that are ready already, so
    /// that what they have to add is there too.
    pub fn notify(&mut self) {
        if std::mem::take(&mut self.is_awaited)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }

    /// Wakes the task whatever it waits for, and forgets it.
    pub fn dismiss(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
