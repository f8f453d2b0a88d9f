//! A queue of objects of any size.

mod ends;

use std::{fmt, iter::FusedIterator, marker::PhantomData, os::fd::OwnedFd};

use self::ends::{Ends, QueueCell};
use super::forms::four_forms;
use crate::{
    Error, Region, Result,
    os::clock::Wait,
    region::{
        Fresh, Handle, Intent, Place, resident_handle,
        ticket::{Message, Route},
    },
};

/// A bounded queue of objects in shared memory, for any number of producers and consumers, first in, first out.
///
/// Objects are of any size up to the [capacity](Self::capacity), and travel in serde's form. Handles of shared memory
/// ([`Value`](crate::Value), [`Array`](crate::Array), locks, other queues) can be put in, alone or as parts of objects:
/// only a ticket travels, and the memory lives on whatever becomes of the sender. At most 253 different regions can go
/// with one object, and a few hundred objects with such handles can be under way at a time: more wait, as for room.
///
/// It is a *joinable* queue too: [`task_done`](Self::task_done) declares that the work on an object is done, and
/// [`join`](Self::join) waits until that is so for all.
///
/// A process that is stopped in the middle of a `put` or a `get` holds up those who do the same. Those who have a time
/// limit are told in time, and those who do not wait at all after 100 ms at most.
///
/// # If a process dies
///
/// An object whose `put` has returned arrives exactly once, unless its consumer dies: what a process has taken is lost
/// with it, also if it died before its `get` returned, and never comes again. It is one object for each thread that was
/// in a `get`, and all that the process had at work; [`join`](Self::join) tells how many. Who dies in the middle of a
/// `put` leaves the object whole, or nothing of it. The queue goes on in any case, and each producer's objects come in
/// its order.
///
/// A `get`, `put` or `join` that waits ends with [`Disconnected`](crate::Error::Disconnected) when there was another
/// process that had the queue, and every other one is dead or has dropped its handles: nobody is left who could do
/// anything. Threads of the same process do not count as others; a program whose threads use the queue among themselves
/// after the others have gone can [switch that off](QueueOptions::waits_alone), and it is off for queues in regions
/// that programs find by name. A handle that is on its way counts, to a child that is being started or inside another
/// channel, and so does a fork of a process that has the queue, whether it has used it or not.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Process, Queue, Result};
///
/// fn shout(words: Queue<String>, loud: Queue<String>) -> Result<()> {
///     for word in &words {
///         loud.put(&word?.to_uppercase())?;
///     }
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (words, loud) = (Queue::new()?, Queue::new()?);
///     let child = Process::spawn(shout, (words.clone(), loud.clone()))?;
///     for word in ["to", "whom", "it", "may", "concern"] {
///         words.put(&word.to_string())?;
///     }
///     words.close();
///     let heard: Vec<_> = (0..5).map(|_| loud.get()).collect::<Result<_>>()?;
///     assert_eq!(heard.join(" "), "TO WHOM IT MAY CONCERN");
///     child.join()
/// }
/// ```
///
/// Waiting, or not:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::Queue;
///
/// let queue = Queue::options().max_items(2).create()?;
/// queue.put(&(1, "one".to_string()))?;
/// queue.put(&(2, "two".to_string()))?;
/// assert!(queue.is_full() && queue.len() == 2);
/// assert!(queue.try_put(&(3, "three".to_string())).unwrap_err().is_would_block());
/// assert_eq!(queue.get()?.1, "one");
/// assert_eq!(queue.get()?.1, "two");
/// assert!(queue.get_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
/// # Ok(())
/// # }
/// ```
///
/// Handles as objects:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::{Array, Queue};
///
/// let queue = Queue::<(String, Array<f64>)>::new()?;
/// let field = Array::from_iter([1.0, 2.0])?;
/// queue.put(&("field".into(), field.clone()))?;
/// let (name, same) = queue.get()?;
/// assert!(name == "field" && same.is_same(&field));
/// # Ok(())
/// # }
/// ```
pub struct Queue<T: Message>(Ends<T>);

impl<T: Message> Queue<T> {
    /// Bytes that a queue has room for unless it is made for others: 1 MiB.
    pub const CAPACITY: usize = 1 << 20;

    /// A new queue with room for 1 MiB, in shared memory of its own.
    ///
    /// # Errors
    ///
    /// As [`Region::anonymous`](crate::Region::anonymous).
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn new() -> Result<Self> {
        Self::options().create()
    }

