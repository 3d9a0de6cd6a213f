//! Field lists of HTTP/2 (RFC 9113 §8) as heads and trailers, and the way back.
//!
//! A list is pushed field by field, as it comes out of field compression, into a [`RequestFields`],
//! [`ResponseFields`] or [`TrailerFields`]; `finish` says what the list as a whole means. The first
//! thing that is wrong with it is kept and told at the end, for the rest is to be decoded all the
//! same (§4.3); nothing of the rest is kept.
//!
//! What cannot be read in exactly one way is refused, and judged by the functions that judge
//! HTTP/1.1 ([`crate::http`]). Never knows the stream: whether content has the length that was
//! said, and whether trailers come at the end of it, is for the connection to see.

mod request;
mod response;
mod trailers;
mod write;

#[cfg(test)]
mod hostile;

use serde::{Deserialize, Serialize};

use crate::http::content::read_length;
use crate::http::name::{Known, is_lower_token, known};
use crate::{Error, Fault, Status};

pub(super) use request::{RequestFields, RequestRead};
pub(super) use response::{ResponseFields, ResponseRead};
pub(super) use trailers::TrailerFields;
pub(super) use write::{Peer, write_request, write_response, write_trailers};

/// What bounds a field list; see [`super::Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldLimits {
    /// Bytes of all names and values, and 32 for each field, pseudo fields included, as
    /// `SETTINGS_MAX_HEADER_LIST_SIZE` counts them (RFC 9113 §6.5.2).
    pub(super) list_bytes_max: u32,
    /// The same for trailers.
    pub(super) trailer_bytes_max: u32,
    /// Fields of a head or of trailers; pseudo fields are not counted, and all cookies are one.
    pub(super) fields_max: u16,
    /// `cookie` fields, which are joined to one (RFC 9113 §8.2.3).
    pub(super) cookie_crumbs_max: u16,
    /// Bytes of `:path`.
    pub(super) target_bytes_max: u32,
    /// Bytes of `:method`.
    pub(super) method_bytes_max: u8,
}

#[cfg(test)]
impl Default for FieldLimits {
    fn default() -> Self {
        super::Limits::default().fields()
    }
}

/// A field list that is refused. It concerns its stream alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldsError {
    /// What is wrong, as a short constant text: also the label of the counter
    /// (`lower_snake_case`).
    pub(super) reason: &'static str,
    /// What follows from it.
    pub(super) kind: FieldsErrorKind,
}

/// What follows from a refused field list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldsErrorKind {
    /// RFC 9113 §8.1.1: an error of the stream, `PROTOCOL_ERROR`.
    Malformed,
    /// A limit was passed: a request is answered by 431.
    TooLarge,
    /// Well formed, and not taken here: a request is answered by this.
    Unsupported(Status),
}

impl From<Error> for FieldsError {
    fn from(error: Error) -> Self {
        let kind = match (error.fault, error.status) {
            (Fault::Malformed | Fault::Truncated | Fault::Dead, _) => FieldsErrorKind::Malformed,
            (Fault::Limit, Status::FieldsTooLarge) => FieldsErrorKind::TooLarge,
            (Fault::Limit | Fault::Unsupported, status) => FieldsErrorKind::Unsupported(status),
        };
        Self { reason: error.reason, kind }
    }
}

const fn malformed(reason: &'static str) -> FieldsError {
    FieldsError { reason, kind: FieldsErrorKind::Malformed }
}

const fn unsupported(status: Status, reason: &'static str) -> FieldsError {
    FieldsError { reason, kind: FieldsErrorKind::Unsupported(status) }
}

/// What of a request decides how the response to it is read or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// `HEAD`: the response has no content.
    pub(super) is_head: bool,
    /// `CONNECT` to an authority: a 2xx makes the stream a tunnel (RFC 9113 §8.5).
    pub(super) is_connect: bool,
    /// `CONNECT` with `:protocol`, which is an upgrade elsewhere: a 2xx accepts it (RFC 8441 §5).
    pub(super) is_extended_connect: bool,
}

impl Asked {
    /// Whether it asks for a stream of bytes that are no body.
    pub(super) fn asks_for_tunnel(self) -> bool {
        self.is_connect || self.is_extended_connect
    }
}

