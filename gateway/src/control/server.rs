//! The admin API over hyper: connections, limits, times.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Bound, Inspect, api};

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

/// Bytes of a body. No path takes one; a small one is read and ignored.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// After `accept` failed for want of descriptors it is tried again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `ended` turns true.
pub(super) async fn serve(
    bound: Bound,
    gateway: Arc<dyn Inspect>,
    drain_timeout: Duration,
    mut ended: watch::Receiver<bool>,
) {
    let served = async {
        let (listener, _file) = match Listener::new(bound) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!("the admin API does not run: {error}");
                return std::future::pending().await;
            }
        };
        accept(listener, gateway, drain_timeout).await;
    };
    tokio::select! {
        () = served => {}
        // An error means that the other end is gone, which is an end as well.
        _ = ended.wait_for(|ended| *ended) => {}
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(bound: Bound) -> io::Result<(Self, Option<super::bind::SocketFile>)> {
        Ok(match bound {
            Bound::Tcp(listener) => (Self::Tcp(TcpListener::from_std(listener)?), None),
            Bound::Unix(listener, file) => {
                (Self::Unix(UnixListener::from_std(listener)?), Some(file))
            }
        })
    }
}

async fn accept(listener: Listener, gateway: Arc<dyn Inspect>, drain_timeout: Duration) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let gateway = Arc::clone(&gateway);
        let accepted = match &listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| {
                tokio::task::spawn_local(connection(stream, gateway, drain_timeout, place))
            }),
            Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| {
                tokio::task::spawn_local(connection(stream, gateway, drain_timeout, place))
            }),
        };
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_RETRY).await;
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    gateway: Arc<dyn Inspect>,
    drain_timeout: Duration,
    place: OwnedSemaphorePermit,
) {
    let service = service_fn(|request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(serve_one(request, &gateway, drain_timeout).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away or says nonsense has been answered by hyper; nobody else cares.
    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, served).await;
    drop(place);
}

async fn serve_one(
    request: Request<Incoming>,
    gateway: &Arc<dyn Inspect>,
    drain_timeout: Duration,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if let Some(refused) = refuse_body(body).await {
        return response(refused);
    }
    let host = head.headers.get(HOST).map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
    let request = api::Request {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        method: head.method,
        host,
        has_origin: head.headers.contains_key(ORIGIN),
    };
    response(api::answer(request, gateway, drain_timeout).await)
}

/// Reads a small body to its end; a large or slow one is refused.
async fn refuse_body(body: Incoming) -> Option<api::Response> {
    let too_large = || {
        let why = format!("no path takes a body, and none above {BODY_BYTES_MAX} bytes is read\n");
        Some(api::text(StatusCode::PAYLOAD_TOO_LARGE, why))
    };
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return too_large();
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(_)) => None,
        Ok(Err(_)) => too_large(),
        Err(_) => {
            let why = "the body did not come in time\n".to_owned();
            Some(api::text(StatusCode::REQUEST_TIMEOUT, why))
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
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use hangu_config::{Admin, Config};
    use serde_json::Value;

    use super::*;
    use crate::control::{
        Answer, BindError, ConnectionView, Control, Settings, Side, bind, client, start,
    };
    use crate::telemetry::{Counters, Layout, Metrics};

    /// A gateway that has connections and nothing else.
    struct Fake {
        is_ready: AtomicBool,
        workers_answer: bool,
        stopped_with: AtomicU64,
        config: Arc<Config>,
    }

    const NOT_STOPPED: u64 = u64::MAX;

    const CONFIG: &str = r#"
drain_timeout: 7s
access_log: { enabled: false }
listeners: [{ name: a, address: "127.0.0.1:0", protocols: [http1], route_config: r }]
route_configs:
  - name: r
    virtual_hosts: [{ name: v, domains: ["*"], routes: [{ match: {}, route: { cluster: c } }] }]
clusters: [{ name: c, protocol: http1, endpoints: [{ address: "127.0.0.1:1" }] }]
"#;

    fn fake() -> Fake {
        let source = hangu_config::Source { name: "test".to_owned(), text: CONFIG.to_owned() };
        let mut config = hangu_config::load(&[source], &hangu_config::NoValues).unwrap();
        let Admin::Tcp { address, .. } = &mut config.admin else { panic!("not on TCP") };
        address.set_port(0);
        Fake {
            is_ready: AtomicBool::new(true),
            workers_answer: true,
            stopped_with: AtomicU64::new(NOT_STOPPED),
            config: Arc::new(config),
        }
    }

    impl Inspect for Fake {
        fn is_ready(&self) -> bool {
            self.is_ready.load(Ordering::SeqCst)
        }

        fn config(&self) -> Arc<Config> {
            Arc::clone(&self.config)
        }

        fn metrics(&self) -> Metrics {
            let layout = Layout::default();
            let workers = vec![Arc::new(Counters::new(&layout))];
            Metrics { layout: Arc::new(layout), workers, access_log: Vec::new() }
        }

        fn connections(&self, limit: usize) -> Answer<Vec<ConnectionView>> {
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
            let views = (0..limit.min(500)).map(view).collect();
            Box::pin(async { views })
        }

        fn stop(&self, grace: Duration) {
            self.stopped_with.store(grace.as_secs(), Ordering::SeqCst);
        }
    }

    fn serve_fake(fake: Fake) -> (Arc<Fake>, Control, SocketAddr) {
        let admin = bind(&fake.config.admin).unwrap();
        let address = admin.address().unwrap();
        let settings =
            Settings { admin, with_signals: false, drain_timeout: fake.config.drain_timeout };
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
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
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
            let request = format!("POST /stop HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n");
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
        let head = "POST /stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
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
        let settings = Settings {
            admin: bind(&admin).unwrap(),
            with_signals: false,
            drain_timeout: Duration::from_secs(7),
        };
        let gateway = Arc::new(fake());
        let control = start(settings, Arc::clone(&gateway) as _).unwrap();
        let target = client::Target::Unix(path.clone());
        let answer = client::request(&target, "POST", "/stop?grace_seconds=3").unwrap();
        assert_eq!(answer.status, 202);
        assert_eq!(gateway.stopped_with.load(Ordering::SeqCst), 3);
        assert!(matches!(bind(&admin), Err(BindError::SocketInUse(_))));
        drop(control);
        assert!(!path.exists());
        let gone = client::request(&target, "GET", "/live").unwrap_err();
        assert!(gone.to_string().contains("no gateway"), "{gone}");
    }

    #[test]
    fn the_client_of_the_command_line_reads_status_and_body() {
        let (_, _control, address) = serve_fake(fake());
        let target = client::Target::Tcp(address);
        let answer = client::request(&target, "GET", "/version").unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["name"]), (200, &Value::from("hangu")));
    }
}
