//! The objects of a server, and what is done with them.
//!
//! One thread has them, so there are no locks, and every request is one step for all others.
//!
//! An object lives while somebody holds it: a client, a ticket under way (`outer`), or another object that has it among its
//! values (`inner`). Objects that hold each other and are held by nobody else are found by looking at what can be reached
//! from those that somebody holds ([`Store::collect`]), when there is reason to.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt::{self, Write as _},
    hash::{BuildHasherDefault, Hasher},
    mem,
};

use super::{
    object::{Map, Object, Reader, Wire},
    protocol::{Kind, Op, ROOT},
    proxy::Proxy,
    service::OpenDesk,
};
use crate::{Error, Result};

/// The most items of one step of an iteration, and about how many bytes they have, if it is more than one.
const CHUNK: usize = 128;
const WEIGHT_OF_A_CHUNK: usize = 1 << 20;

/// For more steps the log of a batch is not kept for the next one.
const MOST_LOGGED: usize = 4096;

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

/// How a step of several is taken back.
enum Undo {
    Truncate(usize),
    SetAt(usize, Object),
    RemoveAt(usize),
    InsertAt(usize, Object),
    Reverse,
    Whole(Body),
    PutBack(usize, Box<(Object, Object)>),
}

/// What was done, if it may have to be undone.
type Log<'a> = Option<&'a mut Vec<(u64, Undo)>>;

