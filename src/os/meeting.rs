//! Sockets with a path, where programs meet that do not start each other.
//!
//! Source: `unix(7)`. A socket in a directory that only its owner can look into is the owner's; who connects is known by the
//! kernel (`SO_PEERCRED`), whatever the directory.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::Path,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect as connect_to,
        listen as listen_at, socket_with, sockopt::socket_peercred,
    },
    process::{Resource, getrlimit, setrlimit},
};

use super::files::{self, off_the_streams};

/// How many may wait to be let in.
const BACKLOG: i32 = 128;

/// The directory of a path, which is the present one if it names none.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is wrong with a directory for a socket, if anything is. One that is missing is made.
pub(crate) fn check_directory(directory: &Path) -> io::Result<Option<String>> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let facts = fs::metadata(directory)?;
    let (owner, mode) = (facts.uid(), facts.mode() & 0o777);
    Ok(if owner != files::user() {
        Some(format!("the directory belongs to user {owner}"))
    } else if mode & 0o077 != 0 {
        Some(format!("the directory has mode {mode:o}, others can look into it: 700 is right"))
    } else {
        None
    })
}

/// A socket at a path; `AddrInUse` if another one listens there. One that nobody listens at any more is replaced.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket(SocketFlags::empty())?;
    // Of two who replace a dead one, the second must not remove the first one's.
    let directory = fs::File::open(directory_of(path))?;
    files::lock_file(&directory)?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            // To connect to what is no socket is refused too, and that is somebody's file.
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            // Without a wait: one that is stopped, or busy, is there too.
            match connect_with(path, SocketFlags::NONBLOCK) {
                Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(Errno::ADDRINUSE.into()),
            }
            files::remove(path)?;
            bind(&socket, &address)?;
        }
        other => other?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listen_at(&socket, BACKLOG)?;
    Ok(socket)
}

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    off_the_streams(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | flags, None)?)
}

/// The next one that has connected.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    off_the_streams(accept_with(listener, SocketFlags::CLOEXEC)?)
}

/// Connects, and waits for its turn while too many others do.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    connect_with(path, SocketFlags::empty())
}

fn connect_with(path: &Path, flags: SocketFlags) -> io::Result<OwnedFd> {
    let (socket, address) = (socket(flags)?, SocketAddrUnix::new(path)?);
    loop {
        match connect_to(&socket, &address) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(|()| socket)?),
        }
    }
}

/// Whether the process at the other end was one of this user's when it connected.
pub(crate) fn is_of_this_user(socket: impl AsFd) -> bool {
    socket_peercred(socket).is_ok_and(|peer| peer.uid.as_raw() == files::user())
}

/// Has this process open as many descriptors as it may allow itself: so many.
pub(crate) fn allow_many_descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without it there is room for fewer.
    let _ = setrlimit(Resource::Nofile, limit);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}
