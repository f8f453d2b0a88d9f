//! A count of permits that belong to nobody.

#![expect(unsafe_code, reason = "declares what lives in shared memory, and writes its first contents")]

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    Result,
    os::clock::Wait,
    raw::semaphore::{MAX, RawSemaphore},
    region::{Dims, Fresh, Handle, Intent, Kind, Place, Region, Resident, Shared, resident_handle},
};

/// A count of permits: taking one waits while there is none, and anybody may give one, whoever took it.
///
/// With it processes count what is there, tell each other that something has happened, or release in one what another
/// acquired. Taking and giving order memory: who takes a permit sees what was written before it was given.
///
/// In a named region or a file the count stays as it is when nobody has it open.
///
/// # If a process dies
///
/// The permits that it had taken are gone: nobody knows whose they were. A waiter's death costs nobody a permit; if it
/// came at the very moment of a wake-up, the next waiter notices within 100 ms.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Semaphore;
///
/// let semaphore = Semaphore::new(1)?;
/// semaphore.acquire()?;
/// assert!(semaphore.try_acquire().unwrap_err().is_would_block());
/// semaphore.release()?;
/// semaphore.release()?; // nobody minds that it was acquired only once
/// assert_eq!(semaphore.value(), 2);
/// # Ok(())
/// # }
/// ```
///
/// Work that one process hands to another, by a semaphore that any program can open by its name:
///
/// ```standalone_crate
/// use shmkit::{AtomicValue, Process, Result, Semaphore};
/// use std::sync::atomic::Ordering::Relaxed;
///
/// fn consume(name: String, sum: AtomicValue<u64>) -> Result<()> {
///     let items = Semaphore::open(&name)?;
///     for _ in 0..3 {
///         items.acquire()?;
///         sum.fetch_add(1, Relaxed);
///     }
///     Ok(())
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     let name = format!("shmkit-doc-semaphore-{}", std::process::id());
///     let (items, sum) = (Semaphore::create(&name, 0)?, AtomicValue::new(0)?);
///     let consumer = Process::spawn(consume, (name.clone(), sum.clone()))?;
///     items.release()?;
///     items.release_many(3)?;
///     consumer.join()?;
///     Semaphore::unlink(&name)?;
///     assert_eq!((sum.load(Relaxed), items.value()), (3, 1));
///     Ok(())
/// }
/// ```
pub struct Semaphore(Handle<SemaphoreCell>);

pub(crate) struct SemaphoreCell;

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for RawSemaphore {}

// SAFETY: the body is the semaphore alone.
unsafe impl Resident for SemaphoreCell {
    const KIND: Kind = Kind::Semaphore;
    type Head = RawSemaphore;
    type Element = ();
    type Stored = ();
}

/// Makes the body a semaphore with `count` permits.
fn write(fresh: Fresh, count: u32) {
    // SAFETY: an initialiser is given the head of a body of this kind, aligned to 8, which nobody else sees yet.
    unsafe { fresh.head.cast::<RawSemaphore>().write(RawSemaphore::with(count)) };
}

impl Semaphore {
    /// The most permits that there can be at a time: 2³⁰ − 1.
    pub const MAX: usize = MAX as usize;

    /// A new semaphore with `count` permits in shared memory of its own.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) for more than [`MAX`](Self::MAX); else as
    /// [`Region::anonymous`].
    ///
    /// # Examples
    ///
    /// See the type.
    pub fn new(count: usize) -> Result<Self> {
        let count = RawSemaphore::checked(count)?;
        Handle::new(Dims::NONE, &|fresh| write(fresh, count)).map(Self)
    }

