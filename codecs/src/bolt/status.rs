//! Response statuses, as `com.alipay.remoting.ResponseStatus` numbers them.

use crate::Status;

/// The call went through; the content tells of the application's success or exception.
pub const SUCCESS: u16 = 0;
/// An error without more.
pub const ERROR: u16 = 1;
/// The provider's framework failed; Java: `InvokeServerException`.
pub const SERVER_EXCEPTION: u16 = 2;
/// Unknown.
pub const UNKNOWN: u16 = 3;
/// All threads of the provider are busy; Java: `InvokeServerBusyException`.
pub const SERVER_BUSY: u16 = 4;
/// The two sides could not talk to each other.
pub const ERROR_COMM: u16 = 5;
/// Nobody processes such requests.
pub const NO_PROCESSOR: u16 = 6;
/// No answer in time; Java: `InvokeTimeoutException`, SOFA-RPC: `SofaTimeOutException`.
pub const TIMEOUT: u16 = 7;
/// The request could not be sent.
pub const CLIENT_SEND_ERROR: u16 = 8;
/// Could not be encoded or decoded; Java: `CodecException`.
pub const CODEC_EXCEPTION: u16 = 9;
/// The connection is closed; Java: `ConnectionClosedException`.
pub const CONNECTION_CLOSED: u16 = 16;
/// The provider could not serialise its answer.
pub const SERVER_SERIAL_EXCEPTION: u16 = 17;
/// The provider could not deserialise the request.
pub const SERVER_DESERIAL_EXCEPTION: u16 = 18;

/// Whether Java knows the status; on one that it does not know it closes the connection.
pub fn is_known(status: u16) -> bool {
    matches!(status, SUCCESS..=CODEC_EXCEPTION | CONNECTION_CLOSED..=SERVER_DESERIAL_EXCEPTION)
}

/// How an answer of the gateway's own is said in Bolt. The frame has neither class nor content,
/// as Java's own `createExceptionResponse(id, status)`, and a Java client turns every one of these
/// into an exception that names the status.
pub fn of(status: Status) -> u16 {
    match status {
        Status::BadRequest
        | Status::BodyTooLarge
        | Status::TargetTooLong
        | Status::ExpectationFailed
        | Status::FieldsTooLarge
        | Status::VersionNotSupported => CODEC_EXCEPTION,
        Status::NoRoute
        | Status::MethodNotAllowed
        | Status::NotImplemented
        | Status::NoUpstream => NO_PROCESSOR,
        Status::RequestTimedOut | Status::TimedOut => TIMEOUT,
        Status::Internal => SERVER_EXCEPTION,
        Status::UpstreamFailed => ERROR_COMM,
        Status::Overloaded => SERVER_BUSY,
    }
}
