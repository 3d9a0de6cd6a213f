//! gRPC calls among HTTP requests: how long they may last, how they ended, and those of browsers.

use std::time::Duration;

use hangu_codecs::{
    Data, Head, HttpRequest, HttpResponse, Method, OwnedPart, Part, Reason, Status,
    grpc::{Code, TimeoutText, Web, is_grpc, parse_timeout, status_of},
    message::End,
};
use serde::{Deserialize, Serialize};

use super::{Core, Exchange, ExchangeId, failure::Failure};
use crate::{
    connection::{ConnectionId, Sent},
    snapshot::Snapshot,
    telemetry::{Class, Outcome, RpcCounters, RpcNamed, RpcSeries},
};

/// What a request asks for, as far as the end of its exchange is told by that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asks {
    /// An answer.
    #[default]
    Answer,
    /// A tunnel (CONNECT).
    Tunnel,
    /// A gRPC call, of which nobody said yet how it ended.
    Call,
    /// A gRPC call, of which the upstream said how it ended.
    Ended(Code),
}

impl Asks {
    /// What a request head says.
    pub(super) fn of(head: &Head<'_>) -> Self {
        match head {
            Head::HttpRequest(request) if request.method == Method::Connect => Self::Tunnel,
            Head::HttpRequest(request) if is_call(request) => Self::Call,
            Head::HttpRequest(_)
            | Head::HttpResponse(_)
            | Head::RpcRequest(_)
            | Head::RpcResponse(_) => Self::Answer,
        }
    }

    /// Whether it asks for a gRPC call.
    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::Ended(_))
    }

    /// Notes what a part of the response says of the end. The last word counts: a head says it only
    /// where the call ends with it.
    pub(super) fn note(&mut self, part: &Part<'_>) {
        if !self.is_call() {
            return;
        }
        let fields = match part {
            Part::Head(Head::HttpResponse(response), _) => &response.fields,
            Part::Trailers(fields) => fields,
            Part::Head(..) | Part::Data(..) | Part::Reset(_) => return,
        };
        if let Some(status) = fields.find(b"grpc-status") {
            *self = Self::Ended(Code::of_field(status));
        }
    }

    /// How a call ended that ended like this: as its caller sees it. `None` where it is none.
    pub(super) fn code(self, outcome: Outcome) -> Option<Code> {
        match self {
            Self::Answer | Self::Tunnel => None,
            Self::Ended(code) => Some(code),
            Self::Call => Some(match outcome {
                Outcome::Gateway(status) => status_of(status).0,
                Outcome::Http(status) => Code::of_http(status),
                Outcome::Reset(Reason::Cancelled) => Code::Cancelled,
                Outcome::Reset(Reason::TimedOut) => Code::DeadlineExceeded,
                Outcome::Reset(Reason::TooLarge) => Code::ResourceExhausted,
                Outcome::Reset(Reason::ProtocolError) => Code::Internal,
                Outcome::Reset(Reason::ConnectionLost | Reason::SlowReader | Reason::Refused) => {
                    Code::Unavailable
                }
                Outcome::Rpc(_) | Outcome::Oneway => Code::Unknown,
            }),
        }
    }
}

/// What a call is counted as. What the gateway and lost connections did is told apart from what the
/// upstream said, and the upstream's framework from its application, as far as codes tell.
pub(super) fn class(code: Code, outcome: Outcome) -> Class {
    match outcome {
        Outcome::Gateway(_) | Outcome::Reset(_) => return outcome.class(),
        Outcome::Http(_) | Outcome::Rpc(_) | Outcome::Oneway => {}
    }
    match code {
        Code::Ok => Class::Success,
        Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Class::ProviderError,
        Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => Class::ApplicationError,
    }
}

/// Where a call is counted by its names.
pub(super) fn series(request: &HttpRequest, counters: &RpcCounters) -> RpcSeries {
    let Some((service, method)) = names(&request.path) else { return RpcSeries::Other };
    let caller = request.fields.find(b"tri-consumer-appname");
    let caller = caller.or_else(|| request.fields.find(b"sofacallerapp")).unwrap_or_default();
    counters.find(RpcNamed { service, method, caller })
}

/// Service and method of a path, `/package.Service/Method`.
fn names(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = path.split(|it| *it == b'?').next()?.strip_prefix(b"/")?;
    let at = path.iter().rposition(|it| *it == b'/')?;
    let (service, method) = (path.get(..at)?, path.get(at + 1..)?);
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}

/// The smaller of what the route and the caller allow; `None` where neither says.
pub(super) fn timeout(request: &HttpRequest, route: Option<Duration>) -> Option<Duration> {
    let caller = request.fields.find(TIMEOUT).and_then(parse_timeout);
    match (caller, route) {
        (Some(caller), Some(route)) => Some(caller.min(route)),
        (one, other) => one.or(other),
    }
}

/// Writes into the head of a request how much of its time is left, where its protocol has a word
/// for it.
pub(super) fn tell_time_left(head: &mut Head<'_>, left: Duration) {
    match head {
        Head::RpcRequest(rpc) => rpc.timeout = Some(left),
        Head::HttpRequest(request) if is_call(request) => {
            request.fields.set(TIMEOUT, TimeoutText::new(left).as_bytes());
        }
        Head::HttpRequest(_) | Head::HttpResponse(_) | Head::RpcResponse(_) => {}
    }
}

/// Whether a request is a gRPC call.
pub(super) fn is_call(request: &HttpRequest) -> bool {
    request.method == Method::Post && request.fields.find(b"content-type").is_some_and(is_grpc)
}

