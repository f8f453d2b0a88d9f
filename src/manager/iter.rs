//! Values of the server, some at a time.

use std::vec;

use super::{
    Dict, List,
    dict::pair,
    list::{items, nonsense},
    object::Object,
    protocol::Op,
};
use crate::{Error, Result};

/// Where an iteration is.
#[derive(Debug)]
struct Chunks {
    ready: vec::IntoIter<Object>,
    /// Where to go on; `None` after the last one.
    next: Option<u64>,
    version: Option<u64>,
}

impl Chunks {
    fn new() -> Self {
        Self { ready: Vec::new().into_iter(), next: Some(0), version: None }
    }

    fn next(&mut self, ask: impl Fn(Op) -> Result<Object>) -> Option<Result<Object>> {
        loop {
            if let Some(item) = self.ready.next() {
                return Some(Ok(item));
            }
            let at = self.next?;
            let read = ask(Op::Chunk(at, self.version)).and_then(|answer| self.take(answer));
            if let Err(error) = read {
                if !may_pass(&error) {
                    self.next = None;
                }
                return Some(Err(error));
            }
        }
    }

    fn take(&mut self, answer: Object) -> Result<()> {
        let Ok([version, next, ready]) = <[Object; 3]>::try_from(items(answer)?) else { return Err(nonsense()) };
        let (version, next, ready) = (version.get_as()?, next.get_as()?, items(ready)?.into_iter());
        (self.version, self.next, self.ready) = (version, next, ready);
        Ok(())
    }
}

/// Whether the same question may be answered later. All else ends the iteration, so that nobody who looks over errors is in it
/// for ever.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::TimedOut | Error::TooLarge { .. } | Error::OutOfMemory { .. } | Error::Os { .. })
}

/// The values of a [`List`], one after the other. From [`List::iter`].
///
/// # Examples
///
/// See [`List`].
#[derive(Debug)]
pub struct ListIter {
    list: List,
    chunks: Chunks,
}

impl ListIter {
    pub(super) fn new(list: List) -> Self {
        Self { list, chunks: Chunks::new() }
    }
}

impl Iterator for ListIter {
    type Item = Result<Object>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chunks.next(|op| self.list.0.ask(op))
    }
}

/// The items of a [`Dict`], one after the other. From [`Dict::iter`].
///
/// # Examples
///
/// See [`Dict`].
#[derive(Debug)]
pub struct DictIter {
    dict: Dict,
    chunks: Chunks,
}

impl DictIter {
    pub(super) fn new(dict: Dict) -> Self {
        Self { dict, chunks: Chunks::new() }
    }
}

impl Iterator for DictIter {
    type Item = Result<(Object, Object)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chunks.next(|op| self.dict.0.ask(op)).map(|item| item.and_then(pair))
    }
}

/// As [`List::iter`].
impl IntoIterator for &List {
    type Item = Result<Object>;
    type IntoIter = ListIter;

    fn into_iter(self) -> ListIter {
        self.iter()
    }
}

/// As [`Dict::iter`].
impl IntoIterator for &Dict {
    type Item = Result<(Object, Object)>;
    type IntoIter = DictIter;

    fn into_iter(self) -> DictIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of three values, each an answer of its own.
    fn answer(op: &Op) -> Object {
        let Op::Chunk(at, None) = op else { panic!("{op:?}") };
        Object::from([Object::None, Object::from((*at < 2).then_some(at + 1)), Object::from([*at])])
    }

    #[test]
    fn an_iteration_goes_on_where_it_failed() {
        let mut chunks = Chunks::new();
        let mut seen = Vec::new();
        for is_up in [true, false, false, true, false, true] {
            match chunks.next(|op| if is_up { Ok(answer(&op)) } else { Err(Error::TimedOut) }) {
                Some(Ok(item)) => seen.push(item),
                other => assert!(!is_up && matches!(other, Some(Err(Error::TimedOut)))),
            }
        }
        assert_eq!(seen, [0, 1, 2].map(Object::from));
        assert!(chunks.next(|op| Ok(answer(&op))).is_none());
    }

    #[test]
    fn what_stays_an_error_ends_it() {
        let answers: [fn(Op) -> Result<Object>; 3] =
            [|_| Err(Error::ManagerGone), |_| Err(Error::ChangedMeanwhile), |_| Ok(Object::from("nonsense"))];
        for ask in answers {
            let mut chunks = Chunks::new();
            assert!(matches!(chunks.next(ask), Some(Err(_))));
            assert!(chunks.next(|op| Ok(answer(&op))).is_none());
        }
    }
}
