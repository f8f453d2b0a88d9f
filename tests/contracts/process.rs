//! What a process promises however it was started: each test runs by the start method of the program that includes
//! this file, its children's children too.
//!
//! Its standard streams have a file of their own, `streams.rs`. Not here, for `tests/process.rs` and `tests/process_fork.rs`
//! have it: arguments, results, errors and panics; a hundred children that end well; the death of a daemon's parent;
//! builders' settings.
//!
//! Impossible by types: whatever one could ask of a process before its start (a `Builder` is no `Process`) or after it
//! was closed (the handle is gone), and a negative time limit. A process has no key for authentication and no exit
//! callbacks; there is one executable, its own.

use std::{
    fs,
    io::{Read, Seek, Write},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    process::id,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{
    Array, AtomicArray, Error, Lock, Pool, Process, Queue, Result, Value,
    process::{self, Builder, Context, ExitStatus, Message, Outcome, StartMethod, State, Stdio, Target},
};

use crate::scratch::Name;

#[path = "handles.rs"]
mod handles;
#[path = "streams.rs"]
mod streams;
pub(crate) use handles::*;
pub(crate) use streams::*;

/// Longer than any wait that succeeds.
pub(crate) const LONG: Duration = Duration::from_secs(50);

/// Hands the names of all tests of this file to a macro.
macro_rules! for_each_contract {
    ($run:ident) => {
        $run! {
            from_start_to_join,
            names_by_default,
            the_main_program_has_no_parent,
            a_child_sees_its_parent_and_its_end,
            a_child_is_a_daemon_as_its_parent_is,
            a_daemon_may_have_children_if_that_was_asked_for,
            a_parent_waits_for_its_children_at_its_end,
            a_panic_after_the_report_is_a_normal_end_too,
            a_parent_ends_its_daemons_at_its_end,
            a_killed_parent_waits_for_nobody,
            a_report_that_nobody_reads_delays_no_end,
            a_stopped_child_is_waited_for,
            a_child_that_a_thread_starts_at_the_end_is_waited_for,
            who_ends_with_a_lock_waits_for_nobody,
            a_fork_waits_for_its_own_children_only,
            a_join_that_waits_for_nothing,
            the_sentinel_is_readable_at_the_end,
            all_terminated,
            a_join_is_not_disturbed_by_signals,
            a_join_where_nobody_is_told_of_the_end,
            seven_processes_in_order,
            exit_codes,
            a_dropped_handle_ends_nothing,
            arguments_are_dropped_at_the_start,
            no_threads_are_waited_for,
            text_is_flushed_and_panics_are_told,
            without_standard_streams,
            children_use_the_start_method_of_the_program,
            locks_work_by_every_start_method,
            every_handle_goes_everywhere,
            five_generations_alike,
            a_hundred_at_once,
            a_scope_waits_for_all,
            a_scope_waits_though_a_result_cannot_be_read,
            a_panic_at_the_end_of_a_thread,
            a_shutdown_asks_first,
            contexts_have_their_method,
        }
    };
}
pub(crate) use for_each_contract;

/// A child that does not outlive the test, whatever becomes of it, and may have children.
fn start<F, A>(target: F, args: A) -> Process<<F::Outcome as Outcome>::Output>
where
    F: Target<A>,
    A: Message,
{
    Process::builder(target).args(args).daemon(true).may_have_children(true).start().unwrap()
}

pub(crate) fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(LONG)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn run<F, A>(target: F, args: A) -> Result<<F::Outcome as Outcome>::Output>
where
    F: Target<A>,
    A: Message,
{
    joined(&start(target, args))
}

#[track_caller]
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn sleep_for_ever() {
    loop {
        thread::park();
    }
}

pub(crate) fn wait_for(go: &Value<u8>) {
    until("the word to go on", || go.get().unwrap() == 1);
}

fn is_listed(pid: u32) -> bool {
    process::active_children().iter().any(|child| child.pid() == pid)
}

pub(crate) fn from_start_to_join() {
    type Seen = (u32, String, u64, String);
    fn look(go: Value<u8>, number: u64, text: String) -> Seen {
        wait_for(&go);
        (id(), process::current().name().to_owned(), number, text)
    }
    let go = Value::new(0_u8).unwrap();
    let args = (go.clone(), 7, "seven".to_owned());
    let child = Process::builder(look).args(args).name("look").daemon(true).start().unwrap();
    assert_eq!((child.is_alive(), child.exit_status(), is_listed(child.pid())), (true, None, true));
    assert!(matches!(child.state(), State::Running | State::Blocked));
    assert_ne!(child.pid(), id());
    go.set(1).unwrap();
    assert_eq!(joined(&child).unwrap(), (child.pid(), "look".to_owned(), 7, "seven".to_owned()));
    assert_eq!((child.is_alive(), child.state()), (false, State::Terminated));
    assert_eq!(child.exit_status(), Some(ExitStatus::Code(0)));
    assert!(!is_listed(child.pid()));
    assert!(process::cpu_count() >= 1);
}

pub(crate) fn names_by_default() {
    let name = || process::current().name().to_owned();
    let children = [start(name, ()), start(name, ())];
    assert_ne!(children[0].name(), children[1].name());
    for child in children {
        assert!(child.name().starts_with("process-"), "{}", child.name());
        assert_eq!(joined(&child).unwrap(), child.name());
    }
}

pub(crate) fn the_main_program_has_no_parent() {
    assert!(process::parent().is_none());
    let me = process::current();
    assert_eq!((me.pid(), me.name(), me.is_daemon()), (id(), "main", false));
    let parent = || process::parent().map(|parent| (parent.pid(), parent.name().to_owned(), parent.is_alive()));
    assert_eq!(run(parent, ()).unwrap(), Some((id(), "main".to_owned(), true)));
}

pub(crate) fn a_child_sees_its_parent_and_its_end() {
    fn watch(pid: Value<u32>, saw: Value<u32>) -> Result<()> {
        let parent = process::parent().expect("a child has one");
        assert_eq!((parent.name(), parent.is_alive()), ("middle", true));
        assert!(!parent.wait_timeout(Duration::ZERO) && !parent.wait_deadline(Instant::now()));
        pid.set(id())?;
        parent.wait();
        assert!(!parent.is_alive() && parent.wait_timeout(Duration::ZERO));
        saw.set(parent.pid())
    }
    fn middle(pid: Value<u32>, saw: Value<u32>) -> Result<()> {
        // It outlives its parent, as no daemon would.
        let child = Process::builder(watch).args((pid, saw)).daemon(false).start()?;
        child.join()
    }
    let (pid, saw) = (Value::new(0_u32).unwrap(), Value::new(0_u32).unwrap());
    let args = (pid.clone(), saw.clone());
    let builder = Process::builder(middle).args(args).name("middle");
    let parent = builder.daemon(true).may_have_children(true).start().unwrap();
    until("the grandchild watches", || pid.get().unwrap() != 0);
    parent.kill().unwrap();
    assert!(joined(&parent).is_err());
    until("the grandchild has seen it", || saw.get().unwrap() == parent.pid());
}

pub(crate) fn a_child_is_a_daemon_as_its_parent_is() {
    fn is_daemon() -> bool {
        process::current().is_daemon()
    }
    fn of_children() -> Result<[bool; 3]> {
        let child = |daemon: Option<bool>| {
            let builder = Process::builder(is_daemon);
            let child = daemon.map_or(builder.clone(), |daemon| builder.daemon(daemon)).start()?;
            let told = joined(&child)?;
            assert_eq!(child.is_daemon(), told);
            Ok::<_, Error>(told)
        };
        Ok([child(None)?, child(Some(false))?, child(Some(true))?])
    }
    assert_eq!(of_children().unwrap(), [false, false, true], "of the main program");
    for daemon in [false, true] {
        let middle = Process::builder(of_children).daemon(daemon).may_have_children(true).start().unwrap();
        assert_eq!(joined(&middle).unwrap(), [daemon, false, true]);
    }
}

pub(crate) fn a_daemon_may_have_children_if_that_was_asked_for() {
    /// By every way there is to start one, whether it worked.
    fn starts() -> Result<Vec<bool>> {
        let has_worked = |result: Result<u32>| match result {
            Err(Error::ChildOfDaemon { name }) => {
                assert_eq!(name, process::current().name());
                false
            }
            other => other.unwrap() == 7,
        };
        let mut worked = vec![process::current().may_have_children()];
        for daemon in [false, true] {
            for method in ALL {
                let child = Process::builder(|| 7_u32).start_method(method).daemon(daemon).start();
                worked.push(has_worked(child.and_then(|child| joined(&child))));
            }
        }
        worked.push(has_worked(Process::fork(|| 7_u32).and_then(|child| joined(&child))));
        let sum = |pool: Pool| pool.map(|x: u32| x, [3, 4]).map(|all| all.into_iter().sum());
        worked.push(has_worked(Pool::builder().workers(1).start_method(StartMethod::Spawn).start().and_then(sum)));
        assert!(process::active_children().is_empty());
        Ok(worked)
    }
    /// In a child of this one.
    fn below(may: Option<bool>) -> Result<Vec<bool>> {
        let builder = Process::builder(starts).daemon(true);
        joined(&may.map_or(builder.clone(), |may| builder.may_have_children(may)).start()?)
    }
    // Forks are refused beside the threads of a test program, and of a pool.
    let spawned = |builder: Builder<_, _>| joined(&builder.start_method(StartMethod::Spawn).start().unwrap()).unwrap();
    let new = || Process::builder(starts).args(());
    assert_eq!(spawned(new().daemon(false)), [true; 9]);
    assert_eq!(spawned(new().daemon(true).may_have_children(true)), [true; 9]);
    assert_eq!(spawned(new().daemon(true)), [false; 9]);
    assert_eq!(run(below, (None,)).unwrap(), [true; 9]);
    assert_eq!(run(below, (Some(false),)).unwrap(), [false; 9]);
    // Workers of a pool are daemons.
    let tried = |may| {
        let pool = Pool::builder().workers(1).start_method(StartMethod::Spawn).may_have_children(may).start().unwrap();
        pool.apply(starts, ()).unwrap()
    };
    assert_eq!(tried(false), [false; 9]);
    assert_eq!(tried(true), [true; 9]);
}

/// The ways to a normal end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Way {
    Returns,
    Fails,
    Panics,
    Exits,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Returns, Self::Fails, Self::Panics, Self::Exits];

    pub(crate) fn go(self) -> Result<()> {
        match self {
            Self::Returns => Ok(()),
            Self::Fails => Err(Error::WouldBlock),
            Self::Panics => panic!("on purpose"),
            Self::Exits => std::process::exit(3),
        }
    }

    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Returns => 0,
            Self::Fails => 1,
            Self::Panics => 101,
            Self::Exits => 3,
        }
    }
}

