//! The ends of pipes that this process has, and which of them a fork keeps.
//!
//! Who has one end of a pipe is told that the other one is closed, but only when nobody has that any more. A fork has
//! copies of all descriptors: those of ends that it does not even know of would keep others waiting for ever. So all ends
//! of this process are on record.
//!
//! * A child that was given ends keeps those, and gives up all others before its function runs ([`keep_only`]).
//! * Any other fork keeps all. When it uses one for the first time, it gives up the other end of the same pipe, unless it
//!   has used that before.
//!
//! Pipes of the kernel's plain kind, which lead to the standard streams of children, are on record too ([`add_plain`]): not
//! their ends, which belong to the user and are closed unseen, but their numbers. A file is known by more than its number, and
//! no two pipes are the same file. A child that was given ends or none gives these up; any other fork keeps them.
//!
//! An end that is given up stays open, for its number must not become another's while somebody has it: a socket takes its
//! place whose other end is closed.

#![expect(unsafe_code, reason = "puts another socket in the place of one that is in use")]

use std::{
    hash::{BuildHasher, RandomState},
    io,
    mem::{ManuallyDrop, MaybeUninit},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use rustix::io::{DupFlags, dup3};

use super::{
    files::{self, FileId},
    packet, streams,
};

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    /// Invariant: it is on record.
    socket: OwnedFd,
    which: Which,
    /// The process that has used it, as far as this copy knows.
    user: AtomicU32,
}

/// Which pipe, by a random number, and in the lowest bit which of its two ends. It travels with the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which(u64);

impl Which {
    /// One end of a new pipe.
    fn new(count: u64) -> Self {
        // Threads, and processes by their forks, may have the same keys.
        Self(RandomState::new().hash_one((process::id(), count)))
    }

    fn other(self) -> Self {
        Self(self.0 ^ 1)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Of one that arrived. If that is a lie, forks give up others than they should.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

struct Record {
    number: RawFd,
    which: Which,
    /// The process that has used it: another than this one in a fork that has not.
    user: u32,
}

struct Records {
    /// Invariant: each is of an [`End`] that exists. One that goes is taken from the list before it is closed.
    list: Vec<Record>,
    pipes: u64,
    /// Of plain pipes. Some may be closed, and their numbers another's.
    plain: Vec<(RawFd, FileId)>,
}

static RECORDS: Mutex<Records> = Mutex::new(Records { list: Vec::new(), pipes: 0, plain: Vec::new() });

fn records() -> MutexGuard<'static, Records> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl End {
    /// The two ends of a new pipe.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = packet::pair()?;
        let mut records = records();
        records.pipes += 1;
        let which = Which::new(records.pipes);
        Ok((records.add(one, which), records.add(other, which.other())))
    }

    /// One that came from another process.
    pub(crate) fn received(socket: OwnedFd, which: Which) -> Self {
        records().add(socket, which)
    }

    pub(crate) fn which(&self) -> Which {
        self.which
    }

    /// The socket, for use by this process.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        // Relaxed: of a fork, which began with one thread.
        if self.user.load(Relaxed) != process::id() {
            self.adopt();
        }
        self.socket.as_fd()
    }

    /// Makes the copy of a fork its own.
    #[cold]
    fn adopt(&self) {
        let (mut records, me) = (records(), process::id());
        let number = self.socket.as_raw_fd();
        records.list.iter_mut().filter(|record| record.number == number).for_each(|record| record.user = me);
        // Without descriptors for it, it is tried again.
        if records.give_up(|record| record.which == self.which.other() && record.user != me).is_ok() {
            self.user.store(me, Relaxed);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let number = self.socket.as_raw_fd();
        records().list.retain(|record| record.number != number);
    }
}

impl Records {
    fn add(&mut self, socket: OwnedFd, which: Which) -> End {
        let user = process::id();
        self.list.push(Record { number: socket.as_raw_fd(), which, user });
        End { socket, which, user: AtomicU32::new(user) }
    }

    /// Forgets the plain ones that were closed.
    fn forget_closed(&mut self) {
        self.plain.retain(|(number, id)| is_of(*number, *id));
    }

    /// Gives up the plain ones but those with these numbers.
    fn give_up_plain(&mut self, numbers: &[RawFd]) -> io::Result<()> {
        self.forget_closed();
        let (kept, others): (Vec<_>, Vec<_>) = self.plain.drain(..).partition(|(number, _)| numbers.contains(number));
        self.plain = kept;
        if others.is_empty() {
            return Ok(());
        }
        let null = streams::null()?;
        for (number, _) in others {
            // SAFETY: open, and an end of a pipe of this fork's parent. The function of this fork was not given it; who finds
            // it in a static may use it and close it, for `ManuallyDrop` leaves it open: it leads nowhere.
            let mut end = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
            dup3(&null, &mut end, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }

    /// Gives up the ends that `which` finds.
    fn give_up(&mut self, which: impl Fn(&Record) -> bool) -> io::Result<()> {
        let mut closed = None;
        for record in self.list.iter_mut().filter(|record| which(record)) {
            if closed.is_none() {
                closed = Some(packet::pair()?.0);
            }
            // SAFETY: the number is that of an `End`, by the invariant of the list, which is locked: it stays open for the
            // time of this block. `ManuallyDrop` leaves it to its owner.
            let mut end = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(record.number) });
            if let Some(closed) = &closed {
                dup3(closed, &mut end, DupFlags::CLOEXEC)?;
            }
            record.user = process::id();
        }
        Ok(())
    }
}

/// Puts this process's end of a plain pipe on record.
pub(crate) fn add_plain(end: &OwnedFd) -> io::Result<()> {
    let id = files::facts(end)?.id;
    let mut records = records();
    records.forget_closed();
    records.plain.push((end.as_raw_fd(), id));
    Ok(())
}

/// Whether the number is a descriptor of the file.
fn is_of(number: RawFd, id: FileId) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: writes what it is given; any number will do.
    if unsafe { libc::fstat(number, stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: written by the call above.
    let stat = unsafe { stat.assume_init() };
    FileId { device: stat.st_dev, inode: stat.st_ino } == id
}

/// Whether this process has any ends.
pub(crate) fn exist() -> bool {
    let mut records = records();
    records.forget_closed();
    !records.list.is_empty() || !records.plain.is_empty()
}

/// Keeps the list still while this process forks.
pub(crate) fn still() -> impl Drop {
    records()
}

/// In a fork: gives up all ends but those with these numbers.
pub(crate) fn keep_only(numbers: &[RawFd]) -> io::Result<()> {
    let (mut records, me) = (records(), process::id());
    for record in records.list.iter_mut().filter(|record| numbers.contains(&record.number)) {
        record.user = me;
    }
    records.give_up(|record| record.user != me)?;
    records.give_up_plain(numbers)
}
