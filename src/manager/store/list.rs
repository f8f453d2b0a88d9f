//! What is done with lists.

use std::mem;

use super::{Body, Store, chunk, in_short, sort::sorted, task::Task, undo::Undo};
use crate::{
    Error, Result,
    manager::{object::Object, protocol::Op},
};

impl Store {
    fn set_at(&mut self, id: u64, at: usize, value: Object, task: &mut Task) -> Result<()> {
        self.added(id, &value);
        let old = mem::replace(&mut self.list(id)?[at], value);
        self.removed(id, &old);
        task.note(id, || Undo::SetAt(at, old));
        Ok(())
    }

    pub(super) fn apply_to_list(&mut self, id: u64, op: Op, task: &mut Task) -> Result<Object> {
        let items = self.list(id)?;
        let length = items.len();
        Ok(match op {
            Op::Len() => Object::from(length),
            Op::ToObject() => {
                task.make_room(&*items)?;
                Object::List(items.clone())
            }
            Op::Get(index) => task.copy(&items[at(&index, length)?])?,
            Op::Contains(value) => {
                task.work(|| to_look_through(length, &value))?;
                Object::from(items.contains(&value))
            }
            Op::CountOf(value) => {
                task.work(|| to_look_through(length, &value))?;
                Object::from(items.iter().filter(|item| **item == value).count())
            }
            Op::IndexOf(value) => {
                task.work(|| to_look_through(length, &value))?;
                Object::from(position(items, &value)?)
            }
            Op::Slice(from, to) => {
                let bound = |bound: Option<i64>, default| bound.map_or(default, |index| clamp(index, length));
                let (from, to) = (bound(from, 0), bound(to, length));
                let items = items.get(from..to).unwrap_or_default();
                task.make_room(items)?;
                Object::List(items.to_vec())
            }
            Op::Chunk(at, _) => {
                let from = usize::try_from(at).unwrap_or(length).min(length);
                let to = from + chunk(items[from..].iter().map(Object::weight));
                task.make_room(&items[from..to])?;
                let next = Object::from((to < length).then_some(to));
                Object::List(vec![Object::None, next, Object::List(items[from..to].to_vec())])
            }
            Op::Set(index, value) => {
                let at = at(&index, length)?;
                self.check_links([&value])?;
                self.set_at(id, at, value, task)?;
                Object::None
            }
            Op::FetchAdd(index, by) => {
                let at = at(&index, length)?;
                let sum = items[at].plus(&by)?;
                let old = mem::replace(&mut items[at], sum);
                task.note(id, || Undo::SetAt(at, old.clone()));
                old
            }
            Op::CompareExchange(index, current, new) => {
                let at = at(&index, length)?;
                let (Some(current), Some(new)) = (current, new) else {
                    return Err(Error::invalid_argument("a place of a list always has a value"));
                };
                let old = task.copy(&items[at])?;
                if old != current {
                    return Ok(Object::from([Object::from(false), old]));
                }
                self.check_links([&new])?;
                self.set_at(id, at, new, task)?;
                Object::from([Object::from(true), old])
            }
            Op::Push(value) => {
                self.check_links([&value])?;
                self.added(id, &value);
                self.list(id)?.push(value);
                task.note(id, || Undo::Truncate(length));
                Object::None
            }
            Op::InsertAt(index, value) => {
                let at = clamp(index, length);
                task.work(|| to_move(length - at))?;
                self.check_links([&value])?;
                self.added(id, &value);
                self.list(id)?.insert(at, value);
                task.note(id, || Undo::RemoveAt(at));
                Object::None
            }
            Op::Extend(values) => {
                self.check_links(&values)?;
                values.iter().for_each(|value| self.added(id, value));
                self.list(id)?.extend(values);
                task.note(id, || Undo::Truncate(length));
                Object::None
            }
            Op::Pop(index) => {
                let at = at(&Object::from(index.unwrap_or(-1)), length)?;
                task.work(|| to_move(length - at))?;
                task.make_room([&items[at]])?;
                let value = self.remove(id, at)?;
                task.note(id, || Undo::InsertAt(at, value.clone()));
                value
            }
            Op::Remove(value) => {
                task.work(|| to_look_through(length, &value) + to_move(length))?;
                let at = position(items, &value)?;
                let removed = self.remove(id, at)?;
                task.note(id, || Undo::InsertAt(at, removed));
                Object::None
            }
            Op::Clear() => {
                let all = mem::take(items);
                all.iter().for_each(|value| self.removed(id, value));
                task.note(id, || Undo::Whole(Body::List(all)));
                Object::None
            }
            Op::Reverse() => {
                task.work(|| length)?;
                items.reverse();
                task.note(id, || Undo::Reverse);
                Object::None
            }
            Op::Sort() => {
                task.work(|| to_sort(items))?;
                let order = sorted(items)?;
                if order.iter().enumerate().any(|(at, before)| at != *before) {
                    let mut old = mem::take(items);
                    items.extend(order.iter().map(|at| mem::take(&mut old[*at])));
                    task.note(id, || Undo::Order(order));
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

    fn remove(&mut self, id: u64, at: usize) -> Result<Object> {
        let value = self.list(id)?.remove(at);
        self.removed(id, &value);
        Ok(value)
    }
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

/// The same for a place between values, or the nearest that there is.
fn clamp(index: i64, length: usize) -> usize {
    let from_start = if index < 0 { index.saturating_add_unsigned(length as u64) } else { index };
    usize::try_from(from_start).unwrap_or(0).min(length)
}

fn position(items: &[Object], value: &Object) -> Result<usize> {
    items.iter().position(|item| item == value).ok_or_else(|| Error::ValueNotFound { value: in_short(value) })
}

/// What is to be done to compare so many values with this one.
fn to_look_through(length: usize, value: &Object) -> usize {
    length.saturating_mul(value.weight() / size_of::<Object>())
}

/// And to move so many.
fn to_move(length: usize) -> usize {
    length / 8
}

fn to_sort(items: &[Object]) -> usize {
    items.iter().map(Object::weight).sum::<usize>() / 4
}
