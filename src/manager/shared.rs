//! Shared objects that the server keeps under names, and has nothing else to do with.

use bytemuck::Pod;

use super::{Manager, object::Object, protocol::Request, proxy};
use crate::{
    Array, Barrier, BoundedSemaphore, Condvar, Error, Event, Lock, Queue, RLock, Result, Semaphore, Shape, Value,
    region::ticket::{self, Arrived, Message, Route},
};

/// # Shared objects by name
///
/// The first one who asks for a name makes the object, and all others get the same one: so it is right to ask for it
/// wherever it is needed. It is an ordinary object in shared memory: the server has no part in what is done with it, and it
/// outlives the server, for those who have it. There it stays under its name as long as the server.
///
/// All of these give [`TypeMismatch`](crate::Error::TypeMismatch) when the name is that of something else,
/// [`InvalidArgument`](crate::Error::InvalidArgument) when this process has as many there as one may have (half of the
/// descriptors that the server can open, of which its visits to services take some too),
/// [`ManagerGone`](crate::Error::ManagerGone), and what making the object gives.
///
/// ```standalone_crate
/// use shmkit::{Manager, Process, Result};
///
/// fn work(manager: Manager) -> Result<()> {
///     let lock = manager.lock("sum")?;
///     let sum = manager.value("sum of all", 0_u64)?;
///     let _held = lock.lock()?;
///     sum.set(sum.get()? + 1)?;
///     manager.queue::<String>("news")?.put(&"done".to_string())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let manager = Manager::start()?;
///     let news = manager.queue::<String>("news")?;
///     let child = Process::spawn(work, (manager.clone(),))?;
///     child.join()?;
///     assert_eq!(news.get()?, "done");
///     assert_eq!(manager.value("sum of all", 0_u64)?.get()?, 1);
///     Ok(())
/// }
/// ```
impl Manager {
    /// The lock of this name.
    ///
    /// # Errors
    ///
    /// See [above](Self#shared-objects-by-name), also for the others.
    ///
    /// # Examples
    ///
    /// See [above](Self#shared-objects-by-name), also for the others.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        self.keep(name, "Lock", Lock::new)
    }

    /// The lock of this name that its holder may take again.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn rlock(&self, name: &str) -> Result<RLock> {
        self.keep(name, "RLock", RLock::new)
    }

    /// The semaphore of this name, with so many permits if it is new.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn semaphore(&self, name: &str, permits: usize) -> Result<Semaphore> {
        self.keep(name, "Semaphore", || Semaphore::new(permits))
    }

    /// The bounded semaphore of this name, with so many permits if it is new.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn bounded_semaphore(&self, name: &str, permits: usize) -> Result<BoundedSemaphore> {
        self.keep(name, "BoundedSemaphore", || BoundedSemaphore::new(permits))
    }

    /// The event of this name.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn event(&self, name: &str) -> Result<Event> {
        self.keep(name, "Event", Event::new)
    }

    /// The barrier of this name, for so many parties if it is new.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn barrier(&self, name: &str, parties: usize) -> Result<Barrier> {
        self.keep(name, "Barrier", || Barrier::new(parties))
    }

    /// The condition of this name.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn condvar(&self, name: &str) -> Result<Condvar> {
        self.keep(name, "Condvar", Condvar::new)
    }

    /// The queue of this name. As long as the server has it, somebody may come who asks for it: until then nobody who waits is told
    /// that all others are gone ([`Disconnected`](crate::Error::Disconnected)).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn queue<T: Message>(&self, name: &str) -> Result<Queue<T>> {
        self.keep(name, "Queue", Queue::new)
    }

    /// The value of this name, which is this one at first.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn value<T: Pod>(&self, name: &str, first: T) -> Result<Value<T>> {
        self.keep(name, "Value", || Value::new(first))
    }

    /// The array of this name, of zeros of this shape at first.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// As [`lock`](Self::lock).
    pub fn array<T: Pod>(&self, name: &str, shape: impl Shape) -> Result<Array<T>> {
        self.keep(name, "Array", || Array::zeros(shape))
    }

    /// What is kept under this name: anything that can be sent to another process, and is made here if there is nothing. Of
    /// another type than that it is an error, or, of plain data that happens to look alike, nonsense.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`NotSendable`](crate::Error::NotSendable).
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Manager, Result, Ring};
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let manager = Manager::start()?;
    ///     let ring = manager.share("samples", || Ring::<f32>::with_capacity(64))?;
    ///     let same: Ring<f32> = manager.share("samples", || unreachable!("it is there already"))?;
    ///     ring.push(0.5)?;
    ///     assert_eq!(same.pop()?, 0.5);
    ///     Ok(())
    /// }
    /// ```
    pub fn share<T: Message>(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        self.keep(name, "", make)
    }

    fn keep<T: Message>(&self, name: &str, tag: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(found) = self.find(name, tag)? {
            return Ok(found);
        }
        let made = make()?;
        loop {
            match self.publish(name, tag, &made) {
                Ok(()) => return Ok(made),
                // Somebody else was faster,
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
            // and may have taken the name back by now.
            if let Some(found) = self.find(name, tag)? {
                return Ok(found);
            }
        }
    }

    /// Keeps something under a name.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`.
    pub(super) fn publish<T: Message>(&self, name: &str, tag: &str, value: &T) -> Result<()> {
        let mut bytes = Vec::new();
        let (descriptors, held) = proxy::among(|| ticket::encode_into(value, Route::default(), &mut bytes));
        let held = held.into_iter().filter(|(instance, _)| *instance == self.server.instance()).map(|(_, id)| id);
        let publish = Request::Publish(name.into(), tag.into(), Object::Bytes(bytes), held.collect());
        self.server.call_with(&publish, &descriptors?).map(drop)
    }

    /// Whether a name is in use.
    pub(super) fn has(&self, name: &str) -> Result<bool> {
        match self.server.call_with(&Request::Find(name.into(), String::new()), &[]) {
            Ok((found, _)) => Ok(found != Object::None),
            Err(Error::TypeMismatch { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    pub(super) fn find<T: Message>(&self, name: &str, tag: &str) -> Result<Option<T>> {
        match self.server.call_with(&Request::Find(name.into(), tag.into()), &[])? {
            (Object::Bytes(bytes), descriptors) => {
                let arrived = Arrived::new(descriptors).map_err(|error| Error::os("copying descriptors", error))?;
                ticket::decode_from(&bytes, Some(arrived), Route::default()).map(Some)
            }
            _ => Ok(None),
        }
    }
}
