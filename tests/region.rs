//! Regions among real processes: who creates, who finds what, and what stays when processes and names go.

mod scratch;
mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use scratch::{Folder, Name, part, role};
use shmkit::{Array, AtomicArray, AtomicValue, Error, Lock, Process, RawArray, Region, Result, Value, region::Place};
use support::Deadline;

shmkit::init_in_tests!();

const SOON: Duration = Duration::from_secs(30);
const RACERS: usize = 8;
const ROUNDS: usize = 100;

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(2 * SOON)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

/// A process that was not started by shmkit, and does one thing for each line that it is sent.
struct Racer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Racer {
    /// Starts one that runs `test` with this role.
    fn new(test: &str, role: &str) -> Self {
        let mut child = part(test, role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, orders, answers }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "a racer has ended");
            // Between the lines of the test program.
            if let Some((_, answer)) = line.trim_end().split_once("answer: ") {
                return answer.to_owned();
            }
        }
    }

    /// The racer's own side of it: until its parent hangs up, or dies.
    fn serve(mut answer: impl FnMut(&str) -> String) {
        for line in std::io::stdin().lines() {
            println!("answer: {}", answer(&line.unwrap()));
        }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends all racers off at a time, and returns their answers.
fn race(racers: &mut [Racer], order: &str) -> Vec<String> {
    for racer in &mut *racers {
        racer.order(order);
    }
    racers.iter_mut().map(Racer::answer).collect()
}

fn count(answers: &[String], what: &str) -> usize {
    answers.iter().filter(|answer| *answer == what).count()
}

/// What a racer does at a place: the kind of object, and how it is come by.
fn enter(how: &str, place: Place) -> String {
    let made = match how {
        "region" => Region::create(place.clone(), 8192).map(|region| drop(Lock::new_in(&region, "mine").unwrap())),
        "object" => Value::create(place.clone(), std::process::id()).map(drop),
        // One adds under the lock to whatever it found or made: a second creation would lose some.
        "region or open" => Region::options().at(place.clone()).size(8192).open_or_create().and_then(|region| {
            Value::open_or_create_in(&region, "count", 0_u32)?.update(|n| n + 1)?;
            AtomicArray::<u32>::open_or_create_in(&region, "atomic", 3)?[2].fetch_add(1, Relaxed);
            Ok(())
        }),
        "object or open" => {
            Value::open_or_create(place.clone(), 0_u32).and_then(|value| value.update(|n| n + 1)).map(drop)
        }
        other => panic!("no way is called {other}"),
    };
    match made {
        Ok(()) => "made".into(),
        Err(Error::AlreadyExists { name }) if name == place.to_string() => "exists".into(),
        Err(error) => error.to_string(),
    }
}

fn place(text: &str) -> Place {
    if text.starts_with('/') { Place::File(text.into()) } else { Place::from(text) }
}

fn serve_race(role: &str) {
    if role == "without nameless files" {
        #[cfg(feature = "death-points")]
        shmkit::test_hooks::without_nameless_files();
    }
    Racer::serve(|line| {
        let (how, at) = line.split_once(": ").unwrap();
        enter(how, place(at))
    });
}

fn races(test: &str, role: &str, at: &Place) {
    let mut racers: Vec<_> = (0..RACERS).map(|_| Racer::new(test, role)).collect();
    for round in 0..ROUNDS {
        for how in ["region", "object"] {
            let answers = race(&mut racers, &format!("{how}: {at}"));
            assert_eq!(
                (count(&answers, "made"), count(&answers, "exists")),
                (1, RACERS - 1),
                "round {round}, {how}: {answers:?}"
            );
            // A region that is there is whole, whoever of them made it.
            let found = Region::open(at.clone()).unwrap();
            if how == "region" {
                assert_eq!((found.size(), found.names().unwrap()), (8192, vec!["mine".to_owned()]));
            } else {
                let maker = Value::<u32>::open(at.clone()).unwrap().get().unwrap();
                assert!(racers.iter().any(|racer| racer.child.id() == maker), "{maker}");
            }
            Region::unlink(at.clone()).unwrap();
        }
        for how in ["region or open", "object or open"] {
            let answers = race(&mut racers, &format!("{how}: {at}"));
            assert_eq!(count(&answers, "made"), RACERS, "round {round}, {how}: {answers:?}");
            let found = Region::open(at.clone()).unwrap();
            let value = match how {
                "region or open" => {
                    let atomics = AtomicArray::<u32>::open_in(&found, "atomic").unwrap().to_vec();
                    assert_eq!(atomics, [0, 0, RACERS as u32]);
                    assert_eq!(found.names().unwrap().len(), 2);
                    Value::<u32>::open_in(&found, "count").unwrap()
                }
                _ => Value::open(at.clone()).unwrap(),
            };
            assert_eq!(value.get().unwrap(), RACERS as u32, "all of them have the same");
            Region::unlink(at.clone()).unwrap();
        }
    }
}

#[test]
fn eight_processes_race_for_a_name() {
    if let Some(role) = role() {
        return serve_race(&role);
    }
    let _deadline = Deadline::seconds(120, "eight_processes_race_for_a_name");
    let name = Name::new();
    races("eight_processes_race_for_a_name", "", &Place::from(&*name));
}

#[test]
fn eight_processes_race_for_a_file() {
    if let Some(role) = role() {
        return serve_race(&role);
    }
    let _deadline = Deadline::seconds(120, "eight_processes_race_for_a_file");
    let folder = Folder::new();
    races("eight_processes_race_for_a_file", "", &Place::from(folder.join("region")));
    assert_eq!(folder_is_empty(&folder), Ok(()));
}

fn folder_is_empty(folder: &Folder) -> Result<(), Vec<String>> {
    let names: Vec<_> =
        fs::read_dir(folder.join(".")).unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
    if names.is_empty() { Ok(()) } else { Err(names) }
}

/// As on a kernel or file system without `O_TMPFILE`.
#[cfg(feature = "death-points")]
#[test]
fn eight_processes_race_without_nameless_files() {
    if let Some(role) = role() {
        return serve_race(&role);
    }
    let _deadline = Deadline::seconds(240, "eight_processes_race_without_nameless_files");
    let (name, folder) = (Name::new(), Folder::new());
    let test = "eight_processes_race_without_nameless_files";
    races(test, "without nameless files", &Place::from(&*name));
    races(test, "without nameless files", &Place::from(folder.join("region")));
}

/// A creator that fails, here for want of memory, must not take the name of another's region with it.
#[cfg(feature = "death-points")]
#[test]
fn a_creator_that_fails_removes_only_its_own() {
    if let Some(role) = role() {
        shmkit::test_hooks::without_nameless_files();
        return Racer::serve(|name| match role.as_str() {
            "fails" => match Region::options().name(name).size(1 << 50).open_or_create() {
                Err(Error::OutOfMemory { .. }) => "failed".into(),
                other => format!("{other:?}"),
            },
            _ => match Value::open_or_create(name, 7_u32) {
                // It was there, so it stays there: nobody unlinks it.
                Ok(value) => format!("{}", Value::<u32>::open(name).is_ok_and(|found| found.is_same(&value))),
                Err(error) => error.to_string(),
            },
        });
    }
    let _deadline = Deadline::seconds(120, "a_creator_that_fails_removes_only_its_own");
    let name = Name::new();
    let test = "a_creator_that_fails_removes_only_its_own";
    let mut racers: Vec<_> =
        ["fails", "makes", "fails", "makes"].map(|role| Racer::new(test, role)).into_iter().collect();
    for round in 0..1000 {
        let answers = race(&mut racers, &name);
        assert_eq!([&answers[1], &answers[3]], ["true"; 2], "round {round}: {answers:?}");
        assert_eq!(Value::<u32>::open(&*name).unwrap().get().unwrap(), 7, "round {round}");
        Region::unlink(&*name).unwrap();
    }
}

/// Whoever has it keeps it, and the name is free at once.
#[test]
fn unlinked_while_others_hold_it() {
    const TEST: &str = "unlinked_while_others_hold_it";
    if role().is_some() {
        let mut held: Vec<Value<u32>> = Vec::new();
        return Racer::serve(|line| match line.split_once(": ") {
            Some(("open", name)) => {
                held.push(Value::open(name).unwrap());
                "opened".into()
            }
            _ => {
                let counts: Vec<_> = held.iter().map(|value| value.update(|n| n + 1).unwrap().to_string()).collect();
                counts.join(" ")
            }
        });
    }
    let _deadline = Deadline::seconds(120, TEST);
    let name = Name::new();
    let mut others = [Racer::new(TEST, ""), Racer::new(TEST, "")];
    let mut kept = Vec::new();
    for generation in 0..5_u32 {
        kept.push(Value::create(&*name, 100 * generation).unwrap());
        assert_eq!(race(&mut others, &format!("open: {}", &*name)), ["opened", "opened"]);
        Value::<u32>::unlink(&*name).unwrap();
        assert!(matches!(Value::<u32>::open(&*name), Err(Error::NotFound { .. })));
        for other in &mut others {
            other.order("add");
            other.answer();
        }
    }
    let counts: Vec<_> = kept.iter().map(|value| value.get().unwrap()).collect();
    assert_eq!(counts, [10, 108, 206, 304, 402]);
    // The makers go, and then all but one: the memory stays to the last.
    kept.clear();
    others[1].child.kill().unwrap();
    others[0].order("add");
    assert_eq!(others[0].answer(), "11 109 207 305 403");
}

/// A mapping that cannot be written finds everything, sees what others write, and refuses whatever would write.
#[test]
fn read_only_in_another_process() {
    fn read(at: String, turn: Value<u32>, by_handle: Region) -> Result<()> {
        let region = Region::options().at(place(&at)).read_only(true).open()?;
        assert!(region.is_read_only() && by_handle.is_read_only() && by_handle.is_same(&region));
        let mut names = region.names()?;
        names.sort();
        assert_eq!((names, region.size()), (vec!["array".to_owned(), "value".to_owned()], 8192));
        assert!(region.left()? < 8192);
        assert!(matches!(Value::<u32>::open_in(&region, "value"), Err(Error::ReadOnly)));
        assert!(matches!(Value::open_or_create_in(&region, "value", 1_u32), Err(Error::ReadOnly)));
        assert!(matches!(Value::new_in(&region, None, 1_u32), Err(Error::ReadOnly)));
        assert!(matches!(region.remove("value"), Err(Error::ReadOnly)));
        turn.set(1)?;
        wait_for(&turn, 2);
        // Made since.
        assert!(region.names()?.contains(&"later".to_owned()));
        // Both ways at a time, in one process.
        let writable = Region::open(place(&at))?;
        Value::<u32>::open_in(&writable, "value")?.set(5)?;
        assert!(writable.is_same(&region) && !writable.is_read_only());
        Ok(())
    }
    let _deadline = Deadline::seconds(120, "read_only_in_another_process");
    let (name, folder) = (Name::new(), Folder::new());
    for at in [name.to_string(), folder.join("region").display().to_string()] {
        let region = Region::create(place(&at), 8192).unwrap();
        let value = Value::new_in(&region, "value", 4_u32).unwrap();
        let _array = Array::<u8>::zeros_in(&region, "array", 100).unwrap();
        let turn = Value::new(0).unwrap();
        let by_handle = Region::options().at(place(&at)).read_only(true).open().unwrap();
        let child = Process::spawn(read, (at.clone(), turn.clone(), by_handle)).unwrap();
        wait_for(&turn, 1);
        let _later = Lock::new_in(&region, "later").unwrap();
        turn.set(2).unwrap();
        joined(&child).unwrap();
        assert_eq!(value.get().unwrap(), 5);
    }
}

/// Waits for the turn `number`.
fn wait_for(turn: &Value<u32>, number: u32) {
    support::eventually(|| turn.get().unwrap() == number);
}

/// One that has no right to write can read: the descriptor is opened for that only.
#[test]
fn read_only_without_the_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    const TEST: &str = "read_only_without_the_right_to_write";
    if let Some(name) = role() {
        assert!(Region::options().name(&name).read_only(true).open().unwrap().size() >= 4096);
        assert_eq!(Array::<u8>::open_read_only(&name).unwrap().to_vec(), [1, 2, 3]);
        assert!(matches!(Array::<u8>::open(&name), Err(Error::WrongOwner { .. })));
        return;
    }
    let name = Name::new();
    let array = Array::<u8>::create_from_slice(&*name, &[1, 2, 3]).unwrap();
    fs::set_permissions(name.path(), fs::Permissions::from_mode(0o400)).unwrap();
    let view = Array::<u8>::open_read_only(&*name).unwrap();
    array.set(0, 7).unwrap();
    assert_eq!(view.to_vec(), [7, 2, 3]);
    array.set(0, 1).unwrap();
    if scratch::is_root() {
        // Whom no permission stops, unless the right to pass over them is dropped.
        let under = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];
        match scratch::part_under(&under, TEST, &name).stdout(Stdio::null()).spawn() {
            Ok(child) => assert!(scratch::finish(child).status.success()),
            Err(error) => eprintln!("skipped: {error}"),
        }
    } else {
        scratch::succeed(part(TEST, &name));
    }
}

