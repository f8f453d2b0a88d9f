//! Parents, fork servers and workers that are killed at random moments, by every start method: nobody hangs, everybody ends
//! who should, and nothing is left: no descriptor, thread, child or zombie.
//!
//! Who loses his parent becomes a child of this process (`PR_SET_CHILD_SUBREAPER`), so that none can hide.
#![expect(unsafe_code, reason = "kills, and waits for orphans")]

mod alone;
mod scratch;
mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    path::PathBuf,
    process::id,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use scratch::Name;
use shmkit::{
    Array, AtomicArray, AtomicValue, Error, Pool, Process, Result,
    pool::OnDeath,
    process::{self, ExitStatus, StartMethod, forkserver},
};
use support::{Random, eventually};

/// Longer than any wait that succeeds.
const LONG: Duration = Duration::from_secs(50);

/// Of each kind of kill.
const ROUNDS: usize = if cfg!(debug_assertions) { 40 } else { 300 };

fn main() {
    shmkit::init();
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    alone::run(&[
        ("parents_of_fresh_starts", || parents(StartMethod::Spawn)),
        ("parents_of_forks", || parents(StartMethod::Fork)),
        ("parents_with_a_fork_server", || parents(StartMethod::ForkServer)),
        ("workers_by_fresh_starts", || workers(StartMethod::Spawn)),
        ("workers_by_forks", || workers(StartMethod::Fork)),
        ("workers_of_a_fork_server", || workers(StartMethod::ForkServer)),
        ("workers_of_a_pool", workers_of_a_pool),
        ("fork_servers", fork_servers),
    ]);
}

const METHODS: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer];

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(LONG)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn kill(pid: u32) {
    // SAFETY: takes numbers. Of a process that was not waited for, or a moment ago was not.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn sleep_for_ever() {
    support::sleep_for_ever();
}

/// Of every thread: those of the fork server's are one's that the crate has for it.
fn children() -> BTreeSet<u32> {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("children"));
    let lists: Vec<_> = threads.filter_map(|list| fs::read_to_string(list).ok()).collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

/// What this process has.
#[derive(Debug, PartialEq)]
struct Possessions {
    descriptors: Vec<String>,
    threads: usize,
    children: usize,
}

impl Possessions {
    fn now() -> Self {
        let list = fs::read_dir("/proc/self/fd").unwrap();
        // Their kinds: numbers of inodes differ.
        let kind = |path: PathBuf| path.display().to_string().replace(|c: char| c.is_ascii_digit(), "");
        let mut descriptors: Vec<_> =
            list.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).map(kind).collect();
        descriptors.sort();
        Self { descriptors, threads: fs::read_dir("/proc/self/task").unwrap().count(), children: children().len() }
    }
}

/// Kills `rounds` times, and sees that this process has then what it had after the first time.
fn steady(rounds: usize, mut round: impl FnMut(&mut Random)) {
    let mut random = Random::new();
    round(&mut random);
    let before = Possessions::now();
    (1..rounds).for_each(|_| round(&mut random));
    assert_eq!(Possessions::now(), before);
}

/// Those who are there to see their parent's end, and those who have seen it.
const THERE: usize = 0;
const SAW: usize = 1;

/// A parent with daemons that sleep, others that watch it, and some that come and go. All but the daemons end by themselves
/// when it is killed; those are ended. Its fork server goes too, whatever it was doing.
fn parents(method: StartMethod) {
    fn watch(counts: AtomicArray<u32>) {
        counts[THERE].fetch_add(1, SeqCst);
        process::parent().expect("a child has one").wait();
        counts[SAW].fetch_add(1, SeqCst);
    }
    fn parent(method: usize, counts: AtomicArray<u32>) -> Result<()> {
        let method = METHODS[method];
        let mut kept = Vec::new();
        loop {
            if kept.len() < 8 {
                kept.push(Process::builder(sleep_for_ever).daemon(true).start_method(method).start()?);
                kept.push(Process::builder(watch).args((counts.clone(),)).daemon(false).start_method(method).start()?);
            }
            joined(&Process::builder(|| ()).daemon(false).start_method(method).start()?)?;
        }
    }
    let number = METHODS.iter().position(|one| *one == method).unwrap();
    // A server of this process is no orphan.
    joined(&Process::builder(|| ()).start_method(method).start().unwrap()).unwrap();
    let mut seen = 0;
    steady(ROUNDS, |random| {
        let counts = AtomicArray::<u32>::zeros(2).unwrap();
        let before = children();
        let builder = Process::builder(parent).args((number, counts.clone()));
        let parent = builder.daemon(false).start_method(method).start().unwrap();
        if random.below(4) > 0 {
            eventually(|| counts[THERE].load(SeqCst) > 0);
        }
        random.pause(Duration::from_millis(8));
        parent.kill().unwrap();
        died_of_it(&parent);
        eventually(|| children().difference(&before).all(|orphan| is_waited_for(*orphan)));
        let [there, saw] = [THERE, SAW].map(|at| counts[at].load(SeqCst));
        assert_eq!(there, saw, "some have not seen the end of their parent");
        seen += saw as usize;
    });
    assert!(seen > ROUNDS / 2, "{seen}");
}

/// Waits for a child that the crate does not know, if it has ended.
fn is_waited_for(orphan: u32) -> bool {
    // SAFETY: takes numbers; no status is asked for.
    unsafe { libc::waitpid(orphan as i32, std::ptr::null_mut(), libc::WNOHANG) != 0 }
}

