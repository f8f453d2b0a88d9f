//! How long a call may wait.

#![expect(unsafe_code, reason = "exports functions")]

use std::time::Duration;

use crate::os::clock::{Deadline, Wait};

/// How long a call may wait: SHMKIT_FOREVER, SHMKIT_TRY, shmkit_timeout(seconds) or shmkit_deadline(nanoseconds).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct shmkit_wait {
    /// The end, in nanoseconds on CLOCK_MONOTONIC. INT64_MAX: no end. Negative: no wait.
    pub until: i64,
}

/// As long as it takes.
pub const SHMKIT_FOREVER: shmkit_wait = shmkit_wait { until: i64::MAX };

/// Not at all: what cannot be done at once is SHMKIT_WOULD_BLOCK.
#[expect(dead_code, reason = "for C")]
pub const SHMKIT_TRY: shmkit_wait = shmkit_wait { until: -1 };

impl shmkit_wait {
    #[inline(always)]
    pub(super) fn of(self) -> Wait {
        match self.until {
            i64::MAX => Wait::Forever,
            until => u64::try_from(until).map_or(Wait::No, |until| Wait::Until(Deadline::at(until))),
        }
    }
}

/// The time of CLOCK_MONOTONIC in nanoseconds, for shmkit_deadline.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_now() -> i64 {
    i64::try_from(Deadline::now().nanoseconds()).unwrap_or(i64::MAX)
}

/// At most so many seconds from now; then SHMKIT_TIMED_OUT. What is negative or no number is 0, which leaves one attempt.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_timeout(seconds: f64) -> shmkit_wait {
    // NaN is no maximum.
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    match Wait::timeout(duration) {
        Wait::Until(deadline) => shmkit_deadline(i64::try_from(deadline.nanoseconds()).unwrap_or(i64::MAX)),
        _ => SHMKIT_FOREVER,
    }
}

/// Until CLOCK_MONOTONIC shows so many nanoseconds; then SHMKIT_TIMED_OUT. One that has passed leaves one attempt.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_deadline(nanoseconds: i64) -> shmkit_wait {
    shmkit_wait { until: nanoseconds.max(0) }
}
