//! What pool and worker send each other: values, and behind them what they are.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    os::files,
    region::ticket::{Arrived, Reader, Route},
};

/// Bytes after which no more values are put into a message.
pub(super) const ENOUGH: usize = 48 << 10;

/// Messages of more bytes go into memory of their own.
const MOST: usize = 64 << 10;

/// Bytes that each queue of a worker has room for: for as many messages as are under way, with what else there is.
pub(super) const ROOM: usize = 256 << 10;

/// Descriptors after which no more values are put into a message.
pub(super) const ENOUGH_DESCRIPTORS: usize = 64;

/// The type on record of the queues.
#[derive(Serialize, Deserialize)]
pub(super) struct Letter;

/// What the pool says.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    Run(Run),
    /// A state that is not needed any more.
    Forget(u32),
    /// To end, when all that was ordered before is done.
    Retire,
}

/// A chunk of tasks.
#[derive(Serialize, Deserialize)]
pub(super) struct Run {
    /// Where in the executable the function is that runs it.
    pub(super) work: u64,
    /// Its number, of those that this worker was sent.
    pub(super) number: u32,
    /// The number of its first task in the whole job.
    pub(super) first: u64,
    /// The tasks to be run.
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) form: Form,
    /// Whether the result of each task is to be sent at once.
    pub(super) each: bool,
    pub(super) state: Option<State>,
}

/// What all tasks of a job have in common.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) number: u32,
    /// How many descriptors belong to it, the memory that it lies in among them as the last. 0 for a worker that has it.
    pub(super) descriptors: u32,
}

/// What a worker says: what came of some tasks, one after the other.
#[derive(Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) number: u32,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) form: Form,
    /// How long they took, in nanoseconds.
    pub(super) nanos: u64,
    /// Those that failed. The values are of the others.
    pub(super) errors: Vec<(u32, Error)>,
}

/// How values are written.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Form {
    /// As they lie in memory.
    pub(super) plain: bool,
    /// In memory of their own, whose descriptor comes last.
    pub(super) apart: bool,
}

/// Values on their way.
#[derive(Default)]
pub(super) struct Payload {
    pub(super) form: Form,
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Payload {
    pub(super) fn new(plain: bool, (bytes, descriptors): (Vec<u8>, Vec<OwnedFd>)) -> Result<Self> {
        let mut payload = Self { form: Form { plain, apart: false }, bytes, descriptors };
        if payload.bytes.len() > MOST {
            payload.descriptors.push(memory_with(&payload.bytes)?);
            payload.bytes = Vec::new();
            payload.form.apart = true;
        }
        Ok(payload)
    }

    /// Another one of the same values.
    pub(super) fn duplicate(&self) -> Result<Self> {
        Ok(Self { form: self.form, bytes: self.bytes.clone(), descriptors: duplicates(&self.descriptors)? })
    }

    /// One that has come.
    pub(super) fn arrived(form: Form, bytes: Vec<u8>, mut descriptors: Vec<OwnedFd>) -> Result<Self> {
        let bytes = match form.apart {
            false => bytes,
            true => bytes_in(&descriptors.pop().ok_or_else(|| Error::corrupt("a message without its memory"))?)?,
        };
        Ok(Self { form, bytes, descriptors })
    }

    /// The values, of which only one reader can be made.
    pub(super) fn reader(&mut self, route: Route) -> Result<Reader<'_>> {
        let arrived = match self.descriptors.is_empty() {
            true => None,
            false => Some(Arrived::new(std::mem::take(&mut self.descriptors)).map_err(duplicating)?),
        };
        Ok(Reader::new(&self.bytes, arrived, route))
    }
}

pub(super) fn duplicates(descriptors: &[OwnedFd]) -> Result<Vec<OwnedFd>> {
    descriptors.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>().map_err(duplicating)
}

fn duplicating(error: std::io::Error) -> Error {
    Error::os("duplicating a descriptor", error)
}

/// Memory that holds these bytes.
pub(super) fn memory_with(bytes: &[u8]) -> Result<OwnedFd> {
    let written = files::anonymous().and_then(|memory| files::write_start(&memory, bytes).map(|()| memory));
    written.map_err(|error| Error::os(format!("writing {} bytes into shared memory", bytes.len()), error))
}

/// The bytes that such memory holds.
pub(super) fn bytes_in(memory: &OwnedFd) -> Result<Vec<u8>> {
    let read = || {
        let mut bytes = vec![0; files::facts(memory)?.size as usize];
        let length = files::read_start(memory, &mut bytes)?.len();
        bytes.truncate(length);
        Ok(bytes)
    };
    read().map_err(|error: std::io::Error| Error::os("reading shared memory", error))
}

/// Bytes of what tells how long the last part is.
const LENGTH: usize = size_of::<u32>();

/// Appends what the values are.
pub(super) fn seal(bytes: &mut Vec<u8>, what: &impl Serialize) -> Result<()> {
    let before = bytes.len();
    let tail = postcard::to_stdvec(what).map_err(|error| Error::corrupt(error.to_string()))?;
    bytes.extend_from_slice(&tail);
    bytes.extend_from_slice(&((bytes.len() - before) as u32).to_le_bytes());
    Ok(())
}

/// Takes off what the values are.
pub(super) fn unseal<T: DeserializeOwned>(bytes: &mut Vec<u8>) -> Result<T> {
    let wrong = || Error::corrupt("a message of a pool that makes no sense");
    let (rest, length) = bytes.split_last_chunk::<LENGTH>().ok_or_else(wrong)?;
    let start = rest.len().checked_sub(u32::from_le_bytes(*length) as usize).ok_or_else(wrong)?;
    let what = postcard::from_bytes(&rest[start..]).map_err(|_| wrong())?;
    bytes.truncate(start);
    Ok(what)
}
