//! Tests of texts and fields.

use hangu_codecs::protocol::Kind;

use super::Check;
use crate::{
    model::{FieldMatch, FieldTest, TextMatch, TextTest},
    schema::{self, RegexText},
    text,
};

/// The tests that may stand in one match.
struct Written<'f> {
    exact: &'f Option<String>,
    prefix: &'f Option<String>,
    suffix: &'f Option<String>,
    contains: &'f Option<String>,
    regex: &'f Option<RegexText>,
}

impl Written<'_> {
    /// The tests that are given.
    fn given(&self) -> Vec<TextTest> {
        let mut tests = Vec::new();
        tests.extend(self.exact.clone().map(TextTest::Exact));
        tests.extend(self.prefix.clone().map(TextTest::Prefix));
        tests.extend(self.suffix.clone().map(TextTest::Suffix));
        tests.extend(self.contains.clone().map(TextTest::Contains));
        tests.extend(self.regex.clone().map(|it| TextTest::Regex(it.0)));
        tests
    }
}

pub(super) fn text(
    written: &schema::TextMatch,
    path: &str,
    check: &mut Check<'_, '_>,
) -> TextMatch {
    let schema::TextMatch { exact, prefix, suffix, contains, regex, ignore_case } = written;
    let mut tests = Written { exact, prefix, suffix, contains, regex }.given();
    let several = tests.len() > 1;
    let test = match tests.pop() {
        Some(test) if !several => test,
        given => {
            let what = if given.is_some() { "there are several tests" } else { "there is no test" };
            let instead = "exactly one of `exact`, `prefix`, `suffix`, `contains` and `regex`";
            check.wrong(path, what, instead);
            TextTest::Exact(String::new())
        }
    };
    check_test(&test, path, check);
    TextMatch { test, ignore_case: *ignore_case }
}

pub(super) fn field(
    written: &schema::FieldMatch,
    kind: Kind,
    path: &str,
    check: &mut Check<'_, '_>,
) -> FieldMatch {
    let schema::FieldMatch { exact, prefix, suffix, contains, regex, .. } = written;
    let mut tests = Written { exact, prefix, suffix, contains, regex }.given();
    if tests.len() + usize::from(written.present.is_some()) > 1 {
        check.wrong(
            path,
            "there are several tests of one field",
            "one of `exact`, `prefix`, `suffix`, `contains`, `regex` and `present`; for more an entry of its own each",
        );
    }
    let test = match (written.present, tests.pop()) {
        (Some(present), _) => FieldTest::Present(present),
        (None, None) => FieldTest::Present(true),
        (None, Some(test)) => {
            check_test(&test, path, check);
            FieldTest::Text(TextMatch { test, ignore_case: written.ignore_case })
        }
    };
    if matches!(test, FieldTest::Present(_))
        && (written.ignore_case || written.treat_missing_as_empty)
    {
        check.wrong(
            path,
            "`ignore_case` and `treat_missing_as_empty` concern a test of the value, and there is none",
            "a test such as `exact`, or leave them out",
        );
    }
    FieldMatch {
        name: field_name(&written.name, kind, path, check),
        test,
        invert: written.invert,
        treat_missing_as_empty: written.treat_missing_as_empty,
    }
}

fn check_test(test: &TextTest, path: &str, check: &mut Check<'_, '_>) {
    let (key, empty) = match test {
        TextTest::Prefix(it) => ("prefix", it.is_empty()),
        TextTest::Suffix(it) => ("suffix", it.is_empty()),
        TextTest::Contains(it) => ("contains", it.is_empty()),
        // Nothing but the empty text is a test like any other.
        TextTest::Exact(_) | TextTest::Regex(_) => return,
    };
    if empty {
        check.wrong(
            &format!("{path}.{key}"),
            "an empty text is in every text",
            "a text, or `present: true`",
        );
    }
}

fn field_name(name: &str, kind: Kind, path: &str, check: &mut Check<'_, '_>) -> String {
    let path = format!("{path}.name");
    if kind == Kind::Rpc {
        if name.is_empty() {
            check.wrong(&path, "the name is empty", "the name of a field");
        }
        return name.to_owned();
    }
    let name = name.to_ascii_lowercase();
    if let Some(part) = name.strip_prefix(':') {
        if !PSEUDO_FIELDS.contains(&part) {
            let what = format!("`{name}` names no part of a request");
            check.wrong(&path, what, "`:method`, `:path` or `:authority`");
        }
    } else if FRAMING_FIELDS.contains(&name.as_str()) {
        let what =
            format!("`{name}` concerns one connection and not the request, so it is never matched");
        check.wrong(&path, what, "another field");
    } else if !text::is_token(&name) {
        check.wrong(&path, format!("`{name}` is no name of a field"), "a name such as `x-version`");
    }
    name
}

const PSEUDO_FIELDS: [&str; 3] = ["method", "path", "authority"];

/// Fields that codecs take out of the head (RFC 9110 §7.6.1 and §6.6). `host` and `upgrade` are
/// taken out too, but can be matched.
const FRAMING_FIELDS: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];
