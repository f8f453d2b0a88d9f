//! Which processors this process may run on.

#![expect(unsafe_code, reason = "asks for numbers, and for sets of any size")]

use std::{io, thread};

/// A set of processors: a bit each. Of any size, as there are machines with more than the 1024 of `cpu_set_t`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpus(Vec<u64>);

/// More processors than any kernel has.
const MOST: usize = 1 << 20;

impl Cpus {
    /// Those that the calling thread may run on.
    pub(crate) fn allowed() -> io::Result<Self> {
        let mut words = vec![0_u64; 1024 / 64];
        loop {
            // SAFETY: the kernel writes so many bytes at most; 0 is the calling thread.
            let filled =
                unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&*words), words.as_mut_ptr()) };
            if filled >= 0 {
                return Ok(Self(words));
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINVAL) || 64 * words.len() >= MOST {
                return Err(error);
            }
            // The kernel's sets are larger.
            words.resize(2 * words.len(), 0);
        }
    }

    /// Has the calling thread, and all that it starts from now on, run on these.
    fn apply(&self) -> io::Result<()> {
        // SAFETY: the kernel reads so many bytes; 0 is the calling thread.
        let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&*self.0), self.0.as_ptr()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(crate) fn has(&self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..64 * self.0.len()).filter(|cpu| self.has(*cpu))
    }

    fn add(&mut self, cpu: usize) {
        if self.0.len() <= cpu / 64 {
            self.0.resize(cpu / 64 + 1, 0);
        }
        self.0[cpu / 64] |= 1 << (cpu % 64);
    }

    fn remove(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word &= !(1 << (cpu % 64));
        }
    }
}

/// Binds the calling thread, and all that it starts from now on, to these processors.
pub(crate) fn pin_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = Cpus::default();
    for cpu in cpus {
        if *cpu >= MOST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.add(*cpu);
    }
    set.apply()
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
    let before = Cpus::allowed()?;
    let mut others = before.clone();
    let here = current_cpu();
    others.remove(here);
    if others.numbers().next().is_none() || !before.has(here) {
        return Ok(false);
    }
    others.apply()?;
    // If somebody else has said meanwhile where this thread may run, that holds.
    if Cpus::allowed()?.0 == others.0 {
        before.apply()?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_a_processor_forbids_none() {
        let numbers = || Cpus::allowed().unwrap().numbers().collect::<Vec<_>>();
        let before = numbers();
        assert_eq!(leave_processor().unwrap(), before.len() > 1);
        assert_eq!(numbers(), before);
        pin_to(&[current_cpu()]).unwrap();
        assert!(!leave_processor().unwrap(), "there is no other");
    }

    #[test]
    fn sets_of_any_size() {
        let mut set = Cpus::default();
        set.add(5);
        set.add(4097);
        assert!(set.has(4097) && !set.has(4096) && !set.has(1 << 19));
        assert_eq!(set.numbers().collect::<Vec<_>>(), [5, 4097]);
        set.remove(5);
        set.remove(1 << 19);
        assert_eq!(set.numbers().collect::<Vec<_>>(), [4097]);
        // What the machine does not have counts for nothing.
        let here = current_cpu();
        thread::spawn(move || {
            pin_to(&[here, 4097]).unwrap();
            assert_eq!(Cpus::allowed().unwrap().numbers().collect::<Vec<_>>(), [here]);
            assert!(pin_to(&[4097]).is_err() && pin_to(&[usize::MAX]).is_err());
        })
        .join()
        .unwrap();
    }
}
