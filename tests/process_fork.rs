//! Processes by fork. Not under libtest, whose threads a fork cannot copy: `main` runs the tests one after the other.

mod alone;

use std::{
    cell::RefCell,
    io::{self, Write},
    mem, thread,
    time::Duration,
};

use shmkit::{
    Array, Error, Lock, Process, RLock, Ring, RwLock, RwLockReadGuard, Value, ValueGuard,
    process::{self, Pin, ScopedProcess, StartMethod},
};

const DEADLINE: Duration = Duration::from_secs(60);

fn joined<T>(process: &Process<T>) -> shmkit::Result<T> {
    match process.join_timeout(DEADLINE)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn main() {
    shmkit::init();
    let tests: &[(&str, fn())] = &[
        ("a_closure_may_borrow", a_closure_may_borrow),
        ("a_scope_is_of_one_process", a_scope_is_of_one_process),
        ("the_same_functions_as_by_spawn", the_same_functions_as_by_spawn),
        ("processors_are_chosen_before_the_fork", processors_are_chosen_before_the_fork),
        ("refused_with_a_guard", refused_with_a_guard),
        ("refused_with_what_a_thread_kept", refused_with_what_a_thread_kept),
        ("errors_and_panics", errors_and_panics),
        ("family", family),
        ("methods_mix", methods_mix),
        ("a_daemon_dies_with_its_parent", a_daemon_dies_with_its_parent),
        ("output_is_written_once", output_is_written_once),
        ("a_hundred", a_hundred),
        ("a_panic_while_the_result_is_written", a_panic_while_the_result_is_written),
        ("a_panic_while_the_result_is_dropped", a_panic_while_the_result_is_dropped),
        ("the_handle_of_a_sibling", the_handle_of_a_sibling),
        ("threads_that_were_joined_do_not_count", threads_that_were_joined_do_not_count),
        ("what_the_builder_sets_arrives", what_the_builder_sets_arrives),
        ("impossible_settings_are_errors_at_the_start", impossible_settings_are_errors_at_the_start),
        ("forks_beside_a_busy_reaper", forks_beside_a_busy_reaper),
    ];
    alone::run(tests);
}

fn a_closure_may_borrow() {
    let table = vec![1_u64, 2, 3];
    let shared = Array::<u64>::zeros(3).unwrap();
    let child = Process::fork(|| -> shmkit::Result<u64> {
        shared.store_from(0, &table)?;
        Ok(table.iter().sum())
    })
    .unwrap();
    assert_eq!(joined(&child).unwrap(), 6);
    assert_eq!(shared.to_vec().unwrap(), table);
}

fn a_scope_is_of_one_process() {
    fn nothing() {}
    process::scope(|scope| {
        let child = scope.fork(|| {
            let refused =
                |result: shmkit::Result<ScopedProcess<()>>| matches!(result, Err(Error::InvalidArgument { .. }));
            let own = process::scope(|own| own.fork(nothing).map(drop)).is_ok_and(|started| started.is_ok());
            (refused(scope.fork(nothing)), refused(scope.spawn(nothing, ())), own)
        });
        assert_eq!(joined(&child.unwrap()).unwrap(), (true, true, true));
        joined(&scope.fork(nothing).unwrap()).unwrap();
    })
    .unwrap();
}

fn the_same_functions_as_by_spawn() {
    fn work(total: Value<u64>, n: u64) -> shmkit::Result<u64> {
        total.update(|x| x + n)
    }
    let total = Value::new(0).unwrap();
    for (n, method) in [(1, StartMethod::Spawn), (2, StartMethod::Fork)] {
        let child = Process::builder(work).args((total.clone(), n)).start_method(method).start().unwrap();
        assert_eq!(joined(&child).unwrap(), total.get().unwrap());
    }
    assert_eq!(total.get().unwrap(), 3);
}

fn processors_are_chosen_before_the_fork() {
    let fork = |pin| Process::builder(process::cpu_count).start_method(StartMethod::Fork).pin(pin).start();
    let child = fork(Pin::Compact(0)).unwrap();
    assert_eq!(joined(&child).unwrap(), 1);
    assert!(matches!(fork(Pin::Core(100_000)), Err(Error::InvalidArgument { .. })));
    let error = joined(&fork(Pin::Cpus(vec![4000])).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Os { .. }), "{error}");
}

