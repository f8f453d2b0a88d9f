//! This thread's robust list: the locks that the kernel releases for it when it dies.
//!
//! glibc registers one list head per thread and the kernel accepts only one, so we share glibc's. Its `futex_offset`
//! fixes where a lock word stands relative to its list entry: 32 bytes before it. Entries are doubly linked; a link
//! points at the `next` field of the entry it means, `prev` stands 8 bytes before `next`, and a set low bit marks an
//! entry of a priority-inheritance mutex, which keeps its bit wherever the link is copied.
//!
//! ```text
//!  lock word           prev   next
//!  0     4             24     32       <- bytes from the start of the lock
//!  [u32] ............. [ptr]  [ptr]
//!                             ^ what links, the head and `list_op_pending` point at
//! ```
//!
//! The kernel walks the list when the thread ends, by whatever cause, and marks each word that still holds the thread's
//! id with `FUTEX_OWNER_DIED`. It also looks at the one entry in `list_op_pending`, which covers the moment between
//! taking the word and linking the entry. Order: pending, take the word, link; and to release: pending, unlink, store the
//! word, clear pending. An entry that is linked and pending is looked at once. The kernel walks as the thread itself, which
//! sees its own stores in their order: so compiler fences suffice between the steps.
//!
//! Trust: unlinking follows `prev` and `next`, which lie in memory that other processes can write. Lock memory is
//! shared with processes of the same user only (regions are opened with that check), and those could write to this
//! process anyway (`ptrace`).
//!
//! # Forks
//!
//! A forked child has another thread id and an empty list, but a copy of what was cached. Handlers of
//! `pthread_atfork` are skipped by `_Fork` and by a raw `clone`. So there is a page that the kernel wipes in every child
//! (`MADV_WIPEONFORK`). It holds the number of the process's *generation*, which no ancestor has had, and a cache is valid
//! while it was filled in that generation. The first thread of a child that asks sets the word; it may be another than the
//! one that forked, whose cache is the only one that can be stale. The process's stamp stands there too: its id alone does
//! not tell it from an ancestor that has ended.
//!
//! # What a thread leaves behind
//!
//! A guard that was forgotten may live on as the `&mut` that it was lent for, in a static say, and a fork must not copy
//! that. While its thread runs the thread's own count tells; when it ends, that is added to the process's. A fork of the
//! process begins with nothing left behind, for it was refused otherwise.
//!
//! Sources: `Documentation/locking/robust-futexes.rst` and `robust-futex-ABI.rst` of the kernel,
//! `get_robust_list(2)`, `madvise(2)`.

#![expect(unsafe_code, reason = "links nodes into the list that glibc registered with the kernel")]

use std::{
    cell::Cell,
    io, ptr,
    sync::{
        OnceLock,
        atomic::{
            AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
            compiler_fence,
        },
    },
};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::{identity::Stamp, threads::Key};
use crate::{Error, Result};

/// The most locks that one thread may hold.
///
/// The kernel walks 2048 entries, and the program's own robust mutexes are on the same list.
pub(crate) const LIMIT: usize = 1000;

/// Bytes from a lock's word to the `next` link of its entry; glibc's choice.
pub(crate) const WORD_TO_LINK: usize = 32;

/// The list entry inside a lock, laid out as glibc's.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Links {
    prev: AtomicUsize,
    next: AtomicUsize,
}

const LINK_SIZE: usize = size_of::<usize>();
const _: () = assert!(std::mem::offset_of!(Links, next) == LINK_SIZE, "unlinking steps from `next` back to `prev`");

impl Links {
    fn address(&self) -> usize {
        self.next.as_ptr().addr()
    }
}

/// `struct robust_list_head` of the kernel.
#[repr(C)]
struct Head {
    first: AtomicUsize,
    futex_offset: isize,
    pending: AtomicUsize,
}

/// What is cached for a thread.
struct Cache {
    /// The word with the process's generation; [`UNKNOWN`] before the cache was filled.
    current: Cell<&'static AtomicU32>,
    /// The generation in which it was filled.
    generation: Cell<u32>,
    tid: Cell<u32>,
    held: Cell<u32>,
    lent: Cell<u32>,
    head: Cell<*const Head>,
    stamp: Cell<u64>,
}

/// Always 0, as the word is between a fork and the first look at it. No generation has that number.
static UNKNOWN: AtomicU32 = AtomicU32::new(0);

