//! The parent's side: a server, and what it is asked for.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use rustix::{
    net::Shutdown,
    process::{Gid, Resource, Rlimit, Uid, getrlimit},
};

use super::{Answer, Charter, LIVES_ON, PRELOADS, Request, Surroundings};
use crate::{
    Error, Result,
    os::{
        clock::Wait,
        files::{self, FileId},
        packet, poll,
        sibling::Ledger,
        socket, start, streams, threads,
    },
    process::{
        builder,
        child::Child,
        family,
        init::{self, Errand},
    },
};

/// How many servers may die before a start is given up.
const SERVERS: u32 = 3;

/// What a child is started with.
pub(in crate::process) struct Order<'a> {
    /// The child's end of its socket. Its bootstrap has been sent into the other.
    pub(in crate::process) socket: &'a OwnedFd,
    pub(in crate::process) environment: &'a BTreeMap<OsString, Option<OsString>>,
    /// Another than this process's.
    pub(in crate::process) directory: Option<OwnedFd>,
    pub(in crate::process) streams: [Option<BorrowedFd<'a>>; 3],
}

/// A child that the server has made.
pub(in crate::process) struct Started {
    pub(in crate::process) pid: u32,
    pub(in crate::process) pidfd: Option<OwnedFd>,
}

/// A server of this process.
struct Server {
    child: Arc<Child>,
    ledger: Ledger,
    /// The environment and the working directory that it was started in, or that it got with what it was to preload.
    environment: Vec<(OsString, OsString)>,
    directory: Option<FileId>,
    /// As whom it was started, as whom all that it makes run.
    credentials: Credentials,
    /// Its own, whatever becomes of this process's.
    limits: Limits,
}

/// The user and the group, real and effective.
type Credentials = ([Uid; 2], [Gid; 2]);

fn credentials() -> Credentials {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    ([getuid(), geteuid()], [getgid(), getegid()])
}

/// How many descriptors and processes it may have.
type Limits = [Rlimit; 2];

fn limits() -> Limits {
    [Resource::Nofile, Resource::Nproc].map(getrlimit)
}

/// Locked for the time of a start: the server does one thing at a time, and the ledger has room for one entry.
static SERVER: Mutex<Option<Server>> = Mutex::new(None);

fn locked() -> MutexGuard<'static, Option<Server>> {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if server.as_ref().is_some_and(|server| !server.child.is_ours()) {
        // A copy, in a fork: the server is its parent's.
        *server = None;
    }
    server
}

