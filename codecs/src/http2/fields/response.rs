//! The field list of a response (RFC 9113 §8.3.2).

use crate::http::content::allows_body;
use crate::http::name::Known;
use crate::{BodySize, HttpResponse, Version};

use super::{
    Asked, BODY_NOT_ALLOWED, Budget, FieldLimits, FieldsError, LENGTH_WITHOUT_DATA, PSEUDO_LATE,
    PSEUDO_REPEATED, PSEUDO_UNKNOWN, WEBSOCKET, add_length, check, malformed,
};

/// Fills a response head.
#[derive(Debug)]
pub(in crate::http2) struct ResponseFields<'a> {
    response: &'a mut HttpResponse,
    asked: Asked,
    budget: Budget,
    pseudo_has_ended: bool,
    content_length: Option<u64>,
    error: Option<FieldsError>,
}

/// What a response decides beside the head that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) struct ResponseRead {
    /// Bytes of content that must come, if it says so and may have content.
    pub(in crate::http2) content_length: Option<u64>,
    /// A 1xx: another head follows.
    pub(in crate::http2) is_informational: bool,
    /// A CONNECT of either form is accepted: the stream carries bytes of another protocol.
    pub(in crate::http2) is_tunnel: bool,
    /// Whether DATA with a byte in it may follow (RFC 9110 §6.4.1).
    pub(in crate::http2) allows_body: bool,
}

impl<'a> ResponseFields<'a> {
    /// Begins a list; what the head held is forgotten.
    pub(in crate::http2) fn new(
        response: &'a mut HttpResponse,
        limits: &FieldLimits,
        asked: Asked,
    ) -> Self {
        response.clear();
        response.version = Version::Http2;
        Self {
            response,
            asked,
            budget: Budget::new(limits.list_bytes_max, limits),
            pseudo_has_ended: false,
            content_length: None,
            error: None,
        }
    }

    /// Takes the next field.
    pub(in crate::http2) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.error.is_none() {
            self.error = self.take(name, value).err();
        }
    }

    /// Ends the list. `end_stream`: no content follows. The 2xx that accepts an extended CONNECT
    /// becomes the 101 that it is elsewhere (RFC 8441 §5).
    ///
    /// # Errors
    /// The first thing that was wrong; the head is not to be used then.
    pub(in crate::http2) fn finish(self, end_stream: bool) -> Result<ResponseRead, FieldsError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let status = match self.response.status {
            0 => return Err(STATUS_MISSING),
            // RFC 9113 §8.6: there is no upgrade.
            101 => return Err(UPGRADE_NOT_ASKED),
            // RFC 9113 §8.1: an informational response does not end a stream.
            100..200 if end_stream => return Err(INFORMATIONAL_ENDS),
            status => status,
        };
        let accepts = (200..300).contains(&status);
        if accepts && (self.asked.is_connect || self.asked.is_extended_connect) {
            return Ok(self.tunnel());
        }
        let allows_body = allows_body(self.asked.is_head, status);
        let content_length = self.content_length.filter(|_| allows_body);
        self.response.body = match self.content_length {
            // RFC 9110 §8.6: none in 1xx and 204. A zero says nothing else.
            Some(1..) if status < 200 || status == 204 => return Err(BODY_NOT_ALLOWED),
            Some(_) if status < 200 || status == 204 => BodySize::None,
            // RFC 9113 §8.1.1: the length is that of all DATA together.
            Some(1..) if allows_body && end_stream => return Err(LENGTH_WITHOUT_DATA),
            Some(bytes) => BodySize::Sized(bytes),
            None if allows_body && !end_stream => BodySize::Unknown,
            None => BodySize::None,
        };
        let is_informational = status < 200;
        Ok(ResponseRead { content_length, is_informational, is_tunnel: false, allows_body })
    }

    /// RFC 9110 §9.3.6: what the head says of a length is ignored.
    fn tunnel(self) -> ResponseRead {
        if self.asked.is_extended_connect {
            self.response.status = 101;
            self.response.upgrade.extend_from_slice(WEBSOCKET);
        }
        self.response.body = BodySize::Unknown;
        ResponseRead {
            content_length: None,
            is_informational: false,
            is_tunnel: true,
            allows_body: true,
        }
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldsError> {
        self.budget.pay(name, value)?;
        if name.starts_with(b":") {
            return match name {
                _ if self.pseudo_has_ended => Err(PSEUDO_LATE),
                b":status" if self.response.status != 0 => Err(PSEUDO_REPEATED),
                b":status" => {
                    self.response.status = read_status(value).ok_or(STATUS)?;
                    Ok(())
                }
                _ => Err(PSEUDO_UNKNOWN),
            };
        }
        self.pseudo_has_ended = true;
        self.budget.count_field()?;
        match check(name, value)? {
            None => {
                self.response.fields.push(name, value);
                Ok(())
            }
            Some(Known::ContentLength) => add_length(&mut self.content_length, value),
            // Fields of requests are dropped; the others are refused by `check`.
            Some(
                Known::Connection
                | Known::Disguised
                | Known::Expect
                | Known::HopByHop
                | Known::Host
                | Known::Te
                | Known::TransferEncoding
                | Known::Upgrade,
            ) => Ok(()),
        }
    }
}

/// RFC 9110 §15: three digits, 100 to 999.
fn read_status(value: &[u8]) -> Option<u16> {
    let [first @ b'1'..=b'9', second, third] = value else { return None };
    let digits = [first, second, third];
    digits.into_iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte.wrapping_sub(b'0')))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

