//! What clients ask, and what they are answered.
//!
//! A request is a byte that says which one it is, and its fields in their order ([`Wire`]). An answer is a byte, 0 and a value
//! or 1 and an error as serde and postcard have it: so that errors keep their kinds.

use super::object::{Home, Object, Reader, Wire};
use crate::{Error, Result};

macro_rules! wire_enum {
    ($(#[$doc:meta])* enum $name:ident { $($(#[$variant_doc:meta])* $byte:literal $variant:ident($($field:ident: $type:ty),*),)+ }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) enum $name {
            $($(#[$variant_doc])* $variant($($type),*),)+
        }

        impl Wire for $name {
            fn write(&self, into: &mut Vec<u8>) -> Result<()> {
                match self {
                    $(Self::$variant($($field),*) => {
                        into.push($byte);
                        $($field.write(into)?;)*
                    })+
                }
                Ok(())
            }

            fn read(from: &mut Reader<'_>) -> Result<Self> {
                Ok(match from.byte()? {
                    $($byte => {
                        $(let $field = <$type>::read(from)?;)*
                        Self::$variant($($field),*)
                    })+
                    other => return Err(Error::corrupt(format!("a request of the unknown kind {other}"))),
                })
            }
        }
    };
}

/// The number of the dict that is always there.
pub(super) const ROOT: u64 = 0;

wire_enum! {
    /// A request of a client.
    enum Request {
        /// Counts the client as a holder of an object once more.
        0 Attach(id: u64),
        /// Takes back as many of its counts.
        1 Release(ids: Vec<u64>),
        /// Holds an object for as long as somebody has the other end of the socket that comes with this.
        2 Hold(id: u64),
        /// Makes an object of a kind, with these contents. Answered with it.
        3 New(kind: Kind, contents: Object),
        /// Does something with an object.
        4 One(id: u64, op: Op),
        /// All of these, or none. Answered with a list of the answers.
        5 All(steps: Steps),
        /// Keeps what goes with this under a name, if nothing has it: a type, an encoded value with its descriptors, and the
        /// objects of this server among it.
        6 Publish(name: String, tag: String, value: Object, held: Vec<u64>),
        /// What is kept under a name, if its type is this: nothing, or its bytes, and its descriptors beside it.
        7 Find(name: String, tag: String),
        /// How many objects there are, and how many clients.
        8 Count(),
        /// Makes a service: by a function at a place of the executable, if the key is the server's; of the kind of this tag; with
        /// these encoded arguments. Answered with its number.
        9 Serve(key: u64, build: Object, place: u64, tag: String, args: Object),
        /// Whether a service is of the kind of this tag. Has the socket that may come with this lead to it.
        10 Visit(id: u64, tag: String),
        /// Takes back what is kept under a name. Answered with whether there was something.
        11 Unpublish(name: String),
    }
}

wire_enum! {
    /// What can be done with an object.
    enum Op {
        0 Len(),
        1 Clear(),
        2 ToObject(),
        3 Get(key: Object),
        4 Set(key: Object, value: Object),
        5 Contains(value: Object),
        6 FetchAdd(key: Object, by: Object),
        7 CompareExchange(key: Object, current: Option<Object>, new: Option<Object>),
        8 Chunk(at: u64, version: Option<u64>),
        16 Push(value: Object),
        17 InsertAt(index: i64, value: Object),
        18 Pop(index: Option<i64>),
        19 Remove(value: Object),
        20 Extend(values: Vec<Object>),
        21 Slice(from: Option<i64>, to: Option<i64>),
        22 Reverse(),
        23 Sort(),
        24 IndexOf(value: Object),
        25 CountOf(value: Object),
        32 Take(key: Object),
        33 PopItem(),
        34 SetDefault(key: Object, value: Object),
        35 Update(items: Vec<(Object, Object)>),
        36 Keys(),
        37 Values(),
        38 Find(key: Object),
    }
}

/// Operations on objects, in their encoding: so none of them is ever in memory as anything else but the one that is carried out.
///
/// Insertions into one dict that follow each other, or at the end of one list, are one [`Update`](Op::Update) or
/// [`Extend`](Op::Extend): the server looks for the dict once.
#[derive(Debug, Default)]
pub(super) struct Steps {
    bytes: Vec<u8>,
    /// The last of them, which the next one may be of.
    run: Run,
}

#[derive(Debug, Default)]
struct Run {
    id: u64,
    op: u8,
    count: usize,
    bytes: Vec<u8>,
}

/// How they are written.
const EXTEND: u8 = 20;
const UPDATE: u8 = 35;

impl Steps {
    /// Whether it is a step of its own.
    ///
    /// # Errors
    ///
    /// `NotSendable`: then what there is makes no sense.
    #[inline]
    pub(super) fn add(&mut self, id: u64, step: &Step) -> Result<bool> {
        let op = match step {
            Step::Insert(..) => UPDATE,
            Step::Push(_) => EXTEND,
            Step::Other(op) => {
                self.end_run()?;
                id.write(&mut self.bytes)?;
                op.write(&mut self.bytes)?;
                return Ok(true);
            }
        };
        let is_new = self.run.count == 0 || (self.run.id, self.run.op) != (id, op);
        if is_new {
            self.end_run()?;
            (self.run.id, self.run.op) = (id, op);
        }
        self.run.count += 1;
        if let Step::Insert(key, _) = step {
            key.write(&mut self.run.bytes)?;
        }
        if let Step::Insert(_, value) | Step::Push(value) = step {
            value.write(&mut self.run.bytes)?;
        }
        Ok(is_new)
    }

    /// To be called after the last one.
    ///
    /// # Errors
    ///
    /// `NotSendable`.
    pub(super) fn end_run(&mut self) -> Result<()> {
        if self.run.count > 0 {
            self.run.id.write(&mut self.bytes)?;
            self.bytes.push(self.run.op);
            self.run.count.write(&mut self.bytes)?;
            self.bytes.append(&mut self.run.bytes);
            self.run.count = 0;
        }
        Ok(())
    }

    pub(super) fn reader<'a>(&'a self, home: Home<'a>) -> Reader<'a> {
        Reader::new(&self.bytes, home)
    }
}

/// The beginning of a step that is being read.
pub(super) enum Begun {
    /// So many items follow, which are to be put into the dict.
    Put(usize),
    Other(Op),
}

impl Begun {
    pub(super) fn read(from: &mut Reader<'_>) -> Result<(u64, Self)> {
        let id = u64::read(from)?;
        if from.skip(UPDATE) {
            return Ok((id, Self::Put(from.count_of::<(Object, Object)>()?)));
        }
        Ok((id, Self::Other(Op::read(from)?)))
    }
}

/// An operation of a batch.
#[derive(Debug)]
pub(super) enum Step {
    Insert(Object, Object),
    Push(Object),
    Other(Op),
}

/// The last part of a request, which ends where that does.
impl Wire for Steps {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        into.extend_from_slice(&self.bytes);
        Ok(())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { bytes: from.rest().into(), run: Run::default() })
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    List,
    Dict,
    Namespace,
}

impl Kind {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::List => 0,
            Self::Dict => 1,
            Self::Namespace => 2,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::List),
            1 => Ok(Self::Dict),
            2 => Ok(Self::Namespace),
            other => Err(Error::corrupt(format!("an object of the unknown kind {other}"))),
        }
    }
}

