//! Descriptors of shared memory: made, found, checked and linked under a name.
//!
//! POSIX shared memory is the files of one directory, a memory file system. glibc's `shm_open` opens them there, and
//! so do we: the steps that make creation safe (`O_TMPFILE`, `linkat`) have no form with a POSIX name.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use rustix::{
    buffer::spare_capacity,
    fs::{
        AtFlags, CWD, FallocateFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags, Stat, fallocate,
        fcntl_add_seals, fcntl_get_seals, fcntl_getfl, flock, fstat, fstatfs, fstatvfs, ftruncate, linkat,
        memfd_create, open, unlink,
    },
    io::{Errno, fcntl_dupfd_cloexec},
};

/// Where POSIX shared memory lives.
pub(crate) const SHM_DIRECTORY: &str = "/dev/shm";

/// The mode of everything that is made: nobody else may read or write.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What tells one file from every other while it exists: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What is known of a file before a byte of it is trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) id: FileId,
    pub(crate) size: u64,
    /// Bytes that it takes: fewer than its size where it has holes.
    pub(crate) allocated: u64,
    pub(crate) is_regular: bool,
    pub(crate) owner: u32,
    pub(crate) mode: u32,
    pub(crate) links: u64,
}

pub(crate) fn facts(fd: impl AsFd) -> io::Result<Facts> {
    let stat: Stat = fstat(fd)?;
    Ok(Facts {
        id: FileId { device: stat.st_dev, inode: stat.st_ino },
        size: stat.st_size.unsigned_abs(),
        allocated: stat.st_blocks.unsigned_abs().saturating_mul(512),
        is_regular: FileType::from_raw_mode(stat.st_mode).is_file(),
        owner: stat.st_uid,
        mode: stat.st_mode & 0o7777,
        links: stat.st_nlink,
    })
}

