//! What every manager promises, with servers and clients that are forks, children of the fork server and fresh starts. Not
//! under libtest, whose threads a fork cannot copy.

#![allow(unsafe_code, reason = "sends signals, becomes another user")]

mod alone;
#[path = "alone/managers.rs"]
mod managers;

use std::{
    env, fs, io,
    mem::MaybeUninit,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use managers::{With, contracts};
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
        SocketType, connect, recv, sendmsg, socket_with, socketpair, sockopt,
    },
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, geteuid, getpid, getrlimit, kill_process, pidfd_open, prlimit,
    },
};
use shmkit::{
    Error, Manager, Process, Queue, Result,
    manager::{Dict, List, Map, Namespace, Object, Proxy},
    pipe::{self, Connection},
    process::StartMethod,
};

const SOON: Duration = Duration::from_secs(20);

const CONTRACTS: &[(&str, fn())] = contracts![
    mixed_keys_and_values,
    lists,
    dicts,
    dicts_that_change_while_iterated,
    namespaces,
    nested,
    objects_live_as_long_as_their_holders,
    through_pipes_and_queues,
    shared_objects_by_name,
    names_that_come_and_go,
    batches,
    compound_operations_count_right,
    large_values,
    errors_keep_their_kinds,
    shutdown,
    servers_by_path,
    a_server_that_is_stopped_has_its_path,
    a_server_without_descriptors,
    another_user_is_refused,
    two_managers,
    interrupts_do_not_end_it,
    from_many_threads,
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

fn text(object: &Object) -> String {
    object.to_string()
}

fn mixed_keys_and_values(with: With) {
    fn f(d: Dict, l: List) -> Result<()> {
        d.insert(1, "1")?;
        d.insert("2", 2)?;
        d.insert(0.25, Object::None)?;
        l.reverse()
    }
    let manager = with.manager();
    let (d, l) = (manager.dict().unwrap(), manager.list_from(0..10).unwrap());
    with.run(f, (d.clone(), l.clone()));
    assert_eq!(text(&d.to_object().unwrap()), "{1: '1', '2': 2, 0.25: None}");
    assert_eq!(text(&l.to_object().unwrap()), "[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]");
}

fn lists(with: With) {
    fn child(list: List, other: List) -> Result<()> {
        assert_eq!(list.get_as::<Vec<i32>>()?, (0..10).collect::<Vec<_>>());
        list.extend(other.slice(..)?)?;
        list.set(0, "zero")?;
        Ok(())
    }
    let manager = with.manager();
    let (list, other) = (manager.list_from(0..10).unwrap(), manager.list_from(["a", "b"]).unwrap());
    let numbers = |object: Vec<Object>| object.iter().map(|o| o.get_as().unwrap()).collect::<Vec<i32>>();
    assert_eq!(numbers(list.slice(2..10).unwrap()), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(numbers(list.slice(2..).unwrap()), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(numbers(list.slice(7..1000).unwrap()), [7, 8, 9]);
    assert_eq!(numbers(list.slice(-3..-1).unwrap()), [7, 8]);
    assert_eq!(numbers(list.slice(-3..=-1).unwrap()), [7, 8, 9]);
    assert_eq!(numbers(list.slice(-100..2).unwrap()), [0, 1]);
    assert_eq!(list.slice(-1..3).unwrap(), []);
    with.run(child, (list.clone(), other));
    assert_eq!(text(&list.to_object().unwrap()), "['zero', 1, 2, 3, 4, 5, 6, 7, 8, 9, 'a', 'b']");
    assert_eq!((list.index_of("a").unwrap(), list.count(3).unwrap()), (10, 1));
    assert!(list.contains(3.0).unwrap() && !list.contains("3").unwrap());
    list.insert(-1, "before b").unwrap();
    list.insert(1000, "last").unwrap();
    list.insert(-1000, "first").unwrap();
    assert_eq!(list.pop().unwrap(), "last".into());
    assert_eq!(list.remove_at(0).unwrap(), "first".into());
    assert_eq!(list.get(-2).unwrap(), "before b".into());
    assert!(matches!(list.get(13), Err(Error::IndexOutOfRange { index: 13, len: 13 })));
    assert!(matches!(list.set(-14, 0), Err(Error::IndexOutOfRange { .. })));
    assert!(matches!(list.remove("zero?"), Err(Error::ValueNotFound { value }) if value == "'zero?'"));
    // What cannot be sorted stays as it is.
    let before = text(&list.to_object().unwrap());
    assert!(matches!(list.sort(), Err(Error::TypeMismatch { .. })));
    assert_eq!(text(&list.to_object().unwrap()), before);
    list.clear().unwrap();
    list.extend([3.5, 1.0, f64::NAN, 2.0]).unwrap();
    list.push(true).unwrap();
    list.sort().unwrap();
    assert_eq!(text(&list.to_object().unwrap()), "[1.0, True, 2.0, 3.5, nan]");
    // Records, which have no order, are an error too, and no panic: there are enough for a sort to look twice.
    list.clear().unwrap();
    list.extend((0..64).map(|x| Object::from(vec![Map::from_iter([("id", x % 5)]).into(), Object::from(x * 37 % 64)])))
        .unwrap();
    assert!(matches!(list.sort(), Err(Error::TypeMismatch { .. })));
    assert_eq!(list.len().unwrap(), 64);
    // More than go in one step.
    list.clear().unwrap();
    list.extend(0..1000).unwrap();
    assert_eq!(
        list.iter().map(|o| o.unwrap().get_as::<i32>().unwrap()).collect::<Vec<_>>(),
        (0..1000).collect::<Vec<_>>()
    );
    assert!(matches!(manager.list().unwrap().pop(), Err(Error::IndexOutOfRange { index: -1, len: 0 })));
}

fn dicts(with: With) {
    fn child(dict: Dict) -> Result<()> {
        assert_eq!(dict.len()?, 26);
        assert_eq!(dict.get(65)?, "A".into());
        dict.remove(65)?;
        dict.insert(65, "again")
    }
    let manager = with.manager();
    let dict = manager.dict().unwrap();
    for c in 'A'..='Z' {
        dict.insert(c as u32, c).unwrap();
    }
    with.run(child, (dict.clone(),));
    // It is the last one now.
    assert_eq!(dict.pop_item().unwrap(), (65.into(), "again".into()));
    assert_eq!(dict.keys().unwrap(), (66..=90).map(Object::from).collect::<Vec<_>>());
    assert_eq!(dict.values().unwrap(), ('B'..='Z').map(Object::from).collect::<Vec<_>>());
    assert_eq!(dict.items().unwrap()[0], (66.into(), "B".into()));
    assert_eq!(dict.set_default(66, "other").unwrap(), "B".into());
    assert_eq!(dict.find(1).unwrap(), None);
    assert!(matches!(dict.remove(1), Err(Error::KeyNotFound { key }) if key == "1"));
    dict.update([(66, "BB"), (1, "one")]).unwrap();
    assert_eq!((dict.get(66).unwrap(), dict.len().unwrap()), ("BB".into(), 26));
    // One that cannot be a key spoils all.
    let unfit = Object::from(Map::new());
    assert!(matches!(dict.update([(2.into(), 2), (unfit, 3)]), Err(Error::TypeMismatch { .. })));
    assert!(!dict.contains(2).unwrap());
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap() && matches!(dict.pop_item(), Err(Error::KeyNotFound { .. })));
    dict.insert(vec![1, 2], "a list is a key, as tuples are").unwrap();
    assert!(dict.contains(vec![1.0, 2.0]).unwrap());
    dict.update((0..1000).map(|n| (n, n))).unwrap();
    assert_eq!(dict.iter().collect::<Result<Vec<_>>>().unwrap().len(), 1001);
}

fn dicts_that_change_while_iterated(with: With) {
    let manager = with.manager();
    let dict = manager.dict_from((0..1000).map(|n| (n, n))).unwrap();
    let mut items = dict.iter();
    items.next().unwrap().unwrap();
    // Another value is no change of the keys.
    dict.insert(999, 0).unwrap();
    assert!((0..300).all(|_| items.next().unwrap().is_ok()));
    with.run(|dict: Dict| dict.insert("new", 0), (dict.clone(),));
    let error = items.find_map(Result::err).unwrap();
    assert!(matches!(error, Error::ChangedMeanwhile), "{error}");
    assert!(items.next().is_none());
}

fn namespaces(with: With) {
    fn child(namespace: Namespace) -> Result<()> {
        assert_eq!(namespace.get("x")?, 7.into());
        namespace.set("y", "from the child")?;
        namespace.delete("x")
    }
    let manager = with.manager();
    let namespace = manager.namespace().unwrap();
    namespace.set("x", 7).unwrap();
    with.run(child, (namespace.clone(),));
    assert_eq!(namespace.list().unwrap(), ["y"]);
    assert_eq!(text(&namespace.to_object().unwrap()), "{'y': 'from the child'}");
    assert!(matches!(namespace.get("x"), Err(Error::KeyNotFound { .. })));
    assert!(matches!(namespace.delete("x"), Err(Error::KeyNotFound { .. })));
}

fn nested(with: With) {
    fn child(outer: List) -> Result<()> {
        let inner = List::try_from(outer.get(0)?)?;
        inner.push("deep")?;
        let dict = Dict::try_from(outer.get(1)?)?;
        let Object::Proxy(Proxy::List(deepest)) = dict.get("list")? else { panic!("another type") };
        deepest.extend([1, 2])
    }
    let manager = with.manager();
    let (outer, inner) = (manager.list().unwrap(), manager.list().unwrap());
    let dict = manager.dict().unwrap();
    dict.insert("list", manager.list().unwrap()).unwrap();
    outer.extend([Object::from(&inner), Object::from(&dict)]).unwrap();
    with.run(child, (outer.clone(),));
    assert_eq!(text(&inner.to_object().unwrap()), "['deep']");
    let deepest = List::try_from(dict.get("list").unwrap()).unwrap();
    assert_eq!(text(&deepest.to_object().unwrap()), "[1, 2]");
    // A proxy is a value: equal to itself, found, and of no other type.
    assert_eq!((outer.index_of(&inner).unwrap(), outer.count(&deepest).unwrap()), (0, 0));
    assert!(matches!(List::try_from(outer.get(1).unwrap()), Err(Error::TypeMismatch { .. })));
    assert!(matches!(outer.get(1).unwrap().get_as::<Vec<i32>>(), Err(Error::TypeMismatch { .. })));
    assert!(matches!(dict.insert(&inner, 1), Err(Error::TypeMismatch { .. })));
}

fn objects_live_as_long_as_their_holders(with: With) {
    fn keeps(list: List, told: Connection<()>) -> Result<()> {
        told.send(&())?;
        told.recv()?;
        list.push(2)?;
        assert_eq!(list.get_as::<Vec<i32>>()?, [1, 2]);
        Ok(())
    }
    let manager = with.manager();
    let count = || manager.object_count().unwrap();
    assert_eq!(count(), 1);
    // The child's.
    let (here, there) = pipe::duplex().unwrap();
    let list = manager.list_from([1]).unwrap();
    let child = with.start(keeps, (list.clone(), there));
    here.recv_timeout(SOON).unwrap();
    drop(list);
    here.send(&()).unwrap();
    child.join().unwrap();
    eventually(|| count() == 1);
    let before = count();

    // What others have among their values.
    let outer = manager.dict().unwrap();
    let inner = manager.list_from(["x"]).unwrap();
    outer.insert("inner", &inner).unwrap();
    outer.insert("twice", vec![Object::from(&inner), Object::from(&inner)]).unwrap();
    drop(inner);
    assert_eq!(count(), before + 2);
    outer.remove("inner").unwrap();
    assert_eq!(List::try_from(outer.get_as_list("twice")[1].clone()).unwrap().get(0).unwrap(), "x".into());
    outer.insert("twice", 0).unwrap();
    eventually(|| count() == before + 1);
    drop(outer);
    eventually(|| count() == before);

    // Of one who asks for nothing after it has dropped them, one after the other.
    fn drops(manager: Manager, told: Connection<()>) -> Result<()> {
        let lists = [manager.list()?, manager.list()?, manager.list()?];
        told.recv()?;
        drop(lists);
        told.recv()
    }
    let (here, there) = pipe::duplex().unwrap();
    let child = with.start(drops, (manager.clone(), there));
    eventually(|| count() == before + 3);
    here.send(&()).unwrap();
    eventually(|| count() == before);
    here.send(&()).unwrap();
    child.join().unwrap();

    // What a batch has among its values, until it is run; and what was among them when it was not.
    let outer = manager.list().unwrap();
    let batch = manager.batch().push(&outer, manager.list().unwrap()).push(&outer, 1);
    batch.run().unwrap();
    assert_eq!(List::try_from(outer.get(0).unwrap()).unwrap().len().unwrap(), 0);
    drop(manager.batch().push(&outer, manager.list().unwrap()));
    eventually(|| count() == before + 2);
    drop(outer);
    eventually(|| count() == before);

    // Those that hold each other, and themselves.
    let (a, b) = (manager.list().unwrap(), manager.list().unwrap());
    a.push(&a).unwrap();
    a.push(&b).unwrap();
    b.push(&a).unwrap();
    drop(a);
    assert_eq!(List::try_from(b.get(0).unwrap()).unwrap().len().unwrap(), 2);
    drop(b);
    eventually(|| count() == before);

    // What was taken back of a batch.
    let list = manager.list_from([&manager.list().unwrap()]).unwrap();
    let error = manager.batch().pop(&list).push(&list, 1).get_at(&list, 9).run();
    assert!(error.is_err());
    assert_eq!(List::try_from(list.get(0).unwrap()).unwrap().len().unwrap(), 0);
    drop(list);
    eventually(|| count() == before);
}

trait GetAsList {
    fn get_as_list(&self, key: &str) -> Vec<Object>;
}

impl GetAsList for Dict {
    fn get_as_list(&self, key: &str) -> Vec<Object> {
        match self.get(key).unwrap() {
            Object::List(items) => items,
            other => panic!("{other}"),
        }
    }
}

fn through_pipes_and_queues(with: With) {
    fn child(lists: Connection<List>, dicts: Queue<(Dict, String)>) -> Result<()> {
        let list = lists.recv()?;
        list.push("by pipe")?;
        let (dict, key) = dicts.get()?;
        dict.insert(key, "by queue")?;
        // Sent by one who does not keep it.
        lists.send(&list)
    }
    let manager = with.manager();
    let (here, there) = pipe::duplex().unwrap();
    let queue = Queue::new().unwrap();
    let child = with.start(child, (there, queue.clone()));
    let (list, dict) = (manager.list().unwrap(), manager.dict().unwrap());
    here.send(&list).unwrap();
    drop(list);
    queue.put(&(dict.clone(), "key".into())).unwrap();
    child.join().unwrap();
    assert_eq!(here.recv().unwrap().get_as::<Vec<String>>().unwrap(), ["by pipe"]);
    assert_eq!(dict.get("key").unwrap(), "by queue".into());
    // One that nobody receives.
    queue.put(&(manager.dict().unwrap(), String::new())).unwrap();
    eventually(|| manager.object_count().unwrap() == 3);
    drop(queue);
    eventually(|| manager.object_count().unwrap() == 2);
}

fn shared_objects_by_name(with: With) {
    fn child(manager: Manager) -> Result<()> {
        manager.event("started")?.wait_timeout(SOON)?;
        let value = manager.value("value", 0_u32)?;
        let (lock, rlock, bounded) =
            (manager.lock("lock")?, manager.rlock("rlock")?, manager.bounded_semaphore("bounded", 2)?);
        {
            let _held = (lock.lock_timeout(SOON)?, rlock.lock_timeout(SOON)?);
            value.set(value.get()? + 1)?;
        }
        assert_eq!(manager.array::<f64>("array", 4)?.to_vec()?, [0.0, 0.5, 0.0, 0.0]);
        assert_eq!(manager.queue::<String>("queue")?.get_timeout(SOON)?, "to the child");
        manager.queue::<String>("back")?.put(&"from the child".into())?;
        let permit = bounded.acquire_timeout(SOON)?;
        assert!(manager.bounded_semaphore("bounded", 2)?.try_acquire().is_err());
        drop(permit);
        manager.semaphore("semaphore", 0)?.release()?;
        manager.condvar("condvar")?.notify_all()?;
        manager.barrier("barrier", 2)?.wait_timeout(SOON)?;
        Ok(())
    }
    let manager = with.manager();
    manager.array::<f64>("array", 4).unwrap().lock().unwrap()[1] = 0.5;
    manager.queue::<String>("queue").unwrap().put(&"to the child".into()).unwrap();
    let back = manager.queue::<String>("back").unwrap();
    let bounded = manager.bounded_semaphore("bounded", 2).unwrap();
    let permit = bounded.acquire().unwrap();
    let child = with.start(child, (manager.clone(),));
    manager.event("started").unwrap().set();
    assert_eq!(back.get_timeout(SOON).unwrap(), "from the child");
    manager.semaphore("semaphore", 0).unwrap().acquire_timeout(SOON).unwrap();
    manager.barrier("barrier", 2).unwrap().wait_timeout(SOON).unwrap();
    child.join().unwrap();
    drop(permit);
    assert_eq!(manager.value("value", 9_u32).unwrap().get().unwrap(), 1);
    assert!(matches!(manager.lock("value"), Err(Error::TypeMismatch { .. })));
    assert!(manager.value("value", 0_u64).is_err());
    // They outlive the server.
    let lock = manager.lock("lock").unwrap();
    manager.shutdown().unwrap();
    drop(lock.lock().unwrap());
}

/// Who asks for a name has it, whoever takes it back meanwhile.
fn names_that_come_and_go(with: With) {
    fn child(manager: Manager) -> Result<()> {
        for _ in 0..300 {
            manager.lock("door")?;
            manager.unregister("door")?;
        }
        Ok(())
    }
    let manager = with.manager();
    let children: Vec<_> = (0..3).map(|_| with.start(child, (manager.clone(),))).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
}

fn batches(with: With) {
    fn child(manager: Manager, list: List, dict: Dict) -> Result<()> {
        let answers =
            manager.batch().push(&list, 3).set_at(&list, 0, "one").fetch_add(&dict, "n", 2).remove(&dict, "a").run()?;
        assert_eq!(answers, [Object::None, Object::None, 0.into(), "A".into()]);
        Ok(())
    }
    let manager = with.manager();
    let list = manager.list_from([1, 2]).unwrap();
    let dict = manager.dict_from([("a", "A"), ("b", "B"), ("c", "C")]).unwrap();
    let namespace = manager.namespace().unwrap();
    with.run(child, (manager.clone(), list.clone(), dict.clone()));
    let state =
        || format!("{} {} {}", list.to_object().unwrap(), dict.to_object().unwrap(), namespace.to_object().unwrap());
    let before = state();
    assert_eq!(before, "['one', 2, 3] {'b': 'B', 'c': 'C', 'n': 2} {}");
    let many = (0..100).fold(manager.batch(), |batch, n| batch.insert(&dict, n, n).push(&list, n));
    let error = many
        .remove(&dict, "b")
        .insert(&dict, "c", "other")
        .insert(&dict, "b", "at the end")
        .remove(&dict, "n")
        .fetch_add(&dict, "new", 1)
        .insert(&namespace, "x", 1)
        .pop(&list)
        .remove_at(&list, 0)
        .set_at(&list, 0, "changed")
        .get(&dict, "missing")
        .run();
    assert!(matches!(error, Err(Error::KeyNotFound { .. })));
    assert_eq!(state(), before, "none of it has happened");
    assert!(matches!(manager.batch().insert(&namespace, 1, 1).run(), Err(Error::TypeMismatch { .. })));
    assert!(manager.batch().run().unwrap().is_empty());
    // Each has its answer, also those that go as one.
    let (list, dict) = (manager.list().unwrap(), manager.dict().unwrap());
    let batch = manager.batch().insert(&dict, "a", 1).insert(&dict, "a", 2).get(&dict, "a").insert(&dict, "b", 3);
    let batch = batch.insert(&namespace, "c", 4).push(&list, 5).push(&list, 6).pop(&list).push(&list, 7).pop(&list);
    let none = || Object::None;
    let expected = [none(), none(), 2.into(), none(), none(), none(), none(), 6.into(), none(), 7.into()];
    assert_eq!(batch.run().unwrap(), expected);
    let unfit = Object::from(Map::new());
    let error = manager.batch().insert(&dict, "d", 1).insert(&dict, unfit, 1).get(&dict, "missing").run();
    assert!(matches!(error, Err(Error::TypeMismatch { .. })));
    assert_eq!(text(&dict.to_object().unwrap()), "{'a': 2, 'b': 3}");
    // With something shared among the old values, and among the new ones.
    manager
        .batch()
        .insert(&dict, "a", &list)
        .insert(&dict, "b", 4)
        .insert(&dict, "a", 5)
        .push(&list, &list)
        .run()
        .unwrap();
    assert!(manager.batch().insert(&dict, "a", &list).insert(&dict, "e", 6).get(&dict, "missing").run().is_err());
    assert_eq!(text(&dict.to_object().unwrap()), "{'a': 5, 'b': 4}");
}

fn compound_operations_count_right(with: With) {
    const EACH: i64 = 500;
    fn child(dict: Dict, list: List) -> Result<()> {
        for _ in 0..EACH {
            dict.fetch_add("hits", 1)?;
            let mut known = dict.find("swaps")?;
            while let Err(found) = dict.compare_exchange("swaps", known.clone(), Some(next(&known)))? {
                known = found;
            }
            let mut known = list.get(0)?;
            while let Err(found) = list.compare_exchange(0, known.clone(), next(&Some(known)))? {
                known = found;
            }
        }
        Ok(())
    }
    fn next(known: &Option<Object>) -> Object {
        Object::from(known.as_ref().map_or(0, |known| known.get_as::<i64>().unwrap()) + 1)
    }
    let manager = with.manager();
    let (dict, list) = (manager.dict().unwrap(), manager.list_from([0]).unwrap());
    let children: Vec<_> = (0..3).map(|_| with.start(child, (dict.clone(), list.clone()))).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(text(&dict.to_object().unwrap()), format!("{{'hits': {0}, 'swaps': {0}}}", 3 * EACH));
    assert_eq!(text(&list.get(0).unwrap()), (3 * EACH).to_string());
    assert_eq!(dict.fetch_add("hits", 0.5).unwrap(), (3 * EACH).into());
    assert!(matches!(dict.fetch_add("hits", "x"), Err(Error::TypeMismatch { .. })));
    dict.insert("most", i128::MAX).unwrap();
    assert!(matches!(dict.fetch_add("most", 1), Err(Error::OutOfRange { .. })));
    assert_eq!(dict.compare_exchange("most", Some(i128::MAX.into()), None).unwrap(), Ok(Some(i128::MAX.into())));
    assert!(!dict.contains("most").unwrap());
}

fn large_values(with: With) {
    fn child(dict: Dict) -> Result<()> {
        let Object::Bytes(bytes) = dict.get("bytes")? else { panic!("another type") };
        assert!(bytes.len() == 16 << 20 && bytes.iter().all(|byte| *byte == 7));
        dict.insert("text", "x".repeat(16 << 20))
    }
    let manager = with.manager();
    let dict = manager.dict().unwrap();
    dict.insert("bytes", Object::bytes(vec![7; 16 << 20])).unwrap();
    with.run(child, (dict.clone(),));
    assert_eq!(dict.get("text").unwrap().get_as::<String>().unwrap().len(), 16 << 20);
    // Around the border of what goes through the line.
    for length in (16 * 1024 - 40..16 * 1024 + 40).chain(64 * 1024 - 40..64 * 1024 + 40) {
        dict.insert(0, Object::bytes(vec![1; length])).unwrap();
        assert!(dict.get(0).unwrap() == Object::bytes(vec![1; length]));
    }
}

fn errors_keep_their_kinds(with: With) {
    fn missing(dict: Dict) -> Result<()> {
        dict.get("missing").map(drop)
    }
    fn outside(list: List) -> Result<()> {
        list.get(5).map(drop)
    }
    let manager = with.manager();
    let (dict, list) = (manager.dict().unwrap(), manager.list().unwrap());
    let error = with.start(missing, (dict.clone(),)).join().unwrap_err();
    assert!(matches!(error, Error::KeyNotFound { key } if key == "'missing'"));
    let error = with.start(outside, (list.clone(),)).join().unwrap_err();
    assert!(matches!(error, Error::IndexOutOfRange { index: 5, len: 0 }));
    let deep = (0..200).fold(Object::None, |inner, _| Object::from(vec![inner]));
    assert!(matches!(list.push(deep), Err(Error::NotSendable { .. })));
    // And it goes on.
    list.push(1).unwrap();
}

fn shutdown(with: With) {
    fn child(list: List) -> Result<()> {
        list.push(1)?;
        // Until it is over.
        loop {
            list.len()?;
        }
    }
    let manager = with.manager();
    let list = manager.list().unwrap();
    let child = with.start(child, (list.clone(),));
    eventually(|| list.len().unwrap() == 1);
    let other = manager.clone();
    assert!(matches!(other.shutdown(), Err(Error::InvalidArgument { .. })));
    manager.shutdown().unwrap();
    assert!(matches!(list.len(), Err(Error::ManagerGone)));
    assert!(matches!(child.join(), Err(Error::ManagerGone)));
    // By a drop.
    let manager = with.manager();
    let list = manager.list().unwrap();
    drop(manager);
    eventually(|| matches!(list.push(1), Err(Error::ManagerGone)));
    // It has gone by a fork's end.
    let manager = with.manager();
    if with.0 == StartMethod::Fork {
        Process::fork(|| drop(manager.clone())).unwrap().join().unwrap();
    }
    manager.list().unwrap();
    manager.shutdown().unwrap();
}

fn directory(mode: u32) -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("shmkit-test-{}-{number}", std::process::id()));
    fs::DirBuilder::new().mode(mode).create(&path).unwrap();
    // Past the umask.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn servers_by_path(with: With) {
    fn child(path: PathBuf) -> Result<()> {
        let manager = Manager::connect(path)?;
        let list = manager.list_from(["from elsewhere"])?;
        manager.globals()?.insert("list", list)
    }
    fn in_its_directory(directory: PathBuf) -> Result<()> {
        std::env::set_current_dir(directory).unwrap();
        let manager = Manager::builder().path("manager").start()?;
        Manager::connect("manager")?.globals()?.insert(1, 1)?;
        manager.shutdown()
    }
    let directory = directory(0o700);
    let path = directory.join("manager");
    let start = || Manager::builder().path(&path).start_method(with.0).start();
    assert!(matches!(Manager::connect(&path), Err(Error::NotFound { .. })));
    // Somebody's file is no socket that nobody listens at.
    fs::write(&path, "mine").unwrap();
    assert!(matches!(start(), Err(Error::AlreadyExists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    fs::remove_file(&path).unwrap();
    for _ in 0..3 {
        let manager = start().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(start(), Err(Error::AlreadyExists { .. })));
        with.run(child, (path.clone(),));
        let list = List::try_from(manager.globals().unwrap().get("list").unwrap()).unwrap();
        assert_eq!(list.get(0).unwrap(), "from elsewhere".into());
        manager.shutdown().unwrap();
        assert!(matches!(Manager::connect(&path), Err(Error::NotFound { .. })));
    }
    // One that was killed leaves its socket, which is replaced.
    let manager = start().unwrap();
    manager.process().unwrap().kill().unwrap();
    assert!(matches!(manager.shutdown(), Err(Error::ChildDied { .. })));
    assert!(matches!(Manager::connect(&path), Err(Error::ManagerGone)));
    start().unwrap().shutdown().unwrap();
    with.run(in_its_directory, (directory.clone(),));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(start(), Err(Error::WrongOwner { .. })));
    fs::remove_dir(directory).unwrap();
}

/// Of whom no answer is to be had, and where there is no room to wait for one.
fn a_server_that_is_stopped_has_its_path(with: With) {
    let directory = directory(0o700);
    let path = directory.join("manager");
    let start = || Manager::builder().path(&path).start_method(with.0).start();
    let manager = start().unwrap();
    let pid = Pid::from_raw(manager.process().unwrap().pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut waiting = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        match connect(&socket, &SocketAddrUnix::new(&path).unwrap()) {
            Ok(()) => waiting.push(socket),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(start(), Err(Error::AlreadyExists { .. })));
    kill_process(pid, Signal::CONT).unwrap();
    Manager::connect(&path).unwrap().globals().unwrap().insert(1, 1).unwrap();
    manager.shutdown().unwrap();
    fs::remove_dir(directory).unwrap();
}

/// Whoever it cannot let in is told so, and what it has done already is not lost.
fn a_server_without_descriptors(with: With) {
    fn child(path: PathBuf) -> Result<()> {
        Manager::connect(path)?.globals()?.len().map(drop)
    }
    let directory = directory(0o700);
    let path = directory.join("manager");
    let manager = Manager::builder().path(&path).start_method(with.0).start().unwrap();
    let list = manager.list_from([vec![7_u8; 1 << 20]].map(Object::bytes)).unwrap();
    let pid = Pid::from_raw(manager.process().unwrap().pid() as i32);
    let limit = |current| {
        let limit = Rlimit { current, maximum: Some(hard_limit()) };
        prlimit(pid, Resource::Nofile, limit).unwrap()
    };
    let before = limit(Some(5));
    if with.0 == StartMethod::Fork {
        // By the gate that its parent has.
        let globals = manager.globals().unwrap();
        let error = Process::fork(move || globals.len()).unwrap().join().unwrap_err();
        assert!(matches!(&error, Error::Os { operation, .. } if operation.starts_with("being let in")), "{error}");
    }
    let waits = thread::spawn(move || list.pop());
    thread::sleep(Duration::from_millis(100));
    assert!(!waits.is_finished());
    limit(before.current);
    assert_eq!(waits.join().unwrap().unwrap(), Object::bytes(vec![7; 1 << 20]));
    with.run(child, (path,));
    manager.shutdown().unwrap();
    fs::remove_dir(directory).unwrap();
}

fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Becomes another user, who is in a directory to which no path of his own leads. Not everywhere is there one.
fn become_somebody_else(directory: &Path) -> bool {
    const NOBODY: libc::uid_t = 65534;
    env::set_current_dir(directory).unwrap();
    // SAFETY: takes numbers.
    unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) == 0 }
}

