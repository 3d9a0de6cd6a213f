//! Finding the first route that matches without walking them all.
//!
//! Each route of a virtual host is filed once: under one text that a request must have to take it
//! (its exact path, its path prefix, the exact value of a field, a service, a method), or on the
//! list of those that demand no such text. A request looks up its own path, its own value of each
//! field that routes are filed under, and so on; what it finds there are the only routes that can
//! match, each in the order of the file. They are tested as a whole, and the earliest that matches
//! is taken: the same one that a walk over all would find, which a test holds.
//!
//! Of several texts a route is filed under the one that fewest routes demand. So a thousand routes
//! that differ by path, or have all the same path and differ by a field, cost what one costs.

use rustc_hash::FxHashMap;

use super::field::Name;

/// The routes of one virtual host, filed by what they demand.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    exact: Vec<(Aspect, Places)>,
    prefixes: Prefixes,
    /// Routes that demand no text: an expression, any path.
    rest: Vec<u32>,
}

/// For each text the routes that demand it, in order. Keyed by what the operator wrote, never by
/// what a client sends, so an attacker has no say in where the keys fall.
pub(super) type Places = FxHashMap<Box<[u8]>, Vec<u32>>;

/// What of a request a text is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Aspect {
    /// The path, without its query.
    Path,
    /// The service of an RPC request.
    Service,
    /// The method of an RPC request.
    Method,
    /// A field of the head.
    Field(Name),
}

/// A text that a request must have to take a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Demand {
    /// Exactly this.
    Exact(Aspect, Box<[u8]>),
    /// A path that begins so.
    PathPrefix(Box<[u8]>),
}

/// A request, as far as an index looks at it.
pub(super) trait Subject {
    /// The path, without its query; empty where there is none.
    fn path(&self) -> &[u8];

    /// What stands in `places` for the request's value of an aspect.
    fn look_up<'i>(&self, aspect: &Aspect, places: &'i Places) -> &'i [u32];
}

impl Index {
    /// Files routes by the demands of each.
    pub(super) fn build(routes: &[(u32, Vec<Demand>)]) -> Self {
        let mut index = Self::default();
        if routes.len() <= WALKED_MAX {
            index.rest = routes.iter().map(|(route, _)| *route).collect();
            return index;
        }
        let mut counts: FxHashMap<&Demand, usize> = FxHashMap::default();
        for demand in routes.iter().flat_map(|(_, demands)| demands) {
            *counts.entry(demand).or_default() += 1;
        }
        let mut prefixes = Places::default();
        for (route, demands) in routes {
            let mut rarest_first: Vec<_> = demands.iter().collect();
            rarest_first.sort_by_key(|it| counts.get(it).copied().unwrap_or(usize::MAX));
            let filed = rarest_first.into_iter().any(|demand| match demand {
                Demand::Exact(aspect, text) => index.file(*route, aspect, text),
                Demand::PathPrefix(text) => {
                    prefixes.entry(text.clone()).or_default().push(*route);
                    true
                }
            });
            if !filed {
                index.rest.push(*route);
            }
        }
        index.prefixes = Prefixes::build(prefixes);
        index
    }

    /// False when routes are filed under as many aspects as may be.
    fn file(&mut self, route: u32, aspect: &Aspect, text: &[u8]) -> bool {
        let place = match self.exact.iter().position(|(it, _)| it == aspect) {
            Some(place) => place,
            None if self.exact.len() == ASPECTS_MAX => return false,
            None => {
                self.exact.push((aspect.clone(), Places::default()));
                self.exact.len() - 1
            }
        };
        let Some((_, places)) = self.exact.get_mut(place) else { return false };
        places.entry(text.into()).or_default().push(route);
        true
    }

    /// The first route that `takes` the request. Allocates nothing.
    pub(super) fn first(&self, subject: &impl Subject, takes: impl Fn(u32) -> bool) -> Option<u32> {
        let mut first = First { route: u32::MAX, takes };
        for (aspect, places) in &self.exact {
            first.try_all(subject.look_up(aspect, places));
        }
        self.prefixes.visit(subject.path(), |routes| first.try_all(routes));
        // The list that may be long comes last: it is left where it passes what is found.
        first.try_all(&self.rest);
        (first.route != u32::MAX).then_some(first.route)
    }
}

