//! Routes that can never match, because an earlier one of the same virtual host takes all that
//! they would.
//!
//! What is told is certain: a route is shadowed when each test of an earlier route follows from a
//! test of its own. Routes that only several earlier ones together take are not noticed.

use std::{cell::RefCell, collections::HashMap};

use ::regex::bytes::Regex;
use hangu_codecs::Method;

use super::Check;
use crate::{
    model::{
        FieldMatch, FieldTest, HttpMatch, PathMatch, Route, RouteMatch, RpcMatch, TextMatch,
        TextTest,
    },
    regex::{self, Case},
};

/// Tells every shadowed route of the virtual host at `path`.
pub(super) fn check(routes: &[Route], path: &str, check: &mut Check<'_, '_>) {
    let (known, mut earlier) = (Regexes::default(), Earlier::default());
    for (index, later) in routes.iter().enumerate() {
        let covers = |first: &usize| {
            routes.get(*first).is_some_and(|it| known.covers(&it.matches, &later.matches))
        };
        let first = earlier.candidates(&later.matches).filter(covers).min();
        earlier.add(index, &later.matches);
        let Some(first) = first else { continue };
        let place = check.place(&format!("{path}.routes[{first}]"));
        let name = routes.get(first).map_or("", |it| it.name.as_str());
        check.wrong(
            &format!("{path}.routes[{index}]"),
            format!("this route is never reached: `{name}` at {place} takes all that it would"),
            "the more exact route first, or leave this one out",
        );
    }
}

/// The routes before one, by a fixed text that they demand, so that a route is compared only with
/// those that might cover it.
#[derive(Default)]
struct Earlier<'r> {
    /// By the path, method or service that must be exactly this.
    exact: HashMap<&'r str, Vec<usize>>,
    /// By the text with which the path must begin.
    prefix: HashMap<&'r str, Vec<usize>>,
    /// All others.
    other: Vec<usize>,
}

impl<'r> Earlier<'r> {
    fn add(&mut self, index: usize, matches: &'r RouteMatch) {
        let list = match matches {
            RouteMatch::Http(HttpMatch { path: PathMatch::Exact(text), .. }) => {
                self.exact.entry(text).or_default()
            }
            RouteMatch::Http(HttpMatch { path: PathMatch::Prefix(text), .. }) => {
                self.prefix.entry(text).or_default()
            }
            RouteMatch::Http(_) => &mut self.other,
            RouteMatch::Rpc(rpc) => {
                match exact(rpc.method.as_ref()).or(exact(rpc.service.as_ref())) {
                    Some(text) => self.exact.entry(text).or_default(),
                    None => &mut self.other,
                }
            }
        };
        if list.len() < ROUTES_COMPARED_MAX {
            list.push(index);
        }
    }

    /// Every route that might cover a match.
    fn candidates(&self, narrow: &RouteMatch) -> impl Iterator<Item = usize> {
        let (exact, path) = match narrow {
            RouteMatch::Http(HttpMatch { path: PathMatch::Exact(text), .. }) => {
                ([Some(text.as_str()), None], text.as_str())
            }
            RouteMatch::Http(HttpMatch { path: PathMatch::Prefix(text), .. }) => {
                ([None, None], text.as_str())
            }
            RouteMatch::Http(_) => ([None, None], ""),
            RouteMatch::Rpc(rpc) => ([exact(rpc.method.as_ref()), exact(rpc.service.as_ref())], ""),
        };
        let exact = exact.into_iter().flatten().filter_map(|it| self.exact.get(it));
        let begins = (0..=path.len()).filter_map(|end| path.get(..end));
        let prefix = begins.filter_map(|it| self.prefix.get(it));
        exact.chain(prefix).flatten().chain(&self.other).copied()
    }
}

/// The only text that a test lets pass.
fn exact(test: Option<&TextMatch>) -> Option<&str> {
    match test {
        Some(TextMatch { test: TextTest::Exact(text), ignore_case: false }) => Some(text),
        _ => None,
    }
}

/// Compares matches; keeps the compiled expressions, for each is compared with many routes.
#[derive(Default)]
struct Regexes {
    compiled: RefCell<HashMap<(String, bool), Option<Regex>>>,
}

impl Regexes {
    /// Whether whatever `narrow` takes is taken by `wide`.
    fn covers(&self, wide: &RouteMatch, narrow: &RouteMatch) -> bool {
        match (wide, narrow) {
            (RouteMatch::Http(wide), RouteMatch::Http(narrow)) => self.covers_http(wide, narrow),
            (RouteMatch::Rpc(wide), RouteMatch::Rpc(narrow)) => self.covers_rpc(wide, narrow),
            (RouteMatch::Http(_), RouteMatch::Rpc(_))
            | (RouteMatch::Rpc(_), RouteMatch::Http(_)) => false,
        }
    }

    fn covers_http(&self, wide: &HttpMatch, narrow: &HttpMatch) -> bool {
        self.covers_path(&wide.path, &narrow.path)
            && covers_methods(&wide.methods, &narrow.methods)
            && self.covers_fields(&wide.headers, &narrow.headers)
    }

