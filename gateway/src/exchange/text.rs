//! What is logged of a request, kept beyond its head without an allocation per request.

use hangu_codecs::Head;

use crate::telemetry::Subject;

/// Method, authority and path, or service and method, of one request.
#[derive(Debug, Default)]
pub struct Text {
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Nothing,
    Http {
        method_end: usize,
        authority_end: usize,
    },
    Rpc {
        service_end: usize,
    },
}

impl Text {
    /// The request as it is logged; `None` when nothing was kept.
    pub(super) fn subject(&self) -> Option<Subject<'_>> {
        match self.kind {
            Kind::Nothing => None,
            Kind::Http { method_end, authority_end } => {
                let (method, rest) = self.bytes.split_at_checked(method_end)?;
                let (authority, path) = rest.split_at_checked(authority_end - method_end)?;
                Some(Subject::Http { method, authority, path })
            }
            Kind::Rpc { service_end } => {
                let (service, method) = self.bytes.split_at_checked(service_end)?;
                Some(Subject::Rpc { service, method })
            }
        }
    }
}

/// Texts that are used again.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    spare: Vec<Vec<u8>>,
}

impl Texts {
    /// Keeps what is logged of a request.
    pub(super) fn keep(&mut self, head: &Head<'_>) -> Text {
        let mut bytes = self.spare.pop().unwrap_or_default();
        let kind = match head {
            Head::HttpRequest(request) => {
                bytes.extend_from_slice(cut(request.method.as_str().as_bytes()));
                let method_end = bytes.len();
                bytes.extend_from_slice(cut(&request.authority));
                let authority_end = bytes.len();
                bytes.extend_from_slice(cut(&request.path));
                Kind::Http { method_end, authority_end }
            }
            Head::RpcRequest(rpc) => {
                bytes.extend_from_slice(cut(rpc.service));
                let service_end = bytes.len();
                bytes.extend_from_slice(cut(rpc.method));
                Kind::Rpc { service_end }
            }
            Head::HttpResponse(_) | Head::RpcResponse(_) => Kind::Nothing,
        };
        Text { bytes, kind }
    }

    /// Takes back a text that is not needed any more.
    pub(super) fn give_back(&mut self, text: Text) {
        let mut bytes = text.bytes;
        if bytes.capacity() > 0 && self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

/// Bytes of one text that are kept; as many as are logged.
const TEXT_BYTES_MAX: usize = crate::telemetry::access_log::TEXT_BYTES_MAX;

/// Texts kept for reuse; 4,096 of some hundred bytes each.
const SPARE_MAX: usize = 4096;

fn cut(text: &[u8]) -> &[u8] {
    text.get(..TEXT_BYTES_MAX).unwrap_or(text)
}
