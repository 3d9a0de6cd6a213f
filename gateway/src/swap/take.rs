//! The side that takes over.

use std::{
    collections::HashMap,
    fmt,
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use bytes::Bytes;
use hangu_codecs::{PROTOCOLS, Time};
use rustc_hash::FxHashMap;
use zeroize::Zeroizing;

use super::{
    channel::{Channel, ChannelError},
    message::{
        Ahead, Counts, FORMATS, FrozenAt, Hello, Large, LastWords, Message, OutputAhead,
        SocketName, Welcome, Worker,
    },
    owner::{Event, Owner, Successor as State},
    report::micros,
};
use crate::{
    clock,
    exchange::{self, Core, Held, Places, Plan, heir, settle_letters},
    io::Haste,
    snapshot::Learnt,
    start::{Gateway, Waiting},
};

/// A successor before its gateway stands.
pub struct Successor {
    channel: Channel,
    /// What the predecessor told.
    pub welcome: Welcome,
    /// Listening sockets with the place of their listener, and others.
    sockets: Vec<(SocketName, OwnedFd)>,
}

/// Why nothing was taken over. The predecessor goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The conversation broke off.
    #[error("{0}")]
    Channel(#[from] ChannelError),
    /// The predecessor said no.
    #[error("the running gateway refuses: {0}")]
    Refused(String),
    /// The socket belongs to another user.
    #[error("the socket belongs to user {0}")]
    Stranger(u32),
    /// What was said was out of turn.
    #[error("the running gateway said something out of turn")]
    OutOfTurn,
    /// A value could not be thawed.
    #[error("{0}")]
    Thaw(String),
    /// A worker does not answer.
    #[error("{0}")]
    Unresponsive(#[from] exchange::Unresponsive),
}

/// A gateway that was taken over and serves.
pub struct Taken {
    /// The gateway.
    pub gateway: Gateway,
    /// From the order to freeze to the first writes here.
    pub pause: Duration,
    /// How much moved.
    pub connections: u64,
    /// Requests in flight that moved.
    pub exchanges: u64,
    /// When it was told that all is its own.
    pub committed: Time,
    channel: Channel,
}

impl fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} connections in {:?}", self.connections, self.pause)
    }
}

