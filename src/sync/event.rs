//! A flag that processes wait for.

#![expect(unsafe_code, reason = "declares what lives in shared memory, and writes its first contents")]

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    Error, Result,
    os::clock::Wait,
    raw::event::RawEvent,
    region::{Dims, Fresh, Handle, Intent, Kind, Place, Region, Resident, Shared, resident_handle},
};

/// A flag that one process sets and others wait for.
///
/// It comes in two kinds. [`new`](Self::new) makes one that stays set until it is [cleared](Self::clear), and lets all
/// through until then; a `set` followed at once by a `clear` still lets all through who waited. One made by
/// [`auto_reset`](Self::auto_reset) lets exactly one wait through for each time it becomes set, and is unset again by
/// that.
///
/// Who comes through sees what was written before the `set`. Who clears the event sees what was written before every
/// `set` that came earlier, so that to clear it, to look for work and then to wait misses nothing.
///
/// In a named region or a file it stays as it is when nobody has it open.
///
/// # If a process dies
///
/// The event stays as it is. A waiter's death costs nobody anything; of an auto-reset event the dead one may have been
/// let through already, and then that `set` is used up. One that dies in the middle of a `set` has set the event or has
/// not; if it has, those who wait find it within 100 ms.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::{Event, Process, Result, Value};
///
/// fn work(ready: Event, value: Value<u64>, done: Event) -> Result<()> {
///     ready.wait()?;
///     value.update(|x| x * 2)?;
///     done.set();
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let (ready, done, value) = (Event::new()?, Event::new()?, Value::new(0)?);
///     let worker = Process::spawn(work, (ready.clone(), value.clone(), done.clone()))?;
///     value.set(21)?;
///     ready.set();
///     done.wait()?;
///     assert_eq!(value.get()?, 42);
///     worker.join()
/// }
/// ```
///
/// The questions, and the two kinds:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use std::time::Duration;
/// use shmkit::Event;
///
/// let gate = Event::new()?;
/// assert!(!gate.wait_timeout(Duration::from_millis(1))?);
/// gate.set();
/// gate.wait()?;
/// assert!(gate.is_set());
///
/// let doorbell = Event::auto_reset()?;
/// doorbell.set();
/// doorbell.wait()?;
/// assert!(!doorbell.is_set());
/// # Ok(())
/// # }
/// ```
pub struct Event(Handle<EventCell>);

pub(crate) struct EventCell;

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for RawEvent {}

// SAFETY: the body is the event alone.
unsafe impl Resident for EventCell {
    const KIND: Kind = Kind::Event;
    type Head = RawEvent;
    type Element = ();
    type Stored = ();
}

/// Makes the body an event that resets by itself, or by hand.
fn write(fresh: Fresh, auto_reset: bool) {
    // SAFETY: an initialiser is given the head of a body of this kind, aligned to 8, which nobody else sees yet.
    unsafe { fresh.head.cast::<RawEvent>().write(RawEvent::with(auto_reset)) };
}

/// What an event of either kind is called in errors.
fn kind(auto_reset: bool) -> String {
    format!("{:?} with {} reset", Kind::Event, if auto_reset { "auto" } else { "manual" })
}

