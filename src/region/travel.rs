//! Handles and regions on their way to another process: what is written tells the region, and an offset.

use std::{os::fd::AsFd, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{
    Handle, Region, Resident, build,
    mapping::{Backing, Mapping},
    place::Place,
    ticket::{self, Route},
};
use crate::{
    Error, Result,
    os::files::{self, FileId, SHM_DIRECTORY},
};

/// What stands for a mapping while it travels.
#[derive(Serialize, Deserialize)]
enum Ticket {
    /// Its descriptor goes beside the message.
    Beside { descriptor: u32, backing: u8, read_only: bool },
    /// It is the memory that the message lies in.
    Here,
    /// It has this name, where only bytes can go.
    At { path: PathBuf, backing: u8, read_only: bool, device: u64, inode: u64 },
}

const BACKINGS: [Backing; 3] = [Backing::Anonymous, Backing::Named, Backing::File];

impl Ticket {
    fn issue(mapping: &Mapping) -> Result<Self> {
        let Route { home, bytes_only } = ticket::route()?;
        let (FileId { device, inode }, read_only) = (mapping.id(), mapping.is_read_only());
        if home == Some(mapping.id()) && !read_only {
            return Ok(Self::Here);
        }
        let backing = BACKINGS.iter().position(|known| *known == mapping.backing()).unwrap_or(0) as u8;
        if !bytes_only {
            return Ok(Self::Beside { descriptor: ticket::pack(mapping.as_fd())?, backing, read_only });
        }
        let path = files::path_of(mapping.as_fd()).map_err(|error| Error::os("reading a descriptor's name", error))?;
        if mapping.backing() == Backing::Anonymous || !files::names(&path, mapping.id()) {
            return Err(Error::unsupported("memory without a name cannot go through a queue that is found by name"));
        }
        Ok(Self::At { path, backing, read_only, device, inode })
    }

    fn redeem(self) -> Result<Region> {
        match self {
            Self::Here => {
                let here = ticket::route()?.home.and_then(|id| Mapping::known(id, false));
                here.map(Region).ok_or_else(|| Error::corrupt("a ticket for the memory that it came from"))
            }
            Self::Beside { descriptor, backing, read_only } => {
                // Such a one takes no descriptor, of which there may be none left.
                if let Some(known) = Mapping::known(ticket::file_of(descriptor)?, read_only) {
                    return Ok(Region(known));
                }
                build::received(ticket::unpack(descriptor)?, known(backing)?, read_only).map(Region)
            }
            Self::At { path, backing, read_only, device, inode } => {
                let place = match known(backing)? {
                    Backing::File => Place::File(path),
                    _ => match path.strip_prefix(SHM_DIRECTORY).ok().and_then(|name| name.to_str()) {
                        Some(name) => Place::Name(name.into()),
                        None => return Err(Error::corrupt(format!("a ticket for {}", path.display()))),
                    },
                };
                let region = build::open(&place, read_only)?;
                if region.id() != (FileId { device, inode }) {
                    return Err(Error::NotFound { name: format!("{place}, as it was when its handle was sent") });
                }
                Ok(Region(region))
            }
        }
    }
}

fn known(backing: u8) -> Result<Backing> {
    let known = BACKINGS.get(usize::from(backing)).copied();
    known.ok_or_else(|| Error::corrupt(format!("a ticket for the backing {backing}")))
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ticket = Ticket::issue(self.mapping()).map_err(|error| S::Error::custom(ticket::keep_reason(error)))?;
        ticket.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ticket::deserialize(deserializer)?.redeem().map_err(|error| D::Error::custom(ticket::keep_reason(error)))
    }
}

impl<R: Resident> Serialize for Handle<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !R::HAS_SEAT {
            return (self.region(), self.offset()).serialize(serializer);
        }
        let seat = R::reserve(self);
        let number = seat.as_ref().map(|seat| seat.number());
        if let Some(seat) = seat {
            ticket::add_seat(seat);
        }
        (self.region(), self.offset(), number).serialize(serializer)
    }
}

impl<'de, R: Resident> Deserialize<'de> for Handle<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (region, at, seat) = match R::HAS_SEAT {
            true => <(Region, u64, Option<u32>)>::deserialize(deserializer)?,
            false => <(Region, u64)>::deserialize(deserializer).map(|(region, at)| (region, at, None))?,
        };
        let handle = Self::at_offset(region.mapping().clone(), at);
        let handle = handle.map_err(|error| D::Error::custom(ticket::keep_reason(error)))?;
        if let Some(seat) = seat.and_then(|number| R::seat(&handle, number)) {
            ticket::add_seat(seat);
        }
        Ok(handle)
    }
}
