//! One record and its layout as JSON.

use std::net::SocketAddr;

use hangu_codecs::{Status, grpc::Code, message::RpcOutcome};

use super::json::{Object, member};
use super::room::Room;
use crate::telemetry::Outcome;
use crate::telemetry::outcome::{http_code, status_name};

/// One exchange, as it is logged when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the request's head came: milliseconds since the Unix epoch.
    pub time_unix_ms: u64,
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the downstream protocol.
    pub protocol: &'static str,
    /// Who sent the request.
    pub downstream: Option<SocketAddr>,
    /// The request's number on its connection: the wire's id in RPC, counted from 0 in HTTP.
    pub request_id: u64,
    /// What was asked for.
    pub subject: Subject<'a>,
    /// Name of the route; empty when none matched.
    pub route: &'a str,
    /// Name of the cluster; empty when none was chosen.
    pub cluster: &'a str,
    /// The endpoint that the request was given to.
    pub upstream: Option<SocketAddr>,
    /// How it ended.
    pub outcome: Outcome,
    /// How a gRPC call ended; `None` for everything else.
    pub grpc: Option<Code>,
    /// What went wrong, in more detail than the outcome tells: a constant text such as
    /// [`hangu_codecs::Error::reason`]. The outcome's own name stands in when there is none.
    pub failure: Option<&'static str>,
    /// Bytes of the request's body or frame.
    pub received_bytes: u64,
    /// Bytes of the response's body or frame.
    pub sent_bytes: u64,
    /// From the request's head to the end, microseconds.
    pub duration_us: u64,
    /// From the request's forwarding to the end, microseconds; `None` when it was not forwarded.
    pub upstream_us: Option<u64>,
    /// Who calls whom, and in which trace.
    pub call: Call<'a>,
    /// Zone of the endpoint; empty when it is not known.
    pub callee_zone: &'a str,
    /// Zone of this gateway; empty when none is configured.
    pub zone: &'a str,
    /// Index of the worker.
    pub worker: usize,
}

/// Who calls whom, and in which trace, as the request says or the gateway made it. Each is empty
/// when it is not known; all bytes are as they came from the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// Id of the trace.
    pub trace_id: &'a [u8],
    /// Id of the caller's span, or the id of the call in SOFATracer.
    pub span_id: &'a [u8],
    /// The application that calls.
    pub caller_app: &'a [u8],
    /// Zone of the caller.
    pub caller_zone: &'a [u8],
    /// The application that is called.
    pub callee_app: &'a [u8],
}

/// What was asked for. All bytes are as they came from the network.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// An HTTP request.
    Http {
        /// The method.
        method: &'a [u8],
        /// Host and perhaps port.
        authority: &'a [u8],
        /// Path and query.
        path: &'a [u8],
    },
    /// An RPC request.
    Rpc {
        /// The service.
        service: &'a [u8],
        /// The method; empty when it is not known.
        method: &'a [u8],
    },
}

/// Bytes of one text from the network that are logged; the rest is cut off. 1 KiB shows every
/// honest path, and keeps a record small beside a target of 8 KiB.
pub const TEXT_BYTES_MAX: usize = 1024;

