//! Values by their keys, in the order in which the keys came.
//!
//! As Python's dicts have it: the items stand one after the other in the order of their coming, and a small table of
//! positions finds them, if there are many. An item that goes leaves a hole, so that the others keep their places; when there are
//! more holes than items, all move up.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    mem,
    sync::LazyLock,
};

use super::Object;

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
    /// The items and holes. The last one is no hole.
    items: Vec<Option<(Object, Object)>>,
    /// None as long as there were few items, which are looked through. Invariant: else a power of two of them, at least one of
    /// which is free; each item has one.
    places: Vec<Place>,
    /// The number of items.
    live: usize,
    /// The number of places that were left.
    left: usize,
}

/// A part of a hash, and where its item is.
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

/// To look through so many takes no longer than to hash a key.
const FEW: usize = 8;

/// Numbers that nobody knows: so nobody can choose keys that fall together.
struct Secret {
    factor: u128,
    summand: u128,
    others: RandomState,
}

static SECRET: LazyLock<Secret> = LazyLock::new(|| {
    let random = RandomState::new();
    let number = |n: u64| u128::from(random.hash_one((n, 0))) << 64 | u128::from(random.hash_one((n, 1)));
    Secret { factor: number(0), summand: number(1), others: RandomState::new() }
});

/// Of numbers, nearly all of which are short, a linear function by chance: two that are chosen without knowing it fall together
/// as seldom as by chance, in any of the bits (Dietzfelbinger, 1996). Of all else SipHash, which takes several times as long.
#[inline]
fn hash_of(key: &Object) -> u32 {
    let secret = &*SECRET;
    let wide = match key.short_number() {
        Some(number) => {
            let number = u128::from(number.cast_unsigned());
            (secret.factor.wrapping_mul(number).wrapping_add(secret.summand) >> 64) as u64
        }
        None => secret.others.hash_one(key),
    };
    (wide >> 32) as u32
}

impl Table {
    /// What `find` and `push` want to know of a key.
    #[inline]
    fn hash(&self, key: &Object) -> u32 {
        if self.places.is_empty() { 0 } else { hash_of(key) }
    }

    /// Where the key is among the items, and among the places if there are any.
    #[inline]
    fn find(&self, hash: u32, key: &Object) -> Option<(usize, usize)> {
        let is_it = |item: &Option<(Object, Object)>| item.as_ref().is_some_and(|(found, _)| found == key);
        let Some(mask) = self.places.len().checked_sub(1) else {
            return self.items.iter().position(is_it).map(|at| (at, 0));
        };
        let mut place = hash as usize & mask;
        loop {
            match self.places[place] {
                Place { at: FREE, .. } => return None,
                Place { at: LEFT, .. } => {}
                Place { hash: known, at } if known == hash && is_it(&self.items[at as usize]) => {
                    return Some((at as usize, place));
                }
                Place { .. } => {}
            }
            place = (place + 1) & mask;
        }
    }

    fn position(&self, key: &Object) -> Option<usize> {
        self.find(self.hash(key), key).map(|(at, _)| at)
    }

    /// Gives the item `at` a place, of which there are enough.
    fn add_place(&mut self, hash: u32, at: usize) {
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while self.places[place].at < LEFT {
            place = (place + 1) & mask;
        }
        self.left -= usize::from(self.places[place].at == LEFT);
        self.places[place] = Place { hash, at: at as u32 };
    }

    /// Lays the places out anew, with room for one more item than there are.
    fn lay_out(&mut self) {
        let before = mem::take(&mut self.places);
        self.left = 0;
        if self.items.len() <= FEW {
            return;
        }
        // At most two thirds of them are taken: so it takes many changes until they are laid out again.
        let wanted = ((self.live + 1) * 3 / 2).next_power_of_two();
        self.places = vec![Place { hash: 0, at: FREE }; wanted];
        if before.is_empty() {
            for at in 0..self.items.len() {
                if let Some((key, _)) = &self.items[at] {
                    self.add_place(hash_of(key), at);
                }
            }
        }
        for place in before.iter().filter(|place| place.at < LEFT) {
            self.add_place(place.hash, place.at as usize);
        }
    }

    /// A place for the item `at`, which is there, and whose key has this hash.
    fn settle(&mut self, hash: u32, at: usize) {
        self.live += 1;
        if self.places.is_empty() {
            if self.items.len() > FEW {
                self.lay_out();
            }
            return;
        }
        if (self.live + self.left) * 8 > self.places.len() * 7 {
            self.lay_out();
        }
        // There may be few by now.
        if !self.places.is_empty() {
            self.add_place(hash, at);
        }
    }