const MANY: u32 = 10_000;

/// Ten thousand values: made, found by name in another process, and sent there, with one descriptor and one mapping.
#[test]
fn ten_thousand_values_in_one_region() {
    fn own_mappings() -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains("/memfd:shmkit")).count()
    }
    fn by_name(region: Region) -> Result<u64> {
        let mut sum = 0;
        for i in 0..MANY {
            sum += u64::from(Value::<u32>::open_in(&region, &format!("value {i}"))?.update(|n| n + 1)?);
        }
        assert_eq!(own_mappings(), 1);
        Ok(sum)
    }
    fn by_handle(values: Vec<Value<u32>>) -> Result<u64> {
        let mut sum = 0;
        for value in &values {
            sum += u64::from(value.update(|n| n + 1)?);
        }
        assert_eq!(own_mappings(), 1);
        Ok(sum)
    }
    let _deadline = Deadline::seconds(240, "ten_thousand_values_in_one_region");
    let region = Region::anonymous(MANY as usize * 160).unwrap();
    let values: Vec<_> = (0..MANY).map(|i| Value::new_in(&region, format!("value {i}").as_str(), i).unwrap()).collect();
    assert!(matches!(Value::new_in(&region, "value 7", 0), Err(Error::AlreadyExists { .. })));
    let mut names = region.names().unwrap();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), MANY as usize);
    let sum = u64::from(MANY) * u64::from(MANY - 1) / 2;
    assert_eq!(joined(&Process::spawn(by_name, (region.clone(),)).unwrap()).unwrap(), sum + u64::from(MANY));
    let child = Process::spawn(by_handle, (values.clone(),)).unwrap();
    assert_eq!(joined(&child).unwrap(), sum + 2 * u64::from(MANY));
    for (i, value) in values.iter().enumerate() {
        assert_eq!(value.get().unwrap(), i as u32 + 2);
    }
    // Removing every second leaves the others where they were.
    for i in (0..MANY).step_by(2) {
        region.remove(&format!("value {i}")).unwrap();
    }
    for (i, value) in values.iter().enumerate() {
        let found = Value::<u32>::open_in(&region, &format!("value {i}"));
        assert!(if i % 2 == 0 { matches!(found, Err(Error::NotFound { .. })) } else { found.unwrap().is_same(value) });
    }
}

