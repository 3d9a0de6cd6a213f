//! The side that hands over.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use bytes::Bytes;
use hangu_codecs::Time;

use super::{
    channel::{Channel, ChannelError, DESCRIPTORS_MAX},
    message::{
        Ahead, Counts, FORMATS, FrozenAt, Hello, Large, LastWords, Message, OutputAhead,
        SocketName, Welcome, Worker,
    },
    owner::{Event, Predecessor},
    report::{Phase, Report, Stopwatch, micros},
};
use crate::{
    clock,
    exchange::{self, FrozenBytes, Held, LargeOutput, Taken, settle_letters},
    io::Haste,
    start::Handle,
};

/// What is to be done.
#[derive(Debug)]
pub struct Order {
    /// The program of the successor.
    pub program: PathBuf,
    /// Its arguments, as this process got them.
    pub arguments: Vec<OsString>,
    /// What it is told beside what the gateway knows.
    pub words: Words,
    /// Sockets beside those of listeners.
    pub sockets: Vec<(SocketName, OwnedFd)>,
    /// How long connections that cannot move get to come to their end.
    pub drain: Duration,
}

/// What the successor is told beside what the gateway knows.
#[derive(Debug, Default)]
pub struct Words {
    /// Successors that this process follows.
    pub generation: u64,
    /// The token of the admin API that was made at the start.
    pub admin_token: Option<String>,
    /// Where the upstreams of the demo are.
    pub demo: Option<String>,
}

/// Why there is no successor. This process goes on as if nothing had happened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// The meeting place cannot be made.
    #[error("no socket can be made to meet the new process: {0}")]
    Place(io::Error),
    /// It cannot be started.
    #[error("{0} cannot be started: {1}")]
    Spawn(PathBuf, io::Error),
    /// It ended.
    #[error("the new process ended before it took over ({0}); its own words are in the log")]
    Ended(std::process::ExitStatus),
    /// It did not come.
    #[error("the new process did not come within {0} s: is that program one that takes over?")]
    Absent(u64),
    /// Somebody else came.
    #[error("process {0} of user {1} came instead of the new process")]
    Stranger(u32, u32),
    /// It speaks no version of the conversation that is spoken here, or does not read what is
    /// frozen here.
    #[error(
        "the new program takes over in versions {theirs:?} and this one hands over in {ours:?}"
    )]
    Version {
        /// The new program's.
        theirs: Vec<u16>,
        /// This program's.
        ours: Vec<u16>,
    },
    /// Sockets cannot be passed.
    #[error("the listening sockets cannot be passed: {0}")]
    Sockets(io::Error),
    /// What the new process prepared for is not in force any more.
    #[error("the configuration changed while the new process prepared; try again")]
    Changed,
    /// It said no.
    #[error("the new process refuses: {0}")]
    Refused(String),
    /// The conversation broke off.
    #[error("while {0}: {1}")]
    Broken(&'static str, ChannelError),
    /// A worker of this process does not stand still.
    #[error("a worker did not stand still within {0} ms")]
    Unresponsive(u128),
}

/// The successor owns all; this process has last words to say and must then end without a
/// destructor ([`Given::leave`]).
pub struct Given {
    handle: Handle,
    channel: Channel,
    held: Vec<Held>,
    /// How it went.
    pub report: Report,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.report.fmt(formatter)
    }
}

impl Given {
    /// Tells the successor what was counted, writes the access log to its end, and ends the
    /// process. `last` is called just before.
    pub fn leave(self, metrics: String, log_level: Option<String>, last: impl FnOnce()) -> ! {
        let words = LastWords { metrics, log_level, report: self.report };
        // A successor that is gone needs no words.
        let _ = self.channel.send(&Message::LastWords(Box::new(words)), &[], LAST_WORDS_WAIT);
        self.handle.close_logs(&self.held, LAST_WORDS_WAIT);
        last();
        if let Some(grace) = self.handle.stop_grace() {
            let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let _ = self.channel.send(&Message::Stop(grace), &[], LAST_WORDS_WAIT);
        }
        // No destructor may touch a socket, for they are all the successor's.
        // SAFETY: ends the process at once; nothing of it is used afterwards.
        unsafe { libc::_exit(0) }
    }
}

