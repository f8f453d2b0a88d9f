//! Several steps as one: what was done is undone if a later one fails.

use std::mem;

use super::{Body, Shared, Store, task::Task};
use crate::{
    Result,
    manager::{
        object::{Object, Reader},
        protocol::Begun,
    },
};

/// For more steps the log of a batch is not kept for the next one.
const MOST_LOGGED: usize = 4096;

/// How a step of several is taken back. Afterwards all is where it was, so that an iteration goes on.
pub(super) enum Undo {
    Truncate(usize),
    SetAt(usize, Object),
    RemoveAt(usize),
    InsertAt(usize, Object),
    Reverse,
    /// Where each value was that is here now.
    Order(Vec<usize>),
    Whole(Body),
    PutBack(usize, Box<(Object, Object)>),
}

impl Store {
    /// All of these steps, or none. What does not make sense is found when its turn comes.
    pub(in super::super) fn all(&mut self, steps: &mut Reader<'_>) -> Result<Object> {
        let task = Task::batch(mem::take(&mut self.log));
        self.all_as(task, steps)
    }

    pub(super) fn all_as(&mut self, mut task: Task, steps: &mut Reader<'_>) -> Result<Object> {
        let (mut ids, mut answers) = (Vec::new(), Vec::new());
        let mut step = |steps: &mut Reader<'_>| -> Result<()> {
            task.begin_step()?;
            let (id, begun) = Begun::read(steps)?;
            if ids.last() != Some(&id) {
                ids.push(id);
            }
            answers.push(match begun {
                Begun::Put(count) => {
                    self.put_each(id, count, steps, &mut task)?;
                    Object::None
                }
                Begun::Other(op) => self.apply(id, op, &mut task)?,
            });
            Ok(())
        };
        let mut done = Ok(());
        while done.is_ok() && !steps.is_empty() {
            done = step(steps);
        }
        let mut log = task.into_log();
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

    fn undo(&mut self, id: u64, undo: Undo) {
        if let Undo::SetAt(_, old) | Undo::InsertAt(_, old) = &undo {
            self.added(id, old);
        } else if let Undo::PutBack(_, item) = &undo {
            self.added(id, &item.1);
        }
        let Ok(Shared { body, version, .. }) = self.object(id) else { return };
        let mut gone = Vec::new();
        match (body, undo) {
            (Body::List(items), Undo::Truncate(length)) => gone = items.split_off(length.min(items.len())),
            (Body::List(items), Undo::SetAt(at, old)) => gone.push(mem::replace(&mut items[at], old)),
            (Body::List(items), Undo::RemoveAt(at)) => gone.push(items.remove(at)),
            (Body::List(items), Undo::InsertAt(at, old)) => items.insert(at, old),
            (Body::List(items), Undo::Reverse) => items.reverse(),
            (Body::List(items), Undo::Order(order)) => {
                let mut sorted = mem::take(items);
                items.resize_with(sorted.len(), Object::default);
                order.into_iter().zip(&mut sorted).for_each(|(at, item)| items[at] = mem::take(item));
            }
            (body, Undo::Whole(old)) => {
                *version -= u64::from(!matches!(old, Body::List(_)));
                let new = mem::replace(body, old);
                let (mut added, mut removed) = (Vec::new(), Vec::new());
                body.for_each_value(|value| value.for_each_proxy(&mut |proxy| added.push(proxy.id())));
                new.for_each_value(|value| value.for_each_proxy(&mut |proxy| removed.push(proxy.clone())));
                added.into_iter().for_each(|to| self.link(id, to));
                removed.into_iter().for_each(|proxy| self.removed(id, &Object::Proxy(proxy)));
            }
            (Body::Dict(map) | Body::Namespace(map), Undo::SetAt(at, old)) => gone.extend(map.replace(at, old)),
            (Body::Dict(map) | Body::Namespace(map), Undo::RemoveAt(at)) => {
                *version -= 1;
                gone.extend(map.take_at(at).map(|(_, value)| value));
            }
            (Body::Dict(map) | Body::Namespace(map), Undo::PutBack(at, item)) => {
                *version -= 1;
                let (key, old) = *item;
                map.put_back(at, key, old);
            }
            // Each kind of step is taken back where it was made.
            _ => {}
        }
        gone.iter().for_each(|value| self.removed(id, value));
    }
}
