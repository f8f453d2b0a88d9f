//! Memory barriers that one side pays for both: `membarrier(2)`.
//!
//! Who does something often, and then looks whether somebody waits for it, needs a full barrier between the two, and so
//! does who announces that it waits and then looks whether it is done. The second is rare, so it has the kernel make
//! all running threads of registered processes pass a barrier, and the first goes without one.

#![expect(unsafe_code, reason = "makes a system call that no library has")]

use std::sync::atomic::{Ordering::SeqCst, compiler_fence, fence};

const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes plain numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// How this process keeps its own stores before its own loads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Light {
    /// The kernel does it when somebody asks.
    by_kernel: bool,
}

impl Light {
    /// For who has nothing to look at yet.
    pub(crate) const NONE: Self = Self { by_kernel: false };

    /// Registers this process, as each must for itself, after a fork too.
    pub(crate) fn register() -> Self {
        Self { by_kernel: membarrier(REGISTER_GLOBAL_EXPEDITED) }
    }

    /// Between a store and a load: costs nothing where the kernel is asked for it by the other side.
    #[inline(always)]
    pub(crate) fn barrier(self) {
        if self.by_kernel { compiler_fence(SeqCst) } else { fence(SeqCst) }
    }
}

/// A full barrier, here and in all registered processes that run now. `false` if the kernel has none, or refuses: then
/// what the others have stored before they looked may come to light a moment later, unless they make barriers themselves.
pub(crate) fn heavy() -> bool {
    fence(SeqCst);
    membarrier(GLOBAL_EXPEDITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that the crate supports has it; a sandbox may refuse it.
    #[test]
    fn barriers_are_made() {
        Light::register().barrier();
        if !heavy() {
            println!("skipped: no membarrier here");
        }
    }
}
