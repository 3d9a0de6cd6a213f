//! Exchanges whose two connections belong to different workers.
//!
//! The worker of the client's connection keeps the exchange; the worker of the upstream's
//! connection keeps a second one whose downstream is [`Peer::Remote`]. Parts travel between them
//! as letters, which own their bytes. One worker's letters to another arrive in order.

use std::{
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    task::Context,
};

use atomic_waker::AtomicWaker;
use hangu_codecs::{OwnedPart, Part, Reason, Status, Time};

use super::{
    Asked, Asks, Core, Exchange, ExchangeId, Holding, NEVER, Peer, Progress, Upstream,
    failure::Failure, flow::Way, live::is_end,
};
use crate::{
    snapshot::Snapshot,
    telemetry::{Outcome, RpcSeries},
};

/// What one thread tells a worker.
pub enum Letter {
    /// Do this with your state. From the control thread, and for accepted connections.
    Do(Box<dyn FnOnce(&mut Core) + Send>),
    /// A part between the two halves of an exchange.
    Exchange(Box<Between>),
    /// Stand still and obey. Read by the task that has the mailbox.
    Hold(Box<Holding>),
}

/// What passes between the two halves of an exchange.
pub struct Between {
    worker: usize,
    exchange: (u32, u32),
    what: What,
}

enum What {
    /// Begin: send this to an endpoint of yours.
    Begin { listener: usize, target: (usize, usize), deadline: Time, oneway: bool, part: OwnedPart },
    /// A further part of the request.
    Request(OwnedPart),
    /// The caller is gone.
    Cancel,
    /// So many bytes of the request were taken.
    RequestTaken(u32),
    /// A part of the response.
    Response(OwnedPart),
    /// So many bytes of the response were taken.
    ResponseTaken(u32),
    /// It failed.
    Fail(Failure),
}

/// Exchanges of one worker that may be away at another one's connections; one more is answered
/// as overloaded. Each has a bounded number of letters under way, so this bounds the mailboxes.
const AWAY_MAX: usize = 65_536;

/// The mailboxes of all workers.
#[derive(Clone)]
pub struct PostOffice {
    boxes: Arc<[Mailbox]>,
}

struct Mailbox {
    sender: Sender<Letter>,
    waker: AtomicWaker,
}

impl PostOffice {
    /// Mailboxes for so many workers, and what each of them receives by.
    pub fn new(workers: usize) -> (Self, Vec<Receiver<Letter>>) {
        let (boxes, receivers): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (sender, receiver) = channel();
                (Mailbox { sender, waker: AtomicWaker::new() }, receiver)
            })
            .unzip();
        (Self { boxes: boxes.into() }, receivers)
    }

    /// Sends a letter to a worker; says whether that worker still takes any.
    pub fn send(&self, worker: usize, letter: Letter) -> bool {
        let Some(mailbox) = self.boxes.get(worker) else { return false };
        let sent = mailbox.sender.send(letter).is_ok();
        mailbox.waker.wake();
        sent
    }

    /// Wakes the task that is being polled when a letter comes for this worker.
    pub fn register(&self, worker: usize, context: &Context<'_>) {
        if let Some(mailbox) = self.boxes.get(worker) {
            mailbox.waker.register(context.waker());
        }
    }

    /// Forgets the task that a letter for this worker would wake; on the worker's own thread.
    pub fn forget(&self, worker: usize) {
        if let Some(mailbox) = self.boxes.get(worker) {
            drop(mailbox.waker.take());
        }
    }
}

impl Core {
    /// The worker whose connections to an endpoint are used by all; `None` when it is this one or
    /// each has its own.
    pub(super) fn home_of(
        &self,
        snapshot: &Snapshot,
        cluster: usize,
        endpoint: usize,
    ) -> Option<usize> {
        if !snapshot.shares_connections(cluster) {
            return None;
        }
        let home = (cluster + endpoint) % self.settings.workers;
        (home != self.settings.worker).then_some(home)
    }