    /// A new semaphore with `count` permits in a region, under a name or (`None`) without one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`AlreadyExists`](crate::Error::AlreadyExists),
    /// [`RegionFull`](crate::Error::RegionFull), [`InvalidName`](crate::Error::InvalidName),
    /// [`ReadOnly`](crate::Error::ReadOnly).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Region, Semaphore};
    ///
    /// let region = Region::anonymous(1 << 16)?;
    /// let slots = Semaphore::new_in(&region, "slots", 8)?;
    /// Semaphore::open_in(&region, "slots")?.acquire()?;
    /// assert_eq!(slots.value(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_in<'n>(region: &Region, name: impl Into<Option<&'n str>>, count: usize) -> Result<Self> {
        let count = RawSemaphore::checked(count)?;
        Handle::new_in(region, name.into(), Dims::NONE, &|fresh| write(fresh, count)).map(Self)
    }

    /// The semaphore of this name in a region, with as many permits as it has now, or a new one with `count`.
    ///
    /// # Errors
    ///
    /// As [`new_in`](Self::new_in), and [`TypeMismatch`](crate::Error::TypeMismatch).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::{Region, Semaphore};
    ///
    /// let region = Region::anonymous(1 << 16)?;
    /// Semaphore::open_or_create_in(&region, "slots", 8)?.acquire()?;
    /// assert_eq!(Semaphore::open_or_create_in(&region, "slots", 8)?.value(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_or_create_in(region: &Region, name: &str, count: usize) -> Result<Self> {
        let count = RawSemaphore::checked(count)?;
        Handle::open_or_create_in(region, name, Dims::NONE, &|fresh| write(fresh, count)).map(Self)
    }

    /// A new semaphore with `count` permits that other programs find by name or file.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`Region::create`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Semaphore;
    ///
    /// let name = format!("shmkit-doc-semaphore-create-{}", std::process::id());
    /// let here = Semaphore::create(&name, 2)?;
    /// let there = Semaphore::open(&name)?;
    /// there.acquire()?;
    /// assert_eq!(here.value(), 1);
    /// Semaphore::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(at: impl Into<Place>, count: usize) -> Result<Self> {
        let count = RawSemaphore::checked(count)?;
        Handle::at_place(&at.into(), Intent::Create, Dims::NONE, &|fresh| write(fresh, count)).map(Self)
    }

    /// The semaphore at this name or file, with as many permits as it has now, or a new one with `count`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Semaphore;
    ///
    /// let name = format!("shmkit-doc-semaphore-either-{}", std::process::id());
    /// let first = Semaphore::open_or_create(&name, 2)?;
    /// first.acquire()?;
    /// let second = Semaphore::open_or_create(&name, 2)?;
    /// assert!(second.is_same(&first));
    /// assert_eq!(second.value(), 1);
    /// Semaphore::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_or_create(at: impl Into<Place>, count: usize) -> Result<Self> {
        let count = RawSemaphore::checked(count)?;
        Handle::at_place(&at.into(), Intent::OpenOrCreate, Dims::NONE, &|fresh| write(fresh, count)).map(Self)
    }

    /// Takes a permit, and waits for one as long as it takes.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # If a process dies
    ///
    /// If all who would have given a permit are dead, this waits for ever: a semaphore does not know them.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn acquire(&self) -> Result<()> {
        self.0.head().acquire(Wait::Forever)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::Error::WouldBlock).
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn try_acquire(&self) -> Result<()> {
        self.0.head().acquire(Wait::No)
    }

    /// Takes a permit, and waits at most `timeout` for one.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::Duration;
    ///
    /// let semaphore = shmkit::Semaphore::new(1)?;
    /// semaphore.acquire_timeout(Duration::from_secs(1))?;
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.head().acquire(Wait::timeout(timeout))
    }

    /// Takes a permit, and waits for one until `deadline` at most.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::{Duration, Instant};
    ///
    /// let semaphore = shmkit::Semaphore::new(0)?;
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(semaphore.acquire_deadline(deadline).unwrap_err().is_timed_out());
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<()> {
        self.0.head().acquire(Wait::deadline(deadline))
    }

    /// Gives a permit, and wakes one who waits for it.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) when there are [`MAX`](Self::MAX) permits already; there are
    /// no more after that, however many try at once.
    ///
    /// # If a process dies
    ///
    /// One that dies in here has given the permit or has not; if it has, who waits finds it within 100 ms.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn release(&self) -> Result<()> {
        self.0.head().release()
    }

    /// Gives `n` permits at once, and wakes as many who wait for them. With an `n` of 0 nothing happens.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release), when there would be more than [`MAX`](Self::MAX): then none is given.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1)?;
    /// semaphore.release_many(4)?;
    /// assert_eq!(semaphore.value(), 5);
    /// assert!(semaphore.release_many(Semaphore::MAX).is_err());
    /// assert_eq!(semaphore.value(), 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn release_many(&self, n: usize) -> Result<()> {
        self.0.head().release_many(n)
    }

    /// The number of permits that could be taken at this moment, which may have passed when this returns.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn value(&self) -> usize {
        self.0.head().count() as usize
    }

    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn take(&self, wait: Wait) -> Result<()> {
        self.0.head().acquire(wait)
    }
}

resident_handle!(Semaphore, SemaphoreCell, "semaphore");

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("value", &self.value()).finish()
    }
}