    /// A new queue with room for `bytes`, in shared memory of its own. An object takes 8 bytes more than its serialised
    /// form, rounded up to a multiple of 8, and 8 more if handles are in it; one object of `bytes` without handles fits
    /// in any case.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`InvalidArgument`](crate::Error::InvalidArgument) for 0 and for more than 8 GiB.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Error, Queue};
    ///
    /// let queue = Queue::with_capacity(100)?;
    /// queue.put(&vec![0_u8; 90])?;
    /// assert!(matches!(queue.put(&vec![0_u8; 200]), Err(Error::TooLarge { limit: 104, .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_capacity(bytes: usize) -> Result<Self> {
        Self::options().capacity(bytes).create()
    }

    /// How a queue is made, step by step.
    ///
    /// # Examples
    ///
    /// See [`QueueOptions`].
    pub fn options() -> QueueOptions<T> {
        QueueOptions { capacity: Self::CAPACITY, max_items: 0, waits_alone: false, _objects: PhantomData }
    }

    /// A new queue that other programs find by name or file.
    ///
    /// Objects in it can hold handles of what has a name, too, or lies in the same region.
    ///
    /// # Errors
    ///
    /// As [`Region::create`](crate::Region::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Queue;
    ///
    /// let name = format!("shmkit-doc-queue-{}", std::process::id());
    /// let here = Queue::<String>::create(&name)?;
    /// let there = Queue::<String>::open(&name)?;
    /// there.put(&"hello".to_string())?;
    /// assert_eq!(here.get()?, "hello");
    /// Queue::<String>::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(at: impl Into<Place>) -> Result<Self> {
        Self::options().create_at(at)
    }

    /// The queue at this name or file, or a new one.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// See [`create`](Self::create).
    pub fn open_or_create(at: impl Into<Place>) -> Result<Self> {
        Self::options().open_or_create_at(at)
    }

    pub(crate) fn put_within(&self, object: &T, wait: Wait) -> Result<()> {
        self.0.put(object, wait)
    }

    pub(crate) fn get_within(&self, wait: Wait) -> Result<T> {
        self.0.get(wait)
    }

    pub(crate) fn join_within(&self, wait: Wait) -> Result<()> {
        self.0.raw().join(|| self.0.world(), wait)
    }

    /// Puts in what somebody else has encoded for the queue's [`route`](Self::route).
    pub(crate) fn put_bytes(&self, bytes: &[u8], descriptors: &[OwnedFd], wait: Wait) -> Result<()> {
        self.0.put_bytes(bytes, descriptors, wait)
    }

    /// Takes what [`put_bytes`](Self::put_bytes) has put in.
    pub(crate) fn get_bytes(&self, buffer: &mut Vec<u8>, wait: Wait) -> Result<Vec<OwnedFd>> {
        self.0.get_bytes(buffer, wait)
    }

    pub(crate) fn route(&self) -> Route {
        self.0.route()
    }

    four_forms! {
        /// Puts an object in, and waits until there is room.
        ///
        /// Objects of other producers may go first, also into room that this one was too large for.
        ///
        /// # Errors
        ///
        /// [`NotSendable`](crate::Error::NotSendable) when it cannot be serialised,
        /// [`TooLarge`](crate::Error::TooLarge) when it can never fit,
        /// [`InvalidArgument`](crate::Error::InvalidArgument) when more than 253 regions go with it; nothing has
        /// happened to the queue then. [`Closed`](crate::Error::Closed); [`Disconnected`](crate::Error::Disconnected)
        /// instead of waiting for nobody (`try_put`, which does not wait, gives `WouldBlock`);
        /// [`TooManyMembers`](crate::Error::TooManyMembers), [`TooManyLocks`](crate::Error::TooManyLocks) in a thread
        /// that holds as many as it may, [`ReadOnly`](crate::Error::ReadOnly), [`Corrupt`](crate::Error::Corrupt),
        /// [`Os`](crate::Error::Os) for descriptors that cannot be sent.
        ///
        /// # If a process dies
        ///
        /// See the type.
        ///
        /// # Examples
        ///
        /// See the type.
        put, try_put, put_timeout, put_deadline(object: &T) -> (): put_within
    }

    four_forms! {
        /// Takes the next object, and waits until there is one.
        ///
        /// # Errors
        ///
        /// [`Closed`](crate::Error::Closed) when nothing is left besides; [`Disconnected`](crate::Error::Disconnected)
        /// instead of waiting for nobody (`try_get`, which does not wait, gives `WouldBlock`).
        /// [`NotSendable`](crate::Error::NotSendable) when it cannot be deserialised: it is taken then, and counts as
        /// done, and so it does when its deserialisation panics. Else as [`put`](Self::put); what this process has no
        /// descriptors left for stays.
        ///
        /// # If a process dies
        ///
        /// See the type.
        ///
        /// # Examples
        ///
        /// See the type.
        get, try_get, get_timeout, get_deadline() -> T: get_within
    }

    four_forms! {
        /// Waits until all that was put in has been declared [done](Self::task_done).
        ///
        /// # Errors
        ///
        /// [`TasksLost`](crate::Error::TasksLost) when nothing else is left to wait for than what dead processes had
        /// taken and not declared done (it is not told where more than 256 processes had the queue at a time). It stays
        /// so, until somebody declares those tasks done in their stead (perhaps when they have been put in again).
        /// [`Disconnected`](crate::Error::Disconnected) when nobody is left to take what is in.
        ///
        /// # If a process dies
        ///
        /// See above. A process that dies while it declares a task done may have it counted among the lost.
        ///
        /// # Examples
        ///
        /// See [`task_done`](Self::task_done).
        join, try_join, join_timeout, join_deadline() -> (): join_within
    }

    /// Declares the work on one object done that was taken out, by this process or another, or that nobody needs to
    /// take any more. A process that has nothing to declare itself declares what was lost with dead ones, if anything
    /// was.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) when it is called more often than objects were put in.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use shmkit::{Process, Queue, Result};
    ///
    /// fn work(tasks: Queue<u32>) -> Result<()> {
    ///     for task in &tasks {
    ///         std::hint::black_box(task?);
    ///         tasks.task_done()?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn main() -> Result<()> {
    ///     shmkit::init();
    ///     let tasks = Queue::new()?;
    ///     let worker = Process::spawn(work, (tasks.clone(),))?;
    ///     (0..100).try_for_each(|task| tasks.put(&task))?;
    ///     tasks.join()?;
    ///     assert!(tasks.is_empty());
    ///     tasks.close();
    ///     worker.join()
    /// }
    /// ```
    pub fn task_done(&self) -> Result<()> {
        self.0.task_done(self.0.member()?, Wait::Forever)
    }

    /// The objects, one after the other, until the queue is closed and empty. Waits for each.
    ///
    /// Ends after [`Closed`](crate::Error::Closed), which it does not give, and after
    /// [`Disconnected`](crate::Error::Disconnected) and other errors that would come again. An object that cannot be
    /// deserialised does not end it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::new()?;
    /// (1..=3).try_for_each(|n| queue.put(&n))?;
    /// queue.close();
    /// assert_eq!(queue.iter().sum::<shmkit::Result<i32>>()?, 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: Some(self) }
    }

    /// Lets nobody put anything in from now on, in any process. What is in can still be taken, and consumers wait for what
    /// a process that was stopped in the middle of a `put` may still put in. Closing again does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Error, Queue};
    ///
    /// let queue = Queue::new()?;
    /// queue.put(&1)?;
    /// queue.close();
    /// assert!(matches!(queue.put(&2), Err(Error::Closed)));
    /// assert_eq!(queue.get()?, 1);
    /// assert!(matches!(queue.get(), Err(Error::Closed)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        self.0.raw().close();
    }

    /// Whether it is [closed](Self::close).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert!(!shmkit::Queue::<u8>::new()?.is_closed());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.raw().is_closed()
    }

    /// The number of objects that are in, at one moment: it may be another one at once.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.raw().len() as usize
    }

    /// Whether nothing is in.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::new()?;
    /// assert!(queue.is_empty() && !queue.is_full());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room for an object of even one byte, or as many are in as may be.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn is_full(&self) -> bool {
        // Its title, and one unit: nearly nothing is smaller than a byte.
        !self.0.raw().has_room(2)
    }

    /// Bytes of the largest object that fits, in its serialised form; with handles in it 8 less.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::Queue::<u8>::new()?.capacity(), 1 << 20);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The most objects that may be in at a time, if that was limited.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::<u8>::options().max_items(3).create()?;
    /// assert_eq!(queue.max_items(), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_items(&self) -> Option<usize> {
        let most = self.0.raw().most_messages();
        (most != 0).then_some(most as usize)
    }

    /// The number of objects that were put in and not yet declared [done](Self::task_done). Of a queue where that is
    /// never done it starts anew after 2^32.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = shmkit::Queue::new()?;
    /// queue.put(&1)?;
    /// queue.get()?;
    /// assert_eq!(queue.unfinished_tasks(), 1);
    /// queue.task_done()?;
    /// assert_eq!(queue.unfinished_tasks(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn unfinished_tasks(&self) -> usize {
        self.0.raw().unfinished() as usize
    }
}

