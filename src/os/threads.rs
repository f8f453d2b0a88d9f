//! The crate's own threads, which sleep nearly always, and how many threads there are besides them.
//!
//! # Forks
//!
//! A process may be the fork of one that had other threads at that moment, by a bare `fork` of the program's, say. What those
//! threads held is held in the child for ever. The C library sets its own locks right there: the allocator's, and those
//! under which threads are made. std does not: a thread of `std::thread` enters itself into a table of stacks as it begins and
//! ends, under a lock, and if another thread of the parent was there at that moment, a thread that the child starts never
//! begins. So these threads are made by the C library.

#![expect(unsafe_code, reason = "starts threads and blocks signals through the C library")]

use std::{
    ffi::CStr,
    io,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind},
    process, ptr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// The process that counts, and how many parked threads it has: a forked child has none of its parent's. It may be one less
/// than none, as a signed number: when a thread has ended and who started it has not counted it yet.
static PARKED: AtomicU64 = AtomicU64::new(0);

/// A key of the C library: a function that is called when a thread ends that has set it, after the destructors of all its
/// thread-locals.
///
/// Source: `pthread_key_create(3)`; glibc runs what C++ and Rust register before the keys' functions.
#[derive(Debug)]
pub(crate) struct Key(libc::pthread_key_t);