/// Does a little when its parent is about to end, which takes longer than that.
pub(crate) fn end_late(ending: Value<u8>, done: AtomicArray<u32>) {
    wait_for(&ending);
    thread::sleep(Duration::from_millis(50));
    done[0].fetch_add(1, SeqCst);
}

pub(crate) fn a_parent_waits_for_its_children_at_its_end() {
    fn middle(way: Way, ending: Value<u8>, done: AtomicArray<u32>) -> Result<()> {
        let child = || Process::builder(end_late).args((ending.clone(), done.clone())).daemon(false).start();
        // What becomes of the handle makes no difference.
        let _kept = child()?;
        drop(child()?);
        std::mem::forget(child()?);
        ending.set(1)?;
        way.go()
    }
    for way in Way::ALL {
        let (ending, done) = (Value::new(0_u8).unwrap(), AtomicArray::<u32>::zeros(1).unwrap());
        let parent = start(middle, (way, ending, done.clone()));
        assert_eq!(joined(&parent).is_ok(), matches!(way, Way::Returns));
        assert_eq!(done[0].load(SeqCst), 3, "{way:?}");
        assert_eq!(parent.exit_status(), Some(ExitStatus::Code(way.code())));
    }
}

/// Panics at its end in the child.
#[derive(Serialize, Deserialize)]
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        assert_ne!(process::current().name(), "fragile", "dropped");
    }
}

