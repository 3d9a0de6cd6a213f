//! To which trace a request belongs, whose call it is, and the trace id that it gets here when it
//! has none.
//!
//! | request | is in a trace when it has | gets otherwise |
//! |---|---|---|
//! | HTTP | `traceparent` (W3C Trace Context level 1), `SOFA-TraceId`, `X-B3-TraceId` | `traceparent` |
//! | Bolt with SOFA's fields | `rpc_trace_context.sofaTraceId` or `new_rpc_trace_context` | `rpc_trace_context.sofaTraceId` and `.sofaRpcId` |
//! | Bolt without | | nothing: its header belongs to whoever made it |
//!
//! An id that came goes on as it is; the gateway is no span of its own. Ids are unlike each other
//! and need be no secret, so the worker's own generator, seeded by the system, makes them.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::time::UNIX_EPOCH;

use hangu_codecs::{Fields, Head, HttpRequest, RpcHead, bolt};
use hangu_config::TraceIds;

use super::{Core, ExchangeId, text::Text};
use crate::{clock, telemetry::Call};

impl Core {
    /// Finds the trace of a request, and makes one where there is none and the listener wants it.
    /// Keeps for the log what it found. Says whether an RPC request is to get the fields that
    /// [`Core::added`] then has.
    pub(super) fn trace(
        &mut self,
        id: ExchangeId,
        trace_ids: TraceIds,
        head: &mut Head<'_>,
    ) -> bool {
        let is_logged = self.settings.access_log;
        let makes = trace_ids == TraceIds::Generate;
        let has_trace =
            |head: &Head<'_>| matches!(head, Head::RpcRequest(it) if !it.trace.trace_id.is_empty());
        if !is_logged && (!makes || has_trace(head)) {
            return false;
        }
        let mut unlogged = Text::default();
        let exchange = if is_logged { self.exchanges.get_mut(id) } else { None };
        let logged = exchange.and_then(|it| it.logged.as_deref_mut());
        let text = logged.map_or(&mut unlogged, |it| &mut it.text);
        match head {
            Head::HttpRequest(request) => {
                trace_http(request, makes, &mut self.ids, text);
                false
            }
            Head::RpcRequest(rpc) => trace_rpc(rpc, makes, &mut self.ids, text, &mut self.added),
            Head::HttpResponse(_) | Head::RpcResponse(_) => false,
        }
    }
}

fn trace_http(request: &mut HttpRequest, makes: bool, ids: &mut Ids, text: &mut Text) {
    let said = Said::read(&request.fields);
    let mut call = Call {
        caller_app: said.caller_app,
        caller_zone: said.caller_zone,
        ..said.ids().unwrap_or_default()
    };
    if !call.trace_id.is_empty() || !makes {
        return text.note(&call);
    }
    let made = ids.w3c();
    call.trace_id = made.get(W3C_TRACE_ID).unwrap_or_default();
    call.span_id = made.get(W3C_PARENT_ID).unwrap_or_default();
    text.note(&call);
    if said.traceparents > 0 {
        // Level 1 §3.3.1.1, §4.3: who cannot read traceparent begins a new trace, to which the
        // state of the old one does not belong.
        request.fields.remove(b"traceparent");
        request.fields.remove(b"tracestate");
    }
    request.fields.push(b"traceparent", &made);
}

/// Says whether the request is to get the fields that `added` then has.
fn trace_rpc(
    rpc: &RpcHead<'_>,
    makes: bool,
    ids: &mut Ids,
    text: &mut Text,
    added: &mut Fields,
) -> bool {
    let fields = &rpc.fields;
    let mut call = Call {
        trace_id: fields.at(rpc.trace.trace_id),
        span_id: fields.at(rpc.trace.span_id),
        caller_app: fields.at(rpc.trace.caller_app),
        caller_zone: fields.at(rpc.trace.caller_zone),
        callee_app: fields.at(rpc.trace.target_app),
    };
    let has_sofa_fields = rpc.protocol == bolt::PROTOCOL.name && !rpc.service.is_empty();
    if !call.trace_id.is_empty() || !makes || !has_sofa_fields {
        text.note(&call);
        return false;
    }
    let (buffer, bytes) = ids.sofa();
    call.trace_id = buffer.get(..bytes).unwrap_or_default();
    call.span_id = SOFA_ROOT;
    text.note(&call);
    added.clear();
    added.push(bolt::FIELD_TRACE_ID, call.trace_id);
    added.push(bolt::FIELD_RPC_ID, call.span_id);
    true
}

/// The first call of a trace.
const SOFA_ROOT: &[u8] = b"0";

/// What the fields of an HTTP request say of its trace and its caller. The names of SOFA are those
/// of its tracer's and its REST clients.
#[derive(Default)]
struct Said<'a> {
    traceparents: usize,
    traceparent: &'a [u8],
    sofa_trace: &'a [u8],
    sofa_span: &'a [u8],
    b3_trace: &'a [u8],
    b3_span: &'a [u8],
    caller_app: &'a [u8],
    caller_zone: &'a [u8],
}

