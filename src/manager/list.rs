//! Lists in the server.

use std::ops::{Bound, RangeBounds};

use serde::de::DeserializeOwned;

use super::{
    iter::ListIter,
    object::Object,
    protocol::Op,
    proxy::{Remote, proxy},
};
use crate::{Error, Result};

/// A list of mixed values in a manager's server, shared by all who have it.
///
/// It works as Python's lists do: negative indices count from the end, slices end where the list does. Each operation is one
/// step for all others. Clones, and copies in other processes, are the same list; it lives as long as any of them, or
/// another list or dict that has it among its values.
///
/// # Errors
///
/// Besides those of each method, all give [`ManagerGone`](crate::Error::ManagerGone) when there is no server any more,
/// [`NotSendable`](crate::Error::NotSendable) for values that are nested too deep, and
/// [`InvalidArgument`](crate::Error::InvalidArgument) for objects of another manager.
///
/// # If a process dies
///
/// See the [module](super).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Error, Manager, Result, manager::Object};
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let manager = Manager::start()?;
///     let list = manager.list_from([3, 1, 2])?;
///     list.push("x")?;
///     list.insert(0, Object::None)?;
///     assert_eq!(list.to_object()?.to_string(), "[None, 3, 1, 2, 'x']");
///     assert_eq!(list.pop()?, Object::from("x"));
///     assert_eq!(list.remove_at(0)?, Object::None);
///     list.sort()?;
///     list.extend([2, 2])?;
///     assert_eq!((list.len()?, list.count(2)?, list.index_of(3)?, list.contains(7)?), (5, 3, 2, false));
///     assert_eq!(list.get(-1)?.get_as::<u8>()?, 2);
///     assert_eq!(list.slice(1..=2)?, [2.into(), 3.into()]);
///     assert_eq!(list.slice(-2..100)?.len(), 2);
///
///     // In one step, without a lock.
///     assert_eq!(list.fetch_add(0, 10)?, Object::from(1));
///     assert_eq!(list.compare_exchange(0, 11, "eleven")?, Ok(Object::from(11)));
///     assert_eq!(list.compare_exchange(0, 11, "twelve")?, Err(Object::from("eleven")));
///
///     let all: Vec<Object> = list.iter().collect::<Result<_>>()?;
///     assert_eq!(list.get_as::<(String, u8, u8, u8, u8)>()?, ("eleven".into(), 2, 3, 2, 2));
///     assert_eq!(all.len(), 5);
///     list.remove("eleven")?;
///     list.reverse()?;
///     assert!(matches!(list.get(4), Err(Error::IndexOutOfRange { index: 4, len: 4 })));
///     assert!(matches!(list.remove("eleven"), Err(Error::ValueNotFound { .. })));
///     list.push("y")?;
///     assert!(matches!(list.sort(), Err(Error::TypeMismatch { .. })));
///     list.clear()?;
///     assert!(list.is_empty()?);
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct List(pub(super) Remote);

proxy!(List, "ListProxy");

impl List {
    fn ask(&self, op: Op) -> Result<Object> {
        self.0.ask(op)
    }