impl Record<'_> {
    /// Writes the record as one line; gives how many bytes it has.
    pub(super) fn write(&self, clock: &mut Timestamp, room: Room<'_>) -> usize {
        let mut object = Object::begin(room, clock.text(self.time_unix_ms));
        object.text(member!("listener"), self.listener.as_bytes());
        object.text(member!("protocol"), self.protocol.as_bytes());
        object.address(member!("downstream"), self.downstream);
        object.number(member!("request_id"), self.request_id);
        self.write_subject(&mut object);
        object.text(member!("route"), self.route.as_bytes());
        object.text(member!("cluster"), self.cluster.as_bytes());
        object.address(member!("upstream"), self.upstream);
        self.write_outcome(&mut object);
        object.number(member!("received_bytes"), self.received_bytes);
        object.number(member!("sent_bytes"), self.sent_bytes);
        object.number(member!("duration_us"), self.duration_us);
        if let Some(upstream_us) = self.upstream_us {
            object.number(member!("upstream_us"), upstream_us);
        }
        object.text_if_any(member!("trace_id"), cut(self.call.trace_id));
        object.text_if_any(member!("span_id"), cut(self.call.span_id));
        object.text_if_any(member!("caller_app"), cut(self.call.caller_app));
        object.text_if_any(member!("caller_zone"), cut(self.call.caller_zone));
        object.text_if_any(member!("callee_app"), cut(self.call.callee_app));
        object.text_if_any(member!("callee_zone"), self.callee_zone.as_bytes());
        object.text_if_any(member!("zone"), self.zone.as_bytes());
        object.number(member!("worker"), self.worker as u64);
        object.end_line()
    }

    #[inline(always)]
    fn write_subject(&self, object: &mut Object<'_>) {
        match self.subject {
            Subject::Http { method, authority, path } => {
                object.text(member!("method"), cut(method));
                object.text(member!("authority"), cut(authority));
                object.text(member!("path"), cut(path));
            }
            Subject::Rpc { service, method } => {
                object.text(member!("service"), cut(service));
                object.text(member!("method"), cut(method));
            }
        }
    }

    /// `status` is a number for HTTP (what the client saw) and a word for RPC; `failure` stands
    /// only where something failed.
    #[inline(always)]
    fn write_outcome(&self, object: &mut Object<'_>) {
        match self.outcome {
            Outcome::Http(code) => object.number(member!("status"), u64::from(code)),
            Outcome::Rpc(RpcOutcome::Success) => object.text(member!("status"), b"success"),
            Outcome::Rpc(RpcOutcome::ApplicationError) => {
                object.text(member!("status"), b"application_error");
            }
            Outcome::Rpc(RpcOutcome::ProviderError(code)) => {
                object.text(member!("status"), b"provider_error");
                object.number(member!("status_code"), u64::from(code));
            }
            Outcome::Oneway => object.text(member!("status"), b"oneway"),
            Outcome::Gateway(status) => self.write_own_status(object, status),
            Outcome::Reset(_) => object.text(member!("status"), b"reset"),
        }
        if let Some(code) = self.grpc {
            object.text(member!("grpc_status"), code.name().as_bytes());
        }
        if let Some(failure) = self.failure_name() {
            object.text(member!("failure"), failure.as_bytes());
        }
    }

    #[inline(always)]
    fn write_own_status(&self, object: &mut Object<'_>, status: Status) {
        match self.subject {
            Subject::Http { .. } => object.number(member!("status"), u64::from(http_code(status))),
            Subject::Rpc { .. } => object.text(member!("status"), status_name(status).as_bytes()),
        }
        object.text(member!("answered_by"), b"gateway");
    }
}

pub(super) fn cut(text: &[u8]) -> &[u8] {
    text.get(..TEXT_BYTES_MAX).unwrap_or(text)
}

/// Times as texts (RFC 3339, UTC, milliseconds). Keeps the last text, for records of one wake-up
/// share it, and those of one second most of it.
#[derive(Debug)]
pub(super) struct Timestamp {
    unix_ms: u64,
    text: [u8; TIME_BYTES],
}

/// Bytes of a time as a text.
pub(super) const TIME_BYTES: usize = 24;

impl Default for Timestamp {
    fn default() -> Self {
        Self { unix_ms: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl Timestamp {
    #[inline]
    pub(super) fn text(&mut self, unix_ms: u64) -> &[u8; TIME_BYTES] {
        if unix_ms != self.unix_ms {
            self.change(unix_ms);
        }
        &self.text
    }

    fn change(&mut self, unix_ms: u64) {
        if unix_ms / 1000 != self.unix_ms / 1000 {
            put_date_time(&mut self.text, unix_ms / 1000);
        }
        put_digits(&mut self.text[20..23], unix_ms % 1000);
        self.unix_ms = unix_ms;
    }
}

/// Appends a time as a text (RFC 3339, UTC, milliseconds).
pub fn write_time(unix_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Timestamp::default().text(unix_ms));
}

/// Makes it `2026-11-22T20:15:00` of seconds since the Unix epoch; years above 9999 wrap.
fn put_date_time(text: &mut [u8; TIME_BYTES], second: u64) {
    let (year, month, day) = civil(second / 86_400);
    let of_day = second % 86_400;
    put_digits(&mut text[0..4], year);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], of_day / 3600);
    put_digits(&mut text[14..16], of_day / 60 % 60);
    put_digits(&mut text[17..19], of_day % 60);
}

/// Fills a place with the last digits of a number.
fn put_digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of days since 1970-01-01 in the Gregorian calendar. Counts from 0000-03-01,
/// so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
pub(super) mod tests {
    use hangu_codecs::Reason;
    use serde_json::{Value, json};

    use super::*;