/// Meets the running gateway at its socket.
///
/// # Errors
/// See [`TakeError`].
pub fn meet(path: &Path) -> Result<Successor, TakeError> {
    let stream = UnixStream::connect(path).map_err(ChannelError::Io)?;
    let channel = Channel::new(stream);
    let (_, user) = channel.peer().map_err(ChannelError::Io)?;
    if user != rustix::process::geteuid().as_raw() {
        return Err(TakeError::Stranger(user));
    }
    let hello = Hello {
        formats: FORMATS.to_vec(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
        layouts: vec![exchange::FROZEN_VERSION],
        protocols: PROTOCOLS.iter().map(|it| (it.name.to_owned(), it.snapshots.to_vec())).collect(),
    };
    channel.send(&Message::Hello(hello), &[], STEP_WAIT)?;
    let Message::Welcome(welcome) = hear(&channel)?.0 else { return Err(TakeError::OutOfTurn) };
    let mut sockets = Vec::new();
    loop {
        let (Message::Sockets(names), descriptors) = hear(&channel)? else {
            return Err(TakeError::OutOfTurn);
        };
        if names.is_empty() {
            break;
        }
        sockets.extend(names.into_iter().zip(descriptors));
        channel.send(&Message::Received, &[], STEP_WAIT)?;
    }
    Ok(Successor { channel, welcome: *welcome, sockets })
}

fn hear(channel: &Channel) -> Result<(Message, Vec<OwnedFd>), TakeError> {
    match channel.receive(PREDECESSOR_WAIT)? {
        (Message::Refused(why), _) => Err(TakeError::Refused(why)),
        heard => Ok(heard),
    }
}

impl Successor {
    /// Tells the running gateway why it has to go on.
    pub fn refuse(&self, why: &str) {
        // It may be gone.
        let _ = self.channel.send(&Message::Refused(why.to_owned()), &[], STEP_WAIT);
    }

    /// The listening sockets, each with the index of its listener in the configuration that
    /// travelled along.
    pub fn take_listening(&mut self) -> Vec<(usize, TcpListener)> {
        let names = self.welcome.listeners.iter().filter(|it| !it.is_empty());
        let indices: HashMap<&String, usize> = names.zip(0..).collect();
        let origin = self.welcome.origin.load().ok();
        let index = |place: u32| {
            let name = self.welcome.listeners.get(place as usize)?;
            match &origin {
                Some(config) => config.listeners.iter().position(|it| it.name == *name),
                None => indices.get(name).copied(),
            }
        };
        let (mut listening, mut others) = (Vec::new(), Vec::new());
        for (name, descriptor) in std::mem::take(&mut self.sockets) {
            match name {
                SocketName::Listener(place) => {
                    // Sockets of a listener that is not there any more are closed; it was told to
                    // its clients when it went.
                    if let Some(index) = index(place) {
                        listening.push((index, TcpListener::from(descriptor)));
                    }
                }
                other => others.push((other, descriptor)),
            }
        }
        self.sockets = others;
        listening
    }

    /// A socket that is none of a listener's.
    pub fn take_other(&mut self, is_meant: impl Fn(&SocketName) -> bool) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|it| is_meant(&it.0))?;
        Some(self.sockets.swap_remove(at).1)
    }

    /// Takes over what the running gateway has. When it returns, the gateway serves.
    ///
    /// # Errors
    /// See [`TakeError`]: the predecessor goes on, and nothing of its connections was touched.
    pub fn take_over(self, waiting: Waiting) -> Result<Taken, TakeError> {
        let Waiting { gateway, held } = waiting;
        let _haste = Haste::begin();
        let mut taking = Taking::new(&self, &gateway, &held);
        match taking.run() {
            Ok(()) => {}
            Err(error) => {
                self.refuse(&error.to_string());
                // Before the workers are let go: nothing may say a word on a connection of the
                // predecessor's.
                held.iter().for_each(|it| it.order(Core::forget_thawed));
                for worker in &held {
                    // One that does not answer has nothing that could speak.
                    let _ = worker.answer(STEP_WAIT);
                }
                return Err(error);
            }
        }
        let (frozen_at, counts) = (taking.frozen_at, taking.counts);
        let committed = clock::now();
        let began = Arc::new(AtomicU64::new(u64::MAX));
        for worker in &held {
            let began = Arc::clone(&began);
            worker.order(move |core| {
                core.begin_thawed();
                began.fetch_min(clock::now().as_micros(), Ordering::Relaxed);
            });
        }
        for worker in &held {
            // All is this process's now: a worker that is late has begun all the same.
            if worker.answer(STEP_WAIT).is_err() {
                tracing::error!("a worker has not begun within {} s", STEP_WAIT.as_secs());
            }
        }
        let began = Time::from_micros(began.load(Ordering::Relaxed)).min(clock::now());
        let pause = frozen_at.since(began);
        drop(held);
        gateway.handle().listen_everywhere();
        let Counts { connections, exchanges } = counts;
        let channel = self.channel;
        Ok(Taken { gateway, pause, connections, exchanges, committed, channel })
    }
}

impl Taken {
    /// The predecessor's last words; `None` if it says nothing in time.
    pub fn last_words(&self) -> Option<LastWords> {
        match self.channel.receive(STEP_WAIT) {
            Ok((Message::LastWords(words), _)) => Some(*words),
            Ok(_) | Err(_) => None,
        }
    }

    /// What is left of the conversation; see [`Farewell::wait`].
    pub fn split(self) -> (Gateway, Farewell) {
        (self.gateway, Farewell { channel: self.channel, committed: self.committed })
    }
}

impl fmt::Debug for Farewell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("farewell")
    }
}

/// How the predecessor came to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gone {
    /// Microseconds since the commit; `None` if it still runs.
    pub after_us: Option<u64>,
    /// It was told to stop with this grace when it owned nothing any more, which was meant for
    /// whoever does.
    pub stop: Option<Duration>,
}

/// The end of the predecessor.
pub struct Farewell {
    channel: Channel,
    committed: Time,
}