/// Hands the gateway over to a new process. Blocks: for a thread of its own. `tell` is called
/// whenever a phase is over.
///
/// # Errors
/// See [`Refusal`]: the new process is ended, and this one goes on with all that it had.
pub fn give(
    handle: &Handle,
    order: Order,
    tell: &mut dyn FnMut(&Report),
) -> Result<Given, Refusal> {
    if handle.is_stopping() {
        return Err(Refusal::Stopping);
    }
    let _kept = handle.keep_workers();
    let place = Place::new().map_err(Refusal::Place)?;
    let mut attempt = Attempt { handle, child: spawn(&order, &place)?, is_given: false };
    let giving = Giving { handle, order: &order, tell };
    let given = giving.run(&place, &mut attempt.child)?;
    attempt.is_given = true;
    Ok(given)
}

/// A hand-over that is under way. Unless it came to its end the new process is ended, and this one
/// goes on as before.
struct Attempt<'a> {
    handle: &'a Handle,
    child: Child,
    is_given: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_given {
            return;
        }
        self.handle.refuse_changes(false);
        for worker in 0..self.handle.workers() {
            self.handle.order(worker, |core| {
                core.let_dials_wait(false);
            });
        }
        // It may be hung, and holds descriptors; its end is waited for so that it is gone when the
        // caller hears of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(order: &Order, place: &Place) -> Result<Child, Refusal> {
    Command::new(&order.program)
        .args(&order.arguments)
        .arg("--take-over")
        .arg(&place.socket)
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .spawn()
        .map_err(|error| Refusal::Spawn(order.program.clone(), error))
}

/// Where the two meet: a socket that this user alone can open, in a directory that this user alone
/// can enter. Gone when this is dropped.
struct Place {
    directory: PathBuf,
    socket: PathBuf,
    listener: UnixListener,
}