/// Every kind of handle, deep inside other data, to a child and on to its own, and back.
#[test]
fn tickets_go_down_the_generations_and_come_back() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Everything {
        places: Vec<Option<(Region, Vec<Value<u64>>)>>,
        array: Array<u16>,
        raw: RawArray<u8>,
        atomics: (AtomicValue<u32>, AtomicArray<i64>),
        lock: Lock,
    }
    fn pass_on(all: Everything, generations: u32) -> Result<Everything> {
        let _held = all.lock.lock()?;
        for (region, values) in all.places.iter().flatten() {
            for value in values {
                assert!(value.region().is_same(region));
                value.update(|n| n + 1)?;
            }
        }
        all.array.update(0, |n| n + 1)?;
        all.atomics.0.fetch_add(1, Relaxed);
        all.atomics.1[2].fetch_sub(1, Relaxed);
        drop(_held);
        if generations == 0 { Ok(all) } else { joined(&Process::spawn(pass_on, (all, generations - 1))?) }
    }
    let _deadline = Deadline::seconds(120, "tickets_go_down_the_generations_and_come_back");
    let (name, folder) = (Name::new(), Folder::new());
    let regions = [
        Region::anonymous(4096).unwrap(),
        Region::create(&*name, 4096).unwrap(),
        Region::create(folder.join("region"), 4096).unwrap(),
    ];
    let inside = |region: &Region| {
        let values = vec![Value::new_in(region, None, 0).unwrap(), Value::new_in(region, "named", 0).unwrap()];
        Some((region.clone(), values))
    };
    let all = Everything {
        places: regions.iter().map(inside).chain([None]).collect(),
        array: Array::zeros([2, 3]).unwrap(),
        raw: RawArray::zeros_in(&regions[1], "raw", 10).unwrap(),
        atomics: (AtomicValue::new(0).unwrap(), AtomicArray::zeros_in(&regions[0], None, 3).unwrap()),
        lock: Lock::new_in(&regions[2], "lock").unwrap(),
    };
    let back = joined(&Process::spawn(pass_on, (all.clone(), 3)).unwrap()).unwrap();
    for (old, new) in all.places.iter().flatten().zip(back.places.iter().flatten()) {
        assert!(old.0.is_same(&new.0) && old.1[0].is_same(&new.1[0]) && old.1[1].is_same(&new.1[1]));
        assert_eq!((old.1[0].get().unwrap(), old.1[1].get().unwrap()), (4, 4));
    }
    assert!(back.array.is_same(&all.array) && back.raw.is_same(&all.raw) && back.lock.is_same(&all.lock));
    assert_eq!((back.array.shape(), back.array.get([0, 0]).unwrap()), (&[2, 3][..], 4));
    assert_eq!((all.atomics.0.load(Relaxed), all.atomics.1[2].load(Relaxed)), (4, -4));
}

