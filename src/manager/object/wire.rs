//! How values are written in requests and answers.
//!
//! | byte | what follows |
//! | --- | --- |
//! | 0, 1, 2 | nothing: `None`, `false`, `true` |
//! | 3 | a whole number, signed |
//! | 4 | the 8 bytes of a float, little endian |
//! | 5, 6 | length, and text in UTF-8, or bytes |
//! | 7 | count, and so many values |
//! | 8 | count, and so many keys with their values |
//! | 9 | a proxy: a byte for its kind, the number of its server, its number there |
//!
//! Numbers are written in groups of 7 bits, the lowest first, all but the last with the highest bit set; the sign of
//! signed ones is in the lowest bit.
//!
//! A reader gets bytes from anywhere. It reads no value that is nested deeper than [`DEPTH`], nor one of more than
//! [`PARTS`] parts, each of which takes [`PART`] bytes in memory and as little as one byte here.

use std::sync::Arc;

use super::{Map, Object};
use crate::{
    Error, Result,
    manager::{client::Server, proxy::Proxy},
};

/// How deep values can be nested.
pub(in super::super) const DEPTH: usize = 128;

/// How much deeper they can lie in answers, which say more than a value: in the list of a batch's answers, in a list of items,
/// and in an item.
const AROUND: usize = 4;

/// The most parts of what is read at a time.
const PARTS: usize = 1 << 24;

/// Of an answer: a key and a value that came with two requests, and what is around them.
const PARTS_OF_ANSWER: usize = 2 * PARTS + 64;

/// For so many there is room from the start: not for all, for a count alone costs whoever wrote it nothing.
const AT_ONCE: usize = 1024;

/// What a part takes in memory, in bytes.
const PART: usize = 32;

/// Parts that a dict takes besides its items.
const DICT_PARTS: usize = 12;

/// What can be written and read.
pub(in super::super) trait Wire: Sized {
    /// # Errors
    ///
    /// `NotSendable`.
    fn write(&self, into: &mut Vec<u8>) -> Result<()>;

    /// # Errors
    ///
    /// `Corrupt`, `TooLarge`.
    fn read(from: &mut Reader<'_>) -> Result<Self>;
}

/// Bytes that are being read.
pub(in super::super) struct Reader<'a> {
    rest: &'a [u8],
    room: Room,
    depth: usize,
    home: Home<'a>,
}

/// Room in memory for what is read, or for what is to be an answer that the other side can read.
pub(in super::super) struct Room {
    parts: usize,
    /// For the bytes of texts, if they count: where each came with a request, they are as many as that had.
    bytes: usize,
    /// What there was of both in the beginning.
    of: (usize, usize),
}

impl Room {
    pub(in super::super) fn new(parts: usize, bytes: usize) -> Self {
        Self { parts, bytes, of: (parts, bytes) }
    }

    pub(in super::super) fn of_answer() -> Self {
        Self::new(PARTS_OF_ANSWER, usize::MAX)
    }

    /// For several that go together, of which each may be the same value.
    pub(in super::super) fn of_answers() -> Self {
        Self::new(PARTS_OF_ANSWER, PARTS_OF_ANSWER * PART)
    }

    /// # Errors
    ///
    /// `TooLarge`, in bytes: at least so many are wanted.
    #[inline]
    pub(in super::super) fn take(&mut self, parts: usize) -> Result<()> {
        match self.parts.checked_sub(parts) {
            Some(rest) => {
                self.parts = rest;
                Ok(())
            }
            None => Err(self.too_small_for(parts)),
        }
    }

