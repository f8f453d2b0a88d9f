//! What services of managers promise, with servers and clients that are forks, children of the fork server and fresh starts.
//! Not under libtest, whose threads a fork cannot copy.

mod alone;
#[path = "alone/managers.rs"]
mod managers;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt,
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use managers::{With, contracts};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use shmkit::{
    AtomicValue, Error, Event, Manager, Pool, Process, Queue, Result, Value,
    manager::{Dict, service::Proxied},
    pipe::{self, Connection},
    process::{Message, StartMethod},
};

const SOON: Duration = Duration::from_secs(20);

const CONTRACTS: &[(&str, fn())] = contracts![
    by_name,
    by_path,
    exposed_methods,
    makers,
    panics_and_poison,
    errors_keep_their_kinds,
    arguments_and_results,
    through_pipes_and_queues,
    in_forks,
    slow_methods_hold_up_nobody_else,
    services_call_services,
    services_that_wait_for_each_other,
    from_many_threads,
    they_live_as_long_as_their_holders,
    nothing_is_left,
    a_pool_for_all,
    the_end_of_a_server,
    nothing_is_dropped_at_its_end,
    visits_are_counted,
    a_busy_service_keeps_no_sockets,
];

fn main() {
    shmkit::init();
    alone::run(CONTRACTS);
}

/// What waits for what another process or thread does.
fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "the condition did not come true");
        thread::sleep(Duration::from_millis(1));
    }
}

shmkit::service! {
    trait Bank as BankProxy {
        fn deposit(&mut self, account: String, amount: u64) -> Result<u64>;
        fn balance(&self, account: String) -> Option<u64>;
        fn close(&mut self);
    }
}

#[derive(Default)]
struct Accounts(BTreeMap<String, u64>);

impl Bank for Accounts {
    fn deposit(&mut self, account: String, amount: u64) -> Result<u64> {
        let balance = self.0.entry(account.clone()).or_default();
        *balance = balance.checked_add(amount).ok_or(Error::KeyNotFound { key: account })?;
        Ok(*balance)
    }

    fn balance(&self, account: String) -> Option<u64> {
        self.0.get(&account).copied()
    }

    fn close(&mut self) {
        self.0.clear();
    }
}

/// The same name, other methods.
mod elsewhere {
    shmkit::service! {
        pub(super) trait Bank as BankProxy {
            fn deposit(&mut self, account: String, amount: i64) -> shmkit::Result<u64>;
        }
    }
}

fn by_name(with: With) {
    fn child(manager: Manager, bank: BankProxy) -> Result<()> {
        assert_eq!(bank.deposit("ann".into(), 2)?, 3);
        let same = manager.service::<BankProxy>("bank")?;
        assert_eq!(same, bank);
        assert_eq!(same.deposit("ann".into(), 3)?, 6);
        // This process makes services too.
        let own: BankProxy = manager.register("child's", Accounts::default, ())?;
        assert_ne!(own, bank);
        own.deposit("bob".into(), 9).map(drop)
    }
    let manager = with.manager();
    assert!(matches!(manager.service::<BankProxy>("bank"), Err(Error::NotFound { name }) if name == "bank"));
    let bank: BankProxy = manager.register("bank", Accounts::default, ()).unwrap();
    assert_eq!(bank.deposit("ann".into(), 1).unwrap(), 1);
    let again = manager.register::<BankProxy, _, _, _>("bank", Accounts::default, ());
    assert!(matches!(again, Err(Error::AlreadyExists { name }) if name == "bank"));
    with.run(child, (manager.clone(), bank.clone()));
    assert_eq!(bank.balance("ann".into()).unwrap(), Some(6));
    assert_eq!(bank.balance("bob".into()).unwrap(), None);
    let own = manager.service::<BankProxy>("child's").unwrap();
    assert_eq!(own.balance("bob".into()).unwrap(), Some(9));
    own.close().unwrap();
    assert_eq!(own.balance("bob".into()).unwrap(), None);

    // What it is not.
    assert!(matches!(manager.service::<elsewhere::BankProxy>("bank"), Err(Error::TypeMismatch { .. })));
    assert!(matches!(manager.service::<FooBarProxy>("bank"), Err(Error::TypeMismatch { .. })));
    assert!(matches!(manager.lock("bank"), Err(Error::TypeMismatch { .. })));
    manager.lock("lock").unwrap();
    assert!(matches!(manager.service::<BankProxy>("lock"), Err(Error::TypeMismatch { .. })));
    assert!(matches!(
        manager.register::<BankProxy, _, _, _>("lock", Accounts::default, ()),
        Err(Error::AlreadyExists { .. })
    ));
    // One that came by a way that does not know its type.
    let queue = Queue::<BankProxy>::new().unwrap();
    queue.put(&bank).unwrap();
    let bytes = manager.share("proxy", || Ok(bank.clone())).unwrap();
    assert_eq!(bytes, bank);
    let other: elsewhere::BankProxy = manager.share("proxy", || unreachable!()).unwrap();
    assert!(matches!(other.deposit("ann".into(), 1), Err(Error::TypeMismatch { expected, found })
        if expected.starts_with("Bank ") && found.starts_with("Bank ") && expected != found));

    assert!(manager.unregister("bank").unwrap());
    assert!(!manager.unregister("bank").unwrap());
    assert!(matches!(manager.service::<BankProxy>("bank"), Err(Error::NotFound { .. })));
    assert_eq!(bank.balance("ann".into()).unwrap(), Some(6));
    manager.register::<BankProxy, _, _, _>("bank", Accounts::default, ()).unwrap();
}

