//! What Python's `multiprocessing` promises of processes, under each start method. The comments name the tests of CPython's
//! suite. What other files of `tests` hold already (`process.rs`, `process_fork.rs`, `no_init.rs`) is not repeated.
//!
//! By its types shmkit has no process that was not started yet and none that was closed: a builder is the one, a dropped
//! handle the other.
#![expect(unsafe_code, reason = "raises a signal, and looks at a descriptor")]

mod alone;

use std::{
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{
    AtomicArray, AtomicValue, Error, Process, Result, Value,
    process::{self, ExitStatus, Message, Outcome, StartMethod, State, Target},
};

const DEADLINE: Duration = Duration::from_secs(60);
const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Fork];

fn main() {
    shmkit::init();
    alone::run(&[
        ("a_life", a_life),
        ("daemons_inherit_and_override", daemons_inherit_and_override),
        ("parents", parents),
        ("a_grandchild_notices_the_end_of_its_parent", a_grandchild_notices_the_end_of_its_parent),
        ("terminated_and_killed", terminated_and_killed),
        ("signals_do_not_end_a_join", signals_do_not_end_a_join),
        ("many_processes_are_terminated", many_processes_are_terminated),
        ("processors", processors),
        ("recursion", recursion),
        ("arguments_are_dropped_after_the_start", arguments_are_dropped_after_the_start),
        ("children_do_not_collect_descriptors", children_do_not_collect_descriptors),
        ("descriptors_are_inherited_by_fork_alone", descriptors_are_inherited_by_fork_alone),
        ("the_end_of_the_target_is_the_end", the_end_of_the_target_is_the_end),
        ("exit_codes", exit_codes),
        ("five_generations", five_generations),
        ("arguments_go_on_to_a_grandchild", arguments_go_on_to_a_grandchild),
    ]);
}

fn start<F: Target<A>, A: Message>(
    method: StartMethod,
    target: F,
    args: A,
) -> Process<<F::Outcome as Outcome>::Output> {
    Process::builder(target).args(args).start_method(method).start().unwrap()
}

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(DEADLINE)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn sleep_for_ever() {
    loop {
        thread::sleep(DEADLINE);
    }
}

fn is_listed(pid: u32) -> bool {
    process::active_children().iter().any(|child| child.pid() == pid)
}

/// `test_process`, `test_active_children`.
fn a_life() {
    fn child(words: Vec<String>, number: u64, go: AtomicValue<bool>) -> (Vec<String>, u64, String, u32) {
        until("the parent has looked", || go.load(SeqCst));
        (words, number, process::current().name().into(), std::process::id())
    }
    for method in METHODS {
        let go = AtomicValue::new(false).unwrap();
        let words = vec!["hello".to_string(), String::new()];
        let process = Process::builder(child)
            .args((words.clone(), 7, go.clone()))
            .name("a name")
            .start_method(method)
            .start()
            .unwrap();
        assert!(process.is_alive() && is_listed(process.pid()));
        assert_eq!((process.name(), process.is_daemon(), process.exit_status()), ("a name", false, None));
        go.store(true, SeqCst);
        assert_eq!(joined(&process).unwrap(), (words, 7, "a name".into(), process.pid()));
        assert!(!process.is_alive() && !is_listed(process.pid()));
        assert_eq!((process.exit_status(), process.state()), (Some(ExitStatus::Code(0)), State::Terminated));
    }
}

/// `test_daemon_argument`: what a child is stands in the builder, or is what its parent is.
fn daemons_inherit_and_override() {
    fn grandchildren(method: bool) -> Result<(bool, bool, bool)> {
        let method = METHODS[usize::from(method)];
        let child = || process::current().is_daemon();
        let inherits = Process::builder(child).start_method(method).start()?;
        let overrides = Process::builder(child).daemon(false).start_method(method).start()?;
        Ok((process::current().is_daemon(), joined(&inherits)?, joined(&overrides)?))
    }
    assert!(!process::current().is_daemon());
    for (by_fork, method) in METHODS.into_iter().enumerate() {
        let daemon = Process::builder(grandchildren).args((by_fork == 1,)).daemon(true).start_method(method);
        assert_eq!(joined(&daemon.start().unwrap()).unwrap(), (true, true, false));
        let plain = Process::builder(grandchildren).args((by_fork == 1,)).start_method(method);
        assert_eq!(joined(&plain.start().unwrap()).unwrap(), (false, false, false));
    }
}

/// `test_parent_process_attributes`.
fn parents() {
    fn child() -> Option<(u32, String)> {
        process::parent().map(|parent| (parent.pid(), parent.name().into()))
    }
    assert!(process::parent().is_none());
    for method in METHODS {
        let found = joined(&start(method, child, ())).unwrap();
        assert_eq!(found, Some((std::process::id(), process::current().name().to_string())));
    }
}