pub(crate) fn a_panic_after_the_report_is_a_normal_end_too() {
    fn middle(panics: bool, ending: Value<u8>, done: AtomicArray<u32>) -> Result<Fragile> {
        drop(Process::builder(end_late).args((ending.clone(), done)).daemon(false).start()?);
        ending.set(1)?;
        if panics { std::panic::panic_any(Fragile) } else { Ok(Fragile) }
    }
    for panics in [false, true] {
        let (ending, done) = (Value::new(0_u8).unwrap(), AtomicArray::<u32>::zeros(1).unwrap());
        let parent =
            Process::builder(middle).args((panics, ending, done.clone())).name("fragile").stderr(Stdio::null());
        let parent = parent.daemon(true).may_have_children(true).start().unwrap();
        match joined(&parent) {
            Ok(_) => assert!(!panics, "the result was sent before"),
            Err(error) => assert!(panics && matches!(error, Error::Panicked { .. }), "{error}"),
        }
        assert_eq!(parent.exit_status(), Some(ExitStatus::Code(101)));
        assert_eq!(done[0].load(SeqCst), 1);
    }
}

/// Whether the process is there, be it as a zombie of whoever inherits it.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with(['Z', 'X']))
}

pub(crate) fn a_parent_ends_its_daemons_at_its_end() {
    /// Says when it is asked, if it listens; goes on for ever if it does not.
    fn daemon(listens: bool, ready: AtomicArray<u32>, asked: Value<u8>) -> Result<()> {
        let action = if listens { handle as extern "C" fn(libc::c_int) as usize } else { libc::SIG_IGN };
        // SAFETY: the handler adds to an atomic, which it may.
        unsafe { libc::signal(libc::SIGTERM, action) };
        let before = HANDLED.load(SeqCst);
        ready[0].fetch_add(1, SeqCst);
        until("it is asked to end", || listens && HANDLED.load(SeqCst) > before);
        asked.set(1)
    }
    /// Daemons are asked before others are waited for: it ends only then.
    fn other(asked: Value<u8>, done: Value<u8>) -> Result<()> {
        wait_for(&asked);
        done.set(1)
    }
    fn middle(pids: Array<u32>, asked: Value<u8>, done: Value<u8>) -> Result<()> {
        let ready = AtomicArray::<u32>::zeros(1)?;
        for (at, listens) in [true, false].into_iter().enumerate() {
            let args = (listens, ready.clone(), asked.clone());
            pids.set(at, Process::builder(daemon).args(args).daemon(true).start()?.pid())?;
        }
        drop(Process::builder(other).args((asked.clone(), done)).daemon(false).start()?);
        until("the daemons are ready", || ready[0].load(SeqCst) == 2);
        Ok(())
    }
    let (pids, asked, done) = (Array::<u32>::zeros(2).unwrap(), Value::new(0_u8).unwrap(), Value::new(0_u8).unwrap());
    run(middle, (pids.clone(), asked.clone(), done.clone())).unwrap();
    assert_eq!((asked.get().unwrap(), done.get().unwrap()), (1, 1));
    assert!(pids.to_vec().unwrap().into_iter().all(is_gone), "none is left, not even for a moment");
}

pub(crate) fn a_killed_parent_waits_for_nobody() {
    fn orphan(go: Value<u8>, told: Value<u32>) -> Result<()> {
        process::parent().expect("a child has one").wait();
        wait_for(&go);
        told.set(id())
    }
    fn middle(go: Value<u8>, told: Value<u32>, pid: Value<u32>) -> Result<()> {
        pid.set(Process::builder(orphan).args((go, told)).daemon(false).start()?.pid())?;
        sleep_for_ever();
        Ok(())
    }
    let (go, told, pid) = (Value::new(0_u8).unwrap(), Value::new(0_u32).unwrap(), Value::new(0_u32).unwrap());
    let parent = start(middle, (go.clone(), told.clone(), pid.clone()));
    until("it has a child", || pid.get().unwrap() != 0);
    parent.kill().unwrap();
    assert!(joined(&parent).is_err());
    go.set(1).unwrap();
    until("the orphan goes on", || told.get().unwrap() == pid.get().unwrap());
    until("the orphan has ended", || is_gone(pid.get().unwrap()));
}

