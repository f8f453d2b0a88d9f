//! Rings and rings of two whose words and slots were overwritten: whatever a user does with one then, there is an
//! answer.
//!
//! An answer is a value or an error. A crash ends this test; so does a hang, by the deadline of each case.

#![allow(unsafe_code, reason = "the module with the deadline forks")]

mod scratch;
mod support;

use std::time::Duration;

use proptest::{prelude::*, test_runner::Config};
use scratch::{Folder, Words};
use shmkit::{Error, Result, Ring, SpscRing};
use support::Deadline;

const SHORT: Duration = Duration::from_millis(1);
const CAPACITY: usize = 4;
/// Not a power of two, so that a slot can be told from a word.
type Data = [u64; 3];
/// Found in a file.
const MARK: u64 = 0x6b72_616d_2061_2073;

/// Bytes of the words of either kind, which lie before the slots, and of a slot.
const RING: (u64, u64) = (512, 32);
const SPSC: (u64, u64) = (384, 24);

/// Where, and bytes that are more likely than others to do harm.
fn damage((words, slot): (u64, u64)) -> impl Strategy<Value = (u64, Vec<u8>)> {
    let all = words + CAPACITY as u64 * slot;
    let word = prop_oneof![
        Just(0_u64),
        Just(u64::MAX),
        0..2 * CAPACITY as u64,
        // Positions and laps, and what is ahead or behind.
        (0..3_u64, 0..2 * CAPACITY as u64).prop_map(|(lap, at)| lap << 32 | at),
        (any::<u32>(), 0..2 * CAPACITY as u64).prop_map(|(lap, at)| u64::from(lap) << 32 | at),
        // States: a lap, a phase, a member or nobody. An odd number in the middle is a member's.
        (
            0..3_u64,
            0..4_u64,
            prop_oneof![Just(0_u64), Just(1 << 12), Just(3 << 12 | 1), any::<u32>().prop_map(u64::from)]
        )
            .prop_map(|(lap, phase, member)| lap << 34 | phase << 32 | member),
        any::<u64>(),
    ];
    let at = prop_oneof![
        // The ends and what stands beside them, and the first words of slots.
        (0..4_u64).prop_map(|line| line * 128),
        (0..5_u64).prop_map(|word| 256 + 8 * word),
        (0..CAPACITY as u64).prop_map(move |index| words + index * slot),
        (0..all / 8).prop_map(|word| 8 * word),
    ];
    prop_oneof![
        4 => (at, word).prop_map(|(at, word)| (at, word.to_ne_bytes().to_vec())),
        1 => (0..all, any::<u8>()).prop_map(|(at, byte)| (at, vec![byte])),
    ]
}

fn damages(of: (u64, u64)) -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    prop::collection::vec(damage(of), 1..6)
}

fn write(words: &Words, (before, slot): (u64, u64), damages: &[(u64, Vec<u8>)]) {
    let all = before + CAPACITY as u64 * slot;
    for (at, bytes) in damages {
        words.write(*at, &bytes[..bytes.len().min((all - at) as usize)]);
    }
}

/// More of anything than there can be.
const MORE: usize = 4 * CAPACITY;

/// All that a user can do with a ring. The answers do not matter.
fn use_ring(ring: &Ring<Data>) {
    let _ = (ring.len(), ring.is_empty(), ring.is_full(), ring.is_closed(), format!("{ring:?}"));
    let mut some = [[0; 3]; MORE];
    for _ in 0..3 {
        let _ = (ring.try_pop(), ring.pop_timeout(SHORT), ring.try_pop_slice(&mut some));
        let _ = (ring.try_push([1; 3]), ring.push_timeout([2; 3], SHORT), ring.try_push_slice(&some));
        let _ = ring.try_reserve().map(drop);
        if let Ok(mut slot) = ring.reserve_timeout(SHORT) {
            slot[0] = 3;
            slot.publish();
        }
        let _ = ring.pop_ref_timeout(SHORT).map(|value| value[0]);
        assert!(ring.len() <= CAPACITY);
    }
    ring.close();
    let _ = ring.try_push([4; 3]);
    let _ = (0..MORE).map(|_| ring.try_pop()).filter(Result::is_ok).count();
}

