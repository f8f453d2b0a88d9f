//! A barrier between processes and threads.

#![expect(unsafe_code, reason = "declares what lives in shared memory")]

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::constructors::counted_constructors;
use crate::{
    Error, Result,
    os::clock::Wait,
    raw::barrier::{Barrier as Raw, BarrierWords, MOST_PARTIES},
    region::{
        Dims, Handle, Kind, Resident, Shared, resident_handle,
        ticket::{KeepsSeats, NumberedSeat, Seat},
    },
};

/// A place where a number of parties, threads of any processes, wait for each other, again and again.
///
/// # If a process dies
///
/// The barrier breaks as soon as a party of it dies: a process that has arrived once, or that was given it among the
/// arguments of its target ([`Process::spawn`](crate::Process::spawn), by any start method). All who wait get
/// [`BarrierBroken`](crate::Error::BarrierBroken) with its process id, and so does everybody who comes until the barrier
/// is [reset](Self::reset). Who leaves in good order, by dropping all handles of the region, breaks the barrier only for
/// those that wait at that moment, and only if it has arrived once: who gives up before should
/// [`abort`](Self::abort), so that nobody waits for it.
///
/// As many processes as twice the number of parties can be on record; more that arrive are refused.
///
/// # Examples
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Barrier;
///
/// let barrier = Barrier::new(3)?;
/// let leaders: usize = std::thread::scope(|scope| {
///     let waits: Vec<_> = (0..3).map(|_| scope.spawn(|| barrier.wait().map(|done| done.is_leader()))).collect();
///     waits.into_iter().map(|wait| usize::from(wait.join().unwrap().unwrap())).sum()
/// });
/// assert_eq!(leaders, 1);
/// # Ok(())
/// # }
/// ```
///
/// Between programs that find each other by name:
///
/// ```
/// # fn main() -> shmkit::Result<()> {
/// use shmkit::Barrier;
///
/// let name = format!("shmkit-doc-barrier-{}", std::process::id());
/// let here = Barrier::create(&name, 2)?;
/// let there = Barrier::open(&name)?;
/// assert_eq!(there.parties(), 2);
/// std::thread::scope(|scope| {
///     let other = scope.spawn(|| there.wait());
///     here.wait()?;
///     other.join().unwrap()
/// })?;
/// Barrier::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct Barrier(Handle<BarrierCell>);

pub(crate) struct BarrierCell;

/// What the records are on file as.
pub(crate) struct Party;

// SAFETY: `repr(C)`, of atomics only.
unsafe impl Shared for BarrierWords {}

// SAFETY: the body is the words and two records for each party; zeroed ones are a barrier that nobody has come to.
unsafe impl Resident for BarrierCell {
    const KIND: Kind = Kind::Barrier;
    type Head = BarrierWords;
    type Element = Party;
    type Stored = [AtomicU64; 2];

    const HAS_SEAT: bool = true;

    fn reserve(handle: &Handle<Self>) -> Option<Box<dyn Seat>> {
        let reserve = |barrier: &Barrier, parent| barrier.raw().reserve(parent);
        Some(Box::new(NumberedSeat::for_a_child(Barrier(handle.clone()), reserve)?))
    }

    fn seat(handle: &Handle<Self>, number: u32) -> Option<Box<dyn Seat>> {
        Some(Box::new(NumberedSeat::arrived(Barrier(handle.clone()), number)))
    }

    fn check(dims: Dims) -> Result<()> {
        match dims.as_slice() {
            [1..=Barrier::MAX] => Ok(()),
            other => Err(Error::invalid_argument(format!(
                "a barrier of {other:?} parties; 1 to {} are possible",
                Barrier::MAX
            ))),
        }
    }
}

/// How a party passed a [`Barrier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: usize,
}

impl BarrierWaitResult {
    /// Whether this is the one party of the round that is to do what one alone must do: the last one to arrive.
    ///
    /// # Examples
    ///
    /// See [`Barrier`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }

    /// The number of parties that arrived after this one in the round: 0 for the leader, another one for each.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::Barrier::new(1)?.wait()?.index(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Barrier {
    /// The most parties.
    pub const MAX: usize = MOST_PARTIES;

    counted_constructors!("barrier", parties, "parties");

    fn dims(parties: usize) -> Result<Dims> {
        let dims = Dims::new(&[parties])?;
        BarrierCell::check(dims)?;
        Ok(dims)
    }

