//! One core: its tasks, its mailbox, its share of the accepted connections.

mod balance;

pub use balance::{Advice, Balancer, LOOK_EVERY, UNEVEN_MIN};

use std::{
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    task::Poll,
    time::Duration,
};

use crate::{
    clock,
    connection::{Connection, Load, Side, Talk},
    exchange::{Core, Holding, Letter, PostOffice, Settings, Work, write_all, yield_once},
    io::{Accepted, Acceptor, Driver, Socket},
    snapshot::Snapshot,
    telemetry::{AccessLog, Counters, Throttle},
};

/// What a worker needs to begin.
pub struct Seed {
    /// What is set for it.
    pub settings: Settings,
    /// What it routes by.
    pub snapshot: Snapshot,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Its end of the access log.
    pub log: AccessLog,
    /// All mailboxes.
    pub office: PostOffice,
    /// Its own letters.
    pub letters: Receiver<Letter>,
    /// Its listening sockets, with the index of their listener.
    pub listeners: Vec<(usize, TcpListener)>,
    /// What holds it before it begins, where something does.
    pub holding: Option<Holding>,
    /// Connections of all workers.
    pub load: Arc<Load>,
}

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop, and all is answered.
    Stopped,
    /// Another worker has all that it had.
    Released,
}

/// Works until the gateway is stopped, or others have taken over. Runs on a thread of its own.
///
/// # Errors
/// A listening socket could not be put on the driver.
pub fn run(driver: &mut Driver, seed: Seed) -> io::Result<End> {
    driver.block_on(work(seed))
}

async fn work(seed: Seed) -> io::Result<End> {
    let Seed { settings, snapshot, counters, log, office, letters, listeners, holding, load } =
        seed;
    let work = Work::new(settings, snapshot, counters, log, office.clone(), Arc::clone(&load));
    if let Some(holding) = holding {
        holding.obey(&work, &letters);
    }
    if work.is_released() {
        drop((listeners, letters));
        return Ok(last_turns(&work).await);
    }
    work.with(|core| core.listen(listeners))?;
    monoio::spawn(write_all(Rc::clone(&work)));
    monoio::spawn(read_letters(Rc::clone(&work), office.clone(), settings.worker, letters));
    loop {
        if work.is_released() {
            let end = last_turns(&work).await;
            office.forget(settings.worker);
            return Ok(end);
        }
        let now = clock::now();
        let wait = work.with(|core| {
            core.tick(now);
            if core.is_drained(now) { None } else { Some(core.next_tick().until(now)) }
        });
        let Some(wait) = wait else {
            work.with(Core::end);
            // The tasks of what was closed have a last turn, in which they let go of the sockets:
            // nobody would close those of a thread that has ended.
            monoio::time::sleep(TICK_MIN).await;
            return Ok(End::Stopped);
        };
        monoio::time::sleep(wait.clamp(TICK_MIN, TICK_MAX)).await;
    }
}

/// Waits until all tasks of a worker that let go of everything have ended, each of which holds its
/// state, and until the driver has closed their descriptors.
async fn last_turns(work: &Rc<Work>) -> End {
    let end = clock::now().after(LAST_TURNS_MAX);
    while Rc::strong_count(work) > 1 {
        if clock::now() >= end {
            let tasks = Rc::strong_count(work) - 1;
            tracing::error!(tasks, "a worker that was relieved ends though it has tasks left");
            break;
        }
        monoio::time::sleep(TICK_MIN).await;
    }
    for _ in 0..CLOSING_TURNS {
        monoio::time::sleep(TICK_MIN).await;
    }
    End::Released
}

/// Tasks of a worker that let go of everything are woken at once and have nothing left to do.
const LAST_TURNS_MAX: Duration = Duration::from_secs(10);

/// Turns of the driver from the end of the last task to the closing of the last descriptor: the
/// operation that waited for it is cancelled, and then the descriptor is closed.
const CLOSING_TURNS: usize = 3;

/// Deadlines and timers are looked at this often at most; so late may a timeout come.
const TICK_MIN: Duration = Duration::from_millis(10);

/// And at least so often, for what was set meanwhile.
const TICK_MAX: Duration = Duration::from_millis(50);

async fn read_letters(
    work: Rc<Work>,
    office: PostOffice,
    worker: usize,
    letters: Receiver<Letter>,
) {
    for count in 1_usize.. {
        let letter = poll_fn(|context| {
            office.register(worker, context);
            match letters.try_recv() {
                Ok(letter) => Poll::Ready(Some(letter)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Disconnected) => Poll::Ready(None),
            }
        })
        .await;
        let Some(letter) = letter else { return };
        match letter {
            Letter::Hold(holding) => holding.obey(&work, &letters),
            letter => work.read_letter(letter),
        }
        if work.is_released() {
            return;
        }
        if count.is_multiple_of(LETTERS_PER_TURN) {
            yield_once().await;
        }
    }
}

/// Letters read in one turn, so that a flood of them does not keep connections waiting.
const LETTERS_PER_TURN: usize = 64;