impl Place {
    fn new() -> io::Result<Self> {
        // The manager names several directories of one unit in one variable.
        let named =
            ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].into_iter().filter_map(std::env::var_os);
        let named: Vec<_> =
            named.flat_map(|it| std::env::split_paths(&it).collect::<Vec<_>>()).collect();
        let bases = named.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
        let mut last = io::ErrorKind::NotFound.into();
        for base in bases {
            match Self::new_in(&base) {
                Ok(place) => return Ok(place),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn new_in(base: &Path) -> io::Result<Self> {
        let now = clock::now().as_micros();
        let directory = base.join(format!(".hangu-swap-{}-{now}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let socket = directory.join("socket");
        let made = UnixListener::bind(&socket).and_then(|listener| {
            fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        match made {
            Ok(listener) => Ok(Self { directory, socket, listener }),
            Err(error) => {
                let _ = fs::remove_dir_all(&directory);
                Err(error)
            }
        }
    }

    /// Waits for the process that was started, and takes nobody else.
    fn meet(&self, child: &mut Child) -> Result<Channel, Refusal> {
        let end = clock::now().after(START_WAIT);
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(Refusal::Place)?;
                    let channel = Channel::new(stream);
                    let (process, user) = channel.peer().map_err(Refusal::Place)?;
                    let own = rustix::process::geteuid().as_raw();
                    if (process, user) != (child.id(), own) {
                        return Err(Refusal::Stranger(process, user));
                    }
                    return Ok(channel);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Refusal::Place(error)),
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Refusal::Ended(status));
            }
            if clock::now() >= end {
                return Err(Refusal::Absent(START_WAIT.as_secs()));
            }
            self.wait();
        }
    }

    /// Until somebody comes, for a short time.
    fn wait(&self) {
        let mut waits = [rustix::event::PollFd::new(&self.listener, rustix::event::PollFlags::IN)];
        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut waits, Some(&time));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

struct Giving<'a> {
    handle: &'a Handle,
    order: &'a Order,
    tell: &'a mut dyn FnMut(&Report),
}

/// A worker that is held, with what it had.
struct Frozen {
    held: Held,
    state: FrozenBytes,
    /// Connections whose descriptors were not passed ahead.
    late: Vec<((u32, u32), RawFd)>,
}

impl Giving<'_> {
    fn run(mut self, place: &Place, child: &mut Child) -> Result<Given, Refusal> {
        let mut watch = Stopwatch::new(clock::now());
        let mut report = Report {
            old_pid: std::process::id(),
            new_pid: child.id(),
            old_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Report::default()
        };
        (self.tell)(&report);
        let channel = place.meet(child)?;
        let (hello, format) = self.hear_hello(&channel)?;
        report.new_version = hello.build;
        self.note(&mut watch, &mut report, Phase::Start);
        let config = self.handle.snapshot().config.clone();
        self.welcome(&channel, format)?;
        self.note(&mut watch, &mut report, Phase::Prepare);
        let taken = Taken { protocols: hello.protocols };
        report.cut = self.drain(&taken);
        self.note(&mut watch, &mut report, Phase::Drain);
        self.order_all(exchange::Core::forget_passed);
        let mut version = self.learn_and_pass(&channel)?;
        // Waits for what is being changed just now; nothing but health and names of endpoints
        // changes any more.
        self.handle.refuse_changes(true);
        if !Arc::ptr_eq(&config, &self.handle.snapshot().config) {
            return Err(Refusal::Changed);
        }
        for _ in 0..LEARNT_AGAIN_MAX {
            if self.handle.version() == version {
                break;
            }
            version = self.learn_and_pass(&channel)?;
        }
        self.settle_dials(&taken);
        self.note(&mut watch, &mut report, Phase::Ahead);
        let _haste = Haste::begin();
        let at = clock::now();
        let frozen = self.freeze(&channel, &taken, version)?;
        self.note(&mut watch, &mut report, Phase::Freeze);
        let owner = Predecessor::Serving.hold();
        let offered = offer(&channel, at, &frozen);
        let (event, counts) = match &offered {
            // Whoever told this process to stop means the gateway.
            Ok(_) if self.handle.is_stopping() => (Event::Failed, Counts::default()),
            Ok(counts) => (Event::Thawed, *counts),
            Err(_) => (Event::Failed, Counts::default()),
        };
        self.note(&mut watch, &mut report, Phase::Thaw);
        if !owner.commits_on(event) {
            // Dropping what holds the workers lets them go on.
            return Err(offered.err().unwrap_or(Refusal::Stopping));
        }
        channel
            .send(&Message::Commit, &[], PAUSE_MAX)
            .map_err(|error| Refusal::Broken("saying that it is all the new one's", error))?;
        let held = frozen.into_iter().map(|it| it.held).collect();
        (report.connections, report.exchanges) = (counts.connections, counts.exchanges);
        report.pause_us = Some(micros(at.since(clock::now())));
        self.note(&mut watch, &mut report, Phase::Commit);
        Ok(Given { handle: self.handle.clone(), channel, held, report })
    }

    /// Tells what was learnt of endpoints; says of which version that is.
    fn learn(&self, channel: &Channel, wait: Duration) -> Result<u64, Refusal> {
        let version = self.handle.version();
        let learnt = Message::Learnt(self.handle.learnt());
        channel.send(&learnt, &[], wait).map_err(broken("sending endpoints"))?;
        expect_received(channel, wait, "waiting for the new process to take the endpoints")?;
        Ok(version)
    }

    /// Does the same, and passes what can be passed of connections while the workers serve.
    fn learn_and_pass(&self, channel: &Channel) -> Result<u64, Refusal> {
        let version = self.learn(channel, STEP_WAIT)?;
        // Places of endpoints may be others than the last time.
        self.order_all(exchange::Core::forget_values_passed);
        self.pass_ahead(channel)?;
        Ok(version)
    }

    fn note(&mut self, watch: &mut Stopwatch, report: &mut Report, phase: Phase) {
        watch.note(report, phase, clock::now());
        (self.tell)(report);
    }

    /// Who the new process is, and the version of the conversation that both speak.
    fn hear_hello(&self, channel: &Channel) -> Result<(Hello, u16), Refusal> {
        const DOING: &str = "waiting for the new process to say who it is";
        let hello = match channel.receive(START_WAIT).map_err(broken(DOING))?.0 {
            Message::Hello(hello) => hello,
            Message::Refused(why) => return Err(Refusal::Refused(why)),
            _ => return Err(Refusal::Broken(DOING, ChannelError::Malformed)),
        };
        let format = FORMATS.iter().rev().find(|it| hello.formats.contains(it)).copied();
        let reads = hello.layouts.contains(&exchange::FROZEN_VERSION);
        let refusal = match (format, reads) {
            (Some(format), true) => return Ok((hello, format)),
            (None, _) => Refusal::Version { theirs: hello.formats, ours: FORMATS.to_vec() },
            (_, false) => {
                Refusal::Version { theirs: hello.layouts, ours: vec![exchange::FROZEN_VERSION] }
            }
        };
        // It may be gone already.
        let _ = channel.send(&Message::Refused(refusal.to_string()), &[], PAUSE_MAX);
        Err(refusal)
    }

    /// Tells the successor what it needs to stand ready, and waits until it does.
    fn welcome(&self, channel: &Channel, format: u16) -> Result<(), Refusal> {
        const DOING: &str = "passing listening sockets";
        let Words { generation, admin_token, demo } = &self.order.words;
        let (listeners, clusters) = self.handle.places();
        let welcome = Welcome {
            format,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            origin: self.handle.snapshot().config.origin.clone(),
            listeners,
            clusters,
            generation: *generation,
            admin_token: admin_token.clone(),
            demo: demo.clone(),
        };
        self.say(channel, &Message::Welcome(Box::new(welcome)), "sending the configuration")?;
        let listening = self.handle.listening().map_err(Refusal::Sockets)?;
        let own = listening.iter().map(|(at, it)| (SocketName::Listener(*at as u32), it.as_fd()));
        let others = self.order.sockets.iter().map(|(name, it)| (name.clone(), it.as_fd()));
        let sockets: Vec<_> = own.chain(others).collect();
        for some in sockets.chunks(DESCRIPTORS_MAX) {
            let names = some.iter().map(|it| it.0.clone()).collect();
            let descriptors: Vec<_> = some.iter().map(|it| it.1).collect();
            channel
                .send(&Message::Sockets(names), &descriptors, STEP_WAIT)
                .map_err(broken(DOING))?;
            expect_received(channel, STEP_WAIT, DOING)?;
        }
        self.say(channel, &Message::Sockets(Vec::new()), DOING)?;
        match hear(channel, START_WAIT, "waiting for the new process to be ready")? {
            Message::Prepared => Ok(()),
            _ => Err(Refusal::Broken("waiting for the new process", ChannelError::Malformed)),
        }
    }

    fn say(
        &self,
        channel: &Channel,
        message: &Message,
        doing: &'static str,
    ) -> Result<(), Refusal> {
        channel.send(message, &[], STEP_WAIT).map_err(broken(doing))
    }

    /// Lets connections that cannot move come to their end; says how many had to be cut off.
    fn drain(&self, taken: &Taken) -> u64 {
        let end = clock::now().after(self.order.drain);
        loop {
            let left: usize = self.ask_all(taken, |core, taken| core.drain_immovable(taken));
            if left == 0 {
                return 0;
            }
            if clock::now() >= end {
                break;
            }
            std::thread::park_timeout(DRAIN_LOOK);
        }
        self.ask_all(taken, |core, taken| core.cut_immovable(taken)) as u64
    }

    /// Lets connections that are being established come about, so that none is given up: an
    /// upstream that accepted one would see it end.
    fn settle_dials(&self, taken: &Taken) {
        let end = clock::now().after(DIALS_WAIT);
        while self.ask_all(taken, |core, _| core.let_dials_wait(true)) > 0 && clock::now() < end {
            std::thread::park_timeout(DIALS_LOOK);
        }
    }

    fn ask_all(&self, taken: &Taken, ask: fn(&mut exchange::Core, &Taken) -> usize) -> usize {
        let (answer, answers) = channel();
        for worker in 0..self.handle.workers() {
            let (answer, taken) = (answer.clone(), taken.clone());
            self.handle.order(worker, move |core| {
                // Nobody waits any more when this worker was stuck.
                let _ = answer.send(ask(core, &taken));
            });
        }
        drop(answer);
        let mut sum = 0;
        while let Ok(some) = answers.recv_timeout(STEP_WAIT) {
            sum += some;
        }
        sum
    }

    fn order_all(&self, order: fn(&mut exchange::Core)) {
        (0..self.handle.workers()).for_each(|worker| {
            self.handle.order(worker, order);
        });
    }

    /// Passes descriptors of connections, and the values of those at rest, while the workers serve:
    /// a worker sends some in a turn, and has its own work in between. What changes after that is
    /// passed once more when all stand still.
    fn pass_ahead(&self, channel: &Channel) -> Result<(), Refusal> {
        const DOING: &str = "passing connections ahead";
        let mut output_left = OUTPUT_AHEAD_MAX;
        for worker in 0..self.handle.workers() {
            let mut from = Some(0);
            while let Some(index) = from {
                let (answer, answers) = std::sync::mpsc::channel();
                let own = channel.again().map_err(broken(DOING))?;
                self.handle.order(worker, move |core| {
                    let passed = core.pass_ahead(index, DESCRIPTORS_MAX, output_left, |it| {
                        let (names, descriptors): (Vec<_>, Vec<_>) =
                            it.descriptors.into_iter().unzip();
                        let ahead = Ahead { worker: worker as u32, names, values: it.values };
                        // The other side has taken all before, so there is room and no wait.
                        own.send(&Message::Ahead(ahead), &descriptors, AHEAD_WAIT)
                    });
                    let _ = answer.send(passed);
                });
                let passed = answered(&answers)?.map_err(broken(DOING))?;
                if passed.has_sent {
                    expect_received(channel, STEP_WAIT, DOING)?;
                }
                for (id, pieces) in passed.output {
                    let bytes = sum(&pieces);
                    output_left = output_left.saturating_sub(bytes);
                    let ahead = OutputAhead { worker: worker as u32, id, bytes };
                    self.say(channel, &Message::Output(ahead), DOING)?;
                    send_pieces(channel, &pieces, STEP_WAIT).map_err(broken(DOING))?;
                }
                from = passed.next;
            }
        }
        Ok(())
    }

    /// Lets all workers stand still, with no letter under way and nothing left that cannot move,
    /// and write what they have. `version` is that of the endpoints which the new process knows.
    fn freeze(
        &self,
        channel: &Channel,
        taken: &Taken,
        version: u64,
    ) -> Result<Vec<Frozen>, Refusal> {
        let unresponsive = |_| Refusal::Unresponsive(HOLD_WAIT.as_millis());
        let held = self.handle.hold(HOLD_WAIT).map_err(unresponsive)?;
        // As a rule nothing is in the way, and one round is all.
        let (written, is_settled) = write(&held, taken)?;
        let is_known = self.handle.version() == version;
        if is_settled && is_known {
            return Ok(frozen(held, written));
        }
        settle_letters(&held, HOLD_WAIT).map_err(unresponsive)?;
        if !is_known {
            // It never comes to rest, so it is told while nobody can use it.
            held.iter().for_each(|it| it.order(exchange::Core::forget_values_passed));
            held.iter().try_for_each(|it| it.answer(HOLD_WAIT).map(drop)).map_err(unresponsive)?;
            self.learn(channel, PAUSE_MAX)?;
        }
        let (written, _) = write(&held, taken)?;
        Ok(frozen(held, written))
    }
}

fn answered<T>(answers: &Receiver<T>) -> Result<T, Refusal> {
    answers.recv_timeout(STEP_WAIT).map_err(|_| Refusal::Unresponsive(STEP_WAIT.as_millis()))
}

fn broken(doing: &'static str) -> impl Fn(ChannelError) -> Refusal {
    move |error| Refusal::Broken(doing, error)
}

fn hear(channel: &Channel, wait: Duration, doing: &'static str) -> Result<Message, Refusal> {
    match channel.receive(wait).map_err(broken(doing))?.0 {
        Message::Refused(why) => Err(Refusal::Refused(why)),
        message => Ok(message),
    }
}

fn expect_received(channel: &Channel, wait: Duration, doing: &'static str) -> Result<(), Refusal> {
    match hear(channel, wait, doing)? {
        Message::Received => Ok(()),
        _ => Err(Refusal::Broken(doing, ChannelError::Malformed)),
    }
}

fn sum(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|it| it.len() as u64).sum()
}

