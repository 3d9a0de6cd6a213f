//! RPC requests by service, method, calling application and result.
//!
//! Whoever sends requests chooses these names, so their number is bounded. All workers share one
//! [`RpcNames`]: a table that only grows, whose slots are set once and then only read, so that
//! the bound holds for the process and a series has the same place with every worker. Each worker
//! has [`RpcCounters`] of its own beside it. Nobody waits for anybody: a name that is known costs a
//! hash and a comparison, a new one an allocation.
//!
//! The caller and the result stand in the counter alone. A histogram has fifteen times as many
//! series, and how long a method takes is rarely a matter of who calls it.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Class, Counter, Histogram, Quantiles};

/// Bytes of one name that are told apart; what follows is cut off. Service names are class names,
/// of which the longest honest ones have some 120.
pub const RPC_NAME_BYTES_MAX: usize = 200;

/// Slots that are looked at for a name. The table is at most half full, where runs of this length
/// hardly ever come about by chance; a name beyond is counted as `_other`. So names that were
/// chosen to collide cost no more than others.
const PROBES_MAX: usize = 32;

/// The most series that any configuration gets; the tables of one worker then take 50 MiB.
pub const RPC_SERIES_MAX: u32 = 1 << 20;

/// The results of RPC requests, in the order in which they are counted.
pub const RPC_RESULTS: [Class; 6] = [
    Class::Success,
    Class::ApplicationError,
    Class::ProviderError,
    Class::Oneway,
    Class::Gateway,
    Class::Reset,
];

/// The label of all names that found no room.
pub const OTHER: &str = "_other";
/// The label of the service of requests that no route matched: their names would take the room of
/// those that exist.
pub const NO_ROUTE: &str = "_no_route";

/// Where an RPC request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcSeries {
    /// Nowhere: it is no RPC request, or none is counted.
    None,
    /// Under names of its own.
    Named {
        /// Index among the callers.
        caller: u32,
        /// Index among the methods.
        method: u32,
    },
    /// Under [`OTHER`].
    Other,
    /// Under [`NO_ROUTE`].
    NoRoute,
}

/// Who asked for what, as it came from the network.
#[derive(Clone, Copy, Debug)]
pub struct RpcNamed<'a> {
    /// The service.
    pub service: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The application that calls.
    pub caller: &'a [u8],
}

/// The names of all series of the process.
#[derive(Debug)]
pub struct RpcNames {
    callers: Table,
    methods: Table,
}

impl RpcNames {
    /// Room for so many combinations of service, method and caller. `series_max` is at least 1.
    pub fn new(series_max: u32) -> Self {
        Self { callers: Table::new(series_max), methods: Table::new(series_max) }
    }

    /// The series of a request; makes it when it is new and there is room.
    #[inline]
    fn find(&self, named: RpcNamed<'_>) -> RpcSeries {
        let key = [bounded(named.service), bounded(named.method), bounded(named.caller)];
        let found = self.callers.find(key, |[service, method, _]| {
            self.methods.find([service, method, b""], |_| Some(0)).map(|it| it.0)
        });
        match found {
            Some((caller, method)) => RpcSeries::Named { caller, method },
            None => RpcSeries::Other,
        }
    }
}

/// A table of names with open addressing, whose slots are set once.
#[derive(Debug)]
struct Table {
    slots: Box<[OnceLock<Entry>]>,
    taken: AtomicU32,
    taken_max: u32,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    names: Box<[String; 3]>,
    /// Of a caller: the index of its method.
    method: u32,
}

type Key<'a> = [&'a [u8]; 3];

impl Entry {
    /// `None` where a name is no text, or one that stands for something else.
    fn new(hash: u64, key: Key<'_>, method: u32) -> Option<Self> {
        let name = |at: usize| {
            let text = std::str::from_utf8(key.get(at)?).ok()?;
            (![OTHER, NO_ROUTE].contains(&text)).then(|| text.to_owned())
        };
        Some(Self { hash, names: Box::new([name(0)?, name(1)?, name(2)?]), method })
    }

    #[inline]
    fn is(&self, hash: u64, key: Key<'_>) -> bool {
        self.hash == hash && self.names.iter().zip(key).all(|(own, it)| own.as_bytes() == it)
    }
}