/// A report is larger than what a socket holds, and nobody takes it out.
pub(crate) fn a_report_that_nobody_reads_delays_no_end() {
    fn middle() -> Result<u32> {
        for _ in 0..3 {
            std::mem::forget(Process::builder(|| vec![7_u8; 16 << 20]).daemon(false).start()?);
        }
        Ok(7)
    }
    assert_eq!(run(middle, ()).unwrap(), 7);
}

pub(crate) fn a_stopped_child_is_waited_for() {
    fn stops(pid: Value<u32>, done: Value<u8>) -> Result<()> {
        pid.set(id())?;
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSTOP) };
        done.set(1)
    }
    fn middle(pid: Value<u32>, done: Value<u8>) -> Result<()> {
        Process::builder(stops).args((pid, done)).daemon(false).start().map(drop)
    }
    let (pid, done) = (Value::new(0_u32).unwrap(), Value::new(0_u8).unwrap());
    let parent = start(middle, (pid.clone(), done.clone()));
    until("it runs", || pid.get().unwrap() != 0);
    let pid = pid.get().unwrap();
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
    };
    until("it is stopped", is_stopped);
    assert!(parent.join_timeout(Duration::from_millis(100)).unwrap().is_none());
    // SAFETY: its parent waits for it, so that the id is its own.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), libc::SIGCONT) }, 0);
    joined(&parent).unwrap();
    assert_eq!(done.get().unwrap(), 1);
}

pub(crate) fn a_child_that_a_thread_starts_at_the_end_is_waited_for() {
    fn middle(done: AtomicArray<u32>) -> Result<()> {
        let (ending, go) = (Value::new(0_u8)?, Value::new(0_u8)?);
        // A fork is refused beside threads.
        let method =
            if process::start_method() == StartMethod::Fork { StartMethod::Spawn } else { process::start_method() };
        let child = move |go: &Value<u8>, done: &AtomicArray<u32>| {
            let builder = Process::builder(end_late).args((go.clone(), done.clone()));
            builder.daemon(false).start_method(method).start().map(drop)
        };
        child(&go, &done)?;
        let about = ending.clone();
        thread::spawn(move || {
            wait_for(&about);
            thread::sleep(Duration::from_millis(20));
            (0..3).for_each(|_| child(&go, &done).unwrap());
            go.set(1).unwrap();
            // The last one is not ready before the others have ended.
            child(&about, &done).unwrap();
            sleep_for_ever();
        });
        ending.set(1)
    }
    let done = AtomicArray::<u32>::zeros(1).unwrap();
    run(middle, (done.clone(),)).unwrap();
    assert_eq!(done[0].load(SeqCst), 5);
}

/// Its children may be waiting for the lock.
pub(crate) fn who_ends_with_a_lock_waits_for_nobody() {
    fn wait(lock: Lock, poisoned_by: Value<u32>) -> Result<()> {
        match lock.lock() {
            Err(Error::Poisoned { pid: Some(pid), .. }) => poisoned_by.set(pid),
            other => panic!("expected poison, got {other:?}"),
        }
    }
    fn middle(lock: Lock, poisoned_by: Value<u32>) -> Result<()> {
        let _held = lock.lock()?;
        // A fork is refused while a lock is held.
        let method =
            if process::start_method() == StartMethod::Fork { StartMethod::Spawn } else { process::start_method() };
        let builder = Process::builder(wait).args((lock.clone(), poisoned_by)).daemon(false);
        drop(builder.start_method(method).start()?);
        std::process::exit(3)
    }
    let (lock, poisoned_by) = (Lock::new().unwrap(), Value::new(0_u32).unwrap());
    let parent = start(middle, (lock, poisoned_by.clone()));
    assert!(joined(&parent).is_err());
    assert_eq!(parent.exit_status(), Some(ExitStatus::Code(3)));
    until("the child has found the poison", || poisoned_by.get().unwrap() == parent.pid());
}

pub(crate) fn a_fork_waits_for_its_own_children_only() {
    /// A fork that this crate knows nothing of, which runs `run` and exits.
    fn bare_fork(run: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the other threads of this process hold nothing that the end of a process needs.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: takes numbers. It does not outlive the test.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                std::process::exit(run())
            }
            pid => {
                let mut status = 0;
                // SAFETY: a child of this process; writes a live number.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                libc::WEXITSTATUS(status)
            }
        }
    }
    fn parent(go: Value<u8>, done: AtomicArray<u32>) -> Result<()> {
        let child = |go: &Value<u8>| {
            let builder = Process::builder(end_late).args((go.clone(), done.clone()));
            builder.daemon(false).start_method(StartMethod::Spawn).start().map(drop)
        };
        child(&go)?;
        // That child waits for what comes after these.
        assert_eq!(bare_fork(|| 5), 5);
        joined(&Process::builder(|| 7_u32).start_method(StartMethod::Fork).daemon(false).start()?)?;
        let at_once = Value::new(1_u8)?;
        assert_eq!(bare_fork(|| child(&at_once).map_or(1, |()| 6)), 6);
        assert_eq!(done[0].load(SeqCst), 1, "it has waited for its own");
        // What another thread has locked at a fork stays so there.
        thread::spawn(|| {
            loop {
                let _ = process::active_children();
            }
        });
        (0..50).for_each(|_| assert_eq!(bare_fork(|| 5), 5));
        go.set(1)
    }
    let done = AtomicArray::<u32>::zeros(1).unwrap();
    run(parent, (Value::new(0_u8).unwrap(), done.clone())).unwrap();
    assert_eq!(done[0].load(SeqCst), 2);
}