fn send_pieces(channel: &Channel, pieces: &[Bytes], wait: Duration) -> Result<(), ChannelError> {
    let end = clock::now().after(wait);
    pieces.iter().try_for_each(|it| channel.send_bytes(it, end.until(clock::now())))
}

/// What a worker that is held has, and its connections whose descriptors were not passed ahead.
type Written = (FrozenBytes, Vec<((u32, u32), RawFd)>);

/// Lets all workers, which are held, read their letters, cut off what cannot move, and write what
/// they have; at once, each on its own core. Says whether nothing was read and nothing cut off:
/// else there may be letters now, and what was written may not be all.
fn write(held: &[Held], taken: &Taken) -> Result<(Vec<Written>, bool), Refusal> {
    let mut answers = Vec::with_capacity(held.len());
    for held in held {
        let (write, wrote) = channel();
        let taken = taken.clone();
        held.order_after_letters(move |core| {
            let cut = core.cut_immovable(&taken);
            let state = core.freeze_rest();
            let late = core.late_descriptors();
            let late: Vec<_> = late.map(|(id, it)| (id, it.as_raw_fd())).collect();
            let _ = write.send((cut, state, late));
        });
        answers.push(wrote);
    }
    let refused = || Refusal::Unresponsive(PAUSE_MAX.as_millis());
    let mut all = Vec::with_capacity(held.len());
    let mut is_settled = true;
    for (held, wrote) in held.iter().zip(answers) {
        let read = held.answer(PAUSE_MAX).map_err(|_| refused())?;
        let (cut, state, late) = wrote.try_recv().map_err(|_| refused())?;
        let state = state
            .map_err(|_| Refusal::Broken("writing a worker's state", ChannelError::Malformed))?;
        is_settled &= read == 0 && cut == 0;
        all.push((state, late));
    }
    Ok((all, is_settled))
}

