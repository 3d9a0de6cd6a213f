//! Why a stream or a connection ends (RFC 9113 §7).

use serde::{Deserialize, Serialize};

/// The code in RST_STREAM and GOAWAY, 32 bits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorCode {
    /// 0x00: nothing is wrong.
    NoError,
    /// 0x01: the peer broke the protocol, and no other code says how.
    ProtocolError,
    /// 0x02: something failed on this side.
    InternalError,
    /// 0x03: the peer sent more than a window allows.
    FlowControlError,
    /// 0x04: settings were not acknowledged in time.
    SettingsTimeout,
    /// 0x05: a frame came for a stream that the peer has ended.
    StreamClosed,
    /// 0x06: a frame has a length that its type or the settings do not allow.
    FrameSizeError,
    /// 0x07: the stream was refused before anything was done for it; it may be tried again.
    RefusedStream,
    /// 0x08: the stream is not needed any more.
    Cancel,
    /// 0x09: the state of field compression is lost.
    CompressionError,
    /// 0x0a: the tunnel of a CONNECT broke.
    ConnectError,
    /// 0x0b: the peer makes more work than is taken from it.
    EnhanceYourCalm,
    /// 0x0c: the transport is not as safe as is asked for.
    InadequateSecurity,
    /// 0x0d: HTTP/1.1 is to be spoken instead.
    Http11Required,
    /// Any other. RFC 9113 §7: to be treated as [`ErrorCode::InternalError`] and nothing more.
    Unknown(u32),
}

impl ErrorCode {
    /// The name in RFC 9113 §7, in `lower_snake_case` as counters have it; `unknown` for others.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoError => "no_error",
            Self::ProtocolError => "protocol_error",
            Self::InternalError => "internal_error",
            Self::FlowControlError => "flow_control_error",
            Self::SettingsTimeout => "settings_timeout",
            Self::StreamClosed => "stream_closed",
            Self::FrameSizeError => "frame_size_error",
            Self::RefusedStream => "refused_stream",
            Self::Cancel => "cancel",
            Self::CompressionError => "compression_error",
            Self::ConnectError => "connect_error",
            Self::EnhanceYourCalm => "enhance_your_calm",
            Self::InadequateSecurity => "inadequate_security",
            Self::Http11Required => "http_1_1_required",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl From<u32> for ErrorCode {
    fn from(number: u32) -> Self {
        match number {
            0x00 => Self::NoError,
            0x01 => Self::ProtocolError,
            0x02 => Self::InternalError,
            0x03 => Self::FlowControlError,
            0x04 => Self::SettingsTimeout,
            0x05 => Self::StreamClosed,
            0x06 => Self::FrameSizeError,
            0x07 => Self::RefusedStream,
            0x08 => Self::Cancel,
            0x09 => Self::CompressionError,
            0x0a => Self::ConnectError,
            0x0b => Self::EnhanceYourCalm,
            0x0c => Self::InadequateSecurity,
            0x0d => Self::Http11Required,
            other => Self::Unknown(other),
        }
    }
}

impl From<ErrorCode> for u32 {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NoError => 0x00,
            ErrorCode::ProtocolError => 0x01,
            ErrorCode::InternalError => 0x02,
            ErrorCode::FlowControlError => 0x03,
            ErrorCode::SettingsTimeout => 0x04,
            ErrorCode::StreamClosed => 0x05,
            ErrorCode::FrameSizeError => 0x06,
            ErrorCode::RefusedStream => 0x07,
            ErrorCode::Cancel => 0x08,
            ErrorCode::CompressionError => 0x09,
            ErrorCode::ConnectError => 0x0a,
            ErrorCode::EnhanceYourCalm => 0x0b,
            ErrorCode::InadequateSecurity => 0x0c,
            ErrorCode::Http11Required => 0x0d,
            ErrorCode::Unknown(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_code_and_keeps_it() {
        let mut names = std::collections::BTreeSet::new();
        for number in 0..=0x0d {
            let code = ErrorCode::from(number);
            assert_eq!(u32::from(code), number);
            assert!(names.insert(code.name()) && code.name() != "unknown", "{code:?}");
        }
        for number in [0x0e, 0x1234_5678, u32::MAX] {
            let code = ErrorCode::from(number);
            assert_eq!((code, u32::from(code)), (ErrorCode::Unknown(number), number));
            assert_eq!(code.name(), "unknown");
        }
    }
}
