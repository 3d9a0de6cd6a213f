//! The admin API over hyper: connections, limits, times.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Bound, api, desk::Desk};

/// Connections served at once; more wait in the kernel's queue. An operator, a probe and a scraper
/// need three.
const CONNECTIONS_MAX: usize = 64;

/// A connection is closed after this long, whatever it does: nobody can hold one of the
/// [`CONNECTIONS_MAX`] for good.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// A request's head must be whole after this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a head and of what is read ahead.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a body to a path that takes none; a small one is read and ignored.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a body to a path that takes a configuration: one of some ten thousand routes. It is
/// read for those alone who may change something.
const CONFIG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// After `accept` failed for want of descriptors it is tried again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who is let in.
#[derive(Debug)]
pub(super) struct Doors {
    places: Arc<Semaphore>,
    is_closed: watch::Sender<bool>,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            is_closed: watch::Sender::new(false),
        }
    }
}

impl Doors {
    /// Lets nobody in any more, for another process answers at the same address, and waits until
    /// all who are in have their answer; not longer than [`CLOSE_WAIT`].
    pub(super) async fn close(&self) {
        self.is_closed.send_replace(true);
        let all = self.places.acquire_many(CONNECTIONS_MAX as u32);
        // Who has not asked by then is no caller that waits for an answer.
        let _ = tokio::time::timeout(CLOSE_WAIT, all).await;
    }
}

/// Who was let in before another process took over has this long to ask and to be answered.
const CLOSE_WAIT: Duration = Duration::from_millis(200);

/// Serves until `ended` turns true, always where it was told last. What was accepted elsewhere
/// before is answered all the same.
pub(super) async fn serve(
    mut bound: Bound,
    mut moves: UnboundedReceiver<Bound>,
    desk: Rc<Desk>,
    mut ended: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = serve_at(bound, Rc::clone(&desk)) => return,
            Some(next) = moves.recv() => bound = next,
            // An error means that the other end is gone, which is an end as well.
            _ = ended.wait_for(|ended| *ended) => return,
        }
    }
}