/// What is left of the limits of a list.
#[derive(Clone, Copy, Debug)]
struct Budget {
    bytes: usize,
    fields: u16,
    crumbs: u16,
}

impl Budget {
    fn new(bytes: u32, limits: &FieldLimits) -> Self {
        let (fields, crumbs) = (limits.fields_max, limits.cookie_crumbs_max);
        Self { bytes: bytes as usize, fields, crumbs }
    }

    /// Pays for the bytes of a field.
    fn pay(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldsError> {
        let bytes = name.len().saturating_add(value.len()).saturating_add(FIELD_BYTES_EXTRA);
        self.bytes = self.bytes.checked_sub(bytes).ok_or(TOO_LARGE)?;
        Ok(())
    }

    fn count_field(&mut self) -> Result<(), FieldsError> {
        self.fields = self.fields.checked_sub(1).ok_or(TOO_MANY)?;
        Ok(())
    }

    fn count_crumb(&mut self) -> Result<(), FieldsError> {
        self.crumbs = self.crumbs.checked_sub(1).ok_or(TOO_MANY_CRUMBS)?;
        Ok(())
    }
}

/// Checks name and value of a field that is no pseudo field, and says what is known of it.
///
/// # Errors
/// They are malformed, or the field belongs to connections of another version (RFC 9113 §8.2.1,
/// §8.2.2).
fn check(name: &[u8], value: &[u8]) -> Result<Option<Known>, FieldsError> {
    if !is_lower_token(name) {
        return Err(NAME);
    }
    if !is_value(value) {
        return Err(VALUE);
    }
    match known(name) {
        Some(Known::Connection | Known::HopByHop | Known::TransferEncoding | Known::Upgrade) => {
            Err(CONNECTION_SPECIFIC)
        }
        Some(Known::Disguised) => Err(DISGUISED),
        // RFC 9113 §8.2.2: no value but this one.
        Some(Known::Te) if !value.eq_ignore_ascii_case(b"trailers") => Err(TE),
        known @ (None | Some(Known::ContentLength | Known::Expect | Known::Host | Known::Te)) => {
            Ok(known)
        }
    }
}

/// What the one `content-length` of a list says.
fn add_length(length: &mut Option<u64>, value: &[u8]) -> Result<(), FieldsError> {
    match length.replace(read_length(value)?) {
        None => Ok(()),
        Some(_) => Err(LENGTHS),
    }
}

/// RFC 9113 §8.2.1: neither begins nor ends with a space or tab; and the bytes that are refused in
/// HTTP/1.1, too (RFC 9110 §5.5).
fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    !is_space(value.first()) && !is_space(value.last()) && !value.iter().any(is_control)
}

/// RFC 9113 §6.5.2: what each field costs beside its bytes.
const FIELD_BYTES_EXTRA: usize = 32;

/// The protocol whose upgrade is an extended CONNECT (RFC 8441 §5).
const WEBSOCKET: &[u8] = b"websocket";

const TOO_LARGE: FieldsError =
    FieldsError { reason: "fields_too_large", kind: FieldsErrorKind::TooLarge };
const TOO_MANY: FieldsError =
    FieldsError { reason: "too_many_fields", kind: FieldsErrorKind::TooLarge };
const TOO_MANY_CRUMBS: FieldsError =
    FieldsError { reason: "too_many_cookie_crumbs", kind: FieldsErrorKind::TooLarge };
const BODY_NOT_ALLOWED: FieldsError = malformed("body_not_allowed");
const CONNECTION_SPECIFIC: FieldsError = malformed("connection_specific_field");
const DISGUISED: FieldsError = malformed("field_name_disguised");
const LENGTHS: FieldsError = malformed("content_length_repeated");
const LENGTH_WITHOUT_DATA: FieldsError = malformed("content_length_without_data");
const NAME: FieldsError = malformed("field_name");
const PSEUDO_LATE: FieldsError = malformed("pseudo_field_late");
const PSEUDO_REPEATED: FieldsError = malformed("pseudo_field_repeated");
const PSEUDO_UNKNOWN: FieldsError = malformed("pseudo_field_unknown");
const TE: FieldsError = malformed("te_malformed");
const VALUE: FieldsError = malformed("field_value");
