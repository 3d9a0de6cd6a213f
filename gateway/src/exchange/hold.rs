//! Holding a worker still while others work with its state.
//!
//! A worker that is held runs none of its tasks: it reads, writes, accepts and times nothing, and
//! does only what it is ordered to, on its own thread. Letting go is dropping what holds it; the
//! worker then goes on as if no time had passed. This is how a worker is frozen, and how a new one
//! is kept inert until it may begin.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use super::{Core, Letter, Work};
use crate::io::Haste;

/// What is done with a worker that is held.
enum Order {
    /// Read the letters that are there.
    ReadLetters,
    /// Do this with the state.
    Do(Box<dyn FnOnce(&mut Core) + Send>),
    /// Read the letters that are there, then do this.
    DoAfterLetters(Box<dyn FnOnce(&mut Core) + Send>),
}

/// The worker's end: see [`Holding::obey`].
pub struct Holding {
    orders: Receiver<Order>,
    answers: Sender<usize>,
}

/// The other end. Dropping it lets the worker go on.
pub struct Held {
    orders: Sender<Order>,
    answers: Receiver<usize>,
}

/// A worker did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker does not answer")]
pub struct Unresponsive;

/// Both ends.
pub fn hold() -> (Held, Holding) {
    let (orders, received) = channel();
    let (answers, answered) = channel();
    (Held { orders, answers: answered }, Holding { orders: received, answers })
}

impl Holding {
    /// Obeys orders until the other end lets go.
    pub fn obey(self, work: &Work, letters: &Receiver<Letter>) {
        // Nobody else is served by this worker meanwhile.
        let _haste = Haste::begin();
        // Nobody waits for an answer any more when the other end is gone.
        let _ = self.answers.send(0);
        while let Ok(order) = self.orders.recv() {
            let read = match order {
                Order::ReadLetters => read_all(work, letters),
                Order::Do(order) => {
                    work.read_letter(Letter::Do(order));
                    0
                }
                Order::DoAfterLetters(order) => {
                    let read = read_all(work, letters);
                    work.read_letter(Letter::Do(order));
                    read
                }
            };
            let _ = self.answers.send(read);
        }
    }
}

fn read_all(work: &Work, letters: &Receiver<Letter>) -> usize {
    let mut count = 0;
    while let Ok(letter) = letters.try_recv() {
        work.read_letter(letter);
        count += 1;
    }
    count
}

impl Held {
    /// Waits until the worker is held.
    ///
    /// # Errors
    /// It does not come to it in time.
    pub fn wait(&self, wait: Duration) -> Result<(), Unresponsive> {
        self.answer(wait).map(drop)
    }

    /// Lets the worker do something; [`Held::answer`] tells when it has.
    pub fn order(&self, order: impl FnOnce(&mut Core) + Send + 'static) {
        // A worker that is gone does not answer.
        let _ = self.orders.send(Order::Do(Box::new(order)));
    }

    /// Lets the worker read its letters and then do something; [`Held::answer`] tells how many
    /// letters there were.
    pub fn order_after_letters(&self, order: impl FnOnce(&mut Core) + Send + 'static) {
        let _ = self.orders.send(Order::DoAfterLetters(Box::new(order)));
    }

    /// Lets the worker read its letters; [`Held::answer`] tells how many there were.
    pub fn order_letters(&self) {
        let _ = self.orders.send(Order::ReadLetters);
    }

    /// Waits for the answer to an order.
    ///
    /// # Errors
    /// It does not come in time.
    pub fn answer(&self, wait: Duration) -> Result<usize, Unresponsive> {
        self.answers.recv_timeout(wait).map_err(|error| match error {
            RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected => Unresponsive,
        })
    }
}

/// Lets workers that are held read their letters until none of them has any.
///
/// # Errors
/// A worker does not answer in time, or letters do not come to an end.
pub fn settle_letters(held: &[Held], wait: Duration) -> Result<(), Unresponsive> {
    for _ in 0..ROUNDS_MAX {
        held.iter().for_each(Held::order_letters);
        let mut read = 0;
        for worker in held {
            read += worker.answer(wait)?;
        }
        if read == 0 {
            return Ok(());
        }
    }
    Err(Unresponsive)
}

/// Rounds of letters between workers that are held. A letter leads to few others: a request to its
/// failure, that to nothing.
const ROUNDS_MAX: usize = 64;
