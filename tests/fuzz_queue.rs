//! A queue whose words and units were overwritten: whatever a user does with it then, there is an answer.
//!
//! An answer is a value or an error, without much memory on the way. A crash ends this test; so does a hang, by the
//! deadline of each case.

#![allow(unsafe_code, reason = "the module with the deadline forks")]

mod measuring;
mod scratch;
mod support;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use measuring::most_at_a_time;
use proptest::{prelude::*, test_runner::Config};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use shmkit::{Queue, Region, Value};
use support::Deadline;

const CAPACITY: usize = 2000;
/// Bytes of the words, which lie before the units.
const WORDS: u64 = 2816;
/// Of these, the ends, locks and gates.
const BUSY: u64 = 768;
/// Where the words of the two locks are, and of the two ends.
const LOCKS: [u64; 2] = [0, 256];
const ENDS: [u64; 2] = [128, 384];
const SHORT: Duration = Duration::from_millis(1);

type Object = (String, Vec<u8>, Option<Value<u64>>);

/// What the first object begins with: its length, and text that is nowhere else.
const MARK: &str = "the first object of the queue";

/// Where the words of the queue in this file begin.
fn words_at(path: &Path) -> u64 {
    let image = fs::read(path).unwrap();
    let mark = image.windows(MARK.len()).position(|bytes| bytes == MARK.as_bytes()).expect("it is in");
    // Before it are the length, the title and, if something was sent beside it, a number.
    let units = (mark as u64 - 1 - 8) / 8 * 8;
    let words = units - WORDS;
    assert!(words.is_multiple_of(128) || (words - 8).is_multiple_of(128), "{words}");
    words / 128 * 128
}

/// Some objects, of which some were taken.
fn fill(queue: &Queue<Object>, value: Option<&Value<u64>>) {
    (0..8).for_each(|n| queue.put(&(MARK.into(), vec![n; 20 * usize::from(n)], value.cloned())).unwrap());
    (0..2).for_each(|_| drop(queue.get().unwrap()));
}

/// All that a user can do with a queue. The answers do not matter.
fn use_all(queue: &Queue<Object>, value: Option<&Value<u64>>) {
    let _ = (queue.len(), queue.is_empty(), queue.is_full(), queue.unfinished_tasks(), queue.max_items());
    let _ = (queue.is_closed(), queue.capacity(), format!("{queue:?}"));
    let _ =
        (queue.get_timeout(SHORT), queue.try_get().map(|(_, _, value)| value.map(|value| value.try_lock().is_ok())));
    let _ = (queue.task_done(), queue.join_timeout(SHORT));
    let object = ("more".into(), vec![1; 100], value.cloned());
    let _ = (queue.put_timeout(&object, SHORT), queue.try_put(&object));
    queue.close();
    // What is in, but no more than there can be, were each of no size.
    let _ = queue.iter().take(CAPACITY / 8 + 2).filter(Result::is_ok).count();
}

fn write(path: &Path, at: u64, damages: &[(u64, Vec<u8>)]) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let end = at + WORDS + CAPACITY as u64;
    for (offset, bytes) in damages {
        let start = at + offset;
        let length = bytes.len().min((end - start) as usize);
        file.write_all_at(&bytes[..length], start).unwrap();
    }
    // A lock that a living thread seems to hold is waited for, and rightly so.
    for lock in LOCKS.map(|offset| at + offset) {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, lock).unwrap();
        let thread = u32::from_ne_bytes(word) & libc::FUTEX_TID_MASK;
        if Path::new(&format!("/proc/{thread}")).exists() {
            file.write_all_at(&[0; 4], lock).unwrap();
        }
    }
}

/// Uses it; no allocation may be larger than what lies in the queue, and some for what is about it.
fn check(queue: &Queue<Object>, value: Option<&Value<u64>>) {
    let _deadline = Deadline::seconds(30, "a case");
    most_at_a_time();
    use_all(queue, value);
    let most = most_at_a_time();
    assert!(most < 1 << 16, "{most} bytes at a time");
}

/// As the next process finds it.
fn found_again(damages: &[(u64, Vec<u8>)]) {
    let folder = scratch::Folder::new();
    let path = folder.join("queue");
    let queue = Queue::<Object>::options().capacity(CAPACITY).create_at(path.as_path()).unwrap();
    fill(&queue, None);
    drop(queue);
    write(&path, words_at(&path), damages);
    if let Ok(queue) = Queue::open(path.as_path()) {
        check(&queue, None);
    }
}