fn frozen(held: Vec<Held>, written: Vec<Written>) -> Vec<Frozen> {
    let all = held.into_iter().zip(written);
    all.map(|(held, (state, late))| Frozen { held, state, late }).collect()
}

/// Sends the values of all workers and waits until they are thawed: all of it no longer than
/// [`PAUSE_MAX`] since the workers were ordered to be held.
fn offer(channel: &Channel, at: Time, frozen: &[Frozen]) -> Result<Counts, Refusal> {
    const DOING: &str = "sending the state of workers";
    const WAITING: &str = "waiting for the new process to thaw";
    let end = at.after(PAUSE_MAX);
    let left = || end.until(clock::now());
    let workers = frozen.iter().map(|it| (it.state.exchanges, it.state.away.clone())).collect();
    let send = |message: &Message, descriptors: &[BorrowedFd<'_>]| {
        channel.send(message, descriptors, left()).map_err(broken(DOING))
    };
    send(&Message::Frozen(FrozenAt { at: at.as_micros(), workers }), &[])?;
    for (worker, it) in (0..).zip(frozen) {
        for some in it.late.chunks(DESCRIPTORS_MAX) {
            let names = some.iter().map(|it| it.0).collect();
            // SAFETY: the worker that owns these descriptors is held, and lets none go meanwhile.
            let borrow = |fd: RawFd| unsafe { BorrowedFd::borrow_raw(fd) };
            let descriptors: Vec<_> = some.iter().map(|it| borrow(it.1)).collect();
            send(&Message::Ahead(Ahead { worker, names, values: Vec::new() }), &descriptors)?;
            expect_received(channel, left(), DOING)?;
        }
        let FrozenBytes { pieces, output, .. } = &it.state;
        let bytes = pieces.iter().map(|it| it.len() as u64).sum();
        let large = |it: &LargeOutput| {
            let LargeOutput { at, id, skip, pieces } = it;
            Large { at: *at, id: *id, skip: *skip, bytes: sum(pieces) }
        };
        let large = output.iter().map(large).collect();
        send(&Message::Worker(Worker { worker, bytes, output: large }), &[])?;
        for piece in pieces {
            channel.send_bytes(piece, left()).map_err(broken(DOING))?;
        }
        for it in output {
            send_pieces(channel, &it.pieces, left()).map_err(broken(DOING))?;
        }
    }
    send(&Message::Thaw, &[])?;
    match hear(channel, left(), WAITING)? {
        Message::Thawed(counts) => Ok(counts),
        _ => Err(Refusal::Broken(WAITING, ChannelError::Malformed)),
    }
}

