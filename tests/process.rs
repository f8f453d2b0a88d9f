//! Processes by fresh start: what travels, how they end, what they inherit.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use shmkit::{
    Array, Error, Lock, Process, Result, Value,
    process::{self, ExitStatus, StartMethod, State},
};

shmkit::init_in_tests!();

/// No test of this file takes longer, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(DEADLINE)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn run<F, A>(target: F, args: A) -> Result<<F::Outcome as process::Outcome>::Output>
where
    F: process::Target<A>,
    A: process::Message,
{
    joined(&Process::spawn(target, args)?)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn smoke() {
    fn f(n: Value<f64>, a: Array<i32>) -> Result<()> {
        *n.lock()? = 3.25;
        for x in a.lock()?.iter_mut() {
            *x = -*x;
        }
        Ok(())
    }
    let (n, a) = (Value::new(0.0).unwrap(), Array::from_iter(0..10).unwrap());
    run(f, (n.clone(), a.clone())).unwrap();
    assert_eq!(n.get().unwrap(), 3.25);
    assert_eq!(a.to_vec().unwrap(), (0..10).map(|x: i32| -x).collect::<Vec<_>>());
}

#[test]
fn zero_to_eight_arguments() {
    type N = u64;
    assert_eq!(run(|| 7_u64, ()).unwrap(), 7);
    assert_eq!(run(|a: N| a, (1,)).unwrap(), 1);
    assert_eq!(run(|a: N, b: N| a + b, (1, 2)).unwrap(), 3);
    assert_eq!(run(|a: N, b: N, c: N| a + b + c, (1, 2, 3)).unwrap(), 6);
    assert_eq!(run(|a: N, b: N, c: N, d: N| a + b + c + d, (1, 2, 3, 4)).unwrap(), 10);
    assert_eq!(run(|a: N, b: N, c: N, d: N, e: N| a + b + c + d + e, (1, 2, 3, 4, 5)).unwrap(), 15);
    assert_eq!(run(|a: N, b: N, c: N, d: N, e: N, f: N| a + b + c + d + e + f, (1, 2, 3, 4, 5, 6)).unwrap(), 21);
    let seven = |a: N, b: N, c: N, d: N, e: N, f: N, g: N| a + b + c + d + e + f + g;
    assert_eq!(run(seven, (1, 2, 3, 4, 5, 6, 7)).unwrap(), 28);
    let eight = |a: N, b: N, c: N, d: N, e: N, f: N, g: N, h: N| a + b + c + d + e + f + g + h;
    assert_eq!(run(eight, (1, 2, 3, 4, 5, 6, 7, 8)).unwrap(), 36);
}

#[test]
fn own_types_travel_both_ways() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Box { sides: Vec<f64>, label: Option<String> },
    }
    fn grow(shapes: BTreeMap<String, Shape>) -> Result<BTreeMap<String, Shape>> {
        Ok(shapes.into_iter().map(|(name, shape)| (name + "!", shape)).collect())
    }
    let shape = || Shape::Box { sides: vec![1.0, 2.0], label: Some("ä".into()) };
    let sent = BTreeMap::from([("a".to_owned(), Shape::Dot), ("b".to_owned(), shape())]);
    let expected = BTreeMap::from([("a!".to_owned(), Shape::Dot), ("b!".to_owned(), shape())]);
    assert_eq!(run(grow, (sent,)).unwrap(), expected);
}

#[test]
fn large_arguments_and_results() {
    fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }
    let sent: Vec<u8> = (0..16 << 20).map(|i| (i % 251) as u8).collect();
    let child = Process::spawn(reversed, (sent.clone(),)).unwrap();
    // The report waits for nobody: the child ends before anybody joins.
    until("the child ends", || !child.is_alive());
    let mut back = joined(&child).unwrap();
    back.reverse();
    assert!(back == sent);
}

#[test]
fn a_shmkit_error_keeps_its_variant() {
    fn lock(value: Value<i32>) -> Result<()> {
        value.try_lock().map(drop)
    }
    let value = Value::new(1).unwrap();
    let _held = value.lock().unwrap();
    assert!(matches!(run(lock, (value.clone(),)), Err(Error::WouldBlock)));
}

#[test]
fn another_error_keeps_its_text() {
    fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
        text.parse()
    }
    assert_eq!(run(parse, ("12".to_owned(),)).unwrap(), 12);
    let error = run(parse, ("x".to_owned(),)).unwrap_err();
    assert!(matches!(&error, Error::Failed { message } if message == "invalid digit found in string"), "{error}");
}

