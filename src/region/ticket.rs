//! placeholder
use crate::{Error, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
pub(crate) fn pack(_: BorrowedFd<'_>) -> Result<u32> {
    Err(Error::WouldBlock)
}
pub(crate) fn unpack(_: u32) -> Result<OwnedFd> {
    Err(Error::WouldBlock)
}
pub(crate) fn keep_reason(error: Error) -> String {
    error.to_string()
}