/// A part of a request as the upstream is to get it; `None` when it passes as it is.
pub(super) fn from_web(web: &mut Web, part: &Part<'_>) -> Result<Option<Part<'static>>, Failure> {
    const FAILURE: Failure = Failure::because(Status::BadRequest, "grpc_web_malformed");
    match part {
        Part::Data(data, end) => {
            let bytes = web.request_data(data.as_slice(), *end).map_err(|_| FAILURE)?;
            Ok(bytes.map(|it| Part::Data(Data::Owned(it), *end)))
        }
        Part::Trailers(_) => web.request_end().map(|()| None).map_err(|_| FAILURE),
        Part::Head(..) | Part::Reset(_) => Ok(None),
    }
}

/// What the client gets for a part of a response; `None` when it passes as it is.
pub(super) fn to_web(web: &mut Web, part: &Part<'_>) -> Option<Vec<OwnedPart>> {
    match part {
        Part::Head(Head::HttpResponse(head), end) if head.status >= 200 => {
            let mut head = Box::new(HttpResponse::clone(head));
            let Some(body) = web.response_head(&mut head, *end) else {
                return Some(vec![OwnedPart::HttpResponse(head, *end)]);
            };
            let head = OwnedPart::HttpResponse(head, End::No);
            Some(vec![head, OwnedPart::Data(body, End::Yes)])
        }
        Part::Data(data, end) => {
            let bytes = web.response_data(data.as_slice())?;
            Some(vec![OwnedPart::Data(bytes, *end)])
        }
        Part::Trailers(fields) => {
            let bytes = web.response_trailers(fields)?;
            Some(vec![OwnedPart::Data(bytes, End::Yes)])
        }
        Part::Head(..) | Part::Reset(_) => None,
    }
}

impl Exchange {
    /// The translation of a call of a browser.
    pub(super) fn web(&self) -> Option<&Web> {
        self.apart.as_ref()?.web.as_ref()
    }

    /// See [`Exchange::web`].
    pub(super) fn web_mut(&mut self) -> Option<&mut Web> {
        self.apart.as_mut()?.web.as_mut()
    }
}

impl Core {
    /// Finds out whether a request is a call of a browser, and makes it one of gRPC where the
    /// listener says so; looks whether its deadline can be read.
    ///
    /// # Errors
    /// It says twice how long its caller waits, or not in the form that there is for it. Nobody
    /// could tell then when to give it up.
    pub(super) fn begin_grpc(
        &mut self,
        id: ExchangeId,
        listener: usize,
        snapshot: &Snapshot,
        head: &mut Head<'_>,
    ) -> Result<(), Failure> {
        let Head::HttpRequest(request) = head else { return Ok(()) };
        if request.method != Method::Post {
            return Ok(());
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return Ok(()) };
        let translates = snapshot.listener(listener).is_some_and(|it| it.grpc_web);
        if translates && let Some(web) = Web::begin(request) {
            exchange.apart.get_or_insert_default().web = Some(web);
            exchange.asks = Asks::Call;
            exchange.series = RpcSeries::NoRoute;
        }
        if !exchange.asks.is_call() {
            return Ok(());
        }
        let mut timeouts = request.fields.all(TIMEOUT);
        match (timeouts.next().map(parse_timeout), timeouts.next()) {
            (None | Some(Some(_)), None) => Ok(()),
            (Some(None), _) | (_, Some(_)) => {
                Err(Failure::because(Status::BadRequest, "grpc_timeout_malformed"))
            }
        }
    }

    /// Gives a part of a response to a client of gRPC-Web; says what became of it there, unless the
    /// exchange fails by it.
    pub(super) fn answer_web(
        &mut self,
        id: ExchangeId,
        connection: ConnectionId,
        stream: hangu_codecs::StreamId,
        parts: Vec<OwnedPart>,
    ) -> Option<Sent> {
        let mut sent = None;
        for mut part in parts {
            let part = part.as_part()?;
            sent = Some(self.answer(id, connection, stream, &part)?);
        }
        sent
    }
}

const TIMEOUT: &[u8] = b"grpc-timeout";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_service_and_a_method() {
        for (path, expected) in [
            (&b"/a.B/C"[..], Some((&b"a.B"[..], &b"C"[..]))),
            (b"/x/a.B/C?q=/", Some((b"x/a.B", b"C"))),
            (b"/a.B/", None),
            (b"//C", None),
            (b"/C", None),
            (b"a.B/C", None),
            (b"", None),
        ] {
            assert_eq!(names(path), expected, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_call_that_nobody_ended_has_the_code_that_its_caller_sees() {
        assert_eq!(
            Asks::Call.code(Outcome::Gateway(Status::TimedOut)),
            Some(Code::DeadlineExceeded)
        );
        assert_eq!(Asks::Call.code(Outcome::Http(200)), Some(Code::Unknown));
        assert_eq!(Asks::Call.code(Outcome::Http(503)), Some(Code::Unavailable));
        assert_eq!(Asks::Call.code(Outcome::Reset(Reason::Cancelled)), Some(Code::Cancelled));
        assert_eq!(Asks::Answer.code(Outcome::Http(200)), None);
    }

    #[test]
    fn the_smaller_timeout_counts_and_what_is_left_is_told() {
        let mut request = HttpRequest { method: Method::Post, ..HttpRequest::default() };
        request.fields.push(b"content-type", b"application/grpc");
        let second = Duration::from_secs(1);
        assert_eq!(timeout(&request, None), None);
        assert_eq!(timeout(&request, Some(second)), Some(second));
        request.fields.push(b"Grpc-Timeout", b"2S");
        assert_eq!(timeout(&request, None), Some(2 * second));
        assert_eq!(timeout(&request, Some(second)), Some(second));
        tell_time_left(&mut Head::HttpRequest(&mut request), second);
        assert_eq!(request.fields.all(TIMEOUT).collect::<Vec<_>>(), [b"1000000u"]);
    }
}