impl Event {
    /// A new event, unset, in shared memory of its own, that stays set until it is cleared.
    ///
    /// # Errors
    ///
    /// As [`Region::anonymous`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn new() -> Result<Self> {
        Self::anonymous(false)
    }

    /// A new event, unset, in shared memory of its own, that lets one wait through for each time it is set.
    ///
    /// # Errors
    ///
    /// As [`Region::anonymous`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn auto_reset() -> Result<Self> {
        Self::anonymous(true)
    }

    /// A new event in a region, under a name or (`None`) without one.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](Error::AlreadyExists), [`RegionFull`](Error::RegionFull), [`InvalidName`](Error::InvalidName),
    /// [`ReadOnly`](Error::ReadOnly).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Event, Region};
    ///
    /// let region = Region::anonymous(1 << 16)?;
    /// let ready = Event::new_in(&region, "ready")?;
    /// Event::open_in(&region, "ready")?.set();
    /// assert!(ready.is_set());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_in<'n>(region: &Region, name: impl Into<Option<&'n str>>) -> Result<Self> {
        Self::within(region, name.into(), false)
    }

    /// As [`new_in`](Self::new_in), with auto reset.
    ///
    /// # Errors
    ///
    /// As [`new_in`](Self::new_in).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Event, Region};
    ///
    /// let region = Region::anonymous(1 << 16)?;
    /// let doorbell = Event::auto_reset_in(&region, "doorbell")?;
    /// assert!(Event::open_in(&region, "doorbell")?.is_auto_reset());
    /// # Ok(())
    /// # }
    /// ```
    pub fn auto_reset_in<'n>(region: &Region, name: impl Into<Option<&'n str>>) -> Result<Self> {
        Self::within(region, name.into(), true)
    }

    /// The event of this name in a region, as it is now, or a new one.
    ///
    /// # Errors
    ///
    /// As [`new_in`](Self::new_in), and [`TypeMismatch`](Error::TypeMismatch), also when it has auto reset.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Event, Region};
    ///
    /// let region = Region::anonymous(1 << 16)?;
    /// Event::open_or_create_in(&region, "ready")?.set();
    /// assert!(Event::open_or_create_in(&region, "ready")?.is_set());
    /// assert!(Event::open_or_create_auto_reset_in(&region, "ready").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_or_create_in(region: &Region, name: &str) -> Result<Self> {
        Self::either_within(region, name, false)
    }

    /// As [`open_or_create_in`](Self::open_or_create_in), with auto reset.
    ///
    /// # Errors
    ///
    /// As [`open_or_create_in`](Self::open_or_create_in); [`TypeMismatch`](Error::TypeMismatch) when it has none.
    ///
    /// # Examples
    ///
    /// See [`open_or_create_in`](Self::open_or_create_in).
    pub fn open_or_create_auto_reset_in(region: &Region, name: &str) -> Result<Self> {
        Self::either_within(region, name, true)
    }

    /// A new event that other programs find by name or file.
    ///
    /// # Errors
    ///
    /// As [`Region::create`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Event;
    ///
    /// let name = format!("shmkit-doc-event-create-{}", std::process::id());
    /// let here = Event::create(&name)?;
    /// Event::open(&name)?.set();
    /// assert!(here.is_set());
    /// Event::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(at: impl Into<Place>) -> Result<Self> {
        Self::at(&at.into(), Intent::Create, false)
    }

    /// As [`create`](Self::create), with auto reset.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Event;
    ///
    /// let name = format!("shmkit-doc-event-auto-{}", std::process::id());
    /// Event::create_auto_reset(&name)?;
    /// assert!(Event::open(&name)?.is_auto_reset());
    /// Event::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_auto_reset(at: impl Into<Place>) -> Result<Self> {
        Self::at(&at.into(), Intent::Create, true)
    }

    /// The event at this name or file, as it is now, or a new one.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open); [`TypeMismatch`](Error::TypeMismatch) also when it has auto
    /// reset.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Event;
    ///
    /// let name = format!("shmkit-doc-event-either-{}", std::process::id());
    /// let first = Event::open_or_create(&name)?;
    /// assert!(Event::open_or_create(&name)?.is_same(&first));
    /// assert!(Event::open_or_create_auto_reset(&name).is_err());
    /// Event::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_or_create(at: impl Into<Place>) -> Result<Self> {
        Self::at(&at.into(), Intent::OpenOrCreate, false)
    }

    /// As [`open_or_create`](Self::open_or_create), with auto reset.
    ///
    /// # Errors
    ///
    /// As [`open_or_create`](Self::open_or_create); [`TypeMismatch`](Error::TypeMismatch) when it has none.
    ///
    /// # Examples
    ///
    /// See [`open_or_create`](Self::open_or_create).
    pub fn open_or_create_auto_reset(at: impl Into<Place>) -> Result<Self> {
        Self::at(&at.into(), Intent::OpenOrCreate, true)
    }

    pub(crate) fn anonymous(auto_reset: bool) -> Result<Self> {
        Handle::new(Dims::NONE, &|fresh| write(fresh, auto_reset)).map(Self)
    }

    pub(crate) fn within(region: &Region, name: Option<&str>, auto_reset: bool) -> Result<Self> {
        Handle::new_in(region, name, Dims::NONE, &|fresh| write(fresh, auto_reset)).map(Self)
    }

    pub(crate) fn either_within(region: &Region, name: &str, auto_reset: bool) -> Result<Self> {
        let handle = Handle::open_or_create_in(region, name, Dims::NONE, &|fresh| write(fresh, auto_reset))?;
        Self(handle).expecting(auto_reset)
    }

    pub(crate) fn at(place: &Place, intent: Intent, auto_reset: bool) -> Result<Self> {
        Self(Handle::at_place(place, intent, Dims::NONE, &|fresh| write(fresh, auto_reset))?).expecting(auto_reset)
    }

    /// This event, if it has the kind of reset that the caller asked for.
    fn expecting(self, auto_reset: bool) -> Result<Self> {
        match self.is_auto_reset() {
            found if found == auto_reset => Ok(self),
            found => Err(Error::TypeMismatch { expected: kind(auto_reset), found: kind(found) }),
        }
    }

    /// Makes the event set, and wakes those who wait for it: all, or one if it has auto reset.
    ///
    /// On one that is set already it does nothing more.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn set(&self) {
        self.0.head().set();
    }

    /// Makes the event unset: waits that begin from now on last until it is set again.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let event = shmkit::Event::new()?;
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear(&self) {
        self.0.head().clear();
    }

    /// Whether the event is set at this moment, which may have passed when this returns.
    ///
    /// # Examples
    ///
    /// See [`clear`](Self::clear).
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.head().is_set()
    }

    /// Whether the event was made to let one wait through for each time it is set.
    ///
    /// # Examples
    ///
    /// See [`auto_reset_in`](Self::auto_reset_in).
    #[must_use]
    pub fn is_auto_reset(&self) -> bool {
        self.0.head().is_auto_reset()
    }

    /// Waits until the event is set, as long as it takes.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # If a process dies
    ///
    /// If all who would have set the event are dead, this waits for ever: an event does not know them.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn wait(&self) -> Result<()> {
        self.0.head().wait(Wait::Forever)
    }

    /// Whether a wait would end at once. With auto reset it is one: `true` means that it was let through.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let doorbell = shmkit::Event::auto_reset()?;
    /// doorbell.set();
    /// assert!(doorbell.try_wait()?);
    /// assert!(!doorbell.try_wait()?);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_wait(&self) -> Result<bool> {
        self.ask(Wait::No)
    }

    /// Waits until the event is set, at most `timeout`. `false`: it was not set in time.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.ask(Wait::timeout(timeout))
    }

    /// Waits until the event is set, or until `deadline`. `false`: it was not set in time.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::{Duration, Instant};
    ///
    /// let event = shmkit::Event::new()?;
    /// assert!(!event.wait_deadline(Instant::now() + Duration::from_millis(1))?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> Result<bool> {
        self.ask(Wait::deadline(deadline))
    }

    #[cfg(feature = "capi")]
    pub(crate) fn wait_within(&self, wait: Wait) -> Result<()> {
        self.0.head().wait(wait)
    }

    fn ask(&self, wait: Wait) -> Result<bool> {
        match self.0.head().wait(wait) {
            Ok(()) => Ok(true),
            Err(Error::WouldBlock | Error::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

resident_handle!(Event, EventCell, "event");

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_set() { "set" } else { "unset" };
        f.debug_struct("Event")
            .field("state", &format_args!("{state}"))
            .field("auto_reset", &self.is_auto_reset())
            .finish()
    }
}
