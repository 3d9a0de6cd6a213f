//! The field lines of a head, sorted into what concerns the connection and what is passed on.

use httparse::Header;

use crate::http::content::read_length;
use crate::http::name::{Known, is_token, known};
use crate::{Error, Fault, Fields, Status};

use super::limits::{Lenient, Limits};
use super::state::{fields_too_large, malformed};

/// What the fields of a head say of message and connection.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    /// `Host`.
    pub(super) host: Option<&'a [u8]>,
    /// `Content-Length`.
    pub(super) content_length: Option<u64>,
    /// `Transfer-Encoding` is `chunked` and nothing else.
    pub(super) is_chunked: bool,
    /// `Connection: close`
    pub(super) says_close: bool,
    /// `Connection: keep-alive`
    pub(super) says_keep_alive: bool,
    /// `Upgrade`, if `Connection` names it, too, and it offers more than `h2c`.
    pub(super) upgrade: &'a [u8],
    /// `Expect: 100-continue`
    pub(super) expects_continue: bool,
    /// `TE: trailers`
    pub(super) takes_trailers: bool,
}

/// Sorts the fields of a head; those that are passed on are appended to `passed`.
///
/// # Errors
/// A field that frames or routes the message can be read in more than one way, or a limit is
/// passed.
pub(super) fn sort<'a>(
    headers: &[Header<'a>],
    limits: &Limits,
    passed: &mut Fields,
) -> Result<Sorted<'a>, Error> {
    let mut sorted = Sorted::default();
    let mut transfers = 0_usize;
    let mut options = Options::default();
    for header in headers {
        let (name, value) = (header.name.as_bytes(), header.value);
        match known(name) {
            None if limits.lenient.response_folds => push_unfolded(passed, name, value),
            None => passed.push(name, value),
            Some(Known::Connection) => options.read(value, limits)?,
            Some(Known::ContentLength) => {
                let length = content_length(value, limits.lenient)?;
                match sorted.content_length.replace(length) {
                    None => {}
                    Some(first) if limits.lenient.equal_content_lengths && first == length => {}
                    Some(_) => return Err(LENGTHS),
                }
            }
            // RFC 9110 §10.1.1: an unknown expectation may be answered by 417.
            Some(Known::Expect) if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(EXPECT);
            }
            Some(Known::Expect) => sorted.expects_continue = true,
            // RFC 9112 §3.2: more than one Host is answered by 400.
            Some(Known::Host) if sorted.host.is_some() => return Err(HOSTS),
            Some(Known::Host) => sorted.host = Some(value),
            Some(Known::Te) => sorted.takes_trailers |= lists(value, b"trailers"),
            Some(Known::TransferEncoding) => {
                transfers = transfers.saturating_add(1);
                sorted.is_chunked = value.eq_ignore_ascii_case(b"chunked");
                if !sorted.is_chunked || transfers > 1 {
                    return Err(transfer_error(headers));
                }
            }
            Some(Known::Upgrade) if !sorted.upgrade.is_empty() => return Err(UPGRADES),
            Some(Known::Upgrade) => sorted.upgrade = value,
            Some(Known::HopByHop) => {}
            Some(Known::Disguised) => return Err(DISGUISED),
        }
    }
    // RFC 9112 §6.1: both together ought to be handled as an error.
    if sorted.is_chunked && sorted.content_length.is_some() {
        return Err(LENGTH_AND_CHUNKED);
    }
    if options.names_others {
        remove_named(headers, passed);
    }
    sorted.says_close = options.close;
    sorted.says_keep_alive = options.keep_alive;
    // RFC 9110 §7.8: without the connection option the field is not for us. An upgrade to h2c
    // would carry requests past the gateway.
    if !options.upgrade || lists(sorted.upgrade, b"h2c") {
        sorted.upgrade = b"";
    }
    Ok(sorted)
}

/// Copies a field; a fold, which only a lenient reader lets through, becomes spaces.
fn push_unfolded(passed: &mut Fields, name: &[u8], value: &[u8]) {
    if memchr::memchr(b'\n', value).is_none() {
        return passed.push(name, value);
    }
    let unfold = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    passed.push(name, &value.iter().map(unfold).collect::<Vec<u8>>());
}

