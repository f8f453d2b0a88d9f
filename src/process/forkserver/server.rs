//! The server's side: it prepares, waits, and copies itself.

#![expect(unsafe_code, reason = "copies this process, and changes the environment of the copy")]

use std::{
    env, io,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering::Relaxed,
};

use serde::{Deserialize, Serialize};

use super::{Answer, Request};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        executable::Executable,
        identity::Stamp,
        interrupts::{self, Interrupts},
        pidfd, poll,
        robust::{self, ControlBlock},
        sibling::{self, Ledger},
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
    preloads: Vec<u64>,
}

impl Charter {
    /// For a server of this process.
    pub(super) fn new() -> Self {
        Self {
            build: Executable::this().identity().into(),
            parent: init::own_stamp().to_bits(),
            parent_name: family::current().name().into(),
            method: METHOD.load(Relaxed),
            preloads: super::preloads(),
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
    let ready = prepare(charter, parent).map_err(Answer::Failed);
    loop {
        let request = match server.next() {
            Some(Ok(request)) => request,
            Some(Err(error)) => {
                server.answer(&Answer::Failed(Error::os("receiving a request", error)), None);
                continue;
            }
            None => start::exit_now(0),
        };
        match &ready {
            Err(refusal) => server.answer(refusal, None),
            // SAFETY: `prepare` has seen that there is one thread, this one, and nothing has run since then that could
            // start another. Of what it ran nothing that relies on handlers of `pthread_atfork` is
            // used after the copy: the documentation of `preload` asks for that.
            Ok(block) => match unsafe { sibling::start(*block, &server.ledger) } {
                Ok(Some(child)) => {
                    if server.interrupts.take() {
                        child.interrupt();
                    }
                    server.answer(&Answer::Started(child.pid), child.pidfd);
                }
                Ok(None) => {
                    drop(server);
                    return take_over(request);
                }
                Err(error) => server.answer(&Answer::Failed(Error::os("clone", error)), None),
            },
        }
    }
}

impl Server {
    fn new(socket: OwnedFd, parent: Stamp, message: Packet) -> io::Result<Self> {
        let nobody = || io::Error::from(io::ErrorKind::NotFound);
        let ledger = Ledger::open(message.descriptors.first().ok_or_else(nobody)?)?;
        let pid = parent.pid().ok_or_else(nobody)?;
        let parents_end = pidfd::open(pid)?.ok_or_else(nobody)?;
        // Only now: a parent that has ended is this process's no more, and another may have its id.
        if !sibling::is_child_of(pid) {
            return Err(nobody());
        }
        Ok(Self { socket, ledger, interrupts: Interrupts::hold_back()?, parent: pid, parents_end })
    }

    /// The next request; `None` when nobody is there any more to ask.
    fn next(&self) -> Option<io::Result<Packet>> {
        loop {
            let events = [self.socket.as_fd(), self.parents_end.as_fd(), self.interrupts.as_fd()];
            let ready = poll::readable(&events, Wait::Forever).ok()?;
            if ready.contains(&1) || !sibling::is_child_of(self.parent) {
                return None;
            }
            if ready.contains(&0) {
                match socket::receive(&self.socket, false) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other.transpose(),
                }
            }
            // Before there was a request: none of its child's.
            self.interrupts.take();
        }
    }

    fn answer(&self, answer: &Answer, pidfd: Option<OwnedFd>) {
        let bytes = postcard::to_stdvec(answer).unwrap_or_default();
        let send = |descriptors: &[OwnedFd]| socket::send(&self.socket, &bytes, descriptors);
        // Without the pidfd the parent opens one itself. It waits for an answer or for this process's end: a server that
        // cannot answer ends, and the ledger says the rest. So does one whose parent is gone.
        if send(pidfd.as_slice()).is_err() && send(&[]).is_err() {
            start::exit_now(1);
        }
    }
}

/// Runs what is preloaded, and sees that this process can be copied.
fn prepare(charter: Charter, parent: Stamp) -> Result<ControlBlock> {
    if charter.build != Executable::this().identity() {
        return Err(Error::OtherExecutable { reason: "the build ids differ".into() });
    }
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
    let preloaded = charter.preloads.iter().try_for_each(|place| report::attempt(init::preload_at(*place)?));
    super::set_preloads(charter.preloads);
    // The children have their parent's, which may be others by then. And who closes the last of them must not find that
    // one is left here.
    let _ = io::stdout().flush();
    let null = streams::null().map_err(|error| Error::os("opening /dev/null", error))?;
    for number in 0..streams::COUNT {
        streams::replace(number, &null).map_err(|error| Error::os("giving up the standard streams", error))?;
    }
    preloaded?;
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

/// In the child: takes over what came with the request.
fn take_over(request: Packet) -> OwnedFd {
    let Some(Ok(socket)) = request.descriptors.first().map(OwnedFd::try_clone) else { start::exit_now(1) };
    match settle(&request) {
        Ok(()) => socket,
        Err(error) => start::exit_now(report::send(&socket, &init::failed(error))),
    }
}

fn settle(packet: &Packet) -> Result<()> {
    let request: Request = postcard::from_bytes(&packet.bytes).map_err(|error| Error::corrupt(error.to_string()))?;
    let mut descriptors = packet.descriptors.iter().skip(1);
    for number in (0..streams::COUNT).filter(|number| request.streams[*number]) {
        let Some(stream) = descriptors.next() else { return Err(Error::corrupt("a stream did not arrive")) };
        streams::replace(number, stream).map_err(|error| Error::os("taking over a standard stream", error))?;
    }
    if request.directory {
        let Some(directory) = descriptors.next() else { return Err(Error::corrupt("the directory did not arrive")) };
        start::enter(directory).map_err(|error| Error::os("changing to the directory to work in", error))?;
    }
    for (name, value) in request.environment {
        match value {
            // SAFETY: a copy of the server has one thread.
            Some(value) => unsafe { env::set_var(name, value) },
            // SAFETY: as above.
            None => unsafe { env::remove_var(name) },
        }
    }
    interrupts::let_through().map_err(|error| Error::os("unblocking a signal", error))
}
