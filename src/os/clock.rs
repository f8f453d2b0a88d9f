//! Deadlines on the monotonic clock, in the form that the kernel's waits take.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// How long an operation may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: the answer is [`crate::Error::WouldBlock`].
    No,
    /// Until this point, then [`crate::Error::TimedOut`].
    Until(Deadline),
    /// For ever.
    Forever,
}

impl Wait {
    /// At most `duration` from now; what does not fit the clock is for ever.
    pub(crate) fn timeout(duration: Duration) -> Self {
        Deadline::now().after(duration).map_or(Self::Forever, Self::Until)
    }

    /// Until `instant`; one that has passed leaves one attempt.
    pub(crate) fn deadline(instant: Instant) -> Self {
        Self::timeout(instant.saturating_duration_since(Instant::now()))
    }

    /// The end of a sleep that starts now, should last `slice` at most and may not outlast the wait.
    pub(crate) fn slice(self, slice: Duration) -> Deadline {
        let end = Deadline::now().after(slice).unwrap_or(Deadline(u64::MAX));
        match self {
            Self::Until(deadline) => deadline.min(end),
            _ => end,
        }
    }

    /// The time left, as `poll` and its kin take it; `None` is for ever.
    pub(crate) fn timespec(self) -> Option<Timespec> {
        let left = match self {
            Self::No => Duration::ZERO,
            Self::Until(deadline) => deadline.remaining(),
            Self::Forever => return None,
        };
        Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) })
    }

    pub(crate) fn is_over(self) -> bool {
        match self {
            Self::No => true,
            Self::Until(deadline) => deadline <= Deadline::now(),
            Self::Forever => false,
        }
    }
}

/// A point on `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) fn now() -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
        Self(tv_sec as u64 * 1_000_000_000 + tv_nsec as u64)
    }

    /// At so many nanoseconds on that clock.
    #[cfg(feature = "capi")]
    pub(crate) fn at(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// In nanoseconds on that clock.
    #[cfg(feature = "capi")]
    pub(crate) fn nanoseconds(self) -> u64 {
        self.0
    }

    /// `None` when the sum does not fit the kernel's clock: that is for ever.
    pub(crate) fn after(self, duration: Duration) -> Option<Self> {
        let sum = u64::try_from(duration.as_nanos()).ok()?.checked_add(self.0)?;
        (sum <= i64::MAX as u64).then_some(Self(sum))
    }

    pub(crate) fn remaining(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Self::now().0))
    }

    pub(crate) fn timespec(self) -> Timespec {
        Timespec { tv_sec: (self.0 / 1_000_000_000) as i64, tv_nsec: (self.0 % 1_000_000_000) as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_is_for_ever() {
        assert_eq!(Wait::timeout(Duration::MAX), Wait::Forever);
        assert!(!Wait::Forever.is_over());
    }

    #[test]
    fn a_slice_does_not_outlast_the_wait() {
        let wait = Wait::timeout(Duration::from_millis(1));
        assert!(matches!(wait, Wait::Until(end) if wait.slice(Duration::from_secs(9)) == end));
        assert!(Wait::Forever.slice(Duration::from_secs(9)).remaining() > Duration::from_secs(8));
    }

    #[test]
    fn a_passed_instant_is_over() {
        assert!(Wait::deadline(Instant::now()).is_over());
        assert!(Wait::No.is_over());
    }
}
