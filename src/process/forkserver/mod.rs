//! The server that makes the children of [`StartMethod::ForkServer`](super::StartMethod::ForkServer), and what it prepares
//! for them.
//!
//! The first start by this method starts the server, or [`preload`] does before: a fresh start of the executable, which runs
//! `main` up to [`init`](crate::init) and then waits, with one thread and little memory. Each start has it make a copy of
//! itself, which becomes the child. So a start costs as little as a fork of a small process, however large the parent is and
//! however many threads it has; and what the server has prepared, each child finds done ([`preload`]).
//!
//! * A child is this process's own, by the kernel too: it is waited for, watched and ended as any other.
//! * It has this process's standard streams, environment and working directory, as they are at its start. What else a
//!   process inherits (limits, priority, processors, the mode mask, signals that are ignored, the process group, the
//!   supplementary groups, capabilities, the root directory, namespaces, seccomp filters, the cgroup) is the server's: as it
//!   was when that began.
//! * Each process has a server of its own, a forked one too. It ends when its process ends, and is replaced by the next
//!   start (or preload) if it dies, or if this process has changed its user or group (real or effective) since; and when it has failed,
//!   if this process may have another number of descriptors or processes than when it began.
//! * Handlers of `pthread_atfork` do not run in the children. See [`preload`] for what that means there.
//! * It has none of this process's descriptors. Ctrl-C passes it by, and does not pass its children by.
//!
//! It must have one thread when it copies itself, and hold no locks: a preloaded function that leaves threads behind, or
//! uses objects with members (see [`region`](crate::region)), makes every start an error.

// How it works:
//
// | step | the parent | the server | the child |
// | --- | --- | --- | --- |
// | 1 | sends the bootstrap and the arguments into the child's own socket, as for a fresh start | | |
// | 2 | clears the ledger, sends the request: that socket's other end, streams, changes | | |
// | 3 | waits for the answer, or the server's end | takes it, looks whether its parent lives | |
// | 4 | | `clone` with `CLONE_PARENT`; the kernel writes the ledger | is born, a child of the parent |
// | 5 | | answers: id and pidfd | gives up what is the server's, takes over what came with the request |
// | 6 | has a child as by any other method | waits for the next | receives its bootstrap and goes on as a fresh start does |
//
// What is to be preloaded is a request too, of which step 2 is all that the parent does: nobody waits for the functions but
// the next who asks for a child. They find the streams, the environment and the directory of that moment.
//
// Who dies when:
//
// * The server, before the clone: the ledger is empty, nothing was started, and the parent asks a new server. After it: the
//   ledger has the id, of a child that nobody else has waited for, and the start goes well. There is no third case, see
//   `os/sibling.rs`. It may die as a zombie of the parent until that looks after its children, as any child.
// * The child, at any moment: a child of the parent that has ended without a report.
// * The parent, before step 4: the server sees that it has another parent now, and ends without a copy. After it: the
//   child is an orphan, as after any start; a daemon watches the parent, not the server. While it runs what is preloaded
//   the server does not look: the kernel ends it with the thread that has started it, which does nothing else and waits for
//   the server's end.
// * Whoever is *stopped* delays the others: a stopped server stops all starts of its parent, which wait for each other.
//
// Ctrl-C while a request is under way: the signal reaches the parent and the server, but not the child that is yet to be
// born. If it is fatal to the parent, that child would be left. If it is not, it may have come before the request was made,
// and is none of that child's business. So the server, which has the signal blocked, and finds one after the clone, says so
// in its answer, and hands it on if the parent ends before anything more comes from it: a signal to the whole group is with
// the parent by then, since the kernel lets nobody be born half-way, and whoever reads an answer was not ended by it.

use std::{
    ffi::OsString,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{family, init, target::Target};
use crate::{Error, Result};

mod client;
mod server;

pub(super) use self::{
    client::{Order, start, still},
    server::{Charter, serve},
};

/// What the server is asked for.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// A child. Its socket is the first descriptor.
    Child(Surroundings),
    /// To run the functions at these places.
    Preload(Vec<u64>, Surroundings),
}

