//! Services of managers whose callers are killed at any moment, and whose servers are: a call is carried out or not, nobody
//! else notices, and who waits for a dead server is told so.

#![allow(unsafe_code, reason = "the deadline's module forks")]

mod support;

use std::{fs, thread, time::Duration};

use shmkit::{
    Error, Event, Manager, Pool, Process, Result, Semaphore,
    manager::service::Proxied,
    process::{Message, Outcome, StartMethod, Target},
};
use support::{Deadline, Random, eventually};

shmkit::init_in_tests!();

const KILLS: usize = 120;

shmkit::service! {
    trait Ledger as LedgerProxy {
        /// Moves something from one to another, in two steps, and gives the ballast back.
        fn transfer(&mut self, from: usize, to: usize, amount: i64, ballast: Vec<u8>) -> Vec<u8>;
        fn total(&self) -> i64;
        fn transfers(&self) -> u64;
        fn wait(&mut self, begun: Semaphore, until: Event) -> Result<()>;
        fn empty(&self) -> Result<()>;
    }
}

#[derive(Default)]
struct Balances {
    all: [i64; 8],
    transfers: u64,
}

impl Ledger for Balances {
    fn transfer(&mut self, from: usize, to: usize, amount: i64, ballast: Vec<u8>) -> Vec<u8> {
        self.all[from] -= amount;
        self.all[to] += amount;
        self.transfers += 1;
        ballast
    }

    fn total(&self) -> i64 {
        self.all.iter().sum()
    }

    fn transfers(&self) -> u64 {
        self.transfers
    }

    fn wait(&mut self, begun: Semaphore, until: Event) -> Result<()> {
        begun.release()?;
        until.wait()
    }

    fn empty(&self) -> Result<()> {
        Err(Error::ValueNotFound { value: "empty".into() })
    }
}

fn start<F: Target<A>, A: Message>(target: F, args: A) -> Process<<F::Outcome as Outcome>::Output> {
    Process::builder(target).args(args).daemon(true).start_method(StartMethod::ForkServer).start().unwrap()
}

/// The server's descriptors and threads.
fn belongings(manager: &Manager) -> (usize, usize) {
    let pid = manager.process().unwrap().pid();
    let count = |what| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("fd"), count("task"))
}

/// All that a caller can be in the middle of: words, packets, files, a name, a service of its own, an error.
fn busy(manager: Manager, seed: usize) -> Result<()> {
    let ledger = manager.service::<LedgerProxy>("ledger")?;
    for n in seed.. {
        let length = [0, 10, 20_000, 300_000][n % 4];
        assert_eq!(ledger.transfer(n % 8, (n / 3) % 8, n as i64, vec![1; length])?.len(), length);
        assert!(matches!(ledger.empty(), Err(Error::ValueNotFound { .. })));
        let own: LedgerProxy = manager.serve(Balances::default, ())?;
        own.transfer(0, 1, 2, vec![])?;
        assert_eq!(manager.service::<LedgerProxy>("ledger")?, ledger);
    }
    Ok(())
}

#[test]
fn callers_killed_at_random() {
    let _deadline = Deadline::seconds(200, "callers killed at random");
    let manager = Manager::start().unwrap();
    let ledger: LedgerProxy = manager.register("ledger", Balances::default, ()).unwrap();
    assert_eq!(ledger.total().unwrap(), 0);
    let before = belongings(&manager);
    let mut random = Random::new();
    let mut children: Vec<_> = (0..3).map(|n| start(busy, (manager.clone(), n))).collect();
    for kill in 0..KILLS {
        random.pause(Duration::from_millis(3));
        if kill % 10 == 0 {
            // Let them come to something.
            let before = ledger.transfers().unwrap();
            eventually(|| ledger.transfers().unwrap() > before);
        }
        let at = random.below(3) as usize;
        children[at].kill().unwrap();
        let end = children[at].join();
        assert!(matches!(end, Err(Error::ChildDied { .. })), "{end:?}");
        assert_eq!(ledger.total().unwrap(), 0);
        children[at] = start(busy, (manager.clone(), kill));
    }
    for child in children {
        child.kill().unwrap();
        assert!(child.join().is_err());
    }
    assert!(!ledger.is_poisoned().unwrap());
    eventually(|| manager.object_count().unwrap() == 2);
    // But for what a server opens when it comes to it.
    eventually(|| {
        let (descriptors, threads) = belongings(&manager);
        descriptors < before.0 + 5 && threads < before.1 + 3
    });
    manager.shutdown().unwrap();
}

