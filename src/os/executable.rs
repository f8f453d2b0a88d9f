//! The running executable: which one it is, and where its code lies.
//!
//! A process names a function to another one of the same executable by its place: how far its code is from the start. Whoever
//! calls it has made sure that the other one runs the same build ([`check_build`](Executable::check_build)) and meant it.
//!
//! Sources: `dl_iterate_phdr(3)`, `elf(5)`.

#![expect(unsafe_code, reason = "reads the program headers that the loader hands out")]

use std::{
    any::type_name,
    ffi::{c_int, c_void},
    ops::Range,
    os::unix::fs::MetadataExt,
    slice,
    sync::OnceLock,
};

use crate::{Error, Result};

/// The executable of this process, as it lies in memory.
#[derive(Debug, Default)]
pub(crate) struct Executable {
    /// Where it was loaded: differs from run to run, and all addresses in it by the same.
    base: usize,
    code: Vec<Range<usize>>,
    /// What tells this build from every other.
    identity: Vec<u8>,
}

impl Executable {
    pub(crate) fn this() -> &'static Self {
        static THIS: OnceLock<Executable> = OnceLock::new();
        THIS.get_or_init(|| {
            let mut this = Self::default();
            // SAFETY: `visit` matches the type of the callback, which is given `this` and nothing else, during the call.
            unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut this).cast()) };
            if this.identity.is_empty() {
                this.identity = file_identity();
            }
            this
        })
    }

    /// The linker's build id; without one, what the file system knows of the file.
    pub(crate) fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// # Errors
    ///
    /// [`Error::OtherExecutable`] if the process that has this identity runs another one than this process, or there is no
    /// telling.
    pub(crate) fn check_build(&self, identity: &[u8]) -> Result<()> {
        let reason = match identity {
            [] => "there is no build id, and nothing to be seen of the file",
            same if same == self.identity => return Ok(()),
            _ => "the build ids differ",
        };
        Err(Error::OtherExecutable { reason: reason.into() })
    }

    /// The place of a function, the same in every run, for who knows it by the type `F`.
    ///
    /// # Errors
    ///
    /// [`Error::NotSendable`] when it is not part of the executable.
    pub(crate) fn place_of<F>(&self, address: usize) -> Result<u64> {
        if self.has_code_at(address) {
            return Ok((address - self.base) as u64);
        }
        Err(Error::NotSendable {
            type_name: type_name::<F>().into(),
            reason: "it is not part of the executable, which is all that another process has (is it in a plug-in?)"
                .into(),
        })
    }

    /// The address of a function in this run.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when no code is there.
    pub(crate) fn address_of(&self, place: u64) -> Result<usize> {
        let address = usize::try_from(place).ok().and_then(|place| self.base.checked_add(place));
        let address = address.filter(|address| self.has_code_at(*address));
        address.ok_or_else(|| Error::corrupt(format!("no code is at {place:#x} from the start of the executable")))
    }

    fn has_code_at(&self, address: usize) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }
}

/// Notes the first object, which is the executable, and ends the iteration.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader passes a valid structure for the time of the call.
    let info = unsafe { &*info };
    // SAFETY: `this` passes its own variable, which it does not touch meanwhile.
    let this = unsafe { &mut *data.cast::<Executable>() };
    this.base = info.dlpi_addr as usize;
    // SAFETY: the loader vouches for the table of program headers.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers {
        let start = this.base + header.p_vaddr as usize;
        let range = start..start + header.p_memsz as usize;
        match header.p_type {
            libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => this.code.push(range),
            libc::PT_NOTE if this.identity.is_empty() => {
                // SAFETY: a note segment is loaded, read-only, for the life of the process.
                let notes = unsafe { slice::from_raw_parts(start as *const u8, range.len()) };
                this.identity = build_id(notes).unwrap_or_default().to_vec();
            }
            _ => {}
        }
    }
    1
}

/// The GNU build id among ELF notes: each is three lengths and type words, a name and a description, padded to 4.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let word = |at: usize| Some(u32::from_ne_bytes(notes.get(at..at + 4)?.try_into().ok()?));
        let (name_len, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let name = notes.get(12..12 + name_len)?;
        let start = 12 + name_len.next_multiple_of(4);
        let description = notes.get(start..start + len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(description);
        }
        notes = notes.get(start + len.next_multiple_of(4)..)?;
    }
}

fn file_identity() -> Vec<u8> {
    let Ok(file) = std::fs::metadata("/proc/self/exe") else { return Vec::new() };
    [file.dev(), file.ino(), file.size(), file.mtime() as u64, file.mtime_nsec() as u64]
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_again() {
        let this = Executable::this();
        assert!(!this.identity().is_empty());
        let address = functions_are_found_again as fn() as usize;
        let place = this.place_of::<()>(address).unwrap();
        assert_eq!(this.address_of(place).unwrap(), address);
        let elsewhere = this.place_of::<u8>(libc::malloc as *const () as usize);
        assert!(matches!(elsewhere, Err(Error::NotSendable { type_name, .. }) if type_name == "u8"));
        assert!(matches!(this.address_of(u64::MAX), Err(Error::Corrupt { .. })));
    }

    /// No two executables are taken for one because nothing is known of either.
    #[test]
    fn one_that_is_not_known_is_like_no_other() {
        let (known, unknown) = (Executable::this(), Executable::default());
        known.check_build(known.identity()).unwrap();
        for (one, other) in [(known, &unknown), (&unknown, known), (&unknown, &Executable::default())] {
            assert!(matches!(one.check_build(other.identity()), Err(Error::OtherExecutable { .. })));
        }
    }

    #[test]
    fn notes_are_parsed_with_care() {
        let note =
            [&4_u32.to_ne_bytes()[..], &2_u32.to_ne_bytes(), &3_u32.to_ne_bytes(), b"GNU\0", b"id", &[0, 0]].concat();
        assert_eq!(build_id(&note), Some(&b"id"[..]));
        for end in 0..18 {
            assert_eq!(build_id(&note[..end]), None);
        }
    }
}