/// `test_parent_process`.
fn a_grandchild_notices_the_end_of_its_parent() {
    fn grandchild(report: AtomicArray<u32>) {
        let parent = process::parent().expect("a child has one");
        report[0].store(parent.pid(), SeqCst);
        let ended = parent.wait_timeout(DEADLINE);
        report[1].store(u32::from(ended && !parent.is_alive()), SeqCst);
    }
    fn child(report: AtomicArray<u32>, by_fork: bool) {
        let _grandchild = start(METHODS[usize::from(by_fork)], grandchild, (report,));
        sleep_for_ever();
    }
    for (by_fork, method) in METHODS.into_iter().enumerate() {
        let report = AtomicArray::<u32>::zeros(2).unwrap();
        let process = start(method, child, (report.clone(), by_fork == 1));
        until("the grandchild is there", || report[0].load(SeqCst) == process.pid());
        process.kill().unwrap();
        assert!(joined(&process).is_err());
        until("the grandchild has noticed", || report[1].load(SeqCst) == 1);
    }
}

/// `test_terminate`, `test_kill`: a join that may not wait returns at once; after the signal the end comes soon.
fn terminated_and_killed() {
    for method in METHODS {
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            let process = start(method, sleep_for_ever, ());
            assert!(process.join_timeout(Duration::ZERO).unwrap().is_none());
            assert!(process.join_deadline(Instant::now() - Duration::from_secs(1)).unwrap().is_none());
            assert!(process.is_alive() && is_listed(process.pid()));
            match signal {
                libc::SIGTERM => process.terminate().unwrap(),
                _ => process.kill().unwrap(),
            }
            let error = joined(&process).unwrap_err();
            assert!(matches!(error, Error::ChildDied { pid, .. } if pid == process.pid()), "{error}");
            assert_eq!(process.exit_status(), Some(ExitStatus::Signal(signal)));
            assert!(!process.is_alive() && !is_listed(process.pid()));
            // Of one that has ended these ask nothing more.
            process.terminate().unwrap();
            process.kill().unwrap();
        }
    }
}

static ALARMS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    ALARMS.fetch_add(1, SeqCst);
}

/// `_TestPollEintr`: a handler without `SA_RESTART` runs while a join waits.
fn signals_do_not_end_a_join() {
    fn child(parent: u32, go: AtomicValue<bool>) -> u32 {
        until("the parent joins", || go.load(SeqCst));
        for _ in 0..50 {
            // SAFETY: a signal that the parent handles.
            unsafe { libc::kill(parent as i32, libc::SIGUSR1) };
            thread::sleep(Duration::from_millis(1));
        }
        7
    }
    // SAFETY: plain data, of which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(i32) as usize;
    let mut before = action;
    // SAFETY: reads and writes live structs; the handler only counts.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, &raw mut before) }, 0);
    for method in METHODS {
        ALARMS.store(0, SeqCst);
        let go = AtomicValue::new(false).unwrap();
        let process = start(method, child, (std::process::id(), go.clone()));
        go.store(true, SeqCst);
        assert_eq!(joined(&process).unwrap(), 7);
        assert!(ALARMS.load(SeqCst) > 0, "no signal came");
    }
    // SAFETY: reads a live struct.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw const before, std::ptr::null_mut()) }, 0);
}

/// `test_many_processes`, its second half: the first is in `process.rs` and `process_fork.rs`.
fn many_processes_are_terminated() {
    for method in METHODS {
        let processes: Vec<_> = (0..20).map(|_| start(method, sleep_for_ever, ())).collect();
        processes.iter().for_each(|process| process.terminate().unwrap());
        for process in &processes {
            assert!(joined(process).is_err());
            assert_eq!(process.exit_status(), Some(ExitStatus::Signal(libc::SIGTERM)));
        }
    }
}

/// `test_cpu_count`.
fn processors() {
    assert!(process::cpu_count() >= 1);
}

/// `test_recursion`: two children of each, to the third generation, report before their children.
fn recursion() {
    fn node(order: Value<[u32; 8]>, id: u32, by_fork: bool) -> Result<()> {
        {
            let mut order = order.lock()?;
            let next = order[0] as usize + 1;
            order[next] = id;
            order[0] += 1;
        }
        if id < 100 {
            for child in 1..=2 {
                joined(&start(METHODS[usize::from(by_fork)], node, (order.clone(), id * 10 + child, by_fork)))?;
            }
        }
        Ok(())
    }
    for (by_fork, method) in METHODS.into_iter().enumerate() {
        let order = Value::new([0; 8]).unwrap();
        joined(&start(method, node, (order.clone(), 1, by_fork == 1))).unwrap();
        assert_eq!(order.get().unwrap(), [7, 1, 11, 111, 112, 12, 121, 122]);
    }
}