    #[cold]
    fn too_small_for(&self, parts: usize) -> Error {
        let bytes = |parts: usize| (parts as u64).saturating_mul(PART as u64);
        Error::TooLarge { size: bytes(parts.saturating_add(self.of.0 - self.parts)), limit: bytes(self.of.0) }
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<()> {
        let Some(rest) = self.bytes.checked_sub(bytes) else {
            let size = bytes.saturating_add(self.of.1 - self.bytes);
            return Err(Error::TooLarge { size: size as u64, limit: self.of.1 as u64 });
        };
        self.bytes = rest;
        Ok(())
    }

    /// For a value and all that is in it, as a reader counts it. Looks no further than there is room.
    ///
    /// # Errors
    ///
    /// `TooLarge`.
    pub(in super::super) fn hold(&mut self, value: &Object) -> Result<()> {
        self.take(1)?;
        match value {
            Object::Str(text) => self.take_bytes(text.len()),
            Object::Bytes(bytes) => self.take_bytes(bytes.len()),
            Object::List(items) => self.hold_all(items),
            Object::Dict(map) => self.hold_map(map),
            _ => Ok(()),
        }
    }

    /// # Errors
    ///
    /// `TooLarge`.
    pub(in super::super) fn hold_all(&mut self, items: &[Object]) -> Result<()> {
        self.has(items.len())?;
        items.iter().try_for_each(|item| self.hold(item))
    }

    /// # Errors
    ///
    /// `TooLarge`.
    pub(in super::super) fn hold_map(&mut self, map: &Map) -> Result<()> {
        self.take(if map.is_empty() { 0 } else { DICT_PARTS })?;
        self.has(map.len().saturating_mul(2))?;
        map.iter().try_for_each(|(key, value)| {
            self.hold(key)?;
            self.hold(value)
        })
    }

    fn has(&self, parts: usize) -> Result<()> {
        if parts > self.parts { Err(self.too_small_for(parts)) } else { Ok(()) }
    }
}

/// Who reads, and so what proxies are.
#[derive(Clone, Copy)]
pub(in super::super) enum Home<'a> {
    /// There are none.
    Nowhere,
    /// The server with this number, whose own they must be.
    Server(u64),
    /// A client: they lead to this server, which has counted them.
    Client(&'a Arc<Server>),
}

fn cut() -> Error {
    Error::corrupt("a message of a manager that ends too early")
}

impl<'a> Reader<'a> {
    pub(in super::super) fn new(bytes: &'a [u8], home: Home<'a>) -> Self {
        Self { rest: bytes, room: Room::new(PARTS, usize::MAX), depth: DEPTH, home }
    }

    pub(in super::super) fn of_answer(bytes: &'a [u8], home: Home<'a>) -> Self {
        Self { rest: bytes, room: Room::of_answer(), depth: DEPTH + AROUND, home }
    }

    pub(in super::super) fn home(&self) -> Home<'a> {
        self.home
    }

    #[inline]
    pub(in super::super) fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(in super::super) fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The number of things that follow, each of at least one byte.
    pub(in super::super) fn count(&mut self) -> Result<usize> {
        let count = usize::read(self)?;
        if count > self.rest.len() {
            return Err(cut());
        }
        Ok(count)
    }

    /// The number of these that follow, with room for all of them.
    pub(in super::super) fn count_of<T>(&mut self) -> Result<usize> {
        let count = self.count()?;
        self.spend(count.saturating_mul(size_of::<T>().div_ceil(PART)))?;
        Ok(count)
    }

    /// Whether this byte is the next one, which then was read.
    pub(in super::super) fn skip(&mut self, byte: u8) -> bool {
        let is_it = self.rest.first() == Some(&byte);
        self.rest = &self.rest[usize::from(is_it)..];
        is_it
    }

    /// So many parts are about to be read.
    #[inline]
    fn spend(&mut self, parts: usize) -> Result<()> {
        self.room.take(parts)
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whatever is left.
    pub(in super::super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// # Errors
    ///
    /// `Corrupt` if there is more.
    pub(in super::super) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::corrupt("a message of a manager with more behind its end"))
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| Error::corrupt(format!("nested deeper than {DEPTH}")))?;
        let value = read(self)?;
        self.depth += 1;
        Ok(value)
    }
}

