//! Choice of the virtual host.

use hangu_config::NamePattern;
use rustc_hash::FxHashMap;

/// Patterns of one kind (authorities or services) and the virtual hosts that have them.
///
/// The tables are keyed by what the operator wrote, never by what a client sends, so an attacker
/// has no say in where the keys fall.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    exact: FxHashMap<Box<[u8]>, u32>,
    suffixes: Vec<Affixes>,
    prefixes: Vec<Affixes>,
    any: Option<u32>,
}

/// Wildcards whose fixed part has the same length.
#[derive(Clone, Debug)]
struct Affixes {
    bytes: usize,
    hosts: FxHashMap<Box<[u8]>, u32>,
}

impl Hosts {
    /// Adds a pattern of the virtual host `host`.
    pub(super) fn add(&mut self, pattern: &NamePattern, host: u32) {
        match pattern {
            NamePattern::Exact(name) => {
                self.exact.insert(name.as_bytes().into(), host);
            }
            NamePattern::Suffix(end) => add_affix(&mut self.suffixes, end, host),
            NamePattern::Prefix(start) => add_affix(&mut self.prefixes, start, host),
            NamePattern::Any => self.any = Some(host),
        }
    }

    /// The virtual host for a name. Costs one look-up per distinct length of wildcards.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        if let Some(host) = self.exact.get(name) {
            return Some(*host);
        }
        // A star stands for at least one byte.
        let shorter = |it: &&Affixes| it.bytes < name.len();
        let suffix = |it: &Affixes| it.hosts.get(name.get(name.len() - it.bytes..)?).copied();
        let prefix = |it: &Affixes| it.hosts.get(name.get(..it.bytes)?).copied();
        let suffixed = self.suffixes.iter().filter(shorter).find_map(suffix);
        suffixed.or_else(|| self.prefixes.iter().filter(shorter).find_map(prefix)).or(self.any)
    }
}

/// Keeps the longest first.
fn add_affix(all: &mut Vec<Affixes>, fixed: &str, host: u32) {
    let bytes = fixed.len();
    let place = match all.binary_search_by(|it| bytes.cmp(&it.bytes)) {
        Ok(place) => place,
        Err(place) => {
            all.insert(place, Affixes { bytes, hosts: FxHashMap::default() });
            place
        }
    };
    if let Some(affixes) = all.get_mut(place) {
        affixes.hosts.insert(fixed.as_bytes().into(), host);
    }
}

/// The authority without its port: what comes before the last `:`, unless that stands within the
/// brackets of an IPv6 address.
pub(super) fn without_port(authority: &[u8]) -> &[u8] {
    let Some(colon) = memchr::memrchr(b':', authority) else { return authority };
    let is_within_brackets = memchr::memrchr(b']', authority).is_some_and(|it| it > colon);
    if is_within_brackets { authority } else { authority.get(..colon).unwrap_or(authority) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str]) -> Hosts {
        let mut hosts = Hosts::default();
        for (host, text) in (0..).zip(patterns) {
            hosts.add(&hangu_config::text::read_pattern(text).unwrap(), host);
        }
        hosts
    }

    #[test]
    fn an_exact_name_goes_before_wildcards_and_they_before_the_star() {
        let hosts =
            hosts(&["*", "www.foo.*", "*.foo.com", "www.foo.com", "*-bar.baz.com", "*.baz.com"]);
        for (name, host) in [
            ("www.foo.com", 3),
            ("a.foo.com", 2),
            ("www.foo.org", 1),
            ("www.foo.", 0),
            ("other", 0),
            ("", 0),
            ("x-bar.baz.com", 4),
            ("x.baz.com", 5),
        ] {
            assert_eq!(hosts.find(name.as_bytes()), Some(host), "{name}");
        }
    }

    #[test]
    fn of_several_wildcards_the_longest_is_taken_and_suffixes_before_prefixes() {
        let hosts = hosts(&["*.com", "*.foo.com", "a.*", "a.foo.*", "*.a.foo.com"]);
        for (name, host) in
            [("a.foo.com", 1), ("b.a.foo.com", 4), ("a.bar.com", 0), ("a.foo.org", 3), ("a.b", 2)]
        {
            assert_eq!(hosts.find(name.as_bytes()), Some(host), "{name}");
        }
    }

    #[test]
    fn a_wildcard_never_stands_for_nothing() {
        let hosts = hosts(&["*.foo.com", "foo.*"]);
        for name in [".foo.com", "foo.com.x.", "foo."] {
            assert_ne!(hosts.find(name.as_bytes()), Some(0), "{name}");
        }
        assert_eq!(hosts.find(b".foo.com"), None);
        assert_eq!(hosts.find(b"foo."), None);
        assert_eq!(hosts.find(b""), None);
    }

    #[test]
    fn the_port_is_cut_off_outside_of_brackets_alone() {
        for (authority, host) in [
            ("a.com:80", "a.com"),
            ("a.com", "a.com"),
            ("a.com:", "a.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }
}