pub(crate) fn a_join_that_waits_for_nothing() {
    let child = start(sleep_for_ever, ());
    let before = Instant::now();
    assert!(child.join_timeout(Duration::ZERO).unwrap().is_none());
    assert!(child.join_deadline(before).unwrap().is_none());
    assert!(child.join_deadline(before.checked_sub(Duration::from_secs(1)).unwrap_or(before)).unwrap().is_none());
    assert!(child.is_alive());
    assert!(child.join_timeout(Duration::from_millis(50)).unwrap().is_none());
    assert!(before.elapsed() >= Duration::from_millis(50) && child.is_alive());
    child.kill().unwrap();
    let error = joined(&child).unwrap_err();
    assert!(matches!(&error, Error::ChildDied { pid, .. } if *pid == child.pid()), "{error}");
    assert_eq!(child.exit_status(), Some(ExitStatus::Signal(libc::SIGKILL)));
}

/// Whether the sentinel says that the process has ended.
fn is_ready<T>(child: &Process<T>) -> bool {
    let fd = child.as_fd();
    let mut list = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut list, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

pub(crate) fn the_sentinel_is_readable_at_the_end() {
    let child = start(sleep_for_ever, ());
    assert!(!is_ready(&child));
    child.kill().unwrap();
    until("the sentinel", || is_ready(&child));
    assert!(joined(&child).is_err());
    assert!(is_ready(&child), "it stays so");
}

pub(crate) fn all_terminated() {
    let count = if process::start_method() == StartMethod::Spawn { 5 } else { 100 };
    let children: Vec<_> = (0..count).map(|_| start(sleep_for_ever, ())).collect();
    assert!(children.iter().all(|child| child.is_alive() && is_listed(child.pid())));
    children.iter().for_each(|child| child.terminate().unwrap());
    for child in &children {
        assert!(matches!(joined(child), Err(Error::ChildDied { .. })));
        assert_eq!(child.exit_status(), Some(ExitStatus::Signal(libc::SIGTERM)));
    }
    assert!(!children.iter().any(|child| is_listed(child.pid())));
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

/// With a handler that interrupts system calls: no `SA_RESTART`.
pub(crate) fn a_join_is_not_disturbed_by_signals() {
    let go = Value::new(0_u8).unwrap();
    let child = start(
        |go: Value<u8>| {
            wait_for(&go);
            7
        },
        (go.clone(),),
    );
    // SAFETY: of plain data, of which zeroes are a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
    // SAFETY: a live struct; the handler adds to an atomic, which it may.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) }, 0);
    // SAFETY: takes nothing.
    let joiner = unsafe { libc::pthread_self() };
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=20 {
                // SAFETY: the scope waits for this thread, so that the other one is there.
                assert_eq!(unsafe { libc::pthread_kill(joiner, libc::SIGUSR1) }, 0);
                until("the signal is handled", || HANDLED.load(SeqCst) == n);
            }
            go.set(1).unwrap();
        });
        assert_eq!(joined(&child).unwrap(), 7);
    });
    assert_eq!(HANDLED.load(SeqCst), 20);
}

/// With `SIGCHLD` ignored, as a program may be started, the kernel forgets a child at once, and with it how it ended. What
/// the child reported is known, and the sentinel tells.
pub(crate) fn a_join_where_nobody_is_told_of_the_end() {
    fn ignores() -> Result<()> {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let check = |child: &Process<u32>| {
            assert_eq!(joined(child).unwrap(), 7);
            assert_eq!((child.is_alive(), child.state()), (false, State::Terminated));
            assert_eq!(child.exit_status(), Some(ExitStatus::Unknown));
            assert!(is_ready(child));
            child.terminate().unwrap();
            child.kill().unwrap();
        };
        // Some have ended before `start` returns.
        (0..100).for_each(|_| check(&start(|| 7_u32, ())));

        let go = Value::new(0_u8)?;
        let waits = |go: Value<u8>| -> u32 {
            wait_for(&go);
            7
        };
        let (child, killed) = (start(waits, (go.clone(),)), start(sleep_for_ever, ()));
        assert_eq!((child.is_alive(), child.exit_status(), is_ready(&child)), (true, None, false));
        go.set(1)?;
        check(&child);
        killed.kill()?;
        assert!(matches!(joined(&killed), Err(Error::ChildDied { .. })));
        assert!(process::active_children().is_empty());
        Ok(())
    }
    run(ignores, ()).unwrap();
}

pub(crate) fn seven_processes_in_order() {
    /// Writes down who it is, and starts two more, one after the other, until they are three deep.
    fn tree(path: Vec<u32>, log: Array<u32>, length: Value<u64>) -> Result<()> {
        let number = path.iter().fold(1, |number, step| number * 10 + step);
        let at = length.update(|length| length + 1)? - 1;
        log.set(usize::try_from(at).unwrap(), number)?;
        if path.len() < 2 {
            for step in [0, 1] {
                let path = path.iter().copied().chain([step]).collect();
                joined(&start(tree, (path, log.clone(), length.clone())))?;
            }
        }
        Ok(())
    }
    let (log, length) = (Array::<u32>::zeros(8).unwrap(), Value::new(0_u64).unwrap());
    run(tree, (Vec::new(), log.clone(), length.clone())).unwrap();
    assert_eq!(log.to_vec().unwrap(), [1, 10, 100, 101, 11, 110, 111, 0]);
    assert_eq!(length.get().unwrap(), 7);
}

