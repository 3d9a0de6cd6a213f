//! What the encoder knows of names: their place in the static table, and how their values behave.

use super::{hash, static_table};

/// How the values of a name behave from one block to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Gives access to something, or is a user's: never in any table (RFC 7541 §7.1.3).
    Secret,
    /// Few values, each of them often, whoever sends them: enters the table at once. Not what each
    /// user has of its own (`user-agent`), for one connection to an endpoint carries all users.
    Steady,
    /// Hardly any value comes twice, or it is so short that an entry gains nothing.
    Passing,
    /// Enters the table once it has come twice.
    Unknown,
}

/// A name of which something is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    name: &'static [u8],
    pub(super) habit: Habit,
    /// The first entry of that name in the static table; 0 when there is none.
    first: u32,
    /// How many entries of that name stand there.
    count: u32,
}

impl Known {
    /// The static entry that is this field.
    pub(super) fn field_index(&self, value: &[u8]) -> Option<u32> {
        let mut indices = self.first..self.first.saturating_add(self.count);
        indices.find(|it| static_table::get(*it).is_some_and(|entry| entry.1 == value))
    }

    /// A static entry that has this name.
    pub(super) fn name_index(&self) -> Option<u32> {
        Some(self.first).filter(|it| *it > 0)
    }
}

/// What is known of a name in lower case, whose [`hash::of`] is `hash`.
pub(super) fn known(name: &[u8], hash: u32) -> Option<&'static Known> {
    let mut slot = slot(hash);
    while let Some(place) = SLOTS.get(slot)?.checked_sub(1) {
        let known = KNOWN.get(usize::from(place))?;
        if known.name == name {
            return Some(known);
        }
        slot = (slot + 1) % SLOTS_LEN;
    }
    None
}

const fn slot(hash: u32) -> usize {
    hash as usize % SLOTS_LEN
}

/// All names of the static table, and others.
const NAMES: &[(&[u8], Habit)] = {
    use Habit::{Passing, Secret, Steady, Unknown};
    &[
        (b":authority", Steady),
        (b":method", Steady),
        (b":path", Unknown),
        (b":scheme", Steady),
        (b":status", Steady),
        (b"accept", Steady),
        (b"accept-charset", Steady),
        (b"accept-encoding", Steady),
        (b"accept-language", Unknown),
        (b"accept-ranges", Steady),
        (b"access-control-allow-credentials", Steady),
        (b"access-control-allow-headers", Steady),
        (b"access-control-allow-methods", Steady),
        (b"access-control-allow-origin", Steady),
        (b"access-control-expose-headers", Steady),
        (b"access-control-max-age", Steady),
        (b"age", Passing),
        (b"allow", Steady),
        (b"alt-svc", Steady),
        (b"api-key", Secret),
        (b"authorization", Secret),
        (b"b3", Passing),
        (b"cache-control", Steady),
        (b"content-disposition", Unknown),
        (b"content-encoding", Steady),
        (b"content-language", Steady),
        (b"content-length", Passing),
        (b"content-location", Unknown),
        (b"content-range", Passing),
        (b"content-security-policy", Steady),
        (b"content-type", Steady),
        (b"cookie", Secret),
        (b"date", Unknown),
        (b"etag", Unknown),
        (b"expect", Steady),
        (b"expires", Unknown),
        (b"from", Unknown),
        (b"grpc-accept-encoding", Steady),
        (b"grpc-encoding", Steady),
        (b"grpc-status", Steady),
        (b"grpc-timeout", Passing),
        (b"host", Steady),
        (b"if-match", Unknown),
        (b"if-modified-since", Unknown),
        (b"if-none-match", Unknown),
        (b"if-range", Unknown),
        (b"if-unmodified-since", Unknown),
        (b"last-modified", Unknown),
        (b"link", Unknown),
        (b"location", Unknown),
        (b"max-forwards", Unknown),
        (b"origin", Steady),
        (b"pragma", Steady),
        (b"proxy-authenticate", Unknown),
        (b"proxy-authorization", Secret),
        (b"range", Passing),
        (b"referer", Unknown),
        (b"referrer-policy", Steady),
        (b"refresh", Unknown),
        (b"retry-after", Unknown),
        (b"server", Steady),
        (b"set-cookie", Secret),
        (b"sofa-rpcid", Passing),
        (b"sofa-traceid", Passing),
        (b"sofarpcid", Passing),
        (b"sofatraceid", Passing),
        (b"strict-transport-security", Steady),
        (b"te", Steady),
        (b"traceparent", Passing),
        (b"tracestate", Passing),
        (b"trailer", Steady),
        (b"transfer-encoding", Unknown),
        (b"tri-service-group", Steady),
        (b"tri-service-version", Steady),
        (b"uber-trace-id", Passing),
        (b"user-agent", Unknown),
        (b"vary", Steady),
        (b"via", Steady),
        (b"www-authenticate", Unknown),
        (b"x-amz-security-token", Secret),
        (b"x-api-key", Secret),
        (b"x-auth-token", Secret),
        (b"x-b3-parentspanid", Passing),
        (b"x-b3-sampled", Steady),
        (b"x-b3-spanid", Passing),
        (b"x-b3-traceid", Passing),
        (b"x-content-type-options", Steady),
        (b"x-csrf-token", Secret),
        (b"x-forwarded-access-token", Secret),
        (b"x-forwarded-host", Steady),
        (b"x-forwarded-proto", Steady),
        (b"x-frame-options", Steady),
        (b"x-powered-by", Steady),
        (b"x-request-id", Passing),
        (b"x-xsrf-token", Secret),
    ]
};

