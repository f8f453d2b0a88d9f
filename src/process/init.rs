//! How a fresh start of the executable becomes the child.
//!
//! | step | the parent | the child |
//! | --- | --- | --- |
//! | 1 | makes a pair of sockets, sends the [`Bootstrap`] and the arguments into one end | |
//! | 2 | starts the executable with the other end, and the marker in its environment | runs `main` up to [`init`] |
//! | 3 | goes on | removes the marker, receives, checks the build, calls the function |
//! | 4 | `join`: waits for the end, takes the report | reports, exits |
//!
//! Nothing here waits for the other side: what the child receives was sent before it was born, and its report waits in
//! the socket.
//!
//! A function is named by its place in the executable, which address randomisation does not change. What is called is
//! not the user's function itself but the instance of [`trampoline`] made for it, which knows the types.

use std::{
    env,
    ffi::OsStr,
    os::fd::OwnedFd,
    process,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    family::{self, Origin},
    forkserver::{self, Charter},
    pin,
    report::{self, Report},
    target::{Outcome as _, Target},
};
use crate::{
    Error, Result,
    os::{
        executable::Executable,
        identity::Stamp,
        robust,
        socket::{self, Message as Packet},
        start,
    },
    region::ticket,
};

/// The environment variable that tells a child what it is.
pub(super) const MARKER: &str = "SHMKIT_CHILD";

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// What a fresh start is for: its first message.
#[derive(Serialize, Deserialize)]
pub(super) enum Errand {
    Function(Bootstrap),
    Server(Charter),
}

/// What a child is told, before its arguments.
#[derive(Serialize, Deserialize)]
pub(super) struct Bootstrap {
    pub(super) build: Vec<u8>,
    pub(super) trampoline: u64,
    pub(super) parent: u64,
    pub(super) parent_name: String,
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) may_have_children: bool,
    /// The processors that it may run on; none for those of its parent.
    pub(super) cpus: Vec<usize>,
    /// The program's start method, as [`METHOD`](super::METHOD) has it.
    pub(super) method: u8,
    /// What the program's fork servers run first.
    pub(super) preloads: Vec<u64>,
}

impl Errand {
    /// One message of this and the arguments.
    pub(super) fn before(&self, args: &[u8]) -> Result<Vec<u8>> {
        let mut message = postcard::to_stdvec(self).map_err(|error| Error::corrupt(error.to_string()))?;
        message.extend_from_slice(args);
        Ok(message)
    }

    /// This, and where in the message the arguments begin.
    fn split(message: &[u8]) -> Result<(Self, usize)> {
        postcard::take_from_bytes(message)
            .map(|(errand, args)| (errand, message.len() - args.len()))
            .map_err(|_| Error::OtherExecutable { reason: "its first message makes no sense".into() })
    }
}

/// Runs a function with the arguments that stand in the message from a point on, and reports; returns the exit code.
type Trampoline = fn(&OwnedFd, Packet, usize) -> i32;

/// Runs a function that a fork server runs first.
type Preload = fn() -> Result<()>;

/// Makes this program able to start processes. Call it first in `main`.
///
/// A child is a fresh start of the same program: it runs `main` up to this call, becomes the child here, and never
/// returns. So whatever stands before it runs in every child again. In any other process the call does next to nothing.
///
/// # Examples
///
/// ```standalone_crate
/// use shmkit::Process;
///
/// fn main() -> shmkit::Result<()> {
///     shmkit::init();
///     assert_eq!(Process::spawn(|| 42_u32, ())?.join()?, 42);
///     Ok(())
/// }
/// ```
pub fn init() {
    if env::var_os(MARKER).is_some_and(|value| value == OsStr::new(env!("CARGO_PKG_VERSION"))) {
        remove_marker();
        process::exit(become_child());
    }
    INITIALISED.store(true, Relaxed);
}

pub(super) fn set_initialised() {
    INITIALISED.store(true, Relaxed);
}

/// # Errors
///
/// [`Error::NotInitialised`] before [`init`].
pub(super) fn check_initialised() -> Result<()> {
    if INITIALISED.load(Relaxed) { Ok(()) } else { Err(Error::NotInitialised) }
}

/// This process, as its children are told.
pub(super) fn own_stamp() -> Stamp {
    robust::this_thread().map_or_else(|_| Stamp::of_this_process(), |me| Stamp::from_bits(me.stamp()))
}

/// The place of the trampoline for `F` in the executable.
pub(super) fn place_of<F: Target<A>, A: DeserializeOwned + 'static>() -> Result<u64> {
    Executable::this().place_of::<F>(trampoline::<F, A> as Trampoline as usize)
}

/// The same for a function that a fork server runs first.
pub(super) fn place_of_preload<F: Target<()>>() -> Result<u64> {
    Executable::this().place_of::<F>(preload::<F> as Preload as usize)
}

fn trampoline<F: Target<A>, A: DeserializeOwned + 'static>(socket: &OwnedFd, message: Packet, start: usize) -> i32 {
    report::run(socket, || {
        let (args, seats) = ticket::decode_with_seats::<A>(&message.bytes[start..], &message.descriptors)?;
        seats.into_iter().for_each(|seat| seat.attend());
        // The handles among the arguments have descriptors of their own.
        drop(message);
        instance::<F>().call(args).into_result()
    })
}

fn preload<F: Target<()>>() -> Result<()> {
    instance::<F>().call(()).into_result().map(drop)
}

/// A function that stands at the place that the parent named.
pub(super) fn preload_at(place: u64) -> Result<Preload> {
    Executable::this().address_of(place).map(preload_at_address)
}

