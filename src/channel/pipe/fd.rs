//! Descriptors as messages.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::region::ticket;

/// A file descriptor that can travel: as an argument of a process, or in a message of a pipe or queue.
///
/// The receiver gets one of its own for the same open file, with another number.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{fs::File, io::Read, os::fd::OwnedFd};
/// use shmkit::pipe::{self, Fd};
///
/// let (sender, receiver) = pipe::simplex()?;
/// sender.send(&("manifest".to_string(), Fd::from(OwnedFd::from(File::open("Cargo.toml")?))))?;
/// let (name, fd) = receiver.recv()?;
/// let mut text = String::new();
/// File::from(OwnedFd::from(fd)).read_to_string(&mut text)?;
/// assert!(name == "manifest" && text.contains("[package]"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Fd(OwnedFd);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        fd.0
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = ticket::pack(self.as_fd()).map_err(|error| S::Error::custom(ticket::keep_reason(error)))?;
        number.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = ticket::unpack(u32::deserialize(deserializer)?);
        fd.map(Self).map_err(|error| D::Error::custom(ticket::keep_reason(error)))
    }
}