pub(crate) fn exit_codes() {
    fn status<T>(child: Process<T>) -> (bool, Option<ExitStatus>) {
        (joined(&child).is_ok(), child.exit_status())
    }
    let code = |code| Some(ExitStatus::Code(code));
    assert_eq!(status(start(|| (), ())), (true, code(0)));
    assert_eq!(status(start(|| 5, ())), (true, code(0)), "a value is no exit code");
    assert_eq!(status(start(|| false, ())), (true, code(0)));
    assert_eq!(status(start(|| Err::<(), _>(Error::TimedOut), ())), (false, code(1)));
    for (asked, seen) in [(0, 0), (1, 1), (3, 3), (255, 255), (-1, 255), (256, 0)] {
        let exits = |asked: i32| -> () { std::process::exit(asked) };
        // The function has not returned: there is no value, whatever the code.
        assert_eq!(status(start(exits, (asked,))), (false, code(seen)));
    }
}

pub(crate) fn a_dropped_handle_ends_nothing() {
    fn work(go: Value<u8>, done: Value<u8>) -> Result<()> {
        wait_for(&go);
        done.set(1)
    }
    let (go, done) = (Value::new(0_u8).unwrap(), Value::new(0_u8).unwrap());
    let child = start(work, (go.clone(), done.clone()));
    let pid = child.pid();
    drop(child);
    assert!(is_listed(pid));
    go.set(1).unwrap();
    until("the child goes on", || done.get().unwrap() == 1);
    until("it is forgotten", || !is_listed(pid));
}

static DROPPED: AtomicU32 = AtomicU32::new(0);

#[derive(Serialize, Deserialize)]
struct Counted(u32);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

/// What was given to a process is not kept for it.
pub(crate) fn arguments_are_dropped_at_the_start() {
    let child = start(
        |counted: Counted, go: Value<u8>| {
            wait_for(&go);
            counted.0
        },
        (Counted(7), Value::new(1_u8).unwrap()),
    );
    assert_eq!(DROPPED.load(SeqCst), 1);
    assert_eq!(joined(&child).unwrap(), 7);
    drop(child);
    assert_eq!(DROPPED.load(SeqCst), 1);
}

/// Upstream a process waits for its threads. Here it ends when its function returns, as a Rust program does.
pub(crate) fn no_threads_are_waited_for() {
    fn leaves_a_thread() -> u32 {
        thread::spawn(sleep_for_ever);
        7
    }
    let child = start(leaves_a_thread, ());
    assert_eq!(joined(&child).unwrap(), 7);
    assert_eq!(child.exit_status(), Some(ExitStatus::Code(0)));
}

