//! Services of a program's own: structs in a manager's server, whose methods others call through proxies.
//!
//! [`service!`](crate::service!) describes one: a trait, which the struct implements, and a proxy that has the same methods.
//! [`Manager::register`] makes one under a name, [`Manager::serve`] one without a name, and [`Manager::service`] finds one.
//!
//! ```standalone_crate
//! use std::collections::BTreeMap;
//!
//! use shmkit::{Error, Manager, Process, Result, manager::service::Proxied};
//!
//! shmkit::service! {
//!     /// Accounts by name.
//!     pub trait Bank as BankProxy {
//!         /// Adds to an account, and says what it has now.
//!         fn deposit(&mut self, account: String, amount: u64) -> Result<u64>;
//!         /// What is in all accounts.
//!         fn total(&self) -> u64;
//!     }
//! }
//!
//! struct Accounts {
//!     limit: u64,
//!     by_name: BTreeMap<String, u64>,
//! }
//!
//! impl Accounts {
//!     fn new(limit: u64) -> Self {
//!         Self { limit, by_name: BTreeMap::new() }
//!     }
//! }
//!
//! impl Bank for Accounts {
//!     fn deposit(&mut self, account: String, amount: u64) -> Result<u64> {
//!         let balance = self.by_name.entry(account).or_default();
//!         if amount > self.limit - *balance {
//!             return Err(Error::Failed { message: format!("{} and no more", self.limit) });
//!         }
//!         *balance += amount;
//!         Ok(*balance)
//!     }
//!
//!     fn total(&self) -> u64 {
//!         self.by_name.values().sum()
//!     }
//! }
//!
//! // Proxies go wherever other handles go.
//! fn saves(bank: BankProxy) -> Result<u64> {
//!     bank.deposit("ann".into(), 30)
//! }
//!
//! fn main() -> Result<()> {
//!     shmkit::init();
//!     let manager = Manager::start()?;
//!     let bank: BankProxy = manager.register("bank", Accounts::new, (100,))?;
//!     assert_eq!(bank.deposit("ann".into(), 12)?, 12);
//!     assert_eq!(Process::spawn(saves, (bank,))?.join()?, 42);
//!
//!     // Whoever has the manager finds it, in other programs of the user too.
//!     let bank = manager.service::<BankProxy>("bank")?;
//!     assert!(matches!(bank.deposit("bob".into(), 101), Err(Error::Failed { message }) if message == "100 and no more"));
//!     assert_eq!(bank.total()?, 42);
//!     assert!(!bank.is_poisoned()?);
//!     Ok(())
//! }
//! ```
//!
//! # Calls
//!
//! A struct is made in the server, has a thread there for itself, and never leaves it: it need not be `Send`, and holds
//! whatever it likes, files or other threads or [pools](#pools) among it. Calls are carried out there one after the other, so
//! a method has the struct for itself, as `&mut self` says, and there are no locks. One that takes long, or waits for something,
//! holds up the callers of this struct and nobody else. A call that would wait for itself, because the service calls
//! itself through a proxy, or another one that waits for it, is [`WouldDeadlock`](crate::Error::WouldDeadlock); but by way of
//! another process, or from a thread that the service has started, it waits for ever.
//!
//! Arguments and results are [messages](crate::process::Message): handles of shared memory, lists and dicts, and other proxies
//! are among them. What a method may return is what a process's function may, an [`Outcome`], and so
//! is what becomes of it: a proxy's method gives `Result<u64>` for a method that returns `u64`, and also for one that returns
//! `Result<u64, E>`: an [`Error`] arrives as it was, any other as [`Failed`](crate::Error::Failed) with its text. So callers
//! meet one `Result`, and one `?`, as with [`Process::join`](crate::Process::join). Types of one's own stand in `Ok(..)`; and
//! whoever wants to match on errors of their own returns `Result<Result<T, E>>`, whose inner one is a value like any other.
//!
//! # Panics
//!
//! A method that panics is [`Panicked`](crate::Error::Panicked) for its caller, with the message and the place, and the service
//! goes on. If it is one with `&mut self` it may have left the struct half changed. As a mutex it is *poisoned* then: all calls
//! are [`Poisoned`](crate::Error::Poisoned) until somebody [says](Proxied::clear_poison) that it is right again.
//!
//! # Life
//!
//! It lives as long as anybody has a proxy of it, in any process or on the way to one, or it has a name. Then it is dropped,
//! in its thread. But at the end of the server nothing is dropped, as in any process that ends: calls are cut off.
//! A service that holds a proxy of itself lives as long as the server.
//!
//! # If a process dies
//!
//! A call of a client that dies is carried out or was not made, and nobody reads its answer. When the server dies, all calls are
//! [`ManagerGone`](crate::Error::ManagerGone) at once, also those that wait for their answers: these may have been carried out
//! or not.
//!
//! # Programs
//!
//! Whoever makes a service has the server call a function of the program, so that is for processes which the program has
//! started or given the manager, by whatever way. Others that [connect](Manager::connect) can call what has a name. What they
//! believe to be there must be what is there: the description of a service has a number, which is made of its name and its methods
//! with their types as they are written, and another one is [`TypeMismatch`](crate::Error::TypeMismatch). What the types
//! are made of is not in it.
//!
//! Arguments are read in the server, in the service's thread: one of a type that has itself among its parts, as a tree has, is read as
//! deep as it is. A caller that sends one too deep for the thread's stack ends the server, as it would end any thread. Those who
//! [connect](Manager::connect) are of the same user; still, services for programs that are not trusted take no such types.
//!
//! # Pools
//!
//! There is no [`Pool`](crate::Pool) by name: it belongs to the process that has made it, whose children its workers are. But a
//! service can have one and work for all, here the squares of some numbers at a time. In a server, which has threads, it
//! starts its workers by [`Spawn`](crate::StartMethod::Spawn) or [`ForkServer`](crate::StartMethod::ForkServer).
//!
//! ```standalone_crate
//! use shmkit::{Manager, Pool, Process, Result};
//!
//! shmkit::service! {
//!     trait Squares as SquaresProxy {
//!         fn of(&self, numbers: Vec<u64>) -> Result<Vec<u64>>;
//!     }
//! }
//!
//! impl Squares for Pool {
//!     fn of(&self, numbers: Vec<u64>) -> Result<Vec<u64>> {
//!         self.map(|number: u64| number * number, numbers)
//!     }
//! }
//!
//! fn work(manager: Manager) -> Result<Vec<u64>> {
//!     manager.service::<SquaresProxy>("squares")?.of(vec![1, 2, 3])
//! }
//!
//! fn main() -> Result<()> {
//!     shmkit::init();
//!     let manager = Manager::start()?;
//!     let _squares: SquaresProxy = manager.register("squares", Pool::new, (2,))?;
//!     assert_eq!(Process::spawn(work, (manager.clone(),))?.join()?, [1, 4, 9]);
//!     Ok(())
//! }
//! ```