static DROPPED: AtomicU32 = AtomicU32::new(0);

#[derive(Serialize, Deserialize)]
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Relaxed);
    }
}

/// `test_lose_target_ref`: the parent keeps no arguments.
fn arguments_are_dropped_after_the_start() {
    for method in METHODS {
        DROPPED.store(0, Relaxed);
        let process = start(method, |_: Counted| (), (Counted,));
        assert_eq!(DROPPED.load(Relaxed), 1);
        joined(&process).unwrap();
    }
}

fn open_descriptors() -> u64 {
    fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

/// `test_child_fd_inflation`: the fifth child has no more descriptors than the first.
fn children_do_not_collect_descriptors() {
    let go = AtomicValue::new(false).unwrap();
    let child = |go: AtomicValue<bool>| {
        let count = open_descriptors();
        until("all are there", || go.load(SeqCst));
        count
    };
    let processes: Vec<_> = (0..5).map(|_| start(StartMethod::Spawn, child, (go.clone(),))).collect();
    go.store(true, SeqCst);
    let counts: Vec<u64> = processes.iter().map(|process| joined(process).unwrap()).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// `TestCloseFds`: a descriptor with a high number, not marked to be closed.
fn descriptors_are_inherited_by_fork_alone() {
    const HIGH: i32 = 200;
    let null = fs::File::open("/dev/null").unwrap();
    // SAFETY: a number that is in use by nobody, checked below.
    assert_eq!(unsafe { libc::fcntl(HIGH, libc::F_GETFD) }, -1);
    // SAFETY: both are numbers; the new descriptor is owned below.
    assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), HIGH) }, HIGH);
    // SAFETY: made just now, and nobody else's.
    let _high = unsafe { OwnedFd::from_raw_fd(HIGH) };
    for method in METHODS {
        // SAFETY: asks about a number.
        let has = || unsafe { libc::fcntl(HIGH, libc::F_GETFD) } != -1;
        assert_eq!(joined(&start(method, has, ())).unwrap(), method == StartMethod::Fork);
    }
}

/// `test_wait_for_threads` is otherwise here, as documented: threads do not keep a child, as they do not keep a program of
/// Rust's.
fn the_end_of_the_target_is_the_end() {
    fn child() -> u32 {
        thread::spawn(sleep_for_ever);
        7
    }
    for method in METHODS {
        assert_eq!(joined(&start(method, child, ())).unwrap(), 7);
    }
}

/// `test_sys_exit`.
fn exit_codes() {
    for method in METHODS {
        for code in [0, 1, 42, 255] {
            let process = start(method, |code: i32| -> () { std::process::exit(code) }, (code,));
            // It has ended without a result, whatever its code says.
            assert!(matches!(joined(&process), Err(Error::ChildDied { .. })));
            assert_eq!(process.exit_status(), Some(ExitStatus::Code(code)));
        }
        let failed = start(method, || Err::<(), _>(Error::TimedOut), ());
        assert!(joined(&failed).unwrap_err().is_timed_out());
        assert_eq!(failed.exit_status(), Some(ExitStatus::Code(1)));
    }
}

/// `TestForkAwareThreadLock`: five generations, of which each knows its own children alone.
fn five_generations() {
    fn generation(left: u32, by_fork: bool) -> Result<usize> {
        let before = process::active_children().len();
        if left > 0 {
            let child = start(METHODS[usize::from(by_fork)], generation, (left - 1, by_fork));
            assert_eq!(process::active_children().len(), before + 1);
            assert_eq!(joined(&child)?, before);
        }
        Ok(before)
    }
    for (by_fork, method) in METHODS.into_iter().enumerate() {
        assert_eq!(joined(&start(method, generation, (5, by_fork == 1))).unwrap(), 0);
    }
}

/// `test_nested_startmethod`: by any method, and then by any other.
fn arguments_go_on_to_a_grandchild() {
    fn child(value: Value<u32>, by_fork: bool) -> Result<()> {
        joined(&start(METHODS[usize::from(by_fork)], |value: Value<u32>| value.update(|x| x + 1).map(drop), (value,)))
    }
    for method in METHODS {
        for by_fork in [false, true] {
            let value = Value::new(0_u32).unwrap();
            joined(&start(method, child, (value.clone(), by_fork))).unwrap();
            assert_eq!(value.get().unwrap(), 1);
        }
    }
}