#[test]
fn a_panic_arrives_with_its_place() {
    fn panics(n: i32) {
        panic!("number {n}");
    }
    let child = Process::spawn(panics, (7,)).unwrap();
    let Err(Error::Panicked { pid, message, location }) = joined(&child) else { panic!("no panic") };
    assert_eq!((pid, message.as_str()), (child.pid(), "number 7"));
    assert!(location.contains("tests/process.rs:"), "{location}");
    assert_eq!(child.exit_status(), Some(ExitStatus::Code(101)));
}

#[test]
fn a_child_that_dies_early_is_an_error_at_once() {
    fn check(child: Process<()>, status: &str) {
        let error = joined(&child).unwrap_err();
        assert!(matches!(&error, Error::ChildDied { pid, status: s } if *pid == child.pid() && s == status), "{error}");
    }
    check(Process::spawn(|| std::process::abort(), ()).unwrap(), "signal 6 (SIGABRT)");
    check(Process::spawn(|| std::process::exit(3), ()).unwrap(), "exit code 3");
    check(Process::spawn(|| std::process::exit(0), ()).unwrap(), "exit code 0");
}

#[test]
fn join_may_be_repeated_and_handles_come_back() {
    fn make() -> Result<Array<u16>> {
        Array::from_slice(&[5, 6, 7])
    }
    let child = Process::spawn(make, ()).unwrap();
    let (first, second) = (joined(&child).unwrap(), joined(&child).unwrap());
    assert!(first.is_same(&second));
    assert_eq!(second.to_vec().unwrap(), [5, 6, 7]);
}

#[test]
fn a_stopped_a_terminated_and_a_killed_child() {
    let child = sleeper();
    assert!(child.join_timeout(Duration::ZERO).unwrap().is_none());
    until("it sleeps", || child.state() == State::Blocked);
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args([name, &child.pid().to_string()]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    until("it is stopped", || child.state() == State::Stopped);
    signal("-CONT");
    child.terminate().unwrap();
    assert!(joined(&child).is_err());
    assert_eq!(child.exit_status(), Some(ExitStatus::Signal(15)));
    child.terminate().unwrap();
    child.kill().unwrap();
    assert_eq!((child.is_alive(), child.state()), (false, State::Terminated));

    let child = sleeper();
    child.kill().unwrap();
    assert!(joined(&child).unwrap_err().to_string().ends_with("signal 9 (SIGKILL)"));
}

/// A child that sleeps until it is killed, or else until this process ends.
fn sleeper() -> Process<()> {
    Process::builder(sleep_for_ever).daemon(true).start().unwrap()
}

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_hundred_children() {
    let total = Value::new(0_u64).unwrap();
    let children: Vec<_> = (0..100_u64)
        .map(|i| Process::spawn(|total: Value<u64>, i: u64| total.update(|x| x + i), (total.clone(), i)).unwrap())
        .collect();
    for child in &children {
        joined(child).unwrap();
    }
    assert_eq!(total.get().unwrap(), 4950);
}

#[test]
fn children_start_children() {
    fn nest(depth: u32, path: Array<u32>) -> Result<u32> {
        path.set(depth as usize, std::process::id())?;
        if depth == 0 {
            return Ok(0);
        }
        let parent = process::parent().map(|parent| parent.pid());
        assert_eq!(parent, path.get(depth as usize + 1).ok());
        Ok(joined(&Process::spawn(nest, (depth - 1, path))?)? + 1)
    }
    let path = Array::<u32>::zeros(6).unwrap();
    path.set(5, std::process::id()).unwrap();
    assert_eq!(run(nest, (4, path.clone())).unwrap(), 4);
    let mut pids = path.to_vec().unwrap();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 6);
}

#[test]
fn what_the_builder_sets_arrives() {
    type Seen = (String, bool, Option<String>, Option<String>, String, String, Vec<String>);
    fn look() -> Result<Seen> {
        let me = process::current();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
        let here = std::env::current_dir().unwrap().display().to_string();
        Ok((
            me.name().to_owned(),
            me.is_daemon(),
            std::env::var("SHMKIT_TEST_SET").ok(),
            std::env::var("PATH").ok(),
            here,
            cpus,
            std::env::args().collect(),
        ))
    }
    let child = Process::builder(look)
        .name("w7")
        .daemon(true)
        .start_method(StartMethod::Spawn)
        .env("SHMKIT_TEST_SET", "yes")
        .env_remove("PATH")
        .current_dir("/proc")
        .pin_to_cpu(0)
        .start()
        .unwrap();
    assert_eq!((child.name(), child.is_daemon()), ("w7", true));
    let (name, daemon, set, removed, here, cpus, args) = joined(&child).unwrap();
    assert_eq!((name.as_str(), daemon, set.as_deref(), removed), ("w7", true, Some("yes"), None));
    assert_eq!((here.as_str(), cpus.as_str()), ("/proc", "0"));
    assert_eq!(args, std::env::args().collect::<Vec<_>>());
}

