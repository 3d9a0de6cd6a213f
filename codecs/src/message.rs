//! What passes between codecs: streams and their parts, in no protocol's own words.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Fields;

/// One request and its response on a connection: a slot of the codec's stream table and how often
/// the slot was used before. A late answer to a slot that was used anew differs in the generation.
/// Slots are small numbers without large gaps: a relay may index a `Vec` with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Index into the table of streams.
    pub slot: u32,
    /// Counts the uses of the slot; wraps.
    pub generation: u32,
}

impl StreamId {
    /// The stream of every request without an answer that an RPC codec decodes: it has ended with
    /// its only part, so it takes no slot, and nothing can be encoded on it. Not a small number:
    /// do not index with it.
    pub const ONEWAY: Self = Self { slot: u32::MAX, generation: 0 };
}

/// A part of one direction of a stream: a head, then data, then perhaps trailers; informational
/// (1xx) response heads may come before. `end` says that no part follows in this direction.
#[derive(Debug)]
pub enum Part<'a> {
    /// The head of a request or response. An RPC head carries its payload and always ends.
    Head(Head<'a>, End),
    /// A piece of the body.
    Data(Data<'a>, End),
    /// Fields after the body; ends the direction.
    Trailers(&'a Fields),
    /// The stream was given up by the sender of this part; ends both directions.
    Reset(Reason),
}

/// Whether a part is the last one of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// More parts follow.
    No,
    /// This was the last one.
    Yes,
}

/// The head of a request or a response.
#[derive(Debug)]
pub enum Head<'a> {
    /// An HTTP request of any version. Mutable: filters edit it in place.
    HttpRequest(&'a mut HttpRequest),
    /// An HTTP response of any version, informational ones (1xx) included.
    HttpResponse(&'a mut HttpResponse),
    /// A whole request frame of a multiplexed RPC protocol.
    RpcRequest(RpcHead<'a>),
    /// A whole response frame of a multiplexed RPC protocol.
    RpcResponse(RpcHead<'a>),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Data<'a> {
    /// Stands in the read buffer: copy what is to outlive the call.
    Borrowed(&'a [u8]),
    /// A large piece, taken out of the read buffer without a copy.
    Owned(Bytes),
}

impl Data<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The bytes, to keep; copies what is borrowed.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes.clone(),
        }
    }
}

/// A request method (RFC 9110 §9), case-sensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH`
    Patch,
    /// Any other token.
    Other(String),
}

impl Method {
    /// The method that these bytes name. The caller has checked that they are a token
    /// (RFC 9110 §5.6.2), which is ASCII.
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            other => Self::Other(String::from_utf8_lossy(other).into_owned()),
        }
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(token) => token,
        }
    }
}

/// Version of HTTP in which a head came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As it stands in logs, `HTTP/1.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// What a head says of the length of its body. The fields that say so (`Content-Length`,
/// `Transfer-Encoding`) are not in `fields`: each codec writes its own framing from this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodySize {
    /// No body, and no field that speaks of one.
    #[default]
    None,
    /// Exactly this many bytes; in the response to HEAD and in a 304 the length that a GET would
    /// have had.
    Sized(u64),
    /// Ends by its own framing or with the connection.
    Unknown,
}

/// The head of an HTTP request in no version's own words: hop-by-hop fields, `Host` and framing
/// are taken out of `fields` and stand in members of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Host and perhaps port, as the client named them (`Host`, absolute form, `:authority`);
    /// empty when it named none.
    pub authority: Vec<u8>,
    /// Path and query as they came, beginning with `/`; `*` for `OPTIONS *`; empty for CONNECT.
    pub path: Vec<u8>,
    /// End-to-end fields.
    pub fields: Fields,
    /// Length of the body.
    pub body: BodySize,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The protocol that the client offers to change to (RFC 9110 §7.8); empty for none.
    pub upgrade: Vec<u8>,
    /// The client takes trailers (`TE: trailers`, RFC 9110 §10.1.4).
    pub takes_trailers: bool,
    /// The version in which the head came.
    pub version: Version,
}

impl HttpRequest {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.authority.clear();
        self.path.clear();
        self.fields.clear();
        self.body = BodySize::None;
        self.expects_continue = false;
        self.upgrade.clear();
        self.takes_trailers = false;
        self.version = Version::Http11;
    }
}

