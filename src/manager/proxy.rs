//! What stands in a process for an object of the server.

use std::{
    cell::RefCell,
    fmt,
    hash::{Hash, Hasher},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{
    Dict, List, Namespace,
    client::Server,
    object::{Home, Object, Wire},
    protocol::{Kind, Op, ROOT, Request},
};
use crate::{
    Error, Result,
    os::identity::Stamp,
    region::ticket::{self, Seat},
};

/// A list, dict or namespace of a manager among the values of another one: see [`Object::Proxy`].
///
/// # Examples
///
/// See [`Manager`](super::Manager).
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proxy {
    /// A list.
    List(List),
    /// A dict.
    Dict(Dict),
    /// A namespace.
    Namespace(Namespace),
}

impl Proxy {
    fn new(kind: Kind, remote: Remote) -> Self {
        match kind {
            Kind::List => Self::List(List(remote)),
            Kind::Dict => Self::Dict(Dict(remote)),
            Kind::Namespace => Self::Namespace(Namespace(remote)),
        }
    }

    fn remote(&self) -> &Remote {
        match self {
            Self::List(List(remote)) | Self::Dict(Dict(remote)) | Self::Namespace(Namespace(remote)) => remote,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::List(_) => Kind::List,
            Self::Dict(_) => Kind::Dict,
            Self::Namespace(_) => Kind::Namespace,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.remote().0.id
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::List(_) => "ListProxy",
            Self::Dict(_) => "DictProxy",
            Self::Namespace(_) => "NamespaceProxy",
        }
    }

    /// In the server.
    pub(super) fn of_server(kind: Kind, instance: u64, id: u64) -> Self {
        Self::new(kind, Remote(Arc::new(Inner { instance, id, held: None })))
    }

    pub(super) fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        self.kind().write(into)?;
        self.remote().0.instance.write(into)?;
        self.id().write(into)
    }

    pub(super) fn read(from: &mut super::object::Reader<'_>) -> Result<Self> {
        let (kind, instance, id) = (Kind::read(from)?, u64::read(from)?, u64::read(from)?);
        match from.home() {
            Home::Nowhere => Err(Error::corrupt("a shared object where none can be")),
            Home::Server(own) if own == instance => Ok(Self::of_server(kind, instance, id)),
            Home::Server(_) => Err(Error::invalid_argument("an object of another manager")),
            Home::Client(server) => Ok(Self::new(kind, Remote::held(server, id))),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} object {}>", self.type_name(), self.id())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An object of a server, by its number.
#[derive(Clone)]
pub(super) struct Remote(Arc<Inner>);

struct Inner {
    instance: u64,
    id: u64,
    /// In clients. The server itself has proxies too, among its values, which count otherwise.
    held: Option<Held>,
}

/// One of the counts that the server has of this process as a holder.
struct Held {
    server: Arc<Server>,
    /// The link under which it counts. In a fork it is another one.
    link: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.id != ROOT
            && let Some(Held { server, link }) = &self.held
        {
            server.release(link.load(Relaxed), self.id);
        }
    }
}

impl Remote {
    /// One that the server has counted already.
    pub(super) fn held(server: &Arc<Server>, id: u64) -> Self {
        let held = Held { server: Arc::clone(server), link: AtomicU64::new(server.link_number()) };
        Self(Arc::new(Inner { instance: server.instance(), id, held: Some(held) }))
    }

    /// Where it is, and its number there.
    pub(super) fn server(&self) -> Result<(&Arc<Server>, u64)> {
        let held = self.0.held.as_ref().ok_or_else(|| Error::invalid_argument("an object in its own server"))?;
        let link = held.server.link()?;
        // Relaxed: of a fork, which began with one thread; two threads that find it at once count it twice, which costs memory.
        if held.link.load(Relaxed) != link.number() {
            held.server.call(&Request::Attach(self.0.id))?;
            held.link.store(link.number(), Relaxed);
        }
        Ok((&held.server, self.0.id))
    }

    /// Has the server do something with it.
    pub(super) fn ask(&self, op: Op) -> Result<Object> {
        let (server, id) = self.server()?;
        server.call(&Request::One(id, op))
    }

    /// Its number, for a request of several steps by the link with this number.
    pub(super) fn id_for(&self, link: u64) -> Result<u64> {
        match &self.0.held {
            Some(held) if held.link.load(Relaxed) == link => Ok(self.0.id),
            _ => self.server().map(|(_, id)| id),
        }
    }

    pub(super) fn instance(&self) -> u64 {
        self.0.instance
    }

    pub(super) fn server_of(&self) -> Result<Arc<Server>> {
        self.server().map(|(server, _)| Arc::clone(server))
    }
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        (self.0.instance, self.0.id) == (other.0.instance, other.0.id)
    }
}

impl Eq for Remote {}

impl Hash for Remote {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.id);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.id)
    }
}

thread_local! {
    /// The objects, each with its server, among the value that is being encoded, where somebody wants to know.
    static AMONG: RefCell<Option<Vec<(u64, u64)>>> = const { RefCell::new(None) };
}

/// What somebody else wants to know, also after a panic.
struct Before(Option<Vec<(u64, u64)>>);

impl Drop for Before {
    fn drop(&mut self) {
        AMONG.set(self.0.take());
    }
}

/// Which objects of which servers are encoded meanwhile.
pub(super) fn among<T>(encode: impl FnOnce() -> T) -> (T, Vec<(u64, u64)>) {
    let before = Before(AMONG.replace(Some(Vec::new())));
    let encoded = encode();
    let among = AMONG.take();
    drop(before);
    (encoded, among.unwrap_or_default())
}

/// With a socket that holds the object until it arrives, or is lost on the way.
impl Serialize for Remote {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let write = || {
            let (server, id) = self.server()?;
            let hold = server.hold(id)?;
            let number = ticket::pack(hold.as_fd())?;
            AMONG.with_borrow_mut(|among| among.as_mut().map(|among| among.push((self.0.instance, id))));
            if !ticket::is_sent()? {
                ticket::add_seat(Box::new(ForFork { remote: self.clone(), _hold: hold }));
            }
            Ok((self.0.instance, id, number))
        };
        write().map_err(|error| S::Error::custom(ticket::keep_reason(error)))?.serialize(serializer)
    }
}

/// Holds an object for a fork that is given it, until that has told the server of itself.
struct ForFork {
    remote: Remote,
    /// The parent's copy is closed after the fork, the fork's after it has attended.
    _hold: OwnedFd,
}

impl Seat for ForFork {
    fn number(&self) -> u32 {
        0
    }

    fn expect(&self, _: Stamp) {}

    fn attend(&self) {
        // Without a server there is nothing to be had, as each operation will say.
        let _ = self.remote.server();
    }
}

impl<'de> Deserialize<'de> for Remote {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (instance, id, hold) = <(u64, u64, u32)>::deserialize(deserializer)?;
        let read = || {
            let hold = ticket::unpack(hold)?;
            let server = Server::find(instance, &hold)?;
            server.call(&Request::Attach(id))?;
            Ok(Self::held(&server, id))
        };
        read().map_err(|error| D::Error::custom(ticket::keep_reason(error)))
    }
}

/// What all proxies have.
macro_rules! proxy {
    ($name:ident, $text:literal) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!("<", $text, " object {:?}>"), self.0)
            }
        }

        /// As an argument of a process, or in a message of a pipe or queue: it lives on the way, whatever becomes of the sender.
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    };
}
pub(super) use proxy;
