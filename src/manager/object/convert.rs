//! What becomes an [`Object`].

use super::{Map, Object};
use crate::manager::{Dict, List, Namespace, proxy::Proxy};

macro_rules! from_integers {
    ($($integer:ty),+) => {
        $(impl From<$integer> for Object {
            fn from(integer: $integer) -> Self {
                Self::Int(integer as i128)
            }
        })+
    };
}

// All but `u128`, which has numbers that do not fit.
from_integers!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, usize);

macro_rules! from_each {
    ($($from:ty => |$value:ident| $object:expr;)+) => {
        $(impl From<$from> for Object {
            fn from($value: $from) -> Self {
                $object
            }
        })+
    };
}

from_each! {
    () => |_nothing| Self::None;
    bool => |is| Self::Bool(is);
    f32 => |float| Self::Float(float.into());
    f64 => |float| Self::Float(float);
    char => |c| Self::Str(c.into());
    &str => |text| Self::Str(text.into());
    String => |text| Self::Str(text);
    &String => |text| Self::Str(text.clone());
    Map => |map| Self::Dict(map);
    &Object => |object| object.clone();
    Proxy => |proxy| Self::Proxy(proxy);
    List => |list| Self::Proxy(Proxy::List(list));
    &List => |list| Self::Proxy(Proxy::List(list.clone()));
    Dict => |dict| Self::Proxy(Proxy::Dict(dict));
    &Dict => |dict| Self::Proxy(Proxy::Dict(dict.clone()));
    Namespace => |namespace| Self::Proxy(Proxy::Namespace(namespace));
    &Namespace => |namespace| Self::Proxy(Proxy::Namespace(namespace.clone()));
}

impl<T: Into<Self>> From<Vec<T>> for Object {
    fn from(items: Vec<T>) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Object {
    fn from(items: [T; N]) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Into<Self>> From<Option<T>> for Object {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// A list.
impl<T: Into<Self>> FromIterator<T> for Object {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

macro_rules! try_into_proxy {
    ($($kind:ident, $name:literal;)+) => {
        $(impl TryFrom<Object> for $kind {
            type Error = crate::Error;

            fn try_from(object: Object) -> crate::Result<Self> {
                match object {
                    Object::Proxy(Proxy::$kind(proxy)) => Ok(proxy),
                    other => Err(other.mismatch($name)),
                }
            }
        })+
    };
}

try_into_proxy! {
    List, "a shared list";
    Dict, "a shared dict";
    Namespace, "a shared namespace";
}
