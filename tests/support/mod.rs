//! Workers that die: started by a bare `fork`, killed at random moments or at a chosen point, watched and reaped.
//!
//! A child of a process with several threads, as every `cargo test` is, may call only what `signal(7)` allows, for
//! another thread may have held the allocator's lock at the fork. glibc resets its allocator in the child, and the
//! children here touch only handles that were made before the fork and end by `_exit`: no output, no panic (that ends
//! the child with [`PANICKED`]), no test harness.
//!
//! No test hangs: a [`Deadline`] is a thread that ends the test process, and the children die with their parent.

#![allow(unsafe_code, reason = "forks; an expectation would fail in tests that include only a part")]
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod kills;
pub(crate) mod ledger;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// The exit code of a child whose body panicked.
pub(crate) const PANICKED: i32 = 101;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

/// A child that is killed, if it must be, and reaped when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
    end: Option<End>,
}

impl Child {
    /// Forks; the child runs `body` and exits with its answer.
    pub(crate) fn start(body: impl FnOnce() -> i32) -> Self {
        silence_children();
        // SAFETY: the child keeps to the module's rules.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            become_child(body);
        }
        Self { pid, end: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    pub(crate) fn signal(&self, signal: i32) {
        if self.end.is_none() {
            // SAFETY: not reaped yet, so the id is this child's.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> End {
        self.reap(0).expect("a blocking wait ends with the child")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.reap(libc::WNOHANG).is_some()
    }

    fn reap(&mut self, flags: i32) -> Option<End> {
        while self.end.is_none() {
            let mut status = 0;
            // SAFETY: a child of this process that was not reaped yet; `status` is live.
            match unsafe { libc::waitpid(self.pid, &raw mut status, flags) } {
                0 => return None,
                -1 => assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR)),
                _ if libc::WIFEXITED(status) => self.end = Some(End::Code(libc::WEXITSTATUS(status))),
                _ => self.end = Some(End::Signal(libc::WTERMSIG(status))),
            }
        }
        self.end
    }

    /// Waits until the child sleeps in the kernel (or has ended): the way to know that it waits for a lock.
    pub(crate) fn wait_until_asleep(&self) {
        eventually(|| matches!(self.state(), None | Some('S' | 'Z' | 'X')));
    }

    /// Waits until the child is stopped by a signal (or has ended).
    pub(crate) fn wait_until_stopped(&self) {
        eventually(|| matches!(self.state(), None | Some('T' | 'Z' | 'X')));
    }

    /// Waits until the child has brought something about, for 20 s at most. Says how it stands if it does not.
    #[track_caller]
    pub(crate) fn brings_about(&mut self, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition() {
            let has_ended = self.has_ended();
            assert!(!has_ended || condition(), "the child ended before: {:?}", self.end);
            assert!(Instant::now() < end, "the child did not do it within 20 s; its threads:\n{}", self.threads());
            thread::yield_now();
        }
    }

    /// What each of its threads is called, its state, and where in the kernel it is.
    fn threads(&self) -> String {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.pid)) else { return "gone".into() };
        let read = |task: &std::path::Path, file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let describe = |task: &std::path::Path| ["stat", "wchan", "syscall"].map(|file| read(task, file)).join(" ");
        tasks.flatten().map(|task| describe(&task.path())).collect()
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// Lets children panic without a word. Set here and not in the child, where it would wait for ever for whoever of the
/// parent's threads was panicking at the moment of the fork.
fn silence_children() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let parent = std::process::id();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::process::id() == parent {
                before(info);
            }
        }));
    });
}

fn become_child(body: impl FnOnce() -> i32) -> ! {
    // The parent's death ends the child: an interrupted test leaves nothing behind.
    // SAFETY: takes plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let no_dump = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads a live struct. A core dump would delay the news of the death.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_dump) };
    let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED);
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// From now on a signal interrupts the calling thread every millisecond, in whatever call it waits. For children: the
/// handler belongs to the whole process, and the timer stays.
pub(crate) fn storm_of_signals(count: &'static AtomicU64) {
    static COUNT: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
    extern "C" fn handle(_: i32) {
        // SAFETY: set before the handler was installed, to what lives for ever.
        unsafe { &*COUNT.load(SeqCst) }.fetch_add(1, SeqCst);
    }
    COUNT.store(std::ptr::from_ref(count).cast_mut(), SeqCst);
    // SAFETY: plain data, of which zero is a value: no flags, so that no call is restarted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(i32) as usize;
    // SAFETY: reads a live struct; the handler does what a handler may do.
    assert_eq!(unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) }, 0);
    // A timer of the thread's own: the signals of the process would nearly all go to its first thread.
    // SAFETY: plain data, of which zero is a value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGALRM;
    // SAFETY: takes nothing.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: reads and writes live structs.
    assert_eq!(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) }, 0);
    let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let times = libc::itimerspec { it_interval: millisecond, it_value: millisecond };
    // SAFETY: the timer was just made; reads a live struct.
    assert_eq!(unsafe { libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) }, 0);
}

