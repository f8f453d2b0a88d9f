//! Making and opening regions: the steps, and what a death leaves after each.
//!
//! A nameless file is made, filled and only then linked under its name (`O_TMPFILE`, `linkat`), so a name never
//! leads to a half-made region: a creator that dies leaves nothing.
//!
//! Where the file system has no nameless files, the file gets its name first and `flock` tells the living from the dead:
//!
//! | step | the name leads to | a creator that died here | `open` says | `create`, `open_or_create` |
//! | --- | --- | --- | --- | --- |
//! | 1 `O_EXCL` | an empty file | unlocked | not ready | make it anew |
//! | 2 `flock` | an empty file, locked | unlocked | not ready | wait for the lock, then make it anew |
//! | 3 first bytes | [`Glance::Unfinished`] | unlocked | not ready | the same |
//! | 4 size, commit, header, contents | [`Glance::Unfinished`] | unlocked | not ready | the same |
//! | 5 `complete` | a region | complete | opens it | exists, or opens it |
//!
//! Both ways the opener looks at the descriptor first: type, owner, mode, size, first bytes. Only then it is mapped.

use std::{
    io::ErrorKind,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use memmap2::Advice;
use rustix::io::Errno;

use super::{
    directory::{Directory, Intent},
    header::{self, Epoch, Glance, Header, glance},
    mapping::{Backing, Mapping},
    place::Place,
    placement::{Numa, Pages},
};
use crate::{
    Error, Result,
    os::{files, memory},
    raw::points::point,
};

/// What a new region is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) size: u64,
    pub(super) buckets: u64,
    /// How many bytes at the end have addresses, and get no memory before they are wanted: see
    /// [`Directory::grow`].
    pub(super) later: u64,
    pub(super) sparse: bool,
    pub(super) dump: bool,
    pub(super) numa: Option<Numa>,
    pub(super) pages: Pages,
}

/// Puts into a new region what it is made for.
pub(super) type Fill<'f> = &'f dyn Fn(Directory<'_>) -> Result<()>;

pub(super) fn anonymous(recipe: Recipe, fill: Fill<'_>) -> Result<Arc<Mapping>> {
    let fd = if recipe.pages == Pages::Huge { files::anonymous_in_huge_pages() } else { files::anonymous() };
    let fd = fd.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL | libc::ENODEV | libc::EPERM) if recipe.pages == Pages::Huge => {
            Error::unsupported(format!("huge pages: the kernel has none ({error})"))
        }
        Some(libc::EMFILE | libc::ENFILE) => Error::os(
            "memfd_create (each anonymous object has a descriptor of its own; many fit one region: `*_in(&region, ..)`)",
            error,
        ),
        _ => Error::os("memfd_create", error),
    })?;
    Ok(build(fd, Backing::Anonymous, recipe, fill)?.publish())
}

pub(super) fn at_place(place: &Place, intent: Intent, recipe: Recipe, fill: Fill<'_>) -> Result<Arc<Mapping>> {
    let path = place.path()?;
    let backing = backing(place);
    // Each turn ends with an answer unless another process made or removed the name in between.
    for _ in 0..100 {
        match open(place, false) {
            Ok(_) if intent == Intent::Create => return Err(Error::AlreadyExists { name: place.to_string() }),
            Err(Error::NotReady { .. }) if intent != Intent::Open => {
                match remake(place, &path, intent, recipe, fill)? {
                    Some(mapping) => return Ok(mapping),
                    None => continue,
                }
            }
            Err(Error::NotFound { .. }) if intent != Intent::Open => {}
            // Something has the name, be it a region or not.
            Err(error) if intent == Intent::Create && files::exists(&path) => {
                return Err(match error {
                    Error::InvalidName { .. } | Error::Os { .. } => error,
                    _ => Error::AlreadyExists { name: place.to_string() },
                });
            }
            other => return other,
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = match files::nameless_in(directory).map_err(|error| cannot_make(place, error))? {
            Some(fd) => {
                let mut mapping = build(fd, backing, recipe, fill)?;
                point();
                files::link_at(mapping.as_fd(), &path).map(|()| {
                    mapping.reopen(&path);
                    mapping.publish()
                })
            }
            None => match files::create_new(&path) {
                Ok(fd) => match make_under_name(fd, &path, backing, recipe, fill)? {
                    Some(mapping) => Ok(mapping),
                    None => continue,
                },
                Err(error) => Err(error),
            },
        };
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map_err(|error| cannot_make(place, error)),
        }
    }
    Err(Error::NotReady { name: place.to_string() })
}

