//! Letting go of all that a worker has, for it is another worker's.
//!
//! Nothing is said on any connection: only the descriptors of this worker are closed, and the other
//! owner has its own. Every task ends, for one that waited on would keep its descriptor open, and
//! nobody would close those of a thread that has ended.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, Waker},
};

use super::{Core, Work};
use crate::{connection::Id, upstream::Endpoints};

impl Core {
    /// Lets go of everything without a word to anyone. The worker ends as soon as its tasks have.
    pub fn release(&mut self) {
        let Some(work) = self.work() else { return };
        work.set_released();
        self.log.close();
        self.connections.iter_mut().for_each(|(_, it)| it.reader.dismiss());
        self.waiting.iter_mut().for_each(|(_, it)| it.wake_by_ref());
        self.acceptors.drain(..).for_each(Waker::wake);
        self.outbox.dismiss();
        self.forget_thawed();
        self.resume.clear();
        self.freed.clear();
        self.listening.clear();
        // Places of endpoints that are gone are not kept for this worker any more.
        self.endpoints = Endpoints::new(self.settings.workers);
    }
}

/// Waits for something that may take its time; `None` once the worker lets go of everything.
pub(super) async fn unless_released<F: Future>(work: &Work, wanted: F) -> Option<F::Output> {
    let mut wanted = pin!(wanted);
    let mut place: Option<Id<Waker>> = None;
    let came = poll_fn(|context| {
        if work.is_released() {
            return Poll::Ready(None);
        }
        let waker = || context.waker().clone();
        place.get_or_insert_with(|| work.with(|core| core.waiting.insert(waker())));
        wanted.as_mut().poll(context).map(Some)
    });
    let came = came.await;
    if let Some(place) = place {
        work.with(|core| core.waiting.remove(place));
    }
    came
}
