//! Locks that many read or one writes.

#![expect(unsafe_code, reason = "exports functions")]

use std::{
    cell::{Cell, RefCell},
    ffi::{c_char, c_void},
    mem::{self, ManuallyDrop},
    num::NonZeroU64,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    handle::{Head, body, close, give, opaque},
    place::site,
    region::shmkit_region,
    status::{Failure, Result, put, put_poison, report, shmkit_status},
    types::{Opaque, Type, same_type, shmkit_type},
    wait::shmkit_wait,
};
use crate::{
    RwLock,
    region::{Dims, Handle, Intent, Kind},
    sync::{PutAway, RwLockCell},
};

/// A value that many read or one writes. Readers that die are struck out, a writer that dies poisons.
#[derive(Debug)]
pub struct shmkit_rwlock {
    head: Head,
}

pub(super) struct Body {
    pub(super) lock: RwLock<Opaque>,
    type_: Type,
    /// That of no other lock of this process, though it may lie where one lay that was closed.
    id: NonZeroU64,
}

impl Body {
    fn new(lock: RwLock<Opaque>, type_: Type) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // More than can be made.
        let id = NonZeroU64::MIN.saturating_add(LAST.fetch_add(1, Relaxed));
        Self { lock, type_, id }
    }
}

opaque!(shmkit_rwlock = 10, "read-write lock", Body);

/// A read of this thread, by the lock's id. In a fork those stand here too that its parent has begun, which are of another
/// member: see [`RwLock::end_put_away`].
type Read = (NonZeroU64, PutAway);

thread_local! {
    /// One read of this thread: more are rare.
    static READ: Cell<Option<Read>> = const { Cell::new(None) };
    static OTHERS: RefCell<Vec<Read>> = const { RefCell::new(Vec::new()) };
}

#[inline]
fn note(read: Read) {
    // The last one is likely to end first: what never ends is not in its way.
    if let Some(found) = READ.replace(Some(read)) {
        note_another(found);
    }
}

#[cold]
fn note_another(read: Read) {
    OTHERS.with_borrow_mut(|others| others.push(read));
}

/// Ends a read of this lock. Which one it is does not matter, if there are several.
#[inline]
fn end_one(lock: &Body) -> bool {
    match READ.take() {
        Some((id, read)) if id == lock.id => lock.lock.end_put_away(read) || end_another(lock),
        found => {
            READ.set(found);
            end_another(lock)
        }
    }
}

/// Those that a fork has from its parent go as they are found.
#[cold]
fn end_another(lock: &Body) -> bool {
    let next = || {
        OTHERS.with_borrow_mut(|others| {
            let at = others.iter().rposition(|(id, _)| *id == lock.id)?;
            Some(others.swap_remove(at).1)
        })
    };
    while let Some(read) = next() {
        if lock.lock.end_put_away(read) {
            return true;
        }
    }
    false
}

fn make(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    intent: Intent,
) -> Result<Body> {
    let type_ = Type::new(type_)?;
    let description = type_.describe(Kind::RwLock, Dims::NONE);
    let handle = Handle::<RwLockCell<Opaque>>::make(&site(region, name)?, intent, &description, &|_| {})?;
    Ok(Body::new(handle.into(), type_))
}

fn find(region: Option<&shmkit_region>, name: *const c_char, type_: Option<&shmkit_type>) -> Result<Body> {
    let expected = Type::if_given(type_)?;
    let (handle, found) =
        Handle::<RwLockCell<Opaque>>::find(&site(region, name)?, |found| same_type(expected.as_ref(), found))?;
    Ok(Body::new(handle.into(), Type::found(&found)?))
}

/// Makes a read-write lock. With a region: in it, under `name` or, if that is null, without a name. Without: in memory of its own, under
/// `name` or anonymous. Its value begins as zero.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    rwlock: *mut *mut shmkit_rwlock,
) -> shmkit_status {
    report(|| give(rwlock, || make(region, name, type_, Intent::Create)))
}