/// Keeps this still while this process forks, with what the servers run.
pub(in crate::process) fn still() -> impl Sized {
    (locked(), PRELOADS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Has the server run the function at this place, and begin if there is none. Waits for neither.
pub(super) fn preload(place: u64) -> Result<()> {
    let mut slot = locked();
    let mut places = super::preloads();
    let is_new = !places.contains(&place);
    if is_new {
        places.push(place);
    }
    // One that dies before it is told is replaced.
    let told = match usable(&mut slot) {
        Some(server) => !is_new || server.preload(vec![place])?,
        None => false,
    };
    if !told {
        *slot = Some(Server::begin(places.clone())?);
    }
    super::set_preloads(places);
    Ok(())
}

/// In a server that has one itself, for what was preloaded: ends that, with the thread that waits for it.
pub(super) fn end() -> Result<()> {
    let Some(server) = locked().take() else { return Ok(()) };
    server.end()?;
    server.child.status();
    family::forget(&server.child);
    // The thread sees the end as this one does. Who does not get so far is told that it is there.
    for _ in 0..LOOKS {
        if matches!(threads::all_others(), Ok(0) | Err(_)) {
            break;
        }
    }
    Ok(())
}

/// Of some milliseconds each.
const LOOKS: u32 = 100;

/// The server, if its children would be what this process's are. Else it is dismissed.
fn usable(slot: &mut Option<Server>) -> Option<&mut Server> {
    if let Some(unfit) = slot.take_if(|server| !server.is_usable()) {
        // The family has it no longer, or will not when it looks after it has ended.
        unfit.dismiss();
    }
    slot.as_mut()
}

/// Has the server make a child, which is a child of this process.
pub(in crate::process) fn start(order: &Order<'_>) -> Result<Started> {
    let mut slot = locked();
    let mut deaths = 0;
    loop {
        usable(&mut slot);
        let server = match slot.take() {
            Some(server) => server,
            None => Server::begin(super::preloads())?,
        };
        match server.ask(order) {
            // It may have failed at a limit that was lowered when it began, and is no more.
            Ok(Some(Err(_))) if server.limits != limits() => server.dismiss(),
            Ok(Some(outcome)) => {
                *slot = Some(server);
                return outcome;
            }
            // It has died, and what it has started first is in the ledger. If that cannot be made sure of, it still owes
            // an answer, which the next one who asks would get: it is not asked again.
            Ok(None) => {
                server.end()?;
                let status = server.child.status();
                family::forget(&server.child);
                if let Some(pid) = server.ledger.entry() {
                    return Ok(Started { pid, pidfd: None });
                }
                deaths += 1;
                if deaths == SERVERS {
                    let status = status.map_or_else(|| "unknown".into(), |status| status.to_string());
                    return Err(Error::ForkServerDied { status });
                }
            }
            Err(error) => {
                *slot = Some(server);
                return Err(error);
            }
        }
    }
}

impl Server {
    /// Starts one, which begins with the functions at these places.
    fn begin(preloads: Vec<u64>) -> Result<Self> {
        let failed = |error| Error::os("starting the fork server", error);
        let (ledger, file) = Ledger::new().map_err(failed)?;
        let message = Errand::Server(Charter::new()).before(&[])?;
        let (ours, theirs) = packet::pair().map_err(|error| Error::os("socketpair", error))?;
        socket::send(&ours, &message, &[file]).map_err(failed)?;
        let environment = env::vars_os().collect();
        let directory = files::working_directory();
        let (credentials, limits) = (credentials(), limits());
        let (told, tells) = mpsc::channel();
        // While it runs what is preloaded it ends with the thread that has started it: the caller's may be a short one.
        threads::spawn_parked(c"shmkit-server", threads::SMALL, move || {
            let child = start::fresh(start::Fresh {
                arguments: env::args_os().collect(),
                environment: builder::environment(&BTreeMap::new()),
                directory: None,
                streams: [None; 3],
                socket: &theirs,
            })
            .map_err(failed)
            .and_then(|pid| Child::server(pid, ours));
            drop(theirs);
            let started = child.as_ref().ok().cloned();
            let _ = told.send(child);
            if let Some(child) = started {
                let _ = poll::is_readable(child.sentinel(), Wait::Forever);
            }
        })
        .map_err(failed)?;
        let child = tells.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))??;
        let mut server = Self { child, ledger, environment, directory, credentials, limits };
        if !preloads.is_empty() {
            // If it is no more, the next one who asks sees that.
            server.preload(preloads)?;
        }
        Ok(server)
    }

    /// Whether its children would be what this process's are.
    fn is_usable(&self) -> bool {
        !self.child.has_ended() && self.credentials == credentials()
    }

    /// Has it end, when it looks for the next request. This process may not be allowed to signal it any more.
    fn dismiss(&self) {
        // One that has ended has no other end.
        let _ = rustix::net::shutdown(self.child.socket(), Shutdown::Both);
    }

    /// Has it run the functions at these places, in the surroundings of now; says whether it was there to be told.
    fn preload(&mut self, places: Vec<u64>) -> Result<bool> {
        let directory = self.directory_if_changed()?;
        let streams = streams::inheritable();
        let request = Request::Preload(places, self.surroundings(streams, directory.as_ref(), &BTreeMap::new()));
        let told = self.tell(&request, None, streams, directory.as_ref())?;
        // From now on its own.
        self.environment = env::vars_os().collect();
        self.directory = files::working_directory();
        Ok(told)
    }

    fn surroundings(
        &self,
        streams: [Option<BorrowedFd<'_>>; 3],
        directory: Option<&OwnedFd>,
        environment: &BTreeMap<OsString, Option<OsString>>,
    ) -> Surroundings {
        Surroundings {
            streams: streams.map(|stream| stream.is_some()),
            directory: directory.is_some(),
            environment: self.changes(environment),
        }
    }

    /// Sends a request; says whether it is there to get it.
    fn tell(
        &self,
        request: &Request,
        socket: Option<&OwnedFd>,
        streams: [Option<BorrowedFd<'_>>; 3],
        directory: Option<&OwnedFd>,
    ) -> Result<bool> {
        let message = postcard::to_stdvec(request).map_err(|error| Error::corrupt(error.to_string()))?;
        let descriptors: Vec<_> = socket
            .map(AsFd::as_fd)
            .into_iter()
            .chain(streams.into_iter().flatten())
            .chain(directory.map(AsFd::as_fd))
            .collect();
        match socket::send(self.child.socket(), &message, &descriptors) {
            Ok(()) => Ok(true),
            Err(error) if socket::is_closed(&error) => Ok(false),
            Err(error) => Err(Error::os("asking the fork server", error)),
        }
    }

    /// Sends an order and waits for what becomes of it. `None` if none will come: when the server has
    /// [ended](Self::end), the ledger says how far it came.
    fn ask(&self, order: &Order<'_>) -> Result<Option<Result<Started>>> {
        let here;
        let directory = match &order.directory {
            Some(directory) => Some(directory),
            None => {
                here = self.directory_if_changed()?;
                here.as_ref()
            }
        };
        let request = Request::Child(self.surroundings(order.streams, directory, order.environment));
        self.ledger.clear();
        if !self.tell(&request, Some(order.socket), order.streams, directory)? {
            return Ok(None);
        }
        let events = [self.child.socket().as_fd(), self.child.sentinel().as_fd()];
        // Without an answer nobody may ask again: the next one would get it.
        let Ok(ready) = poll::readable(&events, Wait::Forever) else { return Ok(None) };
        // What it said before it ended is there, if it did.
        match socket::receive(self.child.socket(), false) {
            Ok(Some(answer)) => {
                let outcome = match postcard::from_bytes(&answer.bytes) {
                    Ok(Answer::Started { pid, interrupted }) => {
                        if interrupted {
                            self.tell_that_this_lives();
                        }
                        let pidfd = answer.descriptors.first().and_then(|fd| fd.try_clone().ok());
                        Ok(Started { pid, pidfd })
                    }
                    Ok(Answer::Failed(error)) => Err(error),
                    Err(error) => Err(Error::corrupt(error.to_string())),
                };
                Ok(Some(outcome))
            }
            // It is closed, or it is not and the server has ended.
            Ok(None) => Ok(None),
            Err(error) if socket::is_closed(&error) || ready == [1] => Ok(None),
            // This process can open no more, say: the answer came, but not the descriptor in it.
            Err(error) => {
                self.tell_that_this_lives();
                let started = self.ledger.entry().map(|pid| Started { pid, pidfd: None });
                Ok(Some(started.ok_or_else(|| Error::os("hearing from the fork server", error))))
            }
        }
    }

    fn tell_that_this_lives(&self) {
        // If it has ended meanwhile, it hands on no signals.
        let _ = socket::send(self.child.socket(), LIVES_ON, &[] as &[OwnedFd]);
    }

    /// Makes sure that it has ended: then the ledger is final.
    fn end(&self) -> Result<()> {
        self.dismiss();
        // It has closed its end of the socket, so it has died, but perhaps not wholly yet.
        self.child.signal(libc::SIGKILL)?;
        poll::is_readable(self.child.sentinel(), Wait::Forever).map_err(|error| Error::os("poll", error))?;
        Ok(())
    }

    /// This process's working directory, if it is not the server's.
    fn directory_if_changed(&self) -> Result<Option<OwnedFd>> {
        if files::working_directory() == self.directory {
            return Ok(None);
        }
        let here = start::directory(Path::new("."));
        here.map(Some).map_err(|error| Error::os("opening the working directory", error))
    }

    /// From the server's environment to this process's, with what the order changes in that.
    fn changes(&self, ordered: &BTreeMap<OsString, Option<OsString>>) -> Vec<(OsString, Option<OsString>)> {
        let now: Vec<_> = env::vars_os().collect();
        let mut changes = BTreeMap::new();
        if now != self.environment {
            let (then, now) = (by_name(self.environment.clone()), by_name(now));
            changes.extend(then.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), None)));
            let new = now.into_iter().filter(|(name, value)| then.get(name) != Some(value));
            changes.extend(new.map(|(name, value)| (name, Some(value))));
        }
        changes.extend(ordered.clone());
        changes.into_iter().collect()
    }
}

/// Of names that stand there twice the first, which is what the C library finds. Without what could not be set: it is as it
/// was at the server's start.
fn by_name(variables: Vec<(OsString, OsString)>) -> BTreeMap<OsString, OsString> {
    let can_be_set = |(name, value): &(OsString, OsString)| builder::is_variable(name, value) && name != init::MARKER;
    variables.into_iter().rev().filter(can_be_set).collect()
}