fn note(log: Log<'_>, id: u64, undo: impl FnOnce() -> Undo) {
    if let Some(log) = log {
        log.push((id, undo()));
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
        let answer = self.apply(id, op, None);
        self.settle(id);
        answer
    }

    /// All of these steps, or none. What does not make sense is found when its turn comes.
    pub(super) fn all(&mut self, steps: &mut Reader<'_>) -> Result<Object> {
        let (mut log, mut ids, mut answers) = (mem::take(&mut self.log), Vec::new(), Vec::new());
        let mut step = |steps: &mut Reader<'_>| -> Result<()> {
            let (id, op) = <(u64, Op)>::read(steps)?;
            if ids.last() != Some(&id) {
                ids.push(id);
            }
            answers.push(self.apply(id, op, Some(&mut log))?);
            Ok(())
        };
        let mut done = Ok(());
        while done.is_ok() && !steps.is_empty() {
            done = step(steps);
        }
        if done.is_err() {
            while let Some((id, undo)) = log.pop() {
                self.undo(id, undo);
            }
        }
        // Not before: until then places stay what they are.
        ids.into_iter().for_each(|id| self.settle(id));
        if log.capacity() <= MOST_LOGGED {
            log.clear();
            self.log = log;
        }
        done.map(|()| Object::List(answers))
    }

    fn settle(&mut self, id: u64) {
        if let Some(Shared { body: Body::Dict(map) | Body::Namespace(map), .. }) = self.objects.get_mut(&id) {
            map.close_holes();
        }
    }

    fn undo(&mut self, id: u64, undo: Undo) {
        let Ok(Shared { body, version, .. }) = self.object(id) else { return };
        *version += 1;
        let (mut gone, mut back) = (Vec::new(), None);
        match (body, undo) {
            (Body::List(items), Undo::Truncate(length)) => gone = items.split_off(length.min(items.len())),
            (Body::List(items), Undo::SetAt(at, old)) => {
                back = Some(old.clone());
                gone.push(mem::replace(&mut items[at], old));
            }
            (Body::List(items), Undo::RemoveAt(at)) => gone.push(items.remove(at)),
            (Body::List(items), Undo::InsertAt(at, old)) => {
                back = Some(old.clone());
                items.insert(at, old);
            }
            (Body::List(items), Undo::Reverse) => items.reverse(),
            (body, Undo::Whole(old)) => {
                let new = mem::replace(body, old);
                let (mut added, mut removed) = (Vec::new(), Vec::new());
                body.for_each_value(|value| value.for_each_proxy(&mut |proxy| added.push(proxy.id())));
                new.for_each_value(|value| value.for_each_proxy(&mut |proxy| removed.push(proxy.clone())));
                added.into_iter().for_each(|to| self.link(id, to));
                removed.into_iter().for_each(|proxy| self.removed(id, &Object::Proxy(proxy)));
            }
            (Body::Dict(map) | Body::Namespace(map), Undo::SetAt(at, old)) => {
                back = Some(old.clone());
                gone.extend(map.replace(at, old));
            }
            (Body::Dict(map) | Body::Namespace(map), Undo::RemoveAt(at)) => {
                gone.extend(map.take_at(at).map(|(_, value)| value));
            }
            (Body::Dict(map) | Body::Namespace(map), Undo::PutBack(at, item)) => {
                let (key, old) = *item;
                back = Some(old.clone());
                map.put_back(at, key, old);
            }
            // Each kind of step is taken back where it was made.
            _ => {}
        }
        back.iter().for_each(|value| self.added(id, value));
        gone.iter().for_each(|value| self.removed(id, value));
    }

    fn apply(&mut self, id: u64, op: Op, log: Log<'_>) -> Result<Object> {
        match &self.object(id)?.body {
            Body::Service(_) => Err(self.object(id)?.body.mismatch("a list or dict")),
            Body::List(_) => self.apply_to_list(id, op, log),
            Body::Dict(_) => self.apply_to_dict(id, op, log),
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
                self.apply_to_dict(id, op, log)
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

    fn set_at(&mut self, id: u64, at: usize, value: Object, log: Log<'_>) -> Result<()> {
        self.added(id, &value);
        let old = mem::replace(&mut self.list(id)?[at], value);
        self.removed(id, &old);
        note(log, id, || Undo::SetAt(at, old));
        Ok(())
    }

    fn apply_to_list(&mut self, id: u64, op: Op, log: Log<'_>) -> Result<Object> {
        let items = self.list(id)?;
        let length = items.len();
        Ok(match op {
            Op::Len() => Object::from(length),
            Op::ToObject() => Object::List(items.clone()),
            Op::Get(index) => items[at(&index, length)?].clone(),
            Op::Contains(value) => Object::from(items.contains(&value)),
            Op::CountOf(value) => Object::from(items.iter().filter(|item| **item == value).count()),
            Op::IndexOf(value) => Object::from(position(items, &value)?),
            Op::Slice(from, to) => {
                let bound = |bound: Option<i64>, default| bound.map_or(default, |index| clamp(index, length));
                let (from, to) = (bound(from, 0), bound(to, length));
                Object::List(items.get(from..to).unwrap_or_default().to_vec())
            }
            Op::Chunk(at, _) => {
                let from = usize::try_from(at).unwrap_or(length).min(length);
                let to = from + chunk(items[from..].iter().map(Object::weight));
                let next = Object::from((to < length).then_some(to));
                Object::List(vec![Object::None, next, Object::List(items[from..to].to_vec())])
            }
            Op::Set(index, value) => {
                let at = at(&index, length)?;
                self.check_links([&value])?;
                self.set_at(id, at, value, log)?;
                Object::None
            }
            Op::FetchAdd(index, by) => {
                let at = at(&index, length)?;
                let sum = items[at].plus(&by)?;
                let old = mem::replace(&mut items[at], sum);
                note(log, id, || Undo::SetAt(at, old.clone()));
                old
            }
            Op::CompareExchange(index, current, new) => {
                let at = at(&index, length)?;
                let (Some(current), Some(new)) = (current, new) else {
                    return Err(Error::invalid_argument("a place of a list always has a value"));
                };
                let old = items[at].clone();
                if old != current {
                    return Ok(Object::from([Object::from(false), old]));
                }
                self.check_links([&new])?;
                self.set_at(id, at, new, log)?;
                Object::from([Object::from(true), old])
            }
            Op::Push(value) => {
                self.check_links([&value])?;
                self.added(id, &value);
                self.list(id)?.push(value);
                note(log, id, || Undo::Truncate(length));
                Object::None
            }
            Op::InsertAt(index, value) => {
                self.check_links([&value])?;
                self.added(id, &value);
                let at = clamp(index, length);
                self.list(id)?.insert(at, value);
                note(log, id, || Undo::RemoveAt(at));
                Object::None
            }
            Op::Extend(values) => {
                self.check_links(&values)?;
                values.iter().for_each(|value| self.added(id, value));
                self.list(id)?.extend(values);
                note(log, id, || Undo::Truncate(length));
                Object::None
            }
            Op::Pop(index) => {
                let at = at(&Object::from(index.unwrap_or(-1)), length)?;
                self.remove_at(id, at, log)?
            }
            Op::Remove(value) => {
                let at = position(items, &value)?;
                self.remove_at(id, at, log)?;
                Object::None
            }
            Op::Clear() => {
                let all = mem::take(items);
                all.iter().for_each(|value| self.removed(id, value));
                note(log, id, || Undo::Whole(Body::List(all)));
                Object::None
            }
            Op::Reverse() => {
                items.reverse();
                note(log, id, || Undo::Reverse);
                Object::None
            }
            Op::Sort() => {
                let order = sorted(items)?;
                let before = log.is_some().then(|| items.clone());
                let mut old: Vec<_> = mem::take(items);
                *items = order.into_iter().map(|at| mem::take(&mut old[at])).collect();
                if let Some(before) = before {
                    note(log, id, || Undo::Whole(Body::List(before)));
                }
                Object::None
            }
            Op::Take(_)
            | Op::PopItem()
            | Op::SetDefault(..)
            | Op::Update(_)
            | Op::Keys()
            | Op::Values()
            | Op::Find(_) => {
                return Err(Error::TypeMismatch { expected: "a dict".into(), found: "a list".into() });
            }
        })
    }

    fn remove_at(&mut self, id: u64, at: usize, log: Log<'_>) -> Result<Object> {
        let value = self.list(id)?.remove(at);
        self.removed(id, &value);
        note(log, id, || Undo::InsertAt(at, value.clone()));
        Ok(value)
    }

    fn put(&mut self, id: u64, key: Object, value: Object, log: Log<'_>) -> Result<()> {
        let has_proxies = value.has_proxies();
        self.put_all(id, [(key, value)], has_proxies, log)
    }

    fn put_all(
        &mut self,
        id: u64,
        items: impl IntoIterator<Item = (Object, Object)>,
        have_proxies: bool,
        mut log: Log<'_>,
    ) -> Result<()> {
        // Nearly always there are none, among the old values neither: then nothing is to be counted.
        let counts = have_proxies || self.object(id)?.links > 0;
        if counts {
            for (key, value) in items {
                self.added(id, &value);
                let (at, old) = self.map(id)?.put_and_tell(key, value);
                old.iter().for_each(|old| self.removed(id, old));
                self.object(id)?.version += u64::from(old.is_none());
                note(log.as_deref_mut(), id, || undo_put(at, old));
            }
        } else if let Shared { body: Body::Dict(map) | Body::Namespace(map), version, .. } = self.object(id)? {
            for (key, value) in items {
                let (at, old) = map.put_and_tell(key, value);
                *version += u64::from(old.is_none());
                note(log.as_deref_mut(), id, || undo_put(at, old));
            }
        }
        Ok(())
    }

    fn take(&mut self, id: u64, key: &Object, log: Log<'_>) -> Result<(Object, Object)> {
        let (at, key, value) = self.map(id)?.take(key).ok_or_else(|| no_key(key))?;
        self.object(id)?.version += 1;
        self.removed(id, &value);
        note(log, id, || Undo::PutBack(at, Box::new((key.clone(), value.clone()))));
        Ok((key, value))
    }

    fn apply_to_dict(&mut self, id: u64, op: Op, log: Log<'_>) -> Result<Object> {
        let Shared { body: Body::Dict(map) | Body::Namespace(map), version, .. } = self.object(id)? else {
            return Err(gone(id));
        };
        if let Op::Get(key)
        | Op::Find(key)
        | Op::Contains(key)
        | Op::Set(key, _)
        | Op::SetDefault(key, _)
        | Op::FetchAdd(key, _)
        | Op::CompareExchange(key, ..)
        | Op::Take(key) = &op
        {
            key.check_key()?;
        }
        Ok(match op {
            Op::Len() => Object::from(map.len()),
            Op::ToObject() => Object::Dict(map.clone()),
            Op::Get(key) => map.find(&key).cloned().ok_or_else(|| no_key(&key))?,
            Op::Find(key) => Object::List(map.find(&key).cloned().into_iter().collect()),
            Op::Contains(key) => Object::from(map.find(&key).is_some()),
            Op::Keys() => map.iter().map(|(key, _)| key).collect(),
            Op::Values() => map.iter().map(|(_, value)| value).collect(),
            Op::Chunk(_, Some(known)) if known != *version => return Err(Error::ChangedMeanwhile),
            Op::Chunk(at, _) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let count = chunk(map.from(at).map(|(_, (key, value))| key.weight() + value.weight()));
                let mut rest = map.from(at);
                let items = rest.by_ref().take(count).map(|(_, (key, value))| Object::from([key, value])).collect();
                let next = rest.next().map(|(at, _)| at);
                Object::List(vec![Object::from(*version), Object::from(next), Object::List(items)])
            }
            Op::Set(key, value) => {
                self.check_links([&value])?;
                self.put(id, key, value, log)?;
                Object::None
            }
            Op::SetDefault(key, value) => {
                if let Some(found) = map.find(&key) {
                    return Ok(found.clone());
                }
                self.check_links([&value])?;
                self.put(id, key, value.clone(), log)?;
                value
            }
            Op::FetchAdd(key, by) => {
                let old = map.find(&key).cloned().unwrap_or(Object::Int(0));
                let sum = old.plus(&by)?;
                self.put(id, key, sum, log)?;
                old
            }
            Op::CompareExchange(key, current, new) => {
                let old = map.find(&key).cloned();
                let is_same = old == current;
                if is_same {
                    self.check_links(&new)?;
                    match new {
                        Some(new) => self.put(id, key, new, log)?,
                        None if old.is_some() => drop(self.take(id, &key, log)?),
                        None => {}
                    }
                }
                Object::List([Object::from(is_same)].into_iter().chain(old).collect())
            }
            Op::Update(items) => {
                let are_names = matches!(self.object(id)?.body, Body::Namespace(_));
                let mut have_proxies = false;
                for (key, value) in &items {
                    if are_names { check_name(key) } else { key.check_key() }?;
                    if value.has_proxies() {
                        have_proxies = true;
                        self.check_links([value])?;
                    }
                }
                self.put_all(id, items, have_proxies, log)?;
                Object::None
            }
            Op::Take(key) => self.take(id, &key, log)?.1,
            Op::PopItem() => {
                let key = map.last_key().cloned().ok_or(Error::KeyNotFound { key: "the last one of none".into() })?;
                let (key, value) = self.take(id, &key, log)?;
                Object::from([key, value])
            }
            Op::Clear() => {
                *version += 1;
                let all = mem::take(map);
                all.iter().for_each(|(_, value)| self.removed(id, value));
                let kind = self.object(id)?.body.kind();
                note(log, id, || {
                    Undo::Whole(if kind == Some(Kind::Dict) { Body::Dict(all) } else { Body::Namespace(all) })
                });
                Object::None
            }
            Op::Push(_)
            | Op::InsertAt(..)
            | Op::Pop(_)
            | Op::Remove(_)
            | Op::Extend(_)
            | Op::Slice(..)
            | Op::Reverse()
            | Op::Sort()
            | Op::IndexOf(_)
            | Op::CountOf(_) => {
                return Err(Error::TypeMismatch { expected: "a list".into(), found: "a dict".into() });
            }
        })
    }
}