mod describe;
mod host;
mod maker;
mod waits;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

#[doc(hidden)]
pub use serde;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::{
    Manager,
    client::Link,
    object::Object,
    protocol::{self, Request},
    proxy::Remote,
};
use crate::{
    Error, Result,
    os::executable::Executable,
    process::{Message, Outcome},
    region::ticket::{self, Arrived, Route},
};
#[doc(hidden)]
pub use describe::number_of_text;
#[doc(hidden)]
pub use host::{Call, Sent};
pub(super) use host::{OpenDesk, open};
pub use maker::{Maker, Makes};
pub(super) use waits::begin as begin_to_wait;

/// What a proxy's method gives for a method that returns `R`: see [above](self#calls).
///
/// # Examples
///
/// ```
/// use shmkit::{Result, manager::service::Answer};
///
/// let _: [Answer<u64>; 2] = [Ok(1), Answer::<Result<u64>>::Ok(2)];
/// ```
pub type Answer<R> = Result<<R as Outcome>::Output>;

/// What all proxies of services can do besides their own methods.
///
/// [`service!`](crate::service!) implements it.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Error, Manager, Result, manager::service::Proxied};
///
/// shmkit::service! {
///     trait Halves as HalvesProxy {
///         fn divide(&mut self, by: u32);
///         fn sum(&self) -> u32;
///     }
/// }
///
/// struct Two(u32, u32);
///
/// impl Halves for Two {
///     fn divide(&mut self, by: u32) {
///         self.0 /= 2;
///         self.1 /= by;
///     }
///
///     fn sum(&self) -> u32 {
///         self.0 + self.1
///     }
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let manager = Manager::start()?;
///     let halves: HalvesProxy = manager.serve(|| Two(4, 4), ())?;
///     assert!(matches!(halves.divide(0), Err(Error::Panicked { .. })));
///     assert!(halves.is_poisoned()?);
///     assert!(matches!(halves.sum(), Err(Error::Poisoned { .. })));
///     halves.clear_poison()?;
///     assert_eq!(halves.sum()?, 6);
///     Ok(())
/// }
/// ```
pub trait Proxied: Message + Clone {
    /// The name of the description.
    const NAME: &'static str;