/// The region at `place`.
pub(super) fn open(place: &Place, read_only: bool) -> Result<Arc<Mapping>> {
    let name = || place.to_string();
    let fd = files::open_existing(&place.path()?, read_only).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => Error::NotFound { name: name() },
        Some(libc::ELOOP) => Error::WrongOwner { name: name(), reason: "it is a symbolic link".into() },
        Some(libc::EACCES | libc::EPERM) => Error::WrongOwner { name: name(), reason: "permission denied".into() },
        _ => Error::os(format!("opening {}", name()), error),
    })?;
    match look(&fd, &name)? {
        Glance::Empty | Glance::Unfinished => Err(Error::NotReady { name: name() }),
        Glance::Worth => {
            if backing(place) == Backing::File {
                refuse_network(&fd)?;
            }
            Mapping::attach(fd, backing(place), read_only)
        }
    }
}

/// The region behind a descriptor that another process sent.
pub(super) fn received(fd: OwnedFd, backing: Backing, read_only: bool) -> Result<Arc<Mapping>> {
    match look(&fd, &|| "the descriptor".into())? {
        Glance::Worth => Mapping::attach(fd, backing, read_only),
        _ => Err(Error::NotARegion { reason: "the descriptor leads to a file that is not finished".into() }),
    }
}

pub(super) fn unlink(place: &Place) -> Result<()> {
    files::remove(&place.path()?).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NotFound { name: place.to_string() },
        _ => Error::os(format!("removing {place}"), error),
    })
}

fn backing(place: &Place) -> Backing {
    match place {
        Place::Name(_) => Backing::Named,
        Place::File(_) => Backing::File,
    }
}

/// Looks at what a descriptor leads to, before a byte of it is mapped.
pub(super) fn look(fd: &OwnedFd, name: &dyn Fn() -> String) -> Result<Glance> {
    let facts = files::facts(fd).map_err(|error| Error::os("fstat", error))?;
    if !facts.is_regular {
        return Err(Error::NotARegion { reason: "it is not a regular file".into() });
    }
    let wrong = |reason| Err(Error::WrongOwner { name: name(), reason });
    if facts.owner != files::user() {
        return wrong(format!("it belongs to user {}, this process to {}", facts.owner, files::user()));
    }
    if facts.mode & 0o022 != 0 && facts.links > 0 {
        return wrong(format!("others may write to it (mode {:o})", facts.mode));
    }
    let mut buffer = [0; header::GLANCE];
    let start = files::read_start(fd, &mut buffer).map_err(|error| Error::os("reading the header", error))?;
    Ok(glance(start))
}

fn refuse_network(fd: &OwnedFd) -> Result<()> {
    match files::network_file_system(fd).map_err(|error| Error::os("fstatfs", error))? {
        Some(kind) => Err(Error::unsupported(format!("a region in a file on {kind}: its memory is not shared"))),
        None => Ok(()),
    }
}

/// Gives a file its size, memory, header and contents.
fn build(fd: OwnedFd, backing: Backing, recipe: Recipe, fill: Fill<'_>) -> Result<Mapping> {
    if backing == Backing::File {
        refuse_network(&fd)?;
    } else if !recipe.sparse && recipe.pages != Pages::Huge {
        check_room(recipe.size - recipe.later)?;
    }
    point();
    // What a mapping says of its pages must be said before there are any.
    let is_later = recipe.numa.is_some() || recipe.pages == Pages::Transparent;
    if recipe.sparse || is_later {
        files::resize(&fd, recipe.size).map_err(|error| Error::os(format!("making {} bytes", recipe.size), error))?;
    } else {
        // Reserves the memory and sets the size in one step.
        reserve(&fd, 0..recipe.size - recipe.later, backing).map_err(|error| match error {
            Error::OutOfMemory { needed, left, .. } if recipe.pages == Pages::Huge => Error::unsupported(format!(
                "huge pages: {needed} bytes of them are needed, {left} are free (/proc/sys/vm/nr_hugepages sets some aside)"
            )),
            other => other,
        })?;
        if recipe.later > 0 {
            files::resize(&fd, recipe.size)
                .map_err(|error| Error::os(format!("making {} bytes", recipe.size), error))?;
        }
    }
    if backing == Backing::Anonymous {
        files::seal_against_shrinking(&fd).map_err(|error| Error::os("sealing the memory", error))?;
    }
    let facts = files::facts(&fd).map_err(|error| Error::os("fstat", error))?;
    let mapping = Mapping::new(fd, facts, backing, false, recipe.dump)?;
    if let Some(numa) = recipe.numa {
        mapping.place(0..recipe.size as usize, numa)?;
    }
    if recipe.pages == Pages::Transparent {
        // Where the kernel has none to give, there is nothing to do about it.
        let _ = mapping.advise(Advice::HugePage, 0..recipe.size as usize);
        if !recipe.sparse {
            // By touches: a reservation would take usual pages. Where it fails, the reservation says why.
            let _ = mapping.advise(Advice::PopulateWrite, 0..(recipe.size - recipe.later) as usize);
        }
    }
    if is_later && !recipe.sparse {
        reserve(&mapping, 0..recipe.size - recipe.later, backing)?;
    }
    let memory = mapping.memory();
    let committed = recipe.size - recipe.later;
    Header::make(memory, recipe.buckets, committed, recipe.sparse, Epoch::here(mapping.id())?)?;
    fill(mapping.directory()?)?;
    Header::of(memory)?.set_complete();
    Ok(mapping)
}

