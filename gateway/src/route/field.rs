//! Tests of texts and of the fields of a head.

use std::cell::RefCell;

use hangu_codecs::{HttpRequest, RpcHead};
use hangu_config::{self as config, regex::Case};
use regex::bytes::Regex;

use super::{
    CompileError,
    index::{Aspect, Demand},
};

/// A compiled test of a text.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Exact { text: Box<[u8]>, ignore_case: bool },
    Prefix { text: Box<[u8]>, ignore_case: bool },
    Suffix { text: Box<[u8]>, ignore_case: bool },
    Contains(Box<memchr::memmem::Finder<'static>>),
    Regex(Regex),
}

impl Text {
    pub(super) fn compile(matches: &config::TextMatch) -> Result<Self, CompileError> {
        let ignore_case = matches.ignore_case;
        let bytes = |text: &str| Box::from(text.as_bytes());
        Ok(match &matches.test {
            config::TextTest::Exact(text) => Self::Exact { text: bytes(text), ignore_case },
            config::TextTest::Prefix(text) => Self::Prefix { text: bytes(text), ignore_case },
            config::TextTest::Suffix(text) => Self::Suffix { text: bytes(text), ignore_case },
            config::TextTest::Contains(text) if ignore_case => {
                Self::Regex(contains_any_case(text)?)
            }
            config::TextTest::Contains(text) => {
                Self::Contains(Box::new(memchr::memmem::Finder::new(text).into_owned()))
            }
            config::TextTest::Regex(pattern) => {
                let case = if ignore_case { Case::Ignored } else { Case::Kept };
                Self::Regex(compile_regex(pattern, case)?)
            }
        })
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact { text, ignore_case } => is_equal(value, text, *ignore_case),
            Self::Prefix { text, ignore_case } => {
                value.get(..text.len()).is_some_and(|it| is_equal(it, text, *ignore_case))
            }
            Self::Suffix { text, ignore_case } => {
                let begin = value.len().checked_sub(text.len());
                let end = begin.and_then(|it| value.get(it..));
                end.is_some_and(|it| is_equal(it, text, *ignore_case))
            }
            Self::Contains(finder) => finder.find(value).is_some(),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Text {
    /// The one text that is taken, if there is only one.
    pub(super) fn demand(&self) -> Option<Box<[u8]>> {
        match self {
            Self::Exact { text, ignore_case: false } => Some(text.clone()),
            Self::Exact { ignore_case: true, .. }
            | Self::Prefix { .. }
            | Self::Suffix { .. }
            | Self::Contains(_)
            | Self::Regex(_) => None,
        }
    }
}

fn is_equal(one: &[u8], other: &[u8], ignore_case: bool) -> bool {
    if ignore_case { one.eq_ignore_ascii_case(other) } else { one == other }
}

/// Compiles an expression that matches as a whole.
pub(super) fn compile_regex(pattern: &str, case: Case) -> Result<Regex, CompileError> {
    config::regex::compile(pattern, case)
        .map_err(|what| CompileError { pattern: pattern.to_owned(), what })
}

/// A search in linear time, whatever the value is.
fn contains_any_case(text: &str) -> Result<Regex, CompileError> {
    regex::bytes::RegexBuilder::new(&regex::escape(text))
        .case_insensitive(true)
        .unicode(false)
        .size_limit(config::regex::COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| CompileError { pattern: text.to_owned(), what: error.to_string() })
}

/// A compiled test of a field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    name: Name,
    test: Test,
    invert: bool,
    treat_missing_as_empty: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Present(bool),
    Text(Text),
}

/// Which part of a head is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:authority` or `host`
    Authority,
    /// `upgrade`
    Upgrade,
    /// Any other, in lower case for HTTP.
    Field(Box<[u8]>),
}

impl Field {
    /// A test of a part of an HTTP head.
    pub(super) fn compile_http(matches: &config::FieldMatch) -> Result<Self, CompileError> {
        let name = match matches.name.as_str() {
            ":method" => Name::Method,
            ":path" => Name::Path,
            ":authority" | "host" => Name::Authority,
            "upgrade" => Name::Upgrade,
            name => Name::Field(name.as_bytes().into()),
        };
        Self::compile(name, matches)
    }

    /// A test of a field of an RPC head.
    pub(super) fn compile_rpc(matches: &config::FieldMatch) -> Result<Self, CompileError> {
        Self::compile(Name::Field(matches.name.as_bytes().into()), matches)
    }

    fn compile(name: Name, matches: &config::FieldMatch) -> Result<Self, CompileError> {
        let test = match &matches.test {
            config::FieldTest::Present(present) => Test::Present(*present),
            config::FieldTest::Text(text) => Test::Text(Text::compile(text)?),
        };
        Ok(Self {
            name,
            test,
            invert: matches.invert,
            treat_missing_as_empty: matches.treat_missing_as_empty,
        })
    }

    pub(super) fn matches_http(&self, request: &HttpRequest) -> bool {
        self.name.of_http(request, |value| self.test(value))
    }

    pub(super) fn matches_rpc(&self, head: &RpcHead<'_>) -> bool {
        self.test(self.name.of_rpc(head))
    }

    /// The one value that the field must have, if there is only one.
    pub(super) fn demand(&self) -> Option<Demand> {
        let Test::Text(text) = &self.test else { return None };
        let value = text.demand()?;
        let takes_missing = self.treat_missing_as_empty && value.is_empty();
        let is_demanded = !self.invert && !takes_missing;
        is_demanded.then(|| Demand::Exact(Aspect::Field(self.name.clone()), value))
    }

    fn test(&self, value: Option<&[u8]>) -> bool {
        let text = match &self.test {
            Test::Present(present) => return (value.is_some() == *present) != self.invert,
            Test::Text(text) => text,
        };
        let empty = self.treat_missing_as_empty.then_some(&b""[..]);
        // A missing field never matches, inverted or not.
        value.or(empty).is_some_and(|value| text.matches(value) != self.invert)
    }
}

impl Name {
    /// What `then` makes of the value in an HTTP head.
    pub(super) fn of_http<R>(
        &self,
        request: &HttpRequest,
        then: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        match self {
            Self::Method => then(Some(request.method.as_str().as_bytes())),
            Self::Path => then(unless_empty(&request.path)),
            Self::Authority => then(unless_empty(&request.authority)),
            Self::Upgrade => then(unless_empty(&request.upgrade)),
            Self::Field(name) => of_fields(request, name, then),
        }
    }

    /// The value in an RPC head: the last of the name, as in the maps of the Java peers.
    pub(super) fn of_rpc<'a>(&self, head: &RpcHead<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Field(name) => head.fields.find(name),
            // Names of RPC fields have no other meaning: `compile_rpc` makes none of these.
            Self::Method | Self::Path | Self::Authority | Self::Upgrade => None,
        }
    }
}

fn unless_empty(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

/// What `then` makes of the values of all fields of a name, joined with `,` (RFC 9110 §5.3).
fn of_fields<R>(request: &HttpRequest, name: &[u8], then: impl FnOnce(Option<&[u8]>) -> R) -> R {
    let mut values = request.fields.all(name);
    let first = values.next();
    let (Some(first), Some(second)) = (first, values.next()) else { return then(first) };
    JOINED.with_borrow_mut(|joined| {
        joined.clear();
        joined.extend_from_slice(first);
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        then(Some(joined))
    })
}

thread_local! {
    /// Values of repeated fields, joined: kept, so that it is allocated once per thread.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
