//! Where an object is made or found.

#![expect(unsafe_code, reason = "reads strings of C")]

use std::{
    ffi::{CStr, OsStr, c_char},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use super::{
    handle::body,
    region::shmkit_region,
    status::{Failure, Result},
};
use crate::{
    Error,
    region::{Place, Site},
};

/// A string of C; `None` if it is null.
pub(super) fn text<'a>(text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: by the contract it ends with a NUL, and stands as long as the call, which is as long as `'a` is used.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Error::invalid_argument(format!("{text:?} is not UTF-8")).into())
}

/// A name, or with a slash in it the path of a file, which need not be UTF-8.
pub(super) fn place(name: *const c_char) -> Result<Place> {
    if name.is_null() {
        return Err(Failure::Null("the name"));
    }
    // SAFETY: as in `text`.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    if bytes.contains(&b'/') {
        return Ok(Path::new(OsStr::from_bytes(bytes)).into());
    }
    Ok(text(name)?.unwrap_or_default().into())
}

/// What opening something without a name is.
pub(super) fn nameless() -> Failure {
    Error::invalid_argument("only what has a name can be opened").into()
}

/// What a region and a name mean together: without a region the name is a place, without both it is nowhere in particular.
pub(super) fn site<'a>(region: Option<&'a shmkit_region>, name: *const c_char) -> Result<Site<'a>> {
    Ok(match region {
        Some(_) => Site::Within(body(region)?, text(name)?),
        None if name.is_null() => Site::Anonymous,
        None => Site::Place(place(name)?),
    })
}
