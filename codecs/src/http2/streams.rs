//! The streams of a connection, found by slot and by id.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::stream::Stream;
use crate::StreamId;

/// A table of streams. Slots are used anew, with another generation each time; ids only rise.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Streams {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Ids on the wire with their slots, rising.
    ids: VecDeque<(u32, u32)>,
    open: u32,
    /// Generation with which a new slot begins: no lower than that of any slot that was given up.
    first_generation: u32,
    /// Memory of streams that are gone, for the next ones.
    #[serde(skip)]
    #[allow(clippy::vec_box, reason = "what is kept is the box")]
    spare: Vec<Box<Stream>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Slot {
    generation: u32,
    stream: Option<Box<Stream>>,
}

impl Streams {
    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.open
    }

    /// Takes a stream in. One that has an id already must have a higher one than all before.
    pub(super) fn insert(&mut self, stream: Stream) -> StreamId {
        let id = stream.id;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: self.first_generation, stream: None });
                u32::try_from(self.slots.len()).unwrap_or(u32::MAX).saturating_sub(1)
            }
        };
        let mut generation = 0;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.generation = place.generation.wrapping_add(1);
            generation = place.generation;
            place.stream = Some(match self.spare.pop() {
                Some(mut place) => {
                    *place = stream;
                    place
                }
                None => Box::new(stream),
            });
        }
        self.open = self.open.saturating_add(1);
        if id > 0 {
            self.ids.push_back((id, slot));
        }
        StreamId { slot, generation }
    }

    /// Names the id under which a stream that had none is sent: a higher one than all before.
    pub(super) fn name(&mut self, stream: StreamId, id: u32) {
        if let Some(it) = self.get_mut(stream) {
            it.id = id;
            self.ids.push_back((id, stream.slot));
        }
    }

    /// The stream with an id.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<StreamId> {
        let place = self.ids.partition_point(|(it, _)| *it < id);
        let (_, slot) = self.ids.get(place).filter(|(it, _)| *it == id)?;
        let generation = self.slots.get(*slot as usize)?.generation;
        Some(StreamId { slot: *slot, generation })
    }

    #[inline]
    pub(super) fn get(&self, stream: StreamId) -> Option<&Stream> {
        let slot = self.slots.get(stream.slot as usize)?;
        slot.stream.as_deref().filter(|_| slot.generation == stream.generation)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Stream> {
        let slot = self.slots.get_mut(stream.slot as usize)?;
        slot.stream.as_deref_mut().filter(|_| slot.generation == stream.generation)
    }

    pub(super) fn remove(&mut self, stream: StreamId) -> Option<Box<Stream>> {
        let slot = self.slots.get_mut(stream.slot as usize)?;
        if slot.generation != stream.generation {
            return None;
        }
        let removed = slot.stream.take()?;
        self.open = self.open.saturating_sub(1);
        let place = self.ids.partition_point(|(it, _)| *it < removed.id);
        if self.ids.get(place).is_some_and(|(it, _)| *it == removed.id) {
            self.ids.remove(place);
        }
        self.free.push(stream.slot);
        if self.open == 0 && self.slots.len() > SLOTS_KEPT {
            self.shrink();
        }
        Some(removed)
    }

    /// Takes the memory of a stream that is gone.
    pub(super) fn keep(&mut self, mut gone: Box<Stream>) {
        if self.spare.len() < SPARE_KEPT {
            gone.queue = None;
            self.spare.push(gone);
        }
    }

    /// Gives the memory of many streams back, when all are gone. A slot that comes again begins
    /// above all generations before, so that a late word is not taken for one to its successor.
    fn shrink(&mut self) {
        let generations = self.slots.iter().map(|it| it.generation);
        self.first_generation = generations.max().unwrap_or_default().max(self.first_generation);
        self.slots.truncate(SLOTS_KEPT);
        self.slots.shrink_to_fit();
        self.free = (0..).zip(&self.slots).map(|(slot, _)| slot).collect();
        self.ids.shrink_to(SLOTS_KEPT);
    }

    /// All streams, in the order of their slots.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream)> {
        self.slots.iter_mut().zip(0..).filter_map(|(it, slot)| {
            let stream = it.stream.as_deref_mut()?;
            Some((StreamId { slot, generation: it.generation }, stream))
        })
    }

    /// Whether all that it says of itself fits together; what a snapshot brings may not.
    pub(super) fn is_sound(&self) -> bool {
        let there = self.slots.iter().filter(|it| it.stream.is_some()).count();
        let named = self.slots.iter().flat_map(|it| &it.stream).filter(|it| it.id > 0).count();
        let ids_fit = self.ids.iter().all(|(id, slot)| {
            let stream = self.slots.get(*slot as usize).and_then(|it| it.stream.as_deref());
            stream.is_some_and(|it| it.id == *id)
        });
        let ids_rise = self.ids.iter().zip(self.ids.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        let is_free =
            |slot: &u32| self.slots.get(*slot as usize).is_some_and(|it| it.stream.is_none());
        u32::try_from(there) == Ok(self.open)
            && named == self.ids.len()
            && ids_fit
            && ids_rise
            && self.free.iter().all(is_free)
            && is_set(&self.free)
            && self.free.len().saturating_add(there) == self.slots.len()
    }
}

/// Whether nothing stands twice.
fn is_set(slots: &[u32]) -> bool {
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    sorted.iter().zip(sorted.iter().skip(1)).all(|(a, b)| a != b)
}

/// Places of streams that a connection without any keeps: 1 KiB.
const SLOTS_KEPT: usize = 64;

/// Streams whose memory is kept: some 3 KiB.
const SPARE_KEPT: usize = 16;