fn undo_put(at: usize, old: Option<Object>) -> Undo {
    old.map_or(Undo::RemoveAt(at), |old| Undo::SetAt(at, old))
}

fn gone(id: u64) -> Error {
    Error::NotFound { name: format!("object {id} of the manager") }
}

fn no_key(key: &Object) -> Error {
    Error::KeyNotFound { key: in_short(key) }
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

fn check_name(key: &Object) -> Result<()> {
    if let Object::Str(_) = key { Ok(()) } else { Err(key.mismatch("the name of an attribute")) }
}

/// The place that an index means, from the end if it is negative.
fn at(index: &Object, length: usize) -> Result<usize> {
    let Object::Int(index) = index else { return Err(index.mismatch("an index")) };
    let from_start = if *index < 0 { index.saturating_add(length as i128) } else { *index };
    match usize::try_from(from_start) {
        Ok(at) if at < length => Ok(at),
        _ => Err(Error::IndexOutOfRange { index: i64::try_from(*index).unwrap_or(i64::MAX), len: length }),
    }
}

/// How many of the next values, which have these weights, are read in one step of an iteration.
fn chunk(weights: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0_usize;
    let is_enough = |weight: usize| {
        let before = sum;
        sum = sum.saturating_add(weight);
        before >= WEIGHT_OF_A_CHUNK
    };
    weights.take(CHUNK).map(is_enough).take_while(|is_enough| !is_enough).count()
}

/// The same for a place between values, or the nearest that there is.
fn clamp(index: i64, length: usize) -> usize {
    let from_start = if index < 0 { index.saturating_add_unsigned(length as u64) } else { index };
    usize::try_from(from_start).unwrap_or(0).min(length)
}

fn position(items: &[Object], value: &Object) -> Result<usize> {
    items.iter().position(|item| item == value).ok_or_else(|| Error::ValueNotFound { value: in_short(value) })
}

/// The positions of the values in their order; equal ones stay as they are.
///
/// Each half is sorted, and then they are merged, with an error where two have no order: a sort of the library may panic then.
fn sorted(items: &[Object]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let is_number = |item: &Object| matches!(item, Object::Bool(_) | Object::Int(_) | Object::Float(_));
    if items.iter().all(is_number) || items.iter().all(|item| matches!(item, Object::Str(_))) {
        // These have an order, all of them.
        order.sort_by(|a, b| items[*a].partial_cmp(&items[*b]).unwrap_or(Ordering::Equal));
        return Ok(order);
    }
    let (mut merged, mut width) = (Vec::with_capacity(order.len()), 1);
    while width < order.len() {
        for pair in order.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, rest @ ..], [b, others @ ..]) = (left, right) {
                if compare(&items[*b], &items[*a])?.is_lt() {
                    merged.push(*b);
                    right = others;
                } else {
                    merged.push(*a);
                    left = rest;
                }
            }
            merged.extend(left.iter().chain(right));
        }
        mem::swap(&mut order, &mut merged);
        merged.clear();
        width *= 2;
    }
    Ok(order)
}

fn compare(a: &Object, b: &Object) -> Result<Ordering> {
    match a.partial_cmp(b) {
        // Equal ones that have no order, such as two of nothing.
        Some(order) if has_order(a) => Ok(order),
        _ => Err(Error::TypeMismatch {
            expected: format!("values that have an order with {}", a.type_name()),
            found: b.type_name().into(),
        }),
    }
}

fn has_order(object: &Object) -> bool {
    !matches!(object, Object::None | Object::Dict(_) | Object::Proxy(_))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
