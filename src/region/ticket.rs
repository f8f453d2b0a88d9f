//! Values on their way to another process: bytes, and the descriptors that belong to them.
//!
//! A handle is written as the number of a descriptor and an offset ([`travel`](super)); the descriptor itself goes
//! beside the bytes, so that the memory lives on whatever becomes of the sender. Serde knows nothing of descriptors, so
//! the list of them stands in a thread-local *scope* for the time of one [`encode`] or [`decode`]. Outside one a handle
//! cannot be serialised, which is an error that says so.
//!
//! The bytes are postcard's. It drops the text of custom errors, so the reason why a handle cannot travel is kept in
//! the scope and reported from there, with the type.

#![expect(unsafe_code, reason = "reaches a scope that is open further up the stack")]

use std::{
    any::type_name,
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    os::{
        copy, ends,
        files::{self, FileId},
        identity::Stamp,
        robust,
    },
};

/// What can be sent to another process: owned data with serde's `Serialize` and `Deserialize`.
///
/// Handles of shared memory are messages too: the memory goes along. The format is postcard's, which does not describe
/// itself: types that need to be told what comes next (`#[serde(untagged)]`, `#[serde(flatten)]`, JSON values) are
/// refused with an error that says so.
///
/// # Examples
///
/// ```
/// fn is_message<T: shmkit::process::Message>() {}
/// is_message::<(Vec<f64>, Option<String>, shmkit::Array<u8>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it; it must own its data"
)]
pub trait Message: Serialize + DeserializeOwned + 'static {}

impl<T: Serialize + DeserializeOwned + 'static> Message for T {}

/// An encoded value.
pub(crate) struct Parcel {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What among the value wants to know who gets it.
    pub(crate) seats: Seats,
}

/// A place kept for a process that is given a handle and is counted on from then on. Given up by who drops it unused.
pub(crate) trait Seat {
    /// Its number, which travels with the handle.
    fn number(&self) -> u32;

    /// In the parent, which has started the process `child`.
    fn expect(&self, child: Stamp);

    /// In the child, this process.
    fn attend(&self);
}

/// The seats among a value.
pub(crate) type Seats = Vec<Box<dyn Seat>>;

/// An object that keeps seats.
pub(crate) trait KeepsSeats {
    /// Has the seat `at` be kept in the name of the process `to` (0: of nobody), if it is in that of `from`.
    fn expect(&self, at: usize, from: u64, to: u64);

    /// This process, for which the seat `at` was kept, is there.
    fn attend(&self, at: usize);
}

/// A seat by its number.
pub(crate) struct NumberedSeat<K: KeepsSeats> {
    object: K,
    at: usize,
    /// In whose name it is kept, until there is a child.
    parent: Cell<Option<u64>>,
}

impl<K: KeepsSeats> NumberedSeat<K> {
    /// One that `reserve` has found, for a child of this process.
    pub(crate) fn for_a_child(object: K, reserve: impl FnOnce(&K, u64) -> Option<usize>) -> Option<Self> {
        let parent = robust::this_thread().ok()?.stamp();
        let at = reserve(&object, parent)?;
        Some(Self { object, at, parent: Cell::new(Some(parent)) })
    }

    /// The one that came with a handle.
    pub(crate) fn arrived(object: K, number: u32) -> Self {
        Self { object, at: number as usize, parent: Cell::new(None) }
    }
}

impl<K: KeepsSeats> Seat for NumberedSeat<K> {
    fn number(&self) -> u32 {
        self.at as u32
    }

    fn expect(&self, child: Stamp) {
        if let Some(parent) = self.parent.take() {
            self.object.expect(self.at, parent, child.to_bits());
        }
    }

    fn attend(&self) {
        // Of a fork's copy: the parent's record is the parent's matter.
        self.parent.set(None);
        self.object.attend(self.at);
    }
}

impl<K: KeepsSeats> Drop for NumberedSeat<K> {
    fn drop(&mut self) {
        // A fork's copy gives nothing up.
        if let Some(parent) = self.parent.get()
            && robust::this_thread().is_ok_and(|me| me.stamp() == parent)
        {
            self.object.expect(self.at, parent, 0);
        }
    }
}

/// Whether this process has had any such handle.
static HAS_SEATS: AtomicBool = AtomicBool::new(false);