fn by_path(with: With) {
    fn child(path: std::path::PathBuf) -> Result<()> {
        let manager = Manager::connect(path)?;
        let refused = manager.register::<BankProxy, _, _, _>("mine", Accounts::default, ());
        assert!(matches!(refused, Err(Error::OtherExecutable { .. })));
        manager.service::<BankProxy>("bank")?.deposit("ann".into(), 5).map(drop)
    }
    let directory = std::env::temp_dir().join(format!("shmkit-services-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
    let path = directory.join("manager");
    let manager = Manager::builder().path(&path).start_method(with.0).start().unwrap();
    let bank: BankProxy = manager.register("bank", Accounts::default, ()).unwrap();
    with.run(child, (path,));
    assert_eq!(bank.balance("ann".into()).unwrap(), Some(5));
    manager.shutdown().unwrap();
    fs::remove_dir(directory).unwrap();
}

shmkit::service! {
    trait FooBar as FooBarProxy {
        fn f(&self) -> String;
        fn g(&self) -> Result<String, std::io::Error>;
        fn baz(&self, to: u32) -> Result<CountProxy>;
    }
}

shmkit::service! {
    trait Count as CountProxy {
        fn next(&mut self) -> Option<u32>;
    }
}

impl Count for std::ops::Range<u32> {
    fn next(&mut self) -> Option<u32> {
        Iterator::next(self)
    }
}

struct Fields(Manager);

impl FooBar for Fields {
    fn f(&self) -> String {
        self._h()
    }

    fn g(&self) -> Result<String, std::io::Error> {
        Err(std::io::Error::other("g fails"))
    }

    fn baz(&self, to: u32) -> Result<CountProxy> {
        self.0.serve(|to| 0..to, (to,))
    }
}

impl Fields {
    /// Not part of the description, so it is not there for others.
    fn _h(&self) -> String {
        "f()".into()
    }
}

/// As upstream's manager of a class: what is described, what fails, and iterations, which are services of their own.
fn exposed_methods(with: With) {
    fn child(foobar: FooBarProxy) -> Result<()> {
        assert_eq!(foobar.f()?, "f()");
        assert!(matches!(foobar.g(), Err(Error::Failed { message }) if message == "g fails"));
        let count = foobar.baz(3)?;
        let all: Vec<u32> = std::iter::from_fn(|| count.next().transpose()).collect::<Result<_>>()?;
        assert_eq!(all, [0, 1, 2]);
        Ok(())
    }
    let manager = with.manager();
    let foobar: FooBarProxy = manager.register("foobar", Fields, (manager.clone(),)).unwrap();
    with.run(child, (foobar.clone(),));
    assert_eq!(foobar.f().unwrap(), "f()");
    // The iteration is gone with its proxies.
    eventually(|| manager.object_count().unwrap() == 2);
    manager.shutdown().unwrap();
    assert!(matches!(foobar.f(), Err(Error::ManagerGone)));
}

fn makers(with: With) {
    #[derive(Debug)]
    struct Unsendable;
    impl Serialize for Unsendable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no way"))
        }
    }
    impl<'de> Deserialize<'de> for Unsendable {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            unreachable!()
        }
    }
    fn may_fail(number: i32) -> Result<Accounts, Box<dyn std::error::Error>> {
        let number: u64 = number.try_into()?;
        Ok(Accounts(BTreeMap::from([("first".into(), number)])))
    }
    fn fails_by_itself() -> Result<Accounts> {
        Err(Error::IndexOutOfRange { index: 7, len: 3 })
    }
    fn panics() -> Accounts {
        panic!("no accounts")
    }
    let manager = with.manager();
    let bank: BankProxy = manager.serve(may_fail, (5,)).unwrap();
    assert_eq!(bank.balance("first".into()).unwrap(), Some(5));
    let failed = manager.serve::<BankProxy, _, _, _>(may_fail, (-5,));
    assert!(matches!(&failed, Err(Error::Failed { message }) if message.contains("out of range")), "{failed:?}");
    let failed = manager.register::<BankProxy, _, _, _>("bank", fails_by_itself, ());
    assert!(matches!(failed, Err(Error::IndexOutOfRange { index: 7, len: 3 })));
    let failed = manager.register::<BankProxy, _, _, _>("bank", panics, ());
    assert!(matches!(failed, Err(Error::Panicked { message, location, pid })
        if message == "no accounts" && location.contains("manager_service.rs:")
            && pid == manager.process().unwrap().pid()));
    let failed = manager.serve::<BankProxy, _, _, _>(|_: Unsendable| Accounts::default(), (Unsendable,));
    assert!(matches!(failed, Err(Error::NotSendable { .. })));
    // Neither the name nor anything else is left of those.
    assert!(matches!(manager.service::<BankProxy>("bank"), Err(Error::NotFound { .. })));
    eventually(|| manager.object_count().unwrap() == 2);
    // All that can be sent.
    type Many = (u8, String, Vec<u8>, Option<i64>, Value<u32>, Dict, Queue<u8>, BankProxy);
    #[expect(clippy::too_many_arguments, reason = "as many as there can be")]
    fn of_eight(
        a: u8,
        b: String,
        c: Vec<u8>,
        d: Option<i64>,
        e: Value<u32>,
        f: Dict,
        g: Queue<u8>,
        h: BankProxy,
    ) -> Accounts {
        e.set(u32::from(a) + c.len() as u32 + d.unwrap_or(0) as u32).unwrap();
        f.insert("b", b).unwrap();
        g.put(&1).unwrap();
        h.deposit("first".into(), 1).unwrap();
        Accounts::default()
    }
    let (value, dict, queue) = (Value::new(0).unwrap(), manager.dict().unwrap(), Queue::new().unwrap());
    let args: Many =
        (1, "text".into(), vec![0; 100_000], Some(7), value.clone(), dict.clone(), queue.clone(), bank.clone());
    manager.serve::<BankProxy, _, _, _>(of_eight, args).unwrap();
    assert_eq!(value.get().unwrap(), 100_008);
    assert_eq!(dict.get("b").unwrap(), "text".into());
    assert_eq!(queue.get().unwrap(), 1);
    assert_eq!(bank.balance("first".into()).unwrap(), Some(6));
}

