//! Dicts in the server.

use serde::de::DeserializeOwned;

use super::{
    iter::DictIter,
    list::{items, nonsense},
    object::{Map, Object},
    protocol::Op,
    proxy::{Remote, proxy},
};
use crate::Result;

/// Values by their keys in a manager's server, shared by all who have it.
///
/// It works as Python's dicts do: items keep the order in which their keys came, and `1`, `1.0` and `true` are one key. Each
/// operation is one step for all others. Clones, and copies in other processes, are the same dict; it lives as long as any of
/// them, or another list or dict that has it among its values.
///
/// # Errors
///
/// Besides those of each method, all give [`ManagerGone`](crate::Error::ManagerGone) when there is no server any more,
/// [`TypeMismatch`](crate::Error::TypeMismatch) for a key that is a dict or shared, or has such a thing in it,
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
///     let dict = manager.dict_from([("a", 1), ("b", 2)])?;
///     dict.insert(3.5, vec![1, 2])?;
///     assert_eq!(dict.to_object()?.to_string(), "{'a': 1, 'b': 2, 3.5: [1, 2]}");
///     assert_eq!(dict.get("a")?.get_as::<i32>()?, 1);
///     assert_eq!(dict.find("z")?, None);
///     assert!(matches!(dict.get("z"), Err(Error::KeyNotFound { key }) if key == "'z'"));
///     assert_eq!(dict.set_default("z", 26)?, Object::from(26));
///     assert_eq!(dict.remove("z")?, Object::from(26));
///     assert_eq!(dict.pop_item()?, (3.5.into(), vec![1, 2].into()));
///     dict.update([("b", 20), ("c", 30)])?;
///     assert_eq!((dict.len()?, dict.contains("c")?), (3, true));
///     assert_eq!(dict.keys()?, ["a".into(), "b".into(), "c".into()]);
///     assert_eq!(dict.values()?, [1.into(), 20.into(), 30.into()]);
///
///     // In one step, without a lock.
///     assert_eq!(dict.fetch_add("hits", 1)?, Object::from(0));
///     assert_eq!(dict.fetch_add("hits", 1)?, Object::from(1));
///     assert_eq!(dict.compare_exchange("owner", None, Some("me".into()))?, Ok(None));
///     assert_eq!(dict.compare_exchange("owner", None, Some("you".into()))?, Err(Some("me".into())));
///
///     for item in dict.iter() {
///         let (key, value) = item?;
///         println!("{key}: {value}");
///     }
///     let typed = std::collections::BTreeMap::from([(1, "x".to_string())]);
///     dict.insert("typed", Object::from_serialize(&typed)?)?;
///     assert_eq!(dict.get("typed")?.get_as::<std::collections::BTreeMap<i32, String>>()?, typed);
///     dict.clear()?;
///     assert!(dict.is_empty()?);
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Dict(pub(super) Remote);

proxy!(Dict, "DictProxy");

impl Dict {
    fn ask(&self, op: Op) -> Result<Object> {
        self.0.ask(op)
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`KeyNotFound`](crate::Error::KeyNotFound).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn get(&self, key: impl Into<Object>) -> Result<Object> {
        self.ask(Op::Get(key.into()))
    }

