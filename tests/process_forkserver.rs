//! The fork server: what it prepares, what its children have from whom, and what becomes of all when it dies.
//!
//! A process has one server. So each test runs in a process of its own, a fresh start of this one: see [`alone`].

#![expect(unsafe_code, reason = "signals, and mutexes of the C library in shared memory")]

mod scratch;
mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
    process::id,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use shmkit::{
    Array, AtomicArray, Barrier, Error, Lock, Process, RawArray, Result, Value,
    process::{self, Builder, ExitStatus, StartMethod, Target, forkserver},
};
use support::{Deadline, Random, eventually};

shmkit::init_in_tests!();

const LONG: Duration = Duration::from_secs(50);

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(LONG)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

/// By the fork server.
fn builder<F>(target: F) -> Builder<F> {
    Process::builder(target).start_method(StartMethod::ForkServer)
}

/// Runs a test in a fresh process, which dies with this one.
#[track_caller]
fn alone<F: Target<()>>(what: &'static str, test: F) {
    let _deadline = Deadline::seconds(100, what);
    let child =
        Process::builder(test).start_method(StartMethod::Spawn).daemon(true).may_have_children(true).start().unwrap();
    if let Err(error) = joined(&child) {
        panic!("{what}: {error}");
    }
}

macro_rules! alone {
    ($($name:ident $body:block)*) => {$(
        #[test]
        fn $name() {
            fn body() -> Result<()> {
                $body
                Ok(())
            }
            alone(stringify!($name), body);
        }
    )*};
}

/// All processes with this parent, with their states.
fn children_of(parent: u32) -> Vec<(u32, char)> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        (fields.next()? == parent.to_string()).then_some((pid, state))
    })
    .collect()
}

/// The server of this process: the child that nobody sees.
fn server() -> u32 {
    let seen: Vec<_> = process::active_children().iter().map(|child| child.pid()).collect();
    let hidden: Vec<_> = children_of(id()).into_iter().filter(|(pid, _)| !seen.contains(pid)).collect();
    assert_eq!(hidden.len(), 1, "{hidden:?}");
    hidden[0].0
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: takes numbers. The process was not waited for, or does not matter.
    unsafe { libc::kill(pid as i32, signal) };
}