fn use_spsc(ring: &SpscRing<Data>) {
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let mut some = [[0; 3]; MORE];
    for _ in 0..3 {
        let _ = (consumer.try_pop(), consumer.pop_timeout(SHORT), consumer.try_pop_slice(&mut some));
        let _ = (producer.try_push([1; 3]), producer.push_timeout([2; 3], SHORT), producer.try_push_slice(&some));
        assert!(ring.len() <= CAPACITY);
    }
    let _ = (producer.close(), format!("{ring:?}"));
    let _ = (0..MORE).map(|_| consumer.try_pop()).filter(Result::is_ok).count();
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config(400))]

    /// While it is in use, and as the next process finds it.
    #[test]
    fn a_damaged_ring(damages in damages(RING), is_found in any::<bool>()) {
        let _deadline = Deadline::seconds(30, "a case");
        let folder = Folder::new();
        let path = folder.join("ring");
        let ring = Ring::<Data>::create(path.as_path(), CAPACITY).unwrap();
        ring.push([MARK; 3]).unwrap();
        let words = Words::find(&path, &MARK.to_ne_bytes(), RING.0 + 8);
        ring.push_slice(&[[5; 3]; 2]).unwrap();
        ring.pop().unwrap();
        let ring = if is_found { drop(ring); None } else { Some(ring) };
        write(&words, RING, &damages);
        let ring = ring.map_or_else(|| Ring::open(path.as_path()), Ok);
        if let Ok(ring) = ring {
            use_ring(&ring);
        }
    }

    #[test]
    fn a_damaged_ring_of_two(damages in damages(SPSC), is_found in any::<bool>()) {
        let _deadline = Deadline::seconds(30, "a case");
        let folder = Folder::new();
        let path = folder.join("ring");
        let ring = SpscRing::<Data>::create(path.as_path(), CAPACITY).unwrap();
        {
            let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
            producer.push_slice(&[[MARK; 3], [5; 3], [5; 3]]).unwrap();
            consumer.pop().unwrap();
        }
        let words = Words::find(&path, &MARK.to_ne_bytes(), SPSC.0);
        let ring = if is_found { drop(ring); None } else { Some(ring) };
        write(&words, SPSC, &damages);
        let ring = ring.map_or_else(|| SpscRing::open(path.as_path()), Ok);
        if let Ok(ring) = ring {
            use_spsc(&ring);
        }
    }
}

fn is_corrupt<T>(said: Result<T>) -> bool {
    matches!(said, Err(Error::Corrupt { .. }))
}

/// A slot, an end and a counter that cannot be are told of, and nothing else happens.
#[test]
fn what_cannot_be_is_an_error() {
    let _deadline = Deadline::seconds(30, "what_cannot_be_is_an_error");
    let ring = |path: &std::path::Path| {
        let ring = Ring::<Data>::create(path, CAPACITY).unwrap();
        ring.push([MARK; 3]).unwrap();
        (ring, Words::find(path, &MARK.to_ne_bytes(), RING.0 + 8))
    };
    for end in [0, 128] {
        // There is no such slot; and slots that are laps away from the ends.
        for bits in [CAPACITY as u64, u64::from(u32::MAX), u64::MAX, 5 << 32, 1 << 61] {
            let folder = Folder::new();
            let (ring, words) = ring(&folder.join("ring"));
            words.set_u64(end, bits);
            let said = if end == 0 { is_corrupt(ring.try_push([1; 3])) } else { is_corrupt(ring.try_pop()) };
            assert!(said, "{bits:#x} at {end}");
        }
    }
    for lap in [3, 1 << 28] {
        let folder = Folder::new();
        let (ring, words) = ring(&folder.join("ring"));
        for slot in 0..CAPACITY as u64 {
            words.set_u64(RING.0 + slot * RING.1, lap << 34);
        }
        assert!(is_corrupt(ring.try_push([1; 3])) && is_corrupt(ring.try_pop()), "{lap}");
        assert!(is_corrupt(ring.pop_slice(&mut [[0; 3]])) && is_corrupt(ring.reserve()) && is_corrupt(ring.pop_ref()));
    }
    // More in a ring of two than there is room for, or less than nothing.
    for (tail, head) in [(CAPACITY as u64 + 1, 0), (0, 1), (u64::MAX, 3), (1 << 63, 0)] {
        let folder = Folder::new();
        let path = folder.join("ring");
        let ring = SpscRing::<Data>::create(path.as_path(), CAPACITY).unwrap();
        ring.producer().push([MARK; 3]).unwrap();
        let words = Words::find(&path, &MARK.to_ne_bytes(), SPSC.0);
        words.set_u64(0, tail);
        words.set_u64(128, head);
        assert!(is_corrupt(ring.producer().push([1; 3])) && is_corrupt(ring.consumer().pop()), "{tail} and {head}");
        assert!(is_corrupt(ring.producer().try_push_slice(&[[1; 3]])));
        assert!(is_corrupt(ring.consumer().pop_slice_timeout(&mut [[0; 3]], SHORT)));
    }
}