#[test]
fn impossible_settings_are_errors() {
    let missing = Process::builder(sleep_for_ever).current_dir("/nowhere/at/all").start();
    assert!(matches!(missing, Err(Error::Os { .. })), "{missing:?}");
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
        let unfit = Process::builder(sleep_for_ever).env(name, value).start();
        assert!(matches!(unfit, Err(Error::InvalidArgument { .. })), "{unfit:?}");
    }
    let nowhere = Process::builder(sleep_for_ever).pin_to_cpu(1000).start().unwrap();
    assert!(matches!(joined(&nowhere), Err(Error::Os { .. })));
}

#[test]
fn nothing_strays_into_the_child() {
    /// What is open in this process, by what it leads to.
    fn open() -> Vec<String> {
        let list = fs::read_dir("/proc/self/fd").unwrap();
        let targets = list.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.map(|path| path.display().to_string()).collect()
    }
    let stray = fs::File::open("/proc/self/status").unwrap();
    // As what other libraries open, or a careless parent passed on.
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    let _others = (Value::new(1).unwrap(), Lock::new().unwrap());
    let seen = run(open, ()).unwrap();
    // The three standard streams, the socket, and the directory that is being read.
    assert!(seen.len() <= 5, "{seen:?}");
    assert!(!seen.iter().any(|path| path.contains("memfd") || path.contains("status")), "{seen:?}");

    fn open_with(values: Vec<Value<u8>>) -> usize {
        let open = open().iter().filter(|path| path.contains("memfd")).count();
        drop(values);
        open
    }
    let values: Vec<_> = (0..3).map(|i| Value::new(i).unwrap()).collect();
    assert_eq!(run(open_with, (values,)).unwrap(), 3, "one each for the handles that were sent");
}

#[test]
fn programs_that_the_child_starts_are_no_children() {
    fn environment() -> String {
        let output = std::process::Command::new("env").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    assert!(!run(environment, ()).unwrap().contains("SHMKIT"));
}

#[test]
fn no_zombies_without_a_join() {
    let pid = Process::spawn(|| (), ()).unwrap().pid();
    until("the child is gone from the process table", || !Path::new(&format!("/proc/{pid}")).exists());
    let kept = sleeper();
    assert!(process::active_children().iter().any(|child| child.pid() == kept.pid() && child.name() == kept.name()));
    kept.kill().unwrap();
    assert!(joined(&kept).is_err());
    assert!(!process::active_children().iter().any(|child| child.pid() == kept.pid()));
}

#[test]
fn a_daemon_dies_with_its_parent() {
    fn has_a_daemon(pids: Array<u32>) -> Result<()> {
        let daemon = Process::builder(sleep_for_ever).daemon(true).start()?;
        pids.set(0, daemon.pid())?;
        sleep_for_ever();
        Ok(())
    }
    let pids = Array::<u32>::zeros(1).unwrap();
    let parent =
        Process::builder(has_a_daemon).args((pids.clone(),)).daemon(true).may_have_children(true).start().unwrap();
    until("the daemon runs", || pids.get(0).unwrap() != 0);
    parent.kill().unwrap();
    assert!(joined(&parent).is_err());
    let daemon = pids.get(0).unwrap();
    until("the daemon is gone", || {
        // Without a parent that waits it may stay as a zombie of whoever inherits it.
        let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
        stat.is_empty() || stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('Z'))
    });
}

#[test]
fn a_daemon_outlives_the_thread_that_started_it() {
    let daemon = std::thread::spawn(|| Process::builder(sleep_for_ever).daemon(true).start().unwrap()).join().unwrap();
    assert!(daemon.join_timeout(Duration::from_millis(200)).unwrap().is_none());
    daemon.kill().unwrap();
    assert!(joined(&daemon).is_err());
}

#[test]
fn a_value_that_cannot_travel_is_an_error_with_its_type() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(i32),
    }
    let error = run(|value: Untagged| drop(format!("{value:?}")), (Untagged::Number(1),)).unwrap_err().to_string();
    assert!(error.contains("Untagged") && error.contains("deserialize_any"), "{error}");
}

