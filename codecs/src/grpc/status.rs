//! The status of a call ([gRPC status codes][codes]).
//!
//! [codes]: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md

use serde::{Deserialize, Serialize};

use crate::Status;

/// A status code: 0 to 16, as `grpc-status` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller gave the call up.
    Cancelled = 1,
    /// Anything that tells no other code.
    Unknown = 2,
    /// The caller sent something that is wrong whatever the state of the server.
    InvalidArgument = 3,
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// What was to be made is there already.
    AlreadyExists = 6,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A quota or a size is used up.
    ResourceExhausted = 8,
    /// The server is not in the state for this.
    FailedPrecondition = 9,
    /// The work was broken off, often by another one at the same time.
    Aborted = 10,
    /// Beyond what is there.
    OutOfRange = 11,
    /// Nobody serves this method.
    Unimplemented = 12,
    /// Something that must hold does not.
    Internal = 13,
    /// The service is not there at the moment; it is safe to ask again.
    Unavailable = 14,
    /// Data are lost for good.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl Code {
    /// All codes in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The number, 0 to 16.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The number in decimal, as it stands in `grpc-status`.
    pub fn digits(self) -> &'static str {
        match self {
            Self::Ok => "0",
            Self::Cancelled => "1",
            Self::Unknown => "2",
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::NotFound => "5",
            Self::AlreadyExists => "6",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::FailedPrecondition => "9",
            Self::Aborted => "10",
            Self::OutOfRange => "11",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::DataLoss => "15",
            Self::Unauthenticated => "16",
        }
    }

    /// The name in configuration, logs and metrics, `lower_snake_case`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out_of_range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data_loss",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// The code of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The value of `grpc-status`. What is no number from 0 to 16 is [`Code::Unknown`], as clients
    /// read it.
    pub fn of_field(value: &[u8]) -> Self {
        let number = match value {
            [ones @ b'0'..=b'9'] => ones - b'0',
            [b'1', ones @ b'0'..=b'9'] => 10 + (ones - b'0'),
            _ => u8::MAX,
        };
        Self::of_number(number).unwrap_or(Self::Unknown)
    }

    /// What a client makes of an HTTP status that comes without `grpc-status`
    /// ([HTTP to gRPC status code mapping][mapping]).
    ///
    /// [mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    pub fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a client makes of the error code of a RST_STREAM that ended its call (gRPC over
    /// HTTP/2, "HTTP2 Transport Mapping"; error codes: RFC 9113 §7).
    pub fn of_http2_error(code: u32) -> Self {
        match code {
            // REFUSED_STREAM: the server has not begun with it.
            0x7 => Self::Unavailable,
            // CANCEL
            0x8 => Self::Cancelled,
            // ENHANCE_YOUR_CALM
            0xb => Self::ResourceExhausted,
            // INADEQUATE_SECURITY
            0xc => Self::PermissionDenied,
            // NO_ERROR to FRAME_SIZE_ERROR but STREAM_CLOSED, COMPRESSION_ERROR, CONNECT_ERROR
            0x0..=0x4 | 0x6 | 0x9 | 0xa => Self::Internal,
            // STREAM_CLOSED, HTTP_1_1_REQUIRED and what nobody knows tell nothing of the call.
            _ => Self::Unknown,
        }
    }
}

/// How an answer of the gateway's own is said in gRPC: the code, and a text for `grpc-message` of
/// bytes that need no percent-encoding.
///
/// Where the caller is at fault the code says so, though the codes that libraries make of HTTP
/// statuses alone ([`Code::of_http`]) do not: a 400 is no failure of the service.
pub fn status_of(status: Status) -> (Code, &'static str) {
    match status {
        Status::BadRequest => (Code::InvalidArgument, "the request is not well formed"),
        Status::NoRoute => (Code::Unimplemented, "no route matches the request"),
        Status::MethodNotAllowed => {
            (Code::Unimplemented, "the method is not one that is forwarded")
        }
        Status::RequestTimedOut => (Code::DeadlineExceeded, "the request did not come in time"),
        Status::BodyTooLarge => (Code::ResourceExhausted, "the body is larger than the limit"),
        Status::TargetTooLong => (Code::ResourceExhausted, "the path is longer than the limit"),
        Status::ExpectationFailed => {
            (Code::InvalidArgument, "the expectation is not one that is known")
        }
        Status::FieldsTooLarge => (Code::ResourceExhausted, "the fields are larger than the limit"),
        Status::Internal => (Code::Internal, "the gateway failed"),
        Status::NotImplemented => {
            (Code::Unimplemented, "the request needs what is not implemented")
        }
        Status::UpstreamFailed => (Code::Unavailable, "the upstream failed"),
        Status::NoUpstream => (Code::Unavailable, "no upstream is available"),
        Status::Overloaded => (Code::Unavailable, "a limit of the gateway is reached"),
        Status::TimedOut => (Code::DeadlineExceeded, "the upstream did not answer in time"),
        Status::VersionNotSupported => (Code::Unimplemented, "the version is not spoken here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_in_every_form() {
        for (number, code) in (0u8..).zip(Code::ALL) {
            assert_eq!(code.number(), number);
            assert_eq!(code.digits(), number.to_string());
            assert_eq!(Code::of_number(number), Some(code));
            assert_eq!(Code::of_field(code.digits().as_bytes()), code);
        }
        assert_eq!(Code::of_number(17), None);
    }

    #[test]
    fn a_status_field_that_is_no_code_is_unknown() {
        for value in [&b""[..], b"17", b"99", b"-1", b"00", b"014", b"1 ", b"abc", b"1\xff"] {
            assert_eq!(Code::of_field(value), Code::Unknown, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn http_statuses_map_as_the_specification_lists_them() {
        let listed = [
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
        ];
        for status in 100..1000 {
            let expected = listed.iter().find(|it| it.0 == status).map(|it| it.1);
            assert_eq!(Code::of_http(status), expected.unwrap_or(Code::Unknown), "{status}");
        }
    }

    #[test]
    fn error_codes_of_http2_map_as_the_specification_lists_them() {
        assert_eq!(Code::of_http2_error(0x0), Code::Internal);
        assert_eq!(Code::of_http2_error(0x1), Code::Internal);
        assert_eq!(Code::of_http2_error(0x5), Code::Unknown);
        assert_eq!(Code::of_http2_error(0x7), Code::Unavailable);
        assert_eq!(Code::of_http2_error(0x8), Code::Cancelled);
        assert_eq!(Code::of_http2_error(0xb), Code::ResourceExhausted);
        assert_eq!(Code::of_http2_error(0xc), Code::PermissionDenied);
        assert_eq!(Code::of_http2_error(0xffff_ffff), Code::Unknown);
    }

    #[test]
    fn our_own_answers_never_say_ok_and_need_no_encoding() {
        for status in [
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
        ] {
            let (code, message) = status_of(status);
            assert_ne!(code, Code::Ok);
            assert!(message.bytes().all(|it| matches!(it, b' '..=b'~') && it != b'%'));
        }
    }
}