/// The head of an HTTP response; see [`HttpRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// 100 to 999. Below 200 it is informational and another head follows, except 101.
    pub status: u16,
    /// Reason phrase as it came; may be empty.
    pub reason: Vec<u8>,
    /// End-to-end fields.
    pub fields: Fields,
    /// Length of the body.
    pub body: BodySize,
    /// The protocol that the server changes to, in a 101; empty otherwise.
    pub upgrade: Vec<u8>,
    /// The version in which the head came.
    pub version: Version,
}

impl HttpResponse {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason.clear();
        self.fields.clear();
        self.body = BodySize::None;
        self.upgrade.clear();
        self.version = Version::Http11;
    }
}

/// A whole frame of a multiplexed RPC protocol, with what routing asks of it. Everything is
/// borrowed: on the straight path the head is copied to the upstream's output as it came, ids and
/// deadlines patched, and nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct RpcHead<'a> {
    /// The wire that reads and writes this frame: [`crate::Protocol::name`].
    pub protocol: &'static str,
    /// Whether an answer is expected.
    pub two_way: bool,
    /// The service as it stands on the wire (`interface:version[:uniqueId]` in Bolt); empty when
    /// the frame names none.
    pub service: &'a [u8],
    /// The method; empty when the frame names none.
    pub method: &'a [u8],
    /// How long the caller waits, as the frame says: the smallest of all that it says. In a part
    /// that is encoded: what remains; a frame that says more is corrected on its way.
    pub timeout: Option<Duration>,
    /// In a request: whether fields may say of the timeout too, and have to be corrected with it.
    pub timeout_in_fields: bool,
    /// In a response: what the frame tells of the outcome.
    pub outcome: RpcOutcome,
    /// The fields of the frame.
    pub fields: RpcFields<'a>,
    /// The frame up to and including its fields, contiguous, as it came.
    pub head: &'a [u8],
    /// What follows the head, as it came, a checksum excluded.
    pub payload: RpcPayload<'a>,
    /// Whether the frame came with a (correct) checksum and goes on with a new one.
    pub checksum: Option<RpcChecksum>,
    /// In a request: where the frame says whose call it is.
    pub trace: RpcTrace,
    /// In a request that is encoded: fields to be written behind those of the frame. They stay
    /// away where the frame's header is no list of fields, or has no room for all of them.
    pub added: Option<&'a Fields>,
}

/// Where an RPC request says to which call it belongs. Each is read with [`RpcFields::at`], and
/// empty when the frame says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpcTrace {
    /// Id of the trace, in the tracer's own form.
    pub trace_id: FieldPlace,
    /// Id of the call within its trace (`0.1.2` in SOFATracer).
    pub span_id: FieldPlace,
    /// Name of the application that calls.
    pub caller_app: FieldPlace,
    /// Name of the zone that the call comes from.
    pub caller_zone: FieldPlace,
    /// Name of the application that is called.
    pub target_app: FieldPlace,
}

/// A piece of the fields of an RPC frame, in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldPlace {
    start: u16,
    bytes: u16,
}

impl FieldPlace {
    /// A piece of so many bytes that ends at `end` of the fields. Nothing where that is beyond
    /// 64 KiB.
    pub fn ending_at(end: usize, bytes: usize) -> Self {
        let place = |start| Some((u16::try_from(start).ok()?, u16::try_from(bytes).ok()?));
        let place = end.checked_sub(bytes).and_then(place);
        place.map_or(Self::default(), |(start, bytes)| Self { start, bytes })
    }

    /// The piece of `bytes` bytes at `start` of this one.
    #[must_use]
    pub fn part(self, start: usize, bytes: usize) -> Self {
        Self::ending_at(usize::from(self.start) + start + bytes, bytes)
    }

    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

impl RpcHead<'_> {
    /// Bytes of head and payload.
    pub fn bytes(&self) -> usize {
        self.head.len().saturating_add(self.payload.len())
    }
}

/// The part of a frame's checksum that forwarding does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcChecksum {
    /// CRC-32 (IEEE) of the payload alone, to be combined with that of the head as written.
    pub payload: u32,
}

/// What a response frame tells of the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RpcOutcome {
    /// The call succeeded; also the value in requests.
    #[default]
    Success,
    /// The framework answered with success, the application with an exception.
    ApplicationError,
    /// The framework of the provider answered with an error; the status is the wire's own number.
    ProviderError(u16),
}

/// Reads one name–value pair from the front: the pair and the rest.
pub type RpcFieldReader = for<'a> fn(&'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])>;

