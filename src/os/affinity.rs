//! Which processors this process may run on.

#![expect(unsafe_code, reason = "asks for a number")]

use std::{io, thread};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Binds the calling thread, and all that it starts from now on, to these processors.
pub(crate) fn pin_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Whether the calling thread may run on it.
pub(crate) fn allows(cpu: usize) -> bool {
    cpu < CpuSet::MAX_CPU && sched_getaffinity(None).is_ok_and(|set| set.is_set(cpu))
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

/// Moves the calling thread to another one of the processors that it may use, if there is one: says whether it did.
///
/// It forbids itself this one for a moment. The kernel moves it at once, and it goes on there when it is its turn.
pub(crate) fn leave_processor() -> io::Result<bool> {
    let before = sched_getaffinity(None)?;
    let mut others = before;
    others.unset(current_cpu());
    if others.count() == 0 || others == before {
        return Ok(false);
    }
    sched_setaffinity(None, &others)?;
    // If somebody else has said meanwhile where this thread may run, that holds.
    if sched_getaffinity(None)? == others {
        sched_setaffinity(None, &before)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_a_processor_forbids_none() {
        let before = sched_getaffinity(None).unwrap();
        assert_eq!(leave_processor().unwrap(), before.count() > 1);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        pin_to(&[current_cpu()]).unwrap();
        assert!(!leave_processor().unwrap(), "there is no other");
    }
}