    /// The value at a place.
    ///
    /// # Errors
    ///
    /// [`IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn get(&self, index: i64) -> Result<Object> {
        self.ask(Op::Get(index.into()))
    }

    /// Puts another value at a place.
    ///
    /// # Errors
    ///
    /// [`IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn set(&self, index: i64, value: impl Into<Object>) -> Result<()> {
        self.ask(Op::Set(index.into(), value.into())).map(drop)
    }

    /// Puts a value at the end.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn push(&self, value: impl Into<Object>) -> Result<()> {
        self.ask(Op::Push(value.into())).map(drop)
    }

    /// Puts a value before the one at a place, or at the end that is nearer if there is none.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn insert(&self, index: i64, value: impl Into<Object>) -> Result<()> {
        self.ask(Op::InsertAt(index, value.into())).map(drop)
    }

    /// Takes the last value out.
    ///
    /// # Errors
    ///
    /// [`IndexOutOfRange`](crate::Error::IndexOutOfRange) when there is none.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn pop(&self) -> Result<Object> {
        self.ask(Op::Pop(None))
    }

    /// Takes the value at a place out.
    ///
    /// # Errors
    ///
    /// [`IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn remove_at(&self, index: i64) -> Result<Object> {
        self.ask(Op::Pop(Some(index)))
    }

    /// Takes the first such value out.
    ///
    /// # Errors
    ///
    /// [`ValueNotFound`](crate::Error::ValueNotFound).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn remove(&self, value: impl Into<Object>) -> Result<()> {
        self.ask(Op::Remove(value.into())).map(drop)
    }

    /// Puts values at the end, one after the other, in one step.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn extend<T: Into<Object>>(&self, values: impl IntoIterator<Item = T>) -> Result<()> {
        self.ask(Op::Extend(values.into_iter().map(Into::into).collect())).map(drop)
    }

    /// A copy of the values at these places, as many as there are.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn slice(&self, range: impl RangeBounds<i64>) -> Result<Vec<Object>> {
        // The place after the last one is the end.
        let after = |index: i64| if index == -1 { None } else { Some(index.saturating_add(1)) };
        let from = match range.start_bound() {
            Bound::Included(from) => Some(*from),
            Bound::Excluded(from) => Some(after(*from).unwrap_or(i64::MAX)),
            Bound::Unbounded => None,
        };
        let to = match range.end_bound() {
            Bound::Included(to) => after(*to),
            Bound::Excluded(to) => Some(*to),
            Bound::Unbounded => None,
        };
        items(self.ask(Op::Slice(from, to))?)
    }

    /// Turns the order around.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn reverse(&self) -> Result<()> {
        self.ask(Op::Reverse()).map(drop)
    }

    /// Sorts the values. Equal ones stay in their order.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](crate::Error::TypeMismatch) when some have no order with each other: then nothing has changed.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn sort(&self) -> Result<()> {
        self.ask(Op::Sort()).map(drop)
    }

    /// Where the first such value is.
    ///
    /// # Errors
    ///
    /// [`ValueNotFound`](crate::Error::ValueNotFound).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn index_of(&self, value: impl Into<Object>) -> Result<usize> {
        self.ask(Op::IndexOf(value.into()))?.get_as()
    }

    /// How many such values there are.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn count(&self, value: impl Into<Object>) -> Result<usize> {
        self.ask(Op::CountOf(value.into()))?.get_as()
    }

    /// Whether there is such a value.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn contains(&self, value: impl Into<Object>) -> Result<bool> {
        self.ask(Op::Contains(value.into()))?.get_as()
    }

    /// The number of values.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn len(&self) -> Result<usize> {
        self.ask(Op::Len())?.get_as()
    }

    /// Whether there are none.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Takes all values out.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn clear(&self) -> Result<()> {
        self.ask(Op::Clear()).map(drop)
    }

    /// Adds to a number, and returns what it was before.
    ///
    /// # Errors
    ///
    /// [`IndexOutOfRange`](crate::Error::IndexOutOfRange); [`TypeMismatch`](crate::Error::TypeMismatch) for what is no number,
    /// [`OutOfRange`](crate::Error::OutOfRange) for a sum that is too large.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn fetch_add(&self, index: i64, by: impl Into<Object>) -> Result<Object> {
        self.ask(Op::FetchAdd(index.into(), by.into()))
    }

    /// Puts another value at a place if `current` is there. The answer is the value that was there, `Ok` if it was replaced.
    ///
    /// # Errors
    ///
    /// [`IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn compare_exchange(
        &self,
        index: i64,
        current: impl Into<Object>,
        new: impl Into<Object>,
    ) -> Result<Result<Object, Object>> {
        let answer = self.ask(Op::CompareExchange(index.into(), Some(current.into()), Some(new.into())))?;
        match <[Object; 2]>::try_from(items(answer)?) {
            Ok([Object::Bool(true), old]) => Ok(Ok(old)),
            Ok([_, old]) => Ok(Err(old)),
            Err(_) => Err(nonsense()),
        }
    }

    /// A copy of all values, as they are at one moment.
    ///
    /// # Errors
    ///
    /// Those of the type; [`TooLarge`](crate::Error::TooLarge) for more than 33 million: [`iter`](Self::iter) reads them.
    ///
    /// # Examples
    ///
    /// See [`Manager`](super::Manager).
    pub fn to_object(&self) -> Result<Object> {
        self.ask(Op::ToObject())
    }

    /// The same as another type, by serde.
    ///
    /// # Errors
    ///
    /// As [`to_object`](Self::to_object) and [`Object::get_as`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn get_as<T: DeserializeOwned>(&self) -> Result<T> {
        self.to_object()?.get_as()
    }

    /// The values one after the other, of which some are read at a time. Others may change the list meanwhile: then it is not
    /// said which of the changes are seen. After an error that may pass, such as a time-out, the next step goes on where that was;
    /// any other ends the iteration.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn iter(&self) -> ListIter {
        ListIter::new(self.clone())
    }
}

/// The values of an answer.
pub(super) fn items(answer: Object) -> Result<Vec<Object>> {
    match answer {
        Object::List(items) => Ok(items),
        _ => Err(nonsense()),
    }
}

pub(super) fn nonsense() -> Error {
    Error::corrupt("an answer of a manager that makes no sense")
}