async fn serve_at(bound: Bound, desk: Rc<Desk>) {
    let (listener, _file) = match Listener::new(bound) {
        Ok(made) => made,
        Err(error) => {
            tracing::error!("the admin API does not run: {error}");
            return std::future::pending().await;
        }
    };
    let mut is_closed = desk.doors.is_closed.subscribe();
    tokio::select! {
        () = accept(&listener, Rc::clone(&desk)) => {}
        // The sender is in the desk. The listener and the file of its socket stay: they are another
        // process's.
        _ = is_closed.wait_for(|it| *it) => std::future::pending().await,
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(bound: Bound) -> io::Result<(Self, Option<super::bind::OwnFile>)> {
        Ok(match bound {
            Bound::Tcp(listener) => (Self::Tcp(TcpListener::from_std(listener)?), None),
            Bound::Unix(listener, file) => {
                (Self::Unix(UnixListener::from_std(listener)?), Some(file))
            }
        })
    }
}

async fn accept(listener: &Listener, desk: Rc<Desk>) {
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&desk.doors.places).acquire_owned().await else { return };
        let desk = Rc::clone(&desk);
        let accepted = match listener {
            Listener::Tcp(tcp) => tcp
                .accept()
                .await
                .map(|(stream, _)| tokio::task::spawn_local(connection(stream, desk, place))),
            Listener::Unix(unix) => unix
                .accept()
                .await
                .map(|(stream, _)| tokio::task::spawn_local(connection(stream, desk, place))),
        };
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_RETRY).await;
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    desk: Rc<Desk>,
    place: OwnedSemaphorePermit,
) {
    let has_asked = watch::Sender::new(false);
    let service = service_fn(|request| {
        has_asked.send_replace(true);
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(serve_one(request, &desk).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let leaving = async {
        // The senders are here and in the desk, so neither fails.
        let _ = desk.doors.is_closed.subscribe().wait_for(|it| *it).await;
        let _ = has_asked.subscribe().wait_for(|it| *it).await;
    };
    let served = async {
        tokio::select! {
            served = served.as_mut() => return served,
            () = leaving => {}
        }
        // The answer that is under way is the last one.
        served.as_mut().graceful_shutdown();
        served.await
    };
    // A client that goes away or says nonsense has been answered by hyper; nobody else cares.
    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, served).await;
    drop(place);
}

async fn serve_one(request: Request<Incoming>, desk: &Rc<Desk>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let bytes = |name| head.headers.get(name).map(|it| it.as_bytes().to_vec());
    let mut request = api::Request {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        host: bytes(HOST).map(|it| String::from_utf8_lossy(&it).into_owned()),
        authorization: bytes(AUTHORIZATION),
        has_origin: head.headers.contains_key(ORIGIN),
        method: head.method,
        body: Bytes::new(),
    };
    let endpoint = match api::admit(&request, desk) {
        Ok(endpoint) => endpoint,
        Err(refused) => return response(refused),
    };
    request.body = match read_body(body, endpoint.takes_config()).await {
        Ok(body) => body,
        Err(refused) => return response(refused),
    };
    response(api::answer(endpoint, request, desk).await)
}

/// Reads a body to its end; a large or slow one is refused.
async fn read_body(body: Incoming, takes_config: bool) -> Result<Bytes, api::Response> {
    let max = if takes_config { CONFIG_BYTES_MAX } else { BODY_BYTES_MAX };
    let too_large = || {
        let why = format!("no body above {max} bytes is read here\n");
        Err(api::text(StatusCode::PAYLOAD_TOO_LARGE, why))
    };
    if body.size_hint().lower() > max as u64 {
        return too_large();
    }
    let body = Limited::new(body, max).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => too_large(),
        Err(_) => {
            let why = "the body did not come in time\n".to_owned();
            Err(api::text(StatusCode::REQUEST_TIMEOUT, why))
        }
    }
}

fn response(answer: api::Response) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = answer.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        // RFC 9110 §15.5.2: a 401 names what is asked for.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
#[allow(clippy::disallowed_types, reason = "no worker runs in these tests")]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Mutex, mpsc};

    use hangu_config::{Admin, Config};
    use serde_json::Value;

    use super::*;
    use crate::control::client::{Client, Target};
    use crate::control::files::{self, Seen};
    use crate::control::systemd::Service;
    use crate::control::{
        Answer, BindError, ConnectionFilter, ConnectionView, Control, FilteredConnection, Inspect,
        Lineage, Refused, Settings, Side, bind, start, token,
    };
    use crate::snapshot::{Discovered, Snapshot};
    use crate::telemetry::{Counters, Layout, Metrics};

    /// A gateway that has connections and nothing else.
    struct Fake {
        is_ready: AtomicBool,
        workers_answer: bool,
        stopped_with: AtomicU64,
        reopened: AtomicU64,
        snapshot: Mutex<Arc<Snapshot>>,
        /// Where it tells that it is to take a configuration on, and hears that it may.
        gate: Option<Gate>,
    }

    type Gate = (mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

    const NOT_STOPPED: u64 = u64::MAX;

    const CONFIG: &str = r#"
drain_timeout: 7s
admin: { address: "127.0.0.1:0", token: 0123456789abcdef }
access_log: { enabled: false }
listeners: [{ name: a, address: "127.0.0.1:0", protocols: [http1], route_config: r }]
route_configs:
  - name: r
    virtual_hosts: [{ name: v, domains: ["*"], routes: [{ match: {}, route: { cluster: c } }] }]
clusters: [{ name: c, protocol: http1, endpoints: [{ address: "127.0.0.1:1" }] }]
"#;

    fn fake() -> Fake {
        let source = hangu_config::Source { name: "test".to_owned(), text: CONFIG.to_owned() };
        let config = hangu_config::load(&[source], &hangu_config::NoValues).unwrap();
        Fake {
            is_ready: AtomicBool::new(true),
            workers_answer: true,
            stopped_with: AtomicU64::new(NOT_STOPPED),
            reopened: AtomicU64::new(0),
            snapshot: Mutex::new(Arc::new(Snapshot::compile(config).unwrap())),
            gate: None,
        }
    }

    impl Inspect for Fake {
        fn is_ready(&self) -> bool {
            self.is_ready.load(Ordering::SeqCst)
        }

        fn snapshot(&self) -> Arc<Snapshot> {
            Arc::clone(&self.snapshot.lock().unwrap())
        }

        fn metrics(&self) -> Metrics {
            let layout = Layout::default();
            let workers = vec![Arc::new(Counters::new(&layout))];
            Metrics { layout: Arc::new(layout), workers, access_log: Vec::new() }
        }

        fn apply(&self, config: Config) -> Result<(), Refused> {
            if config.listeners.iter().any(|it| it.name == "refused") {
                let why = "the port is in use".to_owned();
                return Err(Refused { why, may_pass: true });
            }
            if let Some((asked, go)) = &self.gate {
                asked.send(()).unwrap();
                go.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
            }
            *self.snapshot.lock().unwrap() = Arc::new(Snapshot::compile(config).unwrap());
            Ok(())
        }

        fn set_draining(
            &self,
            cluster: &str,
            endpoint: SocketAddr,
            is_draining: bool,
        ) -> Result<bool, crate::start::Leaving> {
            let mut snapshot = self.snapshot.lock().unwrap();
            let roster =
                snapshot.roster.with_member(cluster, endpoint, |it| it.is_draining = is_draining);
            let Some(roster) = roster else { return Ok(false) };
            *snapshot = Arc::new(snapshot.with_endpoints(roster));
            Ok(true)
        }

        fn set_discovered(&self, cluster: &str, endpoints: Vec<hangu_config::Endpoint>) {
            let mut snapshot = self.snapshot.lock().unwrap();
            let found = Discovered::from([(cluster.to_owned(), endpoints)]);
            let roster = snapshot.roster.with_discovered(&found);
            *snapshot = Arc::new(snapshot.with_endpoints(roster));
        }

        fn set_health(&self, cluster: &str, endpoint: SocketAddr, is_healthy: bool) -> bool {
            let mut snapshot = self.snapshot.lock().unwrap();
            let roster =
                snapshot.roster.with_member(cluster, endpoint, |it| it.is_healthy = is_healthy);
            let Some(roster) = roster else { return false };
            *snapshot = Arc::new(snapshot.with_endpoints(roster));
            true
        }

        fn balance(&self, _: &mut crate::worker::Balancer) {}

        fn give(
            &self,
            _: crate::swap::Order,
            _: &mut dyn FnMut(&crate::swap::Report),
        ) -> Result<crate::swap::Given, crate::swap::Refusal> {
            Err(crate::swap::Refusal::Stopping)
        }

        fn reopen_log(&self) {
            self.reopened.fetch_add(1, Ordering::SeqCst);
        }

        fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
            // Nothing is published but what the test does itself.
            tokio::sync::watch::channel(0).1
        }

        fn connections(
            &self,
            filter: ConnectionFilter,
            limit: usize,
        ) -> Answer<Vec<ConnectionView>> {
            if !self.workers_answer {
                return Box::pin(std::future::pending());
            }
            let view = |worker| ConnectionView {
                worker,
                side: Side::Downstream { listener: "front".to_owned() },
                protocol: Some("http1"),
                peer: Some(([127, 0, 0, 1], 4000).into()),
                streams: 1,
                age_ms: 12,
                pending_bytes: 0,
            };
            let peer = ([127, 0, 0, 1], 4000).into();
            let seen = FilteredConnection { listener: Some("front"), cluster: None, peer };
            let count = if filter.admits(seen) { limit.min(500) } else { 0 };
            let views = (0..count).map(view).collect();
            Box::pin(async { views })
        }

        fn listening(&self) -> Answer<Vec<TcpListener>> {
            Box::pin(std::future::ready(Vec::new()))
        }

        fn pulses(&self) -> Vec<Answer<()>> {
            Vec::new()
        }

        fn stop(&self, grace: Duration) {
            self.stopped_with.store(grace.as_secs(), Ordering::SeqCst);
        }
    }

    const TOKEN: &str = "0123456789abcdef";

    fn settings(admin: &Admin) -> Settings {
        let admin_bound = bind(admin).unwrap();
        let access = token::provide(admin, admin_bound.address(), None).unwrap();
        let service = Service::default();
        let (admin, with_signals) = (admin_bound, false);
        let lineage = Lineage::default();
        Settings { admin, access, with_signals, files: None, log: None, service, lineage }
    }

    fn serve_fake(fake: Fake) -> (Arc<Fake>, Control, SocketAddr) {
        serve(fake, None)
    }

    fn serve(fake: Fake, files: Option<(PathBuf, Seen)>) -> (Arc<Fake>, Control, SocketAddr) {
        let settings = Settings { files, ..settings(&fake.config().admin) };
        let address = settings.admin.address().unwrap();
        let gateway = Arc::new(fake);
        let shared: Arc<dyn Inspect> = Arc::clone(&gateway) as _;
        (gateway, start(settings, shared).unwrap(), address)
    }

    /// Sends bytes and reads until the server closes.
    fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ask(address: SocketAddr, method: &str, target: &str) -> (u16, String) {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        let answer = exchange(address, &request);
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    fn ask_json(address: SocketAddr, target: &str) -> Value {
        let (status, body) = ask(address, "GET", target);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    #[test]
    fn every_path_answers() {
        let (_, _control, address) = serve_fake(fake());
        for path in ["/ready", "/live", "/metrics", "/config", "/clusters", "/connections"] {
            assert_eq!(ask(address, "GET", path).0, 200, "{path}");
            let (status, body) = ask(address, "HEAD", path);
            assert_eq!((status, body.as_str()), (200, ""), "{path}");
        }
        assert_eq!(ask_json(address, "/version")["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(ask_json(address, "/config")["drain_timeout"], "7s");
        assert!(ask(address, "GET", "/metrics").1.contains("hangu_ready 1\n"));
    }

    #[test]
    fn a_wrong_path_lists_the_right_ones_and_a_wrong_method_names_the_right_one() {
        let (gateway, _control, address) = serve_fake(fake());
        let (status, body) = ask(address, "GET", "/status");
        assert_eq!(status, 404);
        assert!(body.contains("GET  /ready") && body.contains("POST /stop"), "{body}");
        assert_eq!(ask(address, "GET", "/stop").0, 405);
        assert_eq!(ask(address, "POST", "/ready").0, 405);
        let request = "DELETE /stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, request);
        assert!(answer.contains("allow: POST\r\n"), "{answer}");
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), NOT_STOPPED);
    }

    #[test]
    fn not_ready_is_503() {
        let (gateway, _control, address) = serve_fake(fake());
        gateway.is_ready.store(false, Ordering::SeqCst);
        assert_eq!(ask(address, "GET", "/ready").0, 503);
        assert_eq!(ask(address, "GET", "/live").0, 200);
    }

    #[test]
    fn connections_are_shown_up_to_the_limit() {
        let (_, _control, address) = serve_fake(fake());
        assert_eq!(ask_json(address, "/connections").as_array().unwrap().len(), 100);
        let three = ask_json(address, "/connections?limit=3");
        assert_eq!(three.as_array().unwrap().len(), 3);
        assert_eq!(three[0]["side"], "downstream");
        assert_eq!(three[0]["listener"], "front");
        for wrong in ["limit=-1", "limit=10001", "limit=", "limit=1&limit=2", "other=1"] {
            assert_eq!(ask(address, "GET", &format!("/connections?{wrong}")).0, 400, "{wrong}");
        }
    }

    #[test]
    fn a_worker_that_does_not_answer_holds_nothing_up() {
        let (_, _control, address) = serve_fake(Fake { workers_answer: false, ..fake() });
        assert_eq!(ask(address, "GET", "/connections").0, 503);
    }

    #[test]
    fn stop_takes_its_grace_from_the_query_or_the_configuration() {
        let (gateway, _control, address) = serve_fake(fake());
        assert_eq!(ask(address, "POST", "/stop?grace_seconds=soon").0, 400);
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), NOT_STOPPED);
        assert_eq!(ask(address, "POST", "/stop").0, 202);
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), 7);
        assert_eq!(ask(address, "POST", "/stop?grace_seconds=0").0, 202);
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn web_pages_are_not_answered() {
        let (gateway, _control, address) = serve_fake(fake());
        let post = |fields: &str| {
            let token = format!("Authorization: Bearer {TOKEN}");
            let request =
                format!("POST /stop HTTP/1.1\r\n{fields}\r\n{token}\r\nConnection: close\r\n\r\n");
            exchange(address, &request)
        };
        for fields in [
            "Host: 127.0.0.1:9901\r\nOrigin: https://example.com",
            "Host: 127.0.0.1:9901\r\nOrigin: null",
            "Host: rebound.example.com",
            "Host: localhost.example.com:9901",
        ] {
            assert!(post(fields).starts_with("HTTP/1.1 403 "), "{fields}");
        }
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), NOT_STOPPED);
        for fields in ["Host: localhost:9901", "Host: [::1]:9901", "Host: [::1]", "Host: 127.0.0.1"]
        {
            assert!(post(fields).starts_with("HTTP/1.1 202 "), "{fields}");
        }
    }

    #[test]
    fn a_body_above_the_limit_is_refused() {
        let (_, _control, address) = serve_fake(fake());
        let head = format!(
            "POST /stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\n"
        );
        let fits = format!("{head}Content-Length: 3\r\n\r\nabc");
        assert!(exchange(address, &fits).starts_with("HTTP/1.1 202 "));
        let declared = format!("{head}Content-Length: {}\r\n\r\nabc", u64::MAX / 2);
        assert!(exchange(address, &declared).starts_with("HTTP/1.1 413 "));
        let chunk = format!("{BODY_BYTES_MAX:x}\r\n{}\r\n", "a".repeat(BODY_BYTES_MAX));
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}1\r\nb\r\n0\r\n\r\n");
        assert!(exchange(address, &chunked).starts_with("HTTP/1.1 413 "));
    }

    #[test]
    fn a_unix_socket_serves_the_same_and_its_file_goes_with_it() {
        let name = format!("hangu-admin-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let admin = Admin::Unix { path: path.clone() };
        let gateway = Arc::new(fake());
        let control = start(settings(&admin), Arc::clone(&gateway) as _).unwrap();
        let client = Client { target: Target::Unix(path.clone()), token: None };
        let answer = client.post("/stop?grace_seconds=3", "").unwrap();
        assert_eq!(answer.status, 202);
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), 3);
        assert!(matches!(bind(&admin), Err(BindError::SocketInUse(_))));
        drop(control);
        assert!(!path.exists());
        let gone = client.get("/live").unwrap_err();
        assert!(gone.to_string().contains("no gateway"), "{gone}");
    }

    #[test]
    fn the_client_of_the_command_line_reads_status_and_body() {
        let (_, _control, address) = serve_fake(fake());
        let client = Client { target: Target::Tcp(address), token: None };
        let answer = client.get("/version").unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["name"]), (200, &Value::from("hangu")));
    }

    #[test]
    fn the_access_log_is_opened_anew_when_that_is_asked_for() {
        let (gateway, _control, address) = serve_fake(fake());
        assert_eq!(ask(address, "POST", "/reopen").0, 200);
        assert_eq!(gateway.reopened.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn who_changes_something_shows_the_token() {
        let (gateway, _control, address) = serve_fake(fake());
        for fields in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n"] {
            for path in ["/stop", "/reload", "/reopen", "/log?level=debug", "/config/diff"] {
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n"
                );
                let answer = exchange(address, &request);
                assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
                assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
            }
        }
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), NOT_STOPPED);
    }

    #[test]
    fn connections_are_filtered_by_name_and_peer() {
        let (_, _control, address) = serve_fake(fake());
        for (query, count) in [
            ("listener=front", 5),
            ("listener=fr%6Fnt&peer=127.0.0.1", 5),
            ("peer=127.0.0.1:4000", 5),
            ("peer=%5B::ffff:127.0.0.1%5D:4000", 5),
            ("peer=127.0.0.1:4001", 0),
            ("listener=back", 0),
            ("cluster=front", 0),
        ] {
            let shown = ask_json(address, &format!("/connections?limit=5&{query}"));
            assert_eq!(shown.as_array().unwrap().len(), count, "{query}");
        }
        assert_eq!(ask(address, "GET", "/connections?peer=front").0, 400);
    }

    #[test]
    fn an_endpoint_is_drained_and_shown_as_such() {
        let (_, _control, address) = serve_fake(fake());
        let path = "/clusters/c/endpoints/127.0.0.1:1";
        let is_draining = || ask_json(address, "/clusters")[0]["endpoints"][0]["draining"].clone();
        assert_eq!(is_draining(), false);
        assert_eq!(ask(address, "POST", &format!("{path}/drain")).0, 200);
        assert_eq!(is_draining(), true);
        assert_eq!(ask(address, "POST", &format!("{path}/undrain")).0, 200);
        assert_eq!(is_draining(), false);
        for (path, status) in [
            ("/clusters/none/endpoints/127.0.0.1:1/drain", 404),
            ("/clusters/c/endpoints/127.0.0.1:2/drain", 404),
            ("/clusters/c/endpoints/first/drain", 400),
            ("/clusters/%ff/endpoints/127.0.0.1:1/drain", 400),
            ("/clusters//endpoints/127.0.0.1:1/drain", 404),
            ("/clusters/c/endpoints/127.0.0.1:1/drain/x", 404),
        ] {
            assert_eq!(ask(address, "POST", path).0, status, "{path}");
        }
        assert_eq!(ask(address, "GET", &format!("{path}/drain")).0, 405);
    }

    /// A configuration in a file of its own; removed at the end.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("hangu-reload-{name}-{}.yaml", std::process::id());
            let file = Self(std::env::temp_dir().join(name));
            file.write(text);
            file
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }

        fn serve(&self) -> (Arc<Fake>, Control, SocketAddr) {
            serve(fake(), Some((self.0.clone(), files::load(&self.0).seen)))
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn reload(address: SocketAddr, query: &str) -> (u16, Value) {
        let (status, body) = ask(address, "POST", &format!("/reload{query}"));
        (status, serde_json::from_str(&body).unwrap_or_else(|it| panic!("{it}: {body}")))
    }

    #[test]
    fn a_reload_puts_in_force_what_the_file_says() {
        let file = File::new("applied", CONFIG);
        let (_gateway, _control, address) = file.serve();
        let hash = |address| {
            let text = ask(address, "GET", "/metrics").1;
            let line = text.lines().find(|it| it.starts_with("hangu_config_info")).unwrap();
            line.to_owned()
        };
        let before = hash(address);
        let (status, report) = reload(address, "");
        assert_eq!((status, &report["outcome"]), (200, &Value::from("unchanged")), "{report}");
        assert_eq!(hash(address), before);
        file.write(&CONFIG.replace("drain_timeout: 7s", "drain_timeout: 8s"));
        let (status, report) = reload(address, "?dry_run=true");
        assert_eq!((status, &report["outcome"]), (200, &Value::from("valid")), "{report}");
        assert_eq!(ask_json(address, "/config")["drain_timeout"], "7s");
        let (status, report) = reload(address, "");
        assert_eq!((status, &report["outcome"]), (200, &Value::from("applied")), "{report}");
        assert_eq!(report["changes"][0]["keys"][0]["key"], "drain_timeout", "{report}");
        assert_eq!(ask_json(address, "/config")["drain_timeout"], "8s");
        assert_ne!(hash(address), before);
        assert!(hash(address).contains(report["hash"].as_str().unwrap()));
    }

    /// Asks until a condition holds.
    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let (_keep, never) = mpsc::channel::<()>();
        for _ in 0..400 {
            if holds() {
                return;
            }
            let _ = never.recv_timeout(Duration::from_millis(50));
        }
        panic!("not within 20 s: {what}");
    }

    #[test]
    fn a_reload_comes_to_its_end_though_who_asked_for_it_is_gone() {
        let file = File::new("gone", CONFIG);
        let ((asked, is_asked), (go, may_go)) = (mpsc::channel(), mpsc::channel());
        let fake = Fake { gate: Some((asked, Mutex::new(may_go))), ..fake() };
        let (_gateway, _control, address) =
            serve(fake, Some((file.0.clone(), files::load(&file.0).seen)));
        file.write(&CONFIG.replace(TOKEN, "another-token-here"));
        let mut client = TcpStream::connect(address).unwrap();
        let request = format!(
            "POST /reload HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        client.write_all(request.as_bytes()).unwrap();
        is_asked.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(client);
        // Whoever comes after it is answered after it is seen to be gone.
        (0..3).for_each(|_| assert_eq!(ask(address, "GET", "/live").0, 200));
        go.send(()).unwrap();
        wait_until("the reload is counted", || {
            let metrics = ask(address, "GET", "/metrics").1;
            metrics.contains("hangu_config_reloads_total{result=\"applied\"} 1\n")
        });
        // What follows it was done as well.
        let secret = hangu_config::Secret::new("another-token-here".to_owned());
        let client = Client { target: Target::Tcp(address), token: Some(secret) };
        let report = client.post("/reload", "").unwrap();
        let report: Value = serde_json::from_str(&report.body).unwrap();
        assert_eq!(report["outcome"], "unchanged", "{report}");
        let metrics = ask(address, "GET", "/metrics").1;
        assert!(metrics.contains(report["hash"].as_str().unwrap()), "{metrics}");
    }

    #[test]
    fn the_admin_api_moves_when_the_file_says_so_and_answers_at_the_old_place_first() {
        let file = File::new("moved", CONFIG);
        let (_gateway, _control, first) = file.serve();
        let with_admin = |admin: &str| {
            let old = "{ address: \"127.0.0.1:0\", token: 0123456789abcdef }";
            file.write(&CONFIG.replace(old, admin));
        };
        let mut kept = TcpStream::connect(first).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        with_admin(&format!(
            "{{ address: {}, token: other-token-here }}",
            taken.local_addr().unwrap()
        ));
        let (status, report) = reload(first, "");
        assert_eq!((status, &report["outcome"]), (422, &Value::from("rejected")), "{report}");
        assert!(report["error"].as_str().unwrap().contains("is in use"), "{report}");
        drop(taken);

        let socket = file.0.with_extension("sock");
        with_admin(&format!("{{ path: {} }}", socket.display()));
        let (status, report) = reload(first, "");
        assert_eq!((status, &report["outcome"]), (200, &Value::from("applied")), "{report}");
        assert_eq!(report["changes"][0]["effect"], "replaced", "{report}");
        let client = Client { target: Target::Unix(socket.clone()), token: None };
        assert_eq!(client.get("/ready").unwrap().status, 200);
        assert!(TcpStream::connect(first).is_err());
        kept.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        kept.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

        let port = free_port();
        with_admin(&format!("{{ address: \"127.0.0.1:{port}\", token: another-token-here }}"));
        assert_eq!(client.post("/reload", "").unwrap().status, 200);
        let place = SocketAddr::from(([127, 0, 0, 1], port));
        let (token, other) = ("another-token-here", TOKEN);
        let at = |token: &str| Client {
            target: Target::Tcp(place),
            token: Some(hangu_config::Secret::new(token.to_owned())),
        };
        assert_eq!(at(other).post("/reload", "").unwrap().status, 401);
        assert_eq!(at(token).post("/reload", "").unwrap().status, 200);
        assert!(!socket.exists());
        // The place stays, and the token is another one.
        with_admin(&format!("{{ address: \"127.0.0.1:{port}\", token: {TOKEN} }}"));
        assert_eq!(at(token).post("/reload", "").unwrap().status, 200);
        assert_eq!(at(other).post("/reload", "").unwrap().status, 200);
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_old_configuration_stays() {
        let file = File::new("rejected", &format!("drain_timeout: 5\n{CONFIG}"));
        let (_gateway, _control, address) = file.serve();
        let (status, report) = reload(address, "");
        assert_eq!((status, &report["outcome"]), (422, &Value::from("rejected")), "{report}");
        assert_eq!(report["problems"][0]["line"], 1, "{report}");
        file.write(&CONFIG.replace("name: a,", "name: refused,"));
        let (status, report) = reload(address, "");
        assert_eq!((status, &report["error"]), (422, &Value::from("the port is in use")));
        std::fs::remove_file(&file.0).unwrap();
        let (status, report) = reload(address, "");
        assert_eq!(status, 422);
        assert!(report["error"].as_str().unwrap().contains("No such file"), "{report}");
        assert_eq!(ask_json(address, "/config")["drain_timeout"], "7s");
        let metrics = ask(address, "GET", "/metrics").1;
        assert!(metrics.contains("hangu_config_reloads_total{result=\"rejected\"} 3\n"));
        assert!(metrics.contains("hangu_config_last_reload_success 0\n"));
        assert!(metrics.contains("\nhangu_config_last_reload_timestamp_seconds 1"));
    }

    #[test]
    fn a_gateway_without_files_says_so() {
        let (_gateway, _control, address) = serve_fake(fake());
        let (status, report) = reload(address, "");
        assert_eq!(status, 422);
        assert!(report["error"].as_str().unwrap().contains("no file"), "{report}");
    }

    #[test]
    fn a_changed_file_is_loaded_when_the_configuration_says_so() {
        let text = format!("watch: true\n{CONFIG}");
        let file = File::new("watched", &text);
        let source = hangu_config::Source { name: "test".to_owned(), text: text.clone() };
        let config = hangu_config::load(&[source], &hangu_config::NoValues).unwrap();
        let fake =
            Fake { snapshot: Mutex::new(Arc::new(Snapshot::compile(config).unwrap())), ..fake() };
        let seen = files::load(&file.0).seen;
        let (gateway, _control, _) = serve(fake, Some((file.0.clone(), seen)));
        file.write(&text.replace("drain_timeout: 7s", "drain_timeout: 9s"));
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..200 {
            if gateway.config().drain_timeout == Duration::from_secs(9) {
                return;
            }
            let _ = never.recv_timeout(Duration::from_millis(50));
        }
        panic!("the file was not loaded within ten seconds");
    }

    #[test]
    fn a_configuration_is_compared_with_the_one_in_force() {
        let (gateway, _control, address) = serve_fake(fake());
        let mut other = (*gateway.config()).clone();
        other.drain_timeout = Duration::from_secs(1);
        let body = serde_json::to_string(&hangu_config::Canonical::of(&other)).unwrap();
        let secret = hangu_config::Secret::new(TOKEN.to_owned());
        let client = Client { target: Target::Tcp(address), token: Some(secret) };
        let answer = client.post("/config/diff", &body).unwrap();
        let diff: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(diff["changes"].as_array().unwrap().len(), 1, "{diff}");
        assert_eq!(diff["changes"][0]["keys"][0]["key"], "drain_timeout");
        assert_eq!(client.post("/config/diff", "{}").unwrap().status, 400);
    }
}
