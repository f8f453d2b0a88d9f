//! Namespaces in the server.

use super::{
    list::{items, nonsense},
    object::Object,
    protocol::Op,
    proxy::{Remote, proxy},
};
use crate::Result;

/// Values by names in a manager's server, shared by all who have it.
///
/// # Errors
///
/// As of a [`Dict`](super::Dict).
///
/// # If a process dies
///
/// See the [module](super).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Error, Manager, Result};
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let manager = Manager::start()?;
///     let run = manager.namespace()?;
///     run.set("name", "job")?;
///     run.set("epoch", 7)?;
///     run.set("rate", 0.1)?;
///     run.delete("name")?;
///     assert_eq!(run.fetch_add("epoch", 1)?.get_as::<u32>()?, 7);
///     assert_eq!(run.get("epoch")?.get_as::<u32>()?, 8);
///     assert_eq!(run.list()?, ["epoch", "rate"]);
///     assert!(matches!(run.get("name"), Err(Error::KeyNotFound { .. })));
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Namespace(pub(super) Remote);

proxy!(Namespace, "NamespaceProxy");

impl Namespace {
    /// The value of a name.
    ///
    /// # Errors
    ///
    /// [`KeyNotFound`](crate::Error::KeyNotFound).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn get(&self, name: &str) -> Result<Object> {
        self.0.ask(Op::Get(name.into()))
    }

    /// Gives a name a value.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn set(&self, name: &str, value: impl Into<Object>) -> Result<()> {
        self.0.ask(Op::Set(name.into(), value.into())).map(drop)
    }

    /// Removes a name and its value.
    ///
    /// # Errors
    ///
    /// [`KeyNotFound`](crate::Error::KeyNotFound).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.0.ask(Op::Take(name.into())).map(drop)
    }

    /// The names, in the order in which they came.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn list(&self) -> Result<Vec<String>> {
        let name = |object| match object {
            Object::Str(name) => Ok(name),
            _ => Err(nonsense()),
        };
        items(self.0.ask(Op::Keys())?)?.into_iter().map(name).collect()
    }

    /// Adds to a number, and returns what it was before. A name that is missing counts as 0.
    ///
    /// # Errors
    ///
    /// As [`Dict::fetch_add`](super::Dict::fetch_add).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn fetch_add(&self, name: &str, by: impl Into<Object>) -> Result<Object> {
        self.0.ask(Op::FetchAdd(name.into(), by.into()))
    }

    /// A copy of all names with their values, as they are at one moment.
    ///
    /// # Errors
    ///
    /// As [`Dict::to_object`](super::Dict::to_object).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn to_object(&self) -> Result<Object> {
        self.0.ask(Op::ToObject())
    }
}
