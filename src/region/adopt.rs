//! Segments that a program made with the `shared_memory` crate.
//!
//! That crate gives no descriptor, so the segment is opened again by its name, and compared with what is really mapped:
//! the name may lead elsewhere by now. Making the header follows [`RawInit`](crate::raw::init::RawInit): several
//! processes may adopt one segment at a time, and one that dies on the way leaves it to the next.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use shared_memory::Shmem;

use super::{
    Region, build,
    header::{self, Epoch, Header},
    mapping::{Backing, Mapping},
    memory::Memory,
    place::Place,
};
use crate::{
    Error, Result,
    os::{
        files::{self, FileId},
        identity,
    },
};

/// What is removed when the adopted segment's last handle in the process that adopted it is dropped.
#[derive(Debug)]
pub(super) struct Belongings {
    /// A fork's copy removes nothing.
    owner: u32,
    segment: PathBuf,
    id: FileId,
    /// The file that leads to it, where the segment was made with one.
    link: Option<PathBuf>,
}

impl Drop for Belongings {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // The name may have been removed, and given to other memory, in between.
            let segment = Some(&self.segment).filter(|path| files::names(path, self.id));
            for path in [segment, self.link.as_ref()].into_iter().flatten() {
                // Somebody may have been faster.
                let _ = files::remove(path);
            }
        }
    }
}

impl Region {
    /// Takes over a segment that was made or opened with the [`shared_memory`](https://docs.rs/shared_memory) crate.
    ///
    /// The segment must be zeroed, as that crate makes it, or a region already. If `shmem` owned it, it is removed when
    /// the last handle of this process is dropped (by this process: not by a fork of it). Its memory is committed here.
    ///
    /// # Errors
    ///
    /// [`Error::NotARegion`] when the segment has other contents, [`Error::NotFound`] when its name leads elsewhere by
    /// now, [`Error::InvalidSize`] when it is too small, and as [`open`](Self::open). `shmem` is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use shared_memory::ShmemConf;
    /// use shmkit::{Region, Value};
    ///
    /// let theirs = ShmemConf::new().size(1 << 16).create()?;
    /// let region = Region::adopt(theirs)?;
    /// let value = Value::new_in(&region, "answer", 42)?;
    /// assert_eq!(Value::<i32>::open_in(&region, "answer")?.get()?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn adopt(mut shmem: Shmem) -> Result<Self> {
        let name = shmem.get_os_id().trim_start_matches('/').to_owned();
        let path = Place::Name(name.clone()).path()?;
        let fd = files::open_existing(&path, false).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { name: name.clone() },
            _ => Error::os(format!("opening {name}"), error),
        })?;
        build::look(&fd, &|| name.clone())?;
        let facts = files::facts(&fd).map_err(|error| Error::os("fstat", error))?;
        let mapped = identity::file_mapped_at(shmem.as_ptr().addr());
        if mapped.map_err(|error| Error::os("reading /proc/self/maps", error))? != Some(facts.id) {
            return Err(Error::NotFound { name: format!("{name} (the name leads to another segment by now)") });
        }
        let mapping = match Mapping::known(facts.id, false) {
            Some(known) => known,
            None => {
                if facts.size < header::LEAST {
                    let reason = format!("a segment of {} bytes; a region has at least {}", facts.size, header::LEAST);
                    return Err(Error::InvalidSize { reason });
                }
                build::reserve(&fd, 0..facts.size, Backing::Named)?;
                let mapping = Mapping::new(fd, facts, Backing::Named, false, false)?;
                make_header(mapping.memory(), Epoch::here(facts.id)?)?;
                mapping.check()?;
                mapping.publish_found()
            }
        };
        let link = shmem.get_flink_path().cloned();
        if shmem.set_owner(false) {
            mapping.own(Belongings { owner: std::process::id(), segment: path, id: facts.id, link });
        }
        Ok(Self(mapping))
    }
}

/// Makes the segment a region, unless it is one.
fn make_header(memory: Memory<'_>, epoch: Epoch) -> Result<()> {
    let header = Header::of(memory)?;
    if !header.is_blank() {
        return Ok(());
    }
    if !header.could_be_unfinished(memory.len()) {
        return Err(Error::NotARegion { reason: "the segment has other contents".into() });
    }
    let rest = memory.slice::<AtomicU8>(header::SIZE, memory.len() - header::SIZE)?;
    if let Some(at) = rest.iter().position(|byte| byte.load(Relaxed) != 0)
        && header.is_blank()
    {
        let at = at as u64 + header::SIZE;
        return Err(Error::NotARegion { reason: format!("the segment has other contents (at byte {at})") });
    }
    Header::make(memory, header::buckets_for(memory.len()), memory.len(), false, epoch)?;
    header.set_complete();
    Ok(())
}