#[inline]
fn write_number(number: u128, into: &mut Vec<u8>) {
    // Nearly all are short.
    match u8::try_from(number) {
        Ok(byte) if byte < 0x80 => into.push(byte),
        _ => write_long_number(number, into),
    }
}

fn write_long_number(mut number: u128, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[inline]
fn read_number(from: &mut Reader<'_>) -> Result<u128> {
    match from.byte()? {
        byte if byte < 0x80 => Ok(byte.into()),
        byte => read_long_number(byte, from),
    }
}

fn read_long_number(first: u8, from: &mut Reader<'_>) -> Result<u128> {
    let mut number = u128::from(first & 0x7f);
    for shift in (7..128).step_by(7) {
        let byte = from.byte()?;
        let bits = u128::from(byte & 0x7f);
        if shift > 121 && bits >> (128 - shift) != 0 {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error::corrupt("a number of more than 128 bits"))
}

macro_rules! unsigned {
    ($($number:ty),+) => {
        $(impl Wire for $number {
            fn write(&self, into: &mut Vec<u8>) -> Result<()> {
                write_number(*self as u128, into);
                Ok(())
            }

            fn read(from: &mut Reader<'_>) -> Result<Self> {
                read_number(from)?.try_into().map_err(|_| Error::corrupt("a number that is too large"))
            }
        })+
    };
}

unsigned!(u64, usize);

impl Wire for i128 {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        write_number(((*self << 1) ^ (*self >> 127)).cast_unsigned(), into);
        Ok(())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let bits = read_number(from)?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }
}

impl Wire for i64 {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        i128::from(*self).write(into)
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        i128::read(from)?.try_into().map_err(|_| Error::corrupt("a number that is too large"))
    }
}

impl Wire for bool {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        into.push(u8::from(*self));
        Ok(())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::corrupt(format!("neither true nor false: {other}"))),
        }
    }
}

impl Wire for String {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        write_bytes(self.as_bytes(), into);
        Ok(())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        String::from_utf8(read_bytes(from)?.to_vec()).map_err(|_| Error::corrupt("text that is not UTF-8"))
    }
}

fn write_bytes(bytes: &[u8], into: &mut Vec<u8>) {
    write_number(bytes.len() as u128, into);
    into.extend_from_slice(bytes);
}

