//! What the gateway changes in the head of an HTTP request before it routes and forwards it.

use hangu_codecs::{Head, HttpRequest, Method, Status, Version};

use super::{Core, failure::Failure};
use crate::{
    connection::ConnectionId,
    route::path::{self, Normalized},
    snapshot::Snapshot,
};

impl Core {
    /// Brings a request head into the form in which it is matched and forwarded.
    ///
    /// # Errors
    /// The head is one that is not forwarded.
    pub(super) fn prepare(
        &mut self,
        snapshot: &Snapshot,
        listener: usize,
        connection: ConnectionId,
        head: &mut Head<'_>,
    ) -> Result<(), Failure> {
        let Head::HttpRequest(request) = head else { return Ok(()) };
        let Some(config) = snapshot.listener(listener) else { return Ok(()) };
        #[cfg(feature = "test-hooks")]
        if request.fields.find(b"x-hangu-test-panic").is_some() {
            panic!("a test asked for this panic");
        }
        let upgrade_allowed = |name: &String| request.upgrade.eq_ignore_ascii_case(name.as_bytes());
        if !config.upgrades.iter().any(upgrade_allowed) {
            // Without the offer HTTP/2's CONNECT (RFC 8441) would be a GET that a client takes for
            // accepted.
            if request.version == Version::Http2 && !request.upgrade.is_empty() {
                return Err(Failure::because(Status::NotImplemented, "upgrade_not_allowed"));
            }
            request.upgrade.clear();
        }
        if request.method != Method::Connect {
            normalize(&config.path_normalization, request, &mut self.path)?;
        }
        if let Some(client) = self.connections.get(connection) {
            forward_for(request, &client.peer_text, config.xff.trusted_hops);
        }
        Ok(())
    }
}

fn normalize(
    rule: &hangu_config::PathNormalization,
    request: &mut HttpRequest,
    scratch: &mut Vec<u8>,
) -> Result<(), Failure> {
    match path::normalize(&request.path, rule, scratch) {
        Ok(Normalized::Unchanged) => Ok(()),
        Ok(Normalized::Changed) => {
            std::mem::swap(&mut request.path, scratch);
            Ok(())
        }
        Err(error) => Err(Failure::because(Status::BadRequest, error.reason())),
    }
}

/// Tells the upstream whose request it is.
///
/// Of what the request says itself only the last `trusted_hops` addresses of `X-Forwarded-For`
/// are believed, those that trusted proxies added; then comes the peer's own address. Without
/// trusted hops `X-Forwarded-Proto` and `Forwarded` are dropped as well.
fn forward_for(request: &mut HttpRequest, peer: &[u8], trusted_hops: u8) {
    if trusted_hops == 0 {
        request.fields.remove(b"forwarded");
        request.fields.remove(b"x-forwarded-proto");
        request.fields.set(FORWARDED_FOR, peer);
    } else {
        let mut addresses = last_hops(request, usize::from(trusted_hops));
        addresses.extend_from_slice(peer);
        request.fields.set(FORWARDED_FOR, &addresses);
    }
    if request.fields.find(b"x-forwarded-proto").is_none() {
        request.fields.push(b"X-Forwarded-Proto", b"http");
    }
}

const FORWARDED_FOR: &[u8] = b"X-Forwarded-For";

/// The last addresses that the request was forwarded for, each with a comma behind it.
fn last_hops(request: &HttpRequest, hops: usize) -> Vec<u8> {
    let all: Vec<&[u8]> = request
        .fields
        .all(FORWARDED_FOR)
        .flat_map(|value| value.split(|it| *it == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|it| !it.is_empty())
        .collect();
    let mut kept = Vec::new();
    for address in all.iter().skip(all.len().saturating_sub(hops)) {
        kept.extend_from_slice(address);
        kept.extend_from_slice(b", ");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(lines: &[&str], trusted_hops: u8) -> Vec<(String, String)> {
        let mut request = HttpRequest::default();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        forward_for(&mut request, b"192.0.2.9", trusted_hops);
        let text = |it: &[u8]| String::from_utf8(it.to_vec()).unwrap();
        request.fields.iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    fn value(fields: &[(String, String)], name: &str) -> Option<String> {
        fields.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.clone())
    }

    #[test]
    fn what_an_untrusted_client_says_of_itself_is_dropped() {
        let lines = [
            "X-Forwarded-For: 10.0.0.1, 10.0.0.2",
            "Forwarded: for=10.0.0.1",
            "X-Forwarded-Proto: https",
        ];
        let fields = forwarded(&lines, 0);
        assert_eq!(value(&fields, "x-forwarded-for").unwrap(), "192.0.2.9");
        assert_eq!(value(&fields, "x-forwarded-proto").unwrap(), "http");
        assert_eq!(value(&fields, "forwarded"), None);
    }

    #[test]
    fn so_many_hops_are_believed_as_are_trusted() {
        let lines = ["X-Forwarded-For: 1.1.1.1, 2.2.2.2", "x-forwarded-for: 3.3.3.3"];
        let of = |hops| value(&forwarded(&lines, hops), "x-forwarded-for").unwrap();
        assert_eq!(of(1), "3.3.3.3, 192.0.2.9");
        assert_eq!(of(2), "2.2.2.2, 3.3.3.3, 192.0.2.9");
        assert_eq!(of(9), "1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.9");
    }
}
