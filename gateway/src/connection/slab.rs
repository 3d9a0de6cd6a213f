//! A slab under generational ids.

use std::{fmt, hash::Hash, marker::PhantomData};

/// Names a value in a [`Slab`]: its place, and how often the place was used before.
pub struct Id<T> {
    /// Index into the slab.
    pub index: u32,
    /// Uses of the place before this one.
    pub generation: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The id with these parts.
    pub fn new(index: u32, generation: u32) -> Self {
        Self { index, generation, kind: PhantomData }
    }

    /// Index and generation.
    pub fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.index, self.generation)
    }
}

/// Values under ids that are never mistaken for those of an earlier value in the same place.
///
/// Places stand in chunks that never move: growing copies nothing, and takes no more memory than
/// there are values, but for one chunk.
pub struct Slab<T> {
    chunks: Vec<Vec<Place<T>>>,
    places: usize,
    free: Vec<u32>,
    /// Places that are kept and not filled.
    reserved: usize,
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Places of a chunk. 64: what a chunk leaves unused is little beside what a worker needs anyway.
const CHUNK: usize = 64;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), places: 0, free: Vec::new(), reserved: 0 }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and names it. Inlined, so that a large value is made where it is to stand:
    /// one that is moved right after it was made is read before its parts have left the processor.
    #[inline(always)]
    pub fn insert(&mut self, value: T) -> Id<T> {
        let index = self.take_free();
        let Some(place) = self.place_mut(index) else { return Id::new(index, 0) };
        place.value = Some(value);
        Id::new(index, place.generation)
    }

    /// The index of a place that is free and not among the free ones any more.
    #[inline]
    fn take_free(&mut self) -> u32 {
        match self.free.pop() {
            Some(index) => index,
            None => self.add_place(),
        }
    }

    #[cold]
    fn add_place(&mut self) -> u32 {
        let index = u32::try_from(self.places).unwrap_or(u32::MAX);
        if self.places.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Place { generation: 0, value: None });
            self.places += 1;
        }
        index
    }

    /// Keeps a place, for [`Slab::fill`] or [`Slab::cancel`]. Nothing is there until then.
    pub fn reserve(&mut self) -> Id<T> {
        let index = self.take_free();
        let generation = self.place_mut(index).map_or(0, |place| place.generation);
        self.reserved += 1;
        Id::new(index, generation)
    }

    /// Puts a value into a place that was kept; `None` if it was not.
    pub fn fill(&mut self, id: Id<T>, value: T) -> Option<Id<T>> {
        let place = self.place_mut(id.index).filter(|it| it.generation == id.generation)?;
        if place.value.is_some() {
            return None;
        }
        place.value = Some(value);
        self.reserved -= 1;
        Some(id)
    }

    /// Gives up a place that was kept and not filled.
    pub fn cancel(&mut self, id: Id<T>) {
        let Some(place) = self.place_mut(id.index) else { return };
        if place.generation != id.generation || place.value.is_some() {
            return;
        }
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        self.reserved -= 1;
    }

    /// The value of that name, if it is still there.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let index = id.index as usize;
        let place = self.chunks.get(index / CHUNK)?.get(index % CHUNK)?;
        if place.generation == id.generation { place.value.as_ref() } else { None }
    }

    /// The value of that name, if it is still there.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let place = self.place_mut(id.index)?;
        if place.generation == id.generation { place.value.as_mut() } else { None }
    }

    /// Takes the value of that name out; its id means nothing any more.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let place = self.place_mut(id.index)?;
        if place.generation != id.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }

    /// All values with their names.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.chunks.iter().flatten().zip(0..).filter_map(|(place, index)| {
            Some((Id::new(index, place.generation), place.value.as_ref()?))
        })
    }

    /// All values from this index on, with their names.
    pub fn iter_from(&self, index: u32) -> impl Iterator<Item = (Id<T>, &T)> {
        let chunk = index as usize / CHUNK;
        let before = chunk.saturating_mul(CHUNK) as u32;
        let places = self.chunks.iter().skip(chunk).flatten().zip(before..);
        places.filter(move |it| it.1 >= index).filter_map(|(place, index)| {
            Some((Id::new(index, place.generation), place.value.as_ref()?))
        })
    }

    /// All values with their names, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        self.chunks.iter_mut().flatten().zip(0..).filter_map(|(place, index)| {
            Some((Id::new(index, place.generation), place.value.as_mut()?))
        })
    }

    /// The names of all values.
    pub fn ids(&self) -> Vec<Id<T>> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.places - self.free.len() - self.reserved
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_nothing_once_its_value_is_gone() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_place_that_is_kept_is_nobody_elses_until_it_is_filled_or_given_up() {
        let mut slab = Slab::default();
        slab.insert("first");
        let (kept, given_up) = (slab.reserve(), slab.reserve());
        assert_eq!((slab.len(), slab.get(kept)), (1, None));
        let other = slab.insert("other");
        assert_eq!(slab.fill(kept, "kept"), Some(kept));
        assert_eq!(slab.fill(kept, "again"), None);
        slab.cancel(given_up);
        slab.cancel(given_up);
        slab.cancel(kept);
        assert_eq!(slab.fill(given_up, "late"), None);
        assert_eq!(
            (slab.get(kept), slab.get(other), slab.len()),
            (Some(&"kept"), Some(&"other"), 3)
        );
        let reused = slab.insert("reused");
        assert_eq!((reused.index, reused == given_up), (given_up.index, false));
    }

    #[test]
    fn values_stay_where_they_are_however_many_come() {
        let mut slab = Slab::default();
        let ids: Vec<_> = (0..1000).map(|it| slab.insert(it)).collect();
        let first = std::ptr::from_ref(slab.get(ids[0]).unwrap());
        for id in ids.iter().step_by(3) {
            slab.remove(*id);
        }
        let again: Vec<_> = (0..2000).map(|it| slab.insert(it)).collect();
        assert_eq!(slab.len(), 666 + 2000);
        assert_eq!(slab.get(ids[1]), Some(&1));
        assert_eq!(slab.get(ids[0]), None);
        let in_its_place = again.iter().find(|it| it.index == ids[0].index).unwrap();
        assert_eq!(std::ptr::from_ref(slab.get(*in_its_place).unwrap()), first);
        let later: Vec<_> = slab.iter_from(100).map(|(id, _)| id.index).collect();
        assert_eq!(
            later,
            slab.iter().map(|it| it.0.index).filter(|it| *it >= 100).collect::<Vec<_>>()
        );
        let named: Vec<_> = slab.iter().map(|(id, value)| (id, *value)).collect();
        assert_eq!(named.len(), slab.len());
        assert!(named.iter().all(|(id, value)| slab.get(*id) == Some(value)));
    }
}
