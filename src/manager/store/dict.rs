//! What is done with dicts and namespaces.

use std::mem;

use super::{Body, Shared, Store, chunk, gone, in_short, task::Task, undo::Undo};
use crate::{
    Error, Result,
    manager::{
        object::{Map, Object, Reader, Wire},
        protocol::{Kind, Op},
    },
};

impl Store {
    fn put(&mut self, id: u64, key: Object, value: Object, task: &mut Task) -> Result<()> {
        let has_proxies = value.has_proxies();
        self.put_all(id, [(key, value)], has_proxies, task)
    }

    fn put_all(
        &mut self,
        id: u64,
        items: impl IntoIterator<Item = (Object, Object)>,
        have_proxies: bool,
        task: &mut Task,
    ) -> Result<()> {
        // Nearly always there are none, among the old values neither: then nothing is to be counted.
        let counts = have_proxies || self.object(id)?.links > 0;
        if counts {
            return items.into_iter().try_for_each(|(key, value)| self.put_counted(id, key, value, task));
        }
        if let Shared { body: Body::Dict(map) | Body::Namespace(map), version, .. } = self.object(id)? {
            items.into_iter().for_each(|item| put_plainly(id, map, version, item, task));
        }
        Ok(())
    }

    fn put_counted(&mut self, id: u64, key: Object, value: Object, task: &mut Task) -> Result<()> {
        self.added(id, &value);
        let (at, old) = self.map(id)?.put_and_tell(key, value);
        old.iter().for_each(|old| self.removed(id, old));
        self.object(id)?.version += u64::from(old.is_none());
        task.note(id, || undo_put(at, old));
        Ok(())
    }

    /// Puts so many items in as they are read: this is what large batches are made of, so nothing is done twice.
    pub(super) fn put_each(&mut self, id: u64, count: usize, items: &mut Reader<'_>, task: &mut Task) -> Result<()> {
        self.map(id)?;
        let mut left = count;
        while let Some((key, value)) = self.put_plain_ones(id, &mut left, items, task)? {
            self.check_links([&value])?;
            self.put_counted(id, key, value, task)?;
        }
        Ok(())
    }

    /// Until there is one with something to be counted, which is returned.
    fn put_plain_ones(
        &mut self,
        id: u64,
        left: &mut usize,
        items: &mut Reader<'_>,
        task: &mut Task,
    ) -> Result<Option<(Object, Object)>> {
        let Shared { body, version, links, .. } = self.object(id)?;
        let are_names = matches!(body, Body::Namespace(_));
        let (Body::Dict(map) | Body::Namespace(map)) = body else { return Err(gone(id)) };
        while *left > 0 {
            *left -= 1;
            let (key, value) = <(Object, Object)>::read(items)?;
            if are_names { check_name(&key) } else { key.check_key() }?;
            if *links > 0 || value.has_proxies() {
                return Ok(Some((key, value)));
            }
            put_plainly(id, map, version, (key, value), task);
        }
        Ok(None)
    }

    fn take(&mut self, id: u64, key: &Object, task: &mut Task) -> Result<(Object, Object)> {
        let (at, key, value) = self.map(id)?.take(key).ok_or_else(|| no_key(key))?;
        self.object(id)?.version += 1;
        self.removed(id, &value);
        task.note(id, || Undo::PutBack(at, Box::new((key.clone(), value.clone()))));
        Ok((key, value))
    }

    pub(super) fn apply_to_dict(&mut self, id: u64, op: Op, task: &mut Task) -> Result<Object> {
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
            Op::ToObject() => {
                task.make_room_for(map)?;
                Object::Dict(map.clone())
            }
            Op::Get(key) => task.copy(map.find(&key).ok_or_else(|| no_key(&key))?)?,
            Op::Find(key) => {
                Object::List(map.find(&key).map(|value| task.copy(value)).transpose()?.into_iter().collect())
            }
            Op::Contains(key) => Object::from(map.find(&key).is_some()),
            Op::Keys() => {
                task.make_room(map.iter().map(|(key, _)| key))?;
                map.iter().map(|(key, _)| key).collect()
            }
            Op::Values() => {
                task.make_room(map.iter().map(|(_, value)| value))?;
                map.iter().map(|(_, value)| value).collect()
            }
            Op::Chunk(_, Some(known)) if known != *version => return Err(Error::ChangedMeanwhile),
            Op::Chunk(at, _) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let count = chunk(map.from(at).map(|(_, (key, value))| key.weight() + value.weight()));
                task.make_room(map.from(at).take(count).flat_map(|(_, (key, value))| [key, value]))?;
                let mut rest = map.from(at);
                let items = rest.by_ref().take(count).map(|(_, (key, value))| Object::from([key, value])).collect();
                let next = rest.next().map(|(at, _)| at);
                Object::List(vec![Object::from(*version), Object::from(next), Object::List(items)])
            }
            Op::Set(key, value) => {
                self.check_links([&value])?;
                self.put(id, key, value, task)?;
                Object::None
            }
            Op::SetDefault(key, value) => {
                if let Some(found) = map.find(&key) {
                    return task.copy(found);
                }
                self.check_links([&value])?;
                task.make_room([&value])?;
                self.put(id, key, value.clone(), task)?;
                value
            }
            Op::FetchAdd(key, by) => {
                let old = map.find(&key).map_or(Ok(Object::Int(0)), |old| task.copy(old))?;
                let sum = old.plus(&by)?;
                self.put(id, key, sum, task)?;
                old
            }
            Op::CompareExchange(key, current, new) => {
                let old = map.find(&key).map(|old| task.copy(old)).transpose()?;
                let is_same = old == current;
                if is_same {
                    self.check_links(&new)?;
                    match new {
                        Some(new) => self.put(id, key, new, task)?,
                        None if old.is_some() => drop(self.take(id, &key, task)?),
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
                self.put_all(id, items, have_proxies, task)?;
                Object::None
            }
            Op::Take(key) => {
                task.make_room(map.find(&key))?;
                self.take(id, &key, task)?.1
            }
            Op::PopItem() => {
                let last = map.last().ok_or(Error::KeyNotFound { key: "the last one of none".into() })?;
                task.make_room([&last.0, &last.1])?;
                let key = last.0.clone();
                let (key, value) = self.take(id, &key, task)?;
                Object::from([key, value])
            }
            Op::Clear() => {
                *version += 1;
                let all = mem::take(map);
                all.iter().for_each(|(_, value)| self.removed(id, value));
                let kind = self.object(id)?.body.kind();
                task.note(id, || {
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

#[inline]
fn put_plainly(id: u64, map: &mut Map, version: &mut u64, (key, value): (Object, Object), task: &mut Task) {
    match map.put_and_tell(key, value) {
        (at, Some(old)) => task.note(id, || Undo::SetAt(at, old)),
        (at, None) => {
            *version += 1;
            task.note(id, || Undo::RemoveAt(at));
        }
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