    /// Sends a request to the worker that has the connections to its endpoint.
    pub(super) fn send_away(&mut self, id: ExchangeId, home: usize, part: OwnedPart) {
        if self.away_count >= AWAY_MAX {
            return self.fail(id, Status::Overloaded.into());
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some(target) = exchange.target() else { return };
        exchange.upstream = Upstream::Joined(Peer::Remote { worker: home, exchange: id.parts() });
        exchange.forwarded = self.now;
        let oneway = exchange.outcome == Some(Outcome::Oneway);
        let what = What::Begin {
            listener: exchange.listener as usize,
            target,
            deadline: exchange.deadline,
            oneway,
            part,
        };
        self.away_count += 1;
        if !self.mail(home, id.parts(), what) {
            return self.fail(id, Failure::internal("worker_gone"));
        }
        if oneway {
            self.complete(id);
        }
    }

    fn mail(&self, worker: usize, exchange: (u32, u32), what: What) -> bool {
        let worker_here = self.settings.worker;
        let between = Between { worker: worker_here, exchange, what };
        self.office.send(worker, Letter::Exchange(Box::new(between)))
    }

    /// Sends a further part of a request to the worker of its upstream connection.
    pub(super) fn mail_request(&mut self, id: ExchangeId, worker: usize, part: &Part<'_>) {
        self.mail(worker, id.parts(), What::Request(part.to_owned()));
    }

    /// Sends a part of a response to the worker of the client's connection.
    pub(super) fn mail_answer(&mut self, worker: usize, exchange: (u32, u32), part: &Part<'_>) {
        self.mail(worker, exchange, What::Response(part.to_owned()));
    }

    /// Tells the worker of a sender's connection that so many bytes were taken.
    pub(super) fn mail_taken(&mut self, worker: usize, exchange: (u32, u32), way: Way, bytes: u32) {
        let what = match way {
            Way::Request => What::RequestTaken(bytes),
            Way::Response => What::ResponseTaken(bytes),
        };
        self.mail(worker, exchange, what);
    }

    /// Tells the worker of the client's connection that its exchange failed.
    pub(super) fn mail_failure(&mut self, worker: usize, exchange: (u32, u32), failure: Failure) {
        self.mail(worker, exchange, What::Fail(failure));
    }

    /// Tells the worker of the upstream connection that nobody waits for the answer any more.
    pub(super) fn mail_cancel(&mut self, worker: usize, exchange: (u32, u32)) {
        self.mail(worker, exchange, What::Cancel);
    }

    /// Does what a letter says.
    pub fn on_letter(&mut self, letter: Letter) {
        match letter {
            Letter::Do(order) => order(self),
            Letter::Exchange(between) => self.on_between(*between),
            // A worker that is held already is held by one: the other one's end is dropped.
            Letter::Hold(_) => {}
        }
    }

    fn on_between(&mut self, between: Between) {
        let Between { worker, exchange, what } = between;
        match what {
            What::Begin { listener, target, deadline, oneway, mut part } => {
                let ends =
                    part.as_part().is_none_or(|it| matches!(it, Part::Head(_, end) if is_end(end)));
                let asked = (deadline, oneway, ends);
                let id = self.enter_away((worker, exchange), listener, target, asked);
                let snapshot = Rc::clone(&self.snapshot);
                self.endpoints.began(target.0, target.1);
                let Some(part) = part.as_part() else { return };
                self.send_head(id, &snapshot, &part);
            }
            What::Request(mut part) => {
                let Some(id) = self.away.get(&(worker, exchange)).copied() else { return };
                if let Some(part) = part.as_part() {
                    self.carry_request(id, None, &part);
                }
            }
            What::Cancel => {
                if let Some(id) = self.away.get(&(worker, exchange)).copied() {
                    self.cancel(id, Reason::Cancelled);
                }
            }
            What::RequestTaken(bytes) => {
                let id = ExchangeId::new(exchange.0, exchange.1);
                self.on_taken_away(id, Way::Request, bytes);
            }
            What::ResponseTaken(bytes) => {
                if let Some(id) = self.away.get(&(worker, exchange)).copied() {
                    self.on_taken_away(id, Way::Response, bytes);
                }
            }
            What::Response(mut part) => {
                if let Some(part) = part.as_part() {
                    self.deliver(ExchangeId::new(exchange.0, exchange.1), None, &part);
                }
            }
            // The other half has counted it.
            What::Fail(failure) => {
                self.fail_counted(ExchangeId::new(exchange.0, exchange.1), failure);
            }
        }
    }

    fn enter_away(
        &mut self,
        caller: (usize, (u32, u32)),
        listener: usize,
        target: (usize, usize),
        (deadline, oneway, request_ended): (Time, bool, bool),
    ) -> ExchangeId {
        let (worker, exchange) = caller;
        let asked =
            Asked { listener, downstream: Peer::Remote { worker, exchange }, two_way: !oneway };
        let id = self.exchanges.insert(Exchange {
            downstream: asked.downstream,
            upstream: Upstream::None,
            snapshot: Rc::clone(&self.snapshot),
            listener: listener as u32,
            route: None,
            // Counted where the client's connection is.
            series: RpcSeries::None,
            target: Some((target.0 as u32, target.1 as u32)),
            began: self.now,
            forwarded: NEVER,
            // The caller's worker watches the deadline; this one sends on what is left of it.
            deadline,
            progress: Progress {
                request_ended,
                response_ended: !asked.two_way,
                ..Progress::default()
            },
            outcome: oneway.then_some(Outcome::Oneway),
            // What is asked for is known there.
            asks: Asks::Answer,
            // Its other half was.
            counts_downstream: false,
            counts_upstream: None,
            retries: 0,
            quiet: 0,
            apart: None,
            // So does the log.
            logged: None,
            received_bytes: 0,
            sent_bytes: 0,
        });
        self.away.insert(caller, id);
        id
    }
}
