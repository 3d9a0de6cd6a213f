//! What every fault has in common: a bystander who must not notice, and an end after which all
//! works again.

use std::{
    net::{SocketAddr, TcpListener},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hangu::telemetry::ProcessFacts;
use hangu_tests::{
    Peer, Upstream,
    bolt::{self, Frame},
    http::{get, ok, post},
    setup::{DriverKind, Running, Setup},
    wait,
};
use serde_json::json;

/// What a fault that waits waits for at most: far longer than [`DELAY_MAX`], so that a worker that
/// waited along would be found out by its bystander.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// [`PATIENCE`] as the configuration says it.
pub(crate) const PATIENCE_TEXT: &str = "1s";

/// The longest that the bystander may wait for an answer. Long for a gateway and short for a
/// machine that has other work too.
pub(crate) const DELAY_MAX: Duration = Duration::from_millis(500);

/// So soon after the end of a fault its place serves again.
pub(crate) const RECOVERY: Duration = Duration::from_secs(1);

/// Pause between two requests of the bystander: many within the shortest fault, and little work.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(5);

/// What the faulty upstream speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1.1.
    Http,
    /// SOFA-Bolt.
    Bolt,
}

/// A gateway of one worker before two upstreams: a faulty one, and a healthy one that a bystander
/// asks all the time. To be ended by [`Scene::ends`].
pub(crate) struct Scene {
    kind: Kind,
    is_faulty: Arc<AtomicBool>,
    gateway: Running,
    faulty: Option<Upstream>,
    bystander: Bystander,
    _healthy: Upstream,
    is_ended: bool,
}

impl Deref for Scene {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.gateway
    }
}

impl Scene {
    /// An HTTP upstream whose connections run this script while the fault lasts, and answer each
    /// request with its body afterwards.
    pub(crate) fn http(
        driver: DriverKind,
        script: impl Fn(Peer, usize) + Send + Sync + 'static,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        Self::serve(driver, Kind::Http, script, change)
    }

    /// As [`Scene::http`], in Bolt.
    pub(crate) fn bolt(
        driver: DriverKind,
        script: impl Fn(Peer, usize) + Send + Sync + 'static,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        Self::serve(driver, Kind::Bolt, script, change)
    }

    fn serve(
        driver: DriverKind,
        kind: Kind,
        script: impl Fn(Peer, usize) + Send + Sync + 'static,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let is_faulty = Arc::new(AtomicBool::new(true));
        let lasts = Arc::clone(&is_faulty);
        let faulty = Upstream::serve(move |peer, number| {
            if lasts.load(Ordering::SeqCst) { script(peer, number) } else { echo(peer, kind) }
        });
        let mut scene = Self::at(driver, kind, faulty.address, change);
        scene.is_faulty = is_faulty;
        scene.faulty = Some(faulty);
        scene
    }

    /// An upstream that the test itself cares for.
    pub(crate) fn at(
        driver: DriverKind,
        kind: Kind,
        faulty: SocketAddr,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let healthy = Upstream::http_text("healthy");
        let mut routes =
            vec![json!({"match": {"path": "/healthy"}, "route": {"cluster": "healthy"}})];
        let mut hosts = Vec::new();
        let main = json!({"cluster": "main"});
        let (protocol, protocols): (_, &[&str]) = match kind {
            Kind::Http => {
                routes.insert(0, json!({"match": {"path": "/faulty"}, "route": main}));
                ("http1", &["http1"])
            }
            Kind::Bolt => {
                let routes = json!([{"match": {}, "route": main}]);
                hosts.push(json!({"name": "rpc", "services": ["*"], "routes": routes}));
                ("bolt", &["http1", "bolt"])
            }
        };
        hosts.push(json!({"name": "web", "domains": ["*"], "routes": routes}));
        let setup = Setup::new(driver, protocols)
            .cluster("main", protocol, &[faulty])
            .cluster("healthy", "http1", &[healthy.address])
            .hosts(hosts.into());
        let gateway = change(setup).start();
        let bystander = Bystander::start(gateway.place());
        Self {
            kind,
            is_faulty: Arc::default(),
            gateway,
            faulty: None,
            bystander,
            _healthy: healthy,
            is_ended: false,
        }
    }

    /// The faulty upstream.
    pub(crate) fn faulty(&self) -> &Upstream {
        self.faulty.as_ref().expect("one with a script")
    }

