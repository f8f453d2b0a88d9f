//! The standard streams of a process that is about to be started.

use std::{
    array,
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use super::lines::{self, Destination};
use crate::{
    Error, Result,
    os::{
        ends,
        streams::{self, COUNT},
    },
};

/// Where a standard stream of a process leads: to where this process's does, to nothing, into a pipe, or into any open file.
///
/// Not [`std::process::Stdio`], which nothing but `std::process::Command` can look into.
///
/// # Examples
///
/// ```standalone_crate
/// use std::io::{Read, Write};
/// use shmkit::{Process, process::Stdio};
///
/// fn shout() {
///     let mut text = String::new();
///     std::io::stdin().read_to_string(&mut text).unwrap();
///     print!("{}!", text.to_uppercase());
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     shmkit::init();
///     let child = Process::builder(shout).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).start()?;
///     let (mut into, mut from) = (child.take_stdin().unwrap(), child.take_stdout().unwrap());
///     into.write_all(b"hello")?;
///     drop(into);
///     let mut text = String::new();
///     from.read_to_string(&mut text)?;
///     assert_eq!(text, "HELLO!");
///     child.join()?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stdio(Kind);

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    Inherit,
    Null,
    Piped,
    Open(Arc<OwnedFd>),
}

impl Stdio {
    /// To where this process's stream leads: the default. If that is closed, so is the child's.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// To `/dev/null`: nothing to read, and all that is written is dropped.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// Into a pipe, whose other end is this process's, by [`take_stdin`](super::Process::take_stdin) and its kin.
    ///
    /// A pipe holds 64 KiB as a rule. Who writes into a full one waits, so read what is piped before you join.
    ///
    /// An end that nobody has taken is closed with the handle, and at the normal end of this process: then an input ends, and
    /// writing is an error, by which `println!` panics. One that was taken is closed where it is dropped; while it lives in a
    /// static, say, that normal end [waits](super#the-end-of-a-parent) for a child that waits for it.
    ///
    /// No other child has this process's end, but one by [`Process::fork`](super::Process::fork), which has a copy of all: an
    /// input ends when that is closed too.
    ///
    /// # Examples
    ///
    /// See the type.
    #[must_use]
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }

    pub(super) fn is_piped(&self) -> bool {
        matches!(self.0, Kind::Piped)
    }
}

/// Whatever has a descriptor: a file, an end of a pipe, a socket.
///
/// # Examples
///
/// ```standalone_crate
/// use std::{io, process};
/// use shmkit::Process;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     shmkit::init();
///     // Into the input of another program.
///     let (from, into) = io::pipe()?;
///     Process::builder(|| print!("one two three")).stdout(into).start()?.join()?;
///     let words = process::Command::new("wc").arg("-w").stdin(from).output()?;
///     assert_eq!(String::from_utf8(words.stdout)?.trim(), "3");
///     Ok(())
/// }
/// ```
impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(file: T) -> Self {
        Self(Kind::Open(Arc::new(file.into())))
    }
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams {
    pub(super) all: [Stdio; COUNT],
    pub(super) prefix_lines: bool,
}

/// This process's ends of pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub(super) stdin: Option<PipeWriter>,
    pub(super) stdout: Option<PipeReader>,
    pub(super) stderr: Option<PipeReader>,
}

impl Pipes {
    /// Opens a pipe for the stream of this number, and gives the child's end.
    fn open(&mut self, number: usize) -> io::Result<OwnedFd> {
        let (from, into) = streams::pipe()?;
        if number == 0 {
            ends::add_plain(&into)?;
            self.stdin = Some(into.into());
            return Ok(from);
        }
        ends::add_plain(&from)?;
        match number {
            1 => self.stdout = Some(from.into()),
            _ => self.stderr = Some(from.into()),
        }
        Ok(into)
    }
}

/// What is ready for the child.
#[derive(Default)]
pub(super) struct Prepared {
    /// What becomes its streams, where these are not this process's.
    theirs: [Option<Arc<OwnedFd>>; COUNT],
    pub(super) pipes: Pipes,
    /// Of those whose lines this process passes on.
    pub(super) lines: Option<lines::Id>,
}

impl Streams {
    /// Opens what the child of this name is to have.
    pub(super) fn prepare(&self, name: &str) -> Result<Prepared> {
        let failed = |error| Error::os("opening a standard stream for a process", error);
        let mut prepared = Prepared::default();
        let mut named = Vec::new();
        for (number, stdio) in self.all.iter().enumerate() {
            let theirs = match &stdio.0 {
                Kind::Inherit => None,
                Kind::Null => Some(Arc::new(streams::null().map_err(failed)?)),
                Kind::Piped => Some(Arc::new(prepared.pipes.open(number).map_err(failed)?)),
                Kind::Open(file) => Some(match streams::away_from_them(file).map_err(failed)? {
                    Some(elsewhere) => Arc::new(elsewhere),
                    None => Arc::clone(file),
                }),
            };
            prepared.theirs[number] = match self.destination(number, theirs.as_ref()) {
                None => theirs,
                Some(destination) => {
                    let (from, into) = streams::pipe().map_err(failed)?;
                    named.push((from, destination));
                    Some(Arc::new(into))
                }
            };
        }
        if !named.is_empty() {
            prepared.lines = Some(lines::forward(&format!("{name}: "), named).map_err(failed)?);
        }
        Ok(prepared)
    }

    /// Where the lines of a stream go, if they are to get a prefix on the way.
    fn destination(&self, number: usize, theirs: Option<&Arc<OwnedFd>>) -> Option<Destination> {
        if !self.prefix_lines || number == 0 {
            return None;
        }
        match (&self.all[number].0, theirs) {
            (Kind::Open(_), Some(file)) => Some(Destination::File(Arc::clone(file))),
            // A stream that is closed has no lines.
            (Kind::Inherit, _) => streams::inheritable()[number].map(|_| match number {
                1 => Destination::Output,
                _ => Destination::Errors,
            }),
            _ => None,
        }
    }
}

impl Prepared {
    /// What is to be put in the place of this process's streams.
    pub(super) fn changed(&self) -> [Option<BorrowedFd<'_>>; COUNT] {
        array::from_fn(|number| self.theirs[number].as_ref().map(|theirs| theirs.as_fd()))
    }

    /// All that the child is to have, this process's streams among them.
    pub(super) fn all(&self) -> [Option<BorrowedFd<'_>>; COUNT] {
        let (inheritable, changed) = (streams::inheritable(), self.changed());
        array::from_fn(|number| changed[number].or(inheritable[number]))
    }

    /// In a fork: gives up what is its parent's, and takes over what is its own.
    pub(super) fn take_over(self) -> Result<()> {
        lines::let_go();
        for (number, stream) in self.changed().into_iter().enumerate() {
            if let Some(stream) = stream {
                streams::replace(number, stream).map_err(|error| Error::os("taking over a standard stream", error))?;
            }
        }
        Ok(())
    }
}
