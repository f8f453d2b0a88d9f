//! Which processors this process may run on.

#![expect(unsafe_code, reason = "asks for a number")]

use std::{io, thread};

use rustix::thread::{CpuSet, sched_setaffinity};

/// Binds the calling thread, and all that it starts from now on, to one processor.
pub(crate) fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// The processors that this process may use: never 0.
pub(crate) fn cpu_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The processor that the calling thread runs on, or has run on a moment ago. Any number, where there is no telling.
#[inline]
pub(crate) fn current_cpu() -> usize {
    // SAFETY: takes nothing and changes nothing. glibc reads it from the thread's own memory, or without a system call.
    unsafe { libc::sched_getcpu() as usize }
}
