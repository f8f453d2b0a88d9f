//! The objects of a server, and what is done with them.
//!
//! One thread has them, so there are no locks, and every request is one step for all others.
//!
//! An object lives while somebody holds it: a client, a ticket under way (`outer`), or another object that has it among its
//! values (`inner`). Objects that hold each other and are held by nobody else are found by looking at what can be reached
//! from those that somebody holds ([`Store::collect`]), when there is reason to.

mod dict;
mod list;
mod sort;
mod task;
mod undo;

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::{BuildHasherDefault, Hasher},
};

use self::{dict::check_name, task::Task, undo::Undo};
use super::{
    object::{Map, Object, is_wasteful},
    protocol::{Kind, Op, ROOT},
    proxy::Proxy,
    service::OpenDesk,
};
use crate::{Error, Result};

/// The most items of one step of an iteration, and about how many bytes they have at most, if it is more than one.
const CHUNK: usize = 128;
const WEIGHT_OF_A_CHUNK: usize = 1 << 20;

pub(super) struct Store {
    objects: HashMap<u64, Shared, BuildHasherDefault<ByNumber>>,
    next: u64,
    /// Those whose last holder may be gone.
    doubtful: Vec<u64>,
    /// How many are held only by others of them, as far as is known.
    suspects: usize,
    /// How many objects and values were looked at when such were last searched for: the next search has to be worth it.
    walked: usize,
    /// Of the batch that is under way; else it is empty.
    log: Vec<(u64, Undo)>,
}

/// Objects are numbered here, one after the other, so nobody can choose numbers that fall together.
#[derive(Default)]
struct ByNumber(u64);

impl Hasher for ByNumber {
    fn write(&mut self, _: &[u8]) {
        // Never called: keys are numbers.
    }

    fn write_u64(&mut self, number: u64) {
        // The table looks at the upper bits too.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Shared {
    body: Body,
    outer: u64,
    inner: u64,
    /// The proxies among its values.
    links: u64,
    /// Changes whenever a key comes or goes.
    version: u64,
}

impl Shared {
    fn new(body: Body) -> Self {
        Self { body, outer: 0, inner: 0, links: 0, version: 0 }
    }
}

enum Body {
    List(Vec<Object>),
    Dict(Map),
    Namespace(Map),
    /// Lives in a thread of its own.
    Service(OpenDesk),
}

impl Body {
    fn for_each_value(&self, mut found: impl FnMut(&Object)) {
        match self {
            Self::List(items) => items.iter().for_each(found),
            Self::Dict(map) | Self::Namespace(map) => map.iter().for_each(|(_, value)| found(value)),
            Self::Service(_) => {}
        }
    }

    /// `None` for what cannot be among values.
    fn kind(&self) -> Option<Kind> {
        match self {
            Self::List(_) => Some(Kind::List),
            Self::Dict(_) => Some(Kind::Dict),
            Self::Namespace(_) => Some(Kind::Namespace),
            Self::Service(_) => None,
        }
    }