    /// Waits until something was counted at the faulty cluster: this reason, once, and no other.
    pub(crate) fn counted_once(&self, reason: &str) {
        const ERRORS: &str = "hangu_upstream_errors_total{cluster=\"main\"";
        let text = wait::until_some("a reason is counted", || {
            let text = self.handle().metrics().render(&ProcessFacts::default());
            text.contains(ERRORS).then_some(text)
        });
        let counted: Vec<_> = text.lines().filter(|it| it.starts_with(ERRORS)).collect();
        assert_eq!(counted, [format!("{ERRORS},reason=\"{reason}\"}} 1")]);
    }

    /// The fault is over: a second later at the latest its place serves again, and the bystander
    /// has noticed nothing.
    pub(crate) fn ends(mut self) {
        self.is_ended = true;
        self.is_faulty.store(false, Ordering::SeqCst);
        let began = Instant::now();
        while !self.works() {
            assert!(began.elapsed() < RECOVERY, "not within {RECOVERY:?} after the fault");
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = began.elapsed();
        assert!(took < RECOVERY, "it took {took:?} after the fault");
        self.bystander.noticed_nothing();
    }

    fn works(&self) -> bool {
        let mut client = self.connect();
        match self.kind {
            Kind::Http => {
                client.send(post("/faulty", b"again"));
                client.read_response("POST").text() == "again"
            }
            Kind::Bolt => {
                let sent = call(1, b"again");
                client.send_frame(&sent);
                client.read_frame() == sent.echo()
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        assert!(self.is_ended || std::thread::panicking(), "nobody looked at the recovery");
    }
}

/// Answers each request with its content.
fn echo(mut peer: Peer, kind: Kind) {
    match kind {
        Kind::Http => {
            while let Some(request) = peer.try_read_request() {
                if peer.try_send(ok(&request.body)).is_err() {
                    break;
                }
            }
        }
        Kind::Bolt => {
            while let Some(frame) = peer.try_read_frame() {
                if peer.try_send(frame.echo().to_bytes()).is_err() {
                    break;
                }
            }
        }
    }
}

/// A Bolt request.
pub(crate) fn call(id: u32, content: &[u8]) -> Frame {
    bolt::request(id, "faulty.Service:1.0", "echo", content)
}

/// A client that asks the healthy upstream again and again.
pub(crate) struct Bystander {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<(u32, Duration)>>,
}

impl Bystander {
    /// Asks once, so that its way is known to work, and then on from a thread of its own.
    pub(crate) fn start(gateway: SocketAddr) -> Self {
        let mut client = Peer::connect(gateway);
        ask_healthy(&mut client);
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            loop {
                let began = Instant::now();
                ask_healthy(&mut client);
                slowest = slowest.max(began.elapsed());
                count += 1;
                if stop.load(Ordering::SeqCst) {
                    return (count, slowest);
                }
                std::thread::sleep(BYSTANDER_PAUSE);
            }
        });
        Self { is_over, thread: Some(thread) }
    }

    /// Ends it: each of its requests was answered rightly, on one connection and without delay.
    pub(crate) fn noticed_nothing(&mut self) {
        let slowest = self.slowest();
        assert!(slowest < DELAY_MAX, "the bystander waited {slowest:?}");
    }

    /// Ends it: each of its requests was answered rightly, the slowest after this time.
    pub(crate) fn slowest(&mut self) -> Duration {
        self.is_over.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("it was not ended before");
        let (count, slowest) = thread.join().expect("the bystander's answers are right");
        assert!(count > 0);
        slowest
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

fn ask_healthy(client: &mut Peer) {
    client.send(get("/healthy"));
    let response = client.read_response("GET");
    assert_eq!((response.status(), response.text().as_str()), (200, "healthy"));
}

/// Checks that something took about [`PATIENCE`], and not longer than the bystander may wait.
pub(crate) fn took_patience(began: Instant) {
    let took = began.elapsed();
    let expected = PATIENCE - Duration::from_millis(50)..PATIENCE + DELAY_MAX;
    assert!(expected.contains(&took), "it took {took:?}");
}

/// A socket with an address that refuses connections until it listens.
pub(crate) fn refusing() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    (socket.local_addr().expect("an address").as_socket().expect("of IPv4"), socket)
}

/// Serves with echoes on a socket.
pub(crate) fn serve_echo(socket: socket2::Socket, kind: Kind) -> Upstream {
    socket.listen(64).expect("it listens");
    Upstream::serve_on(TcpListener::from(socket), move |peer, _| echo(peer, kind))
}
