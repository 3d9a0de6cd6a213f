//! `hangu stop`: a graceful stop of a running gateway.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use super::{Exit, fail, remote};
use crate::control::client::{Client, ClientError};

/// How often a stopping gateway is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A gateway may take that much longer than the grace, to close what is left.
const SLACK: Duration = Duration::from_secs(10);

/// Asks a gateway to stop and, if `waits`, waits until its admin API is gone.
pub(super) fn stop(client: &Client, grace_seconds: Option<u32>, waits: bool) -> Exit {
    let path = match grace_seconds {
        Some(seconds) => format!("/stop?grace_seconds={seconds}"),
        None => "/stop".to_owned(),
    };
    let answer = match client.post(&path, "") {
        Ok(answer) => answer,
        Err(error) => return fail(Exit::Unavailable, error),
    };
    let told = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    let delay = told["delay_seconds"].as_u64().unwrap_or(0);
    let (202, Some(grace)) = (answer.status, told["grace_seconds"].as_u64()) else {
        return fail(Exit::Unavailable, remote::refusal(client, &answer));
    };
    if !waits {
        println!("stopping; requests in flight get {grace} s");
        return Exit::Ok;
    }
    match wait_until_gone(client, Duration::from_secs(delay + grace) + SLACK) {
        true => {
            println!("stopped");
            Exit::Ok
        }
        false => fail(Exit::Unavailable, format!("the gateway at {} still runs", client.target)),
    }
}

/// Waits until nobody answers at the target any more; says whether that came about.
fn wait_until_gone(client: &Client, wait: Duration) -> bool {
    // A channel that nobody sends on is a wait of a bounded length.
    let (_keep, never) = channel::<()>();
    for _ in 0..wait.div_duration_f64(POLL) as u64 {
        if let Err(ClientError::NoGateway(..)) = client.get("/live") {
            return true;
        }
        match never.recv_timeout(POLL) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::control::client::Target;

    /// Answers `requests` connections with the same bytes, then is gone.
    fn answering(requests: usize, answer: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let client = Client { target, token: None };
        std::thread::spawn(move || {
            for _ in 0..requests {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        client
    }

    const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\n\r\n{\"stopping\":true,\"grace_seconds\":1}";

    #[test]
    fn stop_waits_until_the_gateway_is_gone() {
        assert_eq!(stop(&answering(3, ACCEPTED), None, true), Exit::Ok);
    }

    #[test]
    fn stop_without_waiting_comes_back_at_the_answer() {
        assert_eq!(stop(&answering(1, ACCEPTED), Some(1), false), Exit::Ok);
    }

    #[test]
    fn a_refusal_and_a_missing_gateway_are_failures() {
        let refused = answering(1, "HTTP/1.1 400 Bad Request\r\n\r\nno");
        assert_eq!(stop(&refused, None, true), Exit::Unavailable);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(
            stop(&Client { target: Target::Tcp(closed), token: None }, None, true),
            Exit::Unavailable
        );
    }
}
