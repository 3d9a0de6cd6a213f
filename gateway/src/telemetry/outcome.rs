//! How an exchange ended.

use hangu_codecs::{Reason, Status, message::RpcOutcome};

/// How an exchange ended, as it is counted and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// The upstream answered with this HTTP status, 100 to 999.
    Http(u16),
    /// The upstream answered with an RPC response.
    Rpc(RpcOutcome),
    /// The gateway answered itself.
    Gateway(Status),
    /// There was no whole answer: one side gave the stream up.
    Reset(Reason),
    /// A oneway request was forwarded; no answer is expected.
    Oneway,
}

/// The classes that outcomes are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// HTTP 100 to 199: the connection changed to another protocol (101).
    Http1xx,
    /// HTTP 200 to 299.
    Http2xx,
    /// HTTP 300 to 399.
    Http3xx,
    /// HTTP 400 to 499.
    Http4xx,
    /// HTTP 500 to 599, and above.
    Http5xx,
    /// RPC: the call succeeded.
    Success,
    /// RPC: the application answered with an exception.
    ApplicationError,
    /// RPC: the framework of the provider answered with an error.
    ProviderError,
    /// RPC: a oneway request was forwarded.
    Oneway,
    /// The gateway answered itself.
    Gateway,
    /// One side gave the stream up before the answer was whole.
    Reset,
}

/// All classes, in the order of their discriminants.
pub const CLASSES: [Class; 11] = [
    Class::Http1xx,
    Class::Http2xx,
    Class::Http3xx,
    Class::Http4xx,
    Class::Http5xx,
    Class::Success,
    Class::ApplicationError,
    Class::ProviderError,
    Class::Oneway,
    Class::Gateway,
    Class::Reset,
];

impl Class {
    /// The value of the label `class`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1xx => "1xx",
            Self::Http2xx => "2xx",
            Self::Http3xx => "3xx",
            Self::Http4xx => "4xx",
            Self::Http5xx => "5xx",
            Self::Success => "success",
            Self::ApplicationError => "application_error",
            Self::ProviderError => "provider_error",
            Self::Oneway => "oneway",
            Self::Gateway => "gateway",
            Self::Reset => "reset",
        }
    }
}

impl Outcome {
    /// The class that it is counted in.
    #[inline]
    pub const fn class(self) -> Class {
        match self {
            Self::Http(..200) => Class::Http1xx,
            Self::Http(200..300) => Class::Http2xx,
            Self::Http(300..400) => Class::Http3xx,
            Self::Http(400..500) => Class::Http4xx,
            Self::Http(500..) => Class::Http5xx,
            Self::Rpc(RpcOutcome::Success) => Class::Success,
            Self::Rpc(RpcOutcome::ApplicationError) => Class::ApplicationError,
            Self::Rpc(RpcOutcome::ProviderError(_)) => Class::ProviderError,
            Self::Gateway(_) => Class::Gateway,
            Self::Reset(_) => Class::Reset,
            Self::Oneway => Class::Oneway,
        }
    }
}

/// The name of a status in metrics and logs.
pub(super) const fn status_name(status: Status) -> &'static str {
    match status {
        Status::BadRequest => "bad_request",
        Status::NoRoute => "no_route",
        Status::MethodNotAllowed => "method_not_allowed",
        Status::RequestTimedOut => "request_timed_out",
        Status::BodyTooLarge => "body_too_large",
        Status::TargetTooLong => "target_too_long",
        Status::ExpectationFailed => "expectation_failed",
        Status::FieldsTooLarge => "fields_too_large",
        Status::Internal => "internal",
        Status::NotImplemented => "not_implemented",
        Status::UpstreamFailed => "upstream_failed",
        Status::NoUpstream => "no_upstream",
        Status::Overloaded => "overloaded",
        Status::TimedOut => "timed_out",
        Status::VersionNotSupported => "version_not_supported",
    }
}

/// The HTTP status code that stands for a status, as documented at [`Status`].
pub(super) const fn http_code(status: Status) -> u16 {
    match status {
        Status::BadRequest => 400,
        Status::NoRoute => 404,
        Status::MethodNotAllowed => 405,
        Status::RequestTimedOut => 408,
        Status::BodyTooLarge => 413,
        Status::TargetTooLong => 414,
        Status::ExpectationFailed => 417,
        Status::FieldsTooLarge => 431,
        Status::Internal => 500,
        Status::NotImplemented => 501,
        Status::UpstreamFailed => 502,
        Status::NoUpstream | Status::Overloaded => 503,
        Status::TimedOut => 504,
        Status::VersionNotSupported => 505,
    }
}

/// All statuses, by the index that [`status_index`] gives.
pub(super) const STATUSES: [Status; 15] = [
    Status::BadRequest,
    Status::NoRoute,
    Status::MethodNotAllowed,
    Status::RequestTimedOut,
    Status::BodyTooLarge,
    Status::TargetTooLong,
    Status::ExpectationFailed,
    Status::FieldsTooLarge,
    Status::Internal,
    Status::NotImplemented,
    Status::UpstreamFailed,
    Status::NoUpstream,
    Status::Overloaded,
    Status::TimedOut,
    Status::VersionNotSupported,
];

/// The place of a status in [`STATUSES`].
pub(super) const fn status_index(status: Status) -> usize {
    status as usize
}

/// The name of a reason in metrics and logs.
pub(super) const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Cancelled => "cancelled",
        Reason::ConnectionLost => "connection_lost",
        Reason::TimedOut => "timed_out",
        Reason::ProtocolError => "protocol_error",
        Reason::TooLarge => "too_large",
        Reason::SlowReader => "slow_reader",
        Reason::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_stand_in_the_order_of_the_discriminants() {
        for (index, class) in CLASSES.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
        for (index, status) in STATUSES.into_iter().enumerate() {
            assert_eq!(status_index(status), index, "{status:?}");
        }
    }

    #[test]
    fn http_codes_fall_into_their_hundreds() {
        assert_eq!(Outcome::Http(101).class(), Class::Http1xx);
        assert_eq!(Outcome::Http(204).class(), Class::Http2xx);
        assert_eq!(Outcome::Http(304).class(), Class::Http3xx);
        assert_eq!(Outcome::Http(499).class(), Class::Http4xx);
        assert_eq!(Outcome::Http(999).class(), Class::Http5xx);
    }
}