impl Farewell {
    /// Waits until the predecessor is gone.
    pub fn wait(&self, wait: Duration) -> Gone {
        let mut gone = Gone::default();
        loop {
            match self.channel.receive(wait) {
                Ok((Message::Stop(grace), _)) => gone.stop = Some(Duration::from_millis(grace)),
                // Its descriptors are closed when it has ended.
                Err(ChannelError::Gone) => {
                    gone.after_us = Some(micros(self.committed.since(clock::now())));
                    return gone;
                }
                Ok(_) | Err(_) => return gone,
            }
        }
    }
}

struct Taking<'a> {
    successor: &'a Successor,
    gateway: &'a Gateway,
    held: &'a [Held],
    /// By old worker.
    descriptors: Vec<FxHashMap<(u32, u32), TcpStream>>,
    places: Places,
    frozen_at: Time,
    counts: Counts,
    state: State,
    /// Large output that came ahead, by old worker and connection.
    output: FxHashMap<(u32, (u32, u32)), Bytes>,
    /// Kept to be wiped after the commit.
    thawed: Vec<Zeroizing<Vec<u8>>>,
}

/// What came of thawing a worker, with its state: that is wiped when there is time for it.
type Thawed = (Result<(usize, usize), String>, Zeroizing<Vec<u8>>);

impl<'a> Taking<'a> {
    fn new(successor: &'a Successor, gateway: &'a Gateway, held: &'a [Held]) -> Self {
        Self {
            successor,
            gateway,
            held,
            descriptors: Vec::new(),
            places: Places::default(),
            frozen_at: Time::default(),
            counts: Counts::default(),
            state: State::Waiting,
            output: FxHashMap::default(),
            thawed: Vec::new(),
        }
    }

    /// Comes back when all is this process's.
    fn run(&mut self) -> Result<(), TakeError> {
        for worker in self.held {
            worker.wait(STEP_WAIT)?;
        }
        let channel = &self.successor.channel;
        channel.send(&Message::Prepared, &[], STEP_WAIT)?;
        let (thawed, results) = channel_of_results();
        let mut plan = Arc::new(Plan::default());
        let mut given = 0;
        loop {
            let (message, descriptors) = hear(channel)?;
            match message {
                Message::Learnt(learnt) => {
                    self.learn(&learnt)?;
                    channel.send(&Message::Received, &[], STEP_WAIT)?;
                }
                Message::Ahead(ahead) => {
                    self.take_ahead(ahead, descriptors)?;
                    channel.send(&Message::Received, &[], STEP_WAIT)?;
                }
                Message::Frozen(FrozenAt { at, workers }) => {
                    self.frozen_at = Time::from_micros(at);
                    plan = Arc::new(Plan::new(self.places.clone(), workers, self.held.len()));
                }
                Message::Output(OutputAhead { worker, id, bytes }) => {
                    let bytes = receive_shared(channel, bytes)?;
                    self.output.insert((worker, id), bytes);
                }
                Message::Worker(Worker { worker, bytes, output }) => {
                    let state = channel.receive_bytes(bytes, STEP_WAIT)?;
                    let output = output.into_iter().map(|it| self.receive_output(worker, it));
                    let output = output.collect::<Result<_, ChannelError>>()?;
                    self.thaw(worker, state, output, &plan, &thawed)?;
                    given += 1;
                }
                Message::Thaw => {
                    for _ in 0..given {
                        let result = results.recv_timeout(STEP_WAIT);
                        let (result, state) = result.map_err(|_| exchange::Unresponsive)?;
                        self.thawed.push(state);
                        let (connections, exchanges) = result.map_err(TakeError::Thaw)?;
                        self.counts.connections += connections as u64;
                        self.counts.exchanges += exchanges as u64;
                    }
                    for worker in plan.workers.iter().filter_map(|it| self.held.get(it.heir)) {
                        worker.answer(STEP_WAIT)?;
                    }
                    self.state = self.state.on(Event::Thawed);
                    channel.send(&Message::Thawed(self.counts), &[], STEP_WAIT)?;
                }
                Message::Commit => {
                    self.state = self.state.on(Event::Commit);
                    if self.state.owner() == Owner::This {
                        return Ok(());
                    }
                    return Err(TakeError::OutOfTurn);
                }
                _ => return Err(TakeError::OutOfTurn),
            }
        }
    }