fn refused_with_a_guard() {
    let lock = Lock::new().unwrap();
    let held = lock.lock().unwrap();
    assert!(matches!(Process::fork(|| ()), Err(Error::ForkRefused { .. })));
    drop(held);
    // In the child the locks work by the child's own thread.
    let child = Process::fork(|| lock.lock().map(drop)).unwrap();
    joined(&child).unwrap();
    // A copied read would go on when the parent has let writers in.
    let lock = RwLock::new(1).unwrap();
    let read = lock.read().unwrap();
    assert!(matches!(Process::fork(|| ()), Err(Error::ForkRefused { .. })));
    drop(read);
    joined(&Process::fork(|| lock.write().map(drop)).unwrap()).unwrap();
}

/// A reference that a forgotten guard lent outlives its thread, and a fork would copy it.
fn refused_with_what_a_thread_kept() {
    // In a process of its own: it can never fork again.
    joined(&Process::spawn(keep_and_fork, ()).unwrap()).unwrap();
}

fn keep_and_fork() -> shmkit::Result<()> {
    fn in_a_thread<R>(run: impl FnOnce() -> R + Send, end: fn(R)) {
        thread::scope(|scope| {
            scope.spawn(|| end(run()));
        });
    }
    let refused = |kept: usize| {
        let error = Process::fork(|| ()).unwrap_err();
        let text = format!("threads that have ended kept {kept} locks or places");
        assert!(matches!(&error, Error::ForkRefused { reason } if reason.contains(&text)), "{error}");
    };
    let (array, lock, ring) = (Array::from_iter(0..4)?, RwLock::new(1)?, Ring::with_capacity(3)?);
    ring.push(1)?;
    in_a_thread(|| (array.lock().unwrap(), lock.read().unwrap(), ring.reserve().unwrap()), drop);
    joined(&Process::fork(|| ())?)?;
    // What a thread gives back at its very end it has not kept.
    thread_local! {
        static LAST: RefCell<Option<(ValueGuard<'static, u8>, RwLockReadGuard<'static, u8>)>> = const { RefCell::new(None) };
    }
    let value: &'static Value<u8> = Box::leak(Box::new(Value::new(0)?));
    let pair: &'static RwLock<u8> = Box::leak(Box::new(RwLock::new(0)?));
    in_a_thread(|| LAST.set(Some((value.lock().unwrap(), pair.read().unwrap()))), |()| ());
    joined(&Process::fork(|| ())?)?;
    in_a_thread(|| array.claim(0..2).unwrap(), mem::forget);
    refused(1);
    in_a_thread(|| lock.read().unwrap(), mem::forget);
    refused(2);
    in_a_thread(|| ring.pop_ref().unwrap(), mem::forget);
    refused(3);
    in_a_thread(|| ring.reserve().unwrap(), mem::forget);
    refused(4);
    let others = [(); 4].map(|()| Value::new(0_u8).unwrap());
    in_a_thread(|| others[0].lock().unwrap(), mem::forget);
    refused(5);
    in_a_thread(|| array.claim_mut(2..).unwrap(), mem::forget);
    refused(6);
    let other = RwLock::new(1)?;
    in_a_thread(|| other.write().unwrap().downgrade(), mem::forget);
    refused(7);
    let (other, again) = (RwLock::new(1)?, RLock::new()?);
    in_a_thread(|| other.write().unwrap(), mem::forget);
    refused(8);
    in_a_thread(|| (again.lock().unwrap(), again.lock().unwrap()), mem::forget);
    refused(9);
    let whole = Array::<u8>::zeros(3)?;
    in_a_thread(|| (whole.lock().unwrap(), others.each_ref().map(|one| one.try_lock().ok())), mem::forget);
    refused(13);
    Ok(())
}

