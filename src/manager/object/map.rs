//! Values by their keys, in the order in which the keys came.
//!
//! As Python's dicts have it: the items stand one after the other in the order of their coming, and a small table of
//! positions finds them. An item that goes leaves a hole, so that the others keep their places; when there are more holes
//! than items, all move up.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use super::Object;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Values by their keys, in the order in which the keys were first inserted: what [`Object::Dict`] holds.
///
/// # Examples
///
/// ```
/// use shmkit::manager::{Map, Object};
///
/// let mut map = Map::new();
/// map.insert("b", 1);
/// map.insert(2, "x");
/// assert_eq!(map.insert("b", 3), Some(Object::from(1)));
/// assert_eq!(map.get(2.0), Some(&Object::from("x")));
/// assert_eq!(map.to_string(), "{'b': 3, 2: 'x'}");
/// assert_eq!(map.remove("b"), Some(Object::from(3)));
/// assert_eq!(map.len(), 1);
/// ```
#[derive(Clone, Default)]
pub struct Map(Option<Box<Table>>);

#[derive(Clone, Default)]
struct Table {
    /// The items and holes.
    items: Vec<Option<(Object, Object)>>,
    /// Invariant: empty, or a power of two of which at least one is free; each item has one place.
    places: Vec<Place>,
    live: usize,
}

/// The upper half of a hash, and where its item is.
#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    at: u32,
}

/// Never had an item since the places were laid out.
const FREE: u32 = u32::MAX;
/// Had one.
const LEFT: u32 = u32::MAX - 1;

/// So many items are no room for more.
const MOST: usize = LEFT as usize;

fn hash_of(key: &Object) -> u32 {
    (HASHER.hash_one(key) >> 32) as u32
}

impl Table {
    /// Where in `places` the key is.
    fn find(&self, hash: u32, key: &Object) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut place = hash as usize & mask;
        loop {
            match self.places[place] {
                Place { at: FREE, .. } => return None,
                Place { at: LEFT, .. } => {}
                Place { hash: known, at } if known == hash => match &self.items[at as usize] {
                    Some((found, _)) if found == key => return Some(place),
                    _ => {}
                },
                Place { .. } => {}
            }
            place = (place + 1) & mask;
        }
    }

    fn position(&self, key: &Object) -> Option<usize> {
        self.find(hash_of(key), key).map(|place| self.places[place].at as usize)
    }

    fn add_place(places: &mut [Place], hash: u32, at: usize) {
        let mask = places.len() - 1;
        let mut place = hash as usize & mask;
        while places[place].at < LEFT {
            place = (place + 1) & mask;
        }
        places[place] = Place { hash, at: at as u32 };
    }

    /// Lays the places out anew, with room for one more item than there are.
    fn lay_out(&mut self) {
        let wanted = ((self.items.len() + 1) * 8 / 7 + 1).next_power_of_two().max(8);
        let mut places = vec![Place { hash: 0, at: FREE }; wanted];
        let known: Vec<_> = self.places.iter().filter(|place| place.at < LEFT).copied().collect();
        for place in known {
            Self::add_place(&mut places, place.hash, place.at as usize);
        }
        self.places = places;
    }

    /// Gives a new key its place at the end.
    fn push(&mut self, hash: u32, key: Object, value: Object) {
        assert!(self.items.len() < MOST, "a dict of 2^32 items");
        self.make_room();
        // By a quarter at a time: half of the memory of a large dict would be empty else.
        if self.items.len() == self.items.capacity() {
            self.items.reserve_exact((self.items.len() / 4).max(4));
        }
        Self::add_place(&mut self.places, hash, self.items.len());
        self.items.push(Some((key, value)));
        self.live += 1;
    }

    fn make_room(&mut self) {
        if (self.items.len() + 1) * 8 > self.places.len() * 7 {
            self.lay_out();
        }
    }

    /// Moves the items up if there are more holes than items.
    fn close_holes(&mut self) {
        if self.items.len() > 2 * self.live + 8 {
            let mut next = 0_u32;
            let moved: Vec<u32> = self
                .items
                .iter()
                .map(|item| {
                    next += u32::from(item.is_some());
                    next.wrapping_sub(1)
                })
                .collect();
            self.places.iter_mut().for_each(|place| {
                if place.at < LEFT {
                    place.at = moved[place.at as usize];
                }
            });
            self.items.retain(Option::is_some);
            self.items.shrink_to(self.live + self.live / 4);
            self.lay_out();
        }
    }
}