    fn learn(&mut self, learnt: &Learnt) -> Result<(), TakeError> {
        let welcome = &self.successor.welcome;
        let handle = self.gateway.handle();
        self.places = handle.learn(learnt, &welcome.listeners, &welcome.clusters);
        settle_letters(self.held, STEP_WAIT)?;
        Ok(())
    }

    /// The large output of a connection that is pending now.
    fn receive_output(&self, worker: u32, large: Large) -> Result<(u32, Vec<Bytes>), ChannelError> {
        let Large { at, id, skip, bytes } = large;
        let mut pieces = Vec::new();
        if let Some(skip) = skip {
            let ahead = self.output.get(&(worker, id)).ok_or(ChannelError::Malformed)?;
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            if skip > ahead.len() {
                return Err(ChannelError::Malformed);
            }
            pieces.push(ahead.slice(skip..));
        }
        if bytes > 0 {
            pieces.push(receive_shared(&self.successor.channel, bytes)?);
        }
        Ok((at, pieces))
    }

    /// Keeps descriptors, and lets the heir of their worker make connections of those whose values
    /// came along.
    fn take_ahead(&mut self, ahead: Ahead, descriptors: Vec<OwnedFd>) -> Result<(), TakeError> {
        let Ahead { worker, names, values } = ahead;
        let index = worker as usize;
        if index >= WORKERS_MAX {
            return Err(TakeError::OutOfTurn);
        }
        if self.descriptors.len() <= index {
            self.descriptors.resize_with(index + 1, FxHashMap::default);
        }
        let own = self.descriptors.get_mut(index).ok_or(TakeError::OutOfTurn)?;
        own.extend(names.into_iter().zip(descriptors.into_iter().map(TcpStream::from)));
        if values.is_empty() {
            return Ok(());
        }
        let its = values.iter().filter_map(|it| Some((it.id, own.remove(&it.id)?)));
        let mut its: FxHashMap<_, _> = its.collect();
        let heir = self.held.get(heir(index, self.held.len())).ok_or(TakeError::OutOfTurn)?;
        let places = self.places.clone();
        let (tell, told) = channel();
        heir.order(move |core| {
            let thawed = core.thaw_ahead(worker, values, &places, |id| its.remove(&id));
            let _ = tell.send(thawed.map_err(|error| error.to_string()));
        });
        heir.answer(STEP_WAIT)?;
        told.try_recv().map_err(|_| exchange::Unresponsive)?.map_err(TakeError::Thaw)
    }

    /// Lets the heir of an old worker thaw what that one had.
    fn thaw(
        &mut self,
        worker: u32,
        state: Zeroizing<Vec<u8>>,
        output: Vec<(u32, Vec<Bytes>)>,
        plan: &Arc<Plan>,
        thawed: &std::sync::mpsc::Sender<Thawed>,
    ) -> Result<(), TakeError> {
        let old = plan.workers.get(worker as usize).ok_or(TakeError::OutOfTurn)?;
        let heir = self.held.get(old.heir).ok_or(TakeError::OutOfTurn)?;
        let own = self.descriptors.get_mut(worker as usize);
        let mut descriptors = own.map(std::mem::take).unwrap_or_default();
        let (plan, thawed) = (Arc::clone(plan), thawed.clone());
        heir.order(move |core| {
            let result = core
                .thaw_bytes(worker, &state, output, &plan, |id| descriptors.remove(&id))
                .map_err(|error| error.to_string());
            // What is left are connections that ended since their descriptor was passed.
            drop(descriptors);
            let _ = thawed.send((result, state));
        });
        Ok(())
    }
}

/// Bytes that go on as a connection's own.
fn receive_shared(channel: &Channel, bytes: u64) -> Result<Bytes, ChannelError> {
    let mut bytes = channel.receive_bytes(bytes, STEP_WAIT)?;
    Ok(Bytes::from(std::mem::take(&mut *bytes)))
}

fn channel_of_results() -> (std::sync::mpsc::Sender<Thawed>, std::sync::mpsc::Receiver<Thawed>) {
    channel()
}

/// A step that is no more than some messages takes milliseconds.
const STEP_WAIT: Duration = Duration::from_secs(5);

/// The predecessor may drain what cannot move before it goes on; a day is the most that its limit
/// can be. Its end is noticed at once.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(86_400 + 60);

/// More workers than any machine has cores.
const WORKERS_MAX: usize = 4096;
