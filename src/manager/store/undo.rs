//! Several steps as one: what was done is undone if a later one fails.

use std::mem;

use super::{Body, Shared, Store};
use crate::{
    Result,
    manager::{
        object::{Object, Reader, Wire},
        protocol::Op,
    },
};

/// For more steps the log of a batch is not kept for the next one.
const MOST_LOGGED: usize = 4096;

/// How a step of several is taken back.
pub(super) enum Undo {
    Truncate(usize),
    SetAt(usize, Object),
    RemoveAt(usize),
    InsertAt(usize, Object),
    Reverse,
    Whole(Body),
    PutBack(usize, Box<(Object, Object)>),
}

/// What was done, if it may have to be undone.
pub(super) type Log<'a> = Option<&'a mut Vec<(u64, Undo)>>;

pub(super) fn note(log: Log<'_>, id: u64, undo: impl FnOnce() -> Undo) {
    if let Some(log) = log {
        log.push((id, undo()));
    }
}

impl Store {
    /// All of these steps, or none. What does not make sense is found when its turn comes.
    pub(in super::super) fn all(&mut self, steps: &mut Reader<'_>) -> Result<Object> {
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

    pub(super) fn settle(&mut self, id: u64) {
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
}
