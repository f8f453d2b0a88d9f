//! Several operations as one.

use std::{fmt, sync::Arc};

use super::{
    Dict, List, Namespace,
    client::Server,
    list::{items, nonsense},
    object::Object,
    protocol::{Op, Request, Step, Steps},
    proxy::{Proxy, Remote},
};
use crate::{Error, Result};

/// Operations on lists, dicts and namespaces of one manager, which are carried out as one step, or not at all, in one round
/// trip. From [`Manager::batch`](super::Manager::batch).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Error, Manager, Result, manager::Object};
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let manager = Manager::start()?;
///     let (jobs, done) = (manager.list_from(["a", "b"])?, manager.dict()?);
///
///     let answers = manager.batch().pop(&jobs).fetch_add(&done, "count", 1).insert(&done, "last", "b").run()?;
///     assert_eq!(answers, [Object::from("b"), Object::from(0), Object::None]);
///
///     // The last one fails, so nothing has happened.
///     let error = manager.batch().pop(&jobs).insert(&done, "last", "a").get(&done, "missing").run().unwrap_err();
///     assert!(matches!(error, Error::KeyNotFound { .. }));
///     assert_eq!(jobs.to_object()?.to_string(), "['a']");
///     assert_eq!(done.to_object()?.to_string(), "{'count': 1, 'last': 'b'}");
///     Ok(())
/// }
/// ```
#[must_use = "nothing happens before `run`"]
pub struct Batch(Box<Inner>);

struct Inner {
    server: Arc<Server>,
    /// The number of the connection when it was begun.
    link: u64,
    steps: Steps,
    /// How many operations each of them stands for.
    counts: Vec<usize>,
    /// What they are done with, and what is among the values, which all live until then.
    of: Vec<(Remote, u64)>,
    kept: Vec<Proxy>,
    error: Option<Error>,
}

/// What [`Batch`] works on by keys: a [`Dict`] or a [`Namespace`].
pub trait Keyed: sealed::Keyed {}

impl Keyed for Dict {}
impl Keyed for Namespace {}

mod sealed {
    use super::{Dict, Namespace, Remote};

    #[expect(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Keyed {
        #[expect(private_interfaces, reason = "nobody else is to call it")]
        fn remote(&self) -> &Remote;
    }

    impl Keyed for Dict {
        #[expect(private_interfaces, reason = "nobody else is to call it")]
        fn remote(&self) -> &Remote {
            &self.0
        }
    }

    impl Keyed for Namespace {
        #[expect(private_interfaces, reason = "nobody else is to call it")]
        fn remote(&self) -> &Remote {
            &self.0
        }
    }
}

impl Batch {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let link = server.link_number();
        let (steps, counts, of, kept) = (Steps::default(), Vec::new(), Vec::new(), Vec::new());
        Self(Box::new(Inner { server, link, steps, counts, of, kept, error: None }))
    }

    #[inline]
    fn add(mut self, remote: &Remote, step: Step) -> Self {
        self.0.add(remote, &step);
        self
    }

    fn other(self, remote: &Remote, op: Op) -> Self {
        self.add(remote, Step::Other(op))
    }

    /// The value of a key. Its answer is that.
    pub fn get(self, dict: &impl Keyed, key: impl Into<Object>) -> Self {
        self.other(dict.remote(), Op::Get(key.into()))
    }

    /// Gives a key a value.
    pub fn insert(self, dict: &impl Keyed, key: impl Into<Object>, value: impl Into<Object>) -> Self {
        self.add(dict.remote(), Step::Insert(key.into(), value.into()))
    }

    /// Takes an item out. Its answer is the value.
    pub fn remove(self, dict: &impl Keyed, key: impl Into<Object>) -> Self {
        self.other(dict.remote(), Op::Take(key.into()))
    }

    /// Adds to a number, 0 if there is none. Its answer is what it was before.
    pub fn fetch_add(self, dict: &impl Keyed, key: impl Into<Object>, by: impl Into<Object>) -> Self {
        self.other(dict.remote(), Op::FetchAdd(key.into(), by.into()))
    }

    /// The value at a place of a list. Its answer is that.
    pub fn get_at(self, list: &List, index: i64) -> Self {
        self.other(&list.0, Op::Get(index.into()))
    }

    /// Puts another value at a place of a list.
    pub fn set_at(self, list: &List, index: i64, value: impl Into<Object>) -> Self {
        self.other(&list.0, Op::Set(index.into(), value.into()))
    }

    /// Puts a value at the end of a list.
    pub fn push(self, list: &List, value: impl Into<Object>) -> Self {
        self.add(&list.0, Step::Push(value.into()))
    }

    /// Takes the last value out of a list. Its answer is that.
    pub fn pop(self, list: &List) -> Self {
        self.other(&list.0, Op::Pop(None))
    }

    /// Takes the value at a place out of a list. Its answer is that.
    pub fn remove_at(self, list: &List, index: i64) -> Self {
        self.other(&list.0, Op::Pop(Some(index)))
    }

    /// Carries all of it out. The answers, one for each operation, are [`None`](Object::None) for those that have none.
    ///
    /// # Errors
    ///
    /// That of the first operation that fails: then none of them has happened. [`TooLarge`](crate::Error::TooLarge) when the answers
    /// together, or what they are found by (sorts, searches, insertions at the start of long lists), would be more than the server
    /// does for one request: about 1 GiB of values, or a second.
    ///
    /// # If a process dies
    ///
    /// All of it was done, or none.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn run(self) -> Result<Vec<Object>> {
        let Inner { server, mut steps, counts, of, kept, error, .. } = *self.0;
        error.map_or_else(|| steps.end_run(), Err)?;
        let answers = items(server.call(&Request::All(steps))?)?;
        drop((of, kept));
        if answers.len() != counts.len() {
            return Err(nonsense());
        }
        let mut all = Vec::with_capacity(counts.iter().sum());
        for (answer, count) in answers.into_iter().zip(counts) {
            all.push(answer);
            // Insertions have no answers.
            all.resize_with(all.len() + count - 1, Object::default);
        }
        Ok(all)
    }
}

impl Inner {
    #[inline]
    fn add(&mut self, remote: &Remote, step: &Step) {
        if self.error.is_some() {
            return;
        }
        let is_own = remote.instance() == self.server.instance();
        let other = || Err(Error::invalid_argument("an object of another manager"));
        let id = if is_own { remote.id_for(self.link) } else { other() };
        let added = id.and_then(|id| {
            if self.of.last().is_none_or(|last| last.1 != id) {
                self.of.push((remote.clone(), id));
            }
            self.steps.add(id, step)
        });
        match (added, self.counts.last_mut()) {
            (Ok(false), Some(count)) => *count += 1,
            (Ok(_), _) => self.counts.push(1),
            (Err(error), _) => self.error = Some(error),
        }
        if let Step::Insert(_, value) | Step::Push(value) | Step::Other(Op::Set(_, value)) = step {
            value.for_each_proxy(&mut |proxy| self.kept.push(proxy.clone()));
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("steps", &self.0.counts.iter().sum::<usize>()).finish_non_exhaustive()
    }
}