impl Wire for Kind {
    fn write(&self, into: &mut Vec<u8>) -> Result<()> {
        into.push(self.to_byte());
        Ok(())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        Self::from_byte(from.byte()?)
    }
}

/// An answer. Whether it is the value, and not an error.
pub(super) fn write_answer(answer: Result<Object>, into: &mut Vec<u8>) -> bool {
    let start = into.len();
    let error = match answer {
        Ok(value) => {
            into.push(0);
            match value.write_answer(into) {
                Ok(()) => return true,
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    into.truncate(start);
    into.push(1);
    into.extend(error_bytes(&error));
    false
}

pub(super) fn error_bytes(error: &Error) -> Vec<u8> {
    // Errors are plain data: nothing of one can fail to be written.
    postcard::to_stdvec(error).unwrap_or_default()
}

pub(super) fn read_answer(mut reader: Reader<'_>) -> Result<Object> {
    if reader.byte()? == 0 {
        let value = Object::read(&mut reader)?;
        reader.finish()?;
        return Ok(value);
    }
    Err(read_error(reader.rest()))
}

pub(super) fn read_error(bytes: &[u8]) -> Error {
    postcard::from_bytes(bytes).unwrap_or_else(|error| Error::corrupt(format!("an error that cannot be read: {error}")))
}