fn errors_and_panics() {
    let child = Process::fork(|| Err::<(), _>(Error::TimedOut)).unwrap();
    assert!(joined(&child).unwrap_err().is_timed_out());
    let child = Process::fork(|| -> () { panic!("on purpose") }).unwrap();
    assert!(matches!(joined(&child), Err(Error::Panicked { message, .. }) if message == "on purpose"));
    let child = Process::fork(|| -> () { std::process::abort() }).unwrap();
    assert!(matches!(joined(&child), Err(Error::ChildDied { .. })));
}

/// A child that sleeps until it is killed, or else until this process ends.
fn sleeper() -> Process<u32> {
    let sleep = || {
        std::thread::park();
        7_u32
    };
    Process::builder(sleep).start_method(StartMethod::Fork).daemon(true).start().unwrap()
}

fn family() {
    let other = sleeper();
    let me = std::process::id();
    let child = Process::builder(|| {
        let parent = process::parent().expect("a fork has a parent");
        (process::current().name().to_owned(), parent.pid(), process::active_children().len())
    })
    .start_method(StartMethod::Fork)
    .name("forked")
    .start()
    .unwrap();
    assert_eq!(joined(&child).unwrap(), ("forked".to_owned(), me, 0));
    assert_eq!(process::active_children().len(), 1);
    other.kill().unwrap();
    assert!(joined(&other).is_err());
    assert!(process::active_children().is_empty());
}

fn methods_mix() {
    fn outer(value: Value<u32>) -> shmkit::Result<u32> {
        fn inner(value: Value<u32>) -> shmkit::Result<u32> {
            value.update(|x| x + 1)
        }
        let spawned = Process::builder(inner).args((value.clone(),)).start_method(StartMethod::Spawn).start()?;
        let forked = Process::fork(|| value.update(|x| x + 10))?;
        joined(&spawned)?;
        joined(&forked)?;
        value.get()
    }
    let value = Value::new(0).unwrap();
    for (sum, method) in [(11, StartMethod::Fork), (22, StartMethod::Spawn)] {
        let child = Process::builder(outer).args((value.clone(),)).start_method(method).start().unwrap();
        assert_eq!(joined(&child).unwrap(), sum);
    }
}

fn a_daemon_dies_with_its_parent() {
    let daemon_pid = Value::new(0_u32).unwrap();
    let lock = Lock::new().unwrap();
    let parent = Process::fork(|| {
        let daemon = Process::builder(|lock: Lock, pid: Value<u32>| -> shmkit::Result<()> {
            let _held = lock.lock();
            pid.set(std::process::id())?;
            std::thread::sleep(DEADLINE);
            Ok(())
        })
        .args((lock.clone(), daemon_pid.clone()))
        .daemon(true)
        .start_method(StartMethod::Fork)
        .start()?;
        daemon.join()
    })
    .unwrap();
    while daemon_pid.get().unwrap() == 0 {
        assert!(parent.is_alive());
        std::thread::yield_now();
    }
    parent.kill().unwrap();
    assert!(joined(&parent).is_err());
    // The daemon held the lock: its death is seen by the lock.
    let guard = lock.recover_timeout(DEADLINE).unwrap();
    assert_eq!(guard.poison().and_then(|poison| poison.pid), Some(daemon_pid.get().unwrap()));
}

fn output_is_written_once() {
    print!("(a line in parts");
    let child = Process::fork(|| print!(", of which the child writes one")).unwrap();
    joined(&child).unwrap();
    println!(")");
    io::stdout().flush().unwrap();
}

fn a_hundred() {
    let total = Value::new(0_u64).unwrap();
    let children: Vec<_> = (0..100)
        .map(|i| {
            let total = &total;
            Process::fork(move || total.update(|x| x + i)).unwrap()
        })
        .collect();
    for child in &children {
        joined(child).unwrap();
    }
    assert_eq!(total.get().unwrap(), 4950);
}

