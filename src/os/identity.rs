//! Who this process is, and whether another one is still the one that was meant.
//!
//! A process id alone does not name a process: ids are used again. A [`Stamp`] pairs the id with the start time, which
//! no two processes with the same id share, in 62 bits, so that one store records it in shared memory.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use super::{clock::Wait, files::FileId, pidfd, poll};

/// How long is waited for the end of a process that cannot be watched, before others look again.
const PAUSE: Duration = Duration::from_millis(1);

/// A process id and the process's start time: names one process for as long as the machine runs.
///
/// | bits | |
/// | --- | --- |
/// | 0–1 | free for the holder of the word |
/// | 2–23 | process id (the kernel's limit is 2^22) |
/// | 24–63 | start time in clock ticks since boot; 0 when `/proc` could not tell |
///
/// Zero is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The bits that a word may use for something else.
    pub(crate) const SPARE: u64 = 0b11;

    /// The highest bit of the start time, which no start has for the first 170 years after the machine's.
    const PAST: u64 = 1 << 63;

    const PID_SHIFT: u32 = 2;
    const PID_BITS: u32 = 22;
    const START_SHIFT: u32 = Self::PID_SHIFT + Self::PID_BITS;

    pub(crate) fn new(pid: u32, start: u64) -> Self {
        Self(u64::from(pid) << Self::PID_SHIFT | start << Self::START_SHIFT)
    }

    pub(crate) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self::new(pid, start_time(pid).unwrap_or(0))
    }

    /// Reads a word of shared memory: any value is a stamp, if perhaps of nobody.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits & !Self::SPARE)
    }

    /// Of what the process was before it called `exec`: it has the same id and start time, and is nobody any more.
    pub(crate) const fn of_the_past(self) -> Self {
        Self(self.0 | Self::PAST)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn pid(self) -> Option<u32> {
        match (self.0 >> Self::PID_SHIFT) as u32 & ((1 << Self::PID_BITS) - 1) {
            0 => None,
            pid => Some(pid),
        }
    }

    fn start(self) -> u64 {
        self.0 >> Self::START_SHIFT
    }

    /// Waits until every thread of the process has ended, and says whether it has.
    ///
    /// The kernel marks the locks of a thread when that thread ends, which may be while other threads of the process
    /// still run; only the end of all of them means that nothing is written any more. A process id that is in use
    /// again by another process counts as ended.
    pub(crate) fn is_dead(self, wait: Wait) -> bool {
        let Some(pid) = self.pid() else { return true };
        let pidfd = match pidfd::open(pid) {
            Ok(Some(pidfd)) => pidfd,
            Ok(None) => return true,
            // No descriptors left: that must not let anybody in, nor make who waits look all the time.
            Err(_) => {
                let is_gone = has_no_thread(pid);
                if !is_gone && wait != Wait::No {
                    thread::sleep(wait.slice(PAUSE).remaining());
                }
                return is_gone;
            }
        };
        // After the descriptor, so that it is known which process the descriptor means.
        match start_time(pid) {
            Ok(start) if start != self.start() && self.start() != 0 => return true,
            _ => {}
        }
        matches!(poll::is_readable(pidfd, wait), Ok(true))
    }

    /// Whether the process lives, but without the memory that this process has at `address`: it has called `exec`,
    /// which ended all its threads, and what it is now knows nothing of what it held.
    pub(crate) fn has_let_go(self, address: usize) -> bool {
        // Of a process whose first thread has ended there is nothing to read, and others may live. It may be ending just
        // now: hence one look for both.
        let has_let_go = |pid| lacks_memory(pid, address).is_ok_and(|lacks| lacks == Lacks::ThisOnly);
        self.pid().is_some_and(has_let_go)
    }
}

/// The file that a line of `/proc/<pid>/maps` is about, device and inode.
fn mapped_file(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split_ascii_whitespace().skip(3);
    Some((fields.next()?, fields.next()?))
}

/// The file that this process has mapped at `address`.
fn file_at(maps: &str, address: usize) -> Option<(&str, &str)> {
    let line = maps.lines().find(|line| {
        let range = line.split_ascii_whitespace().next().and_then(|range| range.split_once('-'));
        range.is_some_and(|(start, end)| {
            let parse = |text| usize::from_str_radix(text, 16);
            matches!((parse(start), parse(end)), (Ok(start), Ok(end)) if (start..end).contains(&address))
        })
    })?;
    mapped_file(line)
}

