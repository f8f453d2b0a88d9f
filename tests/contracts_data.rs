//! What Python's `multiprocessing` promises of values, arrays and shared memory, under each start method. The comments
//! name the tests of CPython's suite. What its types make impossible to get wrong is in `tests/ui`.
#![expect(unsafe_code, reason = "uses arrays without a lock")]

mod alone;
mod scratch;

use std::{fmt::Debug, fs, path::Path, sync::atomic::Ordering::Relaxed, time::Duration};

use scratch::{Folder, Name};
use shmkit::{
    Array, AtomicArray, AtomicElement, AtomicValue, Error, Process, RawArray, Region, Result, Value,
    bytemuck::{Pod, Zeroable},
    process::{ExitStatus, Message, Outcome, StartMethod, Target},
};

const DEADLINE: Duration = Duration::from_secs(60);
const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Fork];

fn main() {
    shmkit::init();
    alone::run(&[
        ("values", values),
        ("values_without_a_lock", values_without_a_lock),
        ("one_lock_for_all_handles", one_lock_for_all_handles),
        ("arrays", arrays),
        ("arrays_without_a_lock", arrays_without_a_lock),
        ("arrays_of_atomics", arrays_of_atomics),
        ("new_arrays_are_zeroed", new_arrays_are_zeroed),
        ("doubled_under_a_lock", doubled_under_a_lock),
        ("doubled_without_a_lock", doubled_without_a_lock),
        ("copies_are_independent", copies_are_independent),
        ("names_and_sizes", names_and_sizes),
        ("by_name_and_by_handle", by_name_and_by_handle),
        ("handles_outlive_the_name", handles_outlive_the_name),
        ("a_terminated_creator", a_terminated_creator),
    ]);
}

fn joined<T>(process: &Process<T>) -> Result<T> {
    match process.join_timeout(DEADLINE)? {
        Some(value) => Ok(value),
        None => {
            process.kill()?;
            panic!("{process:?} has not ended");
        }
    }
}

fn run<F, A>(method: StartMethod, target: F, args: A) -> <F::Outcome as Outcome>::Output
where
    F: Target<A>,
    A: Message,
{
    let child = Process::builder(target).args(args).start_method(method).start().unwrap();
    joined(&child).unwrap()
}

/// `#[repr(C)]`, with a field of each size, and no padding.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Record {
    wide: f64,
    long: i64,
    int: i32,
    short: i16,
    byte: u8,
    flag: u8,
}

const RECORD: Record = Record { wide: 1.5, long: -1 << 40, int: 3, short: -4, byte: 5, flag: 1 };

/// `test_value`.
fn values() {
    fn replace<T: Pod + Debug + PartialEq>(value: Value<T>, old: Value<T>, new: Value<T>) -> Result<()> {
        assert_eq!(value.get()?, old.get()?, "as it was made");
        value.set(new.get()?)
    }
    fn check<T: Pod + Debug + PartialEq>(old: T, new: T) {
        for method in METHODS {
            let value = Value::new(old).unwrap();
            assert_eq!(value.get().unwrap(), old);
            // What cannot be written as serde's data travels in shared memory too.
            let expected = (Value::new(old).unwrap(), Value::new(new).unwrap());
            run(method, replace::<T>, (value.clone(), expected.0, expected.1));
            assert_eq!(value.get().unwrap(), new);
        }
    }
    check(i32::MIN, i32::MAX);
    check(3.5_f64, -1.25);
    check(-232_i16, 234);
    check(i64::MIN + 1, i64::MAX - 1);
    check(b'x', b'y');
    check(u128::MAX, 1 << 100);
    check(RECORD, Record { long: 17, ..RECORD });
    check([[1_u16; 3]; 4], [[2; 3]; 4]);
}

/// `test_rawvalue`.
fn values_without_a_lock() {
    fn exchange<T: AtomicElement + Message + Debug + PartialEq>(value: AtomicValue<T>, old: T, new: T) {
        assert_eq!(value.swap(new, Relaxed), old);
    }
    fn check<T: AtomicElement + Message + Copy + Debug + PartialEq>(old: T, new: T) {
        for method in METHODS {
            let value = AtomicValue::new(old).unwrap();
            assert_eq!(value.load(Relaxed), old);
            run(method, exchange::<T>, (value.clone(), old, new));
            assert_eq!(value.load(Relaxed), new);
        }
    }
    check(i32::MIN, i32::MAX);
    check(3.5_f64, -1.25);
    check(-232_i16, 234);
    check(i64::MIN + 1, i64::MAX - 1);
    check(b'x', b'y');
    check(false, true);
}