impl Map {
    /// One without items.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.live)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: impl Into<Object>) -> Option<&Object> {
        self.find(&key.into())
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains(&self, key: impl Into<Object>) -> bool {
        self.get(key).is_some()
    }

    /// Gives a key a value, and returns the one that it had. A key that there was stays as it is, and where it is.
    pub fn insert(&mut self, key: impl Into<Object>, value: impl Into<Object>) -> Option<Object> {
        self.put(key.into(), value.into())
    }

    /// Takes an item out, and returns its value.
    pub fn remove(&mut self, key: impl Into<Object>) -> Option<Object> {
        let (_, _, value) = self.take(&key.into())?;
        self.close_holes();
        Some(value)
    }

    /// The items, in their order.
    #[must_use]
    pub fn iter(&self) -> MapIter<'_> {
        MapIter { items: self.items().iter(), left: self.len() }
    }

    fn items(&self) -> &[Option<(Object, Object)>] {
        self.0.as_ref().map_or(&[], |table| &table.items)
    }

    pub(in super::super) fn find(&self, key: &Object) -> Option<&Object> {
        let table = self.0.as_ref()?;
        table.items[table.position(key)?].as_ref().map(|(_, value)| value)
    }

    pub(in super::super) fn put(&mut self, key: Object, value: Object) -> Option<Object> {
        let table = self.0.get_or_insert_default();
        let hash = hash_of(&key);
        if let Some(place) = table.find(hash, &key) {
            let at = table.places[place].at as usize;
            return table.items[at].as_mut().map(|(_, old)| std::mem::replace(old, value));
        }
        table.push(hash, key, value);
        None
    }

    /// Takes an item out and leaves a hole where it was: its place, for [`put_back`](Self::put_back).
    pub(in super::super) fn take(&mut self, key: &Object) -> Option<(usize, Object, Object)> {
        let table = self.0.as_mut()?;
        let place = table.find(hash_of(key), key)?;
        let at = table.places[place].at as usize;
        table.places[place].at = LEFT;
        let (key, value) = table.items[at].take()?;
        table.live -= 1;
        Some((at, key, value))
    }

    /// Undoes a [`take`](Self::take), if no holes were closed since then.
    pub(in super::super) fn put_back(&mut self, at: usize, key: Object, value: Object) {
        let table = self.0.get_or_insert_default();
        let hash = hash_of(&key);
        if table.items.len() <= at {
            table.items.resize_with(at + 1, || None);
        }
        table.make_room();
        Table::add_place(&mut table.places, hash, at);
        table.items[at] = Some((key, value));
        table.live += 1;
    }

    pub(in super::super) fn close_holes(&mut self) {
        if let Some(table) = &mut self.0 {
            table.close_holes();
        }
    }

    /// The last key.
    pub(in super::super) fn last_key(&self) -> Option<&Object> {
        self.items().iter().rev().flatten().next().map(|(key, _)| key)
    }

    /// Items from a position on, each with its position.
    pub(in super::super) fn from(&self, at: usize) -> impl Iterator<Item = (usize, &(Object, Object))> {
        let rest = self.items().get(at..).unwrap_or_default();
        rest.iter().enumerate().filter_map(move |(offset, item)| Some((at + offset, item.as_ref()?)))
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.find(key) == Some(value))
    }
}

impl Eq for Map {}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Into<Object>, V: Into<Object>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut map = Self::new();
        map.extend(items);
        map
    }
}

impl<K: Into<Object>, V: Into<Object>> Extend<(K, V)> for Map {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        for (key, value) in items {
            self.insert(key, value);
        }
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Object, &'a Object);
    type IntoIter = MapIter<'a>;

    fn into_iter(self) -> MapIter<'a> {
        self.iter()
    }
}

impl IntoIterator for Map {
    type Item = (Object, Object);
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Option<(Object, Object)>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map_or_else(Vec::new, |table| table.items).into_iter().flatten()
    }
}

/// The items of a [`Map`].
#[derive(Clone)]
pub struct MapIter<'a> {
    items: std::slice::Iter<'a, Option<(Object, Object)>>,
    left: usize,
}

impl fmt::Debug for MapIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapIter").field("left", &self.left).finish()
    }
}

impl<'a> Iterator for MapIter<'a> {
    type Item = (&'a Object, &'a Object);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.items.by_ref().flatten().next()?;
        self.left -= 1;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for MapIter<'_> {}