fn read_bytes<'a>(from: &mut Reader<'a>) -> Result<&'a [u8]> {
    let length = usize::read(from)?;
    from.bytes(length)
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        self.is_some().write(into)?;
        self.as_ref().map_or(Ok(()), |value| value.write(into))
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        bool::read(from)?.then(|| T::read(from)).transpose()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        write_number(self.len() as u128, into);
        self.iter().try_for_each(|item| item.write(into))
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let count = from.count_of::<T>()?;
        let mut items = Self::with_capacity(count.min(AT_ONCE));
        for _ in 0..count {
            items.push(T::read(from)?);
        }
        Ok(items)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    #[inline]
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        self.0.write(into)?;
        self.1.write(into)
    }

    #[inline]
    fn read(from: &mut Reader<'_>) -> Result<Self> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

/// The sign in the lowest bit.
fn zigzag(number: i16) -> u16 {
    ((number << 1) ^ (number >> 15)).cast_unsigned()
}

fn unzigzag(bits: u16) -> i16 {
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

const NONE: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const STR: u8 = 5;
const BYTES: u8 = 6;
const LIST: u8 = 7;
const DICT: u8 = 8;
const PROXY: u8 = 9;

impl Wire for Object {
    #[inline]
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        match self {
            // Most numbers are short: one or two groups.
            Self::Int(int @ -0x40..0x40) => {
                into.extend_from_slice(&[INT, zigzag(*int as i16) as u8]);
                Ok(())
            }
            Self::Int(int @ -0x2000..0x2000) => {
                let bits = zigzag(*int as i16);
                into.extend_from_slice(&[INT, bits as u8 | 0x80, (bits >> 7) as u8]);
                Ok(())
            }
            _ => write_object(self, DEPTH, into),
        }
    }

    #[inline]
    fn read(from: &mut Reader<'_>) -> Result<Self> {
        match from.rest {
            // As above.
            [INT, byte @ ..0x80, rest @ ..] => {
                from.rest = rest;
                Ok(Self::Int(unzigzag(u16::from(*byte)).into()))
            }
            [INT, low, high @ ..0x80, rest @ ..] => {
                from.rest = rest;
                Ok(Self::Int(unzigzag(u16::from(*low & 0x7f) | u16::from(*high) << 7).into()))
            }
            _ => Self::read_any(from),
        }
    }
}

impl Object {
    fn read_any(from: &mut Reader<'_>) -> Result<Self> {
        Ok(match from.byte()? {
            NONE => Self::None,
            FALSE => Self::Bool(false),
            TRUE => Self::Bool(true),
            INT => Self::Int(i128::read(from)?),
            FLOAT => {
                let bytes = from.bytes(8)?;
                Self::Float(f64::from_le_bytes(bytes.try_into().map_err(|_| cut())?))
            }
            STR => Self::Str(String::read(from)?),
            BYTES => Self::Bytes(read_bytes(from)?.to_vec()),
            LIST => Self::List(from.deeper(Vec::read)?),
            DICT => Self::Dict(from.deeper(|from| {
                let count = from.count()?;
                from.spend(count.saturating_mul(2) + if count > 0 { DICT_PARTS } else { 0 })?;
                let mut map = Map::with_capacity(count.min(AT_ONCE));
                for _ in 0..count {
                    let (key, value) = <(Self, Self)>::read(from)?;
                    key.check_key().map_err(|error| Error::corrupt(error.to_string()))?;
                    map.put(key, value);
                }
                Ok(map)
            })?),
            PROXY => Self::Proxy(Proxy::read(from)?),
            other => return Err(Error::corrupt(format!("a value of the unknown type {other}"))),
        })
    }
}

impl Object {
    /// As an answer.
    ///
    /// # Errors
    ///
    /// `NotSendable`.
    pub(in super::super) fn write_answer(&self, into: &mut Vec<u8>) -> Result<()> {
        write_object(self, DEPTH + AROUND, into)
    }
}

fn write_object(object: &Object, depth: usize, into: &mut Vec<u8>) -> Result<()> {
    let deeper = || {
        depth.checked_sub(1).ok_or_else(|| Error::NotSendable {
            type_name: object.type_name().into(),
            reason: format!("it is nested deeper than {DEPTH}"),
        })
    };
    match object {
        Object::None => into.push(NONE),
        Object::Bool(false) => into.push(FALSE),
        Object::Bool(true) => into.push(TRUE),
        Object::Int(int) => {
            into.push(INT);
            int.write(into)?;
        }
        Object::Float(float) => {
            into.push(FLOAT);
            into.extend_from_slice(&float.to_le_bytes());
        }
        Object::Str(text) => {
            into.push(STR);
            write_bytes(text.as_bytes(), into);
        }
        Object::Bytes(bytes) => {
            into.push(BYTES);
            write_bytes(bytes, into);
        }
        Object::List(items) => {
            into.push(LIST);
            write_number(items.len() as u128, into);
            let depth = deeper()?;
            items.iter().try_for_each(|item| write_object(item, depth, into))?;
        }
        Object::Dict(map) => {
            into.push(DICT);
            write_number(map.len() as u128, into);
            let depth = deeper()?;
            for (key, value) in map {
                write_object(key, depth, into)?;
                write_object(value, depth, into)?;
            }
        }
        Object::Proxy(proxy) => {
            into.push(PROXY);
            proxy.write(into)?;
        }
    }
    Ok(())
}
