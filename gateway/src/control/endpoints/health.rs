//! Health checks: whether an endpoint works, asked in its own protocol.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use hangu_codecs::{Event, HttpRequest, Limits, Protocol, Role, Scratch, codec::Note, http1};
use hangu_config::{HealthCheck, Probe, Statuses};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ask::ask;
use super::{Endpoints, Task, grpc, vary};
use crate::clock;

/// The first check of an endpoint comes within this time, so that those of many do not come
/// together.
const FIRST_WITHIN: Duration = Duration::from_millis(500);

/// How the gateway names itself to those that it asks.
pub(super) const USER_AGENT: &str = concat!("hangu/", env!("CARGO_PKG_VERSION"));

/// Bytes that a Bolt endpoint may send before it answers the heartbeat; its own heartbeat is some
/// dozen.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What is checked.
pub(super) struct Subject {
    pub(super) cluster: String,
    pub(super) endpoint: SocketAddr,
    pub(super) protocol: &'static Protocol,
    /// What the checks say: this task alone changes it.
    pub(super) is_healthy: Rc<Cell<bool>>,
}

/// Checks an endpoint again and again. Every check makes a connection of its own: whether one can
/// be made is part of the question, and a connection that is kept would not tell.
pub(super) async fn follow(endpoints: Rc<Endpoints>, subject: Subject, check: HealthCheck) {
    let first = FIRST_WITHIN.min(check.interval);
    tokio::time::sleep(vary(first / 2, 100)).await;
    let mut tally = Tally { is_healthy: subject.is_healthy.get(), streak: 0 };
    loop {
        let result = {
            // The semaphore is never closed.
            let Ok(_place) = endpoints.places.acquire().await else { return };
            tokio::time::timeout(check.timeout, probe(&subject, &check.probe)).await
        };
        let result = result.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let name = if result.is_ok() { "success" } else { "failure" };
        endpoints.count_check(&subject.cluster, name);
        if let Some(is_healthy) = tally.note(result.is_ok(), &check) {
            let (cluster, endpoint) = (&subject.cluster, subject.endpoint);
            match &result {
                Ok(()) => tracing::info!(cluster, %endpoint, "the endpoint works again"),
                Err(why) => tracing::warn!(cluster, %endpoint, why, "the endpoint does not work"),
            }
            *endpoints.changes.borrow_mut().entry(cluster.clone()).or_default() += 1;
            subject.is_healthy.set(is_healthy);
            endpoints.gateway.set_health(cluster, endpoint, is_healthy);
        }
        tokio::time::sleep(vary(check.interval, check.jitter_percent)).await;
    }
}

/// What the last checks said.
#[derive(Clone, Copy, Debug)]
struct Tally {
    is_healthy: bool,
    /// Checks in a row that said otherwise.
    streak: u32,
}

impl Tally {
    /// Notes a result; gives the health when it changes.
    fn note(&mut self, is_success: bool, check: &HealthCheck) -> Option<bool> {
        if is_success == self.is_healthy {
            self.streak = 0;
            return None;
        }
        self.streak += 1;
        let threshold =
            if self.is_healthy { check.unhealthy_threshold } else { check.healthy_threshold };
        if self.streak < threshold {
            return None;
        }
        self.is_healthy = is_success;
        self.streak = 0;
        Some(is_success)
    }
}

async fn probe(subject: &Subject, probe: &Probe) -> Result<(), String> {
    let stream = TcpStream::connect(subject.endpoint).await.map_err(|error| error.to_string())?;
    match probe {
        Probe::Tcp {} => Ok(()),
        Probe::Http { path, host, expected_statuses } => {
            let host = host.clone().unwrap_or_else(|| subject.endpoint.to_string());
            if subject.protocol.name != http1::PROTOCOL.name {
                return get(stream, subject.protocol, path, &host, expected_statuses).await;
            }
            http(stream, path, &host, expected_statuses).await
        }
        Probe::Grpc { service, host } => {
            let host = host.clone().unwrap_or_else(|| subject.endpoint.to_string());
            let (mut request, body) = grpc::request(service, &host);
            let answer = ask(stream, subject.protocol, &mut request, &body).await?;
            grpc::is_serving(&answer)
        }
        Probe::Bolt {} => heartbeat(stream, subject.protocol).await,
    }
}

async fn http(
    stream: TcpStream,
    path: &str,
    host: &str,
    expected: &[Statuses],
) -> Result<(), String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, host)
        .header(hyper::header::USER_AGENT, USER_AGENT)
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<&[u8]>::new())
        .map_err(|error| error.to_string())?;
    // The connection moves by itself, and ends with this function.
    let _moving = Task(tokio::task::spawn_local(async move {
        // What is wrong with it, the request tells.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(text)?;
    judge(response.status().as_u16(), expected)
}

/// Asks by the codec of the cluster's protocol.
async fn get(
    stream: TcpStream,
    protocol: &Protocol,
    path: &str,
    host: &str,
    expected: &[Statuses],
) -> Result<(), String> {
    let mut request = HttpRequest {
        authority: host.as_bytes().to_vec(),
        path: path.as_bytes().to_vec(),
        ..HttpRequest::default()
    };
    request.fields.push(b"user-agent", USER_AGENT.as_bytes());
    let status = ask(stream, protocol, &mut request, b"").await?.status;
    judge(status, expected)
}

fn judge(status: u16, expected: &[Statuses]) -> Result<(), String> {
    if expected.iter().any(|it| it.contains(status)) {
        Ok(())
    } else {
        Err(format!("status {status}"))
    }
}

/// Sends a heartbeat by the codec of the cluster's protocol and waits for its answer.
async fn heartbeat(mut stream: TcpStream, protocol: &Protocol) -> Result<(), String> {
    let mut limits = Limits::default();
    // The first one is due at once.
    limits.rpc.heartbeat_interval_ms = 1;
    let now = clock::now();
    let mut codec = (protocol.codec)(Role::Client, &limits, now);
    let due = codec.next_timeout().unwrap_or(now);
    codec.timeout(due).map_err(|error| error.reason.to_owned())?;
    let output: Vec<u8> = codec.output().pieces().flatten().copied().collect();
    if output.is_empty() {
        return Err("the protocol has no heartbeat".to_owned());
    }
    stream.write_all(&output).await.map_err(|error| error.to_string())?;
    let (mut input, mut scratch) = (BytesMut::new(), Scratch::default());
    let mut received = 0;
    loop {
        loop {
            let event = codec.decode(&mut input, &mut scratch, due);
            match event.map_err(|error| error.reason.to_owned())? {
                Some(Event::Note(Note::HeartbeatAnswered)) => return Ok(()),
                Some(_) => {}
                None => break,
            }
        }
        let count = stream.read_buf(&mut input).await.map_err(|error| error.to_string())?;
        received += count;
        if count == 0 {
            return Err("closed before the heartbeat was answered".to_owned());
        }
        if received > ANSWER_BYTES_MAX {
            return Err("no answer to the heartbeat within many bytes".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_changes_after_as_many_checks_in_a_row_as_the_threshold_says() {
        let check = HealthCheck {
            probe: Probe::Tcp {},
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            jitter_percent: 0,
        };
        let mut tally = Tally { is_healthy: true, streak: 0 };
        let results =
            [false, false, true, false, false, false, false, true, false, true, true, true];
        let changes: Vec<_> = results.iter().map(|it| tally.note(*it, &check)).collect();
        let mut expected = [None; 12];
        expected[5] = Some(false);
        expected[10] = Some(true);
        assert_eq!(changes, expected);
    }
}
