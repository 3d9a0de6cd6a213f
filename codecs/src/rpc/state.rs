//! What a connection is in a snapshot, version 1.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::client::Call;
use super::{Input, heartbeat};
/// Version of the layout.
pub(super) const VERSION: u16 = 1;

/// Versions that are thawed; they are those of every protocol of this kind.
pub(crate) const SNAPSHOTS: &[u16] = &[VERSION];

/// A connection.
#[derive(Serialize, Deserialize)]
pub(super) struct Connection<S> {
    pub(super) skip: usize,
    pub(super) input: Input,
    pub(super) is_draining: bool,
    pub(super) gather: Option<Gather>,
    pub(super) side: Side<S>,
}

/// A large frame on its way in.
#[derive(Serialize, Deserialize)]
pub(super) struct Gather {
    pub(super) head: Bytes,
    pub(super) segments: Vec<Bytes>,
}

/// What only one role has.
#[derive(Serialize, Deserialize)]
pub(super) enum Side<S> {
    Server { streams: Table<Request<S>> },
    Client { calls: Table<Call>, given_up: Vec<(u32, u64)>, heartbeat: heartbeat::Frozen, shape: S },
}

/// A request that waits for its answer, some ten bytes in a snapshot.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Request<S> {
    pub(super) id: u64,
    pub(super) shape: S,
}

/// A table of streams: counter, slots, and each entry with its slot and how long before the
/// counter its generation was given out.
#[derive(Serialize, Deserialize)]
pub(super) struct Table<T> {
    pub(super) counter: u32,
    pub(super) slots: u32,
    pub(super) entries: Vec<(u32, u32, T)>,
}

impl<T: Copy> Table<T> {
    pub(super) fn freeze(table: &super::table::Table<T>) -> Self {
        let (counter, slots) = table.position();
        let entries = table
            .iter()
            .map(|(id, entry)| (id.slot, counter.wrapping_sub(id.generation), entry))
            .collect();
        Self { counter, slots, entries }
    }

    pub(super) fn thaw(self, counter_max: u32) -> Option<super::table::Table<T>> {
        let counter = self.counter;
        let entries = self.entries.into_iter().map(|(slot, age, entry)| {
            (crate::StreamId { slot, generation: counter.wrapping_sub(age) }, entry)
        });
        super::table::Table::from_parts(counter_max, (counter, self.slots), entries)
    }
}