/// The state of a process or a thread, by its directory.
fn state_of(directory: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("{directory}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_gone(pid: u32) -> bool {
    // Whoever inherits it may not wait for it.
    matches!(state_of(&format!("/proc/{pid}")), None | Some('Z' | 'X'))
}

fn sleep_for_ever() {
    loop {
        thread::park();
    }
}

fn parent_of(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

alone! {
    the_server_is_clean {
        let stray = fs::File::open("/proc/self/status").unwrap();
        rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
        let _others = (Value::new(1)?, Lock::new()?);
        let child = builder(sleep_for_ever).daemon(true).start()?;
        let server = server();
        let open: Vec<_> = fs::read_dir(format!("/proc/{server}/fd")).unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
            .collect();
        // Its streams, the socket, the parent's pidfd, and the descriptor of signals.
        assert_eq!(open.iter().filter(|path| *path == "/dev/null").count(), 3, "{open:?}");
        assert_eq!(open.len(), 6, "{open:?}");
        assert_eq!(fs::read_dir(format!("/proc/{server}/task")).unwrap().count(), 1);
        assert_eq!(parent_of(child.pid()), id(), "the child is this process's own");
        assert!(!process::active_children().iter().any(|child| child.pid() == server));
        child.kill()?;
        assert!(joined(&child).is_err());
    }

    another_group_has_another_server {
        fn group() -> u32 {
            rustix::process::getegid().as_raw()
        }
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let before = group();
        assert_eq!(joined(&builder(group).start()?)?, before);
        let first = server();
        // SAFETY: takes a number, for all threads.
        assert_eq!(unsafe { libc::setegid(before + 1) }, 0);
        assert_eq!(joined(&builder(group).start()?)?, before + 1);
        eventually(|| is_gone(first));
        assert!(process::active_children().is_empty());
        assert_ne!(server(), first);
    }

    a_child_has_nothing_of_the_servers {
        let open = || -> Vec<String> {
            fs::read_dir("/proc/self/fd").unwrap()
                .map(|entry| fs::read_link(entry.unwrap().path()).unwrap_or_default().display().to_string())
                .collect()
        };
        // No daemon, whose watch over its parent opens a descriptor.
        let seen = joined(&builder(open).daemon(false).start()?)?;
        // The streams, its socket, and the directory that is being read.
        assert_eq!(seen.iter().filter(|path| path.starts_with("socket:")).count(), 1, "{seen:?}");
        assert!(seen.len() <= 5, "{seen:?}");
        let maps = || fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!joined(&builder(maps).start()?)?.contains("memfd:shmkit"));
        let blocked = || fs::read_to_string("/proc/self/status").unwrap();
        let status = joined(&builder(blocked).start()?)?;
        assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    }

    what_this_process_has_now_is_what_a_child_has {
        type Seen = (Option<String>, Option<String>, Option<String>, String);
        fn look() -> Seen {
            let get = |name| env::var(name).ok();
            (get("SHMKIT_A"), get("SHMKIT_B"), get("SHMKIT_C"), env::current_dir().unwrap().display().to_string())
        }
        fn seen(builder: Builder<impl Target<(), Outcome = Seen>>) -> Result<Seen> {
            joined(&builder.start()?)
        }
        let some = |text: &str| Some(text.to_owned());
        // SAFETY: this process has no other thread that looks at the environment.
        let set = |name, value: &str| unsafe { env::set_var(name, value) };
        set("SHMKIT_A", "1");
        set("SHMKIT_B", "1");
        let here = env::current_dir().unwrap().display().to_string();
        assert_eq!(seen(builder(look))?, (some("1"), some("1"), None, here.clone()));
        let first = server();
        set("SHMKIT_A", "2");
        set("SHMKIT_C", "2");
        // SAFETY: as above.
        unsafe { env::remove_var("SHMKIT_B") };
        env::set_current_dir("/proc").unwrap();
        assert_eq!(seen(builder(look))?, (some("2"), None, some("2"), "/proc".into()));
        let changed = builder(look).env("SHMKIT_A", "3").env("SHMKIT_B", "3").env_remove("SHMKIT_C").current_dir("/");
        assert_eq!(seen(changed)?, (some("3"), some("3"), None, "/".into()));
        env::set_current_dir(&here).unwrap();
        assert_eq!(seen(builder(look))?, (some("2"), None, some("2"), here));
        assert_eq!(server(), first);
    }

    a_child_has_the_streams_that_this_process_has_now {
        joined(&builder(|| ()).start()?)?;
        let folder = scratch::Folder::new();
        let path = folder.join("said");
        let file = fs::File::create(&path).unwrap();
        // SAFETY: both are open; nothing else in this process uses the stream.
        assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), 1) }, 1);
        joined(&builder(|| print!("said to a file")).start()?)?;
        assert_eq!(fs::read_to_string(&path).unwrap(), "said to a file");
        // One that is closed is empty, not another's.
        // SAFETY: nothing else in this process uses it.
        unsafe { libc::close(0) };
        let stdin = || fs::read_link("/proc/self/fd/0").unwrap().display().to_string();
        assert_eq!(joined(&builder(stdin).start()?)?, "/dev/null");
    }

    builders_settings_arrive {
        fn look() -> (String, bool, usize, Vec<String>) {
            let me = process::current();
            (me.name().to_owned(), me.is_daemon(), process::cpu_count(), env::args().collect())
        }
        let child = builder(look).name("w7").daemon(true).pin_to_cpu(0).start()?;
        assert_eq!(joined(&child)?, ("w7".to_owned(), true, 1, env::args().collect()));
        let seen = joined(&builder(look).daemon(false).start()?)?;
        assert!(!seen.1 && seen.2 == process::cpu_count());
        assert!(matches!(builder(look).current_dir("/nowhere/at/all").start(), Err(Error::Os { .. })));
        assert!(matches!(builder(look).env("A=B", "c").start(), Err(Error::InvalidArgument { .. })));
        assert!(matches!(joined(&builder(look).pin_to_cpu(1000).start()?), Err(Error::Os { .. })));
    }

    large_arguments_and_many_handles {
        let sent: Vec<u8> = (0..4 << 20).map(|i| (i % 251) as u8).collect();
        let reversed = |mut bytes: Vec<u8>| { bytes.reverse(); bytes };
        let mut back = joined(&builder(reversed).args((sent.clone(),)).start()?)?;
        back.reverse();
        assert!(back == sent);
        let values = (0..300).map(Value::<u32>::new).collect::<Result<Vec<_>>>()?;
        let sum = |values: Vec<Value<u32>>| -> Result<u32> { values.iter().map(Value::get).sum() };
        assert_eq!(joined(&builder(sum).args((values,)).start()?)?, 299 * 300 / 2);
    }
}