/// Whether the machine has so much memory left.
pub(super) fn check_room(size: u64) -> Result<()> {
    memory::check_room(size).map_err(|shortage| Error::OutOfMemory {
        needed: size,
        left: shortage.left,
        place: shortage.place,
    })
}

/// Reserves the memory of some bytes of a file, which grows if it is smaller.
pub(super) fn reserve(fd: impl AsFd, bytes: Range<u64>, backing: Backing) -> Result<()> {
    let (fd, size) = (fd.as_fd(), bytes.end - bytes.start);
    let place = if backing == Backing::Named { "in /dev/shm" } else { "on the file system" };
    files::commit(fd, bytes).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT) => {
            Error::OutOfMemory { needed: size, left: files::room(fd), place: place.into() }
        }
        Some(libc::EFBIG) => Error::invalid_size(format!("{size} bytes are more than a file can have")),
        Some(libc::EOPNOTSUPP) => Error::unsupported("this file system cannot reserve space: use sparse(true)"),
        _ => Error::os(format!("reserving {size} bytes"), error),
    })
}

/// Steps 2 to 5 for a file that has its name. `None` when another process was faster.
fn make_under_name(
    fd: OwnedFd,
    path: &Path,
    backing: Backing,
    recipe: Recipe,
    fill: Fill<'_>,
) -> Result<Option<Arc<Mapping>>> {
    point();
    files::lock_file(&fd).map_err(|error| Error::os("locking the region's file", error))?;
    let facts = files::facts(&fd).map_err(|error| Error::os("fstat", error))?;
    if !files::names(path, facts.id) || look(&fd, &|| path.display().to_string())? == Glance::Worth {
        return Ok(None);
    }
    let begin = |fd: &OwnedFd| {
        files::resize(fd, 0)?;
        point();
        files::write_start(fd, &header::FIRST_BYTES)
    };
    point();
    begin(&fd).map_err(|error| Error::os(format!("writing {}", path.display()), error))?;
    // Holds the lock until the name is removed, if it must be: `build` closes `fd` when it fails.
    let lock = fd.try_clone().map_err(|error| Error::os("duplicating a descriptor", error))?;
    match build(fd, backing, recipe, fill) {
        Ok(mapping) => {
            point();
            files::unlock_file(&mapping);
            Ok(Some(mapping.publish()))
        }
        Err(error) => {
            // Still under the lock, without which the file could be another's region by now.
            if files::names(path, facts.id) {
                let _ = files::remove(path);
            }
            drop(lock);
            Err(error)
        }
    }
}

/// Makes anew what a dead creator left under the name. `None` when there is nothing left to remake.
fn remake(place: &Place, path: &Path, intent: Intent, recipe: Recipe, fill: Fill<'_>) -> Result<Option<Arc<Mapping>>> {
    let fd = match files::open_existing(path, false) {
        Ok(fd) => fd,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_make(place, error)),
    };
    // A creator at work will finish: whoever must create has lost, the others wait for it.
    let is_free = files::try_lock_file(&fd).map_err(|error| Error::os("locking the region's file", error))?;
    if !is_free && intent == Intent::Create {
        return Err(Error::AlreadyExists { name: place.to_string() });
    }
    make_under_name(fd, path, backing(place), recipe, fill)
}

fn cannot_make(place: &Place, error: std::io::Error) -> Error {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => Error::NotFound { name: format!("the directory of {place}") },
        _ => Error::os(format!("creating {place}"), error),
    }
}
