//! Handles as C sees them: pointers to a small head, by which a wrong one is recognised.
//!
//! A head says of which kind it is, and where the object of Rust lies. The heads of all kinds have one layout, and their
//! memory is used again but never given back: a handle that is null, of another kind or closed is an error. It is noticed
//! as long as no new handle of that kind has taken the place of the closed one.

#![expect(unsafe_code, reason = "hands out objects that C has pointers to")]

use std::{
    ptr,
    sync::atomic::{
        AtomicPtr, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::status::{Failure, Result};
use crate::os::own::Own;

/// What a handle points to.
///
/// Invariant: `body` is a `Box` of the type that `kind` stands for, given away, while `kind` is not 0.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Head {
    kind: AtomicU32,
    body: AtomicPtr<()>,
}

/// A type of handles, which holds nothing but its head. See [`opaque`].
pub(super) trait Opaque: Sized + 'static {
    /// All threads have it at the same time, and any may close it.
    type Body: Send + Sync + 'static;
    const KIND: u32;
    const NAME: &'static str;

    fn new(head: Head) -> Self;
    fn head(&self) -> &Head;
    /// Those that are closed.
    fn closed() -> &'static Own<Vec<&'static Self>>;
}

/// Makes a struct with a head one of handles: its number, which no other has, what it is called, and what lies behind it.
macro_rules! opaque {
    ($handle:ident = $kind:literal, $name:literal, $body:ty) => {
        // A pointer to a handle of another kind is a pointer to a head all the same.
        const _: () = assert!(size_of::<$handle>() == size_of::<super::handle::Head>());
        const _: () = assert!(align_of::<$handle>() == align_of::<super::handle::Head>());
        const _: () = assert!(std::mem::offset_of!($handle, head) == 0);

        impl super::handle::Opaque for $handle {
            type Body = $body;
            const KIND: u32 = 0x5348_4d00 + $kind;
            const NAME: &'static str = $name;

            fn new(head: super::handle::Head) -> Self {
                Self { head }
            }

            #[inline(always)]
            fn head(&self) -> &super::handle::Head {
                &self.head
            }

            fn closed() -> &'static crate::os::own::Own<Vec<&'static Self>> {
                static CLOSED: crate::os::own::Own<Vec<&'static $handle>> = crate::os::own::Own::new();
                &CLOSED
            }
        }
    };
}
pub(super) use opaque;

/// Gives C a handle of what `make` makes, if there is a place for it: nothing is made in vain.
pub(super) fn give<O: Opaque>(out: *mut *mut O, make: impl FnOnce() -> Result<O::Body>) -> Result<()> {
    if out.is_null() {
        return Err(Failure::Null("the place for the handle"));
    }
    let body = Box::into_raw(Box::new(make()?)).cast();
    let again = O::closed().lock().pop();
    let handle = again.unwrap_or_else(|| {
        Box::leak(Box::new(O::new(Head { kind: AtomicU32::new(0), body: AtomicPtr::new(ptr::null_mut()) })))
    });
    handle.head().body.store(body, Relaxed);
    // Release: pairs with the Acquire of `body`, where a handle is passed on without any order.
    handle.head().kind.store(O::KIND, Release);
    // SAFETY: not null; by the contract a variable for a handle.
    unsafe { out.write(ptr::from_ref(handle).cast_mut()) };
    Ok(())
}

/// The object behind a handle.
#[inline(always)]
pub(super) fn body<O: Opaque>(handle: Option<&O>) -> Result<&O::Body> {
    let Some(head) = handle.map(O::head).filter(|head| head.kind.load(Acquire) == O::KIND) else {
        return Err(bad::<O>());
    };
    let body: *const O::Body = head.body.load(Relaxed).cast();
    // SAFETY: the invariant, for this kind; by the contract nobody closes the handle during the call, whose length the
    // reference has.
    Ok(unsafe { &*body })
}

#[cold]
fn bad<O: Opaque>() -> Failure {
    Failure::BadHandle(O::NAME)
}

/// Ends a handle. Null is none, and fine.
pub(super) fn close<O: Opaque>(handle: *mut O) -> Result<()> {
    // SAFETY: by the contract a handle, whose memory is never given back.
    let handle: Option<&'static O> = unsafe { handle.as_ref() };
    let Some(handle) = handle else { return Ok(()) };
    let head = handle.head();
    if head.kind.compare_exchange(O::KIND, 0, Acquire, Relaxed).is_err() {
        return Err(bad::<O>());
    }
    let body: *mut O::Body = head.body.load(Relaxed).cast();
    // SAFETY: the invariant: a `Box` that was given away; `kind` was exchanged, so nobody else takes it back.
    drop(unsafe { Box::from_raw(body) });
    O::closed().lock().push(handle);
    Ok(())
}

/// Of which kind a handle is, whatever it is; 0 for null.
#[inline]
pub(super) fn kind_of(handle: Option<&Head>) -> u32 {
    handle.map_or(0, |head| head.kind.load(Acquire))
}