pub(super) fn has_seats() {
    HAS_SEATS.store(true, Relaxed);
}

/// What a value can have with it on its way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Route {
    /// The memory that the way leads through: its receiver has it, so what lies there needs no descriptor.
    pub(crate) home: Option<FileId>,
    /// Whether there is a way for bytes only: then regions are told by their names.
    pub(crate) bytes_only: bool,
}

/// What is known of a value on its way. Small and never moved: most values have no handles.
#[derive(Default)]
struct Scope {
    route: Route,
    /// Whether descriptors go along. Else who encodes the value wants to know which.
    is_sent: bool,
    handles: RefCell<Option<Box<Handles>>>,
}

/// What is known of the handles among a value.
#[derive(Default)]
struct Handles {
    /// The descriptors packed so far, by their numbers, and a duplicate of each if they are sent.
    packed: Vec<(RawFd, Option<OwnedFd>)>,
    arrived: Option<Arrived>,
    reason: Option<String>,
    seats: Seats,
}

impl Handles {
    fn arrived(&self, number: u32) -> Result<&OwnedFd> {
        let arrived = self.arrived.as_ref().map(|arrived| &*arrived.descriptors).unwrap_or_default();
        let fd = arrived.get(number as usize);
        fd.ok_or_else(|| Error::corrupt(format!("a ticket for descriptor {number} of {}", arrived.len())))
    }
}

thread_local! {
    /// Invariant: the scope that is open in this thread, or null. It is lent to its [`within`](Scope::within), which is
    /// running.
    static SCOPE: Cell<*const Scope> = const { Cell::new(ptr::null()) };
}

impl Scope {
    #[inline]
    fn of_arrived(arrived: Option<Arrived>) -> Self {
        let handles = arrived.map(|arrived| Box::new(Handles { arrived: Some(arrived), ..Handles::default() }));
        Self { handles: RefCell::new(handles), ..Self::default() }
    }

    /// Opens the scope for the time of `run`; scopes nest, and end on a panic too.
    #[inline]
    fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        struct Restore(*const Scope);
        impl Drop for Restore {
            #[inline]
            fn drop(&mut self) {
                SCOPE.set(self.0);
            }
        }
        let _restore = Restore(SCOPE.replace(self));
        run()
    }

    /// The value, which all of the bytes are.
    #[inline]
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        match self.within(|| postcard::take_from_bytes(bytes)) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(Error::NotSendable {
                type_name: type_name::<T>().into(),
                reason: format!("{} bytes follow its end: it was sent as another type", rest.len()),
            }),
            Err(error) => Err(self.not_sendable::<T>(&error)),
        }
    }

    fn into_handles(self) -> Handles {
        self.handles.into_inner().map_or_else(Handles::default, |handles| *handles)
    }

    #[cold]
    fn not_sendable<T: ?Sized>(&self, error: &postcard::Error) -> Error {
        let reason = self.handles.borrow_mut().as_mut().and_then(|handles| handles.reason.take());
        let reason = reason.unwrap_or_else(|| match error {
            postcard::Error::WontImplement => {
                "its serde implementation asks what comes next (`deserialize_any`), which this compact format cannot \
                 tell: untagged and flattened types, and dynamic values such as JSON's, cannot be sent"
                    .into()
            }
            other => other.to_string(),
        });
        Error::NotSendable { type_name: type_name::<T>().into(), reason }
    }
}

/// The descriptors that came beside a message.
pub(crate) struct Arrived {
    descriptors: Arc<[OwnedFd]>,
    /// A copy of each, for whoever asks first: so none is short when the value is decoded.
    copies: Vec<Option<OwnedFd>>,
}

impl Arrived {
    /// # Errors
    ///
    /// Those of the system when this process can open no more.
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let copies = descriptors.iter().map(|fd| fd.try_clone().map(Some)).collect::<io::Result<_>>()?;
        Ok(Self { descriptors: descriptors.into(), copies })
    }

    /// Of descriptors that are kept, for another copy of the value.
    pub(crate) fn again(descriptors: &Arc<[OwnedFd]>) -> Self {
        Self { descriptors: Arc::clone(descriptors), copies: Vec::new() }
    }
}

/// Where postcard puts the bytes: a vector, without a look at its capacity by way of an iterator for each byte.
struct Buffer<'a>(&'a mut Vec<u8>);

