//! The server's side: it prepares, waits, and copies itself.

#![expect(unsafe_code, reason = "copies this process, and changes the environment of the copy")]

use std::{
    env, io,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};

use super::{Answer, LIVES_ON, Request, Surroundings, client};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        executable::Executable,
        identity::Stamp,
        interrupts::Interrupts,
        pidfd, poll,
        robust::{self, ControlBlock},
        sibling::{self, Ledger, Sibling},
        socket::{self, Message as Packet},
        start, streams, threads,
    },
    process::{
        METHOD,
        family::{self, Origin},
        init, report,
    },
};

/// What a server is told at its start.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Charter {
    build: Vec<u8>,
    parent: u64,
    parent_name: String,
    method: u8,
}

impl Charter {
    /// For a server of this process.
    pub(super) fn new() -> Self {
        Self {
            build: Executable::this().identity().into(),
            parent: init::own_stamp().to_bits(),
            parent_name: family::current().name().into(),
            method: METHOD.load(Relaxed),
        }
    }
}

/// What only the server has, and a copy gives up.
struct Server {
    socket: OwnedFd,
    ledger: Ledger,
    interrupts: Interrupts,
    parent: u32,
    /// Readable when the parent has ended.
    parents_end: OwnedFd,
}

/// The life of the server. Returns in the children only, in each with its socket, once it has taken over what came for it.
pub(in crate::process) fn serve(socket: OwnedFd, charter: Charter, message: Packet) -> OwnedFd {
    let parent = Stamp::from_bits(charter.parent);
    // Without what this needs there is no way to serve, nor to say so: the parent sees the end.
    let Ok(server) = Server::new(socket, parent, message) else { start::exit_now(1) };
    let mut ready = begin(charter, parent).map_err(Answer::Failed);
    // The last child, as long as a Ctrl-C may be meant for it.
    let mut interrupted = None;
    loop {
        let Some(packet) = server.next() else { leave(interrupted) };
        interrupted = None;
        let (request, descriptors) = match packet.and_then(understood) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            // What was lost may be what is to be preloaded, which nobody waits for: another server will know of it. If so,
            // this is an answer to the next request.
            Err(error) => {
                server.answer(&Answer::Failed(error), None);
                leave(None)
            }
        };
        let is_told = match (request, &ready) {
            (Request::Preload(places, surroundings), Ok(_)) => {
                ready = preload(&places, surroundings, descriptors, parent).map_err(Answer::Failed);
                true
            }
            (Request::Preload(..), Err(_)) => true,
            (Request::Child(_), Err(refusal)) => server.answer(refusal, None),
            // SAFETY: `copyable` has seen that there is one thread, this one, and nothing has run since then that could
            // start another. Of what it ran nothing that relies on handlers of `pthread_atfork` is
            // used after the copy: the documentation of `preload` asks for that.
            (Request::Child(surroundings), Ok(block)) => match unsafe { sibling::start(*block, &server.ledger) } {
                Ok(Some(child)) => {
                    let was_interrupted = server.interrupts.take();
                    let answer = Answer::Started { pid: child.pid, interrupted: was_interrupted };
                    let is_told = server.answer(&answer, child.pidfd.as_ref());
                    interrupted = was_interrupted.then_some(child);
                    is_told
                }
                Ok(None) => {
                    let interrupts = server.give_up();
                    return take_over(surroundings, &descriptors, interrupts);
                }
                Err(error) => server.answer(&Answer::Failed(Error::os("clone", error)), None),
            },
        };
        if !is_told {
            leave(interrupted);
        }
    }
}

/// A request and its descriptors; `None` if the parent says that it lives on.
type Understood = Option<(Request, Arc<[OwnedFd]>)>;

fn understood(packet: Packet) -> Result<Understood> {
    if packet.bytes == LIVES_ON {
        return Ok(None);
    }
    let request = postcard::from_bytes(&packet.bytes).map_err(|error| Error::corrupt(error.to_string()))?;
    Ok(Some((request, packet.descriptors)))
}

/// Ends the server: nobody is there any more to ask.
fn leave(interrupted: Option<Sibling>) -> ! {
    if let Some(child) = interrupted {
        child.interrupt();
    }
    start::exit_now(0)
}

impl Server {
    fn new(socket: OwnedFd, parent: Stamp, message: Packet) -> io::Result<Self> {
        let nobody = || io::Error::from(io::ErrorKind::NotFound);
        let ledger = Ledger::open(message.descriptors.first().ok_or_else(nobody)?)?;
        ledger.keep_from_copies()?;
        let pid = parent.pid().ok_or_else(nobody)?;
        let parents_end = pidfd::open(pid)?.ok_or_else(nobody)?;
        // Only now: a parent that has ended is this process's no more, and another may have its id.
        if !sibling::is_child_of(pid) {
            return Err(nobody());
        }
        Ok(Self { socket, ledger, interrupts: Interrupts::hold_back()?, parent: pid, parents_end })
    }

    /// In a copy: gives up what is the server's. The ledger was kept from it.
    fn give_up(self) -> Interrupts {
        let Self { ledger, interrupts, .. } = self;
        ledger.forget();
        interrupts
    }