/// A result that panics when it is written, or else when the child drops it.
#[derive(serde::Deserialize)]
struct Bomb {
    can_be_written: bool,
}

impl serde::Serialize for Bomb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.can_be_written, "written");
        serializer.serialize_bool(true)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.can_be_written || process::parent().is_none(), "dropped");
    }
}

fn explode(can_be_written: bool) -> Process<Bomb> {
    let me = std::process::id();
    let child = Process::fork(|| Ok::<_, Error>(Bomb { can_be_written })).unwrap();
    if std::process::id() != me {
        println!("the child went on in its parent's code");
        std::process::abort();
    }
    child
}

fn a_panic_while_the_result_is_written() {
    let result = joined(&explode(false)).map(drop);
    assert!(matches!(&result, Err(Error::Panicked { message, .. }) if message == "written"), "{result:?}");
}

fn a_panic_while_the_result_is_dropped() {
    let child = explode(true);
    assert!(joined(&child).is_ok(), "the result was sent before");
    assert_eq!(child.exit_status(), Some(process::ExitStatus::Code(101)));
}

fn the_handle_of_a_sibling() {
    let sibling = sleeper();
    let child = Process::fork(|| {
        let join = sibling.join_timeout(Duration::ZERO);
        (sibling.is_alive(), matches!(join, Err(Error::InvalidArgument { .. })))
    })
    .unwrap();
    assert_eq!(joined(&child).unwrap(), (true, true));

    // One that has ended: its report is left to the parent.
    sibling.kill().unwrap();
    assert!(joined(&sibling).is_err());
    let sibling = Process::fork(|| 7).unwrap();
    let child = Process::fork(|| {
        process::parent().expect("a fork has one").is_alive() && sibling.join_timeout(DEADLINE).is_err()
    })
    .unwrap();
    assert!(joined(&child).unwrap());
    assert_eq!(joined(&sibling).unwrap(), 7);
}

fn threads_that_were_joined_do_not_count() {
    for _ in 0..300 {
        std::thread::spawn(|| ()).join().unwrap();
        joined(&Process::fork(|| ()).unwrap()).unwrap();
    }
}

fn what_the_builder_sets_arrives() {
    type Seen = (String, Option<String>, Option<String>, String, usize);
    fn look() -> shmkit::Result<Seen> {
        let here = std::env::current_dir().unwrap().display().to_string();
        let (set, removed) = (std::env::var("SHMKIT_TEST_SET").ok(), std::env::var("PATH").ok());
        Ok((process::current().name().to_owned(), set, removed, here, process::cpu_count()))
    }
    let here = std::env::current_dir().unwrap();
    let child = Process::builder(look)
        .name("w7")
        .start_method(StartMethod::Fork)
        .env("SHMKIT_TEST_SET", "yes")
        .env_remove("PATH")
        .current_dir("/proc")
        .pin_to_cpu(0)
        .start()
        .unwrap();
    assert_eq!(joined(&child).unwrap(), ("w7".into(), Some("yes".into()), None, "/proc".into(), 1));
    assert_eq!(std::env::current_dir().unwrap(), here);
}

fn impossible_settings_are_errors_at_the_start() {
    let builder = || Process::builder(|| ()).start_method(StartMethod::Fork);
    assert!(matches!(builder().current_dir("/nowhere/at/all").start(), Err(Error::Os { .. })));
    assert!(matches!(builder().env("A=B", "c").start(), Err(Error::InvalidArgument { .. })));
}

/// The reaper looks at the table of children whenever one ends; a fork at that moment must not copy its lock.
fn forks_beside_a_busy_reaper() {
    for _ in 0..300 {
        drop(Process::fork(|| ()).unwrap());
        let child = Process::fork(|| process::active_children().len() as u64).unwrap();
        assert_eq!(joined(&child).unwrap(), 0);
    }
}