pub(crate) fn text_is_flushed_and_panics_are_told() {
    fn speaks() {
        print!("half a line to stdout;");
        eprint!("half a line to stderr;");
    }
    fn panics() {
        print!("said before the panic;");
        panic!("a panic on purpose");
    }
    /// In a process of its own, whose standard streams go to a file in memory.
    fn overhear() -> Result<String> {
        // SAFETY: the name is a string that ends with a zero.
        let file = unsafe { libc::memfd_create(c"overheard".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(file >= 0);
        // SAFETY: new, and nobody else's.
        let mut file = fs::File::from(unsafe { OwnedFd::from_raw_fd(file) });
        for stream in [1, 2] {
            // SAFETY: both are open; nothing else of this process uses the streams.
            assert!(unsafe { libc::dup2(file.as_raw_fd(), stream) } >= 0);
        }
        joined(&start(speaks, ()))?;
        assert!(matches!(joined(&start(panics, ())), Err(Error::Panicked { .. })));
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }
    std::io::stdout().flush().unwrap();
    let text = run(overhear, ()).unwrap();
    let parts = ["half a line to stdout;", "half a line to stderr;", "said before the panic;", "a panic on purpose"];
    for part in parts.into_iter().chain(["panicked at tests/contracts/process.rs:"]) {
        assert_eq!(text.matches(part).count(), 1, "{part:?} in {text:?}");
    }
}

/// The numbers of the streams are free then. What is printed must not go to whatever is opened next.
pub(crate) fn without_standard_streams() {
    fn speak(text: &str) {
        println!("{text}");
        eprintln!("{text}");
    }
    fn count(mut values: Vec<Value<u64>>, depth: u64) -> Result<u64> {
        speak("nobody reads this");
        values.push(Value::new(0)?);
        speak("nor this");
        let below = if depth > 0 { joined(&start(count, (values.clone(), depth - 1)))? } else { 0 };
        speak("nor that");
        for value in &values {
            value.update(|x| x + 1)?;
        }
        // Its own, which those below it have counted up too.
        Ok(below + values[values.len() - 1].get()?)
    }
    fn close_and_count(name: String) -> Result<(u64, u64)> {
        for number in 0..3 {
            // SAFETY: nothing else in this process owns the standard streams; this one closes them once.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
        let _named = Value::create(&*name, 7_u64)?;
        speak("nobody, I said");
        let opened = joined(&start(|name: String| Value::<u64>::open(&*name)?.get(), (name,)))?;
        Ok((opened, count(Vec::new(), 2)?))
    }
    let name = Name::new();
    assert_eq!(run(close_and_count, (name.to_string(),)).unwrap(), (7, 1 + 2 + 3));
}

pub(crate) fn children_use_the_start_method_of_the_program() {
    fn methods(depth: u32) -> Result<Vec<u8>> {
        let mut below = if depth > 0 { joined(&start(methods, (depth - 1,)))? } else { Vec::new() };
        below.push(number(process::start_method()));
        Ok(below)
    }
    let mine = number(process::start_method());
    assert_eq!(methods(2).unwrap(), [mine; 3]);
    // What one process is told does not change the program's method, and its children are told nothing of it.
    for by in ALL {
        // A fork needs a process without threads, which a spawned one is.
        let told = |by: u8| -> Result<Vec<u8>> {
            let builder = Process::builder(methods).args((1,)).start_method(ALL[usize::from(by)]);
            joined(&builder.daemon(true).may_have_children(true).start()?)
        };
        assert_eq!(run(told, (number(by),)).unwrap(), [mine; 2], "{by:?}");
    }
}

const ALL: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer];

fn number(method: StartMethod) -> u8 {
    ALL.iter().position(|one| *one == method).unwrap() as u8
}

/// Upstream a lock of one way to start is refused by another. Here there is one kind of lock.
pub(crate) fn locks_work_by_every_start_method() {
    /// Finds the lock held, passes it on to a child, and so on; the last makes one that its ancestors use.
    fn pass(lock: Lock, depth: u32) -> Result<Lock> {
        assert!(lock.try_lock().unwrap_err().is_would_block());
        if depth == 0 {
            return Lock::new();
        }
        let method = ALL[depth as usize % ALL.len()];
        let builder = Process::builder(pass).args((lock, depth - 1)).start_method(method);
        let made = joined(&builder.daemon(true).may_have_children(true).start()?)?;
        drop(made.try_lock()?);
        Ok(made)
    }
    fn held_elsewhere() -> Result<Lock> {
        let lock = Lock::new()?;
        let (ready, go) = (Value::new(0_u8)?, Value::new(0_u8)?);
        let hold = |lock: Lock, ready: Value<u8>, go: Value<u8>| -> Result<()> {
            let _held = lock.lock()?;
            ready.set(1)?;
            wait_for(&go);
            Ok(())
        };
        let holder = start(hold, (lock.clone(), ready.clone(), go.clone()));
        wait_for(&ready);
        let made = joined(&start(pass, (lock.clone(), 6)))?;
        go.set(1)?;
        joined(&holder)?;
        drop(lock.lock()?);
        Ok(made)
    }
    drop(run(held_elsewhere, ()).unwrap().try_lock().unwrap());
}

/// What a process carries for its family does not grow from generation to generation.
///
/// Not of daemons, whose watch over their parent opens descriptors at a moment of its own. These end by themselves.
pub(crate) fn five_generations_alike() {
    fn descend(depth: u32) -> Result<Vec<(u64, u64)>> {
        let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let children = process::active_children().len() as u64;
        let mut below = if depth > 0 { joined(&Process::spawn(descend, (depth - 1,))?)? } else { Vec::new() };
        below.push((open, children));
        Ok(below)
    }
    let seen = joined(&Process::spawn(descend, (4,)).unwrap()).unwrap();
    assert!(seen.iter().all(|(_, children)| *children == 0), "{seen:?}");
    if process::start_method() != StartMethod::Fork {
        // One that has a server of its own to ask has two descriptors for it. The last of all has none.
        let last = seen[0].0;
        let server = if process::start_method() == StartMethod::ForkServer { 2 } else { 0 };
        assert!(seen[1..].iter().all(|(open, _)| *open <= last + server && *open >= last), "{seen:?}");
    } else {
        // A fork has copies of its ancestors' descriptors: as many more in each generation.
        let more: Vec<_> = seen.windows(2).map(|pair| pair[0].0 - pair[1].0).collect();
        assert!(more.iter().all(|one| *one == more[0]), "{seen:?}");
    }
}

pub(crate) fn a_hundred_at_once() {
    fn meet(here: AtomicArray<u32>, go: Value<u8>) -> Result<()> {
        here[0].fetch_add(1, SeqCst);
        wait_for(&go);
        Ok(())
    }
    let (here, go) = (AtomicArray::<u32>::zeros(1).unwrap(), Value::new(0_u8).unwrap());
    let children: Vec<_> = (0..100).map(|_| start(meet, (here.clone(), go.clone()))).collect();
    until("all are there", || here[0].load(SeqCst) == 100);
    assert!(children.iter().all(|child| child.is_alive()));
    go.set(1).unwrap();
    children.iter().for_each(|child| joined(child).unwrap());
    assert!(!children.iter().any(|child| is_listed(child.pid())));
}

/// What panics where it is read.
#[derive(Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("unreadable")
    }
}

pub(crate) fn a_scope_waits_though_a_result_cannot_be_read() {
    fn late(done: AtomicArray<u32>) {
        thread::sleep(Duration::from_millis(50));
        done[0].fetch_add(1, SeqCst);
    }
    let done = AtomicArray::<u32>::zeros(1).unwrap();
    for (waits_for, panics_too) in [(1, false), (2, true)] {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            process::scope(|scope| {
                drop(scope.start(Process::builder(|| Ok::<_, Error>(Unreadable)).daemon(true)).unwrap());
                drop(scope.start(Process::builder(late).args((done.clone(),)).daemon(true)).unwrap());
                assert!(!panics_too, "on purpose");
            })
        }));
        let payload = caught.unwrap_err();
        let text = payload.downcast_ref::<&str>().unwrap();
        assert_eq!(*text, if panics_too { "on purpose" } else { "unreadable" });
        assert_eq!(done[0].load(SeqCst), waits_for);
    }
}