/// The earliest route so far that takes the request; `u32::MAX` is none.
struct First<F> {
    route: u32,
    takes: F,
}

impl<F: Fn(u32) -> bool> First<F> {
    fn try_all(&mut self, routes: &[u32]) {
        let earlier = routes.iter().take_while(|it| **it < self.route);
        if let Some(route) = earlier.copied().find(|it| (self.takes)(*it)) {
            self.route = route;
        }
    }
}

/// Prefixes in the order of their bytes, each with the longest other that it begins with: those of
/// one path are found by one search and a walk along that chain.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    sorted: Vec<Prefix>,
}

#[derive(Clone, Debug)]
struct Prefix {
    text: Box<[u8]>,
    /// Place of the longest other prefix that this one begins with.
    shorter: Option<usize>,
    routes: Vec<u32>,
}

impl Prefixes {
    fn build(places: Places) -> Self {
        let mut all: Vec<_> = places.into_iter().collect();
        all.sort();
        let mut sorted: Vec<Prefix> = Vec::with_capacity(all.len());
        for (text, routes) in all {
            let mut shorter = sorted.len().checked_sub(1);
            while let Some(it) = shorter.and_then(|it| sorted.get(it))
                && !text.starts_with(&it.text)
            {
                shorter = it.shorter;
            }
            sorted.push(Prefix { text, shorter, routes });
        }
        Self { sorted }
    }

    /// Visits the routes of each prefix that `path` begins with.
    fn visit(&self, path: &[u8], mut each: impl FnMut(&[u32])) {
        // What a path begins with sorts before it, and all between the two begins with that too:
        // it stands in the chain of the last that does not sort behind the path.
        let behind = self.sorted.partition_point(|it| &it.text[..] <= path);
        let mut next = behind.checked_sub(1);
        while let Some(prefix) = next.and_then(|it| self.sorted.get(it)) {
            if path.starts_with(&prefix.text) {
                each(&prefix.routes);
            }
            next = prefix.shorter;
        }
    }
}

/// So few routes are walked: looking texts up would cost more.
const WALKED_MAX: usize = 4;

/// Aspects that routes of one virtual host are filed under. Each costs every request a look-up;
/// those who write routes by hand use two or three fields.
const ASPECTS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_meets_each_of_its_prefixes_and_no_other() {
        let texts = ["", "/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/b", "/a/c/d"];
        let places =
            texts.iter().zip(0..).map(|(text, route)| (text.as_bytes().into(), vec![route]));
        let prefixes = Prefixes::build(places.collect());
        for path in
            ["", "x", "/", "/a", "/a/b", "/a/bcd", "/a/b/c/d", "/a/c", "/ab/c", "/c", "/a\u{7f}"]
        {
            let mut met: Vec<u32> = Vec::new();
            prefixes.visit(path.as_bytes(), |routes| met.extend(routes));
            met.sort_unstable();
            let expected = texts.iter().zip(0..).filter(|(text, _)| path.starts_with(**text));
            assert_eq!(met, expected.map(|(_, route)| route).collect::<Vec<_>>(), "{path}");
        }
    }

    #[test]
    fn a_route_is_filed_under_the_text_that_fewest_demand() {
        let routes: Vec<_> = (0..100)
            .map(|route| {
                let value = Box::from(format!("value {route}").as_bytes());
                let field = Demand::Exact(Aspect::Method, value);
                (route, vec![Demand::PathPrefix(b"/".as_slice().into()), field])
            })
            .collect();
        let index = Index::build(&routes);
        let (aspect, places) = &index.exact[0];
        assert_eq!((aspect, places.len()), (&Aspect::Method, 100));
        assert!(index.prefixes.sorted.is_empty() && index.rest.is_empty());
    }

    #[test]
    fn what_passes_the_aspects_is_walked() {
        let name = |it: u32| Name::Field(it.to_string().into_bytes().into());
        let routes: Vec<_> = (0..20)
            .map(|it| (it, vec![Demand::Exact(Aspect::Field(name(it)), Box::default())]))
            .collect();
        let index = Index::build(&routes);
        assert_eq!((index.exact.len(), index.rest.len()), (ASPECTS_MAX, 20 - ASPECTS_MAX));
    }
}
