//! How what one rank has made comes to the others of its node: bytes by a message, and memory by the process that has
//! it.
//!
//! | step | dead then: the maker | dead then: another one |
//! | --- | --- | --- |
//! | 1 rank 0 makes it and encodes it | the memory is gone with it | nothing |
//! | 2 all agree that it did | the same | nothing: its place in a barrier is given up with the maker's record, or found dead |
//! | 3 rank 0 tells all which file of which process it is | the same, or step 4 | the same |
//! | 4 each opens, compares and maps it | `/proc` has no such process, or another one, with other files: an error | what it has is the kernel's |
//! | 5 all agree that they did | all have it | the same: it is a party that died |
//! | 6 rank 0 closes what it kept open for the others | all have it | the same |
//!
//! In 2, 3 and 5 the living wait in MPI for the dead, and MPI decides how long.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use ::mpi::{topology::SimpleCommunicator, traits::Communicator};
use serde::{Deserialize, Serialize};

use super::{agree, tell};
use crate::{
    Error, Result,
    os::{
        files::{self, FileId},
        identity::Stamp,
    },
    process::Message,
    region::ticket::{self, Parcel},
};

/// What rank 0 tells the others.
#[derive(Serialize, Deserialize)]
struct Post {
    pid: u32,
    /// One for all, or one for each rank.
    letters: Vec<Letter>,
}

/// An encoded value.
#[derive(Serialize, Deserialize)]
struct Letter {
    bytes: Vec<u8>,
    files: Vec<OpenFile>,
}

/// A file that the sender has open.
#[derive(Serialize, Deserialize)]
struct OpenFile {
    number: RawFd,
    device: u64,
    inode: u64,
    read_only: bool,
}

/// What `make` of rank 0 makes, in all ranks, whose processes are these. All call this.
pub(super) fn share<T: Message>(
    ranks: &SimpleCommunicator,
    processes: &[Stamp],
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let made = (ranks.rank() == 0).then(|| make().and_then(|value| Made::of(value, processes)));
    // Its descriptors stay open until all have opened theirs.
    let made = agree(ranks, made.transpose())?;
    let mut bytes = made.as_ref().map(|made| made.bytes.clone()).unwrap_or_default();
    tell(ranks, 0, &mut bytes);
    agree(ranks, received(&bytes, ranks.rank() as usize))
}

/// What rank 0 has made, and keeps until the others have it.
struct Made<T> {
    bytes: Vec<u8>,
    _value: T,
    _parcels: Vec<Parcel>,
}

impl<T: Message> Made<T> {
    fn of(value: T, processes: &[Stamp]) -> Result<Self> {
        let mut parcels = vec![ticket::encode(&value)?];
        if !parcels[0].seats.is_empty() {
            // Who gets it counts, so each gets one that is its own.
            for _ in &processes[1..] {
                parcels.push(ticket::encode(&value)?);
            }
            for (parcel, process) in parcels.iter().zip(processes) {
                parcel.seats.iter().for_each(|seat| seat.expect(*process));
            }
        }
        let letters = parcels.iter().map(Letter::of).collect::<Result<_>>()?;
        let post = postcard::to_stdvec(&Post { pid: std::process::id(), letters });
        let bytes = post.map_err(|error| Error::invalid_argument(error.to_string()))?;
        Ok(Self { bytes, _value: value, _parcels: parcels })
    }
}

/// What is for this rank.
fn received<T: Message>(bytes: &[u8], rank: usize) -> Result<T> {
    let post: Post = postcard::from_bytes(bytes).map_err(|error| Error::corrupt(error.to_string()))?;
    let letter = post.letters.get(if post.letters.len() == 1 { 0 } else { rank });
    let letter = letter.ok_or_else(|| Error::corrupt(format!("nothing for rank {rank}")))?;
    let files: Arc<[OwnedFd]> = letter.files.iter().map(|file| file.open(post.pid)).collect::<Result<_>>()?;
    let (value, seats) = ticket::decode_with_seats(&letter.bytes, &files)?;
    seats.iter().for_each(|seat| seat.attend());
    Ok(value)
}

impl Letter {
    fn of(parcel: &Parcel) -> Result<Self> {
        let files = parcel.descriptors.iter().map(OpenFile::of).collect::<Result<_>>()?;
        Ok(Self { bytes: parcel.bytes.clone(), files })
    }
}

impl OpenFile {
    fn of(fd: &OwnedFd) -> Result<Self> {
        let facts = files::facts(fd).map_err(|error| Error::os("fstat", error))?;
        if !facts.is_regular {
            return Err(Error::unsupported("only memory can be shared by ranks so, and no sockets or pipes"));
        }
        let read_only = files::is_read_only(fd).map_err(|error| Error::os("fcntl", error))?;
        let FileId { device, inode } = facts.id;
        Ok(Self { number: fd.as_raw_fd(), device, inode, read_only })
    }

    fn open(&self, pid: u32) -> Result<OwnedFd> {
        let Self { number, device, inode, read_only } = *self;
        let opened = files::open_of(pid, number, read_only).and_then(|fd| {
            let is_it = files::facts(&fd)?.id == FileId { device, inode };
            // The process has died, and another one has its number.
            if is_it { Ok(fd) } else { Err(io::ErrorKind::NotFound.into()) }
        });
        opened.map_err(|error| Error::os(format!("opening memory of rank 0, /proc/{pid}/fd/{number}"), error))
    }
}
