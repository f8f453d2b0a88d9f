//! A segment of the shared_memory crate, as an array.

#![expect(unsafe_code, reason = "reaches into the segment")]

use shared_memory::{Shmem, ShmemConf};

use crate::{peers::words, sample::name, workloads::array::Elements};

pub(crate) struct Segment(Shmem, usize);

impl Elements for Segment {
    fn new(size: usize) -> Result<Self, String> {
        let name = format!("/{}", name("array"));
        let segment = ShmemConf::new().size(size * size_of::<i64>()).os_id(name).create().map_err(words)?;
        Ok(Self(segment, size))
    }

    fn with<R>(&mut self, work: impl FnOnce(&mut [i64]) -> R) -> R {
        let memory = self.0.as_ptr().cast::<i64>();
        // SAFETY: mapped for that many, aligned to a page, zeroed at first, and nobody else has it.
        work(unsafe { std::slice::from_raw_parts_mut(memory, self.1) })
    }
}