const INFORMATIONAL_ENDS: FieldsError = malformed("informational_ends_stream");
const STATUS: FieldsError = malformed("status_malformed");
const STATUS_MISSING: FieldsError = malformed("status_missing");
const UPGRADE_NOT_ASKED: FieldsError = malformed("upgrade_not_asked");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::fields::hostile::pairs;

    const GET: Asked = Asked { is_head: false, is_connect: false, is_extended_connect: false };
    const HEAD: Asked = Asked { is_head: true, ..GET };
    const CONNECT: Asked = Asked { is_connect: true, ..GET };
    const WEBSOCKET: Asked = Asked { is_extended_connect: true, ..GET };

    fn read(
        list: &str,
        asked: Asked,
        end_stream: bool,
    ) -> Result<(ResponseRead, HttpResponse), &'static str> {
        let mut response = HttpResponse::default();
        let mut fields = ResponseFields::new(&mut response, &FieldLimits::default(), asked);
        pairs(list).for_each(|(name, value)| fields.push(&name, &value));
        let read = fields.finish(end_stream).map_err(|error| error.reason)?;
        Ok((read, response))
    }

    #[test]
    fn the_body_of_a_response_is_what_status_method_and_length_say() {
        use BodySize::{None as Nothing, Sized, Unknown};
        for (list, asked, end_stream, body, length, allows) in [
            (":status: 200", GET, false, Unknown, None, true),
            (":status: 200", GET, true, Nothing, None, true),
            (":status: 200\ncontent-length: 0", GET, true, Sized(0), Some(0), true),
            (":status: 200\ncontent-length: 5", GET, false, Sized(5), Some(5), true),
            (":status: 200\ncontent-length: 5", HEAD, true, Sized(5), None, false),
            (":status: 200", HEAD, true, Nothing, None, false),
            (":status: 304\ncontent-length: 5", GET, true, Sized(5), None, false),
            (":status: 204\ncontent-length: 0", GET, true, Nothing, None, false),
            (":status: 204", GET, true, Nothing, None, false),
            (":status: 103\nlink: x", GET, false, Nothing, None, false),
            (":status: 503\ncontent-length: 1", CONNECT, false, Sized(1), Some(1), true),
        ] {
            let (read, response) = read(list, asked, end_stream).unwrap();
            assert_eq!((response.body, read.content_length), (body, length), "{list}");
            assert_eq!((read.allows_body, read.is_tunnel), (allows, false), "{list}");
            assert_eq!(read.is_informational, response.status < 200);
            assert_eq!(response.version, Version::Http2);
        }
    }

    #[test]
    fn the_answer_that_accepts_a_tunnel_is_raw() {
        for list in [":status: 200", ":status: 204", ":status: 200\ncontent-length: 5"] {
            for end_stream in [false, true] {
                let (read, response) = read(list, CONNECT, end_stream).unwrap();
                assert!(read.is_tunnel && response.upgrade.is_empty() && response.status < 300);
                assert_eq!((read.content_length, response.body), (None, BodySize::Unknown));
            }
        }
    }

    #[test]
    fn the_answer_that_accepts_an_extended_connect_becomes_a_101() {
        let (read, response) = self::read(":status: 200\nx: y", WEBSOCKET, false).unwrap();
        assert!(read.is_tunnel && !read.is_informational);
        assert_eq!((response.status, &response.upgrade[..]), (101, &b"websocket"[..]));
        let (read, response) = self::read(":status: 404", WEBSOCKET, false).unwrap();
        assert!(!read.is_tunnel);
        assert_eq!((response.status, &response.upgrade[..]), (404, &b""[..]));
    }

    #[test]
    fn a_malformed_response_is_refused() {
        for (list, reason) in [
            ("", "status_missing"),
            ("x: y", "status_missing"),
            (":status: ", "status_malformed"),
            (":status: 20", "status_malformed"),
            (":status: 0200", "status_malformed"),
            (":status: 099", "status_malformed"),
            (":status: 2 0", "status_malformed"),
            (":status: +20", "status_malformed"),
            (":status: 200 OK", "status_malformed"),
            (":status: 101", "upgrade_not_asked"),
            (":status: 200\n:status: 200", "pseudo_field_repeated"),
            ("x: y\n:status: 200", "pseudo_field_late"),
            (":status: 200\n:path: /", "pseudo_field_unknown"),
            (":method: GET\n:status: 200", "pseudo_field_unknown"),
            (":status: 200\nX: y", "field_name"),
            (":status: 200\nx: y ", "field_value"),
            (":status: 200\nx: y\\r\\nz: a", "field_value"),
            (":status: 200\nconnection: close", "connection_specific_field"),
            (":status: 200\ntransfer-encoding: chunked", "connection_specific_field"),
            (":status: 200\ncontent-length: 1\ncontent-length: 1", "content_length_repeated"),
            (":status: 200\ncontent-length: +1", "content_length_malformed"),
            (":status: 200\ncontent_length: 1", "field_name_disguised"),
            (":status: 204\ncontent-length: 1", "body_not_allowed"),
            (":status: 100\ncontent-length: 1", "body_not_allowed"),
        ] {
            assert_eq!(read(list, GET, false).unwrap_err(), reason, "{list}");
        }
        assert_eq!(read(":status: 100", GET, true).unwrap_err(), "informational_ends_stream");
        let short = read(":status: 200\ncontent-length: 1", GET, true);
        assert_eq!(short.unwrap_err(), "content_length_without_data");
    }
}
