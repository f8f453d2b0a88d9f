//! A copy of this process that is a child of this one's *parent*: `clone` with `CLONE_PARENT`.
//!
//! The parent waits for it and learns how it ended as of any other child of its own, whatever becomes of this process.
//! glibc has no call for that. What its own `_Fork` does beside the system call is done here: the kernel writes the
//! copy's thread id where glibc keeps it and clears it at the end, and the copy registers its robust list
//! ([`ControlBlock`]). The rest of glibc's `fork` is for processes with several threads, but for the handlers of
//! `pthread_atfork`, which do not run: hence the safety conditions of [`start`].
//!
//! # The ledger
//!
//! This process may be killed right after the call, before it has told anybody. So the kernel itself writes the copy's id
//! (`CLONE_PARENT_SETTID`), before the copy runs and before this process could die of a signal, into a word that is
//! shared with the parent, the [`Ledger`]. When this process is gone, what stands there is true: 0, and nothing was
//! started, or the id of a child.
//!
//! Sources: `clone(2)`; glibc's `sysdeps/nptl/_Fork.c`; `kernel_clone` in the kernel's `kernel/fork.c`.

#![expect(unsafe_code, reason = "clones, and has the kernel write to shared memory")]

use std::{
    io, mem,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::ftruncate;

use super::{
    files::{self, off_the_streams},
    pidfd,
    robust::ControlBlock,
};

/// A word that this process and its parent share.
#[derive(Debug)]
pub(crate) struct Ledger(MmapRaw);

impl Ledger {
    const SIZE: usize = size_of::<AtomicU32>();

    /// A new one, and the descriptor by which the other process [opens](Self::open) it.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let file = files::anonymous()?;
        ftruncate(&file, Self::SIZE as u64)?;
        files::seal_against_shrinking(&file)?;
        Ok((Self::open(&file)?, file))
    }

    pub(crate) fn open(file: &OwnedFd) -> io::Result<Self> {
        let size = files::facts(file)?.size;
        if size != Self::SIZE as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self(MmapOptions::new().len(Self::SIZE).map_raw(file)?))
    }

    /// Keeps it from copies of this process, which have a mapping less to give up then.
    pub(crate) fn keep_from_copies(&self) -> io::Result<()> {
        self.0.advise(Advice::DontFork)
    }

    /// In a copy from which it was kept.
    pub(crate) fn forget(self) {
        // There is nothing at its address, or something else by now.
        mem::forget(self);
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped while `self` lives, aligned to a page, as long as the word, and sealed against shrinking; all who
        // have it use it as an atomic, and the kernel writes whole words.
        unsafe { &*self.0.as_ptr().cast::<AtomicU32>() }
    }

    /// Before anything is asked for.
    pub(crate) fn clear(&self) {
        self.word().store(0, SeqCst);
    }

    /// The id of the process that was started since it was cleared.
    pub(crate) fn entry(&self) -> Option<u32> {
        match self.word().load(SeqCst) {
            0 => None,
            pid => Some(pid),
        }
    }
}

/// What [`start`] made.
#[derive(Debug)]
pub(crate) struct Sibling {
    pub(crate) pid: u32,
    /// If this process could open one.
    pub(crate) pidfd: Option<OwnedFd>,
}

impl Sibling {
    /// Sends it SIGINT, if there is a descriptor: its parent may have waited for it, so that its id can be another's.
    pub(crate) fn interrupt(&self) {
        if let Some(pidfd) = &self.pidfd {
            // One that has ended needs none.
            let _ = pidfd::signal(pidfd, libc::SIGINT);
        }
    }
}

/// Copies this process; `None` in the copy. The id stands in the ledger too.
///
/// # Safety
///
/// This process has one thread, which is the one of `block`. Nothing that handlers of `pthread_atfork` were to mend may be
/// used in the copy.
pub(crate) unsafe fn start(block: ControlBlock, ledger: &Ledger) -> io::Result<Option<Sibling>> {
    // The word is written to here, so that its page is there when the kernel writes to it: else that write could fail when
    // this process is being killed.
    ledger.clear();
    let (child_tid, parent_tid) = (block.tid() as u64, ledger.word().as_ptr() as u64);
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    let arguments = libc::clone_args {
        flags: (flags | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid,
        parent_tid,
        // That of this process, as the kernel has it with CLONE_PARENT.
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: the pointers are to live objects of the sizes that the kernel writes. Without CLONE_VM and a stack it is a
    // fork: the copy goes on here with memory of its own. Its one thread is what the caller promises.
    let mut result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
    if result < 0 && matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
        result = clone_without_pidfd(flags.into(), parent_tid, child_tid);
    }
    match result {
        0 => {
            block.begin_anew();
            Ok(None)
        }
        -1 => Err(io::Error::last_os_error()),
        pid => {
            // SAFETY: new, and nobody else's: the kernel has just put it there.
            let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
            let pid = pid as u32;
            let pidfd = match pidfd {
                Some(pidfd) => off_the_streams(pidfd).ok(),
                // By the older call. Its parent was not told of it yet.
                None => pidfd::open(pid).ok().flatten(),
            };
            Ok(Some(Sibling { pid, pidfd }))
        }
    }
}

/// By the older call, which writes either the id or the descriptor.
fn clone_without_pidfd(flags: libc::c_long, parent_tid: u64, child_tid: u64) -> libc::c_long {
    // The order of the arguments after the third depends on the machine; the one that would be last or last but one is for
    // threads only.
    let (fourth, fifth) = if cfg!(target_arch = "x86_64") { (child_tid, 0) } else { (0, child_tid) };
    // As long as a register, each: of a shorter one the upper half would be anything.
    let stack: libc::c_long = 0;
    // SAFETY: as in `start`, of which this is a part.
    unsafe { libc::syscall(libc::SYS_clone, flags, stack, parent_tid, fourth, fifth) }
}

/// Whether `pid` is this process's parent: then it has not ended.
pub(crate) fn is_child_of(pid: u32) -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_shared_by_its_descriptor() {
        let (here, file) = Ledger::new().unwrap();
        let there = Ledger::open(&file).unwrap();
        assert_eq!(there.entry(), None);
        here.word().store(7, SeqCst);
        assert_eq!(there.entry(), Some(7));
        there.clear();
        assert_eq!(here.entry(), None);
        assert!(Ledger::open(&files::anonymous().unwrap()).is_err());
    }
}