    /// The methods.
    #[doc(hidden)]
    const NUMBER: u64;

    #[doc(hidden)]
    fn new(service: Service) -> Self;

    #[doc(hidden)]
    fn service(&self) -> &Service;

    /// Whether a method with `&mut self` has panicked.
    ///
    /// # Errors
    ///
    /// As any call.
    ///
    /// # Examples
    ///
    /// See the trait.
    fn is_poisoned(&self) -> Result<bool> {
        self.service().ask::<Self, _>(host::IS_POISONED, &())
    }

    /// Lets calls through again after a method with `&mut self` has panicked.
    ///
    /// # Errors
    ///
    /// As any call.
    ///
    /// # Examples
    ///
    /// See the trait.
    fn clear_poison(&self) -> Result<()> {
        self.service().ask::<Self, _>(host::CLEAR_POISON, &())
    }
}

/// Structs `S` that can be behind this kind of proxy: those which implement its trait.
///
/// [`service!`](crate::service!) implements it.
///
/// # Examples
///
/// See the [module](self).
pub trait Serves<S>: Proxied {
    #[doc(hidden)]
    fn dispatch(service: &mut S, method: &str, call: Call<'_>) -> Result<Sent>;
}

/// What a description is called, with its number.
fn tag<P: Proxied>() -> String {
    format!("{} {:016x}", P::NAME, P::NUMBER)
}

/// What all proxies are.
#[doc(hidden)]
#[derive(Clone)]
pub struct Service {
    remote: Remote,
    /// Where it is asked, from the first call on.
    desk: Arc<Mutex<Option<Arc<Link>>>>,
}

impl Service {
    fn new(remote: Remote) -> Self {
        Self { remote, desk: Arc::default() }
    }

    /// Calls a method of the service, for a proxy of the kind `P`.
    #[inline]
    pub fn call<P: Proxied, R: DeserializeOwned>(&self, method: &str, args: &impl Serialize) -> Result<R> {
        self.ask::<P, R>(method, args)
    }

    fn ask<P: Proxied, R: DeserializeOwned>(&self, method: &str, args: &impl Serialize) -> Result<R> {
        self.desk::<P>()?.exchange(
            |bytes| {
                host::write_method(method, bytes)?;
                ticket::encode_into(args, Route::default(), bytes)
            },
            |bytes, descriptors| match bytes.split_first() {
                Some((0, value)) => ticket::decode_from(value, arrived(descriptors)?, Route::default()),
                Some((_, error)) => Err(protocol::read_error(error)),
                None => Err(Error::corrupt("an answer of no bytes")),
            },
        )
    }

    /// Where it is asked.
    fn desk<P: Proxied>(&self) -> Result<Arc<Link>> {
        // Of a fork this is the first that the server hears: it counts from now on.
        let (server, id) = self.remote.server()?;
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        match &*desk {
            Some(link) if link.is_this_process() => Ok(Arc::clone(link)),
            _ => Ok(Arc::clone(desk.insert(server.visit(id, tag::<P>())?))),
        }
    }
}

/// Descriptors that go with what was received.
fn arrived(descriptors: Vec<std::os::fd::OwnedFd>) -> Result<Option<Arrived>> {
    match descriptors.is_empty() {
        true => Ok(None),
        false => Arrived::new(descriptors).map(Some).map_err(|error| Error::os("copying descriptors", error)),
    }
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.remote == other.remote
    }
}