impl<'a> Said<'a> {
    fn read(fields: &'a Fields) -> Self {
        let mut said = Self::default();
        for (name, value) in fields.iter() {
            let is = |it: &[u8]| name.eq_ignore_ascii_case(it);
            match name.len() {
                9 if is(b"sofarpcid") => said.sofa_span = value,
                10 if is(b"sofa-rpcid") => said.sofa_span = value,
                11 if is(b"traceparent") => {
                    said.traceparent = value;
                    said.traceparents += 1;
                }
                11 if is(b"sofatraceid") => said.sofa_trace = value,
                11 if is(b"x-b3-spanid") => said.b3_span = value,
                12 if is(b"sofa-traceid") => said.sofa_trace = value,
                12 if is(b"x-b3-traceid") => said.b3_trace = value,
                13 if is(b"sofacallerapp") => said.caller_app = value,
                14 if is(b"sofacallerzone") => said.caller_zone = value,
                // Triple of Dubbo and SOFA-RPC.
                20 if is(b"tri-consumer-appname") => said.caller_app = value,
                _ => {}
            }
        }
        said
    }

    /// Trace and span; `None` when there is no trace.
    fn ids(&self) -> Option<Call<'a>> {
        if self.traceparents == 1 && is_w3c(self.traceparent) {
            let trace_id = self.traceparent.get(W3C_TRACE_ID)?;
            let span_id = self.traceparent.get(W3C_PARENT_ID)?;
            return Some(Call { trace_id, span_id, ..Call::default() });
        }
        let found = [(self.sofa_trace, self.sofa_span), (self.b3_trace, self.b3_span)];
        let (trace_id, span_id) = found.into_iter().find(|it| !it.0.is_empty())?;
        Some(Call { trace_id, span_id, ..Call::default() })
    }
}

const W3C_TRACE_ID: std::ops::Range<usize> = 3..35;
const W3C_PARENT_ID: std::ops::Range<usize> = 36..52;
const W3C_BYTES: usize = 55;

/// Whether a value is a traceparent (W3C Trace Context level 1 §3.2): version, trace id, parent id
/// and flags in lower-case hexadecimal. Versions after 00 may have more behind a dash.
fn is_w3c(value: &[u8]) -> bool {
    let Some((known, more)) = value.split_at_checked(W3C_BYTES) else { return false };
    let is_well_formed = known.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let is_zero = |range: std::ops::Range<usize>| {
        known.get(range).is_none_or(|it| it.iter().all(|it| *it == b'0'))
    };
    let fits_version = match known.get(..2) {
        Some(b"00") => more.is_empty(),
        Some(b"ff") | None => false,
        Some(_) => more.first().is_none_or(|it| *it == b'-'),
    };
    is_well_formed && fits_version && !is_zero(W3C_TRACE_ID) && !is_zero(W3C_PARENT_ID)
}

/// Makes the trace ids of one worker.
pub(crate) struct Ids {
    random: [u64; 2],
    /// The gateway's address in hexadecimal.
    address: [u8; 8],
    process: u32,
    /// The first number of this worker, and how many it has.
    numbers: (u16, u16),
    next: u16,
}

/// The most bytes of a SOFA trace id: address, milliseconds, number, process.
const SOFA_BYTES_MAX: usize = 8 + 13 + 4 + 10;

impl Ids {
    /// Ids of one of `workers` workers of the gateway that has this address.
    pub(crate) fn new(worker: usize, workers: usize, address: Ipv4Addr) -> Self {
        let seed = || RandomState::new().hash_one(worker);
        let share = (SOFA_NUMBERS / workers.clamp(1, SOFA_NUMBERS)).max(1);
        let first = (worker * share) % SOFA_NUMBERS;
        let mut hex = [0; 8];
        put_hex(&mut hex, u32::from(address).into());
        Self {
            random: [seed(), seed()],
            address: hex,
            process: std::process::id(),
            numbers: (first as u16, share as u16),
            next: 0,
        }
    }

