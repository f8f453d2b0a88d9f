//! Which processors this process may run on.

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