/// Connects as `Manager::connect` does, but whoever's the server is; and whether the server then lets this process in.
fn is_let_in(path: &Path) -> io::Result<bool> {
    const PACKETS: (AddressFamily, SocketType, SocketFlags) =
        (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let gate = socket_with(PACKETS.0, PACKETS.1, PACKETS.2, None)?;
    connect(&gate, &SocketAddrUnix::new(path)?)?;
    let (ours, theirs) = socketpair(PACKETS.0, PACKETS.1, PACKETS.2, None)?;
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut descriptors = SendAncillaryBuffer::new(&mut space);
    let both = [theirs.as_fd(), process.as_fd()];
    assert!(descriptors.push(SendAncillaryMessage::ScmRights(&both)));
    let hello = io::IoSlice::new(b"shmkit manager 1");
    match sendmsg(&gate, &[hello], &mut descriptors, SendFlags::NOSIGNAL) {
        Err(rustix::io::Errno::PIPE) => return Ok(false),
        other => other?,
    };
    // The server has the other end, or nobody.
    drop(theirs);
    sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(SOON))?;
    let (_, length) = recv(&ours, &mut [0; 1], RecvFlags::empty())?;
    Ok(length > 0)
}

/// A socket in a directory of mode 700 is out of the reach of others, and so is one of mode 600 in any directory. Those who
/// reach one all the same, and speak as a client does, are known by their credentials.
fn another_user_is_refused(with: With) {
    const MANY: usize = 300;
    const NAME: &str = "manager";

    /// `false` where nobody can become another user.
    fn is_out_of_reach(directory: PathBuf) -> bool {
        if !become_somebody_else(&directory) {
            return false;
        }
        let error = is_let_in(Path::new(NAME)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let error = Manager::connect(NAME).unwrap_err();
        assert!(
            matches!(&error, Error::Os { source, .. } if source.kind() == io::ErrorKind::PermissionDenied),
            "{error}"
        );
        true
    }
    /// Keeps many connections, for as long as the other end likes.
    fn besieges(directory: PathBuf, until: Connection<()>) -> Result<()> {
        assert!(become_somebody_else(&directory));
        let error = Manager::connect(NAME).unwrap_err();
        assert!(
            matches!(&error, Error::WrongOwner { reason, .. } if reason == "its server is another user's"),
            "{error}"
        );
        assert!((0..10).all(|_| !is_let_in(Path::new(NAME)).unwrap()));
        let connection = || {
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
            connect(&socket, &SocketAddrUnix::new(NAME).unwrap()).unwrap();
            socket
        };
        let _many: Vec<_> = (0..MANY).map(|_| connection()).collect();
        until.send(&())?;
        until.recv()
    }

    if !geteuid().is_root() {
        println!("skipped: only root becomes another user");
        return;
    }
    let directory = directory(0o700);
    let path = directory.join(NAME);
    let manager = Manager::builder().path(&path).start_method(with.0).start().unwrap();
    let list = manager.list().unwrap();
    assert!(is_let_in(&path).unwrap());
    let change = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if with.run(is_out_of_reach, (directory.clone(),)) {
        change(&directory, 0o755);
        assert!(with.run(is_out_of_reach, (directory.clone(),)));
        change(&path, 0o777);
        let (here, there) = pipe::duplex().unwrap();
        let other = with.start(besieges, (directory.clone(), there));
        here.recv_timeout(SOON).unwrap();
        list.push(1).unwrap();
        assert_eq!(Manager::connect(&path).unwrap().list_from([1, 2]).unwrap().len().unwrap(), 2);
        assert!(is_let_in(&path).unwrap());
        here.send(&()).unwrap();
        other.join().unwrap();
    } else {
        println!("skipped: there are no other users here");
    }
    list.push(2).unwrap();
    manager.shutdown().unwrap();
    fs::remove_dir(directory).unwrap();
}

fn two_managers(with: With) {
    let (one, other) = (with.manager(), with.manager());
    let (a, b) = (one.list().unwrap(), other.list().unwrap());
    assert!(matches!(a.push(&b), Err(Error::InvalidArgument { .. })));
    assert!(matches!(one.batch().push(&b, 1).run(), Err(Error::InvalidArgument { .. })));
    with.run(|a: List, b: List| a.push(1).and(b.push(2)), (a.clone(), b.clone()));
    assert_eq!((a.get(0).unwrap(), b.get(0).unwrap()), (1.into(), 2.into()));
    other.shutdown().unwrap();
    assert!(a.len().is_ok() && b.len().is_err());
}

fn interrupts_do_not_end_it(with: With) {
    let manager = with.manager();
    let list = manager.list().unwrap();
    let pid = manager.process().unwrap().pid();
    for _ in 0..3 {
        // SAFETY: takes numbers; the server is a child of this process that was not waited for.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGINT) }, 0);
        list.push(1).unwrap();
    }
    assert_eq!(list.len().unwrap(), 3);
}

/// Last, for forks after that would be copies of a process with threads.
fn from_many_threads(with: With) {
    let manager = with.manager();
    let dict = manager.dict().unwrap();
    thread::scope(|scope| {
        for n in 0..8 {
            let (dict, manager) = (&dict, &manager);
            scope.spawn(move || {
                for _ in 0..200 {
                    dict.fetch_add("all", 1).unwrap();
                    let list = manager.list_from([n]).unwrap();
                    dict.insert(n, &list).unwrap();
                    assert_eq!(List::try_from(dict.get(n).unwrap()).unwrap(), list);
                }
            });
        }
    });
    assert_eq!(dict.get("all").unwrap(), 1600.into());
    dict.clear().unwrap();
    eventually(|| manager.object_count().unwrap() == 2);
}