/// Places by hash. 256: less than half full, so that a name that is not known is seldom compared.
const SLOTS_LEN: usize = 256;

static KNOWN: [Known; NAMES.len()] = make_known();
/// The place of a name in [`KNOWN`], plus one; the next slot where two names meet; 0 at the end.
static SLOTS: [u8; SLOTS_LEN] = make_slots();

#[expect(clippy::indexing_slicing, reason = "run by the compiler, which stops at a bad index")]
const fn make_known() -> [Known; NAMES.len()] {
    let mut all = [Known { name: b"", habit: Habit::Unknown, first: 0, count: 0 }; NAMES.len()];
    let (mut at, mut found) = (0, 0);
    while at < NAMES.len() {
        all[at].name = NAMES[at].0;
        all[at].habit = NAMES[at].1;
        let mut index = static_table::LEN;
        while index > 0 {
            if is_equal(NAMES[at].0, static_table::ENTRIES[index as usize - 1].0) {
                all[at].first = index;
                all[at].count += 1;
                found += 1;
            }
            index -= 1;
        }
        at += 1;
    }
    assert!(found == static_table::LEN, "a name of the static table is missing, or stands twice");
    all
}

#[expect(clippy::indexing_slicing, reason = "run by the compiler, which stops at a bad index")]
#[expect(clippy::cast_possible_truncation, reason = "fewer than 256 names")]
const fn make_slots() -> [u8; SLOTS_LEN] {
    assert!(NAMES.len() < SLOTS_LEN / 2);
    let mut slots = [0; SLOTS_LEN];
    let mut at = 0;
    while at < NAMES.len() {
        let mut slot = slot(hash::of(NAMES[at].0, 0));
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS_LEN;
        }
        slots[slot] = at as u8 + 1;
        at += 1;
    }
    slots
}

#[expect(clippy::indexing_slicing, reason = "run by the compiler, which stops at a bad index")]
const fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &[u8]) -> Option<&'static Known> {
        known(name, hash::of(name, 0))
    }

    #[test]
    fn every_entry_of_the_static_table_is_found() {
        for (index, (name, value)) in (1..).zip(static_table::ENTRIES) {
            let known = find(name).unwrap();
            assert_eq!(known.field_index(value), Some(index));
            assert_eq!(static_table::get(known.name_index().unwrap()).unwrap().0, name);
        }
        assert_eq!(find(b":status").unwrap().field_index(b"201"), None);
        assert_eq!(find(b":status").unwrap().name_index(), Some(8));
    }

    #[test]
    fn names_are_known_or_not() {
        for (name, habit) in NAMES {
            assert_eq!(find(name).unwrap().habit, *habit);
        }
        assert_eq!(find(b"x-api-key").unwrap().name_index(), None);
        assert_eq!(find(b"x-api-key").unwrap().field_index(b""), None);
        assert!(find(b"x-other").is_none() && find(b"").is_none());
    }
}