shmkit::service! {
    trait Fragile as FragileProxy {
        fn change(&mut self, by: u32) -> u32;
        fn look(&self, at: usize) -> u32;
        fn show(&self) -> Result<Panicky>;
        fn take(&mut self, panicky: Panicky);
        fn abuse(&mut self, error: Error) -> Result<()>;
    }
}

/// Panics when it is written or read, as it is told.
struct Panicky(bool);

impl Serialize for Panicky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0, "it is not written");
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Panicky {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("it is not read")
    }
}

impl Fragile for [u32; 2] {
    fn change(&mut self, by: u32) -> u32 {
        self[0] += 1;
        self[1] += 10 / by;
        self[1]
    }

    fn look(&self, at: usize) -> u32 {
        self[at]
    }

    fn show(&self) -> Result<Panicky> {
        Ok(Panicky(false))
    }

    fn take(&mut self, _: Panicky) {}

    fn abuse(&mut self, error: Error) -> Result<()> {
        self[0] = 99;
        Err(error)
    }
}

fn panics_and_poison(with: With) {
    fn child(fragile: FragileProxy) -> Result<()> {
        assert_eq!(fragile.look(0)?, 0);
        let panicked = fragile.change(0);
        assert!(
            matches!(&panicked, Err(Error::Panicked { message, location, .. })
            if message.contains("divide by zero") && location.contains("manager_service.rs:")),
            "{panicked:?}"
        );
        assert!(fragile.look(0).is_err_and(|error| error.is_poisoned()));
        Ok(())
    }
    let manager = with.manager();
    let fragile: FragileProxy = manager.serve(|| [0, 0], ()).unwrap();
    // Who does not change anything harms nobody.
    assert!(matches!(fragile.look(2), Err(Error::Panicked { .. })));
    assert!(matches!(fragile.show(), Err(Error::Panicked { message, .. }) if message == "it is not written"));
    assert!(matches!(fragile.take(Panicky(true)), Err(Error::Panicked { message, .. }) if message == "it is not read"));
    // An error is not a panic, whatever it says.
    let error = Error::Panicked { pid: 7, message: "elsewhere".into(), location: "there".into() };
    assert!(matches!(fragile.abuse(error), Err(Error::Panicked { pid: 7, .. })));
    assert!(!fragile.is_poisoned().unwrap());
    assert_eq!(fragile.look(0).unwrap(), 99);

    let fragile: FragileProxy = manager.serve(|| [0, 0], ()).unwrap();
    with.run(child, (fragile.clone(),));
    assert!(fragile.is_poisoned().unwrap());
    let poisoned = fragile.change(1).unwrap_err();
    let pid = manager.process().unwrap().pid();
    assert!(matches!(poisoned, Error::Poisoned { pid: Some(here), range: None } if here == pid));
    fragile.clear_poison().unwrap();
    // Half changed.
    assert_eq!((fragile.look(0).unwrap(), fragile.look(1).unwrap()), (1, 0));
    assert_eq!(fragile.change(1).unwrap(), 10);
}