    /// Puts a new key at the end, and returns where that is.
    fn push(&mut self, hash: u32, key: Object, value: Object) -> usize {
        let at = self.items.len();
        assert!(at < MOST, "a dict of 2^32 items");
        // By a quarter at a time: half of the memory of a large dict would be empty else.
        if at == self.items.capacity() {
            self.items.reserve_exact((at / 4).max(4));
        }
        self.items.push(Some((key, value)));
        self.settle(hash, at);
        at
    }

    /// Takes the item `at` out, which has this place if there are any.
    fn take(&mut self, at: usize, place: usize) -> Option<(Object, Object)> {
        if !self.places.is_empty() {
            let next = (place + 1) & (self.places.len() - 1);
            // Whoever comes this far looks no further in any case.
            let is_last = self.places[next].at == FREE;
            self.places[place].at = if is_last { FREE } else { LEFT };
            self.left += usize::from(!is_last);
        }
        let item = self.items[at].take();
        self.live -= 1;
        while let Some(None) = self.items.last() {
            self.items.pop();
        }
        item
    }

    /// Moves the items up if there are more holes than items, and gives back room for many more than there are.
    fn settle_down(&mut self) {
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
        } else if is_wasteful(&self.items) {
            self.items.shrink_to(2 * self.items.len());
            self.lay_out();
        }
    }
}

/// Whether there is room for so many more that to move all to less room is worth it: not before as many have gone or come again.
pub(in super::super) fn is_wasteful<T>(items: &Vec<T>) -> bool {
    items.capacity() / 4 > items.len() + 16
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
        self.settle_down();
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

    /// One that will have about so many items.
    pub(super) fn with_capacity(count: usize) -> Self {
        match count {
            0 => Self(None),
            _ => Self(Some(Box::new(Table { items: Vec::with_capacity(count), ..Table::default() }))),
        }
    }

    pub(in super::super) fn find(&self, key: &Object) -> Option<&Object> {
        let table = self.0.as_ref()?;
        table.items[table.position(key)?].as_ref().map(|(_, value)| value)
    }

    pub(in super::super) fn put(&mut self, key: Object, value: Object) -> Option<Object> {
        self.put_and_tell(key, value).1
    }

    /// Gives a key a value, and says where that is. What it had is returned; else it is a new one, at the end.
    #[inline]
    pub(in super::super) fn put_and_tell(&mut self, key: Object, value: Object) -> (usize, Option<Object>) {
        let table = self.0.get_or_insert_default();
        let hash = table.hash(&key);
        match table.find(hash, &key) {
            Some((at, _)) => (at, self.replace(at, value)),
            None => (table.push(hash, key, value), None),
        }
    }

    /// Takes an item out and leaves a hole where it was: its place, for [`put_back`](Self::put_back).
    pub(in super::super) fn take(&mut self, key: &Object) -> Option<(usize, Object, Object)> {
        let table = self.0.as_mut()?;
        let (at, place) = table.find(table.hash(key), key)?;
        table.take(at, place).map(|(key, value)| (at, key, value))
    }

    /// The same of the item at a place.
    pub(in super::super) fn take_at(&mut self, at: usize) -> Option<(Object, Object)> {
        let table = self.0.as_mut()?;
        let (key, _) = table.items.get(at)?.as_ref()?;
        let (at, place) = table.find(table.hash(key), key)?;
        table.take(at, place)
    }

    /// Another value for the item at a place; the one that it had.
    #[inline]
    pub(in super::super) fn replace(&mut self, at: usize, value: Object) -> Option<Object> {
        let (_, old) = self.0.as_mut()?.items.get_mut(at)?.as_mut()?;
        Some(mem::replace(old, value))
    }

    /// Undoes a [`take`](Self::take), if no holes were closed since then.
    pub(in super::super) fn put_back(&mut self, at: usize, key: Object, value: Object) {
        let table = self.0.get_or_insert_default();
        let hash = table.hash(&key);
        if table.items.len() <= at {
            table.items.resize_with(at + 1, || None);
        }
        table.items[at] = Some((key, value));
        table.settle(hash, at);
    }

    pub(in super::super) fn settle_down(&mut self) {
        if let Some(table) = &mut self.0 {
            table.settle_down();
        }
    }

    /// For so many items there is room.
    #[cfg(test)]
    pub(in super::super) fn room(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.items.capacity().max(table.places.len()))
    }

    /// The last item.
    pub(in super::super) fn last(&self) -> Option<&(Object, Object)> {
        self.items().last()?.as_ref()
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