/// While it is in use, with memory under way.
fn in_use(damages: &[(u64, Vec<u8>)]) {
    let folder = scratch::Folder::new();
    let path = folder.join("region");
    let region = Region::create(path.as_path(), 1 << 16).unwrap();
    let queue = Queue::<Object>::options().capacity(CAPACITY).create_in(&region, None).unwrap();
    let value = Value::new(7).unwrap();
    fill(&queue, Some(&value));
    write(&path, words_at(&path), damages);
    check(&queue, Some(&value));
}

/// Where, and bytes that are more likely than others to do harm.
fn damage() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let all = WORDS + CAPACITY as u64;
    let words = prop_oneof![
        Just(0_u64),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 48),
        0..2 * CAPACITY as u64,
        (0..8_u64, 0..CAPACITY as u64 / 4).prop_map(|(count, at)| count << 32 | at),
        any::<u64>(),
    ];
    // Titles, lengths, numbers and ends are whole units.
    let at = prop_oneof![0..BUSY / 8, BUSY / 8..all / 8, WORDS / 8..all / 8];
    prop_oneof![
        (at, words).prop_map(|(unit, word)| (unit * 8, word.to_ne_bytes().to_vec())),
        (0..all, any::<u8>()).prop_map(|(at, byte)| (at, vec![byte])),
        (WORDS..all, prop::collection::vec(any::<u8>(), 1..200)),
    ]
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn damage_found_again(damages in prop::collection::vec(damage(), 1..6)) {
        found_again(&damages);
    }

    #[test]
    fn damage_in_use(damages in prop::collection::vec(damage(), 1..6)) {
        in_use(&damages);
    }
}

/// The ends alone, wherever they are said to be.
#[test]
fn ends() {
    let units = CAPACITY as u64 / 8 + 1;
    let positions = [0, 1, units - 1, units, units + 1, 2 * units - 1, 2 * units, u64::from(u32::MAX)];
    for tail in positions {
        for head in positions {
            let end = |count: u64, at: u64| (count << 32 | at).to_ne_bytes().to_vec();
            found_again(&[(ENDS[0], end(3, tail)), (ENDS[1], end(3, head))]);
            in_use(&[(ENDS[0], end(9, tail)), (ENDS[1], end(1, head))]);
        }
    }
}

/// Ends that cannot be, and a message that is longer than what is in, are told of.
#[test]
fn what_cannot_be_is_an_error() {
    let _deadline = Deadline::seconds(30, "what_cannot_be_is_an_error");
    let is_corrupt = |error: shmkit::Error| matches!(error, shmkit::Error::Corrupt { .. });
    let with_queue = |check: &dyn Fn(&Queue<Object>, &Path)| {
        let folder = scratch::Folder::new();
        let path = folder.join("queue");
        let queue = Queue::<Object>::options().capacity(CAPACITY).create_at(path.as_path()).unwrap();
        queue.put(&(MARK.into(), vec![1; 50], None)).unwrap();
        check(&queue, &path);
    };
    let object: Object = ("more".into(), vec![], None);
    let units = CAPACITY as u64 / 8 + 1;
    // More units than there are, where there are none, more messages than units, and less than nothing.
    for (tail, head) in
        [(1 << 32 | (units + 1), 0), (1 << 32 | (2 * units), 0), (9 << 32 | 8, 0), (0, 1 << 32 | 2), (1, 0)]
    {
        with_queue(&|queue, path| {
            let words = words_at(path);
            write(
                path,
                words,
                &[(ENDS[0], u64::to_ne_bytes(tail).to_vec()), (ENDS[1], u64::to_ne_bytes(head).to_vec())],
            );
            assert!(queue.try_get().is_err_and(is_corrupt), "{tail:#x} and {head:#x}");
            // A producer does not look at the head while it knows of room.
            let said = queue.put_timeout(&object, SHORT);
            assert!(tail == 0 || said.is_err_and(is_corrupt), "{tail:#x} and {head:#x}");
        });
    }
    for length in [200, CAPACITY as u64, (1 << 48) - 1, u64::MAX] {
        with_queue(&|queue, path| {
            scratch::Words::find(path, MARK.as_bytes(), 1 + 8).set_u64(0, length);
            assert!(queue.get().is_err_and(is_corrupt), "{length}");
            assert!(queue.get_timeout(SHORT).is_err_and(is_corrupt), "{length}");
        });
    }
}

/// Locks whose holder lives and does not go on, as one that is stopped: whoever has a time limit is told in time.
#[test]
fn locks_that_stay_held() {
    let _deadline = Deadline::seconds(30, "locks_that_stay_held");
    let folder = scratch::Folder::new();
    let path = folder.join("queue");
    let queue = Queue::<Object>::options().capacity(CAPACITY).create_at(path.as_path()).unwrap();
    fill(&queue, None);
    // Of the thread that runs the tests.
    let holder = std::process::id().to_ne_bytes();
    let file = File::options().write(true).open(&path).unwrap();
    LOCKS.iter().for_each(|offset| file.write_all_at(&holder, words_at(&path) + offset).unwrap());
    let object = ("more".into(), vec![], None);
    assert!(queue.try_get().unwrap_err().is_would_block() && queue.try_put(&object).unwrap_err().is_would_block());
    assert!(queue.try_join().unwrap_err().is_would_block());
    assert!(queue.get_timeout(SHORT).unwrap_err().is_timed_out());
    assert!(queue.put_timeout(&object, SHORT).unwrap_err().is_timed_out());
    assert!(queue.join_timeout(SHORT).unwrap_err().is_timed_out());
}