shmkit::service! {
    trait Errors as ErrorsProxy {
        fn own(&self, error: Error) -> Result<()>;
        fn boxed(&self, error: Error) -> Result<(), Box<dyn std::error::Error>>;
        fn typed(&self, number: i32) -> Result<Result<u8, Refusal>>;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Refusal {
    TooSmall(i32),
    TooLarge,
}

struct Nothing;

impl Errors for Nothing {
    fn own(&self, error: Error) -> Result<()> {
        Err(error)
    }

    fn boxed(&self, error: Error) -> Result<(), Box<dyn std::error::Error>> {
        Err(error.into())
    }

    fn typed(&self, number: i32) -> Result<Result<u8, Refusal>> {
        Ok(match number {
            ..0 => Err(Refusal::TooSmall(number)),
            0..256 => Ok(number as u8),
            _ => Err(Refusal::TooLarge),
        })
    }
}

fn errors_keep_their_kinds(with: With) {
    fn child(errors: ErrorsProxy) -> Result<()> {
        errors.own(Error::TooLarge { size: 8, limit: 7 })
    }
    let manager = with.manager();
    let errors: ErrorsProxy = manager.serve(|| Nothing, ()).unwrap();
    assert!(matches!(errors.own(Error::WouldBlock), Err(Error::WouldBlock)));
    assert!(matches!(errors.boxed(Error::Closed), Err(Error::Closed)));
    assert!(matches!(errors.own(Error::ManagerGone), Err(Error::ManagerGone)));
    let os = Error::Os { operation: "open".into(), source: std::io::Error::from_raw_os_error(libc::ENOENT) };
    assert!(matches!(errors.own(os), Err(Error::Os { operation, source })
        if operation == "open" && source.kind() == std::io::ErrorKind::NotFound));
    assert_eq!(errors.typed(7).unwrap(), Ok(7));
    assert_eq!(errors.typed(-7).unwrap(), Err(Refusal::TooSmall(-7)));
    assert_eq!(errors.typed(700).unwrap(), Err(Refusal::TooLarge));
    assert!(matches!(with.start(child, (errors.clone(),)).join(), Err(Error::TooLarge { size: 8, limit: 7 })));
}

type All = (u8, (i64, String), Option<Vec<f32>>, [u16; 3], char, BTreeMap<u8, u8>);

shmkit::service! {
    trait Echo as EchoProxy {
        fn nothing(&self);
        fn bytes(&self, bytes: Vec<u8>) -> Vec<u8>;
        fn many(&self, a: u8, b: (i64, String), c: Option<Vec<f32>>, d: [u16; 3], e: char, f: BTreeMap<u8, u8>)
            -> Result<All>;
        fn handles(&mut self, value: Value<u64>, queue: Queue<String>, dict: Dict) -> Result<(Value<u64>, Dict)>;
        fn r#type(&self, method: String, call: u8, service: u8) -> u8;
    }
}

impl Echo for Nothing {
    fn nothing(&self) {}

    fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    fn many(
        &self,
        a: u8,
        b: (i64, String),
        c: Option<Vec<f32>>,
        d: [u16; 3],
        e: char,
        f: BTreeMap<u8, u8>,
    ) -> Result<All> {
        Ok((a, b, c, d, e, f))
    }

    fn handles(&mut self, value: Value<u64>, queue: Queue<String>, dict: Dict) -> Result<(Value<u64>, Dict)> {
        *value.lock()? += 1;
        dict.insert("seen", queue.get()?)?;
        Ok((Value::new(value.get()? + 1)?, dict))
    }

    fn r#type(&self, method: String, call: u8, service: u8) -> u8 {
        method.len() as u8 + call + service
    }
}

fn arguments_and_results(with: With) {
    fn goes_anywhere<T: Clone + Send + Sync + Message>() {}
    goes_anywhere::<EchoProxy>();
    fn child(echo: EchoProxy, manager: Manager) -> Result<()> {
        for length in [0, 1, 1000, 16_000, 17_000, 300_000, 3_000_000] {
            let bytes = vec![length as u8; length];
            assert!(echo.bytes(bytes.clone())? == bytes, "{length}");
        }
        echo.nothing()?;
        let map = BTreeMap::from([(1, 2), (3, 4)]);
        let all = echo.many(1, (-2, "drei".into()), Some(vec![0.5, 4.0]), [5, 6, 7], '8', map.clone())?;
        assert_eq!(all, (1, (-2, "drei".into()), Some(vec![0.5, 4.0]), [5, 6, 7], '8', map));
        assert_eq!(echo.r#type("four".into(), 5, 6)?, 15);
        for round in 0..20 {
            let (value, queue, dict) = (Value::new(round)?, Queue::new()?, manager.dict()?);
            queue.put(&"hello".into())?;
            let (other, same) = echo.handles(value.clone(), queue, dict.clone())?;
            assert_eq!((value.get()?, other.get()?), (round + 1, round + 2));
            assert_eq!(same, dict);
            assert_eq!(dict.get("seen")?, "hello".into());
        }
        Ok(())
    }
    let manager = with.manager();
    let echo: EchoProxy = manager.serve(|| Nothing, ()).unwrap();
    with.run(child, (echo.clone(), manager.clone()));
    child(echo, manager).unwrap();
}

fn through_pipes_and_queues(with: With) {
    fn child(proxies: Connection<CountProxy>, queue: Queue<(String, CountProxy)>) -> Result<()> {
        let count = proxies.recv()?;
        assert_eq!(count.next()?, Some(0));
        let (name, same) = queue.get()?;
        assert_eq!((name.as_str(), same.next()?), ("count", Some(1)));
        // Sent by one who does not keep it.
        proxies.send(&count)
    }
    let manager = with.manager();
    let (here, there) = pipe::duplex().unwrap();
    let queue = Queue::new().unwrap();
    let child = with.start(child, (there, queue.clone()));
    let count: CountProxy = manager.serve(|| 0..10, ()).unwrap();
    here.send(&count).unwrap();
    queue.put(&("count".into(), count.clone())).unwrap();
    drop(count);
    child.join().unwrap();
    assert_eq!(here.recv().unwrap().next().unwrap(), Some(2));
    eventually(|| manager.object_count().unwrap() == 1);
    // One that nobody receives.
    queue.put(&("lost".into(), manager.serve(|| 0..1, ()).unwrap())).unwrap();
    assert_eq!(manager.object_count().unwrap(), 2);
    drop(queue);
    eventually(|| manager.object_count().unwrap() == 1);
}

/// Forks have what their parents have, and count for themselves.
fn in_forks(with: With) {
    let manager = with.manager();
    let count: CountProxy = manager.serve(|| 0..100, ()).unwrap();
    assert_eq!(count.next().unwrap(), Some(0));
    let never_called: CountProxy = manager.serve(|| 0..100, ()).unwrap();
    for round in 1..4 {
        let child = Process::fork(|| {
            assert_eq!(count.next()?, Some(2 * round - 1));
            never_called.next()?;
            // Of a fork of a fork.
            Process::fork(|| count.next().map(drop))?.join()
        });
        child.unwrap().join().unwrap();
    }
    assert_eq!(count.next().unwrap(), Some(7));
    assert_eq!(never_called.next().unwrap(), Some(3));
    let child = Process::builder(|count: CountProxy| count.next()).args((count.clone(),));
    drop(count);
    let child = child.start_method(StartMethod::Fork).start().unwrap();
    assert_eq!(child.join().unwrap(), Some(8));
    drop(never_called);
    eventually(|| manager.object_count().unwrap() == 1);
}

shmkit::service! {
    trait Door as DoorProxy {
        fn pass(&self, open: Event) -> Result<()>;
        fn passed(&self) -> u32;
    }
}

impl Door for AtomicValue<u32> {
    fn pass(&self, open: Event) -> Result<()> {
        open.wait()?;
        self.fetch_add(1, SeqCst);
        Ok(())
    }

    fn passed(&self) -> u32 {
        self.load(SeqCst)
    }
}

fn slow_methods_hold_up_nobody_else(with: With) {
    fn child(door: DoorProxy, open: Event) -> Result<()> {
        door.pass(open)
    }
    let manager = with.manager();
    let door: DoorProxy = manager.register("door", || AtomicValue::new(0_u32), ()).unwrap();
    let other: DoorProxy = manager.serve(|| AtomicValue::new(0_u32), ()).unwrap();
    let (open, dict) = (Event::new().unwrap(), manager.dict().unwrap());
    let children: Vec<_> = (0..3).map(|_| with.start(child, (door.clone(), open.clone()))).collect();
    thread::scope(|scope| {
        let waits = scope.spawn(|| door.pass(open.clone()));
        for n in 0..100 {
            // Of this process, while another thread of it waits; more services are made, too.
            dict.insert(n, n).unwrap();
            assert_eq!(other.passed().unwrap(), 0);
            manager.service::<DoorProxy>("door").unwrap();
            if n % 10 == 0 {
                manager.serve::<DoorProxy, _, _, _>(|| AtomicValue::new(1_u32), ()).unwrap();
            }
        }
        assert!(!waits.is_finished());
        open.set();
        waits.join().unwrap().unwrap();
    });
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(door.passed().unwrap(), 4);
}

shmkit::service! {
    trait Relay as RelayProxy {
        fn sum(&self, to: u32) -> Result<u32>;
    }
}

struct Next(Option<RelayProxy>, Dict);

impl Relay for Next {
    fn sum(&self, to: u32) -> Result<u32> {
        self.1.fetch_add("calls", 1)?;
        Ok(to + self.0.as_ref().map_or(Ok(0), |next| next.sum(to - 1))?)
    }
}

fn services_call_services(with: With) {
    let manager = with.manager();
    let dict = manager.dict().unwrap();
    let mut last = None;
    for _ in 0..10 {
        last = Some(manager.serve::<RelayProxy, _, _, _>(Next, (last, dict.clone())).unwrap());
    }
    let first = last.unwrap();
    with.run(|relay: RelayProxy| assert_eq!(relay.sum(9).unwrap(), 45), (first.clone(),));
    assert_eq!(first.sum(10).unwrap(), 55);
    assert_eq!(dict.get("calls").unwrap(), 20.into());
    // Each has the next one.
    assert_eq!(manager.object_count().unwrap(), 12);
    drop(first);
    eventually(|| manager.object_count().unwrap() == 2);
}

shmkit::service! {
    trait Ring as RingProxy {
        fn close(&mut self, next: RingProxy);
        fn go(&self, steps: u32) -> Result<u32>;
    }
}

impl Ring for Option<RingProxy> {
    fn close(&mut self, next: RingProxy) {
        *self = Some(next);
    }

    fn go(&self, steps: u32) -> Result<u32> {
        match (steps, self) {
            (0, _) | (_, None) => Ok(0),
            (_, Some(next)) => Ok(next.go(steps - 1)? + 1),
        }
    }
}

/// One that would wait for itself, by whatever way, is told so.
fn services_that_wait_for_each_other(with: With) {
    let manager = with.manager();
    let ring: Vec<RingProxy> = (0..3).map(|_| manager.serve(|| None, ()).unwrap()).collect();
    for (at, one) in ring.iter().enumerate() {
        one.close(ring[(at + 1) % 3].clone()).unwrap();
    }
    assert_eq!(ring[0].go(2).unwrap(), 2);
    assert!(matches!(ring[0].go(3), Err(Error::WouldDeadlock)));
    with.run(|ring: RingProxy| assert!(matches!(ring.go(9), Err(Error::WouldDeadlock))), (ring[1].clone(),));
    ring[0].close(ring[0].clone()).unwrap();
    assert!(matches!(ring[0].go(1), Err(Error::WouldDeadlock)));
    assert_eq!(ring[2].go(1).unwrap(), 1);
}

fn from_many_threads(with: With) {
    fn child(bank: BankProxy) -> Result<()> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mine = bank.clone();
                        (0..100).try_for_each(|_| mine.deposit("all".into(), 1).map(drop))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    }
    let manager = with.manager();
    let bank: BankProxy = manager.serve(Accounts::default, ()).unwrap();
    let children: Vec<_> = (0..3).map(|_| with.start(child, (bank.clone(),))).collect();
    child(bank.clone()).unwrap();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(bank.balance("all".into()).unwrap(), Some(1600));
}

shmkit::service! {
    trait Lives as LivesProxy {
        fn number(&self) -> u32;
    }
}

/// Counts its end.
struct Life(AtomicValue<u32>, bool);

impl Lives for Life {
    fn number(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        assert!(!self.1, "it ends in a panic");
    }
}

fn they_live_as_long_as_their_holders(with: With) {
    fn child(lives: LivesProxy, go_on: Event) -> Result<()> {
        go_on.wait()?;
        assert_eq!(lives.number()?, 0);
        Ok(())
    }
    let manager = with.manager();
    let ended = AtomicValue::new(0).unwrap();
    let lives: LivesProxy = manager.register("life", Life, (ended.clone(), false)).unwrap();
    let go_on = Event::new().unwrap();
    let child = with.start(child, (lives.clone(), go_on.clone()));
    drop(lives);
    assert!(manager.unregister("life").unwrap());
    manager.dict().unwrap();
    assert_eq!(ended.load(SeqCst), 0);
    go_on.set();
    child.join().unwrap();
    eventually(|| ended.load(SeqCst) == 1);
    // By its name alone.
    drop(manager.register::<LivesProxy, _, _, _>("life", Life, (ended.clone(), true)).unwrap());
    assert_eq!(manager.service::<LivesProxy>("life").unwrap().number().unwrap(), 1);
    manager.unregister("life").unwrap();
    // A panic at its end is nobody's concern.
    eventually(|| ended.load(SeqCst) == 2);
    assert_eq!(manager.object_count().unwrap(), 1);
    // Many at once, by one who asks for nothing after that.
    let lives: Vec<LivesProxy> = (0..20).map(|_| manager.serve(Life, (ended.clone(), false)).unwrap()).collect();
    thread::sleep(Duration::from_millis(5));
    lives.into_iter().for_each(|lives| {
        drop(lives);
        thread::sleep(Duration::from_millis(1));
    });
    eventually(|| ended.load(SeqCst) == 22);
    let lives: Vec<LivesProxy> = (0..20).map(|_| manager.serve(Life, (ended.clone(), false)).unwrap()).collect();
    thread::sleep(Duration::from_millis(5));
    drop(lives);
    eventually(|| ended.load(SeqCst) == 42);
}

/// The server's descriptors and threads.
fn belongings(manager: &Manager) -> (usize, usize) {
    let pid = manager.process().unwrap().pid();
    let count = |what| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("fd"), count("task"))
}