/// What the `Connection` fields of a head say together (RFC 9110 §7.6.1).
#[derive(Debug, Default)]
struct Options {
    count: usize,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Fields that are passed on unless they are named here.
    names_others: bool,
}

impl Options {
    fn read(&mut self, value: &[u8], limits: &Limits) -> Result<(), Error> {
        for option in elements(value) {
            self.count = self.count.saturating_add(1);
            if self.count > usize::from(limits.connection_options_max) {
                return Err(OPTIONS);
            }
            if !is_token(option) {
                return Err(OPTION);
            }
            match known(option) {
                Some(Known::Upgrade) => self.upgrade = true,
                Some(Known::Te | Known::Connection | Known::Expect) => {}
                Some(Known::HopByHop) => {
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive")
                }
                // To take these off a message is to change what it is.
                Some(
                    Known::Host | Known::ContentLength | Known::TransferEncoding | Known::Disguised,
                ) => return Err(OPTION_NAMES_FRAMING),
                None if option.eq_ignore_ascii_case(b"close") => self.close = true,
                None => self.names_others = true,
            }
        }
        Ok(())
    }
}

/// Takes out what a `Connection` field names. The walks are bounded by
/// [`Limits::connection_options_max`].
fn remove_named(headers: &[Header<'_>], passed: &mut Fields) {
    for header in headers {
        if known(header.name.as_bytes()) != Some(Known::Connection) {
            continue;
        }
        for option in elements(header.value) {
            passed.remove(option);
        }
    }
}

/// The length that a field says, or a list of equal ones where that is allowed.
fn content_length(value: &[u8], lenient: Lenient) -> Result<u64, Error> {
    if !lenient.equal_content_lengths || memchr::memchr(b',', value).is_none() {
        return read_length(value);
    }
    let mut lengths = value.split(|byte| *byte == b',').map(|it| read_length(it.trim_ascii()));
    let first = lengths.next().unwrap_or_else(|| read_length(b""))?;
    for length in lengths {
        if length? != first {
            return Err(LENGTHS);
        }
    }
    Ok(first)
}

/// RFC 9112 §6.1 and §6.3: a coding that is not known here is 501; a message whose last coding is
/// not `chunked`, or that is chunked twice, has no length that all agree on.
fn transfer_error(headers: &[Header<'_>]) -> Error {
    let lines =
        headers.iter().filter(|it| known(it.name.as_bytes()) == Some(Known::TransferEncoding));
    let mut codings =
        lines.flat_map(|it| it.value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends_chunked = codings.clone().next_back().is_some_and(is_chunked);
    let chunked_count = codings.clone().filter(|it| is_chunked(it)).count();
    let all_tokens = codings.all(is_token);
    if ends_chunked && chunked_count == 1 && all_tokens { TRANSFER_UNKNOWN } else { TRANSFER }
}

/// The elements of a list (RFC 9110 §5.6.1), empty ones left out.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

/// Whether a list has an element, parameters aside.
fn lists(value: &[u8], lower: &[u8]) -> bool {
    elements(value).any(|element| {
        let name = element.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(lower)
    })
}

const DISGUISED: Error = malformed("field_name_disguised");
const EXPECT: Error = Error::new(Fault::Unsupported, Status::ExpectationFailed, "expect_unknown");
const HOSTS: Error = malformed("host_repeated");
const LENGTHS: Error = malformed("content_length_repeated");
const LENGTH_AND_CHUNKED: Error = malformed("content_length_and_transfer_encoding");
const OPTION: Error = malformed("connection_malformed");
const OPTIONS: Error = fields_too_large("connection_options");
const OPTION_NAMES_FRAMING: Error = malformed("connection_names_framing");
const TRANSFER: Error = malformed("transfer_encoding_malformed");
const TRANSFER_UNKNOWN: Error =
    Error::new(Fault::Unsupported, Status::NotImplemented, "transfer_encoding_unknown");
const UPGRADES: Error = malformed("upgrade_repeated");