static LOADED: OnceLock<u32> = OnceLock::new();
static ORDER: AtomicU32 = AtomicU32::new(0);

fn load() {
    ORDER.store(ORDER.load(SeqCst) * 10 + 1, SeqCst);
    LOADED.set(id()).unwrap();
}

fn load_more() -> Result<()> {
    ORDER.store(ORDER.load(SeqCst) * 10 + 2, SeqCst);
    // Unfinished lines are not the children's to write.
    print!("said by the server");
    std::io::stdout().lock().write_all(b"").map_err(|error| Error::Failed { message: error.to_string() })
}

/// Where a function that is preloaded learns a name.
const NAMED: &str = "SHMKIT_TEST_NAMED";

/// The error of a start by a server that was told to run this first, twice.
fn refusals<F: Target<()>>(function: F) -> Result<[Error; 2]> {
    forkserver::preload(function)?;
    let start = || builder(|| ()).start().unwrap_err();
    Ok([start(), start()])
}

alone! {
    what_is_preloaded_is_there {
        forkserver::preload(load)?;
        forkserver::preload(load_more)?;
        forkserver::preload(load)?;
        for _ in 0..3 {
            let seen = joined(&builder(|| (LOADED.get().copied(), ORDER.load(SeqCst))).start()?)?;
            assert_eq!(seen, (Some(server()), 12));
        }
        assert!(LOADED.get().is_none());
        // Again, when it has run: nothing more is done.
        forkserver::preload(load)?;
        assert_eq!(joined(&builder(|| ORDER.load(SeqCst)).start()?)?, 12);
        // Children's servers do the same.
        fn nested() -> Result<(Option<u32>, Option<u32>)> {
            let below = joined(&builder(|| LOADED.get().copied()).start()?)?;
            Ok((LOADED.get().copied(), below))
        }
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let (mine, below) = joined(&Process::builder(nested).start_method(method).start()?)?;
            assert_eq!(mine.is_some(), method == StartMethod::ForkServer);
            assert!(below.is_some() && below != mine);
        }
        // And the one that replaces a server does.
        let before = server();
        signal(before, libc::SIGKILL);
        eventually(|| is_gone(before));
        let seen = joined(&builder(|| LOADED.get().copied()).start()?)?;
        assert!(seen == Some(server()) && seen != Some(before));
    }

    a_preload_begins_at_once_and_nobody_waits_for_it {
        let name = scratch::Name::new();
        let words = AtomicArray::<u32>::create(&*name, 2)?;
        // SAFETY: this process runs nothing else that could look at it.
        unsafe { env::set_var(NAMED, &*name) };
        // By a thread that is gone while the function still runs.
        thread::spawn(|| {
            forkserver::preload(|| -> Result<()> {
                let words = AtomicArray::<u32>::open(env::var(NAMED).unwrap().as_str())?;
                words[0].store(id(), SeqCst);
                eventually(|| words[1].load(SeqCst) == 1);
                ORDER.store(7, SeqCst);
                Ok(())
            })
        })
        .join()
        .unwrap()?;
        eventually(|| words[0].load(SeqCst) != 0);
        assert_eq!(words[0].load(SeqCst), server());
        // More, which waits for its turn.
        forkserver::preload(load)?;
        let starter = thread::spawn(|| joined(&builder(|| ORDER.load(SeqCst)).start()?));
        thread::sleep(Duration::from_millis(50));
        assert!(!starter.is_finished(), "it waits for both");
        words[1].store(1, SeqCst);
        assert_eq!(starter.join().unwrap()?, 71);
        assert_eq!(words[0].load(SeqCst), server());
    }

    a_preload_may_come_late {
        assert_eq!(joined(&builder(|| ORDER.load(SeqCst)).start()?)?, 0);
        let first = server();
        let folder = scratch::Folder::new();
        let out = folder.join("out");
        // SAFETY: this process runs nothing else that could look at it.
        unsafe { env::set_var(NAMED, "later") };
        let home = env::current_dir().unwrap();
        env::set_current_dir(folder.join("")).unwrap();
        // What it prints goes where this process prints now.
        let kept = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        let lead_output_to = |fd: BorrowedFd<'_>| {
            // SAFETY: takes numbers; nobody owns that of the standard output.
            assert_eq!(unsafe { libc::dup2(fd.as_raw_fd(), 1) }, 1);
        };
        lead_output_to(fs::File::create(&out).unwrap().as_fd());
        forkserver::preload(|| {
            print!("{} in {}", env::var(NAMED).unwrap(), env::current_dir().unwrap().display());
            load();
        })?;
        lead_output_to(kept.as_fd());
        env::set_current_dir(home).unwrap();
        forkserver::preload(load_more)?;
        forkserver::preload(load_more)?;
        for _ in 0..2 {
            let seen = joined(&builder(|| {
                (ORDER.load(SeqCst), LOADED.get().copied(), env::current_dir().unwrap(), env::var(NAMED).unwrap())
            }).start()?)?;
            assert_eq!(seen, (12, Some(first), env::current_dir().unwrap(), "later".into()));
        }
        let said = format!("later in {}", fs::canonicalize(folder.join("")).unwrap().display());
        assert_eq!(fs::read_to_string(&out).unwrap(), said);
        assert_eq!(server(), first);
        // From now on every start fails.
        forkserver::preload(|| Err::<(), _>(Error::TimedOut))?;
        for _ in 0..2 {
            assert!(builder(|| ()).start().unwrap_err().is_timed_out());
        }
        // The next one is not even begun.
        forkserver::preload(|| -> () { std::process::exit(7) })?;
        assert!(builder(|| ()).start().unwrap_err().is_timed_out());
    }

    a_preload_may_have_children_of_its_own {
        fn computes() -> Result<()> {
            for method in process::all_start_methods() {
                let part = Process::builder(|| 2_u32).start_method(method).start()?;
                ORDER.fetch_add(joined(&part)?, SeqCst);
            }
            // A server of the server's, which does nobody any good, and no harm.
            forkserver::preload(load_more)
        }
        forkserver::preload(computes)?;
        for _ in 0..2 {
            assert_eq!(joined(&builder(|| ORDER.load(SeqCst)).start()?)?, 6);
        }
        assert!(children_of(server()).is_empty());
    }

    a_preload_where_no_server_may_be {
        // As it is a child of a daemon.
        fn preloads() -> Result<()> {
            forkserver::preload(load)
        }
        let daemon = Process::builder(preloads).start_method(StartMethod::Spawn).daemon(true).may_have_children(false);
        assert!(matches!(joined(&daemon.start()?), Err(Error::ChildOfDaemon { .. })));
    }

    a_preload_of_a_dead_server_is_the_next_ones {
        forkserver::preload(load)?;
        for _ in 0..20 {
            signal(server(), libc::SIGKILL);
            forkserver::preload(load_more)?;
            assert_eq!(joined(&builder(|| ORDER.load(SeqCst)).start()?)?, 12);
        }
        eventually(|| process::active_children().is_empty());
        // Nor is a thread left of those that had begun them.
        eventually(|| {
            let is_one = |thread: &fs::DirEntry| {
                fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "shmkit-server\n")
            };
            fs::read_dir("/proc/self/task").unwrap().filter(|thread| is_one(thread.as_ref().unwrap())).count() == 1
        });
    }

    a_preload_that_fails_fails_every_start {
        let [first, second] = refusals(|| Err::<(), _>(Error::TimedOut))?;
        assert!(first.is_timed_out() && second.is_timed_out());
        assert!(process::active_children().is_empty());
        joined(&Process::builder(|| ()).start_method(StartMethod::Spawn).start()?)?;
    }

    a_preload_that_panics_fails_every_start {
        for error in refusals(|| -> () { panic!("no data") })? {
            assert!(matches!(&error, Error::Panicked { message, .. } if message == "no data"), "{error}");
        }
    }

    a_preload_that_ends_the_server_fails_every_start {
        for error in refusals(|| -> () { std::process::exit(7) })? {
            assert!(matches!(&error, Error::ForkServerDied { status } if status == "exit code 7"), "{error}");
        }
        assert!(children_of(id()).is_empty());
    }

    a_preload_that_leaves_threads_fails_every_start {
        for error in refusals(|| drop(thread::spawn(sleep_for_ever)))? {
            assert!(matches!(&error, Error::ForkRefused { reason } if reason.contains("1 threads")), "{error}");
        }
    }

    a_preload_that_leaves_a_lock_held_fails_every_start {
        let hold = || -> Result<()> {
            static LOCK: OnceLock<Lock> = OnceLock::new();
            std::mem::forget(LOCK.get_or_init(|| Lock::new().unwrap()).lock()?);
            Ok(())
        };
        for error in refusals(hold)? {
            assert!(matches!(&error, Error::ForkRefused { reason } if reason.contains("1 locks")), "{error}");
        }
    }

    a_preload_that_never_ends_ends_with_its_parent {
        fn starts(pids: Array<u32>) -> Result<()> {
            forkserver::preload(sleep_for_ever)?;
            // Until it is at it.
            eventually(|| children_of(id()).iter().any(|(_, state)| *state == 'S'));
            pids.set(0, server())?;
            builder(|| ()).start().map(drop)
        }
        for _ in 0..5 {
            let pids = Array::<u32>::zeros(1)?;
            let parent = Process::builder(starts).args((pids.clone(),)).daemon(true)
                .start_method(StartMethod::Spawn).start()?;
            eventually(|| pids.get(0).unwrap() != 0);
            parent.kill()?;
            assert!(joined(&parent).is_err());
            eventually(|| is_gone(pids.get(0).unwrap()));
        }
    }

    preloaded_handles_work_in_children {
        static TOTAL: OnceLock<(Value<u64>, Array<u64>)> = OnceLock::new();
        forkserver::preload(|| -> Result<()> {
            let total = (Value::new(0)?, Array::from_iter(0..1000)?);
            *total.0.lock()? = 1;
            TOTAL.set(total).unwrap_or_else(|_| panic!("once"));
            Ok(())
        })?;
        for i in 1..5 {
            let total = joined(&builder(|| -> Result<u64> {
                let (total, numbers) = TOTAL.get().expect("preloaded");
                assert_eq!(numbers.lock()?.iter().sum::<u64>(), 499_500);
                total.update(|x| x + 1)
            }).start()?)?;
            assert_eq!(total, 1 + i, "shared by the children");
        }
    }
}