    fn covers_rpc(&self, wide: &RpcMatch, narrow: &RpcMatch) -> bool {
        self.covers_text(wide.service.as_ref(), narrow.service.as_ref())
            && self.covers_text(wide.method.as_ref(), narrow.method.as_ref())
            && self.covers_fields(&wide.fields, &narrow.fields)
    }

    fn covers_path(&self, wide: &PathMatch, narrow: &PathMatch) -> bool {
        match (wide, narrow) {
            (PathMatch::Any, _) => true,
            (PathMatch::Prefix(wide), PathMatch::Prefix(narrow) | PathMatch::Exact(narrow)) => {
                narrow.starts_with(wide.as_str())
            }
            (PathMatch::Exact(wide), PathMatch::Exact(narrow)) => wide == narrow,
            (PathMatch::Regex(wide), PathMatch::Exact(narrow)) => {
                self.matches_regex(wide, narrow, Case::Kept)
            }
            (PathMatch::Regex(wide), PathMatch::Regex(narrow)) => wide == narrow,
            (PathMatch::Prefix(_), PathMatch::Any | PathMatch::Regex(_))
            | (PathMatch::Exact(_), PathMatch::Any | PathMatch::Prefix(_) | PathMatch::Regex(_))
            | (PathMatch::Regex(_), PathMatch::Any | PathMatch::Prefix(_)) => false,
        }
    }

    fn covers_fields(&self, wide: &[FieldMatch], narrow: &[FieldMatch]) -> bool {
        wide.iter().all(|wide| narrow.iter().any(|narrow| self.covers_field(wide, narrow)))
    }

    fn covers_field(&self, wide: &FieldMatch, narrow: &FieldMatch) -> bool {
        if wide == narrow {
            return true;
        }
        if wide.name != narrow.name || wide.invert || narrow.invert {
            return false;
        }
        match (&wide.test, &narrow.test) {
            (FieldTest::Present(wide), FieldTest::Present(narrow)) => wide == narrow,
            (FieldTest::Present(present), FieldTest::Text(_)) => {
                *present && !narrow.treat_missing_as_empty
            }
            (FieldTest::Text(_), FieldTest::Present(_)) => false,
            (FieldTest::Text(one), FieldTest::Text(other)) => {
                wide.treat_missing_as_empty == narrow.treat_missing_as_empty
                    && self.covers_text(Some(one), Some(other))
            }
        }
    }

    fn covers_text(&self, wide: Option<&TextMatch>, narrow: Option<&TextMatch>) -> bool {
        let (wide, narrow) = match (wide, narrow) {
            (None, _) => return true,
            (Some(_), None) => return false,
            (Some(wide), Some(narrow)) => (wide, narrow),
        };
        if wide == narrow {
            return true;
        }
        // A test that ignores case takes more than one that does not.
        if narrow.ignore_case && !wide.ignore_case {
            return false;
        }
        let fold =
            |text: &str| if wide.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        let case = if wide.ignore_case { Case::Ignored } else { Case::Kept };
        match (&wide.test, &narrow.test) {
            (TextTest::Exact(wide), TextTest::Exact(narrow)) => fold(wide) == fold(narrow),
            (TextTest::Prefix(wide), TextTest::Exact(narrow) | TextTest::Prefix(narrow)) => {
                fold(narrow).starts_with(&fold(wide))
            }
            (TextTest::Suffix(wide), TextTest::Exact(narrow) | TextTest::Suffix(narrow)) => {
                fold(narrow).ends_with(&fold(wide))
            }
            (
                TextTest::Contains(wide),
                TextTest::Exact(narrow)
                | TextTest::Prefix(narrow)
                | TextTest::Suffix(narrow)
                | TextTest::Contains(narrow),
            ) => fold(narrow).contains(&fold(wide)),
            (TextTest::Regex(wide), TextTest::Exact(narrow)) => {
                self.matches_regex(wide, narrow, case)
            }
            (TextTest::Regex(wide), TextTest::Regex(narrow)) => wide == narrow,
            (
                TextTest::Exact(_) | TextTest::Prefix(_) | TextTest::Suffix(_) | TextTest::Regex(_),
                TextTest::Prefix(_)
                | TextTest::Suffix(_)
                | TextTest::Contains(_)
                | TextTest::Regex(_),
            )
            | (TextTest::Contains(_), TextTest::Regex(_)) => false,
        }
    }

    fn matches_regex(&self, pattern: &str, text: &str, case: Case) -> bool {
        let mut compiled = self.compiled.borrow_mut();
        let regex = compiled
            .entry((pattern.to_owned(), case == Case::Ignored))
            .or_insert_with(|| regex::compile(pattern, case).ok());
        regex.as_ref().is_some_and(|it| it.is_match(text.as_bytes()))
    }
}

fn covers_methods(wide: &[Method], narrow: &[Method]) -> bool {
    if wide.is_empty() {
        // An empty list takes any but CONNECT.
        return !narrow.contains(&Method::Connect);
    }
    !narrow.is_empty() && narrow.iter().all(|it| wide.contains(it))
}

/// Routes that demand the same text and are compared with each other: the cost grows with the
/// square of their number, and this many take about a second.
const ROUTES_COMPARED_MAX: usize = 10_000;