/// What begins anew, as zeroes, in every fork.
#[repr(C)]
struct Wiped {
    /// 0 before it is known, as the stamp.
    generation: AtomicU32,
    stamp: AtomicU64,
}

/// Those of this process, in a page of their own that is never unmapped; null before they were asked for.
static WIPED: AtomicPtr<Wiped> = AtomicPtr::new(ptr::null_mut());

/// The last number given out. A fork copies it, so that a child never gets one that an ancestor has had.
static LAST: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static CACHE: Cache = const {
        Cache {
            current: Cell::new(&UNKNOWN),
            generation: Cell::new(1),
            tid: Cell::new(0),
            held: Cell::new(0),
            lent: Cell::new(0),
            head: Cell::new(ptr::null()),
            stamp: Cell::new(0),
        }
    };
}

/// What [`left_behind`] counts.
static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// What calls [`thread_ends`]. A key of the C library and no destructor of Rust's: it runs after all of those, which may
/// still take and release locks.
static AT_THE_END: OnceLock<Key> = OnceLock::new();

extern "C" fn thread_ends(_: *mut libc::c_void) {
    // Release: with `left_behind`, for whoever finds that this thread is gone.
    LEFT_BEHIND.fetch_add(held(), Release);
}

/// Where glibc keeps what a copy of the calling thread must have set right, if something else than glibc makes it.
///
/// Behind the head of the list is the thread's control block. The id of the thread stands right before `prev` of the head,
/// padded to 8 bytes, in every version with robust mutexes (`struct pthread` in `nptl/descr.h`). It is compared with the
/// kernel's before it is relied on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ControlBlock {
    /// Invariant: the calling thread's registered head, and its id stands [`HEAD_TO_TID`](Self::HEAD_TO_TID) bytes before.
    head: *const Head,
}

impl ControlBlock {
    const HEAD_TO_TID: usize = 16;

    /// # Errors
    ///
    /// [`Error::Unsupported`] with a C library that is laid out in another way.
    pub(crate) fn of_this_thread() -> Result<Self> {
        let this = Self { head: registered_head()? };
        // SAFETY: as long before the head as `prev` and a padded id are, inside the same block.
        let tid = unsafe { this.tid().read() };
        if tid == rustix::thread::gettid().as_raw_nonzero().get() {
            Ok(this)
        } else {
            Err(Error::unsupported("the C library keeps thread ids in another place than glibc"))
        }
    }

    /// Where the kernel is to write the id of a copy.
    pub(crate) fn tid(self) -> *mut i32 {
        self.head.cast_mut().cast::<i32>().wrapping_byte_sub(Self::HEAD_TO_TID)
    }

    /// In the copy: registers an empty list, as the kernel gives it none.
    pub(crate) fn begin_anew(self) {
        // SAFETY: the invariant; the copy has the block at the same address.
        let head = unsafe { &*self.head };
        let address = self.head.addr();
        head.first.store(address, Relaxed);
        head.pending.store(0, Relaxed);
        // SAFETY: glibc keeps a `prev` before the head.
        unsafe { prev_of(address) }.store(address, Relaxed);
        // SAFETY: the head lives as long as the thread. It fails only for another size.
        unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, size_of::<Head>()) };
    }
}

/// The first entry of the calling thread's list, asked for before the lock is taken: a load after it would wait for it.
#[derive(Clone, Copy)]
pub(crate) struct First(usize);

/// The calling thread, ready to hold locks.
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    tid: u32,
    stamp: u64,
    /// Invariant: the calling thread's registered head, which lives as long as the thread.
    head: *const Head,
}

impl Cache {
    /// The thread that it is filled for.
    #[inline(always)]
    fn thread(&self) -> Option<Thread> {
        // Relaxed: the word only changes from 0, where no cache is valid.
        let thread = || Thread { tid: self.tid.get(), stamp: self.stamp.get(), head: self.head.get() };
        (self.current.get().load(Relaxed) == self.generation.get()).then(thread)
    }
}

/// The calling thread.
///
/// # Errors
///
/// [`Error::Unsupported`] where glibc's list is missing or laid out in another way.
#[inline]
pub(crate) fn this_thread() -> Result<Thread> {
    match known_thread() {
        Some(thread) => Ok(thread),
        None => get_to_know(),
    }
}

/// The calling thread, if it is known already: for fast paths, which have no use for an error.
#[inline(always)]
pub(crate) fn known_thread() -> Option<Thread> {
    CACHE.with(Cache::thread)
}

