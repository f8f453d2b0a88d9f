//! What becomes of children at the end of a program, which is the child of nobody: its `main` returns, fails, panics,
//! exits, or is ended by a signal.
//!
//! Not under libtest, whose `main` is not ours.

#![expect(unsafe_code, reason = "signals to process groups")]

mod alone;
mod scratch;

use std::{
    collections::BTreeSet,
    env, fs, mem,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio, id},
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use scratch::Name;
use shmkit::{
    AtomicArray, Error, Pool, Process, Result,
    process::{all_start_methods, force_start_method},
};

const LONG: Duration = Duration::from_secs(50);

const TESTS: &[(&str, fn())] = &[
    ("a_normal_end_waits_for_children_and_ends_daemons", a_normal_end_waits_for_children_and_ends_daemons),
    ("any_other_end_waits_for_nobody", any_other_end_waits_for_nobody),
    ("ctrl_c_ends_the_wait_too", ctrl_c_ends_the_wait_too),
    ("a_forgotten_pool_ends_with_the_program", a_forgotten_pool_ends_with_the_program),
    ("a_pool_goes_with_the_program_whatever_ends_that", a_pool_goes_with_the_program_whatever_ends_that),
];

/// In the environment of a program: how it is to end, and the name of the words.
const ORDER: &str = "SHMKIT_TEST_END";

/// What the program and its children write down.
type Words = AtomicArray<u32>;

/// The ids of the child, which is waited for, and the daemon.
const CHILD: usize = 0;
const DAEMON: usize = 1;
/// Whether the program has come to its end.
const ENDING: usize = 2;
/// Whether the child may go on, and whether it has done what it does.
const GO: usize = 3;
const DONE: usize = 4;

fn main() -> Result<()> {
    shmkit::init();
    match env::var(ORDER) {
        Ok(order) => program(&order),
        Err(_) => {
            alone::run(TESTS);
            Ok(())
        }
    }
}

fn program(order: &str) -> Result<()> {
    let [end, method, name] = order.split('/').collect::<Vec<_>>()[..] else { panic!("{order:?} is no order") };
    // As any program has it. Those who have started this one may ignore it.
    // SAFETY: the default is a valid disposition.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    force_start_method(all_start_methods()[method.parse::<usize>().unwrap()]);
    let words = Words::open(name)?;
    if end == "forgets a pool" {
        return forget_a_pool(&words);
    }
    if end == "waits for a pool" {
        return wait_for_a_pool(&words);
    }
    drop(Process::spawn(child, (words.clone(),))?);
    drop(Process::builder(daemon).args((words.clone(),)).daemon(true).start()?);
    until("the children are there", || [CHILD, DAEMON].iter().all(|at| words[*at].load(SeqCst) != 0));
    words[ENDING].store(1, SeqCst);
    match end {
        "returns" => Ok(()),
        "fails" => Err(Error::WouldBlock),
        "panics" => panic!("on purpose"),
        "exits" => std::process::exit(3),
        "exits in a thread" => thread::spawn(|| std::process::exit(3)).join().unwrap(),
        "aborts" => std::process::abort(),
        // SAFETY: ends the process.
        "exits at once" => unsafe { libc::_exit(4) },
        _ => loop {
            thread::park();
        },
    }
}

/// With one worker that is at a task, one that has nothing to do, and tasks that none has begun.
fn forget_a_pool(words: &Words) -> Result<()> {
    let pool = Pool::new(2)?;
    mem::forget(pool.submit(daemon, (words.clone(),))?);
    words[CHILD].store(pool.apply(id, ())?, SeqCst);
    until("a worker is at it", || words[DAEMON].load(SeqCst) != 0);
    for _ in 0..10 {
        mem::forget(pool.submit(|| thread::sleep(2 * LONG), ())?);
    }
    mem::forget(pool);
    words[ENDING].store(1, SeqCst);
    // For the other one to see it.
    until("the word to go on", || words[GO].load(SeqCst) == 1);
    Ok(())
}

/// The workers tell who they are, in their tasks, which do not end.
fn wait_for_a_pool(words: &Words) -> Result<()> {
    let pool = Pool::new(2)?;
    let task = |(words, at): (Words, usize)| {
        words[at].store(id(), SeqCst);
        if words[CHILD].load(SeqCst) != 0 && words[DAEMON].load(SeqCst) != 0 {
            words[ENDING].store(1, SeqCst);
        }
        thread::sleep(2 * LONG);
    };
    // One at a time for each.
    pool.map_chunked(task, [CHILD, DAEMON].map(|at| (words.clone(), at)), 1).map(drop)
}

fn child(words: Words) {
    words[CHILD].store(id(), SeqCst);
    until("the word to go on", || words[GO].load(SeqCst) == 1);
    words[DONE].store(1, SeqCst);
}

