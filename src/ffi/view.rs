//! What can be read without being able to write.

#![expect(unsafe_code, reason = "exports functions, and copies elements for C")]

use std::ffi::{c_char, c_void};

use super::{
    array::put_shape,
    handle::{Head, body, close, give, opaque},
    place::place,
    status::{Failure, Result, put, report, shmkit_status},
    types::{Type, same_type, shmkit_type},
};
use crate::{data::check_span, region::ReadOnly};

/// The elements of an array, a value or atomics, in memory that this process cannot write. It needs no more than the
/// permission to read, and disturbs nobody.
#[derive(Debug)]
pub struct shmkit_view {
    head: Head,
}

pub(super) struct Body {
    elements: ReadOnly,
    type_: Type,
}

opaque!(shmkit_view = 16, "view", Body);

fn find(name: *const c_char, type_: Option<&shmkit_type>) -> Result<Body> {
    let expected = Type::if_given(type_)?;
    let (elements, found) = ReadOnly::open(&place(name)?, |found| same_type(expected.as_ref(), found))?;
    Ok(Body { elements, type_: Type::found(&found)? })
}

/// Finds an array, a value, an atomic or an array of atomics at a name or file, to read it. If `type` is null it may have any,
/// which shmkit_view_type tells. Of an array that grows the view has what is there now.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_view_open(
    name: *const c_char,
    type_: Option<&shmkit_type>,
    view: *mut *mut shmkit_view,
) -> shmkit_status {
    report(|| give(view, || find(name, type_)))
}

/// Ends a handle; the object stays for those who have it open, and under its name.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_view_close(view: *mut shmkit_view) -> shmkit_status {
    report(|| close(view))
}

/// Copies `count` elements from `at` on, in row-major order, as they are now. There is no lock in this, so others may write
/// meanwhile: each number is whole, and of a struct each aligned part of up to 8 bytes.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn shmkit_view_load(
    view: Option<&shmkit_view>,
    at: usize,
    count: usize,
    buffer: *mut c_void,
) -> shmkit_status {
    report(|| {
        let Body { elements, type_ } = body(view)?;
        check_span(at, count, elements.len(), || elements.shape())?;
        if buffer.is_null() && count > 0 {
            return Err(Failure::Null("the buffer"));
        }
        let from = elements.data().as_ptr().wrapping_add(at * type_.size);
        // SAFETY: so many elements of this type lie there, by the check; by the contract the buffer has room for them.
        unsafe { type_.load(from, buffer.cast(), count) };
        Ok(())
    })
}

/// Where the elements lie, in row-major order, until the handle is closed. A write there ends the process. Others may write
/// while they are read.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_view_data(view: Option<&shmkit_view>, data: *mut *const c_void) -> shmkit_status {
    report(|| put(data, body(view)?.elements.data().as_ptr().cast_const().cast(), "data"))
}

/// The number of elements; 1 of a single one.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_view_len(view: Option<&shmkit_view>, len: *mut usize) -> shmkit_status {
    report(|| put(len, body(view)?.elements.len(), "len"))
}

/// The number of dimensions, 0 of a single element, and their lengths, of which as many are written to `shape` as `room` says.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_view_shape(
    view: Option<&shmkit_view>,
    shape: *mut usize,
    room: usize,
    rank: *mut usize,
) -> shmkit_status {
    report(|| put_shape(body(view)?.elements.shape(), shape, room, rank))
}

/// The type of the elements. Its name stands until the handle is closed.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_view_type(view: Option<&shmkit_view>, type_: *mut shmkit_type) -> shmkit_status {
    report(|| put(type_, body(view)?.type_.as_c(), "type"))
}
