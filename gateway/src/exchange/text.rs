//! What is logged of a request, kept beyond its head without an allocation per request.

use hangu_codecs::Head;
use serde::{Deserialize, Serialize};

use crate::telemetry::{Call, Subject};

/// Method, authority and path, or service and method, of one request, and what it says of its
/// call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Text {
    bytes: Vec<u8>,
    /// Where each of the texts ends, in the order in which they were kept.
    ends: [u16; TEXTS],
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
enum Kind {
    #[default]
    Nothing,
    Http,
    Rpc,
}

/// Three texts of the subject, five of the call.
const TEXTS: usize = 3 + 5;

impl Text {
    /// The request as it is logged; `None` when nothing was kept.
    pub(super) fn subject(&self) -> Option<Subject<'_>> {
        let [one, two, three] = [0, 1, 2].map(|it| self.text(it));
        match self.kind {
            Kind::Nothing => None,
            Kind::Http => Some(Subject::Http { method: one, authority: two, path: three }),
            Kind::Rpc => Some(Subject::Rpc { service: one, method: two }),
        }
    }

    /// What the request says of its call.
    pub(super) fn call(&self) -> Call<'_> {
        let [trace_id, span_id, caller_app, caller_zone, callee_app] =
            [3, 4, 5, 6, 7].map(|it| self.text(it));
        Call { trace_id, span_id, caller_app, caller_zone, callee_app }
    }

    /// Keeps what a request says of its call; does nothing where nothing is kept of the request.
    pub(super) fn note(&mut self, call: &Call<'_>) {
        if matches!(self.kind, Kind::Nothing) {
            return;
        }
        let Call { trace_id, span_id, caller_app, caller_zone, callee_app } = *call;
        let texts = [trace_id, span_id, caller_app, caller_zone, callee_app];
        self.put(3, texts.map(|it| cut(it, CALL_BYTES_MAX)));
    }

    fn put<const N: usize>(&mut self, first: usize, texts: [&[u8]; N]) {
        for (text, end) in texts.into_iter().zip(self.ends.iter_mut().skip(first)) {
            self.bytes.extend_from_slice(text);
            *end = self.bytes.len() as u16;
        }
        // What was not kept ends where the last of the kept ones does, and so is empty.
        let end = self.bytes.len() as u16;
        self.ends.iter_mut().skip(first + N).for_each(|it| *it = end);
    }

    fn text(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).copied().map_or(0, usize::from);
        let start = at.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(at)).unwrap_or_default()
    }
}

/// What only the access log tells of an exchange.
#[derive(Clone, Debug, Default)]
pub struct Logged {
    /// What is logged of the request.
    pub text: Text,
    /// What went wrong, in more detail than the outcome tells.
    pub failure: Option<&'static str>,
}

/// Records of exchanges that ended, to be used again.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    // Boxed where they are used, so boxed here.
    #[expect(clippy::vec_box, reason = "boxes are what is used again")]
    spare: Vec<Box<Logged>>,
}

impl Logs {
    /// Keeps what is logged of a request.
    pub(super) fn keep(&mut self, head: &Head<'_>) -> Box<Logged> {
        let mut logged = self.spare.pop().unwrap_or_default();
        let text = &mut logged.text;
        match head {
            Head::HttpRequest(request) => {
                text.kind = Kind::Http;
                let method = request.method.as_str().as_bytes();
                let texts = [method, &request.authority, &request.path];
                text.put(0, texts.map(|it| cut(it, TEXT_BYTES_MAX)));
            }
            Head::RpcRequest(rpc) => {
                text.kind = Kind::Rpc;
                text.put(0, [rpc.service, rpc.method].map(|it| cut(it, TEXT_BYTES_MAX)));
            }
            Head::HttpResponse(_) | Head::RpcResponse(_) => {}
        }
        logged
    }

    /// Takes back a record that is not needed any more.
    pub(super) fn give_back(&mut self, logged: Option<Box<Logged>>) {
        let Some(mut logged) = logged.filter(|_| self.spare.len() < SPARE_MAX) else { return };
        let mut bytes = std::mem::take(&mut logged.text.bytes);
        bytes.clear();
        *logged = Logged { text: Text { bytes, ..Text::default() }, ..Logged::default() };
        self.spare.push(logged);
    }
}

/// Bytes of one text that are kept; as many as are logged.
const TEXT_BYTES_MAX: usize = crate::telemetry::access_log::TEXT_BYTES_MAX;

/// Bytes of one text of the call that are kept. Ids have some 40, names of applications and zones
/// rarely more.
const CALL_BYTES_MAX: usize = 200;

// Ends fit into 16 bits.
const _: () = assert!(3 * TEXT_BYTES_MAX + 5 * CALL_BYTES_MAX <= u16::MAX as usize);

/// Records kept for reuse; 4,096 of some hundred bytes each.
const SPARE_MAX: usize = 4096;

fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    text.get(..bytes_max).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use hangu_codecs::HttpRequest;

    use super::*;

    #[test]
    fn each_text_comes_back_cut_at_its_limit() {
        let path = vec![b'/'; TEXT_BYTES_MAX + 1];
        let mut request =
            HttpRequest { authority: b"host".to_vec(), path, ..HttpRequest::default() };
        let mut text = Logs::default().keep(&Head::HttpRequest(&mut request)).text;
        assert_eq!(text.call().trace_id, b"");
        let long = vec![b'i'; CALL_BYTES_MAX + 1];
        text.note(&Call { trace_id: &long, caller_zone: b"GZ00A", ..Call::default() });
        let Some(Subject::Http { method, authority, path }) = text.subject() else { panic!() };
        assert_eq!((method, authority, path.len()), (&b"GET"[..], &b"host"[..], TEXT_BYTES_MAX));
        let call = text.call();
        assert_eq!((call.trace_id.len(), call.span_id, call.caller_app), (200, &b""[..], &b""[..]));
        assert_eq!((call.caller_zone, call.callee_app), (&b"GZ00A"[..], &b""[..]));
    }

    #[test]
    fn what_was_kept_before_does_not_come_back_with_the_next() {
        let mut logs = Logs::default();
        let mut request = HttpRequest { path: b"/secret".to_vec(), ..HttpRequest::default() };
        let mut first = logs.keep(&Head::HttpRequest(&mut request));
        first.text.note(&Call { trace_id: b"secret", ..Call::default() });
        logs.give_back(Some(first));
        request.path = b"/".to_vec();
        let next = logs.keep(&Head::HttpRequest(&mut request)).text;
        let Some(Subject::Http { path, .. }) = next.subject() else { panic!() };
        assert_eq!((path, next.call().trace_id), (&b"/"[..], &b""[..]));
    }
}