impl Key {
    pub(crate) fn new(at_the_end: extern "C" fn(*mut libc::c_void)) -> io::Result<Self> {
        let mut key = 0;
        // SAFETY: writes the key; the function stays, for this crate is never unloaded.
        match unsafe { libc::pthread_key_create(&raw mut key, Some(at_the_end)) } {
            0 => Ok(Self(key)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Has the function called when the calling thread ends.
    pub(crate) fn set(&self) -> io::Result<()> {
        // SAFETY: a key that exists; the value is not used, but it must not be null.
        match unsafe { libc::pthread_setspecific(self.0, ptr::without_provenance(1)) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// The stack of a thread that runs none of the user's code.
pub(crate) const SMALL: usize = 64 * 1024;

/// Signals of what a thread does itself: blocked, they would end the process past the program's handlers.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];

/// What a thread runs.
type Run = Box<dyn FnOnce() + Send>;

struct Start {
    name: &'static CStr,
    run: Run,
}

/// Starts a thread that no signal reaches but those of its own faults, so that others go where the program expects.
///
/// # Errors
///
/// `EAGAIN` when there can be no more threads.
pub(crate) fn spawn_parked(name: &'static CStr, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    for fault in FAULTS {
        // SAFETY: the set was filled just now; these are signals.
        unsafe { libc::sigdelset(all.as_mut_ptr(), fault) };
    }
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` was filled just now; the old mask is written to `before`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let started = create(stack, Box::new(Start { name, run: Box::new(run) }));
    // SAFETY: `before` was written by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    started.map(|()| count(1))
}

/// Starts a detached thread.
fn create(stack: usize, start: Box<Start>) -> io::Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: writes them. It fails only for lack of memory, which glibc does not need here.
    unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    // SAFETY: written by the call above.
    unsafe { libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED) };
    let mut usual = 0;
    // SAFETY: as above; writes the size.
    unsafe { libc::pthread_attr_getstacksize(attributes.as_ptr(), &raw mut usual) };
    let start = Box::into_raw(start);
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let mut error = libc::EINVAL;
    // The thread-locals of the program lie on the stack too, and those of some are larger than the smaller stack.
    for size in [stack, usual] {
        if error == libc::EINVAL {
            // SAFETY: as above. A size that it does not take leaves the last one.
            unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), size) };
            // SAFETY: the attributes are as above; `begin` takes what `start` is, which it alone has if it begins.
            error = unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), begin, start.cast()) };
        }
    }
    // SAFETY: as above, for the last time.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: from `into_raw` above, and no thread has it.
    drop(unsafe { Box::from_raw(start) });
    Err(io::Error::from_raw_os_error(error))
}

/// The life of a thread of `create`.
extern "C" fn begin(start: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: from `Box::into_raw` in `create`, which has left it to this thread.
    let Start { name, run } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    // A name that is too long is none.
    let _ = rustix::thread::set_name(name);
    let _until_the_end = Parked;
    // The panic has been told by its hook; the thread ends.
    let _ = catch_unwind(AssertUnwindSafe(run));
    ptr::null_mut()
}

/// The life of a parked thread, which may end by a panic.
struct Parked;

impl Drop for Parked {
    fn drop(&mut self) {
        count(-1);
    }
}

/// A parked thread that runs something that may take locks.
#[must_use = "dropped, the thread is parked again"]
pub(crate) struct Unparked(());

/// Has the calling thread, a parked one, count as any other while it runs something that may take locks.
pub(crate) fn unpark() -> Unparked {
    count(-1);
    Unparked(())
}

impl Drop for Unparked {
    fn drop(&mut self) {
        count(1);
    }
}

/// Threads of this process besides the caller and the parked ones.
///
/// A thread that was joined is still counted by the kernel for a moment; this looks again for as long as that takes.
pub(crate) fn others() -> io::Result<u64> {
    besides(parked)
}

/// The same, with the parked ones.
pub(crate) fn all_others() -> io::Result<u64> {
    besides(|| 0)
}

const TASKS: &str = "/proc/self/task";

fn besides(some: impl Fn() -> u32) -> io::Result<u64> {
    let mut looks = 0;
    loop {
        // Each thread is a directory there, and a directory's link count is that of its subdirectories and two more.
        let there = rustix::fs::stat(TASKS).map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("{TASKS}: {error}"))
        })?;
        let threads = there.st_nlink.saturating_sub(2);
        let others = threads.saturating_sub(1 + u64::from(some()));
        if others == 0 || looks == LOOKS {
            return Ok(others);
        }
        looks += 1;
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// 10 ms in all: paid only before an error.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);

fn parked() -> u32 {
    let (pid, count) = split(PARKED.load(Relaxed));
    if pid == process::id() { count.cast_signed().max(0).cast_unsigned() } else { 0 }
}

fn count(change: i32) {
    let _ = PARKED.fetch_update(Relaxed, Relaxed, |packed| {
        let (pid, count) = split(packed);
        let count = if pid == process::id() { count } else { 0 };
        Some(u64::from(process::id()) << 32 | u64::from(count.wrapping_add_signed(change)))
    });
}

fn split(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::{
        super::{
            clock::Wait,
            pidfd::{self, End},
            poll, start,
        },
        *,
    };

    /// In a process of its own: other tests park threads too.
    #[test]
    fn the_parked_do_not_count() {
        let (_until_the_end, wait) = channel::<()>();
        spawn_parked(c"parked", SMALL, move || _ = wait.recv()).unwrap();
        assert!(parked() > 0);
        // SAFETY: the child uses nothing that another thread could have held at that moment: with glibc, it can allocate and
        // start threads.
        match unsafe { start::fork() }.unwrap() {
            None => {
                let _guard = start::ExitOnUnwind;
                in_a_fork();
                start::exit_now(0)
            }
            Some(pid) => {
                let child = pidfd::open(pid).unwrap().unwrap();
                assert!(poll::is_readable(&child, Wait::timeout(Duration::from_secs(60))).unwrap());
                assert_eq!(pidfd::reap(&child).unwrap(), Some(End::Code(0)));
            }
        }
    }

    fn in_a_fork() {
        // The parent's are not here.
        assert_eq!((parked(), others().unwrap(), all_others().unwrap()), (0, 0, 0));
        let (say, orders) = channel();
        let (tell, done) = channel();
        spawn_parked(c"parked", SMALL, move || {
            let mut busy = None;
            for runs in orders {
                // What it was before ends with this.
                busy = if runs { Some(unpark()) } else { None };
                tell.send(()).unwrap();
            }
            drop(busy);
        })
        .unwrap();
        assert_eq!((parked(), others().unwrap(), all_others().unwrap()), (1, 0, 1));
        // While it runs what is not the crate's it is as any other.
        say.send(true).unwrap();
        done.recv().unwrap();
        assert_eq!((parked(), others().unwrap(), all_others().unwrap()), (0, 1, 1));
        say.send(false).unwrap();
        done.recv().unwrap();
        assert_eq!((parked(), others().unwrap()), (1, 0));
        // One of the program's.
        let (until_joined, wait) = channel::<()>();
        let other = thread::spawn(move || _ = wait.recv());
        assert_eq!(others().unwrap(), 1);
        drop(until_joined);
        other.join().unwrap();
        assert_eq!(others().unwrap(), 0);
        // One that ends, and one that ends by a panic.
        drop(say);
        until(|| all_others().unwrap() == 0);
        assert_eq!(parked(), 0);
        std::panic::set_hook(Box::new(|_| {}));
        spawn_parked(c"panics", SMALL, || panic!("on purpose")).unwrap();
        until(|| all_others().unwrap() == 0);
        until(|| parked() == 0);
        assert_eq!(others().unwrap(), 0);
    }

    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}