/// Not more than before, but for what a server opens when it comes to it.
fn is_like(now: (usize, usize), before: (usize, usize)) -> bool {
    now.0 < before.0 + 5 && now.1 < before.1 + 3
}

fn nothing_is_left(with: With) {
    fn child(manager: Manager) -> Result<()> {
        let count = manager.serve::<CountProxy, _, _, _>(|| 0..10, ())?;
        manager.service::<CountProxy>("count")?.next()?;
        count.next().map(drop)
    }
    let manager = with.manager();
    let count: CountProxy = manager.register("count", || 0..1_000_000, ()).unwrap();
    let round = || {
        with.run(child, (manager.clone(),));
        let counts: Vec<CountProxy> = (0..20).map(|_| manager.serve(|| 0..3, ()).unwrap()).collect();
        assert!(counts.iter().all(|count| count.next().unwrap() == Some(0)));
        assert!(
            manager
                .serve::<CountProxy, _, _, _>(|| -> Result<std::ops::Range<u32>> { Err(Error::Closed) }, ())
                .is_err()
        );
        drop(counts);
        eventually(|| manager.object_count().unwrap() == 2);
    };
    // All that is there now stays.
    count.next().unwrap();
    let before = belongings(&manager);
    round();
    let own = || fs::read_dir("/proc/self/fd").unwrap().count();
    let own_before = own();
    for _ in 0..3 {
        round();
    }
    eventually(|| is_like(belongings(&manager), before));
    assert!(own() < own_before + 5);
    count.next().unwrap();
}