resident_handle!(Queue<T: Message>, QueueCell<T>, "queue");

impl<T: Message> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

impl<'a, T: Message> IntoIterator for &'a Queue<T> {
    type Item = Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The objects of a [`Queue`] until it is closed. From [`Queue::iter`].
///
/// # Examples
///
/// See [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T: Message> {
    /// `None` at the end.
    queue: Option<&'a Queue<T>>,
}

impl<T: Message> Iterator for Iter<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let next = self.queue?.get();
        if !matches!(next, Ok(_) | Err(Error::NotSendable { .. })) {
            self.queue = None;
        }
        match next {
            Err(Error::Closed) => None,
            next => Some(next),
        }
    }
}

impl<T: Message> FusedIterator for Iter<'_, T> {}

/// How a [`Queue`] is made. From [`Queue::options`].
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::{Queue, Region};
///
/// let small = Queue::<String>::options().capacity(4096).max_items(10).create()?;
/// assert_eq!((small.capacity(), small.max_items()), (4096, Some(10)));
///
/// let region = Region::anonymous(1 << 20)?;
/// let first = Queue::<String>::options().capacity(1 << 16).create_in(&region, "words")?;
/// first.put(&"word".to_string())?;
/// assert_eq!(Queue::<String>::open_in(&region, "words")?.get()?, "word");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options make nothing until `create` is called"]
pub struct QueueOptions<T: Message> {
    capacity: usize,
    max_items: u32,
    waits_alone: bool,
    _objects: PhantomData<fn() -> T>,
}