#[test]
fn servers_killed_during_calls() {
    fn waits(ledger: LedgerProxy, begun: Semaphore, until: Event) -> Result<()> {
        ledger.wait(begun, until)
    }
    fn asks(ledger: LedgerProxy) -> Result<()> {
        loop {
            ledger.transfer(0, 1, 1, vec![2; 100])?;
        }
    }
    let _deadline = Deadline::seconds(200, "servers killed during calls");
    let mut random = Random::new();
    for _ in 0..15 {
        let manager = Manager::start().unwrap();
        let (blocked, asked): (LedgerProxy, LedgerProxy) =
            (manager.serve(Balances::default, ()).unwrap(), manager.serve(Balances::default, ()).unwrap());
        let (begun, until) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
        // The one is in the middle of it, the others wait for their turns.
        let children: Vec<_> = (0..2).map(|_| start(waits, (blocked.clone(), begun.clone(), until.clone()))).collect();
        let asking = start(asks, (asked.clone(),));
        begun.acquire().unwrap();
        random.pause(Duration::from_millis(4));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| blocked.wait(begun.clone(), until.clone()));
            manager.process().unwrap().kill().unwrap();
            assert!(matches!(waiting.join().unwrap(), Err(Error::ManagerGone)));
        });
        for child in children.into_iter().chain([asking]) {
            let error = child.join().unwrap_err();
            assert!(matches!(error, Error::ManagerGone | Error::NotSendable { .. }), "{error}");
        }
        assert!(matches!(asked.total(), Err(Error::ManagerGone)));
        assert!(matches!(manager.serve::<LedgerProxy, _, _, _>(Balances::default, ()), Err(Error::ManagerGone)));
        assert!(matches!(manager.shutdown(), Err(Error::ChildDied { .. })));
    }
}

/// The call is carried out, and the next one comes.
#[test]
fn a_caller_that_dies_during_its_call() {
    fn waits(ledger: LedgerProxy, begun: Semaphore, until: Event) -> Result<()> {
        ledger.wait(begun, until)
    }
    let _deadline = Deadline::seconds(60, "a caller that dies during its call");
    let manager = Manager::start().unwrap();
    let ledger: LedgerProxy = manager.serve(Balances::default, ()).unwrap();
    let (begun, until) = (Semaphore::new(0).unwrap(), Event::new().unwrap());
    let child = start(waits, (ledger.clone(), begun.clone(), until.clone()));
    begun.acquire().unwrap();
    child.kill().unwrap();
    assert!(child.join().is_err());
    thread::scope(|scope| {
        let next = scope.spawn(|| ledger.total());
        thread::sleep(Duration::from_millis(20));
        assert!(!next.is_finished());
        until.set();
        assert_eq!(next.join().unwrap().unwrap(), 0);
    });
}

/// Who is stopped in the middle of whatever holds up nobody.
#[test]
fn callers_that_are_stopped() {
    let _deadline = Deadline::seconds(100, "callers that are stopped");
    let manager = Manager::start().unwrap();
    let ledger: LedgerProxy = manager.register("ledger", Balances::default, ()).unwrap();
    let mut random = Random::new();
    let child = start(busy, (manager.clone(), 0));
    let signal = |signal| {
        // SAFETY: takes numbers; a child of this process that was not waited for.
        assert_eq!(unsafe { libc::kill(child.pid() as i32, signal) }, 0);
    };
    for _ in 0..30 {
        random.pause(Duration::from_millis(3));
        signal(libc::SIGSTOP);
        for _ in 0..10 {
            ledger.transfer(0, 7, 1, vec![0; 20_000]).unwrap();
        }
        assert_eq!(ledger.total().unwrap(), 0);
        signal(libc::SIGCONT);
    }
    signal(libc::SIGSTOP);
    child.kill().unwrap();
    assert!(child.join().is_err());
    eventually(|| manager.object_count().unwrap() == 2);
}

