//! Values of the server, some at a time.

use std::vec;

use super::{
    Dict, List,
    dict::pair,
    list::{items, nonsense},
    object::Object,
    protocol::Op,
    proxy::Remote,
};
use crate::Result;

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

    fn next(&mut self, remote: &Remote) -> Option<Result<Object>> {
        loop {
            if let Some(item) = self.ready.next() {
                return Some(Ok(item));
            }
            let at = self.next.take()?;
            if let Err(error) = self.read(remote, at) {
                return Some(Err(error));
            }
        }
    }

    fn read(&mut self, remote: &Remote, at: u64) -> Result<()> {
        let answer = remote.ask(Op::Chunk(at, self.version))?;
        let Ok([version, next, ready]) = <[Object; 3]>::try_from(items(answer)?) else { return Err(nonsense()) };
        self.version = version.get_as()?;
        self.next = next.get_as()?;
        self.ready = items(ready)?.into_iter();
        Ok(())
    }
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
        self.chunks.next(&self.list.0)
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
        self.chunks.next(&self.dict.0).map(|item| item.and_then(pair))
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
