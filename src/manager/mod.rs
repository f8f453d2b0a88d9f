//! Lists, dicts and namespaces of mixed types that processes share, in a server process; and all other shared objects by
//! name.
//!
//! [`Manager::start`] starts the server. [`List`], [`Dict`] and [`Namespace`] stand for objects there: they go to other
//! processes as arguments, through pipes and queues, and into each other. Each operation is one step for all others. Their
//! values are [`Object`]s.
//!
//! Locks, queues, arrays and the like are the ordinary ones, in shared memory, which the server only keeps under a name
//! ([`Manager::lock`] and so on): they are as fast as any.
//!
//! A struct of the program's own can be there too, a [`service`], in a thread for itself: its methods are called through a typed
//! proxy. A [`Pool`](crate::Pool) for several processes is [one of those](service#pools).
//!
//! # If a process dies
//!
//! The server goes on whichever client dies, at whatever moment: a request was carried out as a whole or not at all, and what
//! the dead one held is released. When the server dies, every operation is an error at once,
//! [`ManagerGone`](crate::Error::ManagerGone), also those that wait for an answer; its objects are lost, but not those that
//! it kept under names, for whoever has them. The server ends with the process that started it, whatever ends that.
//!
//! # Forks
//!
//! A function that a fork runs holds what it was given, as any other process does. A closure of
//! [`Process::fork`](crate::Process::fork) holds an object from its first operation on: until then its parent has to.

mod batch;
mod client;
mod desk;
mod dict;
mod hall;
mod iter;
mod list;
mod namespace;
mod object;
mod protocol;
mod proxy;
mod server;
pub mod service;
mod shared;
mod store;
mod words;

use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use self::{
    batch::Batch,
    dict::Dict,
    iter::{DictIter, ListIter},
    list::List,
    namespace::Namespace,
    object::{Map, MapIter, Object},
    proxy::Proxy,
};
use self::{
    client::Server,
    protocol::{Kind, ROOT, Request},
    proxy::Remote,
};
use crate::{
    Error, Result,
    channel::pipe::{self, Connection, Fd},
    os::{meeting, packet},
    process::{Process, StartMethod},
    region::ticket,
};

/// A server of shared objects: whoever started it, or has come to know it.
///
/// It can be sent to other processes as an argument and through pipes and queues, and unrelated programs
/// [connect](Self::connect) to one that was started with a [path](Builder::path). The server ends when the manager is dropped
/// that [started](Self::start) it, or its process ends.
///
/// # If a process dies
///
/// See the [module](self).
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Manager, Process, Result, manager::{Dict, List, Object}};
///
/// fn f(d: Dict, l: List) -> Result<()> {
///     d.insert(1, "1")?;
///     d.insert("2", 2)?;
///     d.insert(0.25, Object::None)?;
///     l.reverse()
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let manager = Manager::start()?;
///     let d = manager.dict()?;
///     let l = manager.list_from(0..4)?;
///     Process::spawn(f, (d.clone(), l.clone()))?.join()?;
///     assert_eq!(d.to_object()?.to_string(), "{1: '1', '2': 2, 0.25: None}");
///     assert_eq!(l.to_object()?.to_string(), "[3, 2, 1, 0]");
///
///     // Lists in dicts stay what they are: shared.
///     d.insert("jobs", &l)?;
///     let jobs = List::try_from(d.get("jobs")?)?;
///     jobs.push("one more")?;
///     assert_eq!(l.len()?, 5);
///     Ok(())
/// }
/// ```
pub struct Manager {
    server: Arc<Server>,
    owner: Option<Owner>,
    /// Lets this process have functions called in the server: everybody has it that was given this manager.
    key: Option<u64>,
}

/// What the one has that started the server.
struct Owner {
    /// Of the process whose it is: forks have copies.
    pid: u32,
    end: Connection<()>,
    process: Process<()>,
}

/// A manager that is about to be started. From [`Manager::builder`].
///
/// # Examples
///
/// See [`Manager::connect`].
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    name: Option<String>,
    path: Option<PathBuf>,
    method: Option<StartMethod>,
}