    /// The next request; `None` when nobody is there any more to ask.
    fn next(&self) -> Option<Result<Packet>> {
        loop {
            let events = [self.socket.as_fd(), self.parents_end.as_fd(), self.interrupts.as_fd()];
            let ready = poll::readable(&events, Wait::Forever).ok()?;
            if ready.contains(&1) || !sibling::is_child_of(self.parent) {
                return None;
            }
            if ready.contains(&0) {
                match socket::receive(&self.socket, false) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other.map_err(|error| Error::os("receiving a request", error)).transpose(),
                }
            }
            // Before there was a request: none of its child's.
            self.interrupts.take();
        }
    }

    /// Says it, and whether the parent is there to hear it.
    ///
    /// Without the pidfd that opens one itself. It waits for an answer or for this process's end: a server that cannot
    /// answer ends, and the ledger says the rest.
    fn answer(&self, answer: &Answer, pidfd: Option<&OwnedFd>) -> bool {
        let bytes = postcard::to_stdvec(answer).unwrap_or_default();
        let send = |descriptors: &[&OwnedFd]| socket::send(&self.socket, &bytes, descriptors).is_ok();
        send(pidfd.as_slice()) || send(&[])
    }
}

/// Becomes who the server is.
fn begin(charter: Charter, parent: Stamp) -> Result<ControlBlock> {
    Executable::this().check_build(&charter.build)?;
    family::set_origin(Origin {
        name: "forkserver".into(),
        daemon: true,
        // What is preloaded may be computed by processes.
        may_have_children: true,
        parent,
        parent_name: charter.parent_name,
    });
    METHOD.store(charter.method, Relaxed);
    init::set_initialised();
    give_up_streams()?;
    copyable()
}

/// The children have their parent's, which may be others by then. And who closes the last of them must not find that one is
/// left here.
fn give_up_streams() -> Result<()> {
    let _ = io::stdout().flush();
    let null = streams::null().map_err(|error| Error::os("opening /dev/null", error))?;
    for number in 0..streams::COUNT {
        streams::replace(number, &null).map_err(|error| Error::os("giving up the standard streams", error))?;
    }
    Ok(())
}

/// Sees that this process can be copied.
fn copyable() -> Result<ControlBlock> {
    let threads = threads::all_others().map_err(|error| Error::os("counting threads", error))?;
    let held = robust::held() + robust::left_behind();
    if threads > 0 || held > 0 {
        let reason = format!(
            "what was preloaded has left {threads} threads and {held} locks or places in the fork server, which copies \
             itself with one thread"
        );
        return Err(Error::ForkRefused { reason });
    }
    ControlBlock::of_this_thread()
}

/// Runs the functions at these places where and as the parent would.
fn preload(
    places: &[u64],
    surroundings: Surroundings,
    descriptors: Arc<[OwnedFd]>,
    parent: Stamp,
) -> Result<ControlBlock> {
    let ran = settle(surroundings, &descriptors).and_then(|()| {
        drop(descriptors);
        run(places, parent)
    });
    give_up_streams()?;
    ran?;
    client::end()?;
    copyable()
}

/// Runs them, and ends with the parent meanwhile, whatever they do.
///
/// The kernel counts as the parent the thread that has started this process. That one waits for this process's end, so that
/// it ends no sooner than its process.
fn run(places: &[u64], parent: Stamp) -> Result<()> {
    let failed = |error| Error::os("asking to end with the parent", error);
    start::end_with_parent(true).map_err(failed)?;
    // It may have ended before.
    if !parent.pid().is_some_and(sibling::is_child_of) {
        start::exit_now(0);
    }
    let result = places.iter().try_for_each(|place| report::attempt(init::preload_at(*place)?));
    start::end_with_parent(false).map_err(failed)?;
    result
}

/// In the child: takes over what came with the request.
fn take_over(surroundings: Surroundings, descriptors: &[OwnedFd], interrupts: Interrupts) -> OwnedFd {
    let Some((Ok(socket), rest)) = descriptors.split_first().map(|(first, rest)| (first.try_clone(), rest)) else {
        start::exit_now(1)
    };
    let settled = settle(surroundings, rest)
        .and_then(|()| interrupts.let_through().map_err(|error| Error::os("unblocking a signal", error)));
    match settled {
        Ok(()) => socket,
        Err(error) => start::exit_now(report::send(&socket, &init::failed(error))),
    }
}

fn settle(surroundings: Surroundings, descriptors: &[OwnedFd]) -> Result<()> {
    let mut descriptors = descriptors.iter();
    for number in (0..streams::COUNT).filter(|number| surroundings.streams[*number]) {
        let Some(stream) = descriptors.next() else { return Err(Error::corrupt("a stream did not arrive")) };
        streams::replace(number, stream).map_err(|error| Error::os("taking over a standard stream", error))?;
    }
    if surroundings.directory {
        let Some(directory) = descriptors.next() else { return Err(Error::corrupt("the directory did not arrive")) };
        start::enter(directory).map_err(|error| Error::os("changing to the directory to work in", error))?;
    }
    for (name, value) in surroundings.environment {
        match value {
            // SAFETY: the server has one thread, and so have its copies.
            Some(value) => unsafe { env::set_var(name, value) },
            // SAFETY: as above.
            None => unsafe { env::remove_var(name) },
        }
    }
    Ok(())
}