shmkit::service! {
    trait Crew as CrewProxy {
        fn squares(&self, numbers: Vec<u64>) -> Result<Vec<u64>>;
        fn killed(&self) -> Result<()>;
    }
}

impl Crew for Pool {
    fn squares(&self, numbers: Vec<u64>) -> Result<Vec<u64>> {
        self.map(|number: u64| number * number, numbers)
    }

    fn killed(&self) -> Result<()> {
        self.submit(|| std::process::abort(), ())?.get()
    }
}

fn a_pool_for_all(with: With) {
    fn child(manager: Manager) -> Result<()> {
        let squares = manager.service::<CrewProxy>("crew")?.squares((0..100).collect())?;
        assert!(squares.into_iter().eq((0..100).map(|number| number * number)));
        Ok(())
    }
    // By the fork of the server that was given the crew's maker.
    let method = if with.0 == StartMethod::Fork { StartMethod::ForkServer } else { with.0 };
    fn pool(by_fork_server: bool) -> Result<Pool> {
        let method = if by_fork_server { StartMethod::ForkServer } else { StartMethod::Spawn };
        Pool::builder().workers(2).start_method(method).start()
    }
    let manager = with.manager();
    let crew: CrewProxy = manager.register("crew", pool, (method == StartMethod::ForkServer,)).unwrap();
    let children: Vec<_> = (0..2).map(|_| with.start(child, (manager.clone(),))).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert!(matches!(crew.killed(), Err(Error::ChildDied { .. })));
    child(manager.clone()).unwrap();
    // Its workers end with the server, however that ends.
    manager.shutdown().unwrap();
    assert!(matches!(crew.squares(vec![1]), Err(Error::ManagerGone)));
}