impl Flavor for Buffer<'_> {
    type Output = ();

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline(always)]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        copy::append(self.0, bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Turns a value into bytes and descriptors.
///
/// # Errors
///
/// [`Error::NotSendable`] with the type and the reason.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Parcel> {
    let mut bytes = Vec::new();
    let handles = encode_in(value, Scope { is_sent: true, ..Scope::default() }, &mut bytes)?.unwrap_or_default();
    let descriptors = handles.packed.into_iter().filter_map(|(_, copy)| copy).collect();
    Ok(Parcel { bytes, descriptors, seats: handles.seats })
}

/// As [`encode`], for a certain route; the bytes are appended to `buffer`, and the descriptors are returned.
#[inline]
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    route: Route,
    buffer: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>> {
    match encode_in(value, Scope { route, is_sent: true, ..Scope::default() }, buffer)? {
        None => Ok(Vec::new()),
        Some(handles) => Ok(handles.packed.into_iter().filter_map(|(_, copy)| copy).collect()),
    }
}

#[inline]
fn encode_in<T: Serialize + ?Sized>(value: &T, scope: Scope, buffer: &mut Vec<u8>) -> Result<Option<Box<Handles>>> {
    match scope.within(|| postcard::serialize_with_flavor(value, Buffer(buffer))) {
        Ok(()) => Ok(scope.handles.into_inner()),
        Err(error) => Err(scope.not_sendable::<T>(&error)),
    }
}

/// What is among a value and concerns a process that gets it without an encoding: a fork.
#[derive(Default)]
pub(crate) struct Belongings {
    pub(crate) seats: Seats,
    /// The numbers of its descriptors, where they are known.
    pub(crate) descriptors: Option<Vec<RawFd>>,
}

impl Belongings {
    /// In the fork, before it does anything with the value.
    ///
    /// # Errors
    ///
    /// `Os`.
    pub(crate) fn arrived(self) -> Result<()> {
        if let Some(numbers) = &self.descriptors {
            ends::keep_only(numbers).map_err(|error| Error::os("giving up pipes of the parent", error))?;
        }
        self.seats.into_iter().for_each(|seat| seat.attend());
        Ok(())
    }
}

/// Looks for what is among a value.
pub(crate) fn belongings_of<T: Serialize + ?Sized>(value: &T) -> Belongings {
    if !HAS_SEATS.load(Relaxed) && !ends::exist() {
        return Belongings { seats: Vec::new(), descriptors: Some(Vec::new()) };
    }
    let scope = Scope::default();
    let done = scope.within(|| postcard::to_stdvec(value));
    let Handles { packed, seats, .. } = scope.into_handles();
    // What cannot be encoded ends the search, and is no error here.
    let descriptors = done.ok().map(|_| packed.into_iter().map(|(number, _)| number).collect());
    Belongings { seats, descriptors }
}

/// The value back. The descriptors can be used again for another copy of it.
///
/// # Errors
///
/// [`Error::NotSendable`] with the type and the reason.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], descriptors: &Arc<[OwnedFd]>) -> Result<T> {
    decode_with_seats(bytes, descriptors).map(|(value, _)| value)
}

/// As [`decode`], for a value that came by a certain route.
#[inline]
pub(crate) fn decode_from<T: DeserializeOwned>(bytes: &[u8], arrived: Option<Arrived>, route: Route) -> Result<T> {
    let scope = Scope { route, ..Scope::of_arrived(arrived) };
    scope.decode(bytes)
}

/// As [`decode`], with the seats among the value.
pub(crate) fn decode_with_seats<T: DeserializeOwned>(bytes: &[u8], descriptors: &Arc<[OwnedFd]>) -> Result<(T, Seats)> {
    let scope = Scope::of_arrived(Some(Arrived::again(descriptors)));
    let value = scope.decode(bytes)?;
    Ok((value, scope.into_handles().seats))
}

/// Several values one after the other for one message, each of which may turn out not to be sendable.
pub(crate) struct Writer {
    scope: Scope,
    bytes: Vec<u8>,
    /// Where the last whole value ends: whatever is behind that is of one that failed, or panicked.
    whole: usize,
}

impl Writer {
    pub(crate) fn new(route: Route) -> Self {
        Self { scope: Scope { route, is_sent: true, ..Scope::default() }, bytes: Vec::new(), whole: 0 }
    }

