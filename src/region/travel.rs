//! Handles and regions on their way to another process: what is written is a descriptor's number and an offset.

use std::os::fd::AsFd;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{
    Handle, Region, Resident, build,
    mapping::{Backing, Mapping},
    ticket,
};
use crate::{Error, Result};

/// What stands for a mapping while it travels: its descriptor goes beside the message.
#[derive(Serialize, Deserialize)]
struct Ticket {
    descriptor: u32,
    backing: u8,
    read_only: bool,
}

const BACKINGS: [Backing; 3] = [Backing::Anonymous, Backing::Named, Backing::File];

impl Ticket {
    fn issue(mapping: &Mapping) -> Result<Self> {
        let backing = BACKINGS.iter().position(|known| *known == mapping.backing()).unwrap_or(0) as u8;
        Ok(Self { descriptor: ticket::pack(mapping.as_fd())?, backing, read_only: mapping.is_read_only() })
    }

    fn redeem(&self) -> Result<Region> {
        let backing = BACKINGS.get(usize::from(self.backing)).copied();
        let backing = backing.ok_or_else(|| Error::corrupt(format!("a ticket for the backing {}", self.backing)))?;
        build::received(ticket::unpack(self.descriptor)?, backing, self.read_only).map(Region)
    }
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