pub(crate) fn a_panic_at_the_end_of_a_thread() {
    /// At its end it does what may panic, and lets nobody notice.
    struct AtTheEnd(AtomicArray<u32>);
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
            self.0[0].store(1, SeqCst);
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<AtTheEnd>> = const { std::cell::RefCell::new(None) };
    }
    fn ends(done: AtomicArray<u32>) {
        thread::spawn(|| {
            LAST.set(Some(AtTheEnd(done)));
            // What this leaves in the thread goes before that.
            let _ = std::panic::catch_unwind(|| panic!("on purpose too"));
        })
        .join()
        .unwrap();
    }
    let done = AtomicArray::<u32>::zeros(1).unwrap();
    run(ends, (done.clone(),)).unwrap();
    assert_eq!(done[0].load(SeqCst), 1);
}

pub(crate) fn a_scope_waits_for_all() {
    fn work(done: AtomicArray<u32>) -> Result<()> {
        thread::sleep(Duration::from_millis(20));
        done[0].fetch_add(1, SeqCst);
        Ok(())
    }
    let done = AtomicArray::<u32>::zeros(1).unwrap();
    let count = || done[0].load(SeqCst);
    let daemon = || Process::builder(work).args((done.clone(),)).daemon(true);
    let pids = process::scope(|scope| [scope.start(daemon()).unwrap().pid(), scope.start(daemon()).unwrap().pid()]);
    assert_eq!(count(), 2);
    assert!(!pids.unwrap().into_iter().any(is_listed));
    // After an early return, and after a panic.
    let early = process::scope(|scope| -> Result<()> {
        drop(scope.start(daemon())?);
        Err(Error::TimedOut)
    });
    assert!(early.unwrap().unwrap_err().is_timed_out() && count() == 3);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        process::scope(|scope| -> () {
            drop(scope.start(daemon()).unwrap());
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err() && count() == 4);
    // An error that nobody has taken is not lost; one that was taken is not told again.
    let fails = || Process::builder(|| Err::<(), _>(Error::WouldBlock)).daemon(true);
    assert!(process::scope(|scope| drop(scope.start(fails()).unwrap())).unwrap_err().is_would_block());
    process::scope(|scope| assert!(scope.start(fails()).unwrap().join().is_err())).unwrap();
}

pub(crate) fn a_shutdown_asks_first() {
    let child = start(sleep_for_ever, ());
    assert_eq!(child.shutdown(LONG).unwrap(), ExitStatus::Signal(libc::SIGTERM));
    // One that does not listen.
    let deaf = |ready: Value<u8>| -> Result<()> {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        ready.set(1)?;
        sleep_for_ever();
        Ok(())
    };
    let ready = Value::new(0_u8).unwrap();
    let child = start(deaf, (ready.clone(),));
    wait_for(&ready);
    assert_eq!(child.shutdown(Duration::from_millis(20)).unwrap(), ExitStatus::Signal(libc::SIGKILL));
    assert_eq!(child.shutdown(Duration::ZERO).unwrap(), ExitStatus::Signal(libc::SIGKILL), "again");
    // What it has returned before is still there.
    let child = start(|| 7, ());
    until("it has ended", || !child.is_alive());
    assert_eq!(child.shutdown(Duration::ZERO).unwrap(), ExitStatus::Code(0));
    assert_eq!(joined(&child).unwrap(), 7);
}

static SET: AtomicU32 = AtomicU32::new(0);

pub(crate) fn contexts_have_their_method() {
    assert_eq!(process::all_start_methods(), ALL);
    // A fork needs a process without threads, which a spawned one is.
    let told = || -> Result<u32> {
        let mut sum = 0;
        for method in process::all_start_methods() {
            let context = Context::new(method);
            assert_eq!(context.start_method(), method);
            let (lock, queue) = (context.lock()?, context.queue()?);
            let put = |lock: Lock, queue: Queue<u32>| -> Result<()> {
                let _held = lock.lock()?;
                queue.put(&14)
            };
            let child = context.builder(put).args((lock.clone(), queue.clone())).daemon(true).start()?;
            sum += queue.get()?;
            joined(&child)?;
            // Whose child a worker is tells how it was started: a fork has a copy of what was set here.
            SET.store(method as u32 + 1, SeqCst);
            let seen = context.pool(1)?.apply(|| SET.load(SeqCst), ())?;
            assert_eq!(seen, if method == StartMethod::Fork { method as u32 + 1 } else { 0 });
        }
        Ok(sum)
    };
    let builder = Context::new(StartMethod::Spawn).builder(told).daemon(true).may_have_children(true);
    assert_eq!(joined(&builder.start().unwrap()).unwrap(), 42);
}

/// Whether the child of this process has a descriptor with a high number open, which this process has.
pub(crate) fn inherits_a_high_descriptor() -> bool {
    let file = fs::File::open("/proc/self/status").unwrap();
    // SAFETY: duplicates a descriptor that is open, and leaves the flag away that closes it in other programs.
    let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 300) };
    assert!(high >= 300);
    // SAFETY: new, and nobody else's.
    let high = unsafe { OwnedFd::from_raw_fd(high) };
    // SAFETY: asks for flags; any number will do.
    let is_open = |number: i32| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    assert!(is_open(high.as_fd().as_raw_fd()));
    run(is_open, (high.as_raw_fd(),)).unwrap()
}