/// The number of this process among its ancestors: a fork's is another than its parent's. Never 0.
#[inline(always)]
pub(crate) fn generation() -> Result<u32> {
    if known_thread().is_none() {
        learn()?;
    }
    Ok(CACHE.with(|cache| cache.generation.get()))
}

/// This process, for who asks often whether it still is the one that did something: a fork is another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generation {
    word: &'static AtomicU32,
    number: u32,
}

impl Generation {
    /// No process at all.
    pub(crate) const NONE: Self = Self { word: &UNKNOWN, number: 1 };

    /// This process.
    ///
    /// # Errors
    ///
    /// As [`this_thread`].
    pub(crate) fn this() -> Result<Self> {
        let number = generation()?;
        Ok(Self { word: CACHE.with(|cache| cache.current.get()), number })
    }

    /// Whether this process is that one. Two loads, of which no thread-local is one.
    #[inline(always)]
    pub(crate) fn is_this(self) -> bool {
        // Relaxed: as in `Cache::thread`.
        self.word.load(Relaxed) == self.number
    }
}

/// [`this_thread`] for its effect, out of the way of those who have had that.
#[cold]
fn learn() -> Result<()> {
    this_thread().map(drop)
}

/// The number of things that the calling thread has and that a fork must not copy: locks, and what it was [lent](lend).
#[inline]
pub(crate) fn held() -> usize {
    let count = |cache: &Cache| cache.held.get() as usize + cache.lent.get() as usize;
    CACHE.with(|cache| if cache.thread().is_some() { count(cache) } else { 0 })
}

/// The same of threads of this process that have ended: what they forgot to give back is theirs for ever.
pub(crate) fn left_behind() -> usize {
    LEFT_BEHIND.load(Acquire)
}

/// Counts a reference into shared memory that was given to the calling thread and is guarded by no lock of its own. The
/// thread must be [known](this_thread): what is counted before that is forgotten.
#[inline(always)]
pub(crate) fn lend() {
    debug_assert!(known_thread().is_some(), "lent to a thread that is not known");
    CACHE.with(|cache| cache.lent.set(cache.lent.get().wrapping_add(1)));
}

/// Ends what [`lend`] began, in the process that did.
#[inline(always)]
pub(crate) fn take_back() {
    CACHE.with(|cache| cache.lent.set(cache.lent.get().wrapping_sub(1)));
}

impl Thread {
    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        self.tid
    }

    /// The process of this thread.
    #[inline(always)]
    pub(crate) fn stamp(self) -> u64 {
        self.stamp
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: the invariant of the field; `Thread` does not leave its thread.
        unsafe { &*self.head }
    }

    /// Announces that the lock of `links` is about to be taken or released.
    #[inline(always)]
    pub(crate) fn begin(self, links: &Links) {
        self.head().pending.store(links.address(), Relaxed);
        compiler_fence(Release);
    }

    /// Ends what [`begin`](Self::begin) announced.
    #[inline(always)]
    pub(crate) fn end(self) {
        compiler_fence(Release);
        self.head().pending.store(0, Relaxed);
    }

    /// The first entry of this thread's list, for [`link`](Self::link).
    #[inline(always)]
    pub(crate) fn first(self) -> First {
        First(self.head().first.load(Relaxed))
    }

    /// Puts a lock that this thread has just taken on its list, before the entry that was the `first` until now.
    #[inline(always)]
    pub(crate) fn link(self, links: &Links, First(first): First) {
        let head = self.head();
        links.next.store(first, Relaxed);
        links.prev.store(ptr::from_ref(head).addr(), Relaxed);
        // SAFETY: `first` is the head or the first entry of this thread's list: a lock that this thread holds, so mapped.
        unsafe { prev_of(first) }.store(links.address(), Relaxed);
        compiler_fence(Release);
        head.first.store(links.address(), Relaxed);
        CACHE.with(|cache| cache.held.set(cache.held.get().wrapping_add(1)));
    }

    /// Takes a lock that this thread is about to release off its list.
    #[inline(always)]
    pub(crate) fn unlink(self, links: &Links) {
        let (prev, next) = (links.prev.load(Relaxed), links.next.load(Relaxed));
        // SAFETY: `next` is the head or an entry of this thread's list (see the module, Trust), so mapped.
        unsafe { prev_of(next) }.store(prev, Relaxed);
        // SAFETY: so is `prev`.
        unsafe { next_of(prev) }.store(next, Relaxed);
        compiler_fence(Release);
        CACHE.with(|cache| cache.held.set(cache.held.get().wrapping_sub(1)));
    }

    /// Whether this thread can hold one more lock.
    #[inline(always)]
    pub(crate) fn has_room(self) -> bool {
        CACHE.with(|cache| (cache.held.get() as usize) < LIMIT)
    }
}