/// `test_getobj_getlock`: the guard is the object, and the lock belongs to all handles of it. The kinds without a lock
/// have no `lock`.
fn one_lock_for_all_handles() {
    fn is_free(value: Value<i32>, array: Array<i32>) -> (bool, bool) {
        let is_held = |result: Result<()>| match result {
            Ok(()) => false,
            Err(error) if error.is_would_block() => true,
            Err(error) => panic!("{error}"),
        };
        (!is_held(value.try_lock().map(drop)), !is_held(array.try_lock().map(drop)))
    }
    let (value, array) = (Value::new(1).unwrap(), Array::from_iter(0..3).unwrap());
    let args = || (value.clone(), array.clone());
    for method in METHODS {
        assert_eq!(run(method, is_free, args()), (true, true));
    }
    let mut guard = value.lock().unwrap();
    *guard += 1;
    assert!(matches!(value.clone().try_lock(), Err(Error::WouldBlock | Error::WouldDeadlock)));
    assert_eq!(run(StartMethod::Spawn, is_free, args()), (false, true));
    drop(guard);
    let guard = array.lock().unwrap();
    assert_eq!(run(StartMethod::Spawn, is_free, args()), (true, false));
    drop(guard);
    assert_eq!(run(StartMethod::Spawn, is_free, args()), (true, true));
    assert_eq!(value.get().unwrap(), 2);
}

const NUMBERS: [i32; 10] = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];

fn prefix_sums(numbers: &mut [i32]) {
    for i in 1..numbers.len() {
        numbers[i] += numbers[i - 1];
    }
}

fn expected_sums(mut numbers: Vec<i32>) -> Vec<i32> {
    prefix_sums(&mut numbers);
    numbers
}

/// `test_array`.
fn arrays() {
    fn sum(array: Array<i32>) -> Result<()> {
        prefix_sums(&mut array.lock()?);
        Ok(())
    }
    for method in METHODS {
        let array = Array::from_slice(&NUMBERS).unwrap();
        assert_eq!((array.len(), array.get(3).unwrap()), (10, 821));
        assert!(matches!(array.get(10), Err(Error::OutOfRange { .. })));
        assert_eq!(array.lock().unwrap()[2..7], NUMBERS[2..7]);
        array.lock().unwrap()[4..8].copy_from_slice(&[1, 2, 3, 4]);
        array.set(0, -5).unwrap();
        assert_eq!(array.to_vec().unwrap(), [-5, 626, 934, 821, 1, 2, 3, 4, 714, 831]);
        let expected = expected_sums(array.to_vec().unwrap());
        run(method, sum, (array.clone(),));
        assert_eq!(array.to_vec().unwrap(), expected);
    }
}

/// `test_rawarray`.
fn arrays_without_a_lock() {
    fn sum(array: RawArray<i32>) {
        // SAFETY: the parent waits.
        prefix_sums(unsafe { array.as_mut_slice() });
    }
    for method in METHODS {
        let array = RawArray::<i32>::zeros(10).unwrap();
        // SAFETY: nobody else knows of the array.
        let elements = unsafe { array.as_mut_slice() };
        elements.copy_from_slice(&NUMBERS);
        elements[4..8].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!((array.len(), elements[3], &elements[2..5]), (10, 821, &[934, 821, 1][..]));
        let expected = expected_sums(elements.to_vec());
        run(method, sum, (array.clone(),));
        // SAFETY: the child has ended, and the slice above is not used any more.
        assert_eq!(unsafe { array.as_slice() }, expected);
    }
}