fn the_end_of_a_server(with: With) {
    fn child(door: DoorProxy, open: Event) -> Result<()> {
        door.pass(open)
    }
    for is_killed in [false, true] {
        let manager = with.manager();
        let door: DoorProxy = manager.serve(|| AtomicValue::new(0_u32), ()).unwrap();
        let open = Event::new().unwrap();
        let waits = with.start(child, (door.clone(), open.clone()));
        let alone = with.start(|door: DoorProxy| door.passed().map(drop), (door.clone(),));
        if is_killed {
            manager.process().unwrap().kill().unwrap();
        } else {
            manager.shutdown().unwrap();
        }
        // Whether they had come to their calls or not.
        for child in [waits, alone] {
            let error = child.join().unwrap_err();
            assert!(matches!(error, Error::ManagerGone | Error::NotSendable { .. }), "{error}");
        }
        assert!(matches!(door.passed(), Err(Error::ManagerGone)));
    }
}

/// As in any process that ends: a service that is dropped half way would be the worst of both.
fn nothing_is_dropped_at_its_end(with: With) {
    for _ in 0..5 {
        let ended = AtomicValue::new(0).unwrap();
        let manager = with.manager();
        let lives: Vec<LivesProxy> = (0..10).map(|_| manager.serve(Life, (ended.clone(), false)).unwrap()).collect();
        manager.shutdown().unwrap();
        assert!(lives.iter().all(|lives| matches!(lives.number(), Err(Error::ManagerGone))));
        assert_eq!(ended.load(SeqCst), 0);
    }
}