/// Output that is passed ahead of a swap, all connections together: both processes have it in
/// memory for that time. What is beyond it is passed at the freeze.
const OUTPUT_AHEAD_MAX: u64 = 256 * 1024 * 1024;

/// The new program gets this long to start and to check its configuration. DNS is not part of it.
const START_WAIT: Duration = Duration::from_secs(30);

/// A step that is no more than some messages takes milliseconds; a machine in trouble gets this.
const STEP_WAIT: Duration = Duration::from_secs(5);

/// A worker that sends descriptors waits no longer than this for room.
const AHEAD_WAIT: Duration = Duration::from_millis(5);

/// Workers stand still within one turn of their loop.
const HOLD_WAIT: Duration = Duration::from_millis(200);

/// A new process that has not thawed everything after this time is given up, and the workers go on:
/// so long a pause is at most.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What remains to be said after the commit takes no longer.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(500);

/// Connections that are being established get this long to come about; those that do not are given
/// up, and dialled anew by the new process.
const DIALS_WAIT: Duration = Duration::from_millis(50);

/// How often they are looked at.
const DIALS_LOOK: Duration = Duration::from_millis(1);

/// How often connections that cannot move are looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Times that endpoints which changed meanwhile are told while the workers serve; then once more
/// while they stand still.
const LEARNT_AGAIN_MAX: usize = 3;
