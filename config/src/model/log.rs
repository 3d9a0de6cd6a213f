//! Logs: what the process says of itself, and of each exchange.

use std::{path::PathBuf, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{suggest::nearest, text::Fault};

/// What the process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// What is said: this and what is graver.
    pub level: LogLevel,
    /// Lines for people or JSON objects.
    pub format: LogFormat,
    /// A file that is appended to; `None` (`-`) is standard error.
    #[serde(serialize_with = "path_or_dash")]
    pub path: Option<PathBuf>,
    /// Warnings and errors per second from one place of the program; at least 1.
    pub repeats_per_second_max: u32,
}

/// How grave something is that the process says.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something may break.
    Warn,
    /// What an operator wants to know: start, stop, reload, endpoints that fail.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All levels, the gravest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The name, as it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = Fault;

    fn from_str(name: &str) -> Result<Self, Fault> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|it| it.as_str()).collect();
            Fault::new(
                format!("`{}` is no level", name.escape_debug()),
                &format!("one of {}", names.join(", ")),
            )
        })
    }
}

/// The form of what the process says of itself.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The access log: one line per exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    /// Whether it is written.
    pub enabled: bool,
    /// Where to.
    pub path: LogPath,
    /// What a line looks like.
    pub format: AccessLogFormat,
}

/// Where a log is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPath {
    /// Standard output; `-` in the configuration.
    Stdout,
    /// A file that is appended to.
    File(PathBuf),
}

impl Serialize for LogPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stdout => serializer.serialize_str("-"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

/// What a line of the access log looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// These, one after the other; at least one.
    Text(Vec<LogPiece>),
}

/// A piece of a line of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    /// This text, without control characters but tabs.
    Text(String),
    /// What this field holds; `-` where an exchange has none.
    Field(LogField),
}

impl std::fmt::Display for AccessLogFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pieces = match self {
            Self::Json => return formatter.write_str("json"),
            Self::Text(pieces) => pieces,
        };
        for piece in pieces {
            match piece {
                LogPiece::Text(text) => formatter.write_str(&text.replace('%', "%%"))?,
                LogPiece::Field(field) => write!(formatter, "%{{{}}}", field.as_str())?,
            }
        }
        Ok(())
    }
}

impl Serialize for AccessLogFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads the format of the access log: `json`, or a text with fields (`%{status}`) in which `%%` is
/// a percent sign.
///
/// # Errors
/// See [`Fault`].
pub fn parse_access_log_format(text: &str) -> Result<AccessLogFormat, Fault> {
    if text == "json" {
        return Ok(AccessLogFormat::Json);
    }
    let example = "`json`, or fields such as `%{time} %{method} %{path} %{status}`";
    if text.is_empty() || text.contains(|it: char| it.is_control() && it != '\t') {
        return Err(Fault::new("the format is empty or has control characters", example));
    }
    if text.len() > FORMAT_BYTES_MAX {
        let what = format!("the format is longer than {FORMAT_BYTES_MAX} bytes");
        return Err(Fault::new(what, "a shorter one"));
    }
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            plain.push('%');
            rest = after;
            continue;
        }
        let named = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let Some((name, after)) = named else {
            return Err(Fault::new(
                "a `%` begins no field",
                "`%{name}`, or `%%` for a percent sign",
            ));
        };
        if !plain.is_empty() {
            pieces.push(LogPiece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(LogPiece::Field(name.parse()?));
        rest = after;
    }
    plain.push_str(rest);
    if pieces.is_empty() {
        return Err(Fault::new(format!("the format `{text}` has no field"), example));
    }
    if !plain.is_empty() {
        pieces.push(LogPiece::Text(plain));
    }
    Ok(AccessLogFormat::Text(pieces))
}