/// What is to be taken over. The last descriptors are the streams that there are, and the directory.
#[derive(Debug, Serialize, Deserialize)]
struct Surroundings {
    /// Which standard streams come along.
    streams: [bool; 3],
    /// Whether a working directory comes along.
    directory: bool,
    /// In what the environment differs from the server's.
    environment: Vec<(OsString, Option<OsString>)>,
}

/// What the server says.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// The pidfd comes along if it could be had.
    Started {
        pid: u32,
        /// A Ctrl-C has come while nobody could tell whose it is: the parent is to say that it [lives on](LIVES_ON).
        interrupted: bool,
    },
    Failed(Error),
}

/// What the parent says when it has read an answer and was not ended by a Ctrl-C: no request is as short.
const LIVES_ON: &[u8] = &[];

/// The places of what the program's servers run, in order. A lock that is taken after the one of the server.
static PRELOADS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// What the program's servers run.
pub(super) fn preloads() -> Vec<u64> {
    PRELOADS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Takes it over, in a child.
pub(super) fn set_preloads(places: Vec<u64>) {
    *PRELOADS.lock().unwrap_or_else(PoisonError::into_inner) = places;
}

/// Starts the server if there is none, and has it run a function before it makes the next child: what that loads or
/// computes, each child from then on finds in its memory.
///
/// The function runs beside this process, which goes on; the next start waits for it. Functions run in the order in which
/// they are given, each once in each server, however often it is given. A server that replaces another runs all of them, and
/// so do those by which children start children.
///
/// A function finds this process's streams, environment and working directory, as they are when it is given or a new server
/// begins. When it changes the environment or the directory, it changes them for the children too: they have this process's
/// only where those have changed since.
///
/// The children are copies of what the functions leave, and handlers of `pthread_atfork` do not run in them. So what relies
/// on such handlers must not be used before the copy, or not after it. And what is random and was seeded in a preload gives
/// the same numbers in every child (`thread_rng` of `rand` 0.8, which would notice a fork by such a handler): seed it in the
/// child.
///
/// # Errors
///
/// [`Error::NotInitialised`] without [`init`](crate::init) in `main`, [`Error::ChildOfDaemon`] in a daemon that may not have
/// children, [`Error::NotSendable`] for a function that is not part of the executable, [`Error::Os`] when no server can be
/// started. An error or a panic of the function itself is the error of every start after it.
///
/// # If a process dies
///
/// A server that dies, also in the middle of a function, is replaced by the next start or preload. Starts give up after the
/// third ([`Error::ForkServerDied`]). The server ends with this process, whatever the function does.
///
/// # Examples
///
/// ```standalone_crate
/// use std::sync::OnceLock;
///
/// use shmkit::{Process, Result, process::{StartMethod, forkserver}};
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn load() {
///     TABLE.get_or_init(|| (0..1000).map(|x| x * x).collect());
/// }
///
/// fn square(x: usize) -> Option<u64> {
///     // Loaded by the server, not here.
///     TABLE.get().map(|table| table[x])
/// }
///
/// fn main() -> Result<()> {
///     shmkit::init();
///     forkserver::preload(load)?;
///     // This process does something else meanwhile.
///     let child = Process::builder(square).args((30,)).start_method(StartMethod::ForkServer).start()?;
///     assert_eq!(child.join()?, Some(900));
///     assert!(TABLE.get().is_none());
///     Ok(())
/// }
/// ```
pub fn preload<F: Target<()>>(_function: F) -> Result<()> {
    const {
        assert!(size_of::<F>() == 0, "what is preloaded is a plain `fn` or a closure that captures nothing");
    }
    init::check_initialised()?;
    let me = family::current();
    if !me.may_have_children() {
        return Err(Error::ChildOfDaemon { name: me.name().into() });
    }
    client::preload(init::place_of_preload::<F>()?)
}