/// The same of an array whose elements are atomic.
fn arrays_of_atomics() {
    fn sum(array: AtomicArray<i32>) -> Result<()> {
        let mut numbers = array.to_vec();
        prefix_sums(&mut numbers);
        array.store_from(0, &numbers)
    }
    for method in METHODS {
        let array = AtomicArray::from_slice(&NUMBERS).unwrap();
        array.store_from(4, &[1, 2, 3, 4]).unwrap();
        let mut slice = [0; 3];
        array.load_into(2, &mut slice).unwrap();
        assert_eq!((array.len(), array[3].load(Relaxed), slice), (10, 821, [934, 821, 1]));
        let expected = expected_sums(array.to_vec());
        run(method, sum, (array.clone(),));
        assert_eq!(array.to_vec(), expected);
    }
}

/// `test_array_from_size`, `test_accepts_long`: also where the memory was used before.
fn new_arrays_are_zeroed() {
    let region = Region::anonymous(1 << 16).unwrap();
    for size in [10, 1000, 100_000] {
        for _ in 0..3 {
            let array = Array::<i32>::zeros(size).unwrap();
            assert_eq!(array.to_vec().unwrap(), vec![0; size]);
            array.lock().unwrap().fill(-1);
            let atomics = AtomicArray::<u64>::zeros(size).unwrap();
            assert_eq!(atomics.to_vec(), vec![0; size]);
            atomics.store_from(0, &vec![u64::MAX; size]).unwrap();
        }
    }
    for _ in 0..3 {
        let array = Array::<u8>::zeros_in(&region, "a", 1000).unwrap();
        assert_eq!(array.to_vec().unwrap(), [0; 1000]);
        array.lock().unwrap().fill(0xff);
        drop(array);
        region.remove("a").unwrap();
    }
    // The same name, again and again.
    let name = Name::new();
    for _ in 0..3 {
        let array = Array::<u8>::create(&*name, 10_000).unwrap();
        assert_eq!(array.to_vec().unwrap(), [0; 10_000]);
        array.lock().unwrap().fill(0xff);
        Region::unlink(&*name).unwrap();
    }
}

fn double(record: &mut Record) {
    record.wide *= 2.0;
    record.long *= 2;
    record.int *= 2;
}

const DOUBLED: Record = Record { wide: 3.0, long: -1 << 41, int: 6, ..RECORD };

/// `test_synchronize`.
fn doubled_under_a_lock() {
    type Shared = (Value<i32>, Value<f64>, Value<i64>, Value<Record>, Array<f64>, Array<u8>);
    fn work(x: Value<i32>, y: Value<f64>, z: Value<i64>, r: Value<Record>, a: Array<f64>, s: Array<u8>) -> Result<()> {
        x.update(|x| 2 * x)?;
        y.update(|y| 2.0 * y)?;
        z.update(|z| 2 * z)?;
        double(&mut *r.lock()?);
        a.lock()?.iter_mut().for_each(|element| *element *= 2.0);
        // A text, doubled in place.
        let mut text = s.lock()?;
        let half = text.len() / 2;
        text.copy_within(..half, half);
        Ok(())
    }
    for method in METHODS {
        let shared: Shared = (
            Value::new(7).unwrap(),
            Value::new(1.0 / 3.0).unwrap(),
            Value::new(1 << 33).unwrap(),
            Value::new(RECORD).unwrap(),
            Array::from_iter((0..10).map(f64::from)).unwrap(),
            Array::from_slice(b"hello\0\0\0\0\0").unwrap(),
        );
        let (x, y, z, r, a, s) = shared.clone();
        run(method, work, shared);
        assert_eq!((x.get().unwrap(), y.get().unwrap(), z.get().unwrap()), (14, 2.0 / 3.0, 1 << 34));
        assert_eq!(r.get().unwrap(), DOUBLED);
        assert_eq!(a.to_vec().unwrap(), (0..10).map(|i| 2.0 * f64::from(i)).collect::<Vec<_>>());
        assert_eq!(s.to_vec().unwrap(), b"hellohello");
    }
}