impl<T: Message> QueueOptions<T> {
    /// Bytes that there is room for, see [`Queue::with_capacity`].
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// The most objects that may be in at a time, however small; 0: as many as fit.
    pub fn max_items(mut self, items: usize) -> Self {
        self.max_items = u32::try_from(items).unwrap_or(u32::MAX);
        self
    }

    /// Whether those who wait may do so although every other process that had the queue is gone. By default they get
    /// [`Disconnected`](crate::Error::Disconnected).
    pub fn waits_alone(mut self, may: bool) -> Self {
        self.waits_alone = may;
        self
    }

    /// A new queue in shared memory of its own.
    ///
    /// # Errors
    ///
    /// As [`Queue::with_capacity`].
    pub fn create(&self) -> Result<Queue<T>> {
        let dims = ends::dims(self.capacity)?;
        Ends::with_courier(|| Handle::new(dims, &|fresh| self.initialise(fresh))).map(Queue)
    }

    /// A new queue in a region, under a name or (`None`) without one. With a name, objects in it can hold handles only
    /// of what has a name, too, or lies in the same region.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and [`AlreadyExists`](crate::Error::AlreadyExists),
    /// [`RegionFull`](crate::Error::RegionFull), [`InvalidName`](crate::Error::InvalidName),
    /// [`ReadOnly`](crate::Error::ReadOnly).
    pub fn create_in<'n>(&self, region: &Region, name: impl Into<Option<&'n str>>) -> Result<Queue<T>> {
        let (name, dims) = (name.into(), ends::dims(self.capacity)?);
        let make = || Handle::new_in(region, name, dims, &|fresh| self.initialise(fresh));
        match name {
            None => Ends::with_courier(make).map(Queue),
            Some(_) => make().map(|handle| Queue(handle.into())),
        }
    }

    /// The queue of this name in a region, or a new one.
    ///
    /// # Errors
    ///
    /// As [`create_in`](Self::create_in), and [`TypeMismatch`](crate::Error::TypeMismatch), also when it was made with
    /// another capacity.
    pub fn open_or_create_in(&self, region: &Region, name: &str) -> Result<Queue<T>> {
        let dims = ends::dims(self.capacity)?;
        Handle::open_or_create_in(region, name, dims, &|fresh| self.initialise(fresh))
            .map(|handle| Queue(handle.into()))
    }

    /// A new queue that other programs find by name or file.
    ///
    /// # Errors
    ///
    /// As [`Queue::create`].
    pub fn create_at(&self, at: impl Into<Place>) -> Result<Queue<T>> {
        self.at(&at.into(), Intent::Create)
    }

    /// The queue at this name or file, or a new one.
    ///
    /// # Errors
    ///
    /// As [`Queue::open_or_create`], and [`TypeMismatch`](crate::Error::TypeMismatch) when it was made with another
    /// capacity.
    pub fn open_or_create_at(&self, at: impl Into<Place>) -> Result<Queue<T>> {
        self.at(&at.into(), Intent::OpenOrCreate)
    }

    fn at(&self, place: &Place, intent: Intent) -> Result<Queue<T>> {
        let dims = ends::dims(self.capacity)?;
        Handle::at_place(place, intent, dims, &|fresh| self.initialise(fresh)).map(|handle| Queue(handle.into()))
    }

    fn initialise(&self, fresh: Fresh) {
        ends::limit(fresh, self.max_items, self.waits_alone);
    }
}