    /// Appends a value, with its length before it.
    ///
    /// # Errors
    ///
    /// [`Error::NotSendable`]: then nothing was appended.
    #[inline]
    pub(crate) fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.bytes.truncate(self.whole);
        self.bytes.extend_from_slice(&[0; LENGTH]);
        let bytes = &mut self.bytes;
        let written = self.scope.within(|| postcard::serialize_with_flavor(value, Buffer(bytes)));
        if let Err(error) = written {
            return Err(self.scope.not_sendable::<T>(&error));
        }
        let length = u32::try_from(self.bytes.len() - self.whole - LENGTH);
        let length = length.map_err(|_| Error::TooLarge { size: self.bytes.len() as u64, limit: u32::MAX.into() })?;
        self.bytes[self.whole..self.whole + LENGTH].copy_from_slice(&length.to_le_bytes());
        self.whole = self.bytes.len();
        Ok(())
    }

    /// The bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.whole
    }

    /// The descriptors so far.
    pub(crate) fn descriptors(&self) -> usize {
        self.scope.handles.borrow().as_ref().map_or(0, |handles| handles.packed.len())
    }

    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<OwnedFd>) {
        self.bytes.truncate(self.whole);
        let descriptors = self.scope.into_handles().packed.into_iter().filter_map(|(_, copy)| copy).collect();
        (self.bytes, descriptors)
    }
}

/// Bytes of the length before a value of a [`Writer`].
const LENGTH: usize = size_of::<u32>();

/// The values of a [`Writer`], one after the other.
pub(crate) struct Reader<'b> {
    scope: Scope,
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8], arrived: Option<Arrived>, route: Route) -> Self {
        Self { scope: Scope { route, ..Scope::of_arrived(arrived) }, rest: bytes }
    }

    /// The next value.
    ///
    /// # Errors
    ///
    /// [`Error::NotSendable`]: the next call gives the value after it. [`Error::Corrupt`] when there is none.
    #[inline]
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let bytes = self.next()?;
        self.scope.decode(bytes)
    }

    /// Passes the next value over.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when there is none.
    pub(crate) fn skip(&mut self) -> Result<()> {
        self.next().map(drop)
    }

    #[inline]
    fn next(&mut self) -> Result<&'b [u8]> {
        let split = self
            .rest
            .split_first_chunk::<LENGTH>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let (bytes, rest) = split.ok_or_else(|| Error::corrupt("a message that ends in the middle of a value"))?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Adds a descriptor to the value that is being encoded, and returns its number there.
///
/// # Errors
///
/// [`Error::NotSendable`] where no value is.
pub(crate) fn pack(fd: BorrowedFd<'_>) -> Result<u32> {
    with_scope(|scope, handles| {
        if scope.route.bytes_only {
            return Err(Error::unsupported("descriptors cannot go through a queue that is found by name"));
        }
        // A number may be that of another file by now: whoever packed that one may have closed it.
        let is_same = |(number, copy): &(RawFd, Option<OwnedFd>)| {
            let is_alike = |copy: &OwnedFd| files::are_alike(copy.as_fd(), fd).unwrap_or(false);
            *number == fd.as_raw_fd() && copy.as_ref().is_none_or(is_alike)
        };
        let at = match handles.packed.iter().position(is_same) {
            Some(at) => at,
            None => {
                let copy = scope.is_sent.then(|| fd.try_clone_to_owned()).transpose();
                let copy = copy.map_err(|error| Error::os("duplicating a descriptor", error))?;
                handles.packed.push((fd.as_raw_fd(), copy));
                handles.packed.len() - 1
            }
        };
        Ok(at as u32)
    })
}

/// A copy of the descriptor `number` of the value that is being decoded.
///
/// # Errors
///
/// [`Error::NotSendable`] where no value is; [`Error::Corrupt`] when there is no such descriptor.
pub(crate) fn unpack(number: u32) -> Result<OwnedFd> {
    with_scope(|_, handles| {
        let copies = handles.arrived.as_mut().map(|arrived| &mut *arrived.copies).unwrap_or_default();
        if let Some(copy) = copies.get_mut(number as usize).and_then(Option::take) {
            return Ok(copy);
        }
        handles.arrived(number)?.try_clone().map_err(|error| Error::os("duplicating a descriptor", error))
    })
}