/// `test_sharedctypes`.
fn doubled_without_a_lock() {
    fn work(x: AtomicValue<i64>, y: AtomicValue<f64>, r: RawArray<Record>, s: RawArray<u8>) {
        x.fetch_add(x.load(Relaxed), Relaxed);
        y.fetch_add(y.load(Relaxed), Relaxed);
        // SAFETY: the parent waits.
        unsafe { r.as_mut_slice() }.iter_mut().for_each(double);
        // SAFETY: as above.
        unsafe { s.as_mut_slice() }.copy_within(..5, 5);
    }
    for method in METHODS {
        let (x, y) = (AtomicValue::new(1_i64 << 33).unwrap(), AtomicValue::new(1.0 / 3.0).unwrap());
        let (r, s) = (RawArray::<Record>::zeros([2, 2]).unwrap(), RawArray::<u8>::zeros(10).unwrap());
        // SAFETY: nobody else knows of the array.
        unsafe { r.as_mut_slice() }.fill(RECORD);
        // SAFETY: as above.
        let text = unsafe { s.as_mut_slice() };
        text[..5].copy_from_slice(b"hello");
        run(method, work, (x.clone(), y.clone(), r.clone(), s.clone()));
        assert_eq!((x.load(Relaxed), y.load(Relaxed)), (1 << 34, 2.0 / 3.0));
        // SAFETY: the child has ended.
        assert_eq!(unsafe { r.as_slice() }, [DOUBLED; 4]);
        // SAFETY: as above.
        assert_eq!(unsafe { s.as_slice() }, b"hellohello");
    }
}

/// `test_copy`.
fn copies_are_independent() {
    let value = Value::new(RECORD).unwrap();
    let (copy, clone) = (Value::new(value.get().unwrap()).unwrap(), value.clone());
    value.lock().unwrap().int = 0;
    assert_eq!((copy.get().unwrap(), clone.get().unwrap().int), (RECORD, 0));
    assert!(clone.is_same(&value) && !copy.is_same(&value));
    let array = Array::from_slice(&NUMBERS).unwrap();
    let (copy, clone) = (Array::from_slice(&array.to_vec().unwrap()).unwrap(), array.clone());
    array.lock().unwrap().fill(0);
    assert_eq!(copy.to_vec().unwrap(), NUMBERS);
    assert_eq!(clone.to_vec().unwrap(), [0; 10]);
}

/// `test_shared_memory_basics`.
fn names_and_sizes() {
    let (name, folder) = (Name::new(), Folder::new());
    let options = || Region::options().name(&*name);
    assert!(matches!(options().open(), Err(Error::NotFound { .. })));
    assert!(matches!(options().create(), Err(Error::InvalidSize { .. })), "no size");
    assert!(matches!(options().size(0).open_or_create(), Err(Error::InvalidSize { .. })));
    assert!(matches!(Region::options().open(), Err(Error::InvalidArgument { .. })), "no name");
    assert!(matches!(options().read_only(true).size(512).create(), Err(Error::ReadOnly)));
    assert!(!name.path().exists(), "none of these made anything");

    let region = options().size(5000).create().unwrap();
    assert!(region.size() >= 5000);
    assert_eq!(fs::metadata(name.path()).unwrap().len(), region.size() as u64);
    Array::from_slice_in(&region, "a", &NUMBERS).unwrap();
    assert!(matches!(options().size(5000).create(), Err(Error::AlreadyExists { name: n }) if n == *name));
    // Who attaches gets what is there, whatever size they ask for.
    for other in [options().open(), options().size(1 << 20).open(), options().size(1).open_or_create()] {
        let other = other.unwrap();
        assert_eq!(other.size(), region.size());
        assert_eq!(Array::<i32>::open_in(&other, "a").unwrap().to_vec().unwrap(), NUMBERS);
    }
    Region::unlink(&*name).unwrap();
    assert!(matches!(Region::unlink(&*name), Err(Error::NotFound { .. })));
    assert!(matches!(options().open(), Err(Error::NotFound { .. })));
    assert_eq!(Array::<i32>::open_in(&region, "a").unwrap().to_vec().unwrap(), NUMBERS, "who has it keeps it");

    // The same of a file.
    let path = folder.join("region");
    let region = Region::create(&path, 5000).unwrap();
    assert!(matches!(Region::create(&path, 5000), Err(Error::AlreadyExists { .. })));
    assert!(Region::options().file(&path).size(1).open_or_create().unwrap().is_same(&region));
    Region::unlink(&path).unwrap();
    assert!(matches!(Region::unlink(&path), Err(Error::NotFound { .. })));
    assert!(matches!(Region::open(&path), Err(Error::NotFound { .. })));
}

