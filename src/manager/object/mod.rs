//! The values that a manager keeps: of mixed types, as Python has them.

mod convert;
mod de;
mod map;
mod ser;
mod show;
mod wire;

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use serde::{Serialize, de::DeserializeOwned};

pub(super) use self::map::is_wasteful;
pub use self::map::{Map, MapIter};
pub(super) use self::wire::{Home, Reader, Room, Wire};
use super::proxy::Proxy;
use crate::{Error, Result};

/// A value of any of the types that lists, dicts and namespaces hold.
///
/// # Equality and order
///
/// As in Python: `1`, `1.0` and `true` are equal, and one key. A dict equals one with the same items in any order. Numbers
/// are compared exactly, however large they are. Only numbers with numbers, strings with strings, bytes with bytes and
/// lists with lists have an order; others have none, and a list of them cannot be sorted.
///
/// Unlike there, a NaN equals any other NaN, and comes after all numbers: so one that was inserted as a key is found, and
/// a list with one can be sorted.
///
/// # Examples
///
/// ```
/// use shmkit::manager::Object;
///
/// let mixed = Object::from(vec![Object::from(1), Object::from("it's"), Object::None, Object::from(2.0)]);
/// assert_eq!(mixed.to_string(), "[1, \"it's\", None, 2.0]");
/// assert_eq!(Object::from(1), Object::from(1.0));
/// assert!(Object::from(1_i64 << 53) < Object::from((1_u64 << 53) + 1));
/// assert_eq!(Object::from("a").partial_cmp(&Object::from(1)), None);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Object {
    /// Nothing.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values one after the other.
    List(Vec<Object>),
    /// Values by their keys.
    Dict(Map),
    /// A list, dict or namespace of a manager, which is not copied, but shared by all who have it.
    Proxy(Proxy),
}

const _: () = assert!(size_of::<Object>() == 32);

impl Object {
    /// Bytes, as opposed to a list of numbers.
    ///
    /// # Examples
    ///
    /// ```
    /// use shmkit::manager::Object;
    /// assert_eq!(Object::bytes(b"a\x00").to_string(), r"b'a\x00'");
    /// ```
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// What serde makes of a value: structs and maps become dicts, sequences and tuples lists, unit variants their names,
    /// other variants dicts of one item.
    ///
    /// # Errors
    ///
    /// [`NotSendable`](crate::Error::NotSendable) with what serde says.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::manager::Object;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Point { x: f64, y: f64, tag: Option<String> }
    ///
    /// let point = Point { x: 1.0, y: 2.5, tag: None };
    /// let object = Object::from_serialize(&point)?;
    /// assert_eq!(object.to_string(), "{'x': 1.0, 'y': 2.5, 'tag': None}");
    /// assert_eq!(object.get_as::<Point>()?, point);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        ser::to_object(value)
    }

    /// The value as another type, by serde.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](crate::Error::TypeMismatch) with what serde says.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> shmkit::Result<()> {
    /// use shmkit::manager::Object;
    ///
    /// assert_eq!(Object::from(vec![1, 2]).get_as::<Vec<u8>>()?, [1, 2]);
    /// assert_eq!(Object::from(3).get_as::<f64>()?, 3.0);
    /// let error = Object::from("3").get_as::<i32>().unwrap_err();
    /// assert!(matches!(error, shmkit::Error::TypeMismatch { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_as<T: DeserializeOwned>(&self) -> Result<T> {
        de::from_object(self)
    }

    /// The name of its type, as Python has it.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(shmkit::manager::Object::from(1.5).type_name(), "float");
    /// ```
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Proxy(proxy) => proxy.type_name(),
        }
    }

    /// Whether it is nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(shmkit::manager::Object::from(()).is_none());
    /// ```
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The error of an operation that wants something else.
    pub(super) fn mismatch(&self, expected: &str) -> Error {
        Error::TypeMismatch { expected: expected.into(), found: self.type_name().into() }
    }

    /// # Errors
    ///
    /// `TypeMismatch` for what cannot be a key: what may change, and what has such a thing in it.
    #[inline]
    pub(super) fn check_key(&self) -> Result<()> {
        if self.is_plain() { Ok(()) } else { self.check_parts() }
    }

    fn check_parts(&self) -> Result<()> {
        match self {
            Self::List(items) => items.iter().try_for_each(Self::check_key),
            _ => Err(self.mismatch("a value that can be a key")),
        }
    }

    /// Whether it has no other values in it, nor is another object.
    #[inline]
    fn is_plain(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Dict(_) | Self::Proxy(_))
    }

    /// Calls `found` with each proxy in it.
    pub(super) fn for_each_proxy(&self, found: &mut impl FnMut(&Proxy)) {
        match self {
            Self::Proxy(proxy) => found(proxy),
            Self::List(items) => items.iter().for_each(|item| item.for_each_proxy(found)),
            Self::Dict(map) => map.iter().for_each(|(_, value)| value.for_each_proxy(found)),
            _ => {}
        }
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Str(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
                Self::List(items) => items.iter().map(Self::weight).sum(),
                Self::Dict(map) => map.iter().map(|(key, value)| key.weight() + value.weight()).sum(),
                _ => 0,
            }
    }

    /// The number of 64 bits with a sign that it equals, if it does.
    #[inline]
    fn short_number(&self) -> Option<i64> {
        match self {
            Self::Int(int) => i64::try_from(*int).ok(),
            Self::Str(_) => None,
            _ => self.number()?.whole()?.try_into().ok(),
        }
    }

    #[inline]
    pub(super) fn has_proxies(&self) -> bool {
        !self.is_plain() && self.has_proxies_in_it()
    }

    fn has_proxies_in_it(&self) -> bool {
        match self {
            Self::Proxy(_) => true,
            Self::List(items) => items.iter().any(Self::has_proxies),
            Self::Dict(map) => map.iter().any(|(_, value)| value.has_proxies()),
            _ => false,
        }
    }

    /// The sum, for numbers: a whole number if both are.
    ///
    /// # Errors
    ///
    /// `TypeMismatch` for what is no number, `OutOfRange` for a sum that is too large.
    pub(super) fn plus(&self, other: &Self) -> Result<Self> {
        match (self.number(), other.number()) {
            (Some(Number::Int(a)), Some(Number::Int(b))) => a.checked_add(b).map(Self::Int).ok_or_else(|| {
                Error::OutOfRange { index: format!("{a} + {b}"), shape: "a whole number of 128 bits".into() }
            }),
            (Some(a), Some(b)) => Ok(Self::Float(a.to_f64() + b.to_f64())),
            (None, _) => Err(self.mismatch("a number")),
            (_, None) => Err(other.mismatch("a number")),
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(is) => Some(Number::Int(i128::from(*is))),
            Self::Int(int) => Some(Number::Int(*int)),
            Self::Float(float) => Some(Number::Float(*float)),
            _ => None,
        }
    }
}