/// Stops children at random moments, one after the other, and lets each go on after a while, until all have ended well.
/// Some stay stopped for longer than waiters sleep at a time (100 ms), so that those have looked after them.
pub(crate) fn stop_and_go(children: &mut [Child]) {
    let mut random = Random::new();
    let mut stops = 0;
    while !children.iter_mut().all(Child::has_ended) {
        random.pause(Duration::from_millis(2));
        let child = &children[random.below(children.len() as u64) as usize];
        child.signal(libc::SIGSTOP);
        child.wait_until_stopped();
        let millis = if stops % 32 == 8 { 250 } else { random.below(4) };
        thread::sleep(Duration::from_millis(millis));
        child.signal(libc::SIGCONT);
        stops += 1;
    }
    assert!(children.iter_mut().all(|child| child.wait() == End::Code(0)), "after {stops} stops");
    assert!(stops >= 8, "only {stops} stops: too little to do");
}

/// Starts a thread for which the kernel writes zeros to `len` bytes from `base` on, over and over, and does not stop for a
/// signal: so this process takes its time to die, and writes on meanwhile. Returns as soon as it writes.
///
/// # Safety
///
/// The bytes can be written for the life of this process.
pub(crate) unsafe fn write_from_the_kernel(base: *mut u8, len: usize) {
    // A file of memory, for its reads do not stop at a signal; all holes, so it takes none.
    // SAFETY: a string that ends with 0.
    let source = unsafe { libc::memfd_create(c"zeros".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: the descriptor was just made.
    assert_eq!(unsafe { libc::ftruncate(source, 1 << 31) }, 0);
    let last = base.wrapping_add(len - 1);
    // SAFETY: the caller's promise.
    unsafe { last.write_volatile(1) };
    let address = base.expose_provenance();
    thread::spawn(move || {
        let base = std::ptr::with_exposed_provenance_mut(address);
        let parts = [libc::iovec { iov_base: base, iov_len: len }; 500];
        loop {
            // SAFETY: the caller's promise.
            unsafe { libc::preadv(source, parts.as_ptr(), parts.len() as i32, 0) };
        }
    });
    // SAFETY: the caller's promise.
    eventually(|| unsafe { last.read_volatile() } == 0);
}

/// From now on the kernel refuses `membarrier` to this process, as a sandbox may. `false` if that cannot be had.
pub(crate) fn refuse_membarrier() -> bool {
    refuse(libc::SYS_membarrier)
}

/// The same of any system call.
pub(crate) fn refuse(call: libc::c_long) -> bool {
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut steps = [
        // The number of the call; if it is this one, it is not permitted.
        step((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0),
        step((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 1, call as u32),
        step((libc::BPF_RET | libc::BPF_K) as u16, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step((libc::BPF_RET | libc::BPF_K) as u16, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: takes plain numbers.
    let is_bound = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
    // SAFETY: reads a live program, of as many steps as it says.
    is_bound && unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } == 0
}

/// Sees that processes that wait wake ten times a second at most, and do look around: each by its first thread, and
/// with what it waits for not there.
pub(crate) fn wake_seldom(waiters: &[Child]) {
    let switches = || -> Vec<u128> {
        let of = |child: &Child| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse().unwrap()
        };
        waiters.iter().map(of).collect()
    };
    waiters.iter().for_each(Child::wait_until_asleep);
    // Until they have spun and yielded.
    thread::sleep(Duration::from_millis(250));
    let (before, start) = (switches(), Instant::now());
    thread::sleep(Duration::from_secs(1));
    let times: Vec<_> = switches().iter().zip(before).map(|(after, before)| after - before).collect();
    let slices = start.elapsed().as_millis() / 100 + 2;
    assert!(times.iter().all(|times| (1..=slices).contains(times)), "{times:?} times in {slices} slices");
}

/// Starts a thread in a child. One of std's would never begin if another thread of the parent began at the fork.
pub(crate) fn start_thread(run: impl FnOnce() + Send + 'static) {
    extern "C" fn begin(run: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: from `into_raw` below, for this thread.
        let run = unsafe { Box::from_raw(run.cast::<Box<dyn FnOnce() + Send>>()) };
        run();
        std::ptr::null_mut()
    }
    let run: Box<Box<dyn FnOnce() + Send>> = Box::new(Box::new(run));
    let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: usual attributes; the thread takes what it is given.
    let error =
        unsafe { libc::pthread_create(thread.as_mut_ptr(), std::ptr::null(), begin, Box::into_raw(run).cast()) };
    assert_eq!(error, 0, "pthread_create");
}

/// Waits for a condition, for 20 s at most.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "the condition did not come true within 20 s");
        thread::yield_now();
    }
}

/// Ends the test process with a message when its owner has not dropped it in time.
///
/// It ends the process and not only the test: a test that hangs in the code under test cannot be failed otherwise. Its
/// children die with it (see [`Child::start`]).
pub(crate) struct Deadline(Arc<(Mutex<bool>, Condvar)>);

impl Deadline {
    pub(crate) fn seconds(seconds: u64, what: &'static str) -> Self {
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = Arc::clone(&state);
        thread::spawn(move || {
            let (done, changed) = &*watched;
            let done = done.lock().unwrap();
            let (done, _) = changed.wait_timeout_while(done, Duration::from_secs(seconds), |done| !*done).unwrap();
            if !*done {
                eprintln!("{what}: not done within {seconds} s");
                std::process::abort();
            }
        });
        Self(state)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(|error| error.into_inner()) = true;
        self.0.1.notify_all();
    }
}

/// Pseudo-random numbers (xorshift64*) from a seed that is printed when the test fails; `SHMKIT_SEED` repeats one.
pub(crate) struct Random(u64, u64);

impl Random {
    pub(crate) fn new() -> Self {
        let any = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8);
        let seed = std::env::var("SHMKIT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(any) | 1;
        Self(seed, seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    /// Lets a random time of at most `most` pass, half of it spinning, so that short windows are hit too.
    pub(crate) fn pause(&mut self, most: Duration) {
        let end = Instant::now() + Duration::from_nanos(self.below(most.as_nanos() as u64 + 1));
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("repeat with SHMKIT_SEED={}", self.1);
        }
    }
}

/// Memory that children share with their parent whatever becomes of them: what they report with.
pub(crate) struct Board<T: 'static>(&'static T);

impl<T: Sync> Board<T> {
    /// Zeroed; `T` must be made of atomics.
    pub(crate) fn new() -> Self {
        // SAFETY: a new mapping at an address of the kernel's choice. It stays for the life of the process.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>().max(1),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED);
        // SAFETY: mapped, page-aligned, zeroed; the tests use it for atomics only, of which zero is a value.
        Self(unsafe { &*memory.cast::<T>() })
    }

    /// For as long as the process lives.
    pub(crate) fn get(&self) -> &'static T {
        self.0
    }
}

impl<T> std::ops::Deref for Board<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

/// Kills children at every point of `operation`: `round(n)` forks one that dies at its `n`th point and says how it
/// ended; the rounds end when it survives. Returns the number of points.
#[cfg(feature = "death-points")]
pub(crate) fn at_every_point(mut round: impl FnMut(u32) -> End) -> u32 {
    for n in 1..10_000 {
        match round(n) {
            End::Signal(libc::SIGKILL) => {}
            End::Code(0) => return n - 1,
            other => panic!("at point {n} the child ended with {other:?}"),
        }
    }
    panic!("no end of points");
}

/// What a process returned. One that takes a minute is killed.
#[track_caller]
pub(crate) fn joined<T>(process: &shmkit::Process<T>) -> T {
    match process.join_timeout(Duration::from_secs(60)).unwrap() {
        Some(value) => value,
        None => {
            process.kill().unwrap();
            panic!("{process:?} has not ended");
        }
    }
}

/// Set once by a child, waited for by its parent, or the other way round.
pub(crate) type Flag = AtomicBool;

pub(crate) fn raise(flag: &Flag) {
    flag.store(true, SeqCst);
}

pub(crate) fn is_raised(flag: &Flag) -> bool {
    flag.load(SeqCst)
}

pub(crate) fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}
