//! Children by descriptor: a reused process id is never meant.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, pidfd_open, pidfd_send_signal,
        waitid, waitpid,
    },
};

use super::{clock::Wait, files::off_the_streams, poll};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
    /// Somebody else has waited for it, or SIGCHLD is ignored.
    Unknown,
}

/// The descriptor of a process; `None` when no process has this id (any more). Of a child that was not waited for yet it is
/// surely the right one: its id cannot have been used again.
pub(crate) fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid as i32) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => off_the_streams(fd).map(Some),
        // EINVAL, ENOENT since Linux 6.15: the process vanishes just now, or the id is that of a mere thread by now.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is the descriptor of a process. Anything else may be watched too, but may ask a file system of somebody's own.
pub(crate) fn is_one(fd: impl AsFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // CHILD: it is one, of somebody else's child.
    matches!(waitid(WaitId::PidFd(fd.as_fd()), options), Ok(_) | Err(Errno::CHILD))
}

/// What stands in for the descriptor of a process that nobody can have: readable for ever.
pub(crate) fn of_the_ended() -> io::Result<OwnedFd> {
    off_the_streams(eventfd(1, EventfdFlags::CLOEXEC)?)
}

/// Ends a child at once and waits for it: for one that no descriptor can be had of.
pub(crate) fn kill_and_reap(pid: u32) {
    let Some(pid) = Pid::from_raw(pid as i32) else { return };
    // Until it is waited for here, the id is the child's.
    let _ = kill_process(pid, Signal::KILL);
    while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// Whether some child of this process has ended and was not waited for, be it a child of this crate or not.
pub(crate) fn any_zombie() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error (ECHILD: there are no children) is no reason not to look.
    !matches!(waitid(WaitId::All, options), Ok(None))
}

/// Sends a signal; one to a process that has ended goes nowhere.
pub(crate) fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(signal).ok_or(Errno::INVAL)?;
    match pidfd_send_signal(pidfd, signal) {
        Err(Errno::SRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// Takes the child from the process table if it has ended.
///
/// A process that is no child of this one (any more) can still be seen to end, but not how.
pub(crate) fn reap(pidfd: &OwnedFd) -> io::Result<Option<End>> {
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                let end = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Code(code),
                    (None, Some(signal)) => End::Signal(signal),
                    (None, None) => End::Unknown,
                };
                return Ok(Some(end));
            }
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => {
                return Ok(poll::is_readable(pidfd, Wait::No)?.then_some(End::Unknown));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A descriptor that becomes readable when it is rung.
pub(crate) fn bell() -> io::Result<OwnedFd> {
    off_the_streams(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

pub(crate) fn ring(bell: &OwnedFd) {
    // It fails only when it has been rung 2^64 times.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// Sleeps until one of the processes has ended or the bell is rung, which it silences.
pub(crate) fn wait_any(processes: &[impl AsFd], bell: &OwnedFd) {
    let list: Vec<_> = [bell.as_fd()].into_iter().chain(processes.iter().map(AsFd::as_fd)).collect();
    // Whatever it says, the caller looks again.
    let _ = poll::readable(&list, Wait::Forever);
    let _ = rustix::io::read(bell, &mut [0_u8; 8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::files;

    #[test]
    fn descriptors_of_processes_are_known() {
        assert!(is_one(open(std::process::id()).unwrap().unwrap()));
        assert!(!is_one(of_the_ended().unwrap()));
        assert!(!is_one(files::anonymous().unwrap()));
    }
}
