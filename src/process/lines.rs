//! Lines of children, each with the name of its child before it.
//!
//! A child that is to have its lines named writes into a pipe. One parked thread of this process, for all its children, takes
//! what comes out, and writes it on in whole lines. A process of its own would do the same past this one's end, but would
//! have to be started, watched and replaced, and asked at each `join` whether it has come to the end; the child itself could
//! not name what it had written when it was killed, nor what other programs write that it starts.
//!
//! * **Whole lines**: one thread writes all of them, each by one call, several in one as long as a pipe takes them in one
//!   piece (`PIPE_BUF`). So no line of a child stands in another's, and none of up to 4,096 bytes in what other processes
//!   write. What has no end for [`LONGEST`] bytes is cut.
//! * **The end of a child**: what it had written before lies in the pipe, whatever has ended it. Who has seen the end has the
//!   thread show what is there at that moment, the line that it has left unfinished too, and waits for that
//!   ([`show_rest`]). The end of the pipe is not waited for: a grandchild may have it too, and goes on in lines of its own.
//! * **A pipe that is full**: the child waits, as for any reader. The thread waits for whoever reads this process's streams,
//!   and with it all children whose pipes are full; nothing else does, for it holds no lock while it writes.
//! * **The end of this process**: a normal one waits until all is shown that was there ([`show_all`]). After any other, what
//!   the thread had not taken yet is lost with the pipes. Who writes on is told that they are broken.
//! * **Forks**: the thread waits in the kernel, or holds the [table](TABLE), which who forks holds too, or writes, with
//!   nothing held; never a lock of the standard library's streams. So it counts as a parked one. A fork has copies of the
//!   pipes' ends, which would keep the children of a dead process waiting for ever: it [gives them up](let_go) at once.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::os::{
    clock::{Deadline, Wait},
    streams, threads,
    watch::Watch,
};

/// What has been written in one line when it is cut.
const LONGEST: usize = 1 << 20;

/// How much is taken from a pipe at a time: all that one usually holds.
const PIECE: usize = 64 * 1024;

/// `PIPE_BUF` of Linux: so much gets into a pipe in one piece.
const IN_ONE_PIECE: usize = 4096;

/// The streams of a child that go through this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u64);

/// Where lines go.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    Output,
    Errors,
    File(Arc<OwnedFd>),
}

/// One stream of a child.
struct Stream {
    number: u64,
    child: Id,
    from: OwnedFd,
    to: Destination,
    prefix: Arc<str>,
    /// What came after the end of the last line.
    line: Vec<u8>,
    rest: Rest,
    has_ended: bool,
}

/// What was there at the end of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nobody waits until it is shown.
    Unasked,
    /// So much of it has not been taken yet.
    Asked(u64),
    /// It is being written.
    Taken,
}

struct Table {
    /// The process that this is of.
    pid: u32,
    /// What the thread waits on; `None` before there is one.
    watch: Option<Arc<Watch>>,
    /// Removed by the thread only.
    streams: Vec<Stream>,
    /// How many streams and children there have been.
    count: u64,
}

static TABLE: Mutex<Table> = Mutex::new(Table { pid: 0, watch: None, streams: Vec::new(), count: 0 });

/// Notified when the thread has written something.
static SHOWN: Condvar = Condvar::new();

fn table() -> MutexGuard<'static, Table> {
    // Nothing in here panics half way.
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if table.pid != process::id() {
        // In a fork these are closed here, and not taken from the watch, which is its parent's too.
        *table = Table { pid: process::id(), watch: None, streams: Vec::new(), count: 0 };
    }
    table
}

/// Keeps this still while this process forks.
pub(super) fn still() -> impl Drop {
    table()
}

/// Gives up, in a fork, what is its parent's.
pub(super) fn let_go() {
    drop(table());
}

/// Has lines of these streams go where they belong, with a prefix, until nobody can write into them any more.
pub(super) fn forward(prefix: &str, streams: Vec<(OwnedFd, Destination)>) -> io::Result<Id> {
    let mut table = table();
    let watch = table.watch()?;
    table.count += 1;
    let child = Id(table.count);
    let prefix: Arc<str> = prefix.into();
    for (from, to) in streams {
        streams::make_impatient(&from)?;
        table.count += 1;
        let number = table.count;
        watch.add(&from, number)?;
        let prefix = Arc::clone(&prefix);
        table.streams.push(Stream {
            number,
            child,
            from,
            to,
            prefix,
            line: Vec::new(),
            rest: Rest::Unasked,
            has_ended: false,
        });
    }
    Ok(child)
}

/// Has all be shown that a child has written which has ended, and waits for that.
pub(super) fn show_rest(child: Id, wait: Wait) {
    show(|stream| stream.child == child, wait);
}

/// The same for all children, before this process ends: some of whom nobody has waited for may have ended long ago.
pub(super) fn show_all() {
    show(|_| true, Wait::Forever);
}

