//! Frames of HTTP/2 (RFC 9113 §4.1), written without any check and read as far as a client needs.

/// What a client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before the payload of a frame.
pub(crate) const PREFIX_BYTES: usize = 9;
/// The longest payload that a peer may send us: we never allow more (RFC 9113 §4.2).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16_384;

/// Types of frames (RFC 9113 §6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Parameters of SETTINGS (RFC 9113 §6.5.2).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// Error codes (RFC 9113 §7).
pub(crate) mod error {
    pub(crate) const NO_ERROR: u32 = 0;
    pub(crate) const CANCEL: u32 = 8;
}

/// Appends a frame, whatever it holds.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a payload of one piece");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.push(kind);
    out.push(flags);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends SETTINGS with these parameters.
pub(crate) fn settings(out: &mut Vec<u8>, parameters: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(parameters.len() * 6);
    for (name, value) in parameters {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(out, kind::SETTINGS, flag::NONE, 0, &payload);
}

/// Appends WINDOW_UPDATE.
pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    frame(out, kind::WINDOW_UPDATE, flag::NONE, stream, &increment.to_be_bytes());
}

/// Appends RST_STREAM.
pub(crate) fn reset(out: &mut Vec<u8>, stream: u32, error: u32) {
    frame(out, kind::RST_STREAM, flag::NONE, stream, &error.to_be_bytes());
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Its type.
    pub(crate) kind: u8,
    /// Its flags.
    pub(crate) flags: u8,
    /// Its stream, 0 for the connection.
    pub(crate) stream: u32,
    /// What follows the prefix.
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// A number of the payload, 0 where the payload is too short.
    pub(crate) fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    }

    /// Parameters of SETTINGS.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (u16, u32)> {
        self.payload.chunks_exact(6).map(|it| {
            (u16::from_be_bytes([it[0], it[1]]), u32::from_be_bytes([it[2], it[3], it[4], it[5]]))
        })
    }
}

/// Bytes of a connection that are not read as frames yet; never more than one frame and what one
/// read brought.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    bytes: Vec<u8>,
    begin: usize,
}

impl Unread {
    /// More has come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    ///
    /// # Errors
    /// A frame is longer than we allow: what follows makes no sense.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, TooLong> {
        let rest = &self.bytes[self.begin..];
        let Some(prefix) = rest.get(..PREFIX_BYTES) else { return Ok(None) };
        let length = u32::from_be_bytes([0, prefix[0], prefix[1], prefix[2]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(TooLong);
        }
        let Some(payload) = rest.get(PREFIX_BYTES..PREFIX_BYTES + length) else { return Ok(None) };
        self.begin += PREFIX_BYTES + length;
        let stream = u32::from_be_bytes([prefix[5] & 0x7f, prefix[6], prefix[7], prefix[8]]);
        Ok(Some(Frame { kind: prefix[3], flags: prefix[4], stream, payload }))
    }
}

/// A frame longer than we allow.
#[derive(Debug)]
pub(crate) struct TooLong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_any_cut() {
        let mut out = Vec::new();
        settings(&mut out, &[(setting::INITIAL_WINDOW_SIZE, 1)]);
        reset(&mut out, 5, error::CANCEL);
        for cut in 0..=out.len() {
            let mut unread = Unread::default();
            let mut kinds = Vec::new();
            for part in [&out[..cut], &out[cut..]] {
                unread.push(part);
                while let Some(frame) = unread.next().unwrap() {
                    kinds.push((frame.kind, frame.stream, frame.payload.len()));
                }
            }
            assert_eq!(kinds, [(kind::SETTINGS, 0, 6), (kind::RST_STREAM, 5, 4)]);
        }
    }

    #[test]
    fn frames_are_as_the_rfc_draws_them() {
        let mut out = Vec::new();
        window_update(&mut out, 3, 0x7fff_ffff);
        assert_eq!(out, [0, 0, 4, 8, 0, 0, 0, 0, 3, 0x7f, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_frame_beyond_the_limit_is_no_frame() {
        let mut unread = Unread::default();
        unread.push(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]);
        assert!(unread.next().is_err());
    }
}