    fn mismatch(&self, expected: &str) -> Error {
        let found = self.kind().map_or("a service", name_of);
        Error::TypeMismatch { expected: expected.into(), found: found.into() }
    }
}

impl Store {
    pub(super) fn new() -> Self {
        let root = Shared { outer: 1, ..Shared::new(Body::Dict(Map::new())) };
        Self {
            objects: HashMap::from_iter([(ROOT, root)]),
            next: ROOT + 1,
            doubtful: Vec::new(),
            suspects: 0,
            walked: 0,
            log: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Makes an object, which somebody has to [hold](Self::hold).
    pub(super) fn create(&mut self, kind: Kind, contents: Object) -> Result<u64> {
        self.check_links([&contents])?;
        let body = match (kind, contents) {
            (Kind::List, Object::List(items)) => Body::List(items),
            (Kind::Dict, Object::Dict(map)) => Body::Dict(map),
            (Kind::Namespace, Object::Dict(map)) => {
                map.iter().try_for_each(|(key, _)| check_name(key))?;
                Body::Namespace(map)
            }
            (_, other) => return Err(other.mismatch("the contents of an object")),
        };
        let id = self.next;
        self.next += 1;
        self.objects.insert(id, Shared::new(body));
        let mut links = Vec::new();
        self.object(id)?.body.for_each_value(|value| value.for_each_proxy(&mut |proxy| links.push(proxy.id())));
        links.into_iter().for_each(|to| self.link(id, to));
        Ok(id)
    }

    /// Makes an object that lives in a thread of its own, which has to be [held](Self::hold) too.
    pub(super) fn host(&mut self, desk: OpenDesk) -> u64 {
        let id = self.next;
        self.next += 1;
        self.objects.insert(id, Shared::new(Body::Service(desk)));
        id
    }

    pub(super) fn service(&mut self, id: u64) -> Result<&OpenDesk> {
        match &self.object(id)?.body {
            Body::Service(desk) => Ok(desk),
            other => Err(other.mismatch("a service")),
        }
    }

    /// One more from outside holds the object.
    pub(super) fn hold(&mut self, id: u64) -> Result<()> {
        self.object(id)?.outer += 1;
        Ok(())
    }

    /// So many from outside hold it no more.
    pub(super) fn release(&mut self, id: u64, count: u64) {
        if let Some(object) = self.objects.get_mut(&id) {
            object.outer = object.outer.saturating_sub(count);
            self.doubtful.push(id);
        }
    }

    fn object(&mut self, id: u64) -> Result<&mut Shared> {
        self.objects.get_mut(&id).ok_or_else(|| gone(id))
    }

    /// # Errors
    ///
    /// `KeyNotFound` for a proxy of what is not there.
    #[inline]
    fn check_links<'o>(&self, values: impl IntoIterator<Item = &'o Object>) -> Result<()> {
        let mut missing = None;
        let mut check = |proxy: &Proxy| {
            if self.objects.get(&proxy.id()).is_none_or(|object| object.body.kind() != Some(proxy.kind())) {
                missing = Some(proxy.id());
            }
        };
        values.into_iter().for_each(|value| value.for_each_proxy(&mut check));
        missing.map_or(Ok(()), |id| Err(gone(id)))
    }

    fn link(&mut self, from: u64, to: u64) {
        if let Some(object) = self.objects.get_mut(&from) {
            object.links += 1;
        }
        if let Some(object) = self.objects.get_mut(&to) {
            object.inner += 1;
        }
    }

    /// The object has a value more.
    fn added(&mut self, id: u64, value: &Object) {
        value.for_each_proxy(&mut |proxy| self.link(id, proxy.id()));
    }

    /// The object has a value less.
    fn removed(&mut self, id: u64, value: &Object) {
        value.for_each_proxy(&mut |proxy| {
            if let Some(object) = self.objects.get_mut(&id) {
                object.links = object.links.saturating_sub(1);
            }
            self.unlinked(proxy.id());
        });
    }

    fn unlinked(&mut self, to: u64) {
        if let Some(object) = self.objects.get_mut(&to) {
            object.inner = object.inner.saturating_sub(1);
            self.doubtful.push(to);
        }
    }

    /// Frees what nobody holds any more. To be called after each request.
    pub(super) fn tidy(&mut self) {
        while let Some(id) = self.doubtful.pop() {
            match self.objects.get_mut(&id) {
                Some(Shared { outer: 0, inner: 0, .. }) => self.free(id),
                Some(Shared { outer: 0, .. }) => self.suspects += 1,
                _ => {}
            }
        }
        if self.suspects > 64 && self.suspects > self.walked / 16 {
            self.collect();
        }
    }

    fn free(&mut self, id: u64) {
        let Some(object) = self.objects.remove(&id) else { return };
        if object.links > 0 {
            object.body.for_each_value(|value| value.for_each_proxy(&mut |proxy| self.unlinked(proxy.id())));
        }
    }

    /// The same when there is nothing else to do: of those, too, that hold each other.
    pub(super) fn tidy_at_leisure(&mut self) {
        if self.suspects > self.walked / 1000 {
            self.collect();
        }
    }

    /// Frees those that nobody holds but each other.
    pub(super) fn collect(&mut self) {
        self.suspects = 0;
        self.walked = self.objects.len();
        let mut reached: HashMap<u64, ()> = HashMap::new();
        let mut next: Vec<u64> =
            self.objects.iter().filter(|(_, object)| object.outer > 0).map(|(id, _)| *id).collect();
        while let Some(id) = next.pop() {
            if reached.insert(id, ()).is_some() {
                continue;
            }
            match self.objects.get(&id) {
                Some(object) if object.links > 0 => {
                    object.body.for_each_value(|value| {
                        self.walked += 1;
                        value.for_each_proxy(&mut |proxy| next.push(proxy.id()));
                    });
                }
                _ => {}
            }
        }
        let lost: Vec<u64> = self.objects.keys().filter(|id| !reached.contains_key(id)).copied().collect();
        lost.into_iter().for_each(|id| self.free(id));
        // Among them, all of which are gone.
        self.doubtful.clear();
    }

    /// One operation.
    pub(super) fn one(&mut self, id: u64, op: Op) -> Result<Object> {
        let answer = self.apply(id, op, &mut Task::alone());
        self.settle(id);
        answer
    }

    /// After a request.
    fn settle(&mut self, id: u64) {
        match self.objects.get_mut(&id).map(|object| &mut object.body) {
            Some(Body::Dict(map) | Body::Namespace(map)) => map.settle_down(),
            Some(Body::List(items)) if is_wasteful(items) => items.shrink_to(2 * items.len()),
            _ => {}
        }
    }

    fn apply(&mut self, id: u64, op: Op, task: &mut Task) -> Result<Object> {
        match &self.object(id)?.body {
            Body::Service(_) => Err(self.object(id)?.body.mismatch("a list or dict")),
            Body::List(_) => self.apply_to_list(id, op, task),
            Body::Dict(_) => self.apply_to_dict(id, op, task),
            Body::Namespace(_) => {
                if let Op::Get(key)
                | Op::Set(key, _)
                | Op::Take(key)
                | Op::FetchAdd(key, _)
                | Op::SetDefault(key, _)
                | Op::CompareExchange(key, ..) = &op
                {
                    check_name(key)?;
                }
                self.apply_to_dict(id, op, task)
            }
        }
    }

    fn list(&mut self, id: u64) -> Result<&mut Vec<Object>> {
        match &mut self.object(id)?.body {
            Body::List(items) => Ok(items),
            other => Err(other.mismatch("a list")),
        }
    }

    fn map(&mut self, id: u64) -> Result<&mut Map> {
        match &mut self.object(id)?.body {
            Body::Dict(map) | Body::Namespace(map) => Ok(map),
            other => Err(other.mismatch("a dict")),
        }
    }
}

fn gone(id: u64) -> Error {
    Error::NotFound { name: format!("object {id} of the manager") }
}

/// What an error says of a value, which may be long.
fn in_short(value: &Object) -> String {
    /// Refuses what is too long.
    struct Short(String);

    impl fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            const MOST: usize = 200;
            let room = MOST.saturating_sub(self.0.len());
            let end = (0..=text.len().min(room)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            self.0.push_str(&text[..end]);
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut short = Short(String::new());
    match write!(short, "{value}") {
        Ok(()) => short.0,
        Err(_) => short.0 + "...",
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::List => "a list",
        Kind::Dict => "a dict",
        Kind::Namespace => "a namespace",
    }
}

/// How many of the next values, which have these weights, are read in one step of an iteration.
fn chunk(weights: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0_usize;
    let fits = |weight: usize| {
        let is_first = sum == 0;
        sum = sum.saturating_add(weight);
        is_first || sum <= WEIGHT_OF_A_CHUNK
    };
    weights.take(CHUNK).map(fits).take_while(|fits| *fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::object::{Home, Reader, Wire};

    fn store(kind: Kind, contents: Object) -> (Store, u64) {
        let mut store = Store::new();
        let id = store.create(kind, contents).unwrap();
        store.hold(id).unwrap();
        (store, id)
    }

    fn dict(key: i32) -> Object {
        Object::Dict([(key, 0)].into_iter().collect())
    }

    /// Values that have an order with some and none with others: a list of them is sorted, or it is an error.
    #[test]
    fn any_list_is_sorted_or_refused() {
        // Of such lists, a sort of the library panics nearly always.
        for seed in 1..20 {
            let list = |n: i32| Object::from([dict(n * seed % 31 % 2), Object::from(n * n * seed % 101)]);
            let (mut store, id) = store(Kind::List, (0..50).map(list).collect());
            let before = store.one(id, Op::ToObject()).unwrap();
            assert!(matches!(store.one(id, Op::Sort()), Err(Error::TypeMismatch { .. })));
            assert_eq!(store.one(id, Op::ToObject()).unwrap(), before);
        }
        for unordered in [Object::None, dict(1)] {
            let (mut store, id) = self::store(Kind::List, [unordered.clone(), unordered].into());
            assert!(matches!(store.one(id, Op::Sort()), Err(Error::TypeMismatch { .. })));
        }
        // Nothing that has no order is compared here: the first numbers differ, or all is the same.
        let pair = |n: i32| Object::from([Object::from(n), dict(1)]);
        let (mut store, id) = self::store(Kind::List, [3, 1, 2, 1].map(pair).into());
        store.one(id, Op::Sort()).unwrap();
        assert_eq!(store.one(id, Op::ToObject()).unwrap(), Object::from([1, 1, 2, 3].map(pair)));
        // Equal ones stay in their order.
        let mixed = [Object::from(2), 1.0.into(), true.into(), 1.into(), f64::NAN.into(), (-5).into()];
        for nested in [false, true] {
            let items = mixed.iter().map(|item| if nested { Object::from([item]) } else { item.clone() });
            let (mut store, id) = self::store(Kind::List, items.collect());
            store.one(id, Op::Sort()).unwrap();
            let sorted = store.one(id, Op::ToObject()).unwrap().to_string();
            assert_eq!(sorted.replace(['[', ']'], ""), "-5, 1.0, True, 1, 2, nan");
        }
    }

    #[test]
    fn all_items_are_popped() {
        let (mut store, id) = store(Kind::Dict, Object::Dict((0..100_000).map(|n| (n, n)).collect()));
        for n in (0..100_000).rev() {
            assert_eq!(store.one(id, Op::PopItem()).unwrap(), Object::from([n, n]));
        }
        assert!(store.one(id, Op::PopItem()).is_err());
    }

    #[test]
    fn what_cannot_be_a_key_is_none() {
        let (mut store, id) = store(Kind::Dict, Object::Dict(Map::new()));
        for op in [Op::Get(dict(1)), Op::Find(dict(1)), Op::Contains(dict(1)), Op::Take(dict(1))] {
            assert!(matches!(store.one(id, op), Err(Error::TypeMismatch { .. })));
        }
    }

    #[test]
    fn large_values_are_iterated_one_by_one() {
        let large = Object::bytes(vec![0; WEIGHT_OF_A_CHUNK]);
        let (mut store, id) = store(Kind::List, vec![large.clone(); 3].into());
        for at in 0..3 {
            let next = Object::from((at < 2).then_some(at + 1));
            let expected = Object::from([Object::None, next, Object::from([&large])]);
            assert!(store.one(id, Op::Chunk(at, None)).unwrap() == expected);
        }
        let (mut store, id) = self::store(Kind::Dict, Object::Dict((0..3).map(|n| (n, &large)).collect()));
        let Object::List(answer) = store.one(id, Op::Chunk(1, None)).unwrap() else { panic!("no list") };
        assert!(answer[1] == Object::from(2) && answer[2] == Object::from([Object::from([Object::from(1), large])]));
    }
    fn steps(ops: Vec<(u64, Op)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        ops.iter().for_each(|step| {
            step.0.write(&mut bytes).unwrap();
            step.1.write(&mut bytes).unwrap();
        });
        bytes
    }

    fn all(store: &mut Store, ops: Vec<(u64, Op)>) -> Result<Object> {
        store.all(&mut Reader::new(&steps(ops), Home::Server(7)))
    }

    fn both() -> [(Store, u64); 2] {
        let text = |n: i32| Object::from(vec![Object::from("abc"), Object::from(n)]);
        [
            store(Kind::List, (0..10).rev().map(text).collect()),
            store(Kind::Dict, Object::Dict((0..10).map(|n| (n, text(n))).collect())),
        ]
    }

    /// Answers that nobody could read are not made.
    #[test]
    fn a_copy_is_made_if_there_is_room_for_it() {
        // Each value has three parts, each key one.
        for (at, op, parts) in [
            (0, Op::ToObject as fn() -> Op, 30),
            (0, || Op::Slice(Some(-3), None), 9),
            (0, || Op::Get(3.into()), 3),
            (0, || Op::Pop(None), 3),
            (0, || Op::Chunk(5, None), 15),
            (1, Op::ToObject, 40 + 12),
            (1, Op::Keys, 10),
            (1, Op::Values, 30),
            (1, || Op::Get(3.into()), 3),
            (1, || Op::Find(3.into()), 3),
            (1, || Op::Take(3.into()), 3),
            (1, Op::PopItem, 4),
            (1, || Op::Chunk(5, None), 20),
            (1, || Op::SetDefault(3.into(), 3.into()), 3),
            (1, || Op::CompareExchange(3.into(), None, None), 3),
        ] {
            let (mut store, id) = both().into_iter().nth(at).unwrap();
            let before = store.one(id, Op::ToObject()).unwrap();
            let refused = store.apply(id, op(), &mut Task::with(None, parts - 1, usize::MAX, 0));
            assert!(matches!(refused, Err(Error::TooLarge { .. })), "{:?}", op());
            assert_eq!(store.one(id, Op::ToObject()).unwrap(), before);
            store.apply(id, op(), &mut Task::with(None, parts, usize::MAX, 0)).unwrap();
        }
    }

    #[test]
    fn a_batch_has_a_budget() {
        for ((mut store, id), copy) in both().into_iter().zip([28, 28 + 10 + 12]) {
            let before = store.one(id, Op::ToObject()).unwrap();
            let mut all = |parts, bytes| {
                let ops = [Op::Set(1.into(), 7.into()), Op::ToObject(), Op::ToObject()];
                let ops = steps(ops.into_iter().map(|op| (id, op)).collect());
                let task = Task::with(Some(Vec::new()), parts, bytes, 0);
                let answer = store.all_as(task, &mut Reader::new(&ops, Home::Server(7)));
                assert_eq!(store.one(id, Op::ToObject()).unwrap() == before, answer.is_err());
                answer
            };
            let parts = 3 * 4 + 2 * copy;
            assert!(matches!(all(parts - 1, 54), Err(Error::TooLarge { .. })));
            assert!(matches!(all(parts, 53), Err(Error::TooLarge { size: 54, limit: 53 })));
            all(parts, 54).unwrap();
        }
    }

    #[test]
    fn a_batch_has_an_end_to_its_work() {
        let (mut store, id) = store(Kind::List, (0..1000).collect());
        for (op, times) in [
            (Op::Sort as fn() -> Op, 8000),
            (Op::Reverse, 1000),
            (|| Op::Contains("x".into()), 1000),
            (|| Op::CountOf("x".repeat(40).into()), 2000),
            (|| Op::InsertAt(0, Object::None), 125),
            (|| Op::Pop(Some(0)), 125),
        ] {
            let before = store.one(id, Op::ToObject()).unwrap();
            let all = |store: &mut Store, work| {
                let ops = steps(vec![(id, Op::Set(0.into(), 7.into())), (id, op())]);
                let task = Task::with(Some(Vec::new()), 100, 100, work);
                store.all_as(task, &mut Reader::new(&ops, Home::Server(7)))
            };
            assert!(matches!(all(&mut store, times - 1), Err(Error::TooLarge { .. })), "{:?}", op());
            assert!(store.one(id, Op::ToObject()).unwrap() == before);
            all(&mut store, times).unwrap();
            store.one(id, Op::Clear()).unwrap();
            store.one(id, Op::Extend((0..1000).map(Object::from).collect())).unwrap();
        }
    }

    #[test]
    fn an_iteration_goes_on_after_a_batch_that_has_not_happened() {
        let (mut store, id) = store(Kind::Dict, Object::Dict((0..300).map(|n| (n, n)).collect()));
        store.one(id, Op::Take(150.into())).unwrap();
        let Object::List(first) = store.one(id, Op::Chunk(0, None)).unwrap() else { panic!("no list") };
        let version = first[0].get_as::<u64>().unwrap();
        let rest = store.one(id, Op::Chunk(128, Some(version))).unwrap();
        let insert = |n: i32| Op::Set(n.into(), 0.into());
        for changes in [
            vec![insert(1)],
            vec![insert(1000), insert(1001), Op::Take(1000.into())],
            vec![Op::PopItem(), Op::Take(298.into()), Op::Take(7.into()), insert(7)],
            vec![Op::Clear(), insert(5), Op::Take(5.into())],
            vec![Op::Update(vec![(1.into(), 1.into()), (2000.into(), 1.into())])],
        ] {
            let steps = changes.into_iter().chain([Op::Get("missing".into())]).map(|op| (id, op)).collect();
            assert!(matches!(all(&mut store, steps), Err(Error::KeyNotFound { .. })));
            assert_eq!(store.one(id, Op::Chunk(128, Some(version))).unwrap(), rest);
        }
        all(&mut store, vec![(id, insert(1)), (id, Op::Get(1.into()))]).unwrap();
        assert_eq!(store.one(id, Op::Chunk(128, Some(version))).unwrap(), rest);
        all(&mut store, vec![(id, insert(1000))]).unwrap();
        assert!(matches!(store.one(id, Op::Chunk(128, Some(version))), Err(Error::ChangedMeanwhile)));
    }

    #[test]
    fn memory_is_given_back() {
        const MANY: usize = 10_000;
        let room = |store: &mut Store, id| match &store.object(id).unwrap().body {
            Body::List(items) => items.capacity(),
            Body::Dict(map) => map.room(),
            _ => unreachable!("it is one of these"),
        };
        let list = store(Kind::List, (0..MANY).collect());
        let dict = store(Kind::Dict, Object::Dict((0..MANY).map(|n| (n, n)).collect()));
        for (mut store, id, pop, push) in [
            (list.0, list.1, Op::Pop as fn(Option<i64>) -> Op, (|n| Op::Push(n.into())) as fn(usize) -> Op),
            (dict.0, dict.1, |_| Op::PopItem(), |n| Op::Set(n.into(), n.into())),
        ] {
            // How often its room changes, each time in a time that is as long as it is.
            let (mut changes, mut last) = (0, room(&mut store, id));
            assert!(last >= MANY);
            for left in (0..MANY).rev() {
                store.one(id, pop(None)).unwrap();
                let now = room(&mut store, id);
                changes += usize::from(now != last);
                last = now;
                assert!(now <= 8 * left + 200, "room for {now} where there are {left}");
            }
            assert!(changes < 12, "{changes}");
            changes = 0;
            for n in 0..MANY {
                store.one(id, push(n)).unwrap();
                changes += usize::from(room(&mut store, id) != last);
                last = room(&mut store, id);
            }
            assert!(changes < 40, "{changes}");
            store.one(id, Op::Clear()).unwrap();
            assert!(room(&mut store, id) < 100);
        }
    }
}