macro_rules! log_fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A field of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LogField {
            $($(#[$doc])* $variant,)*
        }

        impl LogField {
            /// All fields.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The key in the JSON form and the name in a format.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

log_fields! {
    /// When the head of the request came.
    Time = "time",
    /// Name of the listener.
    Listener = "listener",
    /// Protocol of the downstream.
    Protocol = "protocol",
    /// Address of the downstream.
    Downstream = "downstream",
    /// Number of the request on its connection.
    RequestId = "request_id",
    /// Method of HTTP or RPC.
    Method = "method",
    /// Authority of an HTTP request.
    Authority = "authority",
    /// Path of an HTTP request.
    Path = "path",
    /// Service of an RPC request.
    Service = "service",
    /// Name of the route.
    Route = "route",
    /// Name of the cluster.
    Cluster = "cluster",
    /// Address of the endpoint.
    Upstream = "upstream",
    /// How it was answered.
    Status = "status",
    /// How a gRPC call ended.
    GrpcStatus = "grpc_status",
    /// What went wrong.
    Failure = "failure",
    /// Bytes of body or frame that came from the downstream.
    ReceivedBytes = "received_bytes",
    /// Bytes of body or frame that went to the downstream.
    SentBytes = "sent_bytes",
    /// Microseconds from the head to the end.
    DurationUs = "duration_us",
    /// Microseconds from forwarding to the end.
    UpstreamUs = "upstream_us",
    /// Zone of the caller.
    CallerZone = "caller_zone",
    /// Zone of the endpoint.
    CalleeZone = "callee_zone",
    /// Application that calls.
    CallerApp = "caller_app",
    /// Application that is called.
    CalleeApp = "callee_app",
    /// Id of the trace.
    TraceId = "trace_id",
    /// Id of the span in its trace.
    SpanId = "span_id",
    /// Zone of this gateway.
    Zone = "zone",
    /// Index of the worker.
    Worker = "worker",
}

impl FromStr for LogField {
    type Err = Fault;

    fn from_str(name: &str) -> Result<Self, Fault> {
        if let Some(field) = Self::ALL.iter().find(|it| it.as_str() == name) {
            return Ok(*field);
        }
        let names = || Self::ALL.iter().map(|it| it.as_str());
        let instead = match nearest(name, names()) {
            Some(near) => format!("`%{{{near}}}`"),
            None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        Err(Fault::new(format!("the access log has no field `{name}`"), &instead))
    }
}

fn path_or_dash<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => path.serialize(serializer),
        None => serializer.serialize_str("-"),
    }
}

/// Far more than all fields with words between them.
const FORMAT_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_into_pieces_and_written_as_it_was() {
        let text = "%{time} 100%% \"%{method} %{path}\" %{status}.";
        let format = parse_access_log_format(text).unwrap();
        let AccessLogFormat::Text(pieces) = &format else { panic!("{format:?}") };
        assert_eq!(
            pieces[..4],
            [
                LogPiece::Field(LogField::Time),
                LogPiece::Text(" 100% \"".to_owned()),
                LogPiece::Field(LogField::Method),
                LogPiece::Text(" ".to_owned()),
            ]
        );
        assert_eq!(pieces.last(), Some(&LogPiece::Text(".".to_owned())));
        assert_eq!(format.to_string(), text);
        assert_eq!(parse_access_log_format("json").unwrap(), AccessLogFormat::Json);
    }

    #[test]
    fn a_field_that_is_unknown_is_told_with_the_nearest_name() {
        let told = |text| parse_access_log_format(text).unwrap_err().to_string();
        assert!(told("%{statsu}").ends_with("write `%{status}`"), "{}", told("%{statsu}"));
        assert!(told("%{nothing like it}").contains("one of time, listener"));
        for wrong in ["", "combined", "50%", "%{time", "%d", "%{time}\n"] {
            assert!(parse_access_log_format(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_field_is_found_by_its_name() {
        for field in LogField::ALL {
            assert_eq!(field.as_str().parse(), Ok(*field));
        }
        for level in LogLevel::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
    }
}