fn show(is_meant: impl Fn(&Stream) -> bool, wait: Wait) {
    let mut table = table();
    let Some(watch) = table.watch.clone() else { return };
    for stream in table.streams.iter_mut().filter(|stream| is_meant(stream) && stream.rest == Rest::Unasked) {
        stream.rest = Rest::Asked(streams::waiting(&stream.from));
    }
    watch.ring();
    while table.streams.iter().any(|stream| is_meant(stream) && stream.rest != Rest::Unasked) {
        table = match wait {
            Wait::Forever => SHOWN.wait(table).unwrap_or_else(PoisonError::into_inner),
            Wait::Until(deadline) if deadline > Deadline::now() => {
                SHOWN.wait_timeout(table, deadline.remaining()).unwrap_or_else(PoisonError::into_inner).0
            }
            _ => return,
        };
    }
}

impl Table {
    /// What the thread waits on, which is started if it has not been.
    fn watch(&mut self) -> io::Result<Arc<Watch>> {
        if let Some(watch) = &self.watch {
            return Ok(Arc::clone(watch));
        }
        let watch = Arc::new(Watch::new()?);
        let mine = Arc::clone(&watch);
        threads::spawn_parked(c"shmkit-lines", threads::SMALL, move || forward_for_ever(&mine))?;
        self.watch = Some(Arc::clone(&watch));
        Ok(watch)
    }
}

/// The life of the thread.
fn forward_for_ever(watch: &Watch) {
    let mut piece = vec![0; PIECE];
    loop {
        let readable = watch.wait();
        let mut taken = Vec::new();
        let mut table = table();
        let is_due = |stream: &&mut Stream| stream.rest != Rest::Unasked || readable.contains(&stream.number);
        for stream in table.streams.iter_mut().filter(is_due) {
            taken.push((stream.to.clone(), stream.take(&mut piece)));
        }
        drop(table);
        for (destination, lines) in &taken {
            destination.write(lines);
        }
        drop(taken);
        forget_the_ended(watch);
    }
}

/// Takes note that all was written which was taken.
fn forget_the_ended(watch: &Watch) {
    let mut table = table();
    let mut has_more = false;
    for stream in &mut table.streams {
        match stream.rest {
            Rest::Taken => stream.rest = Rest::Unasked,
            Rest::Asked(_) => has_more = true,
            Rest::Unasked => {}
        }
        if stream.has_ended {
            watch.remove(&stream.from);
        }
    }
    table.streams.retain(|stream| !stream.has_ended);
    if table.streams.is_empty() {
        // Nor the room for as many as there ever were.
        table.streams = Vec::new();
    }
    if has_more {
        watch.ring();
    }
    SHOWN.notify_all();
}

impl Stream {
    /// Takes what is there, a piece at most. The lines that are whole with it.
    fn take(&mut self, piece: &mut [u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut left = None;
        match streams::read_some(&self.from, piece) {
            Ok(Some(0)) | Err(_) => self.has_ended = true,
            Ok(None) => {}
            Ok(Some(count)) => {
                for part in piece[..count].split_inclusive(|byte| *byte == b'\n') {
                    self.line.extend_from_slice(part);
                    if part.ends_with(b"\n") || self.line.len() >= LONGEST {
                        self.end_line(&mut lines);
                    }
                }
                if let Rest::Asked(rest) = self.rest {
                    left = rest.checked_sub(count as u64).filter(|left| *left > 0);
                }
            }
        }
        if self.rest != Rest::Unasked {
            self.rest = left.map_or(Rest::Taken, Rest::Asked);
        }
        if self.has_ended || self.rest == Rest::Taken {
            self.end_line(&mut lines);
        }
        lines
    }

    fn end_line(&mut self, lines: &mut Vec<u8>) {
        if self.line.is_empty() {
            return;
        }
        lines.extend_from_slice(self.prefix.as_bytes());
        lines.append(&mut self.line);
        if !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
    }
}

impl Destination {
    /// Writes lines, each in one piece. What cannot be written is lost, as it would be to the child, and the rest with it.
    fn write(&self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let (now, later) = lines.split_at(whole_lines(lines));
            let written = match self {
                Self::Output => streams::write_all(io::stdout(), now),
                Self::Errors => streams::write_all(io::stderr(), now),
                Self::File(file) => streams::write_all(file.as_fd(), now),
            };
            if written.is_err() {
                return;
            }
            lines = later;
        }
    }
}

/// The length of the first lines that a pipe takes in one piece: of one at least.
fn whole_lines(lines: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let in_one_piece = lines.iter().take(IN_ONE_PIECE).rposition(is_end);
    in_one_piece.or_else(|| lines.iter().position(is_end)).map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_whole() {
        assert_eq!(whole_lines(b"one\ntwo\n"), 8);
        let long = [vec![b'x'; 5000], b"\ny\n".into()].concat();
        assert_eq!(whole_lines(&long), 5001);
        let many = b"0123456789\n".repeat(1000);
        assert_eq!(whole_lines(&many), 4096 / 11 * 11);
        assert_eq!(whole_lines(b"without an end"), 14);
    }
}