/// The file that the descriptor `number` of the value that is being decoded leads to.
///
/// # Errors
///
/// As [`unpack`].
pub(super) fn file_of(number: u32) -> Result<FileId> {
    with_scope(|_, handles| Ok(files::facts(handles.arrived(number)?).map_err(|error| Error::os("fstat", error))?.id))
}

/// The way of the value that is being encoded or decoded.
///
/// # Errors
///
/// [`Error::NotSendable`] where no value is.
pub(crate) fn route() -> Result<Route> {
    with_scope(|scope, _| Ok(scope.route))
}

/// Whether the value that is being encoded is sent. Else a fork gets it as it is.
///
/// # Errors
///
/// [`Error::NotSendable`] where none is.
pub(crate) fn is_sent() -> Result<bool> {
    with_scope(|scope, _| Ok(scope.is_sent))
}

/// Keeps a seat for whoever gets the value that is being encoded, or the one that came with it.
pub(crate) fn add_seat(seat: Box<dyn Seat>) {
    let _ = with_scope(|_, handles| {
        handles.seats.push(seat);
        Ok(())
    });
}

/// Keeps the reason for the report of the scope, and passes it on as text for serde.
pub(crate) fn keep_reason(error: Error) -> String {
    // What the operating system said is its source.
    let text = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let _ = with_scope(|_, handles| {
        handles.reason.get_or_insert_with(|| text.clone());
        Ok(())
    });
    text
}

fn with_scope<T>(run: impl FnOnce(&Scope, &mut Handles) -> Result<T>) -> Result<T> {
    // SAFETY: the invariant.
    match unsafe { SCOPE.get().as_ref() } {
        // Nobody has borrowed the handles: `run` of this function, which alone does, opens no scopes.
        Some(scope) => run(scope, scope.handles.borrow_mut().get_or_insert_default()),
        None => Err(Error::NotSendable {
            type_name: "a handle of shared memory".into(),
            reason: "it can be sent to a child process, or over a channel of this crate, and nowhere else".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, region::Region};

    #[test]
    fn one_region_travels_once_and_stays_one_mapping() {
        let region = Region::anonymous(4096).unwrap();
        let a = Value::new_in(&region, None, 1_u64).unwrap();
        let b = Value::new_in(&region, "b", 2_u64).unwrap();
        let parcel = encode(&(&a, &b, &region)).unwrap();
        assert_eq!(parcel.descriptors.len(), 1);
        let descriptors = parcel.descriptors.into();
        for _ in 0..2 {
            let (c, d, same): (Value<u64>, Value<u64>, Region) = decode(&parcel.bytes, &descriptors).unwrap();
            assert!(c.is_same(&a) && d.is_same(&b) && same.is_same(&region));
        }
    }

    #[test]
    fn outside_a_scope_the_error_says_where_handles_can_go() {
        let value = Value::new(1).unwrap();
        assert!(postcard::to_stdvec(&value).is_err());
        let error = pack(std::io::stdin().as_fd()).unwrap_err();
        assert!(error.to_string().contains("child process"), "{error}");
    }

    /// Each of the values closes its region when it has been encoded, and the next one's has the same number.
    #[test]
    fn descriptors_with_one_number() {
        struct Lazy(u64);
        impl Serialize for Lazy {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Value::new(self.0).unwrap().serialize(serializer)
            }
        }
        let parcel = encode(&[Lazy(1), Lazy(2), Lazy(3)]).unwrap();
        let values: [Value<u64>; 3] = decode(&parcel.bytes, &parcel.descriptors.into()).unwrap();
        assert_eq!(values.map(|value| value.get().unwrap()), [1, 2, 3]);
    }

    #[test]
    fn the_reason_is_reported_with_the_type() {
        let value = Value::new(1_i32).unwrap();
        let parcel = encode(&value).unwrap();
        let error = decode::<Value<f64>>(&parcel.bytes, &parcel.descriptors.into()).unwrap_err().to_string();
        assert!(error.contains("f64") && error.contains("i32"), "{error}");
        let error = decode::<Value<i32>>(&parcel.bytes, &Arc::default()).unwrap_err().to_string();
        assert!(error.contains("descriptor 0 of 0"), "{error}");
    }
}