impl Builder {
    /// The name of the server's process, for the eyes of others.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A path by which other programs of this user find it: see [`Manager::connect`].
    ///
    /// The directory must be this user's own, with mode 700; a missing one is made. The socket is removed when the server
    /// ends; one that a killed server has left is replaced by the next.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().into());
        self
    }

    /// How the server is started. By default as the [program](crate::process::set_start_method) says.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`]; with a path [`AlreadyExists`](crate::Error::AlreadyExists) while another one is there, and
    /// [`WrongOwner`](crate::Error::WrongOwner) for a directory that others can look into.
    pub fn start(self) -> Result<Manager> {
        let os = |error| Error::os("socketpair", error);
        let (gate, theirs) = packet::pair().map_err(os)?;
        let (end, owner) = pipe::duplex()?;
        // The server may be in another directory.
        let path = self.path.map(std::path::absolute).transpose().map_err(|error| Error::os("getcwd", error))?;
        // Of the system's random numbers.
        let key = RandomState::new().hash_one(process::id());
        let mut builder = Process::builder(server::serve)
            .args((Fd::from(theirs), owner, path, key))
            .name(self.name.unwrap_or_else(|| "manager".into()))
            .daemon(true)
            // Those of services.
            .may_have_children(true);
        if let Some(method) = self.method {
            builder = builder.start_method(method);
        }
        let process = builder.start()?;
        match Server::enter(&gate) {
            Ok(server) => {
                let owner = Owner { pid: process::id(), end, process };
                Ok(Manager { server, owner: Some(owner), key: Some(key) })
            }
            // It has ended before it let anybody in, and says why.
            Err(Error::ManagerGone) => {
                // If it lives all the same, that ends it.
                drop(end);
                Err(process.join().err().unwrap_or(Error::ManagerGone))
            }
            Err(error) => Err(error),
        }
    }
}