/// The fields of an RPC frame, read where they stand.
#[derive(Clone, Copy)]
pub struct RpcFields<'a> {
    block: &'a [u8],
    read: RpcFieldReader,
}

impl<'a> RpcFields<'a> {
    /// Fields that `read` finds in `block`, one after the other.
    pub fn new(block: &'a [u8], read: RpcFieldReader) -> Self {
        Self { block, read }
    }

    /// No fields.
    pub fn none() -> Self {
        Self { block: &[], read: |_| None }
    }

    /// A piece of the fields.
    pub fn at(&self, place: FieldPlace) -> &'a [u8] {
        let start = usize::from(place.start);
        self.block.get(start..start + usize::from(place.bytes)).unwrap_or_default()
    }

    /// Bytes of all fields as they stand.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// The pairs in order, names first.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let (mut rest, read) = (self.block, self.read);
        std::iter::from_fn(move || {
            let (name, value, after) = read(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The value of a field. Where a name stands twice the last one counts, as in the maps of the
    /// Java peers. RPC field names are case-sensitive.
    pub fn find(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().filter(|(it, _)| *it == name).map(|(_, value)| value).last()
    }
}

impl std::fmt::Debug for RpcFields<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        formatter.debug_map().entries(self.iter().map(|(n, v)| (text(n), text(v)))).finish()
    }
}

/// What follows the head of an RPC frame.
#[derive(Clone, Copy, Debug)]
pub enum RpcPayload<'a> {
    /// Stands in the read buffer.
    Slice(&'a [u8]),
    /// A large frame, gathered as it came.
    Segments(&'a [Bytes]),
}

impl RpcPayload<'_> {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Slice(bytes) => bytes.len(),
            Self::Segments(segments) => segments.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part that was taken off the straight path and owns its bytes: while an upstream is dialled,
/// on the way to another core, in a frozen exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum OwnedPart {
    /// See [`Head::HttpRequest`].
    HttpRequest(Box<HttpRequest>, End),
    /// See [`Head::HttpResponse`].
    HttpResponse(Box<HttpResponse>, End),
    /// See [`Head::RpcRequest`].
    RpcRequest(Box<OwnedRpc>),
    /// See [`Head::RpcResponse`].
    RpcResponse(Box<OwnedRpc>),
    /// See [`Part::Data`].
    Data(Bytes, End),
    /// See [`Part::Trailers`].
    Trailers(Fields),
    /// See [`Part::Reset`].
    Reset(Reason),
}

/// An RPC frame that owns its bytes; the rest is read from them again when it is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnedRpc {
    /// See [`RpcHead::protocol`].
    pub protocol: String,
    /// See [`RpcHead::timeout`].
    pub timeout: Option<Duration>,
    /// See [`RpcHead::head`].
    pub head: Bytes,
    /// See [`RpcHead::payload`].
    pub payload: Vec<Bytes>,
    /// See [`RpcHead::checksum`].
    pub checksum: Option<RpcChecksum>,
    /// See [`RpcHead::added`].
    pub added: Option<Fields>,
}

impl OwnedRpc {
    fn new(head: &RpcHead<'_>) -> Self {
        let payload = match head.payload {
            RpcPayload::Slice(bytes) => vec![Bytes::copy_from_slice(bytes)],
            RpcPayload::Segments(segments) => segments.to_vec(),
        };
        Self {
            protocol: head.protocol.to_owned(),
            timeout: head.timeout,
            head: Bytes::copy_from_slice(head.head),
            payload,
            checksum: head.checksum,
            added: head.added.cloned(),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let added = self.added.as_ref().map_or(0, Fields::bytes);
        let payload: usize = self.payload.iter().map(Bytes::len).sum();
        payload.saturating_add(self.head.len()).saturating_add(added)
    }

    fn as_head(&self) -> Option<RpcHead<'_>> {
        let protocol = crate::Protocol::find(&self.protocol)?;
        let read = protocol.rpc_head?;
        let mut head = read(&self.head, RpcPayload::Segments(&self.payload))?;
        head.timeout = self.timeout;
        head.checksum = self.checksum;
        head.added = self.added.as_ref();
        Some(head)
    }
}