/// The directory that this process works in; `None` where it may not look at it.
pub(crate) fn working_directory() -> Option<FileId> {
    let stat = rustix::fs::stat(".").ok()?;
    Some(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// Whether both lead to one file, and allow the same.
pub(crate) fn are_alike(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(facts(one)?.id == facts(other)?.id && fcntl_getfl(one)? == fcntl_getfl(other)?)
}

/// The user whose files this process may trust.
pub(crate) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Moves a new descriptor away from the numbers of the standard streams, which it got where those are closed: what the
/// program prints would go into shared memory, or to a child as a message.
pub(crate) fn off_the_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() < FIRST_FREE { Ok(fcntl_dupfd_cloexec(&fd, FIRST_FREE)?) } else { Ok(fd) }
}

/// The first number after those of the standard streams.
const FIRST_FREE: RawFd = 3;

/// Memory without a name, which the kernel frees with its last mapping and descriptor. Its size may still be set.
pub(crate) fn anonymous() -> io::Result<OwnedFd> {
    off_the_streams(memfd_create("shmkit", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// The same in the huge pages that the administrator has set aside.
pub(crate) fn anonymous_in_huge_pages() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
    off_the_streams(memfd_create("shmkit", flags)?)
}

/// Bytes of the pages that a file's memory has.
pub(crate) fn page_size(fd: impl AsFd) -> io::Result<usize> {
    const HUGETLBFS: u32 = 0x9584_58f6;
    let facts = fstatfs(fd)?;
    let is_huge = facts.f_type as u32 == HUGETLBFS;
    Ok(if is_huge { facts.f_bsize.unsigned_abs() as usize } else { rustix::param::page_size() })
}

/// Whether it is a file in memory: to read it waits for no disk, and for nobody.
pub(crate) fn is_in_memory(fd: impl AsFd) -> bool {
    // Other files have no seals.
    fcntl_get_seals(fd).is_ok()
}

/// Forbids shrinking, for ever and for everybody: a peer that truncated the memory would kill those who touch it.
pub(crate) fn seal_against_shrinking(fd: impl AsFd) -> io::Result<()> {
    Ok(fcntl_add_seals(fd, SealFlags::SHRINK)?)
}

#[cfg(feature = "death-points")]
static WITHOUT_NAMELESS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// For tests: this process behaves as if no file system had nameless files.
#[cfg(feature = "death-points")]
pub fn without_nameless_files() {
    WITHOUT_NAMELESS.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// A file without a name in `directory`; `None` where the file system has no such thing.
pub(crate) fn nameless_in(directory: &Path) -> io::Result<Option<OwnedFd>> {
    #[cfg(feature = "death-points")]
    if WITHOUT_NAMELESS.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(None);
    }
    match open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, PRIVATE) {
        Ok(fd) => off_the_streams(fd).map(Some),
        // EISDIR: a kernel or file system that does not know O_TMPFILE.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a nameless file its name, unless something has it: that is `AlreadyExists`.
pub(crate) fn link_at(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    // By way of /proc: AT_EMPTY_PATH would need a capability.
    let source = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// A new, empty file; `AlreadyExists` when something has the name.
pub(crate) fn create_new(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    off_the_streams(open(path, flags, PRIVATE)?)
}

/// An existing file. Never a symbolic link, and a pipe or device does not block.
pub(crate) fn open_existing(path: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    off_the_streams(open(path, access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())?)
}

/// Where an open file is, or was.
pub(crate) fn path_of(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    Ok(unlink(path)?)
}

/// Whether `path` names the file `id`.
pub(crate) fn names(path: &Path, id: FileId) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileId { device: stat.st_dev, inode: stat.st_ino } == id)
}

/// Whether anything has this name.
pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok()
}

/// Sets the size; new bytes read as zero.
pub(crate) fn resize(fd: impl AsFd, size: u64) -> io::Result<()> {
    Ok(ftruncate(fd, size)?)
}

/// Reserves the memory of these bytes, so that no later touch can fail for want of it. A smaller file grows.
pub(crate) fn commit(fd: impl AsFd, bytes: Range<u64>) -> io::Result<()> {
    loop {
        match fallocate(&fd, FallocateFlags::empty(), bytes.start, bytes.end - bytes.start) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Bytes that the file system of `fd` has left.
pub(crate) fn room(fd: impl AsFd) -> u64 {
    fstatvfs(fd).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The first bytes of the file, at most `buffer.len()`; the part of `buffer` that was filled.
pub(crate) fn read_start(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<&[u8]> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&fd, &mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(&buffer[..filled])
}

/// Appends the first `length` bytes of the file, for which `bytes` has room. A file that is shorter is an error; one that
/// grows meanwhile is not read for ever.
pub(crate) fn append(fd: impl AsFd, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let before = bytes.len();
    while bytes.len() - before < length {
        let at = (bytes.len() - before) as u64;
        match rustix::io::pread(&fd, spare_capacity(bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // There may have been more room.
    bytes.truncate(before + length);
    Ok(())
}

/// Writes `bytes` at the start of the file.
pub(crate) fn write_start(fd: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(&fd, &bytes[written..], written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes the lock that belongs to the open file, without waiting; the kernel releases it when its holders have died.
pub(crate) fn try_lock_file(fd: impl AsFd) -> io::Result<bool> {
    match flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes the same lock, and waits for it.
pub(crate) fn lock_file(fd: impl AsFd) -> io::Result<()> {
    loop {
        match flock(&fd, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

pub(crate) fn unlock_file(fd: impl AsFd) {
    // It cannot fail for an open file, and closing it would do the same.
    let _ = flock(fd, FlockOperation::Unlock);
}

/// The name of the network file system that `fd` is on, if it is: mappings of one file differ between its machines.
pub(crate) fn network_file_system(fd: impl AsFd) -> io::Result<Option<&'static str>> {
    // Numbers of `statfs(2)` and linux/magic.h; Lustre's and GPFS's from their own headers.
    Ok(match fstatfs(fd)?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        0x0102_1997 => Some("9P"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        0x7375_7245 => Some("Coda"),
        _ => None,
    })
}