/// `test_shared_memory_across_processes`.
fn by_name_and_by_handle() {
    fn write(region: Region, name: String, method: u8) -> Result<bool> {
        let found = Region::open(&name)?;
        Array::<u8>::open_in(&region, "by handle")?.lock()?.fill(method);
        Array::<u8>::open_in(&found, "by name")?.lock()?.fill(method + 1);
        Ok(found.is_same(&region))
    }
    let name = Name::new();
    let region = Region::create(&*name, 4096).unwrap();
    let by_handle = Array::<u8>::zeros_in(&region, "by handle", 5).unwrap();
    let by_name = Array::<u8>::zeros_in(&region, "by name", 5).unwrap();
    for (number, method) in (10..).step_by(2).zip(METHODS) {
        assert!(run(method, write, (region.clone(), name.to_string(), number)));
        assert_eq!(by_handle.to_vec().unwrap(), [number; 5]);
        assert_eq!(by_name.to_vec().unwrap(), [number + 1; 5]);
    }
}

/// `test_shared_memory_pickle_unpickle`: handles travel with their memory, not with its name, so that it may be gone.
fn handles_outlive_the_name() {
    fn change(array: Array<u8>, value: Value<u32>, name: String) -> Result<bool> {
        array.set(0, 7)?;
        value.set(8)?;
        Ok(matches!(Array::<u8>::open(name), Err(Error::NotFound { .. })))
    }
    let folder = Folder::new();
    for method in METHODS {
        let (name, file) = (Name::new(), folder.join("value"));
        let (array, value) = (Array::<u8>::create(&*name, 5).unwrap(), Value::create(&file, 0).unwrap());
        Region::unlink(&*name).unwrap();
        Region::unlink(&file).unwrap();
        assert!(run(method, change, (array.clone(), value.clone(), name.to_string())));
        assert_eq!((array.get(0).unwrap(), value.get().unwrap()), (7, 8));
    }
}

/// `test_shared_memory_cleaned_after_process_termination`: memory without a name goes with its last user; what has a
/// name keeps it, and its contents, until it is unlinked. No tracker is needed for either.
fn a_terminated_creator() {
    fn create(name: String, inode: AtomicValue<u64>) -> Result<()> {
        let kept = Value::create(&name, 7_u32)?;
        let anonymous = Region::anonymous(1 << 20)?;
        let found = memory_files("self").into_iter().find(|line| is_large(line));
        let line = found.unwrap_or_else(|| panic!("{anonymous:?} is not mapped: {:?}", memory_files("self")));
        inode.store(line.split_ascii_whitespace().nth(4).unwrap().parse().unwrap(), Relaxed);
        loop {
            std::thread::park_timeout(DEADLINE);
            drop(kept.lock());
        }
    }
    for method in METHODS {
        let (name, inode) = (Name::new(), AtomicValue::new(0).unwrap());
        let args = (name.to_string(), inode.clone());
        let child = Process::builder(create).args(args).start_method(method).start().unwrap();
        while inode.load(Relaxed) == 0 {
            assert!(child.is_alive());
            std::thread::yield_now();
        }
        let anonymous = inode.load(Relaxed);
        assert_eq!(users_of(anonymous), [child.pid().to_string()]);
        child.terminate().unwrap();
        assert!(joined(&child).is_err());
        assert_eq!(child.exit_status(), Some(ExitStatus::Signal(15)));
        assert!(users_of(anonymous).is_empty());
        assert_eq!(Value::<u32>::open(&*name).unwrap().get().unwrap(), 7);
    }
}

/// The lines of the maps of a process that are memory files of this crate.
fn memory_files(process: &str) -> Vec<String> {
    let maps = fs::read_to_string(Path::new("/proc").join(process).join("maps")).unwrap_or_default();
    maps.lines().filter(|line| line.contains("/memfd:shmkit")).map(str::to_owned).collect()
}

/// Whether a line of maps is of a mebibyte.
fn is_large(line: &str) -> bool {
    let range = line.split_ascii_whitespace().next().and_then(|range| range.split_once('-'));
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    range.is_some_and(|(start, end)| number(end) - number(start) == 1 << 20)
}

/// The processes that have mapped the memory file of this inode.
fn users_of(inode: u64) -> Vec<String> {
    let field = inode.to_string();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    processes
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .filter(|name| memory_files(name).iter().any(|line| line.split_ascii_whitespace().nth(4) == Some(&field)))
        .collect()
}