/// One client has its share of the server's descriptors, by visits too, and has it back.
fn visits_are_counted(with: With) {
    fn child(with: u8) -> Result<()> {
        let limit = Rlimit { current: Some(128), maximum: Some(128) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let with = [StartMethod::Spawn, StartMethod::Fork, StartMethod::ForkServer][usize::from(with)];
        let manager = Manager::builder().start_method(with).start()?;
        for _ in 0..3 {
            let serve = || manager.serve::<CountProxy, _, _, _>(|| 0..10, ());
            let counts: Vec<_> = (0..35).map(|_| serve()).take_while(Result::is_ok).collect();
            assert_eq!(counts.len(), 32);
            assert!(matches!(serve(), Err(Error::InvalidArgument { .. })));
            drop(counts);
            eventually(|| manager.object_count().unwrap() == 1);
        }
        manager.shutdown()
    }
    let number = match with.0 {
        StartMethod::Fork => 1,
        StartMethod::ForkServer => 2,
        _ => 0,
    };
    // A fork server that runs already keeps its limits.
    if number != 2 {
        with.run(child, (number,));
    }
}

/// Those of clients that are gone, until its call ends.
fn a_busy_service_keeps_no_sockets(with: With) {
    const MANY: usize = 10;
    fn child(door: DoorProxy, is_in: Event, go: Event) -> Result<()> {
        door.passed()?;
        is_in.set();
        go.wait()
    }
    let manager = with.manager();
    let door: DoorProxy = manager.serve(|| AtomicValue::new(0_u32), ()).unwrap();
    door.passed().unwrap();
    let [open, go] = [(); 2].map(|()| Event::new().unwrap());
    let before = belongings(&manager).0;
    let children: Vec<_> = (0..MANY)
        .map(|_| {
            let is_in = Event::new().unwrap();
            let child = with.start(child, (door.clone(), is_in.clone(), go.clone()));
            is_in.wait().unwrap();
            child
        })
        .collect();
    let same = (door.clone(), open.clone());
    let waits = thread::spawn(move || same.0.pass(same.1));
    thread::sleep(Duration::from_millis(20));
    go.set();
    children.into_iter().for_each(|child| child.join().unwrap());
    // Its own one, and a line of each.
    eventually(|| belongings(&manager).0 < before + MANY + 5);
    open.set();
    waits.join().unwrap().unwrap();
    eventually(|| belongings(&manager).0 < before + 5);
}