/// What is compared by its value, whatever its type.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

/// The first number that an `i128` cannot hold.
const TOO_LARGE: f64 = (1_u128 << 127) as f64;

impl Number {
    fn to_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    /// The whole number that it is, if it is one that fits.
    fn whole(self) -> Option<i128> {
        match self {
            Self::Int(int) => Some(int),
            Self::Float(float) if float.trunc() == float && (-TOO_LARGE..TOO_LARGE).contains(&float) => {
                Some(float as i128)
            }
            Self::Float(_) => None,
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())),
            (Self::Int(a), Self::Float(b)) => compare_exactly(a, b),
            (Self::Float(a), Self::Int(b)) => compare_exactly(b, a).reverse(),
        }
    }
}

fn compare_exactly(int: i128, float: f64) -> Ordering {
    if float.is_nan() || float >= TOO_LARGE {
        Ordering::Less
    } else if float < -TOO_LARGE {
        Ordering::Greater
    } else {
        let whole = float.trunc();
        int.cmp(&(whole as i128)).then(0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal))
    }
}

impl PartialEq for Object {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // What keys nearly always are.
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            _ => self.is_same(other),
        }
    }
}

impl Object {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            (Self::Proxy(a), Self::Proxy(b)) => a == b,
            _ => matches!((self.number(), other.number()), (Some(a), Some(b)) if a.compare(b).is_eq()),
        }
    }
}

impl Eq for Object {}

/// What is hashed of a value begins with one of these bytes, none of which is in any text, or with a text, which ends with yet another
/// one. Lengths stand before what has any. So no two values, and no two lists of values, that differ are the same bytes to a hasher:
/// somebody could make many of those, whatever the hasher's secret is.
mod mark {
    pub(super) const NONE: u8 = 0xf8;
    pub(super) const INT: u8 = 0xf9;
    pub(super) const FLOAT: u8 = 0xfa;
    pub(super) const BYTES: u8 = 0xfb;
    pub(super) const LIST: u8 = 0xfc;
    pub(super) const DICT: u8 = 0xfd;
    pub(super) const PROXY: u8 = 0xfe;
}

impl Hash for Object {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(number) = self.number() {
            if let Some(whole) = number.whole() {
                state.write_u8(mark::INT);
                state.write_i128(whole);
            } else {
                let float = number.to_f64();
                state.write_u8(mark::FLOAT);
                state.write_u64(if float.is_nan() { f64::NAN } else { float }.to_bits());
            }
            return;
        }
        match self {
            Self::Str(text) => text.hash(state),
            Self::Bytes(bytes) => {
                state.write_u8(mark::BYTES);
                bytes.hash(state);
            }
            Self::List(items) => {
                state.write_u8(mark::LIST);
                items.hash(state);
            }
            Self::Dict(map) => {
                state.write_u8(mark::DICT);
                // Whatever the order is. These are no keys of ours, so nobody gains by many of a length.
                state.write_usize(map.len());
            }
            Self::Proxy(proxy) => {
                state.write_u8(mark::PROXY);
                proxy.hash(state);
            }
            _ => state.write_u8(mark::NONE),
        }
    }
}

impl PartialOrd for Object {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::List(a), Self::List(b)) => {
                // As in Python: the first two that differ are compared, and no others need an order.
                match a.iter().zip(b).find(|(a, b)| a != b) {
                    Some((a, b)) => a.partial_cmp(b),
                    None => Some(a.len().cmp(&b.len())),
                }
            }
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => Some(a.compare(b)),
                _ => (self == other).then_some(Ordering::Equal),
            },
        }
    }
}