    fn raw(&self) -> Raw<'_> {
        Raw { words: self.0.head(), parties: self.0.elements() }
    }

    #[inline]
    pub(crate) fn pass(&self, wait: Wait, action: Option<impl FnOnce() -> Result<()>>) -> Result<BarrierWaitResult> {
        let index = self.raw().wait(self.0.member()?, || self.0.members(), wait, action)?;
        Ok(BarrierWaitResult { index })
    }

    #[inline]
    fn pass_within(&self, wait: Wait) -> Result<BarrierWaitResult> {
        self.pass(wait, None::<fn() -> Result<()>>)
    }

    /// The time that [`wait`](Self::wait) may take: as long as it takes, unless the barrier has a time-out.
    #[inline]
    pub(crate) fn default_wait(&self) -> Wait {
        match self.0.head().timeout.load(Relaxed) {
            0 => Wait::Forever,
            nanoseconds => Wait::timeout(Duration::from_nanos(nanoseconds)),
        }
    }

    /// Arrives, and waits until all parties have.
    ///
    /// # Errors
    ///
    /// [`BarrierBroken`](crate::Error::BarrierBroken) when the barrier is or gets broken;
    /// [`TimedOut`](crate::Error::TimedOut) when it [has a time-out](Self::set_timeout), which breaks it for all others;
    /// [`InvalidArgument`](crate::Error::InvalidArgument) when too many processes take part;
    /// [`TooManyMembers`](crate::Error::TooManyMembers), [`ReadOnly`](crate::Error::ReadOnly).
    ///
    /// # If a process dies
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// See the type.
    #[inline]
    pub fn wait(&self) -> Result<BarrierWaitResult> {
        self.pass_within(self.default_wait())
    }

    /// Passes, if all other parties are waiting already; else it has not arrived.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::Error::WouldBlock), which breaks nothing; else as [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Barrier;
    ///
    /// assert!(Barrier::new(2)?.try_wait().unwrap_err().is_would_block());
    /// assert!(Barrier::new(1)?.try_wait().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_wait(&self) -> Result<BarrierWaitResult> {
        self.pass_within(Wait::No)
    }

    /// Arrives, and waits at most `timeout` for the others. If that is not enough, the barrier is broken for all.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`wait`](Self::wait). The others get
    /// [`BarrierBroken`](crate::Error::BarrierBroken).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::Duration;
    ///
    /// let barrier = shmkit::Barrier::new(2)?;
    /// assert!(barrier.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timed_out());
    /// assert!(barrier.is_broken());
    /// barrier.reset()?;
    /// assert!(!barrier.is_broken());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult> {
        self.pass_within(Wait::timeout(timeout))
    }

    /// Arrives, and waits for the others until `deadline` at most. If that is not enough, the barrier is broken for all.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Examples
    ///
    /// See [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult> {
        self.pass_within(Wait::deadline(deadline))
    }

    /// As [`wait`](Self::wait); the last party to arrive runs `action` before any of them passes.
    ///
    /// Every party brings an action, of which one is run.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); and what `action` returns, to the party that ran it: the others get
    /// [`BarrierBroken`](crate::Error::BarrierBroken) then.
    ///
    /// # Panics
    ///
    /// Where `action` does; the others get [`BarrierBroken`](crate::Error::BarrierBroken).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// use shmkit::{AtomicValue, Barrier};
    ///
    /// let (barrier, rounds) = (Barrier::new(2)?, AtomicValue::new(0)?);
    /// let round = || -> shmkit::Result<()> {
    ///     barrier.wait_with(|| {
    ///         rounds.fetch_add(1, Relaxed);
    ///         Ok(())
    ///     })?;
    ///     assert_eq!(rounds.load(Relaxed), 1);
    ///     Ok(())
    /// };
    /// std::thread::scope(|scope| {
    ///     let other = scope.spawn(round);
    ///     round()?;
    ///     other.join().unwrap()
    /// })
    /// # }
    /// ```
    pub fn wait_with(&self, action: impl FnOnce() -> Result<()>) -> Result<BarrierWaitResult> {
        self.pass(self.default_wait(), Some(action))
    }

    /// As [`try_wait`](Self::try_wait); if all other parties are waiting, `action` is run before any passes, else not.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](crate::Error::WouldBlock), which breaks nothing; else as [`wait_with`](Self::wait_with).
    ///
    /// # Panics
    ///
    /// As [`wait_with`](Self::wait_with).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::Barrier;
    ///
    /// let not_last = Barrier::new(2)?.try_wait_with(|| unreachable!("others have not come"));
    /// assert!(not_last.unwrap_err().is_would_block());
    /// assert!(Barrier::new(1)?.try_wait_with(|| Ok(()))?.is_leader());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_wait_with(&self, action: impl FnOnce() -> Result<()>) -> Result<BarrierWaitResult> {
        self.pass(Wait::No, Some(action))
    }

    /// As [`wait_with`](Self::wait_with), and waits at most `timeout` for the others: if that is not enough, the barrier
    /// is broken for all. The time of an action is the others' too, and nobody stops it.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::Error::TimedOut); else as [`wait_with`](Self::wait_with). The others get
    /// [`BarrierBroken`](crate::Error::BarrierBroken), the party that runs its action when it has returned.
    ///
    /// # Panics
    ///
    /// As [`wait_with`](Self::wait_with).
    ///
    /// # Examples
    ///
    /// See [`wait_with`](Self::wait_with) and [`wait_timeout`](Self::wait_timeout).
    pub fn wait_with_timeout(
        &self,
        action: impl FnOnce() -> Result<()>,
        timeout: Duration,
    ) -> Result<BarrierWaitResult> {
        self.pass(Wait::timeout(timeout), Some(action))
    }

    /// As [`wait_with_timeout`](Self::wait_with_timeout), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`wait_with_timeout`](Self::wait_with_timeout).
    ///
    /// # Panics
    ///
    /// As [`wait_with`](Self::wait_with).
    ///
    /// # Examples
    ///
    /// See [`wait_with`](Self::wait_with) and [`wait_timeout`](Self::wait_timeout).
    pub fn wait_with_deadline(
        &self,
        action: impl FnOnce() -> Result<()>,
        deadline: Instant,
    ) -> Result<BarrierWaitResult> {
        self.pass(Wait::deadline(deadline), Some(action))
    }

    /// Gives [`wait`](Self::wait) and [`wait_with`](Self::wait_with) a time-out, in all processes; `None` takes it away.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use std::time::Duration;
    ///
    /// let barrier = shmkit::Barrier::new(2)?;
    /// barrier.set_timeout(Some(Duration::from_millis(1)));
    /// assert!(barrier.wait().unwrap_err().is_timed_out());
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        let nanoseconds = timeout.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
        self.0.head().timeout.store(nanoseconds, Relaxed);
    }

    /// Breaks the barrier: all who wait, and all who come until it is [reset](Self::reset), get
    /// [`BarrierBroken`](crate::Error::BarrierBroken).
    ///
    /// # If a process dies
    ///
    /// One that dies in here has broken the barrier or has not; if it has, who waits finds it within 100 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// let barrier = shmkit::Barrier::new(2)?;
    /// barrier.abort();
    /// assert!(matches!(barrier.wait(), Err(shmkit::Error::BarrierBroken { pid: None })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn abort(&self) {
        self.raw().abort();
    }

    /// Makes the barrier whole again, and forgets the parties that are dead or have left. Those who wait at it get
    /// [`BarrierBroken`](crate::Error::BarrierBroken).
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](crate::Error::ReadOnly), [`Corrupt`](crate::Error::Corrupt).
    ///
    /// # If a process dies
    ///
    /// One that dies in here has begun with it or has not; if it has, whoever waits or comes next finishes it.
    ///
    /// # Examples
    ///
    /// See [`wait_timeout`](Self::wait_timeout).
    pub fn reset(&self) -> Result<()> {
        self.raw().reset(&self.0.members()?);
        Ok(())
    }

    /// Whether the barrier is broken.
    ///
    /// # Examples
    ///
    /// See [`wait_timeout`](Self::wait_timeout).
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.raw().is_broken()
    }

    /// The number of parties that have arrived in this round; 0 when the barrier is broken.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// assert_eq!(shmkit::Barrier::new(2)?.n_waiting(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.raw().waiting()
    }

    /// The number of parties that it was made for.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.0.len()
    }
}

/// A record is kept for a child which is given the barrier: it counts as a party from its start on.
impl KeepsSeats for Barrier {
    fn expect(&self, at: usize, from: u64, to: u64) {
        self.raw().expect(at, from, to);
    }

    fn attend(&self, at: usize) {
        // Who cannot take part is told so when it arrives.
        if let Ok(me) = self.0.member() {
            self.raw().attend(me, at);
        }
    }
}

resident_handle!(Barrier, BarrierCell, "barrier");

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.n_waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}