/// What was in flight to a child that died at once is freed, and harms nobody.
#[test]
fn a_ticket_whose_receiver_dies() {
    let _deadline = Deadline::seconds(120, "a_ticket_whose_receiver_dies");
    let value = Value::new(0).unwrap();
    for _ in 0..20 {
        let child = Process::spawn(|value: Value<i32>| value.update(|n| n + 1).map(drop), (value.clone(),)).unwrap();
        child.kill().unwrap();
        let _ = joined(&child);
        match value.recover_timeout(SOON) {
            Ok(mut guard) => guard.clear_poison(),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(value.get().unwrap() <= 20);
}

/// Everybody who has the region dies, some of them while they hold its locks: the data stay, and the locks tell.
#[test]
fn a_file_survives_a_crash_of_all() {
    const TEST: &str = "a_file_survives_a_crash_of_all";
    const HOLDERS: u32 = 4;
    if let Some(at) = role() {
        let region = Region::options().at(place(&at)).size(1 << 16).open_or_create().unwrap();
        let steps = Value::open_or_create_in(&region, "steps", 0_u64).unwrap();
        let ready = AtomicArray::<u32>::open_or_create_in(&region, "ready", HOLDERS as usize).unwrap();
        return Racer::serve(|line| {
            let number: u32 = line.parse().unwrap();
            let mine = Array::<u32>::open_or_create_in(&region, &format!("of {number}"), 100).unwrap();
            mine.recover().unwrap().fill(number);
            steps.update(|n| n + 1).unwrap();
            ready[number as usize].store(std::process::id(), Relaxed);
            // The last thing that it does: to be killed with half of the change made.
            if number % 2 == 1 {
                let mut held = mine.recover().unwrap();
                held[..50].fill(1000 + number);
                println!("answer: held");
                support::sleep_for_ever();
            }
            "ready".into()
        });
    }
    let _deadline = Deadline::seconds(120, TEST);
    let (name, folder) = (Name::new(), Folder::new());
    for at in [folder.join("checkpoint").display().to_string(), name.to_string()] {
        for life in 1..=3_u64 {
            let mut all: Vec<_> = (0..HOLDERS).map(|_| Racer::new(TEST, &at)).collect();
            for (number, one) in all.iter_mut().enumerate() {
                one.order(&number.to_string());
            }
            let answers: Vec<_> = all.iter_mut().map(Racer::answer).collect();
            assert_eq!(answers, ["ready", "held", "ready", "held"]);
            for one in &mut all {
                one.child.kill().unwrap();
            }
            drop(all);
            let region = Region::open(place(&at)).unwrap();
            let ready = AtomicArray::<u32>::open_in(&region, "ready").unwrap();
            assert_eq!(Value::<u64>::open_in(&region, "steps").unwrap().get().unwrap(), life * u64::from(HOLDERS));
            for number in 0..HOLDERS {
                let array = Array::<u32>::open_in(&region, &format!("of {number}")).unwrap();
                let mut guard = array.recover_timeout(SOON).unwrap();
                let dead = ready[number as usize].load(Relaxed);
                assert_eq!(guard.poison().map(|poison| poison.pid), (number % 2 == 1).then_some(Some(dead)));
                assert_eq!(guard[50..], [number; 50]);
                assert_eq!(guard[..50], [if number % 2 == 1 { 1000 + number } else { number }; 50]);
                // Half of the lives repair here, the others leave it to the next.
                if life == 2 {
                    guard.clear_poison();
                }
            }
        }
        Region::unlink(place(&at)).unwrap();
    }
}

/// Whatever a dead creator wrote, the next object in its place begins as zeros.
#[cfg(feature = "death-points")]
#[test]
fn memory_of_a_dead_creator_is_zeroed() {
    let _deadline = Deadline::seconds(120, "memory_of_a_dead_creator_is_zeroed");
    let elements = [0xff_u8; 5000];
    let mut unfinished = 0;
    support::at_every_point(|n| {
        let region = Region::anonymous(1 << 14).unwrap();
        let mut victim = support::Child::start(|| {
            shmkit::test_hooks::arm(n);
            drop(Array::from_slice_in(&region, "a", &elements).unwrap());
            shmkit::test_hooks::arm(0);
            0
        });
        let end = victim.wait();
        match Array::<u8>::zeros_in(&region, "a", elements.len()) {
            Ok(array) => {
                unfinished += 1;
                assert!(array.to_vec().unwrap() == [0; 5000], "at point {n}");
            }
            Err(Error::AlreadyExists { .. }) => {
                assert_eq!(Array::<u8>::open_in(&region, "a").unwrap().to_vec().unwrap(), elements);
            }
            Err(error) => panic!("{error}"),
        }
        end
    });
    assert!(unfinished >= 3, "{unfinished}");
}
