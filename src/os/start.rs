//! New processes: the same executable started afresh, or a fork.
//!
//! `posix_spawn` shares the parent's memory until the `exec` (glibc makes it of `CLONE_VM | CLONE_VFORK`), so that its
//! cost does not grow with the parent, as a fork's does.

#![expect(unsafe_code, reason = "posix_spawn and fork have no safe wrappers that pass a descriptor")]

use std::{
    ffi::{CStr, CString, OsString},
    io,
    mem::{self, MaybeUninit},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
    ptr,
    sync::OnceLock,
};

use rustix::io::Errno;

use super::streams;

/// Where a fresh start finds its end of the socket.
pub(crate) const SOCKET: RawFd = 3;

/// What a fresh start is given.
pub(crate) struct Fresh<'a> {
    pub(crate) arguments: Vec<OsString>,
    /// `NAME=value` each.
    pub(crate) environment: Vec<OsString>,
    pub(crate) directory: Option<&'a Path>,
    /// What becomes its standard streams, where these are not to be this process's. With other numbers than theirs.
    pub(crate) streams: [Option<BorrowedFd<'a>>; streams::COUNT],
    /// Becomes [`SOCKET`]. Nothing else is passed on but the standard streams.
    pub(crate) socket: &'a OwnedFd,
}

/// Starts the executable of this process: the very file that runs, also when its path leads elsewhere by now.
pub(crate) fn fresh(start: Fresh<'_>) -> io::Result<u32> {
    let arguments = c_strings(start.arguments)?;
    let environment = c_strings(start.environment)?;
    let directory = start.directory.map(|path| CString::new(path.as_os_str().as_encoded_bytes())).transpose()?;
    let mut actions = Actions::new()?;
    // Before the socket takes a number that one of them may have.
    for (number, stream) in (0..).zip(start.streams) {
        if let Some(stream) = stream {
            actions.duplicate(stream.as_raw_fd(), number)?;
        }
    }
    // Of one that has this number already the duplicate clears close-on-exec (glibc 2.29).
    actions.duplicate(start.socket.as_raw_fd(), SOCKET)?;
    if let Some(directory) = &directory {
        actions.change_directory(directory)?;
    }
    actions.close_from(SOCKET + 1)?;
    let attributes = Attributes::with_clear_signal_mask()?;
    let mut pid = 0;
    // SAFETY: all pointers are to live, initialised objects; both lists end with a null pointer.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            EXECUTABLE.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers(&arguments).as_ptr(),
            pointers(&environment).as_ptr(),
        )
    };
    check(result).map_err(|error| if is_in_place() { error } else { io::Error::new(error.kind(), NOT_IN_PLACE) })?;
    Ok(pid.unsigned_abs())
}

/// Leads to the file that runs.
const EXECUTABLE: &CStr = c"/proc/self/exe";
const NOT_IN_PLACE: &str = "/proc/self/exe cannot be reached (is /proc mounted?)";

fn is_in_place() -> bool {
    rustix::fs::stat(EXECUTABLE).is_ok()
}

/// Forks. `None` in the child.
///
/// # Safety
///
/// The child of a process with several threads may only call what is async-signal-safe.
pub(crate) unsafe fn fork() -> io::Result<Option<u32>> {
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid.unsigned_abs())),
    }
}

/// Has a function called at the normal end of this process (a return from `main`, `exit`), and of its forks.
pub(crate) fn at_exit(run: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the function stays, for this crate is never unloaded.
    match unsafe { libc::atexit(run) } {
        0 => Ok(()),
        _ => Err(Errno::NOMEM.into()),
    }
}

/// Ends this process at once: nothing of what was registered for its end runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Ends the process instead of letting a panic go on in code that is not its own: that of the process it is a copy of.
pub(crate) struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        exit_now(101);
    }
}

/// Ends this process by SIGKILL.
pub(crate) fn kill_self() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    exit_now(137)
}

/// Has the kernel kill this process when the *thread* ends that has started it, or no more.
pub(crate) fn end_with_parent(yes: bool) -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(yes.then_some(rustix::process::Signal::KILL))?)
}

/// The socket of a fresh start, which the parent put there.
///
/// # Safety
///
/// This process was started by [`fresh`], and the descriptor is taken once.
///
/// # Errors
///
/// When there is no such socket: then this process was not started so after all.
pub(crate) unsafe fn take_socket() -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; nothing is done with the number but asking what it is.
    let socket = unsafe { BorrowedFd::borrow_raw(SOCKET) };
    if rustix::net::sockopt::socket_type(socket)? != rustix::net::SocketType::SEQPACKET {
        return Err(Errno::NOTSOCK.into());
    }
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(SOCKET) })
}

/// Gives a fresh start the name that its file has, for `ps` and its kin: the kernel took it from `/proc/self/exe`.
pub(crate) fn restore_name() {
    let Ok(path) = rustix::fs::readlink("/proc/self/exe", Vec::new()) else { return };
    let file = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // The kernel cuts it to 15 bytes. Without a name nothing is lost.
    if let Ok(name) = CString::new(file) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// A directory for [`enter`].
pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes it this process's working directory.
pub(crate) fn enter(directory: &OwnedFd) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// As the standard library's start-up code does: a broken pipe is an error of the write, not a death.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

fn c_strings(list: Vec<OsString>) -> io::Result<Vec<CString>> {
    Ok(list.into_iter().map(|text| CString::new(text.into_vec())).collect::<Result<_, _>>()?)
}

fn pointers(list: &[CString]) -> Vec<*mut libc::c_char> {
    list.iter().map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(error).into()),
    }
}

/// What the child does between its birth and the `exec`.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised just now.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: initialised in `new`.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }

    /// Closes every descriptor from `first` on: those that were left open for any program (close-on-exec is not set for
    /// what comes from elsewhere). In the child that would be too late: its loader and what runs before `main` may have
    /// opened some. With a glibc before 2.34 such descriptors stay, as they do with any other program.
    fn close_from(&mut self, first: RawFd) -> io::Result<()> {
        type Add = unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, libc::c_int) -> libc::c_int;
        static ADD: OnceLock<Option<Add>> = OnceLock::new();
        let add = ADD.get_or_init(|| {
            // SAFETY: looks a name up.
            let found =
                unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"posix_spawn_file_actions_addclosefrom_np".as_ptr()) };
            // SAFETY: either null, which is `None`, or glibc's function of this name and type.
            unsafe { mem::transmute::<*mut libc::c_void, Option<Add>>(found) }
        });
        match add {
            // SAFETY: initialised in `new`.
            Some(add) => check(unsafe { add(&raw mut self.0, first) }),
            None => Ok(()),
        }
    }

    fn change_directory(&mut self, path: &CString) -> io::Result<()> {
        // SAFETY: initialised in `new`; the path is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, path.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, and not used after this.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// No signal is blocked in the child, as in any process that a shell starts.
    fn with_clear_signal_mask() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises what it is given.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised just now.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut none = MaybeUninit::uninit();
        // SAFETY: writes the set that it is given.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: both are initialised.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK as libc::c_short;
        // SAFETY: initialised above.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in the constructor, and not used after this.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