    /// A traceparent of a new trace. The flag says that the caller recorded it, which the access
    /// log does; without it, services that follow their caller's decision (the default of
    /// OpenTelemetry) would record nothing of what comes in through the gateway.
    fn w3c(&mut self) -> [u8; W3C_BYTES] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-01";
        let (high, low) = (self.random(0), self.random(1));
        let ranges = [(3..19, high), (19..35, low), (W3C_PARENT_ID, self.random(0))];
        for (range, random) in ranges {
            if let Some(place) = value.get_mut(range) {
                // An id of zeros is none.
                put_hex(place, random.max(1));
            }
        }
        value
    }

    /// A trace id as SOFATracer makes it: address, milliseconds since 1970, a number from 1000 to
    /// 9999, process. Each worker has numbers of its own, so ids of one millisecond differ.
    fn sofa(&mut self) -> ([u8; SOFA_BYTES_MAX], usize) {
        let unix = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (first, share) = self.numbers;
        let number = 1000 + first + self.next;
        self.next = (self.next + 1) % share;
        let mut value = [0; SOFA_BYTES_MAX];
        if let Some(place) = value.get_mut(..8) {
            place.copy_from_slice(&self.address);
        }
        put_decimal(value.get_mut(8..21), u64::try_from(unix.as_millis()).unwrap_or(0));
        put_decimal(value.get_mut(21..25), number.into());
        let digits = 1 + self.process.checked_ilog10().unwrap_or(0) as usize;
        put_decimal(value.get_mut(25..25 + digits), self.process.into());
        (value, 25 + digits)
    }

    /// SplitMix64.
    fn random(&mut self, of: usize) -> u64 {
        let Some(state) = self.random.get_mut(of) else { return 0 };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Numbers of four digits.
const SOFA_NUMBERS: usize = 9000;

/// Fills a place with the last digits of a number.
fn put_hex(place: &mut [u8], mut value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in place.iter_mut().rev() {
        *digit = DIGITS[(value & 15) as usize];
        value >>= 4;
    }
}

fn put_decimal(place: Option<&mut [u8]>, mut value: u64) {
    for digit in place.into_iter().flatten().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn ids() -> Ids {
        Ids::new(1, 2, Ipv4Addr::new(192, 168, 0, 7))
    }

    fn traced(lines: &[(&str, &str)], makes: bool) -> HttpRequest {
        let mut request = HttpRequest::default();
        for (name, value) in lines {
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        trace_http(&mut request, makes, &mut ids(), &mut Text::default());
        request
    }

    #[test]
    fn a_request_without_a_trace_gets_a_traceparent_of_its_own() {
        let (one, other) = (traced(&[("a", "b")], true), traced(&[("a", "b")], true));
        let parent = |it: &HttpRequest| it.fields.find(b"traceparent").unwrap().to_vec();
        assert!(is_w3c(&parent(&one)), "{:?}", one.fields);
        assert_ne!(parent(&one), parent(&other));
        assert_eq!(traced(&[("a", "b")], false).fields.len(), 1);
    }

    #[test]
    fn a_request_in_a_trace_goes_on_as_it_came() {
        let traces = [
            ("TraceParent", VALID),
            ("SOFA-TraceId", "c0a80007179535566702110215499"),
            ("sofaTraceId", "x"),
            ("x-b3-traceid", "463ac35c9f6413ad"),
        ];
        for (name, value) in traces {
            let request = traced(&[(name, value), ("tracestate", "a=b")], true);
            assert_eq!(request.fields.len(), 2, "{name}");
            assert_eq!(request.fields.find(name.as_bytes()), Some(value.as_bytes()));
        }
    }

    #[test]
    fn a_traceparent_that_cannot_be_read_is_replaced_and_its_state_dropped() {
        // W3C Trace Context level 1 §3.2.2
        let wrong = [
            "",
            "rubbish",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ];
        for value in wrong {
            let request = traced(&[("traceparent", value), ("Tracestate", "a=b")], true);
            assert_eq!(request.fields.len(), 1, "{value}");
            assert!(is_w3c(request.fields.find(b"traceparent").unwrap()), "{value}");
            assert_eq!(traced(&[("traceparent", value)], false).fields.len(), 1);
        }
        let two = traced(&[("traceparent", VALID), ("traceparent", VALID)], true);
        assert_eq!(two.fields.len(), 1);
        assert_ne!(two.fields.find(b"traceparent"), Some(VALID.as_bytes()));
    }

    #[test]
    fn a_traceparent_of_a_later_version_is_understood() {
        for more in ["", "-", "-what comes later"] {
            assert!(is_w3c(format!("cc{}{more}", &VALID[2..]).as_bytes()), "{more}");
        }
    }

    #[test]
    fn a_sofa_trace_id_has_the_form_of_the_tracer() {
        let (buffer, bytes) = ids().sofa();
        let id = str::from_utf8(&buffer[..bytes]).unwrap();
        assert_eq!(&id[..8], "c0a80007");
        let ms: u128 = id[8..21].parse().unwrap();
        let now = clock::wall().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(now - 60_000 < ms && ms <= now, "{ms} {now}");
        assert!((1000..=9999).contains(&id[21..25].parse::<u16>().unwrap()), "{id}");
        assert_eq!(id[25..], std::process::id().to_string());
    }

    #[test]
    fn workers_share_no_number() {
        for workers in [1, 2, 7, 9000] {
            let mut seen = HashSet::new();
            for worker in 0..workers {
                let mut ids = Ids::new(worker, workers, Ipv4Addr::LOCALHOST);
                let share = SOFA_NUMBERS / workers;
                for _ in 0..share.min(3) {
                    let (value, _) = ids.sofa();
                    assert!(seen.insert(value[21..25].to_vec()), "{worker} of {workers}");
                }
            }
        }
        Ids::new(20_000, 20_001, Ipv4Addr::LOCALHOST).sofa();
    }
}
