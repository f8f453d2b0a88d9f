//! Which memory node the pages of a mapping are on, and are to be on: `mbind(2)`, `move_pages(2)`.

#![expect(unsafe_code, reason = "system calls that have no wrapper")]

use std::{io, ops::Range, ptr};

/// How the kernel is to choose a node for a page. The numbers of linux/mempolicy.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Mode {
    Default = 0,
    Preferred = 1,
    Bind = 2,
    Interleave = 3,
}

/// Pages that are there already are to move; those that other processes have mapped too stay.
const MOVE: u32 = 2;

/// The most nodes that a mask here can tell.
const MOST: usize = 1024;

/// Says where the pages of the mapped memory from `start` on, `len` bytes, are to be. For memory that is shared it
/// holds for all who map it.
pub(crate) fn set_policy(start: *mut u8, len: usize, mode: Mode, nodes: &[usize]) -> io::Result<()> {
    let mut mask = [0_u64; MOST / 64];
    for node in nodes {
        let word = mask.get_mut(node / 64).ok_or(io::ErrorKind::InvalidInput)?;
        *word |= 1 << (node % 64);
    }
    let (mask, bits) = if nodes.is_empty() { (ptr::null(), 0) } else { (mask.as_ptr(), MOST + 1) };
    // SAFETY: it changes where pages are, and not what is in them; the mask is live and has as many bits as it says
    // (the kernel counts one less); a range that is not mapped is an error.
    let result = unsafe { libc::syscall(libc::SYS_mbind, start, len, mode as i32, mask, bits, MOVE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The node of each page that has one of these addresses, of those that this process has touched.
pub(crate) fn nodes_of(pages: Range<usize>, page_size: usize) -> io::Result<Vec<Option<usize>>> {
    let addresses: Vec<usize> = pages.step_by(page_size).collect();
    let mut status = vec![-1_i32; addresses.len()];
    // SAFETY: without nodes it only asks; both arrays are live and have so many elements; what is not mapped has an
    // error of its own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            addresses.len(),
            addresses.as_ptr(),
            ptr::null::<i32>(),
            status.as_mut_ptr(),
            0,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(status.into_iter().map(|node| usize::try_from(node).ok()).collect())
}

/// The node of the processor that the calling thread runs on.
pub(crate) fn current_node() -> io::Result<usize> {
    let mut node = 0_u32;
    // SAFETY: writes one number to a live place; the others may be null.
    let result = unsafe {
        libc::syscall(libc::SYS_getcpu, ptr::null_mut::<u32>(), &raw mut node, ptr::null_mut::<libc::c_void>())
    };
    if result == 0 { Ok(node as usize) } else { Err(io::Error::last_os_error()) }
}