impl Manager {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// A server to be started step by step.
    ///
    /// # Examples
    ///
    /// See [`connect`](Self::connect).
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server at a path, which another program of the same user has started.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) when there is nothing, [`ManagerGone`](crate::Error::ManagerGone) when there is no
    /// server any more or it refuses, [`WrongOwner`](crate::Error::WrongOwner) when the server is another user's, whatever the
    /// directory, and [`Os`](crate::Error::Os) when this user may not look into the directory, or the server, or this process,
    /// can open no more descriptors. A server that is stopped is waited for.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Manager, Result};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let directory = std::env::temp_dir().join(format!("shmkit-doc-{}", std::process::id()));
    ///     let manager = Manager::builder().name("jobs").path(directory.join("manager")).start()?;
    ///     manager.globals()?.insert("answer", 42)?;
    ///
    ///     // In any other program:
    ///     let same = Manager::connect(directory.join("manager"))?;
    ///     assert_eq!(same.globals()?.get("answer")?.get_as::<u32>()?, 42);
    ///
    ///     manager.shutdown()?;
    ///     assert!(same.globals()?.len().is_err());
    ///     std::fs::remove_dir(directory).unwrap();
    ///     Ok(())
    /// }
    /// ```
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = || path.display().to_string();
        let gate = meeting::connect(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { name: name() },
            std::io::ErrorKind::ConnectionRefused => Error::ManagerGone,
            _ => Error::os(format!("connecting to {path:?}"), error),
        })?;
        if !meeting::is_of_this_user(&gate) {
            return Err(Error::WrongOwner { name: name(), reason: "its server is another user's".into() });
        }
        Ok(Self { server: Server::enter(&gate)?, owner: None, key: None })
    }

    /// A new list.
    ///
    /// # Errors
    ///
    /// [`ManagerGone`](crate::Error::ManagerGone).
    ///
    /// # Examples
    ///
    /// See [`List`].
    pub fn list(&self) -> Result<List> {
        self.list_from::<Object>([])
    }

    /// A new list of these values.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list); [`NotSendable`](crate::Error::NotSendable) for a value that is nested too deep.
    ///
    /// # Examples
    ///
    /// See [`List`].
    pub fn list_from<T: Into<Object>>(&self, values: impl IntoIterator<Item = T>) -> Result<List> {
        self.create(Kind::List, values.into_iter().collect())?.try_into()
    }

    /// A new dict.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    ///
    /// # Examples
    ///
    /// See [`Dict`].
    pub fn dict(&self) -> Result<Dict> {
        self.dict_from::<Object, Object>([])
    }

    /// A new dict of these items.
    ///
    /// # Errors
    ///
    /// As [`list_from`](Self::list_from).
    ///
    /// # Examples
    ///
    /// See [`Dict`].
    pub fn dict_from<K: Into<Object>, V: Into<Object>>(&self, items: impl IntoIterator<Item = (K, V)>) -> Result<Dict> {
        self.create(Kind::Dict, Object::Dict(items.into_iter().collect()))?.try_into()
    }

    /// A new namespace.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    ///
    /// # Examples
    ///
    /// See [`Namespace`].
    pub fn namespace(&self) -> Result<Namespace> {
        self.create(Kind::Namespace, Object::Dict(Map::new()))?.try_into()
    }

    /// The dict that is always there, for programs that have nothing else in common.
    ///
    /// # Errors
    ///
    /// None so far: the dict's operations tell whether there is a server.
    ///
    /// # Examples
    ///
    /// See [`connect`](Self::connect).
    pub fn globals(&self) -> Result<Dict> {
        Ok(Dict(Remote::held(&self.server, ROOT)))
    }

    /// Several operations that are carried out as one step, or not at all, in one round trip.
    ///
    /// # Examples
    ///
    /// See [`Batch`].
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.server))
    }

    /// How many lists, dicts, namespaces and services there are, with [`globals`](Self::globals).
    ///
    /// # Errors
    ///
    /// [`ManagerGone`](crate::Error::ManagerGone).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// fn main() -> shmkit::Result<()> {
    ///     shmkit::init();
    ///     let manager = shmkit::Manager::start()?;
    ///     let list = manager.list()?;
    ///     assert_eq!(manager.object_count()?, 2);
    ///     drop(list);
    ///     assert_eq!(manager.object_count()?, 1);
    ///     Ok(())
    /// }
    /// ```
    pub fn object_count(&self) -> Result<usize> {
        self.server.call(&Request::Count())?.get_as::<[usize; 2]>().map(|[objects, _]| objects)
    }

    /// The server's process, in the one that started it.
    ///
    /// # Examples
    ///
    /// See [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn process(&self) -> Option<&Process<()>> {
        self.owner.as_ref().map(|owner| &owner.process)
    }

    /// Ends the server, and waits for its end. All its objects are gone.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) if this is not the manager that started it;
    /// [`ChildDied`](crate::Error::ChildDied) if the server was killed before.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// fn main() -> shmkit::Result<()> {
    ///     shmkit::init();
    ///     let manager = shmkit::Manager::start()?;
    ///     let list = manager.list()?;
    ///     assert!(manager.process().is_some_and(|process| process.is_alive()));
    ///     manager.shutdown()?;
    ///     assert!(matches!(list.len(), Err(shmkit::Error::ManagerGone)));
    ///     Ok(())
    /// }
    /// ```
    pub fn shutdown(mut self) -> Result<()> {
        match self.owner.take() {
            Some(owner) if owner.pid == process::id() => {
                owner.tell();
                owner.process.join()
            }
            _ => Err(Error::invalid_argument("only the manager that started a server can shut it down")),
        }
    }

    fn create(&self, kind: Kind, contents: Object) -> Result<Object> {
        self.server.call(&Request::New(kind, contents))
    }
}

/// Another handle of the same server, which does not end it when it is dropped.
impl Clone for Manager {
    fn clone(&self) -> Self {
        Self { server: Arc::clone(&self.server), owner: None, key: self.key }
    }
}

impl Owner {
    /// Tells the server that it is over.
    fn tell(&self) {
        // It fails when the server is gone already.
        let _ = self.end.try_send(&());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner
            && owner.pid == process::id()
        {
            owner.tell();
        }
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("process", &self.process()).finish_non_exhaustive()
    }
}

/// As an argument of a process, or in a message of a pipe or queue. The receiver's does not end the server.
impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Remote::held(&self.server, ROOT), self.key).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (root, key) = <(Remote, Option<u64>)>::deserialize(deserializer)?;
        let server = root.server_of().map_err(|error| D::Error::custom(ticket::keep_reason(error)))?;
        Ok(Self { server, owner: None, key })
    }
}
