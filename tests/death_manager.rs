//! Managers whose clients are killed at any moment, and whose servers are: a request is carried out or not, what the dead held
//! is released, nobody hangs, and who waits for a dead server is told so.

#![allow(unsafe_code, reason = "the deadline's module forks")]

mod support;

use std::{thread, time::Duration};

use shmkit::{
    Error, Manager, Process, Queue, Result,
    manager::{Dict, List, Object},
    pipe::{self, Sender},
    process::StartMethod,
};
use support::{Deadline, Random, eventually};

shmkit::init_in_tests!();

const KILLS: usize = 150;

/// The object that is always there, and the dict of the test.
const AT_FIRST: usize = 2;

fn number(dict: &Dict, key: &str) -> u64 {
    dict.find(key).unwrap().map_or(0, |object| object.get_as().unwrap())
}

/// All that a client can be in the middle of: words, packets, tickets, large values.
fn busy(manager: Manager, dict: Dict, to: Queue<List>) -> Result<()> {
    let large = Object::bytes(vec![1; 100_000]);
    loop {
        manager.batch().fetch_add(&dict, "one", 1).fetch_add(&dict, "other", 1).run()?;
        let list = manager.list_from(0..10)?;
        list.push(manager.dict()?)?;
        list.push(&list)?;
        match to.try_put(&list) {
            Err(error) if !error.is_would_block() => return Err(error),
            _ => {}
        }
        list.push(large.clone())?;
        assert!(list.pop()? == large);
        match manager.value("shared", 0_u32)?.set(1) {
            // Somebody was killed while it held the lock of the value: of which the value tells, and which the manager cannot help.
            Ok(()) | Err(Error::Poisoned { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn clients_killed_at_random() {
    let _deadline = Deadline::seconds(200, "clients killed at random");
    let manager = Manager::start().unwrap();
    let dict = manager.dict().unwrap();
    let mut random = Random::new();
    // A user can have only so many descriptors under way: with more, others are refused some.
    let queue = Queue::<List>::options().max_items(100).create().unwrap();
    let start = || {
        let args = (manager.clone(), dict.clone(), queue.clone());
        Process::builder(busy).args(args).daemon(true).start_method(StartMethod::ForkServer).start().unwrap()
    };
    let mut children: Vec<_> = (0..3).map(|_| start()).collect();
    for kill in 0..KILLS {
        random.pause(Duration::from_millis(3));
        if kill % 10 == 0 {
            // Let them come to something.
            let before = number(&dict, "one");
            eventually(|| number(&dict, "one") > before);
        }
        let at = random.below(3) as usize;
        children[at].kill().unwrap();
        let end = children[at].join();
        assert!(matches!(end, Err(Error::ChildDied { .. })), "{end:?}");
        // Both or none.
        let both = manager.batch().get(&dict, "one").get(&dict, "other").run();
        assert!(both.is_ok_and(|both| both[0] == both[1]) || number(&dict, "one") == 0);
        // What was sent before a death is there.
        if let Ok(list) = queue.try_get() {
            assert!(list.len().unwrap() >= 12);
        }
        children[at] = start();
    }
    for child in children {
        child.kill().unwrap();
        assert!(child.join().is_err());
    }
    while let Ok(list) = queue.try_get() {
        assert!(list.len().unwrap() >= 12);
    }
    drop(queue);
    eventually(|| manager.object_count().unwrap() == AT_FIRST);
    manager.shutdown().unwrap();
}

/// Who is in the middle of a request or waits for its answer is told, as is who comes later.
#[test]
fn servers_killed_at_random() {
    fn asks(list: List) -> Result<()> {
        loop {
            list.push(1)?;
            list.pop()?;
        }
    }
    let _deadline = Deadline::seconds(200, "servers killed at random");
    let mut random = Random::new();
    for _ in 0..25 {
        let manager = Manager::start().unwrap();
        let list = manager.list().unwrap();
        let start =
            || Process::builder(asks).args((list.clone(),)).start_method(StartMethod::ForkServer).start().unwrap();
        let children: Vec<_> = (0..2).map(|_| start()).collect();
        random.pause(Duration::from_millis(4));
        thread::scope(|scope| {
            let asking = scope.spawn(|| asks(list.clone()));
            manager.process().unwrap().kill().unwrap();
            assert!(matches!(asking.join().unwrap(), Err(Error::ManagerGone)));
        });
        for child in children {
            let error = child.join().unwrap_err();
            assert!(matches!(error, Error::ManagerGone | Error::NotSendable { .. }), "{error}");
        }
        assert!(matches!(list.len(), Err(Error::ManagerGone)));
        assert!(matches!(manager.dict(), Err(Error::ManagerGone)));
        assert!(matches!(manager.shutdown(), Err(Error::ChildDied { .. })));
    }
}

/// It sleeps for an answer by then.
#[test]
fn a_server_that_is_stopped_and_killed() {
    let _deadline = Deadline::seconds(60, "a server that is stopped and killed");
    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    let process = manager.process().unwrap();
    let signal = |signal| {
        // SAFETY: takes numbers; a child of this process that was not waited for.
        assert_eq!(unsafe { libc::kill(process.pid() as i32, signal) }, 0);
    };
    thread::scope(|scope| {
        signal(libc::SIGSTOP);
        let asking = scope.spawn(|| list.push(1));
        thread::sleep(Duration::from_millis(250));
        // It waits for as long as the server is stopped.
        assert!(!asking.is_finished());
        signal(libc::SIGCONT);
        asking.join().unwrap().unwrap();
        signal(libc::SIGSTOP);
        let asking = scope.spawn(|| list.push(1));
        thread::sleep(Duration::from_millis(20));
        process.kill().unwrap();
        assert!(matches!(asking.join().unwrap(), Err(Error::ManagerGone)));
    });
}

#[test]
fn it_dies_with_its_owner() {
    fn owner(to: Sender<List>) -> Result<()> {
        let manager = Manager::start()?;
        to.send(&manager.list_from([1])?)?;
        loop {
            thread::park();
        }
    }
    let _deadline = Deadline::seconds(60, "it dies with its owner");
    let (to, from) = pipe::simplex().unwrap();
    let owner = Process::spawn(owner, (to,)).unwrap();
    let list = from.recv().unwrap();
    assert_eq!(list.len().unwrap(), 1);
    owner.kill().unwrap();
    eventually(|| matches!(list.len(), Err(Error::ManagerGone)));
    assert!(owner.join().is_err());
}

#[test]
fn a_ticket_whose_sender_is_killed() {
    fn sends(manager: Manager, queue: Queue<(List, Dict)>) -> Result<()> {
        queue.put(&(manager.list_from(["alive"])?, manager.dict()?))?;
        std::process::abort()
    }
    let _deadline = Deadline::seconds(60, "a ticket whose sender is killed");
    let manager = Manager::start().unwrap();
    let queue = Queue::new().unwrap();
    for _ in 0..10 {
        let child = Process::builder(sends).args((manager.clone(), queue.clone()));
        assert!(child.start_method(StartMethod::ForkServer).start().unwrap().join().is_err());
        let (list, dict) = queue.get().unwrap();
        assert_eq!(list.get(0).unwrap(), "alive".into());
        dict.insert(1, 1).unwrap();
    }
    eventually(|| manager.object_count().unwrap() == 1);
}

/// Half of which are killed, and the others end.
#[test]
fn two_hundred_clients_and_ten_thousand_objects() {
    const CLIENTS: usize = 200;
    const EACH: usize = 50;
    fn holds(manager: Manager, dict: Dict, number: usize) -> Result<()> {
        let lists: Vec<_> = (0..EACH).map(|n| manager.list_from([number, n])).collect::<Result<_>>()?;
        dict.insert(number, &lists[0])?;
        dict.fetch_add("ready", 1)?;
        manager.event("go on")?.wait()?;
        for (n, list) in lists.iter().enumerate() {
            assert_eq!(list.get_as::<[usize; 2]>()?, [number, n]);
        }
        Ok(())
    }
    let _deadline = Deadline::seconds(200, "two hundred clients");
    let manager = Manager::start().unwrap();
    let dict = manager.dict().unwrap();
    let start = |number| {
        let args = (manager.clone(), dict.clone(), number);
        Process::builder(holds).args(args).daemon(true).start_method(StartMethod::ForkServer).start().unwrap()
    };
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();
    eventually(|| number(&dict, "ready") == CLIENTS as u64);
    assert_eq!(manager.object_count().unwrap(), AT_FIRST + CLIENTS * EACH);
    clients[..CLIENTS / 2].iter().for_each(|client| client.kill().unwrap());
    eventually(|| manager.object_count().unwrap() == AT_FIRST + CLIENTS / 2 * (EACH + 1));
    manager.event("go on").unwrap().set();
    for (at, client) in clients.into_iter().enumerate() {
        assert_eq!(client.join().is_err(), at < CLIENTS / 2, "{at}");
    }
    // What others have among their values is there.
    for n in 0..CLIENTS {
        let list = List::try_from(dict.get(n).unwrap()).unwrap();
        assert_eq!(list.get_as::<[usize; 2]>().unwrap(), [n, 0]);
    }
    dict.clear().unwrap();
    eventually(|| manager.object_count().unwrap() == AT_FIRST);
}

/// Before each store that a client makes to the words that it shares with the server.
#[cfg(feature = "death-points")]
#[test]
fn a_client_that_dies_at_each_point() {
    fn dies(list: List, point: u32) -> Result<()> {
        list.len()?;
        shmkit::test_hooks::arm(point);
        (0..50).try_for_each(|n| {
            // So that the server sleeps at times, and has to be woken.
            if n % 10 == 9 {
                thread::sleep(Duration::from_millis(1));
            }
            list.push(n)
        })
    }
    let _deadline = Deadline::seconds(200, "a client that dies at each point");
    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    for point in 1..120 {
        list.clear().unwrap();
        let child = Process::builder(dies).args((list.clone(), point)).start_method(StartMethod::ForkServer);
        let has_died = child.start().unwrap().join().is_err();
        let pushed: Vec<i64> = list.get_as().unwrap();
        // What was asked for last may or may not be there.
        assert!(
            pushed.iter().enumerate().all(|(at, n)| at as i64 == *n) && (has_died || pushed.len() == 50),
            "{point}"
        );
    }
    eventually(|| manager.object_count().unwrap() == 2);
}

fn status(pid: u32, name: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::path::PathBuf| {
        let text = std::fs::read_to_string(task.join("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start_matches(':');
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    tasks.map(|task| of(task.unwrap().path())).fold(0, |sum, n| if name == "VmRSS" { n } else { sum + n })
}

#[test]
fn an_idle_server_wakes_seldom() {
    let _deadline = Deadline::seconds(60, "an idle server wakes seldom");
    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    list.push(1).unwrap();
    let pid = manager.process().unwrap().pid();
    thread::sleep(Duration::from_millis(250));
    let before = status(pid, "voluntary_ctxt_switches");
    thread::sleep(Duration::from_secs(2));
    let times = status(pid, "voluntary_ctxt_switches") - before;
    assert!(times <= 20, "{times} times in 2 s");
}

#[test]
fn a_small_entry_takes_little_memory() {
    const ENTRIES: u64 = 200_000;
    let _deadline = Deadline::seconds(100, "a small entry takes little memory");
    let manager = Manager::start().unwrap();
    let dict = manager.dict().unwrap();
    dict.update((0..1000).map(|n| (n, n))).unwrap();
    let pid = manager.process().unwrap().pid();
    let before = status(pid, "VmRSS");
    for start in (0..ENTRIES).step_by(100) {
        dict.update((start..start + 100).map(|n| (format!("key {n}"), format!("value {n}")))).unwrap();
    }
    let each = (status(pid, "VmRSS") - before) * 1024 / ENTRIES;
    println!("{each} bytes for each entry");
    assert!(each <= 200, "{each} bytes for each entry");
}