async fn accept_all(work: Rc<Work>, listener: usize, mut acceptor: Acceptor) {
    let mut warned = Throttle::new();
    loop {
        let stopped = {
            let mut ready = pin!(acceptor.ready());
            poll_fn(|context| {
                if work.is_released() || work.with(|core| core.poll_closed(listener, context)) {
                    return Poll::Ready(true);
                }
                ready.as_mut().poll(context).map(|_| false)
            })
            .await
        };
        if work.is_released() {
            // Whoever queues is accepted by the socket's other owner.
            return;
        }
        if stopped {
            // Closing the socket would reset those that queue; the kernel has accepted them, so
            // they are taken, served once and told.
            while let Turn::More = accept_some(&work, listener, &mut acceptor, &mut warned) {}
            return work.with(|core| core.listening.retain(|it| it.0 != listener));
        }
        match accept_some(&work, listener, &mut acceptor, &mut warned) {
            Turn::More | Turn::Done => {}
            Turn::Failed => monoio::time::sleep(ACCEPT_PAUSE).await,
            Turn::Early(wait) => monoio::time::sleep(wait.min(TICK_MAX)).await,
        }
    }
}

/// How a turn of accepting ended.
enum Turn {
    /// There may be more.
    More,
    /// None is left.
    Done,
    /// The next try would fail like the last.
    Failed,
    /// The next connection is not due at the listener's rate before this; it waits in the kernel.
    Early(Duration),
}

fn accept_some(
    work: &Work,
    listener: usize,
    acceptor: &mut Acceptor,
    warned: &mut Throttle,
) -> Turn {
    for _ in 0..ACCEPTS_PER_TURN {
        let wait = work.with(|core| core.load.accept_after(listener, clock::now()));
        if !wait.is_zero() {
            return Turn::Early(wait);
        }
        match acceptor.accept() {
            Accepted::Connection(stream, peer) => {
                work.with(|core| core.place(listener, stream, peer));
            }
            Accepted::Nothing => return Turn::Done,
            Accepted::Refused => work.with(|core| {
                core.counters.worker.accept_failures.increment();
                core.counters.listener(listener).connections_refused.increment();
            }),
            Accepted::Failed(error) => {
                work.with(|core| core.counters.worker.accept_failures.increment());
                if let Some(more) = warned.admit(clock::now()) {
                    tracing::warn!(listener, %error, more, "cannot accept");
                }
                return Turn::Failed;
            }
        }
    }
    Turn::More
}

/// Connections taken in one turn, so that a storm of them does not keep the others waiting.
const ACCEPTS_PER_TURN: usize = 64;

/// After a failure that the next try would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Core {
    /// Begins to accept on sockets of listeners, each with the place of its listener.
    ///
    /// # Errors
    /// A socket could not be put on the driver.
    pub fn listen(&mut self, sockets: Vec<(usize, TcpListener)>) -> io::Result<()> {
        let Some(work) = self.work() else { return Ok(()) };
        for (listener, socket) in sockets {
            self.listening.push((listener, socket.try_clone()?));
            let acceptor = Acceptor::new(socket)?;
            monoio::spawn(accept_all(Rc::clone(&work), listener, acceptor));
        }
        Ok(())
    }

    /// What is accepted on, each with the place of its listener.
    pub fn listening(&self) -> impl Iterator<Item = (usize, &TcpListener)> {
        self.listening.iter().map(|(place, socket)| (*place, socket))
    }

    /// Begins to accept on the sockets of listeners that are closed, for those with the same
    /// address that come after them. `places` are those of the old and the new ones.
    ///
    /// # Errors
    /// As [`Core::listen`].
    pub fn inherit(&mut self, places: &[(usize, usize)]) -> io::Result<()> {
        let mut sockets = Vec::new();
        for (old, new) in places {
            for (_, socket) in self.listening.iter().filter(|it| it.0 == *old) {
                sockets.push((*new, socket.try_clone()?));
            }
        }
        self.listen(sockets)
    }

    /// Gives an accepted connection to the worker that has the fewest.
    fn place(&mut self, listener: usize, stream: TcpStream, peer: SocketAddr) {
        let here = self.settings.worker;
        let Some(to) = self.load.admit(listener, here) else {
            self.counters.listener(listener).connections_refused.increment();
            return;
        };
        if to == here {
            return self.accept(listener, stream, peer);
        }
        self.counters.worker.connections_given.increment();
        let order = move |core: &mut Core| {
            core.counters.worker.connections_taken.increment();
            core.accept(listener, stream, peer);
        };
        if !self.office.send(to, Letter::Do(Box::new(order))) {
            self.load.leave(listener, to);
        }
    }

    fn accept(&mut self, listener: usize, stream: TcpStream, peer: SocketAddr) {
        match Socket::new(stream, self.settings.driver) {
            Ok(socket) => {
                let side = Side::Downstream { listener };
                self.now = clock::now();
                self.admit(Connection::new(side, peer, socket, Talk::Unknown, self.now));
            }
            Err(error) => {
                // The client was gone before we came to it.
                tracing::debug!(listener, %peer, %error, "an accepted connection was dead");
                self.load.leave(listener, self.settings.worker);
            }
        }
    }
}
