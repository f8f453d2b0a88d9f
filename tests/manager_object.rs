//! The values of managers: as Python compares, hashes and shows them; there and back through their encoding and through
//! serde, and whatever bytes are read as one.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use proptest::{collection::vec, prelude::*, test_runner::Config};
use serde::{Deserialize, Serialize};
use shmkit::{
    Error,
    manager::{Map, Object},
};

fn encoded(object: &Object) -> Vec<u8> {
    postcard::to_stdvec(object).unwrap()
}

fn there_and_back(object: &Object) -> Object {
    postcard::from_bytes(&encoded(object)).unwrap()
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), (-1000_i64..1000).prop_map(|n| n as f64), Just(f64::NAN), Just(-0.0), Just(f64::INFINITY)]
}

fn keys() -> impl Strategy<Value = Object> {
    let leaf = prop_oneof![
        Just(Object::None),
        any::<bool>().prop_map(Object::from),
        any::<i128>().prop_map(Object::from),
        (-300_i64..300).prop_map(Object::from),
        floats().prop_map(Object::from),
        ".{0,6}".prop_map(Object::from),
        vec(any::<u8>(), 0..6).prop_map(Object::bytes),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| vec(inner, 0..4).prop_map(Object::from))
}

fn objects() -> impl Strategy<Value = Object> {
    keys().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Object::from),
            vec((keys(), inner), 0..6).prop_map(|items| Object::Dict(items.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]
    /// Nor are those of one the beginning of another one's, so whatever follows.
    #[test]
    fn what_is_hashed_of_keys_is_told_apart(one in keys(), other in keys()) {
        let (a, b) = (hashed(&one), hashed(&other));
        prop_assert_eq!(one == other, a.starts_with(&b) || b.starts_with(&a));
    }

    #[test]
    fn every_value_comes_back(object in objects()) {
        let back = there_and_back(&object);
        prop_assert_eq!(&back, &object);
        // Types and the order of keys too, which equality does not see.
        prop_assert_eq!(back.to_string(), object.to_string());
        prop_assert_eq!(encoded(&back), encoded(&object));
    }

    #[test]
    fn damaged_bytes_are_a_value_or_an_error(object in objects(), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let mut bytes = encoded(&object);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(read) = postcard::from_bytes::<Object>(&bytes) {
            prop_assert_eq!(there_and_back(&read).to_string(), read.to_string());
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = postcard::from_bytes::<Object>(&postcard::to_stdvec(&Raw(&bytes)).unwrap());
    }

    #[test]
    fn equal_values_have_equal_hashes(a in objects(), b in objects(), number in -300_i64..300) {
        let state = RandomState::new();
        for (a, b) in [(&a, &b), (&a, &a.clone()), (&Object::from(number), &Object::from(number as f64))] {
            if a == b {
                prop_assert_eq!(state.hash_one(a), state.hash_one(b));
                prop_assert_eq!(a.partial_cmp(b), Some(std::cmp::Ordering::Equal));
            }
        }
    }

    #[test]
    fn numbers_have_one_order(mut numbers in vec(prop_oneof![floats().prop_map(Object::from), any::<i128>().prop_map(Object::from)], 0..20)) {
        numbers.sort_by(|a, b| a.partial_cmp(b).unwrap());
        prop_assert!(numbers.iter().enumerate().all(|(at, a)| numbers[at..].iter().all(|b| a <= b)));
    }

    /// A map against the simplest thing that behaves as it should.
    #[test]
    fn a_map_is_a_list_of_items(steps in vec((0_u8..3, 0_u8..20, any::<u16>()), 0..300)) {
        let (mut map, mut list) = (Map::new(), Vec::<(u8, u16)>::new());
        for (step, key, value) in steps {
            let at = list.iter().position(|(known, _)| *known == key);
            if step == 0 {
                prop_assert_eq!(map.remove(key), at.map(|at| list.remove(at).1.into()));
            } else {
                prop_assert_eq!(map.insert(key, value), at.map(|at| list[at].1.into()));
                match at {
                    Some(at) => list[at].1 = value,
                    None => list.push((key, value)),
                }
            }
            prop_assert_eq!(map.len(), list.len());
        }
        let items: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let expected: Vec<_> = list.iter().map(|(key, value)| (Object::from(*key), Object::from(*value))).collect();
        prop_assert_eq!(&items, &expected);
        prop_assert_eq!(map.into_iter().collect::<Vec<_>>(), expected);
    }
}

struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// What a hasher is given of a value.
fn hashed(object: &Object) -> Vec<u8> {
    struct Bytes(Vec<u8>);

    impl Hasher for Bytes {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    let mut bytes = Bytes(Vec::new());
    object.hash(&mut bytes);
    bytes.0
}

/// Else somebody could make any number of keys that have the same hash.
#[test]
fn no_two_keys_are_hashed_as_the_same_bytes() {
    let bytes = |bytes: &[u8]| Object::bytes(bytes);
    let text = |text: &str| Object::from(text);
    for (one, other) in [
        ([text("a"), text("b")], [text("ab"), text("")]),
        ([bytes(b""), bytes(b"\x02")], [bytes(b"\x02"), bytes(b"")]),
        ([bytes(b"a"), bytes(b"bc")], [bytes(b"ab"), bytes(b"c")]),
        ([text("\x01bcdefghijklmnop"), text("")], [i128::from_le_bytes(*b"bcdefghijklmnop\xff").into(), text("")]),
        ([Object::None, text("a")], [text("\0a"), text("")]),
        ([1.into(), 1.5.into()], [1.5.into(), 1.into()]),
        ([Object::None, Object::from([Object::None])], [Object::from([Object::None]), Object::None]),
    ] {
        assert_ne!(hashed(&one.clone().into()), hashed(&other.clone().into()), "{one:?} {other:?}");
    }
    assert_eq!(hashed(&f64::NAN.into()), hashed(&(-f64::NAN).into()));
    assert_eq!(hashed(&true.into()), hashed(&1.0.into()));
}

#[test]
fn numbers_are_compared_by_their_values() {
    let equal = |a: Object, b: Object| a == b;
    assert!(equal(1.into(), 1.0.into()) && equal(true.into(), 1.into()) && equal(false.into(), (-0.0).into()));
    assert!(!equal(1.into(), "1".into()) && !equal("a".into(), Object::bytes(b"a")) && !equal(0.into(), Object::None));
    // Doubles have 53 bits.
    assert!(!equal((1_u64 << 53 | 1).into(), ((1_u64 << 53) as f64).into()));
    assert!(Object::from((1_u64 << 53) as f64) < Object::from(1_u64 << 53 | 1));
    assert!(Object::from(i128::MAX) < Object::from(2_f64.powi(127)));
    assert!(equal(i128::MIN.into(), (-(2_f64.powi(127))).into()));
    assert!(Object::from(-1.5) < Object::from(-1) && Object::from(-2) < Object::from(-1.5));
    assert!(
        Object::from(f64::INFINITY) > Object::from(i128::MAX) && Object::from(f64::NAN) > Object::from(f64::INFINITY)
    );
    let mut map = Map::new();
    map.insert(1, "int");
    assert_eq!(map.insert(true, "bool"), Some("int".into()));
    assert_eq!(map.insert(f64::NAN, "nan"), None);
    assert_eq!(map.insert(-f64::NAN, "the same"), Some("nan".into()));
    // The first key stays.
    assert_eq!(map.to_string(), "{1: 'bool', nan: 'the same'}");
}

#[test]
fn others_have_an_order_or_none() {
    let list = |items: &[i32]| Object::from(items.to_vec());
    assert!(list(&[1, 2]) < list(&[1, 3]) && list(&[1]) < list(&[1, 0]) && list(&[]) < list(&[0]));
    assert!(Object::from("b") > Object::from("a") && Object::bytes(b"b") > Object::bytes(b"a"));
    assert_eq!(Object::from("a").partial_cmp(&Object::bytes(b"a")), None);
    assert_eq!(Object::from(vec![Object::from(1), Object::from("a")]).partial_cmp(&list(&[1, 2])), None);
    let dict = |items: &[(&str, i32)]| Object::Dict(items.iter().copied().collect());
    assert_eq!(dict(&[("a", 1), ("b", 2)]), dict(&[("b", 2), ("a", 1)]));
    assert_ne!(dict(&[("a", 1)]), dict(&[("a", 1), ("b", 2)]));
}

/// Each as CPython 3.11 shows it.
#[test]
fn values_are_shown_as_python_shows_them() {
    for (float, text) in [
        (0.25, "0.25"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (123456789012345680.0, "1.2345678901234568e+17"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (1e22, "1e+22"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.1 + 0.2, "0.30000000000000004"),
        // Halfway between two that are as short.
        (233115890514796.12, "233115890514796.12"),
        (-2020163013628192.2, "-2020163013628192.2"),
        (2249214855377268.8, "2249214855377268.8"),
        (9007199254740993.0, "9007199254740992.0"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e23, "1e+23"),
        (9.5e-5, "9.5e-05"),
        (0.00012, "0.00012"),
        (100.5, "100.5"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (f64::INFINITY, "inf"),
        (-f64::INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        assert_eq!(Object::from(float).to_string(), text);
    }
    for (string, text) in [
        ("", "''"),
        ("a'b", "\"a'b\""),
        ("a\"b", "'a\"b'"),
        ("a'b\"c", r#"'a\'b"c'"#),
        ("\\ \n\r\t\0\x7f", r"'\\ \n\r\t\x00\x7f'"),
        ("ä€😀", "'ä€😀'"),
        ("\u{890}\u{8e2}\u{180e}\u{110bd}\u{1d173}", r"'\u0890\u08e2\u180e\U000110bd\U0001d173'"),
        // Variants of the letters before them.
        ("\u{fe0f}\u{e0100}", "'\u{fe0f}\u{e0100}'"),
        ("\u{a0}\u{200b}\u{2028}\u{e000}\u{feff}", r"'\xa0\u200b\u2028\ue000\ufeff'"),
        ("e\u{301}", "'e\u{301}'"),
        ("\u{3fffe}\u{40000}\u{dffff}\u{10ffff}", r"'\U0003fffe\U00040000\U000dffff\U0010ffff'"),
        ("\x1b[0m\x08\x0b\x0c\u{85}", r"'\x1b[0m\x08\x0b\x0c\x85'"),
        ("'\\'", r#""'\\'""#),
    ] {
        assert_eq!(Object::from(string).to_string(), text);
    }
    assert_eq!(Object::bytes(b"a'\"\\\n\x80 ~".to_vec()).to_string(), r#"b'a\'"\\\n\x80 ~'"#);
    assert_eq!(Object::bytes(b"it's".to_vec()).to_string(), r#"b"it's""#);
    for (object, text) in [
        (i128::MIN.into(), "-170141183460469231731687303715884105728"),
        (Object::from([Object::from("it's"), Object::bytes(b"\xff"), 1.0.into()]), r#"["it's", b'\xff', 1.0]"#),
        (Object::from([Object::from([Object::from([(); 0])])]), "[[[]]]"),
        (
            Object::Dict([("a", Object::from([1, 2])), ("b", Object::Dict(Map::new()))].into_iter().collect()),
            "{'a': [1, 2], 'b': {}}",
        ),
        (
            Object::Dict(
                [(Object::from(1), 1), (Object::None, 2), (2.5.into(), 3), (Object::bytes(b""), 4)]
                    .into_iter()
                    .collect(),
            ),
            "{1: 1, None: 2, 2.5: 3, b'': 4}",
        ),
    ] {
        assert_eq!(object.to_string(), text);
    }
    let nested =
        Object::from(vec![Object::from(true), Object::None, Object::from(Vec::<i32>::new()), Map::new().into()]);
    assert_eq!(nested.to_string(), "[True, None, [], {}]");
    assert_eq!(format!("{nested:?}"), nested.to_string());
}

/// Places that were left are used again, and never all in use: else a look for what is not there would not end.
#[test]
fn maps_that_change_at_their_end() {
    for few in [1, 20] {
        let mut map: Map = (0..few).map(|key| (format!("{key}"), key)).collect();
        let before = map.to_string();
        for key in 0..100_000 {
            map.insert(key, key);
            assert_eq!(map.remove(key), Some(key.into()));
            assert!(!map.contains(-1));
        }
        // Each from the end, where nothing is passed over.
        map.extend((0..100_000).map(|key| (key, key)));
        for key in (0..100_000).rev() {
            assert_eq!(map.remove(key), Some(key.into()));
        }
        assert_eq!(map.to_string(), before);
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    number: u64,
    huge: i128,
    small: f32,
    text: String,
    letter: char,
    maybe: Option<Box<Everything>>,
    pair: (u8, bool),
    unit: (),
    numbers: Vec<i16>,
    by_number: HashMap<u32, Kind>,
    object: Object,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Of(u8),
    Both(u8, String),
    Fields { a: bool },
}

fn everything() -> Everything {
    let kinds = [Kind::Plain, Kind::Of(1), Kind::Both(2, "x".into()), Kind::Fields { a: true }];
    Everything {
        number: u64::MAX,
        huge: i128::MIN,
        small: 0.5,
        text: "text".into(),
        letter: 'ß',
        maybe: None,
        pair: (1, true),
        unit: (),
        numbers: vec![-1, 2],
        by_number: (0..).zip(kinds).collect(),
        object: Object::Dict(Map::from_iter([("inner", Object::bytes(b"x"))])),
    }
}

#[test]
fn serde_there_and_back() {
    let value = Everything { maybe: Some(everything().into()), ..everything() };
    let object = Object::from_serialize(&value).unwrap();
    assert_eq!(object.get_as::<Everything>().unwrap(), value);
    assert_eq!(there_and_back(&object).get_as::<Everything>().unwrap(), value);
    // An object among it stays what it is.
    assert!(object.to_string().contains("'object': {'inner': b'x'}"), "{object}");
    // Bytes are a sequence for a type that wants one.
    assert_eq!(Object::bytes(b"ab").get_as::<Vec<u8>>().unwrap(), b"ab");
    assert_eq!(Object::bytes(b"ab").get_as::<(u8, u16)>().unwrap(), (97, 98));
    assert_eq!(Object::bytes(b"ab").get_as::<serde_bytes::ByteBuf>().unwrap(), b"ab");
    assert!(matches!(Object::bytes(b"ab").get_as::<Vec<bool>>(), Err(Error::TypeMismatch { .. })));
    // Around the lengths of numbers.
    for number in
        [1_i128 << 6, 1 << 13, 1 << 20, 1 << 62, 1 << 63, 1 << 64].map(|n| [-n - 1, -n, -n + 1, n - 1, n, n + 1])
    {
        assert_eq!(there_and_back(&Object::from(number)).get_as::<[i128; 6]>().unwrap(), number);
    }
    let map = BTreeMap::from([(1, "a"), (2, "b")]);
    assert_eq!(Object::from_serialize(&map).unwrap().to_string(), "{1: 'a', 2: 'b'}");
    assert_eq!(Object::from_serialize(&Kind::Both(2, "x".into())).unwrap().to_string(), "{'Both': [2, 'x']}");
    assert!(matches!(Object::from_serialize(&u128::MAX), Err(Error::NotSendable { .. })));
    assert!(matches!(Object::from(300).get_as::<u8>(), Err(Error::TypeMismatch { .. })));
    assert!(matches!(Object::from("Neither").get_as::<Kind>(), Err(Error::TypeMismatch { .. })));
    assert!(matches!(Object::from(1).get_as::<Kind>(), Err(Error::TypeMismatch { .. })));
}

/// Formats that say what their values are, and types that ask them.
#[test]
fn serde_of_formats_that_know() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Open {
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Object>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Any(Object),
    }
    let any = [
        Object::None,
        true.into(),
        (-1).into(),
        u64::MAX.into(),
        i64::MIN.into(),
        0.5.into(),
        "x".into(),
        // The encoding of a number.
        Object::bytes(b"\x03\x02"),
        Object::from(vec![Object::from(1), Map::from_iter([(2, "y")]).into()]),
    ];
    for value in any {
        let open = Open { name: "n".into(), rest: BTreeMap::from([("value".into(), value.clone())]) };
        assert_eq!(Object::from_serialize(&open).unwrap().get_as::<Open>().unwrap(), open);
        assert_eq!(Object::from_serialize(&Some(&value)).unwrap(), value);
        assert_eq!(value.get_as::<Object>().unwrap(), value);
        assert_eq!(
            Object::from_serialize(&Either::Any(value.clone())).unwrap().get_as::<Either>().unwrap(),
            Either::Any(value)
        );
    }
    assert_eq!(Object::from(7).get_as::<Either>().unwrap(), Either::Number(7));
}

#[test]
fn types_that_do_not_fit() {
    let three = Object::from([1, 2, 3]);
    assert_eq!(three.get_as::<(u8, u8, u8)>().unwrap(), (1, 2, 3));
    for refused in [
        three.get_as::<(u8, u8)>().map(drop),
        three.get_as::<[u8; 2]>().map(drop),
        three.get_as::<(u8, u8, u8, u8)>().map(drop),
    ] {
        assert!(matches!(refused, Err(Error::TypeMismatch { .. })));
    }
    assert_eq!(Object::bytes(b"ab").get_as::<Vec<u8>>().unwrap(), b"ab");
    assert_eq!(Object::from(i128::MAX).get_as::<f64>().unwrap(), i128::MAX as f64);
    // Two keys that are one here.
    let keys = BTreeMap::from([((1, true), 'a'), ((1, false), 'b')]);
    assert_eq!(Object::from_serialize(&keys).unwrap().to_string(), "{[1, False]: 'b', [1, True]: 'a'}");
    struct Twice;
    impl Serialize for Twice {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(Object::from(1), 'a'), (Object::from(1.0), 'b')])
        }
    }
    assert!(matches!(Object::from_serialize(&Twice), Err(Error::NotSendable { .. })));
}

#[test]
fn depth_and_counts_are_bounded() {
    let nested = |depth| (0..depth).fold(Object::None, |inner, _| Object::from(vec![inner]));
    assert_eq!(there_and_back(&nested(128)), nested(128));
    assert!(postcard::to_stdvec(&nested(129)).is_err());
    // 7 is a list, and 1 the count of its values.
    let deep: Vec<u8> = [7, 1].repeat(100_000);
    assert!(postcard::from_bytes::<Object>(&postcard::to_stdvec(&Raw(&deep)).unwrap()).is_err());
    // A count of more than there is.
    let many = [7, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
    assert!(postcard::from_bytes::<Object>(&postcard::to_stdvec(&Raw(&many)).unwrap()).is_err());
    let rest = [0, 0];
    assert!(postcard::from_bytes::<Object>(&postcard::to_stdvec(&Raw(&rest)).unwrap()).is_err());
}