fn daemon(words: Words) {
    words[DAEMON].store(id(), SeqCst);
    thread::sleep(2 * LONG);
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a test with a program that ends so, at its end, for each start method.
fn for_each_method(end: &str, test: impl Fn(&mut Child, &Words)) {
    for method in 0..all_start_methods().len() {
        let name = Name::new();
        let words = Words::create(&*name, 5).unwrap();
        let mut program = Command::new(env::current_exe().unwrap());
        // What is said on purpose; and a group of its own, as a shell gives a job.
        program.env(ORDER, format!("{end}/{method}/{}", &*name)).stderr(Stdio::null()).process_group(0);
        let mut program = program.spawn().unwrap();
        until("the program is at its end", || words[ENDING].load(SeqCst) == 1);
        test(&mut program, &words);
        until("none is left", || [CHILD, DAEMON].iter().all(|at| is_gone(words[*at].load(SeqCst))));
    }
}

/// Whether the process has ended, be it a zombie of whoever inherits it.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}

fn signal_group(program: &Child, signal: i32) {
    // SAFETY: takes numbers; the program was not waited for, so that its group is its own.
    assert_eq!(unsafe { libc::kill(-program.id().cast_signed(), signal) }, 0);
}

fn a_normal_end_waits_for_children_and_ends_daemons() {
    for (end, code) in [("returns", 0), ("fails", 1), ("panics", 101), ("exits", 3), ("exits in a thread", 3)] {
        for_each_method(end, |program, words| {
            // Before the wait for others.
            until("the daemon is gone", || is_gone(words[DAEMON].load(SeqCst)));
            thread::sleep(Duration::from_millis(20));
            assert!(program.try_wait().unwrap().is_none(), "it waits");
            words[GO].store(1, SeqCst);
            assert_eq!(program.wait().unwrap().code(), Some(code), "{end}");
            assert_eq!(words[DONE].load(SeqCst), 1);
        });
    }
}

fn any_other_end_waits_for_nobody() {
    for end in ["aborts", "exits at once", "waits"] {
        for_each_method(end, |program, words| {
            if end == "waits" {
                program.kill().unwrap();
            }
            assert!(!program.wait().unwrap().success());
            until("the daemon is gone", || is_gone(words[DAEMON].load(SeqCst)));
            words[GO].store(1, SeqCst);
            until("the child goes on", || words[DONE].load(SeqCst) == 1);
        });
    }
}

fn ctrl_c_ends_the_wait_too() {
    for end in ["returns", "waits"] {
        for_each_method(end, |program, words| {
            signal_group(program, libc::SIGINT);
            assert_eq!(program.wait().unwrap().signal(), Some(libc::SIGINT));
            until("the child is gone", || is_gone(words[CHILD].load(SeqCst)));
            assert_eq!(words[DONE].load(SeqCst), 0);
        });
    }
}

fn a_forgotten_pool_ends_with_the_program() {
    for_each_method("forgets a pool", |program, words| {
        let workers = [CHILD, DAEMON].map(|at| words[at].load(SeqCst));
        assert_ne!(workers[0], workers[1]);
        for pid in workers {
            // Nothing that could be left has a name, but what this test has made.
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
            let named = maps.lines().filter_map(|line| line.split_once("/dev/shm/"));
            assert!(named.map(|(_, name)| name).collect::<BTreeSet<_>>().len() <= 1, "{maps}");
        }
        words[GO].store(1, SeqCst);
        assert_eq!(program.wait().unwrap().code(), Some(0));
        // One that the pool has started meanwhile in the place of another sees the end of its parent by itself.
        until("no worker is left", || members_of_group(program.id()).next().is_none());
    });
}

/// While it waits for tasks that do not end.
fn a_pool_goes_with_the_program_whatever_ends_that() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        for_each_method("waits for a pool", |program, words| {
            assert_ne!(words[CHILD].load(SeqCst), words[DAEMON].load(SeqCst));
            if signal == libc::SIGINT {
                // Ctrl-C is for the whole group.
                signal_group(program, signal);
            } else {
                // SAFETY: takes numbers; the program was not waited for.
                assert_eq!(unsafe { libc::kill(program.id().cast_signed(), signal) }, 0);
            }
            assert_eq!(program.wait().unwrap().signal(), Some(signal));
            until("nobody is left", || members_of_group(program.id()).next().is_none());
        });
    }
}

/// The processes of a group that have not ended.
fn members_of_group(group: u32) -> impl Iterator<Item = u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(move |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name: the state, the parent, the group.
        let of = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(2)?.parse().ok());
        of == Some(group) && !is_gone(*pid)
    })
}