/// # Safety
///
/// `link` must point at the `next` field of a mapped list entry, or at a head: glibc keeps a `prev` before that too,
/// so that neither of us need look which it is.
#[inline(always)]
unsafe fn prev_of<'a>(link: usize) -> &'a AtomicUsize {
    let prev = ptr::with_exposed_provenance::<AtomicUsize>((link & !1) - LINK_SIZE);
    // SAFETY: `prev` stands before `next` in every entry, of ours and of glibc's, and before the head.
    unsafe { &*prev }
}

/// # Safety
///
/// `link` must point at the `next` field of a mapped list entry, or at a head. As the value of a `prev` it has no mark.
#[inline(always)]
unsafe fn next_of<'a>(link: usize) -> &'a AtomicUsize {
    let next = ptr::with_exposed_provenance::<AtomicUsize>(link);
    // SAFETY: promised by the caller; a head begins with its `first`.
    unsafe { &*next }
}

/// Fills the cache of a thread that has none, or that a fork made.
#[cold]
fn get_to_know() -> Result<Thread> {
    let head = registered_head()?;
    let word = &wiped()?.generation;
    at_the_end()?.set().map_err(|error| Error::os("pthread_setspecific", error))?;
    let generation = match word.load(Acquire) {
        0 => {
            let fresh = LAST.fetch_add(1, Relaxed) + 1;
            // Of two threads the first sets it.
            word.compare_exchange(0, fresh, AcqRel, Acquire).map_or_else(|first| first, |_| fresh)
        }
        set => set,
    };
    CACHE.with(|cache| {
        cache.head.set(head);
        cache.stamp.set(stamp());
        cache.held.set(0);
        cache.lent.set(0);
        cache.tid.set(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        cache.current.set(word);
        cache.generation.set(generation);
        cache.thread().ok_or_else(|| Error::unsupported("a thread without an id"))
    })
}

fn at_the_end() -> Result<&'static Key> {
    if let Some(key) = AT_THE_END.get() {
        return Ok(key);
    }
    let fresh = Key::new(thread_ends).map_err(|error| Error::os("pthread_key_create", error))?;
    // Of two threads the first sets it; the other's key is never used.
    Ok(AT_THE_END.get_or_init(|| fresh))
}

fn registered_head() -> Result<*const Head> {
    let mut head: *const Head = ptr::null();
    let mut len = 0_usize;
    // SAFETY: both pointers are to live variables of the types that the call writes; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    if result != 0 {
        return Err(Error::os("get_robust_list", io::Error::last_os_error()));
    }
    if head.is_null() || len != size_of::<Head>() {
        return Err(Error::unsupported("this thread has no robust list (it was not made by glibc)"));
    }
    // SAFETY: the kernel has it from glibc, which keeps it in the thread's own control block.
    let futex_offset = unsafe { (*head).futex_offset };
    if futex_offset != -(WORD_TO_LINK as isize) {
        return Err(Error::unsupported(format!("the C library's robust list has offset {futex_offset}, not -32")));
    }
    Ok(head)
}

/// Mapped when it is first asked for. Of two threads that do so the first wins.
fn wiped() -> Result<&'static Wiped> {
    let mut page = WIPED.load(Acquire);
    if page.is_null() {
        let fresh = map_wiped_page()?;
        // Acquire and Release: the page is mapped for whoever finds its address.
        page = match WIPED.compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire) {
            Ok(_) => fresh,
            Err(first) => {
                unmap_page(fresh);
                first
            }
        };
    }
    // SAFETY: mapped, as large as a page, never unmapped once its address is in `WIPED`; any bytes are its atomics.
    Ok(unsafe { &*page })
}

/// Maps a page that forks wipe.
fn map_wiped_page() -> Result<*mut Wiped> {
    let len = super::memory::page_size() as usize;
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }
        .map_err(|error| Error::os("mmap", error))?;
    // SAFETY: the advice changes what a child of this process finds in the page just mapped, nothing here.
    let advised = unsafe { madvise(page, len, Advice::LinuxWipeOnFork) };
    match advised {
        Ok(()) => Ok(page.cast()),
        Err(error) => {
            unmap_page(page.cast());
            Err(Error::os("madvise(MADV_WIPEONFORK)", error))
        }
    }
}