impl Eq for Service {}

impl Hash for Service {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.remote.hash(state);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.remote.fmt(f)
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.remote.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Remote::deserialize(deserializer).map(Self::new)
    }
}

/// # Services
///
/// Structs of a program's own in the server: see [`service`](crate::manager::service).
impl Manager {
    /// Makes a service in the server, under a name: what `make(args)` returns there, or what it returns in `Ok`.
    ///
    /// The function is a plain `fn`, or a closure that captures nothing, as that of a process; the arguments are sent. The kind
    /// of the proxy says which trait is meant.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::Error::AlreadyExists) when the name is in use, by whatever; the error that the function returns,
    /// or [`Panicked`](crate::Error::Panicked); [`NotSendable`](crate::Error::NotSendable) for arguments that cannot travel;
    /// [`OtherExecutable`](crate::Error::OtherExecutable) for a manager that this program has neither started nor been given;
    /// [`ManagerGone`](crate::Error::ManagerGone).
    ///
    /// # If a process dies
    ///
    /// Unless this one has returned, the service may be there or not: it is, or its name is free.
    ///
    /// # Examples
    ///
    /// See [`service`](crate::manager::service).
    pub fn register<P, F, A, M>(&self, name: &str, make: F, args: A) -> Result<P>
    where
        P: Proxied,
        F: Maker<P, A, M>,
        A: Message,
    {
        if self.has(name)? {
            return Err(Error::AlreadyExists { name: name.into() });
        }
        let made: P = self.serve(make, args)?;
        // Of two who make one at a time, the other one may be faster by now. Then this one's has no name, and goes.
        self.publish(name, &tag::<P>(), &made)?;
        Ok(made)
    }

    /// Makes a service in the server that has no name: it lives as long as its proxies.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    ///
    /// # Examples
    ///
    /// See [`Proxied`].
    pub fn serve<P, F, A, M>(&self, make: F, args: A) -> Result<P>
    where
        P: Proxied,
        F: Maker<P, A, M>,
        A: Message,
    {
        // Its type says which function it is.
        let _ = make;
        let key = self.key.ok_or_else(|| Error::OtherExecutable {
            reason: "it connected to this manager, and has neither started it nor been given it".into(),
        })?;
        let place = maker::place_of::<P, F, A, M>()?;
        let mut bytes = Vec::new();
        let descriptors = ticket::encode_into(&args, Route::default(), &mut bytes)?;
        let build = Object::bytes(Executable::this().identity());
        let request = Request::Serve(key, build, place, tag::<P>(), Object::Bytes(bytes));
        let (id, _) = self.server.call_with(&request, &descriptors)?;
        let service = Service::new(Remote::held(&self.server, id.get_as()?));
        // Waits until it is made.
        service.ask::<P, ()>(host::IS_MADE, &())?;
        Ok(P::new(service))
    }

    /// The service of this name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound); [`TypeMismatch`](crate::Error::TypeMismatch) when it is another kind of service, or
    /// something else; [`ManagerGone`](crate::Error::ManagerGone).
    ///
    /// # Examples
    ///
    /// See [`service`](crate::manager::service).
    pub fn service<P: Proxied>(&self, name: &str) -> Result<P> {
        self.find(name, &tag::<P>())?.ok_or_else(|| Error::NotFound { name: name.into() })
    }

    /// Takes a name from what has it, a service or any [shared object](Self#shared-objects-by-name): it lives on as long as
    /// somebody has it. Says whether there was one.
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
    ///     manager.lock("door")?;
    ///     assert!(manager.unregister("door")?);
    ///     assert!(!manager.unregister("door")?);
    ///     Ok(())
    /// }
    /// ```
    pub fn unregister(&self, name: &str) -> Result<bool> {
        self.server.call(&Request::Unpublish(name.into()))?.get_as()
    }
}