/// Finds a read-write lock, or makes it as shmkit_rwlock_create does: also where its maker died on the way.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_open_or_create(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    rwlock: *mut *mut shmkit_rwlock,
) -> shmkit_status {
    report(|| give(rwlock, || make(region, name, type_, Intent::OpenOrCreate)))
}

/// Finds a read-write lock: in a region, or at a name or file. If `type` is null the value may have
/// any, which shmkit_rwlock_type tells.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_open(
    region: Option<&shmkit_region>,
    name: *const c_char,
    type_: Option<&shmkit_type>,
    rwlock: *mut *mut shmkit_rwlock,
) -> shmkit_status {
    report(|| give(rwlock, || find(region, name, type_)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_close(rwlock: *mut shmkit_rwlock) -> shmkit_status {
    report(|| close(rwlock))
}

/// Begins a read: others may read too, nobody writes. SHMKIT_POISONED as shmkit_rwlock_write.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_read(rwlock: Option<&shmkit_rwlock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        let lock = body(rwlock)?;
        let read = lock.lock.read_within(wait.of())?;
        note((lock.id, read.put_away()));
        Ok(())
    })
}

/// Ends a read. SHMKIT_NOT_HELD if this thread has begun none with this handle.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_end_read(rwlock: Option<&shmkit_rwlock>) -> shmkit_status {
    report(|| if end_one(body(rwlock)?) { Ok(()) } else { Err(Failure::NotHeld) })
}

/// Begins a write: nobody else reads or writes. SHMKIT_POISONED: a holder died, and the lock is not held by the caller; shmkit_rwlock_recover takes it all
/// the same. The lock belongs to the thread: the same one must release it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_write(rwlock: Option<&shmkit_rwlock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(rwlock)?.lock.write_within(wait.of(), false)?);
        Ok(())
    })
}

/// Begins a write, poisoned or not: shmkit_rwlock_poison tells, and shmkit_rwlock_clear_poison ends it after the repair.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_recover(rwlock: Option<&shmkit_rwlock>, wait: shmkit_wait) -> shmkit_status {
    report(|| {
        mem::forget(body(rwlock)?.lock.write_within(wait.of(), true)?);
        Ok(())
    })
}

/// Ends a write. SHMKIT_NOT_HELD if this thread does not write.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_rwlock_end_write(rwlock: Option<&shmkit_rwlock>) -> shmkit_status {
    report(|| {
        drop(body(rwlock)?.lock.regain_write().ok_or(Failure::NotHeld)?);
        Ok(())
    })
}

/// Whether the lock, which this thread holds, is poisoned, and whose death did it: 0 if that is not known.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_poison(
    rwlock: Option<&shmkit_rwlock>,
    poisoned: *mut bool,
    pid: *mut u32,
) -> shmkit_status {
    report(|| {
        let guard = ManuallyDrop::new(body(rwlock)?.lock.regain_write().ok_or(Failure::NotHeld)?);
        put_poison(guard.poison(), poisoned, pid);
        Ok(())
    })
}

/// Declares what the lock guards, which this thread holds, to be whole again.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_clear_poison(rwlock: Option<&shmkit_rwlock>) -> shmkit_status {
    report(|| {
        ManuallyDrop::new(body(rwlock)?.lock.regain_write().ok_or(Failure::NotHeld)?).clear_poison();
        Ok(())
    })
}

/// Where the value lies, until the handle is closed. It may be read during a read, and changed during a write.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_data(rwlock: Option<&shmkit_rwlock>, data: *mut *mut c_void) -> shmkit_status {
    report(|| put(data, NonNull::as_ptr(body(rwlock)?.lock.data()).cast(), "data"))
}

/// The type of the value. Its name stands until the handle is closed.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_type(rwlock: Option<&shmkit_rwlock>, type_: *mut shmkit_type) -> shmkit_status {
    report(|| put(type_, body(rwlock)?.type_.as_c(), "type"))
}
