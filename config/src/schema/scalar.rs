//! Scalars of the schema: texts that are read into types.
//!
//! Each is a JSON string (sizes also a number) with a `format` of its own, by which [`crate::shape`]
//! finds its reader.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use hangu_codecs::{Method, Protocol, grpc::Code};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{NamePattern, Statuses, text};

/// A duration; [`text::read_duration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// A size in bytes, `MIN` to `MAX`; [`text::read_size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeText<const MIN: u64 = 0, const MAX: u64 = { u64::MAX }>(pub u64);

/// An IP address with a port; [`text::read_address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressText(pub SocketAddr);

/// One status of HTTP or a range of them; [`text::read_statuses`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusText(pub Statuses);

/// A regular expression; [`text::read_regex`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexText(pub String);

/// A method; [`text::read_method`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodText(pub Method);

/// A domain or service; [`text::read_pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternText(pub NamePattern);

/// The name of a protocol that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolName(pub &'static Protocol);

/// The name of a status of gRPC other than `ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeName(pub Code);

/// All that a [`CodeName`] may be.
fn codes() -> impl Iterator<Item = Code> {
    Code::ALL.into_iter().filter(|it| *it != Code::Ok)
}

/// Reads a text of one of the formats of this module.
///
/// # Errors
/// Why the text is none of it.
pub(crate) fn read_format(format: &str, text: &str) -> Result<(), text::Fault> {
    match format {
        DURATION => text::read_duration(text).map(drop),
        SIZE => text::read_size(text).map(drop),
        ADDRESS => text::read_address(text).map(drop),
        REGEX => text::read_regex(text),
        METHOD => text::read_method(text).map(drop),
        PATTERN => text::read_pattern(text).map(drop),
        STATUS => text::read_statuses(text).map(drop),
        _ => Ok(()),
    }
}

/// What a value of a format looks like, for an operator who wrote something else.
pub(crate) fn describe_format(format: &str) -> Option<&'static str> {
    match format {
        DURATION => Some("a duration such as `250ms`, `3s` or `1m30s`"),
        SIZE => Some("a size such as `64KiB`, `8MiB` or `65536`"),
        ADDRESS => Some("an IP address with a port, such as `127.0.0.1:8080`"),
        REGEX => Some("a regular expression, in quotes"),
        METHOD => Some("a method such as `GET`"),
        PATTERN => Some("a name, `*.example.com`, `example.*` or `*`, in quotes"),
        STATUS => Some("a status of HTTP such as `204`, or a range such as `200-299`, in quotes"),
        _ => None,
    }
}

/// Formats begin with a word of our own, so that no editor takes them for those of JSON Schema
/// (whose `duration` is that of ISO 8601).
pub(crate) const DURATION: &str = "hangu-duration";
pub(crate) const SIZE: &str = "hangu-size";
const ADDRESS: &str = "hangu-address";
const REGEX: &str = "hangu-regex";
const METHOD: &str = "hangu-method";
const PATTERN: &str = "hangu-pattern";
const STATUS: &str = "hangu-status";

macro_rules! text_scalar {
    ($type:ident, $schema:expr, $read:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: fn(String) -> Result<Self, text::Fault> = $read;
                read(text).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_scalar!(
    DurationText,
    json_schema!({ "type": "string", "format": DURATION, "pattern": "^([0-9]+(us|ms|s|m|h|d))+$" }),
    |text| text::read_duration(&text).map(Self)
);
text_scalar!(AddressText, json_schema!({ "type": "string", "format": ADDRESS }), |text| {
    text::read_address(&text).map(Self)
});
text_scalar!(RegexText, json_schema!({ "type": "string", "format": REGEX }), |text| {
    text::read_regex(&text).map(|()| Self(text))
});
text_scalar!(MethodText, json_schema!({ "type": "string", "format": METHOD }), |text| {
    text::read_method(&text).map(Self)
});
text_scalar!(PatternText, json_schema!({ "type": "string", "format": PATTERN }), |text| {
    text::read_pattern(&text).map(Self)
});
text_scalar!(
    StatusText,
    json_schema!({ "type": "string", "format": STATUS, "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" }),
    |text| text::read_statuses(&text).map(Self)
);
text_scalar!(
    ProtocolName,
    json_schema!({
        "enum": hangu_codecs::PROTOCOLS.iter().map(|it| it.name).collect::<Vec<_>>()
    }),
    |name| match Protocol::find(&name) {
        Some(protocol) => Ok(Self(protocol)),
        None => Err(text::Fault { what: format!("no protocol is named `{name}`"), instead: None }),
    }
);
text_scalar!(
    CodeName,
    json_schema!({ "enum": codes().map(Code::name).collect::<Vec<_>>() }),
    |name| match codes().find(|it| it.name() == name) {
        Some(code) => Ok(Self(code)),
        None => Err(text::Fault { what: format!("no status is named `{name}`"), instead: None }),
    }
);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for SizeText<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        let bytes = match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => bytes,
            Written::Text(text) => text::read_size(&text).map_err(D::Error::custom)?,
        };
        if (MIN..=MAX).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(D::Error::custom(format!("{bytes} is not between {MIN} and {MAX}")))
        }
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for SizeText<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SizeText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "type": ["integer", "string"],
            "format": SIZE,
            "minimum": MIN,
            "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$"
        });
        if MAX < u64::MAX {
            schema.insert("maximum".to_owned(), MAX.into());
        }
        schema
    }
}