impl Part<'_> {
    /// The part with bytes of its own.
    pub fn to_owned(&self) -> OwnedPart {
        match self {
            Part::Head(Head::HttpRequest(head), end) => {
                OwnedPart::HttpRequest(Box::new(HttpRequest::clone(head)), *end)
            }
            Part::Head(Head::HttpResponse(head), end) => {
                OwnedPart::HttpResponse(Box::new(HttpResponse::clone(head)), *end)
            }
            Part::Head(Head::RpcRequest(head), _) => {
                OwnedPart::RpcRequest(Box::new(OwnedRpc::new(head)))
            }
            Part::Head(Head::RpcResponse(head), _) => {
                OwnedPart::RpcResponse(Box::new(OwnedRpc::new(head)))
            }
            Part::Data(data, end) => OwnedPart::Data(data.to_bytes(), *end),
            Part::Trailers(fields) => OwnedPart::Trailers(Fields::clone(fields)),
            Part::Reset(reason) => OwnedPart::Reset(*reason),
        }
    }
}

impl OwnedPart {
    /// The part as it is encoded. `None` when an RPC frame is not one that this build reads, which
    /// only a snapshot from elsewhere can bring about.
    pub fn as_part(&mut self) -> Option<Part<'_>> {
        Some(match self {
            Self::HttpRequest(head, end) => Part::Head(Head::HttpRequest(head), *end),
            Self::HttpResponse(head, end) => Part::Head(Head::HttpResponse(head), *end),
            Self::RpcRequest(rpc) => Part::Head(Head::RpcRequest(rpc.as_head()?), End::Yes),
            Self::RpcResponse(rpc) => Part::Head(Head::RpcResponse(rpc.as_head()?), End::Yes),
            Self::Data(bytes, end) => Part::Data(Data::Owned(bytes.clone()), *end),
            Self::Trailers(fields) => Part::Trailers(fields),
            Self::Reset(reason) => Part::Reset(*reason),
        })
    }

    /// Bytes held, roughly; what a budget counts.
    pub fn bytes(&self) -> usize {
        match self {
            Self::HttpRequest(head, _) => head.fields.bytes() + head.path.len() + 64,
            Self::HttpResponse(head, _) => head.fields.bytes() + 64,
            Self::RpcRequest(rpc) | Self::RpcResponse(rpc) => rpc.bytes(),
            Self::Data(bytes, _) => bytes.len(),
            Self::Trailers(fields) => fields.bytes(),
            Self::Reset(_) => 0,
        }
    }
}

/// Why a stream was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The caller is gone or no longer interested.
    Cancelled,
    /// The peer's connection ended in the middle.
    ConnectionLost,
    /// The deadline passed.
    TimedOut,
    /// The peer broke the protocol.
    ProtocolError,
    /// A named limit was passed.
    TooLarge,
    /// The peer did not take its output for too long or let too much of it wait.
    SlowReader,
    /// The peer says that it has not worked on the stream at all (HTTP/2: REFUSED_STREAM, or an id
    /// above the last one of a GOAWAY): it is safe to ask again elsewhere.
    Refused,
}

/// An answer that the gateway gives itself, in no protocol's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// The request is not well formed. HTTP 400; Bolt 9.
    BadRequest,
    /// No virtual host or route matches. HTTP 404; Bolt 6 (no processor).
    NoRoute,
    /// The method is not one that is forwarded. HTTP 405; Bolt 6.
    MethodNotAllowed,
    /// The client did not send its request in time. HTTP 408; Bolt 7.
    RequestTimedOut,
    /// The body is larger than the limit. HTTP 413; Bolt 9.
    BodyTooLarge,
    /// The request target is longer than the limit. HTTP 414.
    TargetTooLong,
    /// `Expect` names something unknown. HTTP 417.
    ExpectationFailed,
    /// The fields are larger than the limit. HTTP 431; Bolt 9.
    FieldsTooLarge,
    /// The gateway itself failed. HTTP 500; Bolt 2.
    Internal,
    /// A transfer coding or method is unknown. HTTP 501.
    NotImplemented,
    /// The upstream refused the connection, or broke off or garbled its answer. HTTP 502; Bolt 5.
    UpstreamFailed,
    /// No endpoint is there or able to take the request. HTTP 503; Bolt 6 (no processor).
    NoUpstream,
    /// A limit of the gateway is reached; later may work. HTTP 503; Bolt 4 (busy).
    Overloaded,
    /// The deadline passed before the answer was there. HTTP 504; Bolt 7.
    TimedOut,
    /// The HTTP version is none that is spoken here. HTTP 505.
    VersionNotSupported,
}