fn died_of_it<T: std::fmt::Debug>(child: &Process<T>) {
    let error = joined(child).unwrap_err();
    assert!(matches!(&error, Error::ChildDied { pid, .. } if *pid == child.pid()), "{error}");
    assert_eq!(child.exit_status(), Some(ExitStatus::Signal(libc::SIGKILL)));
}

/// Children that change a pair half by half under its lock: what one leaves, the next one mends.
fn workers(method: StartMethod) {
    fn work(pair: Array<u64>, steps: AtomicArray<u64>) -> Result<()> {
        loop {
            let mut pair = pair.recover()?;
            if pair.poison().is_some() {
                pair[1] = pair[0];
                pair.clear_poison();
            }
            assert_eq!(pair[0], pair[1]);
            pair[0] += 1;
            pair[1] += 1;
            steps[0].fetch_add(1, SeqCst);
        }
    }
    let (pair, steps) = (Array::<u64>::zeros(2).unwrap(), AtomicArray::<u64>::zeros(1).unwrap());
    let start = || {
        let builder = Process::builder(work).args((pair.clone(), steps.clone()));
        builder.daemon(false).start_method(method).start().unwrap()
    };
    let mut workers: Vec<_> = (0..4).map(|_| start()).collect();
    steady(ROUNDS, |random| {
        // Some before they have begun.
        random.pause(Duration::from_millis(3));
        let at = random.below(4) as usize;
        workers[at].kill().unwrap();
        died_of_it(&workers[at]);
        workers[at] = start();
        let before = steps[0].load(SeqCst);
        eventually(|| steps[0].load(SeqCst) > before);
    });
    for worker in &workers {
        worker.kill().unwrap();
        died_of_it(worker);
    }
}

/// Each task is done, however many workers die. `tests/pool.rs` and `tests/pool_fork.rs` have the other start methods.
fn workers_of_a_pool() {
    let work = |x: u64| {
        thread::sleep(Duration::from_micros(x % 50));
        x * x
    };
    steady(2, |random| {
        let builder = Pool::builder().workers(3).on_death(OnDeath::Retry(1000));
        let pool = builder.start_method(StartMethod::ForkServer).start().unwrap();
        let (kills, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    random.pause(Duration::from_millis(4));
                    let pids = pool.pids();
                    if !pids.is_empty() {
                        kill(pids[random.below(pids.len() as u64) as usize]);
                        kills.fetch_add(1, SeqCst);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
            while kills.load(SeqCst) < ROUNDS {
                let results = pool.map(work, 0..200).unwrap();
                assert!(results.into_iter().eq((0..200).map(|x| x * x)));
            }
            stop.store(true, SeqCst);
        });
        pool.close();
        pool.join().unwrap();
        drop(pool);
        eventually(|| process::active_children().is_empty());
    });
}

/// The server dies while several threads start and join. A child that was started is none the worse for it; a start that
/// fails says why, and is tried again.
fn fork_servers() {
    // In a process of its own, which is told what its servers run first.
    let child = Process::builder(kill_servers).daemon(false).start_method(StartMethod::Spawn).start().unwrap();
    joined(&child).unwrap();
}

/// Where a server says who it is.
const SERVER: &str = "SHMKIT_TEST_SERVER";

fn kill_servers() -> Result<()> {
    let name = Name::new();
    let server = AtomicValue::<u32>::create(&*name, 0)?;
    // SAFETY: this process has one thread.
    unsafe { env::set_var(SERVER, &*name) };
    forkserver::preload(|| -> Result<()> {
        let name = env::var(SERVER).expect("the parent has set it");
        AtomicValue::<u32>::open(name.as_str())?.store(id(), SeqCst);
        Ok(())
    })?;

    let start = |x: u64| {
        let work = |x: u64| {
            thread::sleep(Duration::from_micros(x % 300));
            2 * x
        };
        Process::builder(work).args((x,)).daemon(false).start_method(StartMethod::ForkServer).start()
    };
    joined(&start(1)?)?;
    let before = Possessions::now();
    let (kills, refused, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = || kills.load(SeqCst) >= 2 * ROUNDS;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new();
            let mut last = 0;
            while !is_over() {
                random.pause(Duration::from_millis(4));
                let now = server.load(SeqCst);
                if now != last {
                    kill(now);
                    kills.fetch_add(1, SeqCst);
                    last = now;
                }
            }
        });
        for first in 0..3 {
            let (is_over, refused, done) = (&is_over, &refused, &done);
            scope.spawn(move || {
                for x in (first..).step_by(3).take_while(|_| !is_over()) {
                    match start(x) {
                        // Its death would be a fault: nobody has killed it.
                        Ok(child) => assert_eq!(joined(&child).unwrap(), 2 * x),
                        Err(error) => {
                            assert!(matches!(error, Error::ForkServerDied { .. }), "{error}");
                            refused.fetch_add(1, SeqCst);
                        }
                    }
                    done.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let [refused, done] = [refused, done].map(AtomicUsize::into_inner);
    assert!(refused * 10 < done, "{refused} of {done}: three servers in a row were killed before they had answered");
    assert_eq!(joined(&start(21)?)?, 42);
    eventually(|| process::active_children().is_empty());
    assert_eq!(Possessions::now(), before);
    Ok(())
}