#[test]
fn fork_is_refused_where_it_would_copy_too_much() {
    let error = Process::fork(|| ()).unwrap_err();
    assert!(matches!(&error, Error::ForkRefused { reason } if reason.contains("threads")), "{error}");
    let lock = Lock::new().unwrap();
    let _held = lock.lock().unwrap();
    let error = Process::fork(|| ()).unwrap_err();
    assert!(matches!(&error, Error::ForkRefused { reason } if reason.contains("1 locks")), "{error}");
}

#[test]
fn fork_with_threads_when_asked_for() {
    let builder = Process::builder(|n: u64| n + 1).args((41,)).start_method(StartMethod::Fork);
    #[expect(unsafe_code, reason = "tests the unsafe way")]
    // SAFETY: the child adds two numbers, allocates, and reports.
    let child = unsafe { builder.allow_fork_with_threads() }.start().unwrap();
    assert_eq!(joined(&child).unwrap(), 42);
}

#[test]
fn a_panic_while_the_result_is_written() {
    #[derive(Deserialize)]
    struct Bomb;
    impl Serialize for Bomb {
        fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            panic!("written");
        }
    }
    let result = run(|| Ok::<_, Error>(Bomb), ()).map(drop);
    assert!(matches!(&result, Err(Error::Panicked { message, .. }) if message == "written"), "{result:?}");
}

#[test]
fn a_boxed_shmkit_error_keeps_its_variant() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    fn own() -> Result<(), Boxed> {
        Err(Error::TimedOut)?
    }
    fn other() -> Result<(), Box<dyn std::error::Error>> {
        Err("other")?
    }
    assert!(run(own, ()).unwrap_err().is_timed_out());
    assert!(matches!(run(other, ()), Err(Error::Failed { message }) if message == "other"));
}

#[test]
fn the_start_method_holds_for_the_whole_program() {
    fn of_program() -> bool {
        process::start_method() == StartMethod::Fork
    }
    fn set() -> Result<(bool, bool)> {
        process::set_start_method(StartMethod::Fork)?;
        let spawned = Process::builder(of_program).start_method(StartMethod::Spawn).start()?;
        Ok((of_program(), joined(&spawned)?))
    }
    assert_eq!(run(set, ()).unwrap(), (true, true));
    assert!(!run(of_program, ()).unwrap());
}

#[test]
fn the_child_has_the_name_of_its_program() {
    let comm = || fs::read_to_string("/proc/self/comm").unwrap();
    let file = std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(run(comm, ()).unwrap().trim_end(), &file[..file.len().min(15)]);
}

#[test]
fn without_descriptors_a_start_fails_and_leaves_nothing() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // In a process of its own, whose other threads want no descriptors.
    fn starve() -> Result<(usize, usize, String)> {
        let before = getrlimit(Resource::Nofile);
        let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
        let (mut failed, mut worked) = (0, 0);
        for left in 0..8 {
            setrlimit(Resource::Nofile, Rlimit { current: Some(open + left), ..before }).unwrap();
            let started = Process::spawn(|| 5, ());
            setrlimit(Resource::Nofile, before).unwrap();
            match started {
                // The child has the limit too, and may lack descriptors in its turn; then it says so.
                Ok(child) => worked += usize::from(!matches!(joined(&child), Err(Error::ChildDied { .. }))),
                Err(error) => failed += usize::from(matches!(error, Error::Os { .. })),
            }
        }
        Ok((failed, worked, fs::read_to_string("/proc/thread-self/children").unwrap()))
    }
    let (failed, worked, children) = run(starve, ()).unwrap();
    assert!(failed > 0 && worked > 0, "{failed} {worked}");
    assert_eq!((failed + worked, children.as_str()), (8, ""));
}

#[test]
fn a_marker_that_strayed_is_refused() {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    program.env("SHMKIT_CHILD", env!("CARGO_PKG_VERSION")).arg("no_such_test");
    let output = program.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not started by shmkit"), "{output:?}");
}

#[test]
fn handles_go_between_threads() {
    fn assert<T: Send + Sync>() {}
    assert::<Process<Vec<u8>>>();
    let child = Process::spawn(|| 3, ()).unwrap();
    let sum: i32 = std::thread::scope(|scope| {
        let joins: Vec<_> = (0..4).map(|_| scope.spawn(|| joined(&child).unwrap())).collect();
        joins.into_iter().map(|join| join.join().unwrap()).sum()
    });
    assert_eq!(sum, 12);
}
