//! One record as a line of the operator's own format.

use hangu_codecs::{grpc::Code, message::RpcOutcome};
use hangu_config::{LogField, LogPiece};

use super::record::{Record, Subject, Timestamp, cut};
use super::room::Room;
use crate::telemetry::Outcome;
use crate::telemetry::outcome::{http_code, reason_name, status_name};

impl Record<'_> {
    /// Writes the record as one line; gives how many bytes it has. A field that holds nothing is
    /// `-`. What comes from the network is escaped as in JSON, so a line is one line, and a field
    /// in quotes ends where its quotes do.
    pub(super) fn write_line(
        &self,
        pieces: &[LogPiece],
        clock: &mut Timestamp,
        mut room: Room<'_>,
    ) -> usize {
        for piece in pieces {
            match piece {
                LogPiece::Text(text) => room.put(text.as_bytes()),
                LogPiece::Field(field) => {
                    let start = room.used();
                    self.write_field(*field, clock, &mut room);
                    if room.used() == start {
                        room.put(b"-");
                    }
                }
            }
        }
        room.put(b"\n");
        room.used()
    }

    /// Appends what a field holds; nothing where it holds nothing.
    fn write_field(&self, field: LogField, clock: &mut Timestamp, room: &mut Room<'_>) {
        let text = match field {
            LogField::Time => return room.put(clock.text(self.time_unix_ms)),
            LogField::Downstream => return self.downstream.map_or((), |it| room.address(it)),
            LogField::Upstream => return self.upstream.map_or((), |it| room.address(it)),
            LogField::RequestId => return room.number(self.request_id),
            LogField::ReceivedBytes => return room.number(self.received_bytes),
            LogField::SentBytes => return room.number(self.sent_bytes),
            LogField::DurationUs => return room.number(self.duration_us),
            LogField::UpstreamUs => return self.upstream_us.map_or((), |it| room.number(it)),
            LogField::Worker => return room.number(self.worker as u64),
            LogField::Status => return self.write_status(room),
            LogField::Listener => self.listener.as_bytes(),
            LogField::Protocol => self.protocol.as_bytes(),
            LogField::Route => self.route.as_bytes(),
            LogField::Cluster => self.cluster.as_bytes(),
            LogField::Zone => self.zone.as_bytes(),
            LogField::CalleeZone => self.callee_zone.as_bytes(),
            LogField::GrpcStatus => self.grpc.map_or("", Code::name).as_bytes(),
            LogField::Failure => self.failure_name().unwrap_or_default().as_bytes(),
            LogField::CallerZone => self.call.caller_zone,
            LogField::CallerApp => self.call.caller_app,
            LogField::CalleeApp => self.call.callee_app,
            LogField::TraceId => self.call.trace_id,
            LogField::SpanId => self.call.span_id,
            LogField::Method | LogField::Authority | LogField::Path | LogField::Service => {
                self.subject_field(field)
            }
        };
        room.escaped(cut(text));
    }

    fn subject_field(&self, field: LogField) -> &[u8] {
        match (self.subject, field) {
            (Subject::Http { method, .. } | Subject::Rpc { method, .. }, LogField::Method) => {
                method
            }
            (Subject::Http { authority, .. }, LogField::Authority) => authority,
            (Subject::Http { path, .. }, LogField::Path) => path,
            (Subject::Rpc { service, .. }, LogField::Service) => service,
            _ => &[],
        }
    }

    /// As in JSON; the provider's own status stands in the same field.
    fn write_status(&self, room: &mut Room<'_>) {
        let word = match self.outcome {
            Outcome::Http(code) => return room.number(u64::from(code)),
            Outcome::Gateway(status) => match self.subject {
                Subject::Http { .. } => return room.number(u64::from(http_code(status))),
                Subject::Rpc { .. } => status_name(status),
            },
            Outcome::Rpc(RpcOutcome::Success) => "success",
            Outcome::Rpc(RpcOutcome::ApplicationError) => "application_error",
            Outcome::Rpc(RpcOutcome::ProviderError(code)) => {
                room.put(b"provider_error:");
                return room.number(u64::from(code));
            }
            Outcome::Oneway => "oneway",
            Outcome::Reset(_) => "reset",
        };
        room.put(word.as_bytes());
    }

    /// What went wrong; `None` when nothing did.
    pub(super) fn failure_name(&self) -> Option<&'static str> {
        self.failure.or(match self.outcome {
            Outcome::Gateway(status) => Some(status_name(status)),
            Outcome::Reset(reason) => Some(reason_name(reason)),
            Outcome::Http(_) | Outcome::Rpc(_) | Outcome::Oneway => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use hangu_codecs::Status;
    use hangu_config::{AccessLogFormat, parse_access_log_format};

    use super::*;
    use crate::telemetry::access_log::record::tests::{json, record};

    fn line(format: &str, record: &Record<'_>) -> String {
        let Ok(AccessLogFormat::Text(pieces)) = parse_access_log_format(format) else {
            panic!("no format of its own: {format}")
        };
        let mut out = vec![0; 64 * 1024];
        let bytes = record.write_line(&pieces, &mut Timestamp::default(), Room::new(&mut out));
        out.truncate(bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_the_operators_own_form() {
        let format = "%{downstream} [%{time}] \"%{method} %{path}\" %{status} %{sent_bytes} 100%%";
        let mut record = record();
        record.subject = Subject::Http { method: b"GET", authority: b"", path: b"/a" };
        let expected = "127.0.0.1:40000 [2026-11-22T20:15:00.042Z] \"GET /a\" 200 12 100%\n";
        assert_eq!(line(format, &record), expected);
    }

    #[test]
    fn every_field_holds_what_the_json_form_says_and_nothing_is_a_dash() {
        let full = record();
        let json: serde_json::Value = serde_json::from_slice(&json(&full)).unwrap();
        for field in LogField::ALL {
            let written = line(&format!("%{{{}}}", field.as_str()), &full);
            let expected = match &json[field.as_str()] {
                serde_json::Value::Null => "-".to_owned(),
                serde_json::Value::String(text) => {
                    let quoted = serde_json::to_string(text).unwrap();
                    quoted[1..quoted.len() - 1].to_owned()
                }
                other => other.to_string(),
            };
            assert_eq!(written, format!("{expected}\n"), "{field:?}");
        }
    }

    #[test]
    fn nothing_from_the_network_ends_a_line_or_its_quotes() {
        for byte in 0..=255 {
            let path = [b'/', byte, b'"'];
            let subject = Subject::Http { method: b"GET", authority: b"", path: &path };
            let written = line("\"%{path}\"", &Record { subject, ..record() });
            assert!(written.ends_with("\\\"\"\n"), "{written:?}");
            let inner = &written[..written.len() - 1];
            assert!(!inner.contains(|it: char| it.is_ascii_control()), "{written:?}");
            assert!(serde_json::from_str::<String>(inner).is_ok(), "{written:?}");
        }
    }

    #[test]
    fn the_status_tells_who_answered_what() {
        let of = |outcome, subject| {
            line("%{status} %{failure}", &Record { outcome, subject, ..record() })
        };
        let rpc = Subject::Rpc { service: b"a.B:1.0", method: b"get" };
        assert_eq!(of(Outcome::Rpc(RpcOutcome::ProviderError(7)), rpc), "provider_error:7 -\n");
        let own = Outcome::Gateway(Status::NoUpstream);
        assert_eq!(of(own, rpc), "no_upstream no_upstream\n");
        assert_eq!(of(own, record().subject), "503 no_upstream\n");
    }
}