/// Half of which are killed, and the others end.
#[test]
fn fifty_services_and_a_hundred_clients() {
    const SERVICES: usize = 50;
    const CLIENTS: usize = 100;
    fn calls(manager: Manager, number: usize) -> Result<()> {
        let all: Vec<LedgerProxy> =
            (0..SERVICES).map(|n| manager.service(&format!("ledger {n}"))).collect::<Result<_>>()?;
        all.iter().try_for_each(|ledger| ledger.transfer(number % 8, 7, 1, vec![]).map(drop))?;
        manager.globals()?.fetch_add("ready", 1)?;
        manager.event("go on")?.wait()?;
        all.iter().try_for_each(|ledger| ledger.transfer(number % 8, 7, 1, vec![]).map(drop))
    }
    let _deadline = Deadline::seconds(200, "fifty services and a hundred clients");
    let manager = Manager::start().unwrap();
    manager.event("go on").unwrap();
    let all: Vec<LedgerProxy> =
        (0..SERVICES).map(|n| manager.register(&format!("ledger {n}"), Balances::default, ()).unwrap()).collect();
    assert_eq!(all[7].total().unwrap(), 0);
    let before = belongings(&manager);
    assert!(before.1 >= SERVICES, "{} threads", before.1);
    let clients: Vec<_> = (0..CLIENTS).map(|number| start(calls, (manager.clone(), number))).collect();
    let globals = manager.globals().unwrap();
    eventually(|| globals.find("ready").unwrap() == Some(CLIENTS.into()));
    clients[..CLIENTS / 2].iter().for_each(|client| client.kill().unwrap());
    manager.event("go on").unwrap().set();
    for (at, client) in clients.into_iter().enumerate() {
        assert_eq!(client.join().is_err(), at < CLIENTS / 2, "{at}");
    }
    for ledger in &all {
        let transfers = ledger.transfers().unwrap() as usize;
        assert!((CLIENTS + CLIENTS / 2..=2 * CLIENTS).contains(&transfers), "{transfers}");
        assert_eq!(ledger.total().unwrap(), 0);
    }
    // The names hold them; and then nobody does.
    drop(all);
    assert_eq!(manager.object_count().unwrap(), 1 + SERVICES);
    for n in 0..SERVICES {
        assert!(manager.unregister(&format!("ledger {n}")).unwrap());
    }
    eventually(|| manager.object_count().unwrap() == 1);
    eventually(|| belongings(&manager).1 <= before.1 - SERVICES);
    eventually(|| belongings(&manager).0 < before.0);
}

shmkit::service! {
    trait Crew as CrewProxy {
        fn workers(&self) -> Result<Vec<u32>>;
    }
}

impl Crew for Pool {
    fn workers(&self) -> Result<Vec<u32>> {
        let tasks = (0..20).map(|_| self.submit(std::process::id, ())).collect::<Result<Vec<_>>>()?;
        let mut pids = tasks.into_iter().map(|task| task.get()).collect::<Result<Vec<_>>>()?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }
}

/// The workers of a service's pool end with the service, and with the server.
#[test]
fn pools_of_a_server() {
    let _deadline = Deadline::seconds(60, "pools of a server");
    let is_gone = |pid: &u32| match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")),
        Err(_) => true,
    };
    for end in ["drop", "shutdown", "kill"] {
        let manager = Manager::start().unwrap();
        let crew: CrewProxy = manager.serve(Pool::new, (2,)).unwrap();
        let pids = crew.workers().unwrap();
        assert!(!pids.is_empty() && !pids.iter().any(is_gone));
        match end {
            "drop" => drop(crew),
            "shutdown" => manager.shutdown().unwrap(),
            _ => manager.process().unwrap().kill().unwrap(),
        }
        eventually(|| pids.iter().all(is_gone));
    }
}

/// Before each store that a caller makes to the words that it shares with the server.
#[cfg(feature = "death-points")]
#[test]
fn a_caller_that_dies_at_each_point() {
    fn dies(ledger: LedgerProxy, point: u32) -> Result<()> {
        ledger.total()?;
        shmkit::test_hooks::arm(point);
        (0..30).try_for_each(|n| {
            // So that the service sleeps at times, and has to be woken.
            if n % 10 == 9 {
                thread::sleep(Duration::from_millis(1));
            }
            ledger.transfer(1, 2, 1, vec![]).map(drop)
        })
    }
    let _deadline = Deadline::seconds(200, "a caller that dies at each point");
    let manager = Manager::start().unwrap();
    for point in 1..80 {
        let ledger: LedgerProxy = manager.serve(Balances::default, ()).unwrap();
        let has_died = start(dies, (ledger.clone(), point)).join().is_err();
        let transfers = ledger.transfers().unwrap();
        assert!(has_died || transfers == 30, "{point}: {transfers}");
        assert_eq!(ledger.total().unwrap(), 0);
    }
    eventually(|| manager.object_count().unwrap() == 1);
}
