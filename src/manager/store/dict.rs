//! What is done with dicts and namespaces.

use std::mem;

use super::{
    Body, Shared, Store, chunk, gone, in_short,
    undo::{Log, Undo, note},
};
use crate::{
    Error, Result,
    manager::{
        object::Object,
        protocol::{Kind, Op},
    },
};

impl Store {
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

    pub(super) fn apply_to_dict(&mut self, id: u64, op: Op, log: Log<'_>) -> Result<Object> {
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

fn no_key(key: &Object) -> Error {
    Error::KeyNotFound { key: in_short(key) }
}

pub(super) fn check_name(key: &Object) -> Result<()> {
    if let Object::Str(_) = key { Ok(()) } else { Err(key.mismatch("the name of an attribute")) }
}