/// The child's life: returns its exit code.
fn become_child() -> i32 {
    let Ok(socket) = take_socket() else {
        eprintln!("{MARKER} is set, but this process was not started by shmkit");
        return 1;
    };
    start::restore_name();
    match errand(&socket) {
        Ok((Errand::Function(bootstrap), message, start)) => run(bootstrap, &socket, message, start),
        Ok((Errand::Server(charter), message, _)) => {
            let socket = forkserver::serve(socket, charter, message);
            // A child of the server. What was registered for the end of the process is the server's, as in a fork.
            let _guard = start::ExitOnUnwind;
            let code = match errand(&socket) {
                Ok((Errand::Function(bootstrap), message, start)) => run(bootstrap, &socket, message, start),
                Ok((Errand::Server(_), ..)) => report::send(&socket, &failed(Error::corrupt("a server of a server"))),
                Err(error) => report::send(&socket, &failed(error)),
            };
            family::see_off();
            start::exit_now(code)
        }
        Err(error) => report::send(&socket, &failed(error)),
    }
}

/// Takes the first message: nobody else does, and it was sent before this process began.
fn errand(socket: &OwnedFd) -> Result<(Errand, Packet, usize)> {
    match socket::receive(socket, false) {
        Ok(Some(message)) => Errand::split(&message.bytes).map(|(errand, start)| (errand, message, start)),
        Ok(None) => Err(Error::corrupt("the first message is cut off")),
        Err(error) => Err(Error::os("receiving the arguments", error)),
    }
}

fn run(bootstrap: Bootstrap, socket: &OwnedFd, message: Packet, start: usize) -> i32 {
    match prepare(bootstrap) {
        Ok(trampoline) => trampoline(socket, message, start),
        Err(error) => report::send(socket, &failed(error)),
    }
}

pub(super) fn failed(error: Error) -> Report<()> {
    Report::Failed(error)
}

fn prepare(bootstrap: Bootstrap) -> Result<Trampoline> {
    Executable::this().check_build(&bootstrap.build)?;
    let address = Executable::this().address_of(bootstrap.trampoline)?;
    if !bootstrap.cpus.is_empty() {
        pin::pin_to(&bootstrap.cpus)?;
    }
    let parent = Stamp::from_bits(bootstrap.parent);
    family::set_origin(Origin {
        name: bootstrap.name,
        daemon: bootstrap.daemon,
        may_have_children: bootstrap.may_have_children,
        parent,
        parent_name: bootstrap.parent_name,
    });
    super::METHOD.store(bootstrap.method, Relaxed);
    forkserver::set_preloads(bootstrap.preloads);
    if bootstrap.daemon {
        family::die_with(parent)?;
    }
    set_initialised();
    Ok(function_at(address))
}

pub(crate) use imp::instance;
pub(super) use imp::{function_at, preload_at_address, remove_marker, take_socket};

/// The steps that the compiler cannot check.
mod imp {
    #![expect(unsafe_code, reason = "calls a function by its address, and takes over what the parent left")]

    use std::{env, io, os::fd::OwnedFd, ptr::NonNull};

    use super::{MARKER, Preload, Trampoline};
    use crate::os::start;

    /// The function value of a type that has only one, of no size.
    pub(crate) fn instance<F: Copy>() -> F {
        const {
            assert!(
                size_of::<F>() == 0,
                "a process runs a plain `fn` or a closure that captures nothing: give it arguments, or use Process::fork"
            )
        };
        // SAFETY: reading no bytes from an aligned address is always valid, and the type is inhabited: the parent had a
        // value, and gave it away to be called here (`Copy`).
        unsafe { NonNull::<F>::dangling().read() }
    }

    /// The trampoline at an address that the parent named.
    pub(in crate::process) fn function_at(address: usize) -> Trampoline {
        // SAFETY: the parent runs the same build (compared before) and named the place of one of its trampolines, which
        // lies in this executable's code (checked before). The socket that it came over was inherited: the sender is
        // whoever started this process.
        unsafe { std::mem::transmute::<usize, Trampoline>(address) }
    }

    /// The same for a function that a fork server runs first.
    pub(in crate::process) fn preload_at_address(address: usize) -> Preload {
        // SAFETY: as above, of the places that `place_of_preload` found.
        unsafe { std::mem::transmute::<usize, Preload>(address) }
    }

    pub(in crate::process) fn remove_marker() {
        // SAFETY: `init` stands first in `main`, before the program has other threads that could read the environment.
        unsafe { env::remove_var(MARKER) };
    }

    pub(in crate::process) fn take_socket() -> io::Result<OwnedFd> {
        // SAFETY: the marker was set, so `start::fresh` put the socket there; the marker is gone now, so this is once.
        unsafe { start::take_socket() }
    }
}

/// Does what `init` does, before `main`: for test programs, whose `main` is not the user's.
#[doc(hidden)]
pub extern "C" fn init_before_main() {
    if env::var_os(MARKER).is_some() {
        start::ignore_sigpipe();
    }
    init();
}

/// Makes the tests of a file, or of a crate, able to start processes. Write it once at the top.
///
/// The `main` of a test program is not yours, so that [`init`](crate::init) has no place in it. This puts the call
/// before `main`, under `cargo test` and nextest alike.
///
/// # Examples
///
/// ```
/// shmkit::init_in_tests!();
///
/// fn double(x: u32) -> u32 {
///     2 * x
/// }
///
/// // With `#[test]`:
/// fn doubles() -> shmkit::Result<()> {
///     assert_eq!(shmkit::Process::spawn(double, (21,))?.join()?, 42);
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! init_in_tests {
    () => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = $crate::process::init_before_main;
        };
    };
}