impl Table {
    fn new(taken_max: u32) -> Self {
        let taken_max = taken_max.clamp(1, RPC_SERIES_MAX);
        let slots = (taken_max as usize * 2).next_power_of_two();
        Self {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            taken: AtomicU32::new(0),
            taken_max,
        }
    }

    /// The place of a key, and what `method` gave when it was entered.
    #[inline]
    fn find(
        &self,
        key: Key<'_>,
        method: impl FnOnce(Key<'_>) -> Option<u32>,
    ) -> Option<(u32, u32)> {
        let hash = hash(key);
        let mut empty = None;
        for slot in self.probes(hash) {
            match self.slots.get(slot)?.get() {
                Some(entry) if entry.is(hash, key) => return Some((slot as u32, entry.method)),
                Some(_) => {}
                None => {
                    empty = Some(slot);
                    break;
                }
            }
        }
        self.enter(hash, key, empty?, method)
    }

    /// Enters a key, from a slot on that was empty a moment ago.
    #[cold]
    fn enter(
        &self,
        hash: u64,
        key: Key<'_>,
        from: usize,
        method: impl FnOnce(Key<'_>) -> Option<u32>,
    ) -> Option<(u32, u32)> {
        if self.taken.load(Ordering::Relaxed) >= self.taken_max {
            return None;
        }
        let method = method(key)?;
        let mut entry = Entry::new(hash, key, method)?;
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.taken_max {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        for slot in self.probes(hash).skip_while(|it| *it != from) {
            let cell = self.slots.get(slot)?;
            // Who comes second to a slot waits until the first has moved its entry into it.
            let Err(back) = cell.set(entry) else { return Some((slot as u32, method)) };
            if cell.get().is_some_and(|it| it.is(hash, key)) {
                self.taken.fetch_sub(1, Ordering::Relaxed);
                return Some((slot as u32, method));
            }
            entry = back;
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.slots.iter().enumerate();
        entries.filter_map(|(slot, cell)| cell.get().map(|entry| (slot, entry)))
    }

    #[inline]
    fn probes(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (mask, first) = (self.slots.len() - 1, hash as usize);
        (0..PROBES_MAX.min(self.slots.len())).map(move |step| first.wrapping_add(step) & mask)
    }
}

#[inline]
fn hash(key: Key<'_>) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    for name in key {
        // The length keeps names apart that are the same one after the other.
        hasher.write_usize(name.len());
        hasher.write(name);
    }
    hasher.finish()
}

/// A name up to the limit, whole characters only.
#[inline]
fn bounded(name: &[u8]) -> &[u8] {
    if name.len() <= RPC_NAME_BYTES_MAX {
        return name;
    }
    let is_inside = |at: usize| name.get(at).is_some_and(|it| it & 0xc0 == 0x80);
    let end = (RPC_NAME_BYTES_MAX - 3..=RPC_NAME_BYTES_MAX).rev().find(|at| !is_inside(*at));
    name.get(..end.unwrap_or(RPC_NAME_BYTES_MAX)).unwrap_or(name)
}

/// What one worker counts of RPC requests.
#[derive(Debug)]
pub struct RpcCounters {
    names: Arc<RpcNames>,
    callers: Box<[OnceLock<Box<Results>>]>,
    methods: Box<[OnceLock<Histogram>]>,
    other: Results,
    other_duration: Histogram,
    no_route: Results,
    dropped: Counter,
}

/// Counters by result, in the order of [`RPC_RESULTS`].
#[derive(Debug, Default)]
struct Results([Counter; RPC_RESULTS.len()]);

impl Results {
    #[inline]
    fn count(&self, class: Class) {
        let place = match class {
            Class::Success => 0,
            Class::ApplicationError => 1,
            Class::ProviderError => 2,
            Class::Oneway => 3,
            Class::Gateway => 4,
            // An RPC request has no HTTP response.
            Class::Reset
            | Class::Http1xx
            | Class::Http2xx
            | Class::Http3xx
            | Class::Http4xx
            | Class::Http5xx => 5,
        };
        if let Some(counter) = self.0.get(place) {
            counter.increment();
        }
    }

    fn absorb(&self, other: &Self) {
        self.0.iter().zip(&other.0).for_each(|(own, others)| own.absorb(others));
    }

    fn add_to(&self, total: &mut [u64; RPC_RESULTS.len()]) {
        for (sum, counter) in total.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(counter.value());
        }
    }
}

impl RpcCounters {
    /// Counters, all zero, beside names that all workers share.
    pub fn new(names: Arc<RpcNames>) -> Self {
        Self {
            callers: names.callers.slots.iter().map(|_| OnceLock::new()).collect(),
            methods: names.methods.slots.iter().map(|_| OnceLock::new()).collect(),
            names,
            other: Results::default(),
            other_duration: Histogram::default(),
            no_route: Results::default(),
            dropped: Counter::default(),
        }
    }

    /// Where a request that a route matched is to be counted.
    #[inline]
    pub fn find(&self, named: RpcNamed<'_>) -> RpcSeries {
        let series = self.names.find(named);
        if series == RpcSeries::Other {
            self.dropped.increment();
        }
        series
    }

    /// The names that all workers share.
    pub fn shared_names(&self) -> &Arc<RpcNames> {
        &self.names
    }

    /// Goes on with what another one counted, under whatever room it had for names. Both writers
    /// stand still.
    pub fn absorb(&self, other: &Self) {
        for (slot, entry) in other.names.callers.entries() {
            let Some(results) = other.callers.get(slot).and_then(OnceLock::get) else { continue };
            let [service, method, caller] = entry.names.each_ref().map(|it| it.as_bytes());
            let own = match self.names.find(RpcNamed { service, method, caller }) {
                RpcSeries::Named { caller, .. } => self.callers.get(caller as usize),
                RpcSeries::None | RpcSeries::Other | RpcSeries::NoRoute => None,
            };
            own.map_or(&self.other, |it| it.get_or_init(Box::default)).absorb(results);
        }
        for (slot, entry) in other.names.methods.entries() {
            let Some(durations) = other.methods.get(slot).and_then(OnceLock::get) else { continue };
            let [service, method, _] = entry.names.each_ref().map(|it| it.as_bytes());
            let own = self.names.methods.find([service, method, b""], |_| Some(0));
            let own = own.and_then(|it| self.methods.get(it.0 as usize));
            own.map_or(&self.other_duration, |it| it.get_or_init(Histogram::default))
                .absorb(durations);
        }
        self.other.absorb(&other.other);
        self.other_duration.absorb(&other.other_duration);
        self.no_route.absorb(&other.no_route);
        self.dropped.absorb(&other.dropped);
    }

    /// Service, method and caller of a series.
    pub fn names(&self, caller: u32) -> Option<[bytes::Bytes; 3]> {
        let entry = self.names.callers.slots.get(caller as usize)?.get()?;
        let [service, method, caller] = &*entry.names;
        let copy = |name: &String| bytes::Bytes::copy_from_slice(name.as_bytes());
        Some([copy(service), copy(method), copy(caller)])
    }

    /// Counts a request that ended.
    #[inline]
    pub fn end(&self, series: RpcSeries, class: Class, duration_us: u64) {
        match series {
            RpcSeries::None => {}
            RpcSeries::NoRoute => self.no_route.count(class),
            RpcSeries::Other => {
                self.other.count(class);
                self.other_duration.record_us(duration_us);
            }
            RpcSeries::Named { caller, method } => {
                if let Some(results) = self.callers.get(caller as usize) {
                    results.get_or_init(Box::default).count(class);
                }
                if let Some(durations) = self.methods.get(method as usize) {
                    durations.get_or_init(Histogram::default).record_us(duration_us);
                }
            }
        }
    }
}

/// What all workers counted, added up.
#[derive(Debug, Default)]
pub(super) struct RpcTotals<'a> {
    /// Service, method, caller, and how often each of [`RPC_RESULTS`] came about.
    pub(super) results: Vec<([&'a str; 3], [u64; RPC_RESULTS.len()])>,
    /// Service, method, and how long requests took.
    pub(super) durations: Vec<([&'a str; 2], Quantiles)>,
    /// Requests that found no room for their names.
    pub(super) dropped: u64,
}

impl<'a> RpcTotals<'a> {
    /// Adds up the counters of workers that share their names. Takes time and memory in proportion
    /// to the series; for the control thread.
    pub(super) fn of(workers: &[&'a RpcCounters]) -> Self {
        let Some(first) = workers.first() else { return Self::default() };
        let mut totals = Self::default();
        let sum = |of: &dyn Fn(&'a RpcCounters) -> Option<&'a Results>| {
            let mut total = [0; RPC_RESULTS.len()];
            workers.iter().filter_map(|it| of(it)).for_each(|it| it.add_to(&mut total));
            total
        };
        for (slot, entry) in first.names.callers.entries() {
            let [service, method, caller] = &*entry.names;
            let names = [service, method, caller].map(String::as_str);
            let counts = sum(&|it| it.callers.get(slot)?.get().map(|it| &**it));
            totals.results.push((names, counts));
        }
        totals.results.push(([OTHER; 3], sum(&|it| Some(&it.other))));
        totals.results.push(([NO_ROUTE, "", ""], sum(&|it| Some(&it.no_route))));
        for (slot, entry) in first.names.methods.entries() {
            let [service, method, _] = &*entry.names;
            let mut total = Quantiles::default();
            let durations = workers.iter().filter_map(|it| it.methods.get(slot)?.get());
            durations.for_each(|it| it.add_to(&mut total));
            totals.durations.push(([service, method], total));
        }
        let mut other = Quantiles::default();
        workers.iter().for_each(|it| it.other_duration.add_to(&mut other));
        totals.durations.push(([OTHER; 2], other));
        totals.dropped = workers.iter().map(|it| it.dropped.value()).sum();
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(service: &'a str, method: &'a str, caller: &'a str) -> RpcNamed<'a> {
        let [service, method, caller] = [service, method, caller].map(str::as_bytes);
        RpcNamed { service, method, caller }
    }

    fn workers(count: usize, series_max: u32) -> Vec<RpcCounters> {
        let names = Arc::new(RpcNames::new(series_max));
        (0..count).map(|_| RpcCounters::new(Arc::clone(&names))).collect()
    }

    fn count(worker: &RpcCounters, named: RpcNamed<'_>, class: Class) {
        worker.end(worker.find(named), class, 3_000);
    }

    #[test]
    fn what_another_set_of_workers_counted_is_counted_on_as_far_as_there_is_room_for_names() {
        let (old, new) = (workers(1, 8), workers(1, 1));
        let one = named("a.B:1.0", "m", "shop");
        count(&new[0], one, Class::Success);
        count(&old[0], named("a.C:1.0", "m", "shop"), Class::Success);
        count(&old[0], one, Class::Success);
        old[0].end(RpcSeries::NoRoute, Class::Gateway, 0);
        new[0].absorb(&old[0]);
        let totals = RpcTotals::of(&[&new[0]]);
        assert_eq!(of(&totals, ["a.B:1.0", "m", "shop"]).map(|it| it[0]), Some(2));
        assert_eq!(of(&totals, [OTHER; 3]).map(|it| it[0]), Some(1));
        assert_eq!(of(&totals, [NO_ROUTE, "", ""]).map(|it| it[4]), Some(1));
        let durations: u64 = totals.durations.iter().map(|it| it.1.count()).sum();
        assert_eq!(durations, 3);
    }

    fn of<'a>(totals: &RpcTotals<'a>, names: [&str; 3]) -> Option<[u64; 6]> {
        totals.results.iter().find(|it| it.0 == names).map(|it| it.1)
    }

    #[test]
    fn workers_count_the_same_names_together_and_different_ones_apart() {
        let workers = workers(2, 10);
        count(&workers[0], named("a.B:1.0", "get", "shop"), Class::Success);
        count(&workers[1], named("a.B:1.0", "get", "shop"), Class::Success);
        count(&workers[1], named("a.B:1.0", "get", "shop"), Class::Gateway);
        count(&workers[1], named("a.B:1.0", "get", ""), Class::Oneway);
        count(&workers[1], named("a.B:1.0", "getshop", ""), Class::Reset);
        let totals = RpcTotals::of(&workers.iter().collect::<Vec<_>>());
        assert_eq!(of(&totals, ["a.B:1.0", "get", "shop"]), Some([2, 0, 0, 0, 1, 0]));
        assert_eq!(of(&totals, ["a.B:1.0", "get", ""]), Some([0, 0, 0, 1, 0, 0]));
        assert_eq!(of(&totals, ["a.B:1.0", "getshop", ""]), Some([0, 0, 0, 0, 0, 1]));
        let durations: Vec<_> = totals.durations.iter().map(|it| (it.0, it.1.count())).collect();
        assert!(durations.contains(&(["a.B:1.0", "get"], 4)), "{durations:?}");
        assert_eq!(totals.dropped, 0);
    }

    #[test]
    fn what_finds_no_room_is_counted_as_other_and_what_is_known_stays() {
        let workers = workers(2, 3);
        for service in ["a", "b", "c", "d", "e", "a", "c"] {
            count(&workers[0], named(service, "m", "x"), Class::Success);
        }
        count(&workers[1], named("f", "m", "x"), Class::Success);
        count(&workers[1], named("b", "m", "x"), Class::Success);
        let totals = RpcTotals::of(&workers.iter().collect::<Vec<_>>());
        for (service, expected) in [("a", 2), ("b", 2), ("c", 2)] {
            assert_eq!(of(&totals, [service, "m", "x"]).map(|it| it[0]), Some(expected));
        }
        assert_eq!(of(&totals, [OTHER; 3]), Some([3, 0, 0, 0, 0, 0]));
        assert_eq!((totals.results.len(), totals.dropped), (3 + 2, 3));
    }

    #[test]
    fn a_name_is_told_apart_by_its_first_bytes_and_never_cut_inside_a_character() {
        let workers = workers(1, 10);
        let long = "函".repeat(RPC_NAME_BYTES_MAX);
        count(&workers[0], named(&long, "m", ""), Class::Success);
        count(&workers[0], named(&format!("{long}谷"), "m", ""), Class::Success);
        let totals = RpcTotals::of(&[&workers[0]]);
        let cut = "函".repeat(RPC_NAME_BYTES_MAX / 3);
        assert_eq!(of(&totals, [&cut, "m", ""]).map(|it| it[0]), Some(2));
    }

    #[test]
    fn names_that_are_no_text_or_that_stand_for_something_else_are_other() {
        let workers = workers(1, 10);
        let bytes = RpcNamed { service: b"\xff", method: b"m", caller: b"" };
        assert_eq!(workers[0].find(bytes), RpcSeries::Other);
        assert_eq!(workers[0].find(named(OTHER, OTHER, OTHER)), RpcSeries::Other);
        assert_eq!(workers[0].find(named(NO_ROUTE, "", "")), RpcSeries::Other);
        assert!(
            RpcTotals::of(&[&workers[0]])
                .results
                .iter()
                .map(|it| it.0)
                .is_sorted_by(|one, other| one != other)
        );
    }

    #[test]
    fn threads_that_meet_at_the_same_names_enter_each_once() {
        let workers = workers(4, 500);
        std::thread::scope(|scope| {
            for worker in &workers {
                scope.spawn(move || {
                    for index in 0..1000 {
                        let service = format!("s{}", index % 400);
                        count(worker, named(&service, "m", "c"), Class::Success);
                    }
                });
            }
        });
        let totals = RpcTotals::of(&workers.iter().collect::<Vec<_>>());
        assert_eq!(totals.results.len(), 400 + 2);
        let all: u64 = totals.results.iter().map(|it| it.1[0]).sum();
        assert_eq!((all, totals.dropped), (4000, 0));
        assert_eq!(workers[0].names.callers.taken.load(Ordering::Relaxed), 400);
    }

    #[test]
    fn a_full_table_is_looked_through_no_further_than_its_probes() {
        let table = Table::new(PROBES_MAX as u32 * 4);
        let entry = |key| table.enter(7, key, 7, |_| Some(0));
        let keys: Vec<_> = (0..PROBES_MAX + 1).map(|it| it.to_string()).collect();
        let places: Vec<_> = keys.iter().map(|it| entry([it.as_bytes(), b"", b""])).collect();
        assert!(places[..PROBES_MAX].iter().all(Option::is_some));
        assert_eq!(places[PROBES_MAX], None);
        assert_eq!(table.taken.load(Ordering::Relaxed) as usize, PROBES_MAX);
    }
}