/// Unmaps a page that nobody else has seen.
fn unmap_page(page: *mut Wiped) {
    // SAFETY: from `map_wiped_page`, and its address was not published.
    let _ = unsafe { munmap(page.cast(), super::memory::page_size() as usize) };
}

/// The stamp of this process, looked up once.
pub(crate) fn stamp() -> u64 {
    let Ok(wiped) = wiped() else { return Stamp::of_this_process().to_bits() };
    // Relaxed: it stands for itself, and each thread that looks it up finds the same.
    match wiped.stamp.load(Relaxed) {
        0 => {
            let stamp = Stamp::of_this_process().to_bits();
            wiped.stamp.store(stamp, Relaxed);
            stamp
        }
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{clock::Wait, poll};

    #[repr(C)]
    #[derive(Default)]
    struct Lock {
        word: AtomicU32,
        padding: [u32; 5],
        links: Links,
    }

    /// Links in every order leave an empty list, with glibc's own entries between them.
    #[test]
    fn links_and_unlinks_in_any_order() {
        let thread = this_thread().unwrap();
        let before = thread.head().first.load(Relaxed);
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let locks: [Lock; 3] = Default::default();
            for lock in &locks {
                thread.link(&lock.links, thread.first());
            }
            assert_eq!(held(), 3);
            for at in order {
                thread.unlink(&locks[at].links);
            }
            assert_eq!((held(), thread.head().first.load(Relaxed)), (0, before));
        }
    }

    #[test]
    fn the_word_stands_where_the_kernel_looks() {
        let lock = Lock::default();
        assert_eq!(lock.links.address() - lock.word.as_ptr().addr(), WORD_TO_LINK);
        assert_eq!(lock.padding.len(), 5);
    }

    #[test]
    fn every_thread_has_its_own_id() {
        let here = this_thread().unwrap();
        let there = std::thread::spawn(|| this_thread().unwrap().tid()).join().unwrap();
        assert_ne!(here.tid(), there);
        assert_eq!(here.stamp(), Stamp::of_this_process().to_bits());
    }

    /// As a process has it that gets the id of an ancestor which has ended.
    #[test]
    fn the_id_of_an_ancestor_makes_no_ancestor() {
        const LAST_PID: &std::ffi::CStr = c"/proc/sys/kernel/ns_last_pid";
        // What a child found out. It has one thread, and calls nothing that another could have been in at the fork.
        let fork = |run: &dyn Fn() -> u8| {
            // SAFETY: the child ends below.
            match unsafe { libc::fork() } {
                // SAFETY: ends the child.
                0 => unsafe { libc::_exit(i32::from(run())) },
                pid => pid,
            }
        };
        let wait = |pid| {
            let mut status = 0;
            // SAFETY: a child of this process; writes a live number.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            libc::WEXITSTATUS(status) as u8
        };
        let tick = || std::thread::sleep(std::time::Duration::from_millis(30));
        const SAME: u8 = 7;
        let (from, into) = rustix::pipe::pipe().unwrap();
        let round = || {
            let ancestor = fork(&|| {
                stamp();
                let me = std::process::id();
                fork(&|| {
                    // SAFETY: takes numbers, and tells only whether the process is there.
                    while unsafe { libc::kill(me.cast_signed(), 0) } == 0 {
                        tick();
                    }
                    tick();
                    let text = (me - 1).to_string();
                    // SAFETY: a string that ends with 0.
                    let file = unsafe { libc::open(LAST_PID.as_ptr(), libc::O_WRONLY) };
                    // SAFETY: reads live bytes.
                    unsafe { libc::write(file, text.as_ptr().cast(), text.len()) };
                    let descendant = fork(&|| match std::process::id() {
                        id if id != me => 0,
                        _ if stamp() == Stamp::of_this_process().to_bits() => SAME,
                        _ => 1,
                    });
                    let _ = rustix::io::write(&into, &[wait(descendant)]);
                    0
                });
                0
            });
            wait(ancestor);
            let mut answer = [9];
            let in_time = Wait::timeout(std::time::Duration::from_secs(20));
            assert!(poll::is_readable(&from, in_time).unwrap());
            assert_eq!(rustix::io::read(&from, &mut answer).unwrap(), 1);
            answer[0]
        };
        // Another process may take the id first.
        match (0..10).map(|_| round()).find(|answer| *answer != 0) {
            Some(answer) => assert_eq!(answer, SAME),
            None => println!("skipped: no id can be chosen here"),
        }
    }
}