/// A mutex of the C library in shared memory, which the kernel hands on when its holder dies: if that knows who it is.
fn c_mutex(memory: &RawArray<u64>) -> *mut libc::pthread_mutex_t {
    memory.as_mut_ptr().cast()
}

alone! {
    the_c_library_knows_itself_in_a_child {
        let memory = RawArray::<u64>::zeros(16)?;
        assert!(size_of::<libc::pthread_mutex_t>() <= 128);
        // SAFETY: zeroes are a value of it.
        let mut attributes = unsafe { std::mem::zeroed() };
        // SAFETY: initialises what it is given.
        assert_eq!(unsafe { libc::pthread_mutexattr_init(&raw mut attributes) }, 0);
        // SAFETY: initialised.
        unsafe { libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: initialised.
        unsafe { libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: the mutex lies in memory of its size that all have mapped.
        assert_eq!(unsafe { libc::pthread_mutex_init(c_mutex(&memory), &raw const attributes) }, 0);
        let hold = |memory: RawArray<u64>| -> () {
            // SAFETY: initialised above.
            assert_eq!(unsafe { libc::pthread_mutex_lock(c_mutex(&memory)) }, 0);
            // Threads work, and end.
            assert_eq!((0..4).map(|i| thread::spawn(move || i)).map(|t| t.join().unwrap()).sum::<i32>(), 6);
            // SAFETY: takes a number; ends this process, by the thread id that the C library has of it.
            unsafe { libc::raise(libc::SIGKILL) };
        };
        let child = builder(hold).args((memory.clone(),)).start()?;
        assert!(joined(&child).is_err());
        assert_eq!(child.exit_status(), Some(ExitStatus::Signal(libc::SIGKILL)));
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_mutex_lock(c_mutex(&memory)) }, libc::EOWNERDEAD);
    }

    locks_of_a_killed_child_are_handed_on {
        let (lock, ready) = (Lock::new()?, Value::new(0_u8)?);
        let hold = |lock: Lock, ready: Value<u8>| -> Result<()> {
            let _held = lock.lock()?;
            ready.set(1)?;
            sleep_for_ever();
            Ok(())
        };
        let child = builder(hold).args((lock.clone(), ready.clone())).daemon(true).start()?;
        eventually(|| ready.get().unwrap() == 1);
        child.kill()?;
        let poison = lock.lock_timeout(LONG).map(drop).unwrap_err();
        assert!(matches!(poison, Error::Poisoned { pid: Some(pid), .. } if pid == child.pid()), "{poison}");
        assert!(joined(&child).is_err());
    }

    seats_of_a_barrier_are_kept {
        let barrier = Barrier::new(2)?;
        let child = builder(|_: Barrier| -> () { std::process::exit(0) }).args((barrier.clone(),)).start()?;
        let error = barrier.wait_timeout(LONG).unwrap_err();
        assert!(matches!(error, Error::BarrierBroken { pid } if pid == Some(child.pid())), "{error}");
        assert!(joined(&child).is_err());
    }

    many_threads_start_at_once {
        let total = Value::new(0_u64)?;
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let add = |total: Value<u64>| total.update(|x| x + 1);
                        joined(&builder(add).args((total.clone(),)).start().unwrap()).unwrap();
                    }
                });
            }
        });
        assert_eq!(total.get()?, 200);
        assert_eq!(children_of(id()), [(server(), 'S')], "one server for all");
    }

    a_fork_has_a_server_of_its_own {
        joined(&builder(|| ()).start()?)?;
        let mine = server();
        let fork = Process::builder(|| -> Result<(u32, u32)> {
            let parent = joined(&builder(|| parent_of(id())).start()?)?;
            assert_eq!(parent, id());
            Ok((server(), id()))
        });
        let (theirs, fork) = joined(&fork.start_method(StartMethod::Fork).start()?)?;
        assert!(theirs != mine && fork != id());
        eventually(|| is_gone(theirs));
        joined(&builder(|| ()).start()?)?;
        assert_eq!(server(), mine);
    }

    a_server_that_was_killed_is_replaced {
        let child = builder(sleep_for_ever).daemon(true).start()?;
        let first = server();
        signal(first, libc::SIGKILL);
        eventually(|| is_gone(first));
        // Its children are this process's.
        assert!(child.is_alive());
        assert_eq!(joined(&builder(|| 7_u8).start()?)?, 7);
        assert_ne!(server(), first);
        child.terminate()?;
        assert!(joined(&child).is_err());
        assert_eq!(child.exit_status(), Some(ExitStatus::Signal(libc::SIGTERM)));
        let last = server();
        signal(last, libc::SIGKILL);
        // A look at the children is enough: no zombie stays.
        eventually(|| process::active_children().is_empty() && children_of(id()).is_empty());
    }

    a_server_dies_while_it_is_asked {
        const MOST: usize = 4000;
        let done = AtomicArray::<u32>::zeros(MOST)?;
        let mut random = Random::new();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let kills = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    random.pause(Duration::from_millis(6));
                    let seen: BTreeSet<_> = process::active_children().iter().map(|child| child.pid()).collect();
                    // A child that is not on record yet may be hit too: then it has died, and says so.
                    for (pid, _) in children_of(id()).into_iter().filter(|(pid, _)| !seen.contains(pid)) {
                        signal(pid, libc::SIGKILL);
                        kills.fetch_add(1, SeqCst);
                    }
                }
            });
            let (mut started, mut died) = (0, 0);
            for i in 0..MOST {
                // Until enough were hit, on a fast machine too.
                if i >= 400 && kills.load(SeqCst) >= 40 {
                    break;
                }
                started += 1;
                let mark = |done: AtomicArray<u32>, i: usize| -> () {
                    done[i].fetch_add(1, SeqCst);
                };
                match builder(mark).args((done.clone(), i)).start() {
                    Ok(child) => match joined(&child) {
                        Ok(()) => assert_eq!(done[i].load(SeqCst), 1, "round {i}"),
                        Err(error) => {
                            assert!(matches!(error, Error::ChildDied { .. }), "{error}");
                            died += 1;
                        }
                    },
                    Err(error) => {
                        // Three servers, one after the other, before one had got as far.
                        assert!(matches!(error, Error::ForkServerDied { .. }), "{error}");
                        died += 1;
                    }
                }
                assert!(done[i].load(SeqCst) <= 1, "round {i}: never twice");
            }
            stop.store(true, SeqCst);
            assert!(died < started / 2, "{died} of {started}");
        });
        assert!(kills.load(SeqCst) >= 40);
        // The last one may die just now.
        eventually(|| {
            assert!(process::active_children().is_empty());
            let left = children_of(id());
            left.len() <= 1 && left.iter().all(|(_, state)| *state != 'Z')
        });
    }

    the_server_goes_with_its_parent {
        fn start_and_tell(pids: Array<u32>, end: u8) -> Result<()> {
            joined(&builder(|| ()).start()?)?;
            pids.set(0, server())?;
            match end {
                0 => Ok(()),
                1 => std::process::exit(3),
                _ => { sleep_for_ever(); Ok(()) }
            }
        }
        for end in 0..3_u8 {
            let pids = Array::<u32>::zeros(1)?;
            let parent = Process::builder(start_and_tell).args((pids.clone(), end)).daemon(true)
                .may_have_children(true).start_method(StartMethod::Spawn).start()?;
            eventually(|| pids.get(0).unwrap() != 0);
            if end == 2 {
                parent.kill()?;
            }
            let _ = joined(&parent);
            eventually(|| is_gone(pids.get(0).unwrap()));
        }
    }

    a_daemon_dies_with_its_parent_not_with_the_server {
        fn has_a_daemon(pids: Array<u32>) -> Result<()> {
            let daemon = builder(sleep_for_ever).daemon(true).start()?;
            signal(server(), libc::SIGKILL);
            pids.set(0, daemon.pid())?;
            sleep_for_ever();
            Ok(())
        }
        let pids = Array::<u32>::zeros(1)?;
        let parent = builder(has_a_daemon).args((pids.clone(),)).daemon(true).may_have_children(true).start()?;
        eventually(|| pids.get(0).unwrap() != 0);
        thread::sleep(Duration::from_millis(50));
        assert!(!is_gone(pids.get(0)?));
        parent.kill()?;
        assert!(joined(&parent).is_err());
        eventually(|| is_gone(pids.get(0).unwrap()));
    }

    ctrl_c_ends_the_family_and_not_the_server_alone {
        /// In a process group of its own, as a shell makes one.
        fn group(pids: Array<u32>) -> Result<()> {
            rustix::process::setpgid(None, None).unwrap();
            // SAFETY: takes a number and a valid disposition: this one goes on.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
            forkserver::preload(|| {
                // SAFETY: as above: children are not to ignore it as this process does.
                unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            })?;
            let children = (0..5).map(|_| builder(sleep_for_ever).daemon(true).start()).collect::<Result<Vec<_>>>()?;
            let server = server();
            // SAFETY: takes numbers: to all of the group.
            unsafe { libc::kill(0, libc::SIGINT) };
            for child in &children {
                assert!(joined(child).is_err());
                assert_eq!(child.exit_status(), Some(ExitStatus::Signal(libc::SIGINT)));
            }
            assert!(!is_gone(server));
            // One that came before is none of the next child's.
            assert_eq!(joined(&builder(|| 7_u8).start()?)?, 7);
            pids.set(0, server)?;
            assert_eq!(self::server(), server);
            Ok(())
        }
        let pids = Array::<u32>::zeros(1)?;
        let builder = Process::builder(group).args((pids.clone(),)).start_method(StartMethod::Spawn);
        joined(&builder.daemon(true).may_have_children(true).start()?)?;
        eventually(|| is_gone(pids.get(0).unwrap()));
    }

    ctrl_c_before_a_start_is_none_of_the_childs {
        // As a parent that handles it, and goes on.
        // SAFETY: takes a number and a valid disposition.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        forkserver::preload(|| {
            // SAFETY: as above.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        })?;
        joined(&builder(|| ()).start()?)?;
        let server = server();
        for _ in 0..20 {
            // Stopped, so that it finds the signal and the request at the same time.
            signal(server, libc::SIGSTOP);
            eventually(|| state_of(&format!("/proc/{server}")) == Some('T'));
            signal(server, libc::SIGINT);
            let (told, tells) = channel();
            let starter = thread::spawn(move || {
                told.send(rustix::thread::gettid()).unwrap();
                joined(&builder(|| 7_u8).start()?)
            });
            // It has asked, and waits for the answer.
            let starters = format!("/proc/self/task/{}", tells.recv().unwrap().as_raw_nonzero());
            eventually(|| state_of(&starters) == Some('S'));
            signal(server, libc::SIGCONT);
            assert_eq!(starter.join().unwrap()?, 7);
        }
        assert_eq!(self::server(), server);
    }

    ctrl_c_at_any_moment_leaves_nothing {
        /// Starts children, no daemons, until the signal ends it.
        fn starts(started: Value<u32>) -> Result<()> {
            rustix::process::setpgid(None, None).unwrap();
            // A shell has its background jobs ignore it, and so all that they start.
            // SAFETY: the default is a valid disposition.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            loop {
                let child = builder(sleep_for_ever).daemon(false).start()?;
                started.update(|x| x + 1)?;
                std::mem::forget(child);
            }
        }
        let mut random = Random::new();
        for round in 0..60 {
            let started = Value::new(0)?;
            let parent = Process::builder(starts).args((started.clone(),)).start_method(StartMethod::Spawn)
                .daemon(true).may_have_children(true).start()?;
            eventually(|| started.recover().is_ok_and(|count| *count > 1));
            random.pause(Duration::from_millis(2));
            // SAFETY: takes numbers: to all of the group.
            unsafe { libc::kill(-(parent.pid() as i32), libc::SIGINT) };
            assert!(joined(&parent).is_err());
            let group = parent.pid();
            let deadline = Instant::now() + Duration::from_secs(20);
            while !has_ended(group) {
                if Instant::now() > deadline {
                    // SAFETY: takes numbers.
                    unsafe { libc::kill(-(group as i32), libc::SIGKILL) };
                    panic!("round {round}: somebody was left");
                }
                thread::yield_now();
            }
        }
    }

    limits_are_errors {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        joined(&builder(|| ()).start()?)?;
        let before = getrlimit(Resource::Nofile);
        let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
        let (mut failed, mut worked) = (0, 0);
        for left in 0..8 {
            setrlimit(Resource::Nofile, Rlimit { current: Some(open + left), ..before }).unwrap();
            let started = builder(|| 5_u8).start();
            setrlimit(Resource::Nofile, before).unwrap();
            match started {
                Ok(child) => { assert_eq!(joined(&child)?, 5); worked += 1; }
                Err(error) => { assert!(matches!(error, Error::Os { .. }), "{error}"); failed += 1; }
            }
        }
        assert!(failed > 0 && worked > 0 && failed + worked == 8, "{failed} {worked}");
        assert_eq!(children_of(id()), [(server(), 'S')]);
    }

    the_executable_may_be_gone {
        // `/proc/self/exe` leads to the file that runs, whatever its name is by now.
        let folder = scratch::Folder::new();
        let copy = folder.join("copy");
        fs::copy(env::current_exe().unwrap(), &copy).unwrap();
        let output = std::process::Command::new(&copy)
            .args(["--exact", "without_its_executable", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(!Path::new(&copy).exists());
    }
}

/// Whether nobody of a process group runs.
fn has_ended(group: u32) -> bool {
    fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok()).all(
        |stat| {
            let fields: Vec<_> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
            fields.get(2) != Some(&group.to_string().as_str()) || matches!(fields[0], "Z" | "X")
        },
    )
}

/// Of `the_executable_may_be_gone`.
#[test]
#[ignore = "removes the program that runs it"]
fn without_its_executable() {
    let program = env::current_exe().unwrap();
    if program.file_name().is_some_and(|name| name == "copy") {
        fs::remove_file(program).unwrap();
        for method in [StartMethod::ForkServer, StartMethod::Spawn, StartMethod::ForkServer] {
            assert_eq!(joined(&Process::builder(|| 7_u8).start_method(method).start().unwrap()).unwrap(), 7);
        }
    }
}