/// An object whose memory is not under way is told of, taken, and done; the next one is whole.
#[test]
fn a_ticket_that_leads_nowhere() {
    let _deadline = Deadline::seconds(30, "a_ticket_that_leads_nowhere");
    let folder = scratch::Folder::new();
    let path = folder.join("region");
    let region = Region::create(path.as_path(), 1 << 16).unwrap();
    let queue = Queue::<Object>::options().capacity(CAPACITY).create_in(&region, None).unwrap();
    let value = Value::new(7).unwrap();
    let object: Object = (MARK.into(), vec![], Some(value.clone()));
    for number in [0, 2, u64::MAX] {
        queue.put(&object).unwrap();
        // Before the object are its length, the number and the title.
        let words = scratch::Words::find(&path, MARK.as_bytes(), 1 + 8);
        words.set_u64(0, number);
        assert!(matches!(queue.get(), Err(shmkit::Error::Corrupt { .. })), "{number}");
        assert_eq!((queue.len(), queue.unfinished_tasks()), (0, 0));
        // One that is nowhere else in the file, so that the next mark is found.
        words.write(0, &[0; 8 + 1 + MARK.len()]);
        queue.put(&("another".into(), vec![], Some(value.clone()))).unwrap();
        assert!(queue.get().unwrap().2.unwrap().is_same(&value));
        queue.task_done().unwrap();
    }
}

/// A lock of the queue in this file, as one that is held by the thread that runs the tests; or free.
fn set_lock(path: &Path, which: usize, is_held: bool) {
    let holder = if is_held { std::process::id() } else { 0 };
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&holder.to_ne_bytes(), words_at(path) + LOCKS[which]).unwrap();
}

/// Who has memory to send and too much is under way looks at what is in, which a consumer that was stopped keeps it
/// from.
#[test]
fn a_stopped_consumer_and_a_full_socket() {
    let _deadline = Deadline::seconds(60, "a_stopped_consumer_and_a_full_socket");
    let folder = scratch::Folder::new();
    let path = folder.join("region");
    let region = Region::create(path.as_path(), 1 << 17).unwrap();
    let queue = Queue::<Object>::options().capacity(1 << 16).create_in(&region, None).unwrap();
    let object: Object = (MARK.into(), vec![], Some(Value::new(7).unwrap()));
    let count = (0..).take_while(|_| queue.try_put(&object).is_ok()).count();
    assert!(!queue.is_full() && count > 20, "{count}");
    set_lock(&path, 1, true);
    assert!(queue.try_put(&object).unwrap_err().is_would_block());
    for time in [SHORT, Duration::from_millis(250)] {
        let said = queue.put_timeout(&object, time);
        assert!(said.as_ref().is_err_and(shmkit::Error::is_timed_out), "{said:?}");
    }
    set_lock(&path, 1, false);
    (0..count).for_each(|_| assert_eq!(queue.get().unwrap().2.unwrap().get().unwrap(), 7));
    queue.put(&object).unwrap();
}

/// The time is over, and another consumer is at work, when an object turns out to be none: it is done all the same.
#[test]
fn an_object_is_refused_late() {
    static PATH: Mutex<Option<PathBuf>> = Mutex::new(None);
    #[derive(Serialize)]
    struct Refused(&'static str);
    impl<'de> Deserialize<'de> for Refused {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            let path = PATH.lock().unwrap().clone().unwrap();
            set_lock(&path, 1, true);
            thread::sleep(2 * SHORT);
            thread::spawn(move || {
                thread::sleep(20 * SHORT);
                set_lock(&path, 1, false);
            });
            Err(D::Error::custom("not this one"))
        }
    }
    let _deadline = Deadline::seconds(60, "an_object_is_refused_late");
    let folder = scratch::Folder::new();
    let path = folder.join("queue");
    *PATH.lock().unwrap() = Some(path.clone());
    let queue = Queue::<Refused>::create(path).unwrap();
    queue.put(&Refused(MARK)).unwrap();
    assert!(matches!(queue.get_timeout(SHORT), Err(shmkit::Error::NotSendable { .. })));
    assert_eq!(queue.unfinished_tasks(), 0);
}