    pub(in super::super) fn record() -> Record<'static> {
        Record {
            time_unix_ms: 1_795_378_500_042,
            listener: "front",
            protocol: "http1",
            downstream: Some("127.0.0.1:40000".parse().unwrap()),
            request_id: 3,
            subject: Subject::Http {
                method: b"GET",
                authority: b"example.com",
                path: b"/a?b=\"\xff\n",
            },
            route: "root",
            cluster: "back",
            upstream: Some("[::1]:80".parse().unwrap()),
            outcome: Outcome::Http(200),
            grpc: None,
            failure: None,
            received_bytes: 0,
            sent_bytes: 12,
            duration_us: 300,
            upstream_us: Some(250),
            call: Call {
                trace_id: b"c0a8",
                span_id: b"0.1",
                caller_app: b"shop\n",
                caller_zone: b"",
                callee_app: b"bank",
            },
            callee_zone: "GZ00A",
            zone: "GZ00B",
            worker: 3,
        }
    }

    pub(in super::super) fn json(record: &Record<'_>) -> Vec<u8> {
        let mut out = vec![0; 64 * 1024];
        let bytes = record.write(&mut Timestamp::default(), Room::new(&mut out));
        out.truncate(bytes);
        out
    }

    fn line(record: &Record<'_>) -> Value {
        let out = json(record);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_answered_request_is_one_line_with_all_that_is_known() {
        assert_eq!(
            line(&record()),
            json!({
                "time": "2026-11-22T20:15:00.042Z", "listener": "front", "protocol": "http1",
                "downstream": "127.0.0.1:40000", "request_id": 3, "method": "GET",
                "authority": "example.com", "path": "/a?b=\"\u{fffd}\n", "route": "root",
                "cluster": "back", "upstream": "[::1]:80", "status": 200, "received_bytes": 0,
                "sent_bytes": 12, "duration_us": 300, "upstream_us": 250, "trace_id": "c0a8",
                "span_id": "0.1", "caller_app": "shop\n", "callee_app": "bank",
                "callee_zone": "GZ00A", "zone": "GZ00B", "worker": 3
            })
        );
    }

    #[test]
    fn a_grpc_call_tells_how_it_ended_beside_its_http_status() {
        let record = Record { grpc: Some(Code::NotFound), ..record() };
        let line = line(&record);
        assert_eq!((&line["status"], &line["grpc_status"]), (&json!(200), &json!("not_found")));
    }

    #[test]
    fn an_answer_of_the_gateway_says_so_and_why() {
        let mut record = record();
        record.outcome = Outcome::Gateway(Status::NoUpstream);
        let http = line(&record);
        assert_eq!((&http["status"], &http["answered_by"]), (&json!(503), &json!("gateway")));
        assert_eq!(http["failure"], "no_upstream");
        record.subject = Subject::Rpc { service: b"a.B:1.0", method: b"" };
        record.failure = Some("connect_refused");
        let rpc = line(&record);
        assert_eq!((&rpc["status"], &rpc["service"]), (&json!("no_upstream"), &json!("a.B:1.0")));
        assert_eq!(rpc["failure"], "connect_refused");
    }

    #[test]
    fn every_other_outcome_has_a_status_of_its_own() {
        let status = |outcome| {
            let line = line(&Record { outcome, ..record() });
            (line["status"].clone(), line["status_code"].clone(), line["failure"].clone())
        };
        let null = Value::Null;
        assert_eq!(
            status(Outcome::Rpc(RpcOutcome::ProviderError(7))),
            (json!("provider_error"), json!(7), null.clone())
        );
        assert_eq!(
            status(Outcome::Rpc(RpcOutcome::Success)),
            (json!("success"), null.clone(), null.clone())
        );
        assert_eq!(
            status(Outcome::Rpc(RpcOutcome::ApplicationError)),
            (json!("application_error"), null.clone(), null.clone())
        );
        assert_eq!(status(Outcome::Oneway), (json!("oneway"), null.clone(), null.clone()));
        assert_eq!(
            status(Outcome::Reset(Reason::Cancelled)),
            (json!("reset"), null, json!("cancelled"))
        );
    }

    #[test]
    fn a_text_from_the_network_is_cut_at_the_limit() {
        let path = vec![b'/'; TEXT_BYTES_MAX + 1];
        let subject = Subject::Http { method: b"GET", authority: b"", path: &path };
        let logged = line(&Record { subject, ..record() });
        assert_eq!(logged["path"].as_str().unwrap().len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn dates_follow_the_gregorian_calendar() {
        let text = |second: u64| {
            let mut out = Vec::new();
            write_time(second * 1000, &mut out);
            assert_eq!(out.split_off(19), b".000Z");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00");
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(text(1_709_164_800), "2024-02-29T00:00:00");
        assert_eq!(text(1_709_251_200), "2024-03-01T00:00:00");
        assert_eq!(text(4_107_542_400), "2100-03-01T00:00:00");
        assert_eq!(text(4_107_542_399), "2100-02-28T23:59:59");
    }

    #[test]
    fn the_kept_second_changes_with_the_time() {
        let mut clock = Timestamp::default();
        let mut text = |ms| String::from_utf8(clock.text(ms).to_vec()).unwrap();
        assert_eq!(text(7), "1970-01-01T00:00:00.007Z");
        assert_eq!(text(1_099), "1970-01-01T00:00:01.099Z");
        assert_eq!(text(999), "1970-01-01T00:00:00.999Z");
    }
}
