//! A region's image with arbitrary damage: whatever a user does with it then, there is an answer.
//!
//! An answer is a value or an error. A crash ends this test; so does a hang, by the deadline of each case.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index, test_runner::Config};
use shmkit::{Array, AtomicArray, AtomicValue, Lock, RLock, RawArray, Region, Value};

const SIZE: usize = 8192;

/// More than any case should take, on a slow machine too: damaged locks cost some slices of 100 ms.
const DEADLINE: Duration = Duration::from_secs(20);

/// A file that goes with this.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        Self(std::env::temp_dir().join(format!("shmkit-fuzz-{}-{number}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn fill(region: &Region) {
    Value::new_in(region, "value", 7_u64).unwrap();
    Value::new_in(region, "struct", [1.5_f64; 5]).unwrap();
    Array::from_slice_in(region, "array", &[1_i32, 2, 3, 4]).unwrap();
    Array::<f32>::zeros_in(region, "grid", [4, 5, 6]).unwrap();
    AtomicValue::new_in(region, "flag", true).unwrap();
    AtomicArray::<u16>::zeros_in(region, "counts", 33).unwrap();
    RawArray::<u8>::zeros_in(region, "bytes", 100).unwrap();
    Array::<u16>::growable_in(region, "log", [1, 2], 20).unwrap();
    Lock::new_in(region, "lock").unwrap();
    RLock::new_in(region, "rlock").unwrap();
    Value::new_in(region, None, 1_u8).unwrap();
    Value::new_in(region, "gone", 1_u8).unwrap();
    region.remove("gone").unwrap();
}

/// A whole image, as it lies in a file when nobody has it open.
static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let scratch = Scratch::new();
    fill(&Region::create(scratch.0.as_path(), SIZE).unwrap());
    fs::read(&scratch.0).unwrap()
});

/// All that a user can do with a region. The answers do not matter.
fn use_all(region: &Region) {
    let _ = (region.names(), region.left(), region.size());
    if let Ok(value) = Value::<u64>::open_in(region, "value") {
        let _ = value.try_lock().map(|mut guard| *guard = guard.wrapping_add(1));
        let _ = value.try_recover().map(|mut guard| guard.clear_poison());
        let _ = format!("{value:?}");
    }
    let _ = Value::<[f64; 5]>::open_in(region, "struct").map(|value| value.try_lock().map(|guard| guard[4]));
    if let Ok(array) = Array::<i32>::open_in(region, "array") {
        let _ = array.try_lock().map(|mut guard| guard.iter_mut().for_each(|x| *x ^= 1));
    }
    if let Ok(grid) = Array::<f32>::open_in(region, "grid") {
        let _ = grid.try_lock().map(|mut guard| guard.fill(1.0));
        assert_eq!(grid.shape().iter().product::<usize>(), grid.len());
    }
    let _ =
        AtomicValue::<bool>::open_in(region, "flag").map(|flag| (flag.load(Relaxed), flag.fetch_xor(true, Relaxed)));
    if let Ok(log) = Array::<u16>::open_in(region, "log") {
        let _ = (log.extend_from_slice(&[1, 2]), log.grow(5), log.shape().len());
        let _ = log.try_claim_mut(..).map(|mut claim| claim.fill(3));
        let _ = log.try_lock().map(|mut guard| (guard.extend_from_slice(&[5; 4]), guard.fill(7)));
        assert!(log.len() <= log.capacity());
    }
    let _ = (region.grow(SIZE), region.grow(2 * SIZE));
    if let Ok(counts) = AtomicArray::<u16>::open_in(region, "counts") {
        let _ = counts.iter().map(|count| u64::from(count.fetch_add(1, Relaxed))).sum::<u64>();
        let _ = counts.to_vec();
    }
    if let Ok(bytes) = RawArray::<u8>::open_in(region, "bytes") {
        #[expect(unsafe_code, reason = "touches every byte")]
        // SAFETY: nobody else has this region.
        let bytes = unsafe { bytes.as_mut_slice() };
        bytes.fill(1);
    }
    let _ = Lock::open_in(region, "lock").map(|lock| lock.try_lock().is_ok());
    let _ = RLock::open_in(region, "rlock").map(|lock| lock.try_lock().is_ok_and(|_| lock.try_lock().is_ok()));
    let _ = Value::new_in(region, "new", 3_u64).map(|value| value.try_lock().map(|guard| *guard));
    let _ = Array::<u64>::zeros_in(region, None, 20).map(|array| array.try_lock().map(|guard| guard.len()));
    let _ = Value::open_or_create_in(region, "value", 3_u64);
    let _ = (region.remove("array"), region.remove("nothing"));
}

fn check(image: &[u8]) {
    let begun = Instant::now();
    let scratch = Scratch::new();
    File::create(&scratch.0).unwrap().write_all_at(image, 0).unwrap();
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o600)).unwrap();
    if let Ok(view) = Array::<i32>::open_read_only(scratch.0.as_path()) {
        let _ = view.to_vec();
    }
    let _ = Value::<u64>::open(scratch.0.as_path());
    if let Ok(region) = Region::open(scratch.0.as_path()) {
        use_all(&region);
    }
    if let Ok(region) = Region::options().file(&scratch.0).size(SIZE).open_or_create() {
        use_all(&region);
    }
    assert!(begun.elapsed() < DEADLINE, "took {:?}", begun.elapsed());
}

/// Bytes that are more likely than others to do harm.
fn harmful() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop_oneof![
            Just(0_u64),
            Just(1),
            Just(u64::MAX),
            Just(1 << 63),
            Just(SIZE as u64),
            0..SIZE as u64,
            any::<u64>()
        ]
        .prop_map(|word| word.to_ne_bytes().to_vec()),
        any::<u32>().prop_map(|word| word.to_ne_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..64),
    ]
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Where the words of an image begin that are not part of an object's own data: the header and the blocks' heads.
const BUSY: usize = 1600;

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn damage_anywhere(damages in prop::collection::vec((0..BUSY, harmful()), 1..6)) {
        let mut image = IMAGE.clone();
        for (at, bytes) in damages {
            let end = (at + bytes.len()).min(image.len());
            image[at..end].copy_from_slice(&bytes[..end - at]);
        }
        check(&image);
    }

    #[test]
    fn words_out_of_place(from in any::<Index>(), to in any::<Index>(), count in 1_usize..40) {
        let mut image = IMAGE.clone();
        let (from, to) = (from.index(BUSY / 8 - 40) * 8, to.index(BUSY / 8 - 40) * 8);
        image.copy_within(from..from + 8 * count, to);
        check(&image);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn cut_or_grown(len in 0..2 * SIZE, damage in prop::option::of((0..BUSY, any::<u8>()))) {
        let mut image = IMAGE.clone();
        image.resize(len, 0xAA);
        if let Some((at, byte)) = damage && at < len {
            image[at] = byte;
        }
        check(&image);
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..2000), with_magic in any::<bool>()) {
        let mut image = bytes;
        if with_magic && image.len() >= 184 {
            image[..40].copy_from_slice(&IMAGE[..40]);
            image[120..184].copy_from_slice(&IMAGE[120..184]);
        }
        check(&image);
    }
}
