//! Servers behind the gateway: a thread per connection, each running a script.

use std::{
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use socket2::{Domain, Socket, Type};

use crate::{
    Peer,
    bolt::{Frame, Kind},
    http::{Message, ok},
};

/// A server on a free port of 127.0.0.1. A script that fails makes the test fail when the server
/// is dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_stopping: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Upstream {
    /// Runs the script for each connection, on a thread of its own; the number counts the
    /// connections from 0.
    pub fn serve(script: impl Fn(Peer, usize) + Send + Sync + 'static) -> Self {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script)
    }

    /// As [`Upstream::serve`], on a socket that listens already.
    pub fn serve_on(
        listener: TcpListener,
        script: impl Fn(Peer, usize) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let (shared, script) = (Arc::clone(&state), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                std::thread::spawn(move || {
                    let run = AssertUnwindSafe(|| script(Peer::new(stream), number));
                    if let Err(panic) = catch_unwind(run) {
                        let text = panic_text(panic.as_ref());
                        let text = format!("upstream connection {number}: {text}");
                        shared.failures.lock().expect("no poison").push(text);
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, state }
    }

    /// An HTTP server that answers each request as told, and hands the requests over.
    pub fn http(
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
        let upstream = Self::serve(move |mut peer, _| {
            while let Some(request) = peer.try_read_request() {
                let bytes = answer(&request);
                let _ = sender.send(request);
                if peer.try_send(bytes).is_err() {
                    break;
                }
            }
        });
        (upstream, receiver)
    }

    /// An HTTP server that answers each request with its body.
    pub fn http_echo() -> (Self, mpsc::Receiver<Message>) {
        Self::http(|request| ok(&request.body))
    }

    /// An HTTP server that answers each request with this text.
    pub fn http_text(text: &'static str) -> Self {
        Self::http(move |_| ok(text.as_bytes())).0
    }

    /// A Bolt server that hands each frame over and sends what the script makes of it; heartbeats
    /// are answered.
    pub fn bolt(
        answer: impl Fn(&Frame) -> Vec<Frame> + Send + Sync + 'static,
    ) -> (Self, mpsc::Receiver<Frame>) {
        let (sender, receiver) = mpsc::channel();
        let upstream = Self::serve(move |mut peer, _| {
            while let Some(frame) = peer.try_read_frame() {
                let answers = match frame.kind {
                    Kind::Heartbeat => vec![frame.echo()],
                    _ => answer(&frame),
                };
                let _ = sender.send(frame);
                let bytes: Vec<u8> = answers.iter().flat_map(Frame::to_bytes).collect();
                if peer.try_send(bytes).is_err() {
                    break;
                }
            }
        });
        (upstream, receiver)
    }

    /// A Bolt server that answers each request with its content.
    pub fn bolt_echo() -> (Self, mpsc::Receiver<Frame>) {
        Self::bolt(|frame| match frame.kind {
            Kind::Request => vec![frame.echo()],
            _ => Vec::new(),
        })
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose script still runs.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; its listener is closed when it ends.
        let _ = std::net::TcpStream::connect(self.address);
        let failures = self.state.failures.lock().expect("no poison");
        if !failures.is_empty() && !std::thread::panicking() {
            panic!("{}", failures.join("\n"));
        }
    }
}

/// An address of 127.0.0.1 on which nothing listens.
pub fn refused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// An address of 127.0.0.1 at which no connection comes about and none is refused: its queue is
/// full for as long as what comes with it is kept.
pub fn deaf_address() -> (SocketAddr, Vec<Socket>) {
    let open = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = open();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().expect("an address").as_socket().expect("of IPv4");
    let mut kept = vec![listener];
    for _ in 0..4 {
        let filler = open();
        filler.set_nonblocking(true).expect("the mode");
        // Those beyond the queue are never answered.
        let _ = filler.connect(&address.into());
        kept.push(filler);
    }
    (address, kept)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