/// The file that this process has mapped at `address`.
pub(crate) fn file_mapped_at(address: usize) -> io::Result<Option<FileId>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(file_at(&maps, address).and_then(|(device, inode)| {
        let (major, minor) = device.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        let device = rustix::fs::makedev(number(major)?, number(minor)?);
        Some(FileId { device, inode: inode.parse().ok()? })
    }))
}

/// Whether the thread `tid` cannot hold a lock at `address` of this process: there is none, or its process does not
/// have that memory (the id is in use again, or was never a holder's).
pub(crate) fn thread_is_gone(tid: u32, address: usize) -> bool {
    // Of a thread that has given its memory up, the kernel has walked the list before.
    has_no_thread(tid) || lacks_memory(tid, address).is_ok_and(|lacks| lacks != Lacks::Nothing)
}

/// Whether no thread has the id `tid`.
pub(crate) fn has_no_thread(tid: u32) -> bool {
    // `kill` finds any thread by its id, not only the first of its process.
    Pid::from_raw(tid as i32).is_some_and(|id| matches!(test_kill_process(id), Err(Errno::SRCH)))
}

/// What the memory of a thread is without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Nothing,
    /// The file that was asked for.
    ThisOnly,
    /// It has given up all of it.
    Everything,
}

/// What the thread `id` lacks, of a process perhaps the first, when asked for the file that this process has at `address`.
fn lacks_memory(id: u32, address: usize) -> io::Result<Lacks> {
    let ours = fs::read_to_string("/proc/self/maps")?;
    // Opened once: the kernel shows the memory that the thread had then, as long as anybody uses it, and then no more.
    let (mut theirs, mut file) = (String::new(), File::open(format!("/proc/{id}/maps"))?);
    file.read_to_string(&mut theirs)?;
    // Some of it may be missing, unless there is something to be seen still.
    file.rewind()?;
    let is_whole = file.read(&mut [0])? > 0;
    Ok(match file_at(&ours, address) {
        _ if !is_whole => Lacks::Everything,
        Some(file) if !theirs.lines().any(|line| mapped_file(line) == Some(file)) => Lacks::ThisOnly,
        _ => Lacks::Nothing,
    })
}

/// The time a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
pub(crate) fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may hold anything; the last `)` ends it.
    stat.rsplit_once(')')
        .and_then(|(_, fields)| fields.split_ascii_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected /proc/<pid>/stat"))
}

/// The inode of this process's pid namespace: thread ids mean the same only inside one.
pub(crate) fn pid_namespace() -> io::Result<u64> {
    Ok(rustix::fs::stat("/proc/self/ns/pid")?.st_ino)
}

/// The 16 bytes that the kernel draws at every boot: thread ids do not outlive one.
pub(crate) fn boot_id() -> io::Result<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn this_process_lives() {
        let stamp = Stamp::of_this_process();
        assert_eq!(stamp.pid(), Some(std::process::id()));
        assert!(!stamp.is_dead(Wait::No));
        assert_eq!(Stamp::from_bits(stamp.to_bits() | Stamp::SPARE), stamp);
    }

    #[test]
    fn a_zombie_and_a_reused_id_are_dead() {
        let mut child = Command::new("true").spawn().unwrap();
        let start = start_time(child.id()).unwrap();
        assert!(Stamp::new(child.id(), start).is_dead(Wait::Forever), "ended, not yet reaped");
        child.wait().unwrap();
        assert!(Stamp::new(child.id(), start).is_dead(Wait::No));
        assert!(Stamp::new(std::process::id(), 1).is_dead(Wait::No), "this id started later");
    }

    #[test]
    fn an_id_that_a_thread_has_by_now_is_dead() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            ended.recv()
        });
        let id = told.recv().unwrap().as_raw_nonzero().get() as u32;
        assert!(Stamp::new(id, 1).is_dead(Wait::No));
        drop(end);
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn what_a_process_was_is_dead() {
        let before = Stamp::of_this_process().of_the_past();
        assert_eq!(before.pid(), Some(std::process::id()));
        assert!(before.is_dead(Wait::No));
    }

    #[test]
    fn nobody_is_dead() {
        assert!(Stamp::from_bits(Stamp::SPARE).is_dead(Wait::No));
    }
}