    /// The value of a key, if there is such a key.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn find(&self, key: impl Into<Object>) -> Result<Option<Object>> {
        Ok(items(self.ask(Op::Find(key.into()))?)?.pop())
    }

    /// Gives a key a value.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn insert(&self, key: impl Into<Object>, value: impl Into<Object>) -> Result<()> {
        self.ask(Op::Set(key.into(), value.into())).map(drop)
    }

    /// Takes an item out, and returns its value.
    ///
    /// # Errors
    ///
    /// [`KeyNotFound`](crate::Error::KeyNotFound).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn remove(&self, key: impl Into<Object>) -> Result<Object> {
        self.ask(Op::Take(key.into()))
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// [`KeyNotFound`](crate::Error::KeyNotFound) when there is none.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn pop_item(&self) -> Result<(Object, Object)> {
        pair(self.ask(Op::PopItem())?)
    }

    /// The value of a key, which is given this one if it has none.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn set_default(&self, key: impl Into<Object>, value: impl Into<Object>) -> Result<Object> {
        self.ask(Op::SetDefault(key.into(), value.into()))
    }

    /// Gives keys their values, all in one step, or none.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn update<K: Into<Object>, V: Into<Object>>(&self, items: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let items = items.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self.ask(Op::Update(items)).map(drop)
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn contains(&self, key: impl Into<Object>) -> Result<bool> {
        self.ask(Op::Contains(key.into()))?.get_as()
    }

    /// The keys, in their order.
    ///
    /// # Errors
    ///
    /// As [`to_object`](Self::to_object).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn keys(&self) -> Result<Vec<Object>> {
        items(self.ask(Op::Keys())?)
    }

    /// The values, in the order of their keys.
    ///
    /// # Errors
    ///
    /// As [`to_object`](Self::to_object).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn values(&self) -> Result<Vec<Object>> {
        items(self.ask(Op::Values())?)
    }

    /// The items, in their order.
    ///
    /// # Errors
    ///
    /// As [`to_object`](Self::to_object).
    ///
    /// # Examples
    ///
    /// See [`iter`](Self::iter), which reads some at a time.
    pub fn items(&self) -> Result<Vec<(Object, Object)>> {
        Ok(self.to_map()?.into_iter().collect())
    }

    /// The number of items.
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

    /// Takes all items out.
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

    /// Adds to a number, and returns what it was before. A key that is missing counts as 0.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](crate::Error::TypeMismatch) for what is no number, [`OutOfRange`](crate::Error::OutOfRange) for a sum
    /// that is too large.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn fetch_add(&self, key: impl Into<Object>, by: impl Into<Object>) -> Result<Object> {
        self.ask(Op::FetchAdd(key.into(), by.into()))
    }

    /// Gives a key another value if it has `current`, where `None` is no such key. The answer is what it had, `Ok` if it was
    /// replaced.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn compare_exchange(
        &self,
        key: impl Into<Object>,
        current: Option<Object>,
        new: Option<Object>,
    ) -> Result<Result<Option<Object>, Option<Object>>> {
        let mut answer = items(self.ask(Op::CompareExchange(key.into(), current, new))?)?.into_iter();
        match answer.next() {
            Some(Object::Bool(true)) => Ok(Ok(answer.next())),
            Some(Object::Bool(false)) => Ok(Err(answer.next())),
            _ => Err(nonsense()),
        }
    }

    /// A copy of all items, as they are at one moment.
    ///
    /// # Errors
    ///
    /// Those of the type; [`TooLarge`](crate::Error::TooLarge) for more than 16 million: [`iter`](Self::iter) reads them.
    ///
    /// # Examples
    ///
    /// See [`Manager`](super::Manager).
    pub fn to_object(&self) -> Result<Object> {
        self.ask(Op::ToObject())
    }

    fn to_map(&self) -> Result<Map> {
        match self.to_object()? {
            Object::Dict(map) => Ok(map),
            _ => Err(nonsense()),
        }
    }

    /// The same as another type, by serde.
    ///
    /// # Errors
    ///
    /// As [`to_object`](Self::to_object) and [`Object::get_as`].
    ///
    /// # Examples
    ///
    /// See [`List`](super::List).
    pub fn get_as<T: DeserializeOwned>(&self) -> Result<T> {
        self.to_object()?.get_as()
    }

    /// The items one after the other, of which some are read at a time. When a key comes or goes meanwhile, the next step is
    /// [`ChangedMeanwhile`](crate::Error::ChangedMeanwhile), which ends the iteration, or that has ended before. After an error that
    /// may pass, such as a time-out, the next step goes on where that was.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn iter(&self) -> DictIter {
        DictIter::new(self.clone())
    }
}

pub(super) fn pair(object: Object) -> Result<(Object, Object)> {
    <[Object; 2]>::try_from(items(object)?).map(|[key, value]| (key, value)).map_err(|_| nonsense())
}
